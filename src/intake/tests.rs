//! Pages of any size and quality are taken in by commits of a bounded size.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::clock::ManualClock;
use crate::engine::{Engine, Rules, Service};
use crate::record::{Quantity, Record, Sku, StockLevel};
use crate::store::memory::MemoryStore;

const START: &str = "2026-11-22T10:00:00Z";

/// A list in one page: bad rows, and good ones behind them.
#[derive(Debug)]
struct List {
    bad: usize,
    good: usize,
}

#[async_trait]
impl Source for List {
    async fn pull(&self, _: Option<&Cursor>) -> Result<Page, Fault> {
        let bad = (0..self.bad).map(|n| {
            let fault = Fault::reject("unknown_quantity", "a row without a number");
            Change::rejected(format!("B{n:05}"), fault)
        });
        let good = (0..self.good).map(|n| {
            let sku = Sku::new(&format!("S{n:05}")).unwrap();
            let level = StockLevel::on_hand(sku.clone(), Quantity::pieces(1));
            Change::present(sku.as_str(), Record::Stock(level))
        });
        Ok(Page {
            changes: bad.chain(good).collect(),
            cursor: Cursor::Sequence { last: 1 },
            more: false,
            read_at: START.parse().unwrap(),
            as_of: None,
            complete: false,
        })
    }

    async fn fetch(&self, _: &[RemoteId]) -> Result<Vec<Change>, Fault> {
        Ok(Vec::new())
    }

    fn can_fetch(&self) -> bool {
        false
    }
}

/// A list in pages of one bad row, each of which may be asked for before the one before it is accepted.
#[derive(Debug, Default)]
struct Pages {
    asked: Mutex<Vec<u64>>,
}

#[async_trait]
impl Source for Pages {
    async fn pull(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        let last = match after {
            Some(Cursor::Sequence { last }) => *last,
            _ => 0,
        };
        self.asked.lock().unwrap().push(last);
        let fault = Fault::reject("no_sku", "a line has no SKU");
        Ok(Page {
            changes: vec![Change::rejected(format!("B{last}"), fault)],
            cursor: Cursor::Sequence { last: last + 1 },
            more: last < 5,
            read_at: START.parse().unwrap(),
            as_of: None,
            complete: false,
        })
    }

    async fn fetch(&self, _: &[RemoteId]) -> Result<Vec<Change>, Fault> {
        Ok(Vec::new())
    }

    fn can_fetch(&self) -> bool {
        false
    }

    fn reads_ahead(&self) -> bool {
        true
    }
}

/// Story 14: what was read is not what is kept. A page that cannot be accepted is where the next run goes on, although
/// the one behind it was read already.
#[tokio::test]
async fn what_is_read_ahead_moves_no_cursor() {
    let mut rules = Rules::default();
    rules.limits.quarantine_rows = 2;
    let source = Arc::new(Pages::default());
    let (poller, thread) = poller(rules, Stream::Orders, Arc::clone(&source) as _);
    let asked = || std::mem::take(&mut *source.asked.lock().unwrap());
    for expected in [[0, 1, 2, 3].as_slice(), &[2, 3]] {
        let fault = poller.run(&|| {}).await.unwrap_err();
        assert_eq!(fault.code, crate::engine::QUARANTINE_FULL);
        assert_eq!(asked(), expected);
        let cursor = poller.engine.cursor("acme".into(), Stream::Orders);
        let cursor = cursor.await.unwrap();
        assert_eq!(cursor, Some(Cursor::Sequence { last: 2 }));
    }
    for row in poller.engine.quarantine(0, 9).await.unwrap() {
        let dismissed = poller.engine.quarantine_dismiss(row.number, "seen".into());
        dismissed.await.unwrap();
    }
    poller.run(&|| {}).await.unwrap_err();
    assert_eq!(asked(), [2, 3, 4, 5]);
    drop(poller);
    thread.join().unwrap();
}

/// The parts of a page are on their way at the same time, and are taken in as they stand on it: an older version of
/// something does not come behind a newer one.
#[tokio::test]
async fn the_parts_of_a_page_keep_their_order() {
    let list = Arc::new(List { bad: 300, good: 0 });
    let (mut poller, thread) = poller(Rules::default(), Stream::Orders, list);
    poller.schedule.unit_changes = 1;
    poller.run(&|| {}).await.unwrap();
    let rows = poller.engine.quarantine(0, 400).await.unwrap();
    let numbers = rows.iter().map(|row| (row.number, row.row.thing.clone()));
    let mut numbers: Vec<(u64, String)> = numbers.collect();
    numbers.sort();
    let things = numbers.iter().map(|(_, thing)| thing);
    assert_eq!(things.clone().count(), 300);
    assert!(things.is_sorted(), "{numbers:?}");
    drop(poller);
    thread.join().unwrap();
}

/// No order, read now.
#[derive(Debug)]
struct Quiet(ManualClock);

#[async_trait]
impl Source for Quiet {
    async fn pull(&self, _: Option<&Cursor>) -> Result<Page, Fault> {
        Ok(Page {
            changes: Vec::new(),
            cursor: Cursor::watermark(self.0.now()),
            more: false,
            read_at: self.0.now(),
            as_of: None,
            complete: false,
        })
    }

    async fn fetch(&self, _: &[RemoteId]) -> Result<Vec<Change>, Fault> {
        Ok(Vec::new())
    }
}

/// Seed 35949: what changed just before a store began need not be in its first reading, nor in any that begins sooner
/// than a settle lag later.
#[tokio::test]
async fn a_new_store_catches_up_for_a_settle_lag() {
    let clock = ManualClock::at(START.parse().unwrap());
    let quiet = Arc::new(Quiet(clock.clone()));
    let (mut poller, thread) = poller(Rules::default(), Stream::Orders, quiet);
    poller.schedule.settle_lag = Duration::from_secs(30);
    for (seconds, catching_up) in [(0, true), (29, true), (1, false), (1, false)] {
        clock.advance(Duration::from_secs(seconds));
        let run = poller.run(&|| {}).await.unwrap();
        assert_eq!((run.drained, run.catching_up), (true, catching_up));
    }
    drop(poller);
    thread.join().unwrap();
}

/// A poller, and the thread of its engine.
fn poller(
    rules: Rules,
    stream: Stream,
    source: Arc<dyn Source>,
) -> (Poller, std::thread::JoinHandle<()>) {
    let clock = Arc::new(ManualClock::at(START.parse().unwrap()));
    let store = Box::new(MemoryStore::new());
    let engine = Engine::open(store, Arc::new(rules), Arc::clone(&clock) as _, 1).unwrap();
    let (service, engine) = Service::new(engine);
    let thread = std::thread::spawn(move || drop(service.run()));
    let poller = Poller {
        connection: "acme".into(),
        stream,
        source,
        engine,
        clock,
        schedule: Schedule {
            every: Duration::from_secs(60),
            settle_lag: Duration::ZERO,
            max_pages: 10,
            max_changes: 10_000,
            unit_changes: UNIT_LEVELS,
            max_record_bytes: 1 << 20,
            reread_open: None,
            sweep: None,
        },
    };
    (poller, thread)
}

/// Each bad row is a row of the quarantine and of the journal, where thousands of good ones are a few blocks: a list
/// of which the first half is bad is taken in all the same, and stops nobody.
#[tokio::test]
async fn a_list_with_thousands_of_bad_rows_is_taken_in() {
    let source = Arc::new(List {
        bad: 3000,
        good: 3000,
    });
    let (poller, thread) = poller(Rules::default(), Stream::Stock, source);
    poller.run(&|| {}).await.unwrap();
    let status = poller.engine.status().await.unwrap();
    assert_eq!(status.quarantined, 3000);
    drop(poller);
    thread.join().unwrap();
}
