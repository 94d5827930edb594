//! Functions on lists.

use rust_decimal::Decimal;

use super::{Answer, Args};
use crate::expr::fail::Cause;
use crate::expr::limits;
use crate::expr::node::Prepared;
use crate::expr::value::{Declared, Value, entries, equal, field};

pub(super) fn size<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let value = args.value(0);
    let size = match &value {
        Value::String(text) => text.chars().count(),
        Value::List(items) => items.len(),
        Value::Json(serde_json::Value::Array(items)) => items.len(),
        Value::Json(serde_json::Value::Object(entries)) => entries.len(),
        map => entries(map)?.len(),
    };
    Ok(Value::Number(Decimal::from(size)))
}

pub(super) fn first<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    args.list(0)?.take(0).unwrap_or(Ok(Value::Null))
}

pub(super) fn pluck<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let items = args.list(0)?;
    if items.len() > limits::ITEMS {
        return Err(Cause::TooMany);
    }
    let path = path(args, 1);
    items
        .into_iter()
        .map(|item| Ok(read_path(item?, path)?.unwrap_or_default()))
        .collect::<Result<_, _>>()
        .map(Value::List)
}

pub(super) fn sum<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let items = args.list(0)?;
    let path = path(args, 1);
    let mut total = Decimal::ZERO;
    for (index, item) in items.into_iter().enumerate() {
        let Some(Value::Number(number)) = read_path(item?, path)? else {
            return Err(Cause::Element {
                index,
                what: "has no number there",
            });
        };
        total = total.checked_add(number).ok_or(Cause::Overflow)?;
    }
    Ok(Value::Number(total))
}

pub(super) fn filter<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    let items = args.list(0)?;
    let wanted = args.value(2);
    let path = path(args, 1);
    let mut kept = Vec::new();
    for item in items {
        let item = item?;
        let found = read_path(item.borrowed(), path)?;
        if let Some(found) = found
            && equal(&found, &wanted)?
        {
            if kept.len() == limits::ITEMS {
                return Err(Cause::TooMany);
            }
            kept.push(item);
        }
    }
    Ok(Value::List(kept))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the shape of every function in the table"
)]
pub(super) fn to_list<'a>(args: &mut Args<'_, 'a>) -> Answer<'a> {
    Ok(match args.value(0) {
        Value::Null => Value::List(Vec::new()),
        list @ (Value::List(_) | Value::Json(serde_json::Value::Array(_))) => list,
        other => Value::List(vec![other]),
    })
}

/// A field path with what stands at its end.
type Path<'a> = (&'a [Box<str>], Declared);

fn path<'a>(args: &Args<'_, 'a>, index: usize) -> Path<'a> {
    match args.prepared(index) {
        Prepared::Path(path, declared) => (path, *declared),
        _ => (&[], Declared::Anything),
    }
}

/// Follows a field path; `None` when a step is absent, null or not a map.
fn read_path<'v>(
    value: Value<'v>,
    (path, declared): Path<'_>,
) -> Result<Option<Value<'v>>, Cause<'static>> {
    let mut value = value;
    for name in path {
        value = match value {
            map @ (Value::Map(_) | Value::Json(serde_json::Value::Object(_))) => {
                match field(map, name)? {
                    Some(value) => value,
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
    }
    declared.read(value).map(Some)
}
