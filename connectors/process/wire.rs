//! What stands in requests and answers: see PROTOCOL.md. What a child claims is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::child::PROTOCOL;
use super::declared::Ways;
use crate::clock::Timestamp;
use crate::connector::{
    Body, Change, Confirmation, Cursor, Delivery, LineLink, Outcome, Page, Raw, Token, Version,
};
use crate::fault::{Class, Effect, Fault};
use crate::id::{DeliveryId, RemoteId};
use crate::manifest::discreet;
use crate::record::{Nature, Record, Stream};

/// The longest wait that an answer may ask for.
const LONGEST_WAIT: u64 = 86_400;
/// The longest code of a fault.
const MAX_CODE: usize = 60;
/// The longest id.
const MAX_ID: usize = 1000;

/// An answer that has not the form that PROTOCOL.md gives it.
fn bad(what: impl std::fmt::Display) -> Fault {
    let message = format!("the connector's process answered what nobody understands: {what}");
    Fault::bug("process_bad_answer", message)
}

fn read<T: for<'de> Deserialize<'de>>(json: Json) -> Result<T, Fault> {
    // The message of serde names fields and types, and quotes values: those are left out.
    serde_json::from_value(json).map_err(|error| bad(discreet(&error.to_string())))
}

/// Checks that a child is what `connector.toml` says.
pub(super) fn agree(said: &Json, name: &str, ways: &BTreeMap<Stream, Ways>) -> Result<(), Fault> {
    let other = |what: String| {
        let message = format!("the connector's process is not what connector.toml says: {what}");
        Err(Fault::config("process_other_spec", message))
    };
    if said["protocol"].as_u64() != Some(PROTOCOL) {
        return other(format!(
            "it does not speak version {PROTOCOL} of the protocol"
        ));
    }
    if said["name"].as_str() != Some(name) {
        return other(format!("it does not call itself `{name}`"));
    }
    let Some(told) = said["streams"].as_object() else {
        return other("it names no streams".to_owned());
    };
    let declared: BTreeMap<&str, Vec<&str>> = ways
        .iter()
        .map(|(stream, ways)| {
            let both = [(ways.read.is_some(), "read"), (ways.write, "write")];
            let can = both.iter().filter(|(can, _)| *can).map(|(_, way)| *way);
            (stream.name(), can.collect())
        })
        .collect();
    let told: BTreeMap<&str, Vec<&str>> = told
        .iter()
        .map(|(stream, ways)| {
            let ways = ways.as_array().into_iter().flatten();
            let mut ways: Vec<&str> = ways.filter_map(Json::as_str).collect();
            ways.sort_unstable();
            (stream.as_str(), ways)
        })
        .collect();
    if told == declared {
        return Ok(());
    }
    let differs = |stream: &&str| told.get(*stream) != declared.get(*stream);
    let names: BTreeSet<&str> = told.keys().chain(declared.keys()).copied().collect();
    let names: Vec<&str> = names.into_iter().filter(differs).take(5).collect();
    let names: Vec<String> = names.iter().map(|name| discreet(name)).collect();
    other(format!("its streams differ: {}", names.join(", ")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFault {
    class: Class,
    code: String,
    message: String,
    effect: Option<Effect>,
    retry_after_secs: Option<u64>,
}

/// What a child says went wrong. Where it does not tell, a write that failed for now or for an unknown
/// reason may have happened.
pub(super) fn fault(json: &Json, writes: bool) -> Fault {
    let effect = |told: Option<Effect>, class: Class| match (writes, told) {
        (true, Some(told)) => told,
        (true, None) if matches!(class, Class::Retry | Class::Bug) => Effect::Unknown,
        (false, _) | (true, None) => Effect::None,
    };
    let told: Result<WireFault, _> = WireFault::deserialize(json);
    let is_code = |code: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        !code.is_empty() && code.len() <= MAX_CODE && code.chars().all(fits)
    };
    match told {
        Ok(told) if is_code(&told.code) => Fault {
            class: told.class,
            effect: effect(told.effect, told.class),
            code: told.code.into(),
            message: discreet(&told.message),
            retry_after: told
                .retry_after_secs
                .map(|secs| Duration::from_secs(secs.min(LONGEST_WAIT))),
        },
        _ => Fault {
            effect: effect(None, Class::Bug),
            ..bad("a fault without class, code or message")
        },
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePage {
    changes: Vec<Json>,
    cursor: Cursor,
    #[serde(default)]
    more: bool,
    read_at: Option<Timestamp>,
    as_of: Option<Timestamp>,
    #[serde(default)]
    complete: bool,
}

/// The page of a `pull`, `sweep` or `peek` that was asked at `asked`.
pub(super) fn page(
    json: Json,
    stream: Stream,
    is_whole: bool,
    asked: Timestamp,
) -> Result<Page, Fault> {
    let page: WirePage = read(json)?;
    if page.complete && !is_whole {
        return Err(bad(
            "only a stream that is read as a whole can be `complete`",
        ));
    }
    if page.complete && page.more {
        return Err(bad("a page that is `complete` and has `more`"));
    }
    Ok(Page {
        changes: changes(page.changes, stream),
        cursor: page.cursor,
        more: page.more,
        // A stock snapshot knows nothing that happened after it was asked for.
        read_at: page.read_at.map_or(asked, |told| told.min(asked)),
        as_of: page.as_of,
        complete: page.complete,
    })
}

/// The changes of a `fetch`: exactly one for each id that was asked for.
pub(super) fn fetched(
    mut json: Json,
    stream: Stream,
    ids: &[RemoteId],
) -> Result<Vec<Change>, Fault> {
    let listed: Vec<Json> = read(json["changes"].take())?;
    let found = changes(listed, stream);
    let wanted: BTreeSet<&RemoteId> = ids.iter().collect();
    let told: BTreeSet<&RemoteId> = found.iter().map(|change| &change.id).collect();
    if told.iter().any(|id| !wanted.contains(id)) {
        let message = "the connector's process answered a `fetch` with ids that were not asked for";
        return Err(Fault::bug("process_foreign_id", message));
    }
    if told.len() != wanted.len() || told.len() != found.len() {
        return Err(bad(
            "a `fetch` must answer for each id once, with `absent` for what is gone",
        ));
    }
    Ok(found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireChange {
    id: String,
    record: Option<Json>,
    #[serde(default)]
    absent: bool,
    rejected: Option<WireRejected>,
    #[serde(default)]
    version: Version,
    raw: Option<Json>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRejected {
    code: String,
    message: String,
}

/// One that is not understood is one rejected change (law S8).
fn changes(listed: Vec<Json>, stream: Stream) -> Vec<Change> {
    let both = listed.into_iter().enumerate();
    both.map(|(n, json)| change(n, json, stream)).collect()
}

fn change(n: usize, json: Json, stream: Stream) -> Change {
    let is_id = |id: &str| !id.is_empty() && id.len() <= MAX_ID;
    let id = json["id"]
        .as_str()
        .filter(|id| is_id(id))
        .map(str::to_owned);
    let bytes = Bytes::from(json.to_string());
    let as_it_came = |bytes: Bytes| Raw {
        bytes,
        personal: stream.nature() == Nature::Event || stream == Stream::Customers,
    };
    let told: Result<WireChange, Fault> = read(json);
    let (id, told) = match (id, told) {
        (Some(id), Ok(told)) => (id, told),
        (id, told) => {
            let fault = told
                .err()
                .unwrap_or_else(|| bad("a change without a usable id"));
            let fault = Fault::reject("process_bad_change", fault.message);
            let id = id.unwrap_or_else(|| format!("change {n}"));
            return Change {
                raw: Some(as_it_came(bytes)),
                ..Change::rejected(id, fault)
            };
        }
    };
    debug_assert_eq!(id, told.id);
    let both = "a change is one of `record`, `absent` and `rejected`";
    let body = match (told.record, told.absent, told.rejected) {
        (Some(record), false, None) => Record::from_json(stream, record).map_or_else(
            |fault| {
                Body::Rejected(Fault {
                    class: Class::Reject,
                    ..fault
                })
            },
            Body::Present,
        ),
        (None, true, None) => Body::Absent,
        (None, false, Some(why)) => {
            let why = json!({ "class": "reject", "code": why.code, "message": why.message });
            Body::Rejected(fault(&why, false))
        }
        _ => Body::Rejected(Fault::reject("process_bad_change", both)),
    };
    let raw = told.raw.map(|raw| Bytes::from(raw.to_string()));
    Change {
        version: told.version,
        raw: Some(as_it_came(raw.unwrap_or(bytes))),
        ..Change::of(RemoteId::from(id), body)
    }
}

/// A delivery as a child sees it.
pub(super) fn delivery(delivery: &Delivery) -> Json {
    json!({
        "id": delivery.id,
        "operation": delivery.operation,
        "key": delivery.key,
        "reference": delivery.reference,
        "origin": delivery.origin,
        "target": delivery.target,
        "group": delivery.group,
        "captured": delivery.captured,
        "attempts": delivery.attempts,
        "record": delivery.record.to_json(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireOutcome {
    delivery: DeliveryId,
    delivered: Option<WireConfirmation>,
    submitted: Option<WireSubmitted>,
    failed: Option<Json>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireConfirmation {
    remote_id: Option<RemoteId>,
    number: Option<String>,
    group: Option<RemoteId>,
    #[serde(default)]
    lines: Vec<LineLink>,
    #[serde(default)]
    existed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSubmitted {
    token: Json,
    #[serde(default)]
    told: Json,
    check_after_secs: u64,
    #[serde(default)]
    in_order: bool,
}

impl From<WireConfirmation> for Confirmation {
    fn from(told: WireConfirmation) -> Self {
        Self {
            remote_id: told.remote_id,
            number: told.number,
            group: told.group,
            stored: None,
            lines: told.lines,
            existed: told.existed,
        }
    }
}

/// What a `check` is asked with, in the order of its batch.
pub(super) fn tokens(tokens: &[Token]) -> Json {
    let tokens = tokens
        .iter()
        .map(|token| json!({ "token": token.submission, "told": token.told }));
    Json::Array(tokens.collect())
}

/// The outcomes of a `deliver` or `check`, in the order of the batch.
pub(super) fn outcomes(mut json: Json, batch: &[Delivery]) -> Result<Vec<Outcome>, Fault> {
    let listed: Vec<Json> = read(json["outcomes"].take())?;
    let mut found = BTreeMap::new();
    for told in listed {
        let told: WireOutcome = read(told)?;
        if !batch.iter().any(|delivery| delivery.id == told.delivery) {
            let message =
                "the connector's process gave an outcome of a delivery that it was not given";
            return Err(Fault::bug("process_foreign_delivery", message));
        }
        let outcome = match (told.delivered, told.submitted, told.failed) {
            (Some(confirmation), None, None) => Outcome::Delivered(confirmation.into()),
            (None, Some(submitted), None) => Outcome::Submitted {
                token: Token {
                    submission: submitted.token,
                    told: submitted.told,
                },
                check_after: Duration::from_secs(submitted.check_after_secs.min(LONGEST_WAIT)),
                in_order: submitted.in_order,
            },
            (None, None, Some(told)) => Outcome::Failed(fault(&told, true)),
            _ => {
                return Err(bad(
                    "an outcome is one of `delivered`, `submitted` and `failed`",
                ));
            }
        };
        if found.insert(told.delivery, outcome).is_some() {
            return Err(bad("two outcomes of one delivery"));
        }
    }
    let in_order = batch.iter().map(|delivery| {
        let missing = || bad("a delivery without an outcome");
        found.remove(&delivery.id).ok_or_else(missing)
    });
    in_order.collect()
}

/// What a `find` found.
pub(super) fn found(mut json: Json) -> Result<Option<Confirmation>, Fault> {
    // Left out is not the same as certainly nothing.
    match json.get_mut("found").map(Json::take) {
        None => Err(bad("a `find` without `found`")),
        Some(found) => {
            let found: Option<WireConfirmation> = read(found)?;
            Ok(found.map(Confirmation::from))
        }
    }
}
