//! Some fields of a record's JSON form, without making the others: most expressions read a few.

use std::collections::BTreeSet;

use serde::ser::{self, Error as _, Impossible, Serialize};
use serde_json::value::to_value;
use serde_json::{Error, Map, Value};

/// Of the JSON form of `record` the fields that are `wanted` and there.
///
/// # Errors
/// When it is no struct: there is nothing to choose from then.
pub(super) fn of<T: Serialize>(record: &T, wanted: &BTreeSet<Box<str>>) -> Result<Value, Error> {
    let fields = Map::new();
    record.serialize(Part { wanted, fields })
}

/// The fields so far.
struct Part<'w> {
    wanted: &'w BTreeSet<Box<str>>,
    fields: Map<String, Value>,
}

impl ser::SerializeStruct for Part<'_> {
    type Ok = Value;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if self.wanted.contains(name) {
            self.fields.insert(name.to_owned(), to_value(value)?);
        }
        Ok(())
    }

    fn end(self) -> Result<Value, Error> {
        Ok(Value::Object(self.fields))
    }
}

/// What no record is.
macro_rules! no_struct {
    ($($name:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(fn $name(self, $(_: $type),*) -> Result<$ok, Error> {
            Err(Error::custom("a record is a struct"))
        })*
    };
}

type Never = Impossible<Value, Error>;

impl<'w> ser::Serializer for Part<'w> {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Part<'w>;
    type SerializeStructVariant = Never;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    no_struct! {
        serialize_bool(bool) -> Value;
        serialize_i8(i8) -> Value;
        serialize_i16(i16) -> Value;
        serialize_i32(i32) -> Value;
        serialize_i64(i64) -> Value;
        serialize_u8(u8) -> Value;
        serialize_u16(u16) -> Value;
        serialize_u32(u32) -> Value;
        serialize_u64(u64) -> Value;
        serialize_f32(f32) -> Value;
        serialize_f64(f64) -> Value;
        serialize_char(char) -> Value;
        serialize_str(&str) -> Value;
        serialize_bytes(&[u8]) -> Value;
        serialize_none() -> Value;
        serialize_unit() -> Value;
        serialize_unit_struct(&'static str) -> Value;
        serialize_unit_variant(&'static str, u32, &'static str) -> Value;
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Value, Error> {
        Err(Error::custom("a record is a struct"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::record::{Presence, Quantity, Record, Sku, StockLevel};

    #[test]
    fn a_part_says_what_the_whole_says() {
        let names = |names: &[&str]| -> BTreeSet<Box<str>> {
            names.iter().map(|it| Box::from(*it)).collect()
        };
        let sku = Sku::new("0017").unwrap();
        let level = StockLevel::on_hand(sku, Quantity("12.50".parse().unwrap()));
        for on_hand in [level.on_hand, Presence::Null, Presence::Absent] {
            let level = Record::Stock(StockLevel {
                on_hand,
                ..level.clone()
            });
            let whole = level.to_json();
            let all = ["sku", "location", "on_hand", "incoming", "no_such_field"];
            for field in all {
                let part = level.part(&names(&[field]));
                assert_eq!(part.get(field), whole.get(field), "{field}");
                assert_eq!(
                    part.as_object().unwrap().len(),
                    usize::from(whole.get(field).is_some())
                );
            }
            assert_eq!(level.part(&names(&all)).get("sku"), whole.get("sku"));
        }
    }
}
