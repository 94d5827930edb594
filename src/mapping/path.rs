//! Paths to fields of a record: `customer.name`, `lines[].sku`, `lines[0].sku`, `options["size"]`.

use std::fmt;

use serde_json::{Map, Value as Json};

use crate::expr::Type;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Field(Box<str>),
    Index(usize),
    /// `[]`: every element of the list.
    Each,
}

/// A path from a record to a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path(pub(super) Vec<Step>);

/// How deep lists in lists may be followed.
const EACH: usize = 3;
/// How long a path may be, in steps.
const STEPS: usize = 16;

impl Path {
    /// Reads a path. The error is what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err("a path is missing".to_owned());
        }
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                rest = bracket(inside, &mut steps)?;
                continue;
            }
            let name = rest.strip_prefix('.').unwrap_or(rest);
            // A dot stands before every name but the first.
            if rest.starts_with('.') == steps.is_empty() {
                return Err(format!("`{text}` is not a path"));
            }
            let (name, after) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
            if name.trim().is_empty() || name.contains([']', '"']) {
                return Err(format!("`{text}` is not a path"));
            }
            steps.push(Step::Field(name.into()));
            rest = after;
        }
        let path = Self(steps);
        if !matches!(path.0.first(), Some(Step::Field(_))) {
            return Err(format!("`{text}` must begin with the name of a field"));
        }
        if path.0.len() > STEPS || path.lists() > EACH {
            return Err(format!("`{text}` is too deep"));
        }
        Ok(path)
    }

    /// How many `[]` it has.
    pub(super) fn lists(&self) -> usize {
        self.0.iter().filter(|step| **step == Step::Each).count()
    }

    /// The parts between the `[]`: one more than there are of them.
    pub(super) fn split(&self) -> Vec<Self> {
        self.0
            .split(|step| *step == Step::Each)
            .map(|part| Self(part.to_vec()))
            .collect()
    }

    /// The path up to its last `[]`, without it; nothing when it has none.
    pub(super) fn list(&self) -> Option<Self> {
        let last = self.0.iter().rposition(|step| *step == Step::Each)?;
        Some(Self(self.0[..last].to_vec()))
    }

    /// With the places of elements filled in, for a message about one of them.
    pub(super) fn with_places(&self, places: &[usize]) -> Self {
        let mut places = places.iter();
        let step = |step: &Step| match step {
            Step::Each => places
                .next()
                .map_or(Step::Each, |place| Step::Index(*place)),
            other => other.clone(),
        };
        Self(self.0.iter().map(step).collect())
    }

    /// The field that it ends in.
    pub(super) fn leaf(&self) -> &str {
        for step in self.0.iter().rev() {
            if let Step::Field(name) = step {
                return name;
            }
        }
        ""
    }

    /// Whether one of its fields has one of these names.
    pub(super) fn passes(&self, names: &[&str]) -> bool {
        self.0
            .iter()
            .any(|step| matches!(step, Step::Field(name) if names.contains(&&**name)))
    }

    /// The type at its end. The error is the field that is not there, and those that are.
    pub(super) fn type_in(&self, record: &Type) -> Result<Type, (String, Vec<String>)> {
        let mut of = record.clone();
        for step in &self.0 {
            of = match (step, &of) {
                (_, Type::Dyn) => return Ok(Type::Dyn),
                (Step::Field(name), Type::Map(_) | Type::Record(_)) => {
                    let known = || of.fields().map(|(name, _)| name.to_owned()).collect();
                    of.field(name)
                        .cloned()
                        .ok_or_else(|| (name.to_string(), known()))?
                }
                (Step::Index(_) | Step::Each, Type::List(_)) => {
                    of.element_type().cloned().unwrap_or_default()
                }
                (Step::Field(name), Type::List(_)) => {
                    return Err((name.to_string(), vec![format!("[].{name}")]));
                }
                (Step::Field(name), _) => return Err((name.to_string(), Vec::new())),
                (Step::Index(_) | Step::Each, _) => return Err(("[]".to_owned(), Vec::new())),
            };
        }
        Ok(of)
    }

    /// The value at its end; nothing when a step of it is absent or null.
    pub(super) fn get<'j>(&self, record: &'j Json) -> Option<&'j Json> {
        let mut at = record;
        for step in &self.0 {
            at = match (step, at) {
                (Step::Field(name), Json::Object(entries)) => entries.get(&**name)?,
                (Step::Index(index), Json::Array(items)) => items.get(*index)?,
                _ => return None,
            };
        }
        Some(at)
    }

    /// The place of the value at its end, made where it is missing. Nothing when something else than
    /// a map or list is in the way.
    pub(super) fn place<'j>(&self, record: &'j mut Json) -> Option<&'j mut Json> {
        place(&self.0, record)
    }

    /// Sets the value at its end; whether that was possible.
    pub(super) fn set(&self, record: &mut Json, value: Json) -> bool {
        let Some((Step::Field(name), way)) = self.0.split_last() else {
            return match self.place(record) {
                Some(place) => {
                    *place = value;
                    true
                }
                None => false,
            };
        };
        let Some(holder) = place(way, record) else {
            return false;
        };
        if holder.is_null() {
            *holder = Json::Object(Map::new());
        }
        // One look into the map, whether or not the field is there; it keeps its place in the order.
        match holder.as_object_mut() {
            Some(entries) => {
                entries.insert(name.to_string(), value);
                true
            }
            None => false,
        }
    }

    /// Takes the field at its end out; `[]` takes it out of every element.
    pub(super) fn remove(&self, record: &mut Json) {
        remove(&self.0, record);
    }
}

fn place<'j>(steps: &[Step], record: &'j mut Json) -> Option<&'j mut Json> {
    let mut at = record;
    for step in steps {
        at = match step {
            Step::Field(name) => {
                if at.is_null() {
                    *at = Json::Object(Map::new());
                }
                let entries = at.as_object_mut()?;
                // `entry` would need the name as an owned text even where the field is there.
                if !entries.contains_key(&**name) {
                    entries.insert(name.to_string(), Json::Null);
                }
                entries.get_mut(&**name)?
            }
            Step::Index(index) => at.as_array_mut()?.get_mut(*index)?,
            Step::Each => return None,
        };
    }
    Some(at)
}

fn remove(steps: &[Step], at: &mut Json) {
    match (steps, at) {
        ([Step::Field(name)], Json::Object(entries)) => {
            // Not `remove`, which would move the last field into the gap.
            entries.shift_remove(&**name);
        }
        ([Step::Field(name), rest @ ..], Json::Object(entries)) => {
            if let Some(inner) = entries.get_mut(&**name) {
                remove(rest, inner);
            }
        }
        ([Step::Index(index), rest @ ..], Json::Array(items)) => {
            if let Some(inner) = items.get_mut(*index) {
                remove(rest, inner);
            }
        }
        ([Step::Each, rest @ ..], Json::Array(items)) => {
            for inner in items {
                remove(rest, inner);
            }
        }
        _ => {}
    }
}

/// What stands between brackets; gives what follows them.
fn bracket<'t>(inside: &'t str, steps: &mut Vec<Step>) -> Result<&'t str, String> {
    if let Some(quoted) = inside.strip_prefix('"') {
        let (name, after) = quoted
            .split_once("\"]")
            .ok_or_else(|| "a name without an end, \"]".to_owned())?;
        steps.push(Step::Field(name.into()));
        return Ok(after);
    }
    let (index, after) = inside
        .split_once(']')
        .ok_or_else(|| "a bracket without its ]".to_owned())?;
    steps.push(match index {
        "" => Step::Each,
        index => Step::Index(
            index
                .parse()
                .map_err(|_| format!("`{index}` is not the place of an element"))?,
        ),
    });
    Ok(after)
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if name.contains(['.', '[', ']']) => write!(f, "[\"{name}\"]")?,
                Step::Field(name) if n == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Each => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_read_and_written() {
        for text in [
            "a",
            "a.b",
            "lines[].sku",
            "lines[0].sku",
            "tags[]",
            "a[][].b",
            "Größe 1.x",
        ] {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Path::parse("a[\"x.y\"].b").unwrap().to_string(),
            "a[\"x.y\"].b"
        );
        for wrong in [
            "",
            ".a",
            "a.",
            "a..b",
            "[0]",
            "a[",
            "a[x]",
            "a[-1]",
            "a]b",
            "a[\"b]",
            "a[][][][]",
        ] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_are_read_set_and_removed_in_order() {
        let mut record = json!({"a": 1, "b": {"c": null}, "l": [{"x": 1}, {"x": 2}], "z": 0});
        let path = |text: &str| Path::parse(text).unwrap();
        assert_eq!(path("l[1].x").get(&record), Some(&json!(2)));
        assert_eq!(path("l[2].x").get(&record), None);
        assert_eq!(path("b.c.d").get(&record), None);
        assert!(path("b.c.d").set(&mut record, json!(7)));
        assert!(path("n.m").set(&mut record, json!(8)));
        assert!(!path("a.x").set(&mut record, json!(9)));
        path("l[].x").remove(&mut record);
        path("a").remove(&mut record);
        path("nothing.here").remove(&mut record);
        let text = r#"{"b":{"c":{"d":7}},"l":[{},{}],"z":0,"n":{"m":8}}"#;
        assert_eq!(record.to_string(), text);
    }
}
