//! Laws of a source that no fixture shows: pages that shift, clocks, servers that do not do as asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{BY_MOMENT, HEAD, Toy, load, row};
use crate::clock::Clock;
use crate::connector::{Body, Connector, Cursor, Onward, Page, Source, Window};
use crate::fault::{Class, Fault};
use crate::record::Stream;

/// A table of rows that is sorted by moment and id and asked from a moment on, inclusive.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<Vec<Json>>>);

impl Table {
    fn add(&self, id: u64, at: &str) {
        self.0.lock().unwrap().push(row(id, at));
    }

    fn page(&self, asked: &Json) -> Json {
        let mut rows = self.0.lock().unwrap().clone();
        rows.sort_by_key(|row| (row["at"].as_str().unwrap().to_owned(), row["id"].as_u64()));
        let from = asked["from"].as_str().unwrap_or("");
        rows.retain(|row| row["at"].as_str().unwrap() >= from);
        let (skip, size) = (number(&asked["skip"]), number(&asked["size"]));
        json!({ "rows": rows.into_iter().skip(skip).take(size).collect::<Vec<_>>() })
    }
}

fn number(json: &Json) -> usize {
    usize::try_from(json.as_u64().unwrap()).unwrap()
}

fn ids(page: &Page) -> Vec<String> {
    page.changes
        .iter()
        .map(|change| change.id.to_string())
        .collect()
}

async fn all(source: &dyn Source, mut cursor: Option<Cursor>) -> (Vec<String>, Cursor) {
    let mut seen = Vec::new();
    loop {
        let page = source.pull(cursor.as_ref()).await.unwrap();
        if let Some(before) = &cursor {
            before.check_successor(&page.cursor).unwrap();
        }
        seen.extend(ids(&page));
        cursor = Some(page.cursor);
        if !page.more {
            return (seen, cursor.unwrap());
        }
    }
}

/// Stories 1, 2 and 6: rows of the boundary's own tick, and older ones that are committed late.
#[tokio::test]
async fn what_is_committed_late_still_arrives() {
    let table = Table::default();
    for id in 1..=3 {
        table.add(id, "2026-11-22T09:59:30Z");
    }
    let answers = table.clone();
    let toy = Toy::new(move |_, asked| Ok((200, answers.page(asked))));
    let connection = toy.open(BY_MOMENT);
    let source = &*connection.sources[&Stream::Stock];
    let (seen, cursor) = all(source, None).await;
    assert!(
        ["1", "2", "3"]
            .iter()
            .all(|id| seen.iter().any(|it| it == id)),
        "{seen:?}"
    );
    assert_eq!(
        cursor,
        Cursor::watermark("2026-11-22T09:59:30Z".parse().unwrap())
    );
    table.add(4, "2026-11-22T09:59:30Z");
    table.add(5, "2026-11-22T09:59:29Z");
    let (seen, after) = all(source, Some(cursor.clone())).await;
    assert!(
        seen.contains(&"4".to_owned()) && seen.contains(&"5".to_owned()),
        "{seen:?}"
    );
    cursor.check_successor(&after).unwrap();
}

/// Law S5: what is newer than the vendor's clock less the settle lag is read, and read again.
#[tokio::test]
async fn the_watermark_stays_behind_the_vendors_clock() {
    let table = Table::default();
    table.add(1, "2026-11-22T09:59:58Z");
    let answers = table.clone();
    let toy = Toy::new(move |_, asked| Ok((200, answers.page(asked))));
    let connection = toy.open(BY_MOMENT);
    let (seen, cursor) = all(&*connection.sources[&Stream::Stock], None).await;
    assert_eq!(seen, ["1"]);
    assert_eq!(
        cursor,
        Cursor::watermark("2026-11-22T09:59:50Z".parse().unwrap())
    );
}

/// Story 10: the merchant knows how late a system shows things; the manifest only guesses.
#[tokio::test]
async fn the_merchants_settle_lag_and_overlap_win() {
    let table = Table::default();
    table.add(1, "2026-11-22T09:59:58Z");
    let answers = table.clone();
    let toy = Toy::new(move |_, asked| Ok((200, answers.page(asked))));
    let connector = load("toy.toml", &format!("{HEAD}{BY_MOMENT}")).unwrap();
    let declared = &connector.spec().streams[&Stream::Stock];
    let overlap = Duration::from_secs(60);
    assert_eq!(declared.onward, Onward::Moment { overlap });
    let window = Window {
        settle_lag: Duration::from_secs(600),
        overlap: Duration::from_secs(7200),
        start_from: None,
    };
    let windows = BTreeMap::from([(Stream::Stock, window)]);
    let connection = toy.open_within(&connector, windows);
    let source = &*connection.sources[&Stream::Stock];
    let (_, cursor) = all(source, None).await;
    assert_eq!(
        cursor,
        Cursor::watermark("2026-11-22T09:50:00Z".parse().unwrap())
    );
    all(source, Some(cursor)).await;
    let asked = toy.asked.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(asked["from"], "2026-11-22T07:50:00Z");
}

/// Story 12: what was changed without its timestamp is on a sweep, page by page, and so is what is older
/// than every cursor; what is older than `start_from` is not asked for.
#[tokio::test]
async fn a_sweep_reads_everything_from_the_start_on() {
    let table = Table::default();
    for (id, at) in [(1, "10-01"), (2, "11-01"), (3, "11-02"), (4, "11-20")] {
        table.add(id, &format!("2026-{at}T00:00:00Z"));
    }
    let answers = table.clone();
    let toy = Toy::new(move |_, asked| Ok((200, answers.page(asked))));
    let connector = load("toy.toml", &format!("{HEAD}{BY_MOMENT}")).unwrap();
    for (start_from, expected) in [
        (None, &["1", "2", "3", "4"][..]),
        (
            Some("2026-11-01T00:00:00Z".parse().unwrap()),
            &["2", "3", "4"],
        ),
    ] {
        let window = Window {
            start_from,
            ..Window::default()
        };
        let windows = BTreeMap::from([(Stream::Stock, window)]);
        let connection = toy.open_within(&connector, windows);
        let (mut seen, mut at) = (Vec::new(), None);
        loop {
            let source = &connection.sources[&Stream::Stock];
            let page = source.sweep(at.as_ref()).await.unwrap();
            assert!(!page.complete || start_from.is_none());
            seen.extend(ids(&page));
            if !page.more {
                break;
            }
            at = Some(page.cursor);
        }
        seen.dedup();
        assert_eq!(seen, expected);
    }
}

/// Stories 3, 4 and 15: rows that come in front while pages are read shift nothing out of sight.
#[tokio::test]
async fn nothing_is_skipped_while_rows_come() {
    for tick in [
        "2026-11-22T09:00:00Z",
        "2026-11-22T09:00:01Z",
        "2026-11-22T09:00:02Z",
    ] {
        let table = Table::default();
        for id in 1..=9 {
            table.add(id * 10, &format!("2026-11-22T09:00:0{}Z", id % 3));
        }
        let (answers, mut pages) = (table.clone(), 0);
        let toy = Toy::new(move |_, asked| {
            pages += 1;
            let page = answers.page(asked);
            answers.add(100 + pages, tick);
            if pages > 40 {
                Ok((200, json!({ "rows": [] })))
            } else {
                Ok((200, page))
            }
        });
        let connection = toy.open(BY_MOMENT);
        let source = &*connection.sources[&Stream::Stock];
        let mut seen = Vec::new();
        let mut cursor = None;
        for _ in 0..60 {
            let page = source.pull(cursor.as_ref()).await.unwrap();
            seen.extend(ids(&page));
            cursor = Some(page.cursor);
        }
        for id in 1..=9 {
            assert!(
                seen.contains(&(id * 10).to_string()),
                "{id}0 with rows at {tick}: {seen:?}"
            );
        }
    }
}

async fn first_fault(manifest: &str, rows: impl Fn(u32) -> Json + Send + 'static) -> Fault {
    let mut pages = 0;
    let toy = Toy::new(move |_, _| {
        pages += 1;
        Ok((200, json!({ "rows": rows(pages) })))
    });
    let connection = toy.open(manifest);
    let source = &*connection.sources[&Stream::Stock];
    let mut cursor = None;
    for _ in 0..50 {
        match source.pull(cursor.as_ref()).await {
            Ok(page) if !page.more => break,
            Ok(page) => cursor = Some(page.cursor),
            Err(fault) => return fault,
        }
    }
    panic!("it was read to its end")
}

/// Story 64 and the traps of servers that ignore what they are asked.
#[tokio::test]
async fn servers_that_do_not_do_as_asked_are_found_out() {
    let full = |_| {
        json!([
            row(1, "2026-11-22T09:00:00Z"),
            row(2, "2026-11-22T09:00:00Z")
        ])
    };
    assert_eq!(first_fault(BY_MOMENT, full).await.code, "endless_paging");
    let descending = |_| {
        json!([
            row(1, "2026-11-22T09:00:09Z"),
            row(2, "2026-11-22T09:00:00Z")
        ])
    };
    assert_eq!(first_fault(BY_MOMENT, descending).await.code, "not_sorted");
    let ignores = |page| match page {
        1 => json!([
            row(1, "2026-11-22T09:00:00Z"),
            row(2, "2026-11-22T09:30:00Z")
        ]),
        _ => json!([
            row(3, "2026-11-22T08:00:00Z"),
            row(4, "2026-11-22T09:30:00Z")
        ]),
    };
    assert_eq!(first_fault(BY_MOMENT, ignores).await.code, "filter_ignored");
    let token = BY_MOMENT.replace(
        "page_size = 2",
        "page_size = 2\npaginate.token = { next = \"'x'\" }",
    );
    assert_eq!(first_fault(&token, full).await.code, "endless_paging");
    assert_eq!(
        first_fault(BY_MOMENT, |_| json!("none")).await.code,
        "unexpected_reply"
    );
}

/// Story 5: rows without the moment are read too.
#[tokio::test]
async fn rows_without_a_moment_are_read() {
    let toy = Toy::new(|_, asked| {
        let rows = [
            json!({ "id": 1, "at": null, "sku": "A", "left": 1 }),
            json!({ "id": 2, "sku": "B", "left": 1 }),
            row(3, "2026-11-22T09:00:00Z"),
        ];
        let skip = number(&asked["skip"]);
        let from = usize::from(!asked["from"].is_null()) * 2;
        Ok((
            200,
            json!({ "rows": rows.into_iter().skip(skip.max(from)).take(2).collect::<Vec<_>>() }),
        ))
    });
    let connection = toy.open(BY_MOMENT);
    let (seen, _) = all(&*connection.sources[&Stream::Stock], None).await;
    assert_eq!(seen, ["1", "2", "3"]);
}

/// Story 38: unknown is not zero, absent is not gone.
#[tokio::test]
async fn a_row_without_a_quantity_is_held_alone() {
    let rows = json!([
        { "id": 1, "sku": "A", "left": 5 }, { "id": 2, "sku": "B" },
        { "id": 3, "sku": "C", "left": null }, { "sku": "D", "left": 1 }
    ]);
    let toy = Toy::new(move |_, _| Ok((200, json!({ "rows": rows }))));
    let manifest = BY_MOMENT
        .replace("page_size = 2", "page_size = 9\npaginate = \"none\"")
        .replace("\"item.at\"", "\"item.id\"");
    let connection = toy.open(&manifest);
    let page = connection.sources[&Stream::Stock].pull(None).await.unwrap();
    let present: Vec<bool> = page
        .changes
        .iter()
        .map(|change| matches!(change.body, Body::Present(_)))
        .collect();
    assert_eq!(present, [true, false, false, false]);
}

/// Story 53: many callers, one login; a refused request is repeated once.
#[tokio::test]
async fn an_expired_session_is_opened_once_for_all() {
    const SESSION: &str = r#"
[auth.session]
login = { path = "/login", body = { password = "{secret.password}" } }
capture = { token = "{reply.json.token}" }
headers = { authorization = "Bearer {session.token}" }
[[fault]]
when = "reply.json.error == 'expired'"
class = "auth"
code = "expired"
"#;
    let valid = Arc::new(Mutex::new(0));
    let server = Arc::clone(&valid);
    let mut expired_once = false;
    let toy = Toy::new(move |path, _| {
        let mut valid = server.lock().unwrap();
        if path == "/login" {
            *valid += 1;
            return Ok((200, json!({ "token": *valid })));
        }
        if *valid == 1 && !expired_once {
            return Ok((200, json!({ "error": "expired" })));
        }
        expired_once = true;
        Ok((200, json!({ "rows": [] })))
    });
    let connection = toy.open(&format!("{SESSION}{BY_MOMENT}"));
    let source = &connection.sources[&Stream::Stock];
    let calls = (0..5).map(|_| source.pull(None));
    for page in futures_util::future::join_all(calls).await {
        page.unwrap();
    }
    let logins = toy.paths().iter().filter(|path| *path == "/login").count();
    assert_eq!(logins, 2, "{:?}", toy.paths());
}

/// Stories 53 and 54: a refused password is one request, not one for each caller.
#[tokio::test]
async fn a_refused_login_is_not_tried_again_at_once() {
    const SESSION: &str = r#"
[auth.session]
login = { path = "/login", body = {} }
capture = { token = "{reply.json.token}" }
headers = { authorization = "Bearer {session.token}" }
"#;
    let toy = Toy::new(|_, _| Ok((401, json!({}))));
    let connection = toy.open(&format!("{SESSION}{BY_MOMENT}"));
    let source = &connection.sources[&Stream::Stock];
    for _ in 0..5 {
        assert_eq!(source.pull(None).await.unwrap_err().class, Class::Auth);
    }
    assert_eq!(toy.paths().len(), 1);
    toy.clock.advance(Duration::from_secs(31));
    assert!(toy.clock.now() > "2026-11-22T10:00:30Z".parse().unwrap());
    assert_eq!(source.pull(None).await.unwrap_err().class, Class::Auth);
    assert_eq!(toy.paths().len(), 2);
    // An account is locked by many tries, however slow: a day of polling is a hundred of them at most.
    for _ in 0..24 * 60 {
        toy.clock.advance(Duration::from_secs(60));
        assert_eq!(source.pull(None).await.unwrap_err().class, Class::Auth);
    }
    let tries = toy.paths().len();
    assert!((90..=105).contains(&tries), "{tries} in a day");
}

/// Each way to prove who we are, as it is sent; nowhere is it shown.
#[tokio::test]
async fn credentials_are_sent_as_secrets() {
    let ways = [
        (
            r#"auth.header = { name = "X-Key", value = "{secret.password}" }"#,
            "x-key",
            "hunter2",
        ),
        (
            r#"auth.bearer = { token = "{secret.password}" }"#,
            "authorization",
            "Bearer hunter2",
        ),
        (
            r#"auth.basic = { user = "it's me", password = "{secret.password}" }"#,
            "authorization",
            "Basic aXQncyBtZTpodW50ZXIy",
        ),
    ];
    for (way, name, value) in ways {
        let toy = Toy::new(|_, _| Ok((200, json!({ "rows": [] }))));
        let text = format!("{way}\n{HEAD}{BY_MOMENT}");
        let connector = load("toy.toml", &text).unwrap();
        let connection = toy.open_with(&connector);
        connection.sources[&Stream::Stock].pull(None).await.unwrap();
        assert_eq!(
            *toy.proof.lock().unwrap(),
            [(name.to_owned(), value.to_owned())]
        );
        assert!(!format!("{connection:?}").contains("hunter2"), "{way}");
    }
}
