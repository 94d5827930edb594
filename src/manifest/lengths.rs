//! `[[….write.length]]`: how long a text may be over there, and what happens to a longer one.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::text::Name;
use crate::fault::Fault;

/// What happens to a longer text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The record is held.
    Reject,
    /// Its end is cut off.
    Truncate,
}

/// One bound.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// Which field of the record, such as `ship_to.line1` or `lines.title` (of every line).
    pub field: Name,
    /// Characters.
    pub max: usize,
    /// What happens to a longer text.
    pub over: Over,
}

impl Length {
    /// Applies the bound to a record. Story 63: an address of 141 characters fails the same way on
    /// each try.
    pub(super) fn apply(&self, record: &mut Json) -> Result<(), Fault> {
        let path: Vec<&str> = self.field.as_str().split('.').collect();
        self.descend(record, &path)
    }

    fn descend(&self, json: &mut Json, path: &[&str]) -> Result<(), Fault> {
        match (json, path) {
            (Json::Array(items), _) => items
                .iter_mut()
                .try_for_each(|item| self.descend(item, path)),
            (Json::Object(fields), [first, rest @ ..]) => match fields.get_mut(*first) {
                Some(inner) => self.descend(inner, rest),
                None => Ok(()),
            },
            (Json::String(text), []) => self.bound(text),
            _ => Ok(()),
        }
    }

    fn bound(&self, text: &mut String) -> Result<(), Fault> {
        let Some((end, _)) = text.char_indices().nth(self.max) else {
            return Ok(());
        };
        match self.over {
            Over::Truncate => text.truncate(end),
            Over::Reject => {
                let (field, max) = (self.field.as_str(), self.max);
                let message = format!(
                    "`{field}` has more than {max} characters, which the other side does not take; \
                     shorten it in the mapping"
                );
                return Err(Fault::reject("too_long", message));
            }
        }
        Ok(())
    }
}
