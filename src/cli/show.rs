//! How results look: tables for people, JSON for machines.

use std::io;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::{Exit, Shell};

/// The whole answer, for machines.
pub(super) fn json(value: &Value, shell: &mut Shell<'_>) -> io::Result<Exit> {
    writeln!(shell.out, "{value:#}")?;
    Ok(Exit::Ok)
}

/// The named fields of each object of a list.
pub(super) fn rows(value: &Value, columns: &[&str]) -> Vec<Vec<String>> {
    let rows = value.as_array().into_iter().flatten();
    rows.map(|row| columns.iter().map(|column| text(&row[*column])).collect())
        .collect()
}

/// A table; nothing at all when it has no rows.
pub(super) fn table(
    shell: &mut Shell<'_>,
    head: &[&str],
    rows: Vec<Vec<String>>,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head.iter().map(|name| name.to_uppercase()));
    table.add_rows(rows);
    writeln!(shell.out, "{table}\n")
}

/// A value as people read it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
