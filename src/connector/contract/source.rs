//! The laws of a source.

use serde_json::Value as Json;

use super::fixture::{ExpectedChange, Request};
use super::{Bench, Played, Report, any_number};
use crate::connector::{Body, Change, Cursor, Page};
use crate::fault::{Class, Effect, Fault};
use crate::transport::http::faulty::Trouble;
use crate::transport::http::headers::http_date;
use crate::transport::http::replay::{Exchange, Order};

/// The most pages of a fixture.
const MAX_PAGES: usize = 100;

/// How many requests a login may take.
pub(super) const LOGIN_REQUESTS: u64 = 2;

/// What one reading brought.
struct Reading {
    changes: Vec<Change>,
    pages: Vec<Page>,
}

/// Checks one case.
pub(super) async fn check(bench: &Bench<'_>, report: &mut Report) {
    let played = match bench.play(any_number(&bench.case.exchanges), None) {
        Ok(played) => played,
        Err(why) => return report.add("opens", bench.name(""), Err(why)),
    };
    let reading = match read(bench, &played).await {
        Ok(reading) => reading,
        Err(fault) => return report.add("decodes", bench.name(""), Err(fault.to_string())),
    };
    report.add(
        "decodes",
        bench.name(""),
        same(&bench.case.changes, &reading.changes),
    );
    report.add(
        "S3",
        bench.name("cursors never go back"),
        never_back(bench, &reading),
    );
    report.add(
        "S5",
        bench.name("the watermark is settled"),
        settled(bench, &reading),
    );
    report.add("S7", bench.name("there is an end"), ends(&reading));
    report.add(
        "raw",
        bench.name("payloads are kept"),
        payloads(bench, &reading),
    );
    let second = match read(bench, &played).await {
        Ok(second) => same(&bench.case.changes, &second.changes),
        Err(fault) => Err(fault.to_string()),
    };
    report.add("S2", bench.name("reading again repeats"), second);
    if !bench.case.changes.is_empty() {
        one_bad_record(bench, report).await;
    }
    let requests = played.faulty.count() / 2;
    spoil(bench, report, requests.max(1)).await;
}

async fn read(bench: &Bench<'_>, played: &Played) -> Result<Reading, Fault> {
    let source = played.connection.sources.get(&bench.case.stream);
    let source = source.ok_or_else(|| Fault::bug("fixture", "this stream cannot be read"))?;
    let mut reading = Reading {
        changes: Vec::new(),
        pages: Vec::new(),
    };
    match &bench.case.request {
        Request::Pull { after } => {
            let mut cursor = after.clone();
            while reading.pages.len() < MAX_PAGES {
                let page = source.pull(cursor.as_ref()).await?;
                cursor = Some(page.cursor.clone());
                reading.changes.extend(page.changes.iter().cloned());
                let more = page.more;
                reading.pages.push(page);
                if !more {
                    break;
                }
            }
        }
        Request::Fetch { ids } => reading.changes = source.fetch(ids).await?,
        Request::Deliver { .. } | Request::ReadBack { .. } => {}
    }
    Ok(reading)
}

/// Whether what was read is what should come.
///
/// # Errors
/// The first difference.
pub fn same(expected: &[ExpectedChange], found: &[Change]) -> Result<(), String> {
    if expected.len() != found.len() {
        return Err(format!(
            "{} changes instead of {}",
            found.len(),
            expected.len()
        ));
    }
    for (expected, found) in expected.iter().zip(found) {
        let id = &expected.id;
        if *id != found.id {
            return Err(format!("change {} instead of {id}", found.id));
        }
        match (&found.body, &expected.record, &expected.rejected) {
            (Body::Present(record), Some(wanted), None) => {
                let record = record.to_json();
                if let Some(difference) = difference(wanted, &record, "") {
                    return Err(format!("{id}: {difference}"));
                }
            }
            (Body::Absent, None, None) => {}
            (Body::Rejected(fault), None, Some(code)) if fault.code == *code => {}
            (Body::Rejected(fault), ..) => return Err(format!("{id} is rejected: {fault}")),
            _ => return Err(format!("{id} is not what it should be")),
        }
    }
    Ok(())
}

/// Where two documents differ first.
pub(super) fn difference(wanted: &Json, found: &Json, path: &str) -> Option<String> {
    match (wanted, found) {
        (Json::Object(wanted), Json::Object(found)) => {
            let extra = found.keys().find(|name| !wanted.contains_key(*name));
            if let Some(name) = extra {
                return Some(format!("{path}.{name} should not be there"));
            }
            wanted.iter().find_map(|(name, value)| {
                let inner = format!("{path}.{name}");
                match found.get(name) {
                    Some(found) => difference(value, found, &inner),
                    None => Some(format!("{inner} is missing")),
                }
            })
        }
        (Json::Array(wanted), Json::Array(found)) if wanted.len() == found.len() => {
            let pairs = wanted.iter().zip(found).enumerate();
            pairs
                .into_iter()
                .find_map(|(n, (wanted, found))| difference(wanted, found, &format!("{path}[{n}]")))
        }
        _ if wanted == found => None,
        _ => Some(format!("{path} is {found} instead of {wanted}")),
    }
}

fn never_back(bench: &Bench<'_>, reading: &Reading) -> Result<(), String> {
    let Request::Pull { after } = &bench.case.request else {
        return Ok(());
    };
    let mut watermark = after.clone();
    for page in &reading.pages {
        if let Some(before) = &watermark {
            before
                .check_successor(&page.cursor)
                .map_err(|fault| fault.message)?;
        }
        if matches!(
            page.cursor,
            Cursor::Watermark { .. } | Cursor::Sequence { .. }
        ) {
            watermark = Some(page.cursor.clone());
        }
    }
    Ok(())
}

/// The vendor's clock, as the recorded replies tell it, less the settle lag.
fn settled(bench: &Bench<'_>, reading: &Reading) -> Result<(), String> {
    let Some(spec) = bench.connector.spec().streams.get(&bench.case.stream) else {
        return Err("the stream is not declared".to_owned());
    };
    let dates = bench
        .case
        .exchanges
        .iter()
        .filter_map(|exchange| http_date(exchange.response.headers.get("date")?));
    let Some(server_now) = dates.max() else {
        return Ok(());
    };
    let mut latest = crate::clock::earlier(server_now, spec.settle_lag);
    if let Request::Pull {
        after: Some(Cursor::Watermark { at, .. }),
    } = &bench.case.request
    {
        // Law S3 goes before: a vendor's clock that was put back does not take the cursor along.
        latest = latest.max(*at);
    }
    for page in &reading.pages {
        if let Cursor::Watermark { at, .. } = &page.cursor
            && spec.settle_lag > std::time::Duration::ZERO
            && *at > latest
        {
            return Err(format!(
                "{at} is after {latest}, the vendor's clock less the settle lag"
            ));
        }
    }
    Ok(())
}

fn ends(reading: &Reading) -> Result<(), String> {
    match reading.pages.last() {
        Some(page) if page.more => Err("there is always more".to_owned()),
        _ => Ok(()),
    }
}

fn payloads(bench: &Bench<'_>, reading: &Reading) -> Result<(), String> {
    let personal = bench.case.stream == crate::record::Stream::Orders;
    for change in reading
        .changes
        .iter()
        .filter(|change| change.body != Body::Absent)
    {
        let Some(raw) = &change.raw else {
            return Err(format!("{} has no payload", change.id));
        };
        if personal && !raw.personal {
            return Err("an order's payload is not marked as personal".to_owned());
        }
    }
    Ok(())
}

/// Law S8: one record that is not understood is one rejected change.
async fn one_bad_record(bench: &Bench<'_>, report: &mut Report) {
    // What is asked after a page may depend on its rows: the replies come in their order, whatever is
    // asked.
    let mut exchanges = bench.case.exchanges.clone();
    for exchange in &mut exchanges {
        exchange.request.body = None;
    }
    if !break_one(&mut exchanges, &bench.case.changes) {
        return;
    }
    let read = match bench.play_in(Order::Sequence, exchanges, None) {
        Ok(played) => read(bench, &played).await,
        Err(why) => return report.add("S8", bench.name("one bad record"), Err(why)),
    };
    let result = match read {
        Ok(reading) => {
            let bad = |change: &&Change| matches!(change.body, Body::Rejected(_));
            let before = bench
                .case
                .changes
                .iter()
                .filter(|change| change.rejected.is_some());
            if reading.changes.iter().filter(bad).count() > before.count() {
                Ok(())
            } else {
                Err("no change was rejected for it".to_owned())
            }
        }
        Err(fault) => Err(format!("the whole page failed: {fault}")),
    };
    report.add("S8", bench.name("one bad record"), result);
}

/// Empties the last of the rows that the changes were made of: of the longest list of things with
/// their ids. `false` when there is none.
fn break_one(exchanges: &mut [Exchange], changes: &[ExpectedChange]) -> bool {
    let ids: Vec<&str> = changes
        .iter()
        .map(|change| change.id.as_str().split('@').next().unwrap_or_default())
        .collect();
    // Most call it `id`; where nothing does, it is what another field has, as `orderId`.
    let named = |exchange: &Exchange| has_rows(&exchange.response.body, &ids, true);
    let by_name = exchanges.iter().any(named);
    let mut lists = Vec::new();
    for exchange in exchanges {
        find_rows(&mut exchange.response.body, (&ids, by_name), &mut lists);
    }
    let longest = lists.into_iter().max_by_key(|rows| rows.len());
    let Some(last) = longest.and_then(|rows| rows.last_mut()) else {
        return false;
    };
    *last = serde_json::json!({ "nonsense": true });
    true
}

/// Whether these are things with one of the ids.
fn are_rows(rows: &[Json], ids: &[&str], by_name: bool) -> bool {
    let is_id = |value: &Json| match value {
        Json::String(id) => ids.contains(&id.as_str()),
        Json::Number(id) => ids.contains(&id.to_string().as_str()),
        _ => false,
    };
    let is_one = |row: &Json| match row {
        Json::Object(fields) if by_name => fields.get("id").is_some_and(is_id),
        Json::Object(fields) => fields.values().any(is_id),
        _ => false,
    };
    !rows.is_empty() && rows.iter().all(is_one)
}

fn has_rows(json: &Json, ids: &[&str], by_name: bool) -> bool {
    match json {
        Json::Array(rows) => {
            are_rows(rows, ids, by_name) || rows.iter().any(|row| has_rows(row, ids, by_name))
        }
        Json::Object(fields) => fields.values().any(|it| has_rows(it, ids, by_name)),
        _ => false,
    }
}

fn find_rows<'a>(json: &'a mut Json, of: (&[&str], bool), lists: &mut Vec<&'a mut Vec<Json>>) {
    match json {
        Json::Array(rows) => {
            if are_rows(rows, of.0, of.1) {
                lists.push(rows);
                return;
            }
            for row in rows {
                find_rows(row, of, lists);
            }
        }
        Json::Object(fields) => {
            for value in fields.values_mut() {
                find_rows(value, of, lists);
            }
        }
        _ => {}
    }
}

/// Law S9 and what belongs to it: no trouble is an empty page, and each is told for what it is.
async fn spoil(bench: &Bench<'_>, report: &mut Report, requests: u64) {
    let mut troubles: Vec<(String, Trouble, Option<Class>)> = vec![
        (
            "429".into(),
            Trouble::Throttled {
                retry_after_secs: Some(7),
            },
            Some(Class::Throttle),
        ),
        ("503".into(), Trouble::Status(503), Some(Class::Retry)),
        ("a cut reply".into(), Trouble::CutBody, Some(Class::Retry)),
        (
            "an HTML page".into(),
            Trouble::WrongBody,
            Some(Class::Retry),
        ),
        (
            "a lost reply".into(),
            Trouble::TimeoutAfter,
            Some(Class::Retry),
        ),
        (
            "a refused connection".into(),
            Trouble::Refused,
            Some(Class::Retry),
        ),
    ];
    for error in &bench.troubles.errors {
        let trouble = Trouble::LoginExpired {
            status: error.status,
            body: error.text(),
        };
        troubles.push((error.name.clone(), trouble, error.class));
    }
    for nth in 1..=requests {
        for (name, trouble, class) in &troubles {
            let name = bench.name(&format!("{name} at request {nth}"));
            let result = spoiled(bench, (nth, trouble.clone()), *class, nth).await;
            report.add("S9", name, result);
        }
        if let Some(expired) = &bench.troubles.expired
            && nth > 1
        {
            let trouble = Trouble::LoginExpired {
                status: expired.status,
                body: expired.text(),
            };
            let name = bench.name(&format!("an expired login at request {nth}"));
            report.add("auth", name, healed(bench, (nth, trouble)).await);
        }
    }
}

async fn spoiled(
    bench: &Bench<'_>,
    trouble: (u64, Trouble),
    class: Option<Class>,
    nth: u64,
) -> Result<(), String> {
    let played = bench.play(any_number(&bench.case.exchanges), Some(trouble))?;
    let fault = match read(bench, &played).await {
        Ok(reading) if reading.pages.len() > 1 => return Ok(()),
        Ok(_) => return Err("it was read as if nothing had happened".to_owned()),
        Err(fault) => fault,
    };
    bench.discreet(&fault)?;
    if fault.effect != Effect::None {
        return Err(format!(
            "reading has no effect, but the fault says so: {fault}"
        ));
    }
    // What is an error of a call is a refusal when it meets the login.
    let login = nth <= LOGIN_REQUESTS && fault.class == Class::Auth;
    match class {
        Some(class) if class != fault.class && !login => {
            Err(format!("{:?} instead of {class:?}: {fault}", fault.class))
        }
        _ => Ok(()),
    }
}

/// An expired login is healed by one new login.
async fn healed(bench: &Bench<'_>, trouble: (u64, Trouble)) -> Result<(), String> {
    let nth = trouble.0;
    let played = bench.play(any_number(&bench.case.exchanges), Some(trouble))?;
    match read(bench, &played).await {
        Ok(reading) => same(&bench.case.changes, &reading.changes),
        Err(fault) if nth <= LOGIN_REQUESTS && fault.class == Class::Auth => Ok(()),
        Err(fault) => Err(fault.to_string()),
    }
}
