//! The JSON Schema of the configuration, from the same structs that read it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::Config;
use crate::record::Stream;

/// The schema, for editors: `#:schema ./crossdock.schema.json` in the first line of a file names
/// it.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<Config>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "crossdock configuration".into());
    }
    without_null(&mut schema);
    schema
}

/// TOML has no null: what may be absent is left out, not set to nothing.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(parts)) = object.get_mut("anyOf") {
                parts.retain(|part| part.get("type").is_none_or(|name| name != "null"));
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// The streams by name, each with the name of a connection.
pub(super) fn owners(generator: &mut SchemaGenerator) -> Schema {
    let properties: serde_json::Map<_, _> = Stream::ALL
        .iter()
        .map(|stream| {
            (
                stream.name().to_owned(),
                String::json_schema(generator).to_value(),
            )
        })
        .collect();
    json_schema!({ "type": "object", "additionalProperties": false, "properties": properties })
}
