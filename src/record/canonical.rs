//! Canonical bytes of anything that can be serialised, without a document in between: keys sorted, absent
//! fields left out, every text with its length, so that none can be mistaken for another's end.

use std::fmt::{self, Display};
use std::io::Write as _;
use std::ops::Range;

use serde::ser::{self, Serialize};

/// The canonical bytes of `value`.
///
/// # Errors
/// When its keys are no texts.
pub(super) fn bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Refused> {
    let mut out = Out {
        bytes: Vec::with_capacity(4096),
        ..Out::default()
    };
    value.serialize(Canonical { out: &mut out })?;
    Ok(out.bytes)
}

/// What was written, and room that all objects share: each would make its own several times.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// Of the objects that are open, where each field stands, and how much of it is its name.
    places: Vec<(Range<usize>, usize)>,
    /// Fields while they are put in order.
    sorted: Vec<u8>,
}

/// Something that has no canonical form.
#[derive(Debug)]
pub(super) struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Done = Result<(), Refused>;

struct Canonical<'o> {
    out: &'o mut Out,
}

impl Canonical<'_> {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "what every number of the serializer answers"
    )]
    fn number(self, number: impl Display) -> Done {
        self.shown(b'#', number);
        Ok(())
    }

    /// Kind, length, text.
    fn shown(self, kind: u8, text: impl Display) {
        let out = &mut self.out.bytes;
        out.push(kind);
        let place = out.len();
        out.extend_from_slice(&[0; 8]);
        // Writing to a vector cannot fail.
        let _ = write!(out, "{text}");
        let length = (out.len() - place - 8) as u64;
        if let Some(room) = out.get_mut(place..place + 8) {
            room.copy_from_slice(&length.to_be_bytes());
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&(text.len() as u64).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl<'o> ser::Serializer for Canonical<'o> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = List<'o>;
    type SerializeTuple = List<'o>;
    type SerializeTupleStruct = List<'o>;
    type SerializeTupleVariant = ser::Impossible<(), Refused>;
    type SerializeMap = Fields<'o>;
    type SerializeStruct = Fields<'o>;
    type SerializeStructVariant = ser::Impossible<(), Refused>;

    fn serialize_bool(self, value: bool) -> Done {
        self.out.bytes.push(if value { b't' } else { b'f' });
        Ok(())
    }
    fn serialize_i8(self, value: i8) -> Done {
        self.number(value)
    }
    fn serialize_i16(self, value: i16) -> Done {
        self.number(value)
    }
    fn serialize_i32(self, value: i32) -> Done {
        self.number(value)
    }
    fn serialize_i64(self, value: i64) -> Done {
        self.number(value)
    }
    fn serialize_u8(self, value: u8) -> Done {
        self.number(value)
    }
    fn serialize_u16(self, value: u16) -> Done {
        self.number(value)
    }
    fn serialize_u32(self, value: u32) -> Done {
        self.number(value)
    }
    fn serialize_u64(self, value: u64) -> Done {
        self.number(value)
    }
    fn serialize_f32(self, value: f32) -> Done {
        self.serialize_f64(value.into())
    }
    fn serialize_f64(self, value: f64) -> Done {
        match serde_json::Number::from_f64(value) {
            Some(number) => self.number(number),
            None => self.serialize_unit(),
        }
    }
    fn serialize_char(self, value: char) -> Done {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Done {
        text(value, &mut self.out.bytes);
        Ok(())
    }
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Done {
        self.shown(b'"', value);
        Ok(())
    }
    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.collect_seq(value)
    }
    fn serialize_none(self) -> Done {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Done {
        self.out.bytes.push(b'n');
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Done {
        self.serialize_unit()
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        let mut fields = self.serialize_map(Some(1))?;
        fields.field(variant, value)?;
        fields.close();
        Ok(())
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<List<'o>, Refused> {
        self.out.bytes.push(b'[');
        Ok(List(self.out))
    }
    fn serialize_tuple(self, len: usize) -> Result<List<'o>, Refused> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<List<'o>, Refused> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        Err(no_record(variant))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'o>, Refused> {
        self.out.bytes.push(b'{');
        Ok(Fields {
            begin: self.out.bytes.len(),
            first: self.out.places.len(),
            out: self.out,
        })
    }
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Fields<'o>, Refused> {
        self.serialize_map(Some(len))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        Err(no_record(variant))
    }
}

fn no_record(what: &str) -> Refused {
    Refused(format!("a record holds nothing like `{what}`"))
}

struct List<'o>(&'o mut Out);

impl List<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(Canonical { out: self.0 })
    }

    fn close(self) {
        self.0.bytes.push(b']');
    }
}

impl ser::SerializeSeq for List<'_> {
    type Ok = ();
    type Error = Refused;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.element(value)
    }
    fn end(self) -> Done {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTuple for List<'_> {
    type Ok = ();
    type Error = Refused;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.element(value)
    }
    fn end(self) -> Done {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTupleStruct for List<'_> {
    type Ok = ();
    type Error = Refused;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.element(value)
    }
    fn end(self) -> Done {
        self.close();
        Ok(())
    }
}

/// The fields of an object: written as they come, put in order at its end.
struct Fields<'o> {
    out: &'o mut Out,
    begin: usize,
    /// Which of the places is that of its first field.
    first: usize,
}

impl Fields<'_> {
    fn name<T: Serialize + ?Sized>(&mut self, name: &T) -> Done {
        let from = self.out.bytes.len();
        name.serialize(Canonical { out: self.out })?;
        if self.out.bytes.get(from) != Some(&b'"') {
            return Err(no_record("a name that is no text"));
        }
        let to = self.out.bytes.len();
        self.out.places.push((from..to, to - from));
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(Canonical { out: self.out })?;
        if let Some((range, _)) = self.out.places.last_mut() {
            range.end = self.out.bytes.len();
        }
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Done {
        self.name(name)?;
        self.value(value)
    }

    fn close(self) {
        let Out {
            bytes,
            places,
            sorted,
        } = self.out;
        let own = places.get_mut(self.first..).unwrap_or_default();
        // Behind its kind and length.
        let name = |(range, length): &(Range<usize>, usize)| {
            bytes.get(range.start + 9..range.start + length)
        };
        if !own.is_sorted_by_key(name) {
            // No two fields have the same name.
            own.sort_unstable_by(|a, b| name(a).cmp(&name(b)));
            sorted.clear();
            let fields = own.iter().filter_map(|(range, _)| bytes.get(range.clone()));
            fields.for_each(|field| sorted.extend_from_slice(field));
            bytes.truncate(self.begin);
            bytes.extend_from_slice(sorted);
        }
        bytes.push(b'}');
        places.truncate(self.first);
    }
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Refused;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Done {
        self.field(name, value)
    }
    fn end(self) -> Done {
        self.close();
        Ok(())
    }
}

impl ser::SerializeMap for Fields<'_> {
    type Ok = ();
    type Error = Refused;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Done {
        self.name(name)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.value(value)
    }
    fn end(self) -> Done {
        self.close();
        Ok(())
    }
}
