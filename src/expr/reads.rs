//! Which parts of a document expressions read, so that only those need to be made.

use std::collections::{BTreeMap, BTreeSet};

use super::node::{LookupPlace, Node, Op};
use super::{Program, Template};

/// Which fields of one name are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads {
    /// All of it is handed on, or a field is computed: anything may be read.
    whole: bool,
    /// By field, its own fields that are read; absent when all of it is.
    fields: BTreeMap<Box<str>, Option<BTreeSet<Box<str>>>>,
}

impl Reads {
    /// Anything may be read.
    pub fn whole() -> Self {
        let fields = BTreeMap::new();
        Self {
            whole: true,
            fields,
        }
    }

    /// Whether anything is.
    pub fn any(&self) -> bool {
        self.whole || !self.fields.is_empty()
    }

    /// Whether this field may be read.
    pub fn takes(&self, field: &str) -> bool {
        self.whole || self.fields.contains_key(field)
    }

    /// The fields of a field that may be read, where that is not all of them.
    pub fn parts_of(&self, field: &str) -> Option<&BTreeSet<Box<str>>> {
        self.fields.get(field).filter(|_| !self.whole)?.as_ref()
    }

    fn add(&mut self, field: &str, part: Option<&str>) {
        let none_yet = || Some(BTreeSet::new());
        let parts = self.fields.entry(field.into()).or_insert_with(none_yet);
        match (part, parts.as_mut()) {
            (Some(part), Some(parts)) => drop(parts.insert(part.into())),
            (None, _) => *parts = None,
            (Some(_), None) => {}
        }
    }
}

impl Program {
    /// Adds what it reads of the name `root`.
    pub fn reads(&self, root: &str, reads: &mut Reads) {
        self.inner.node.reads(root, reads);
    }
}

impl Template {
    /// Adds what it reads of the name `root`.
    pub fn reads(&self, root: &str, reads: &mut Reads) {
        self.programs()
            .for_each(|program| program.reads(root, reads));
    }

    /// The name, if it is nothing but the value of one.
    pub fn as_root(&self) -> Option<&str> {
        match &self.only_program()?.inner.node.op {
            Op::Root(name, _) => Some(name),
            _ => None,
        }
    }
}

impl Node {
    /// The field of the name `root` that it is.
    fn is_field_of(&self, root: &str) -> Option<&str> {
        match &self.op {
            Op::Field(object, field, _) => match &object.op {
                Op::Root(name, _) if &**name == root => Some(field),
                _ => None,
            },
            _ => None,
        }
    }

    fn reads(&self, root: &str, reads: &mut Reads) {
        match &self.op {
            Op::Root(name, _) => reads.whole |= &**name == root,
            Op::Field(object, field, _) => match (object.is_field_of(root), &object.op) {
                (Some(outer), _) => reads.add(outer, Some(field)),
                (None, Op::Root(name, _)) if &**name == root => reads.add(field, None),
                _ => object.reads(root, reads),
            },
            Op::Literal(_) => {}
            Op::Element(part, _) | Op::Not(part) | Op::Negate(part) | Op::Has(part) => {
                part.reads(root, reads);
            }
            Op::Index(parts) | Op::Default(parts) | Op::Binary(_, parts) => {
                parts.0.reads(root, reads);
                parts.1.reads(root, reads);
            }
            Op::Choice(parts) => {
                for part in [&parts.0, &parts.1, &parts.2] {
                    part.reads(root, reads);
                }
            }
            Op::List(items) => items.iter().for_each(|item| item.reads(root, reads)),
            Op::Map(entries) => entries
                .iter()
                .for_each(|(_, value)| value.reads(root, reads)),
            Op::Lookup(lookup) => {
                lookup.key.reads(root, reads);
                if let Some(fallback) = &lookup.fallback {
                    fallback.reads(root, reads);
                }
                if let LookupPlace::Map(map) = &lookup.place {
                    map.reads(root, reads);
                }
            }
            Op::Call(call) => call.args.iter().for_each(|arg| arg.reads(root, reads)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::{Scope, Type, compile};

    #[test]
    fn fields_are_found_wherever_they_are_read() {
        let scope = Scope::new().root("it", Type::Dyn).root("other", Type::Dyn);
        let cases = [
            ("1 + 2", "", false),
            ("other.a", "", false),
            ("it.a", "a", false),
            ("it.a.b + it.c[0]", "ac", false),
            ("[it.a, {'k': it.b}]", "ab", false),
            ("has(it.a) ? default(it.b, it.c) : -it.d", "abcd", false),
            ("string(it.a) == 'x' && !(it.b in [1])", "ab", false),
            ("it", "", true),
            ("it[other.k]", "", true),
            ("[it]", "", true),
            ("lookup(other.m, it.a, it.b)", "ab", false),
        ];
        for (source, fields, whole) in cases {
            let mut reads = Reads::default();
            compile(source, &scope).unwrap().reads("it", &mut reads);
            assert_eq!(
                reads.fields.keys().map(|it| &**it).collect::<String>(),
                fields,
                "{source}"
            );
            assert_eq!(reads.whole, whole, "{source}");
            assert_eq!(reads.takes("zz"), whole, "{source}");
        }
        let mut reads = Reads::default();
        let compiled = compile("it.a.x + it.a.y.z + it.b.x + it.b", &scope).unwrap();
        compiled.reads("it", &mut reads);
        let parts = reads.parts_of("a").unwrap();
        assert_eq!(parts.iter().map(|it| &**it).collect::<String>(), "xy");
        assert_eq!(reads.parts_of("b"), None);
    }
}
