//! What stands on the desk: by cause, by row, and one row with all that is known of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::find;
use crate::engine::EngineError;
use crate::engine::cell;
use crate::engine::query;
use crate::engine::stage::Stage;
use crate::engine::tables::{Entry, QUARANTINE, Quarantined, Subject};
use crate::id::{ConnectionName, Key};
use crate::record::Stream;

/// Which rows of the desk: those to which all of this applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeskFilter {
    /// That fail for this reason: `north.orders/deliver/too_long`.
    pub group: Option<String>,
    /// On this connection.
    pub connection: Option<ConnectionName>,
    /// In this stream.
    pub stream: Option<Stream>,
    /// With this code.
    pub code: Option<String>,
}

impl DeskFilter {
    /// Whether rows of a group are meant: `north.orders/deliver/too_long`.
    fn takes(&self, group: &str) -> bool {
        let (place, rest) = group.split_once('/').unwrap_or((group, ""));
        let (connection, stream) = place.rsplit_once('.').unwrap_or((place, ""));
        let code = rest.split_once('/').map_or("", |(_, code)| code);
        self.group.as_deref().is_none_or(|wanted| wanted == group)
            && self
                .connection
                .as_ref()
                .is_none_or(|it| it.as_str() == connection)
            && self.stream.is_none_or(|it| it.name() == stream)
            && self.code.as_deref().is_none_or(|it| it == code)
    }
}

/// Rows of the desk that fail for the same reason.
#[derive(Debug, Clone, Serialize)]
pub struct DeskGroup {
    /// What to call it by: `north.orders/deliver/too_long`.
    pub group: String,
    /// On which connection.
    pub connection: ConnectionName,
    /// In which stream.
    pub stream: Stream,
    /// Where: `read`, `map`, `deliver`.
    pub stage: String,
    /// The code of the fault.
    pub code: String,
    /// How many rows.
    pub count: usize,
    /// Since when the first of them stands there.
    pub oldest: Timestamp,
    /// The first of them.
    pub example: DeskRow,
}

/// One row of the desk.
#[derive(Debug, Clone, Serialize)]
pub struct DeskRow {
    /// What to call it by.
    pub number: u64,
    /// What a person calls the thing: the origin's id of it, with the number or SKU that the
    /// origin prints on it where that is known.
    pub name: String,
    /// What, where and why.
    #[serde(flatten)]
    pub row: Quarantined,
}

/// One row of the desk with what would be delivered.
#[derive(Debug, Clone, Serialize)]
pub struct DeskSheet {
    /// The row.
    #[serde(flatten)]
    pub row: DeskRow,
    /// The record, as it would be delivered or mapped; personal data masked.
    pub record: Option<Value>,
    /// The version of the mapping that stands there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping_now: Option<String>,
    /// What happened to the thing, every attempt with it, oldest first.
    pub entries: Vec<(Timestamp, Entry)>,
}

/// The reasons for which rows are there, most rows first.
pub(in crate::engine) fn groups(
    stage: &Stage<'_, '_>,
    filter: &DeskFilter,
) -> Result<Vec<DeskGroup>, EngineError> {
    let mut found = Vec::new();
    for (group, count, first) in stage.index.quarantine_groups().all() {
        if !filter.takes(group) {
            continue;
        }
        let row = find(stage, first)?;
        let record = record(stage, &row)?;
        let example = desk_row(first, row, record.as_ref());
        let row = &example.row;
        found.push(DeskGroup {
            group: group.to_string(),
            connection: row.connection.clone(),
            stream: row.stream,
            stage: row.stage.clone(),
            code: row.fault.code.to_string(),
            count,
            oldest: row.since,
            example,
        });
    }
    found.sort_by(|a, b| b.count.cmp(&a.count).then(a.oldest.cmp(&b.oldest)));
    Ok(found)
}

/// The numbers of the rows that are meant, oldest first.
pub(in crate::engine) fn numbers(stage: &Stage<'_, '_>, filter: &DeskFilter) -> Vec<u64> {
    let rows = stage.index.quarantine_groups().rows();
    let meant = rows.filter(|(_, group)| filter.takes(group));
    meant.map(|(number, _)| number).collect()
}

/// Since when the first row stands there.
pub(in crate::engine) fn oldest(stage: &Stage<'_, '_>) -> Result<Option<Timestamp>, EngineError> {
    let first = QUARANTINE.scan(stage.txn, &QUARANTINE.all(), 1)?;
    Ok(first.first().map(|(_, row)| row.since))
}

/// The rows from `after` on, oldest first.
pub(in crate::engine) fn list(
    stage: &Stage<'_, '_>,
    after: u64,
    limit: usize,
    filter: &DeskFilter,
) -> Result<Vec<DeskRow>, EngineError> {
    let rows = stage.index.quarantine_groups().rows();
    let meant = rows.filter(|(number, group)| *number > after && filter.takes(group));
    meant
        .take(limit)
        .map(|(number, _)| {
            let row = find(stage, number)?;
            let record = record(stage, &row)?;
            Ok(desk_row(number, row, record.as_ref()))
        })
        .collect()
}

/// What would be delivered or mapped.
fn record(stage: &Stage<'_, '_>, row: &Quarantined) -> Result<Option<Value>, EngineError> {
    Ok(match &row.subject {
        Subject::Change { record, .. } => record.clone(),
        Subject::Delivery { seq, .. } => stage.event(*seq)?.map(|row| row.record.value()),
        Subject::Cell { key } => wanted(stage, row, key)?,
        Subject::Stream {} => None,
        Subject::Lines { lines, .. } => Some(serde_json::json!({ "lines": lines })),
    })
}

fn desk_row(number: u64, mut row: Quarantined, record: Option<&Value>) -> DeskRow {
    let id = match &row.subject {
        Subject::Change { id, .. } | Subject::Lines { id, .. } => id.to_string(),
        Subject::Cell { key } => cell::sku_of(key).to_owned(),
        Subject::Stream {} => "all".to_owned(),
        Subject::Delivery { .. } => {
            let id = record.and_then(|record| record.get("id"));
            id.and_then(Value::as_str).unwrap_or_default().to_owned()
        }
    };
    let printed = ["number", "sku"]
        .iter()
        .find_map(|field| record?.get(field)?.as_str())
        .filter(|printed| *printed != id);
    let name = [Some(id.as_str()), printed].into_iter().flatten();
    let name = name
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    // Whoever looks sees nobody's name, whatever stands in the store.
    if let Subject::Change {
        record: Some(record),
        ..
    } = &mut row.subject
    {
        *record = crate::record::masked(record);
    }
    DeskRow { number, name, row }
}

/// One row with its record.
pub(in crate::engine) fn show(
    stage: &Stage<'_, '_>,
    number: u64,
) -> Result<DeskSheet, EngineError> {
    let row = find(stage, number)?;
    let record = record(stage, &row)?;
    let row = desk_row(number, row, record.as_ref());
    let record = record.map(|record| crate::record::masked(&record));
    let route = row.row.route.as_ref();
    Ok(DeskSheet {
        record,
        mapping_now: route.and_then(|route| stage.mapping_version(route)),
        entries: query::entries(stage, &row.row.thing)?,
        row,
    })
}

/// What a cell would be told.
fn wanted(
    stage: &Stage<'_, '_>,
    row: &Quarantined,
    key: &Key,
) -> Result<Option<Value>, EngineError> {
    let cell = cell::get(stage, &(row.connection.clone(), row.stream), key)?;
    let text = |figure: Option<cell::Figure>| figure.map(cell::Figure::text);
    let (desired, published) = (text(cell.desired), text(cell.published));
    Ok(Some(
        serde_json::json!({ "to_be_told": desired, "told": published }),
    ))
}
