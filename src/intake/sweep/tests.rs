//! What the normal reading missed is found, beside it, and a crash goes on where it was.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::PAGES;
use crate::clock::{Clock, ManualClock};
use crate::connector::{Change, Cursor, Page, Source};
use crate::engine::{Engine, Handle, Rules, Service, Swept};
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::intake::{Poller, Schedule};
use crate::record::{Record, Stream};
use crate::router::{Mode, Route, Router};
use crate::store::memory::MemoryDisk;

const START: &str = "2026-11-22T10:00:00Z";
const EVERY: Duration = Duration::from_secs(3600);

/// Items by number; the normal reading is told of no change after the first run.
#[derive(Debug, Default)]
struct Silent {
    names: Mutex<Vec<String>>,
    faults: Mutex<Vec<Fault>>,
}

impl Silent {
    fn page(&self, from: usize, to: usize) -> Vec<Change> {
        let names = self.names.lock().unwrap();
        let item = |n: usize| {
            let json = json!({"sku": format!("S{n}"), "name": names[n]});
            let record = Record::from_json(Stream::Items, json).unwrap();
            Change::present(n.to_string(), record)
        };
        (from..to.min(names.len())).map(item).collect()
    }
}

#[async_trait]
impl Source for Silent {
    async fn pull(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        let all = if after.is_none() { usize::MAX } else { 0 };
        Ok(page(self.page(0, all), Cursor::Sequence { last: 7 }, false))
    }

    async fn fetch(&self, _: &[RemoteId]) -> Result<Vec<Change>, Fault> {
        Ok(Vec::new())
    }

    /// One thing a page.
    async fn sweep(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        if let Some(fault) = self.faults.lock().unwrap().pop() {
            return Err(fault);
        }
        let from = match after {
            Some(Cursor::Sequence { last }) => usize::try_from(*last).unwrap(),
            _ => 0,
        };
        let more = from + 1 < self.names.lock().unwrap().len();
        let cursor = Cursor::Sequence {
            last: from as u64 + 1,
        };
        Ok(page(self.page(from, from + 1), cursor, more))
    }

    fn can_fetch(&self) -> bool {
        false
    }
}

fn page(changes: Vec<Change>, cursor: Cursor, more: bool) -> Page {
    Page {
        changes,
        cursor,
        more,
        read_at: START.parse().unwrap(),
        as_of: None,
        complete: false,
    }
}

/// A poller over a disk, with the thread of its engine.
struct Bench {
    disk: MemoryDisk,
    clock: ManualClock,
    source: Arc<Silent>,
}

impl Bench {
    fn new(items: usize) -> Self {
        let source = Arc::new(Silent::default());
        *source.names.lock().unwrap() = (0..items).map(|n| format!("item {n}")).collect();
        Self {
            disk: MemoryDisk::new(),
            clock: ManualClock::at(START.parse().unwrap()),
            source,
        }
    }

    /// Runs one life of the daemon that reads so often, an hour apart each time.
    async fn life(&self, runs: usize) -> (Option<Cursor>, Option<Swept>) {
        let route = Route {
            name: "items".into(),
            from: ("erp".into(), Stream::Items),
            to: ("shop".into(), Stream::Items),
            mode: Mode::Apply,
            start_from: None,
        };
        let rules = Rules {
            router: Router::new([route]),
            ..Rules::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let store = Box::new(self.disk.reopen().unwrap());
        let engine = Engine::open(store, Arc::new(rules), Arc::clone(&clock), 1).unwrap();
        let (service, engine) = Service::new(engine);
        let thread = std::thread::spawn(move || drop(service.run()));
        let poller = self.poller(engine.clone(), clock);
        for _ in 0..runs {
            poller.run(&|| {}).await.unwrap();
            self.clock.advance(EVERY);
        }
        let status = engine.status().await.unwrap().streams.remove(0);
        let cursor = engine.cursor("erp".into(), Stream::Items).await.unwrap();
        drop((poller, engine));
        thread.join().unwrap();
        self.disk.crash();
        (cursor, status.swept)
    }

    fn poller(&self, engine: Handle, clock: Arc<dyn Clock>) -> Poller {
        Poller {
            connection: "erp".into(),
            stream: Stream::Items,
            source: Arc::clone(&self.source) as _,
            engine,
            clock,
            schedule: Schedule {
                every: Duration::from_secs(60),
                settle_lag: Duration::ZERO,
                max_pages: 10,
                max_changes: 1000,
                unit_changes: 64,
                max_record_bytes: 1 << 20,
                reread_open: None,
                sweep: Some(EVERY),
            },
        }
    }
}

/// Stories 2 and 12: a name changed and no timestamp moved; a sweep tells.
#[tokio::test]
async fn what_no_timestamp_told_is_found() {
    let bench = Bench::new(3);
    let (before, swept) = bench.life(1).await;
    assert_eq!(swept.unwrap().begun_at, None, "the first reading was whole");
    "renamed".clone_into(&mut bench.source.names.lock().unwrap()[1]);
    let (after, swept) = bench.life(1).await;
    let swept = swept.unwrap();
    assert_eq!((swept.read, swept.found, swept.at), (3, 1, None));
    assert_eq!(before, after, "the normal reading goes on where it was");
    let (_, swept) = bench.life(1).await;
    let swept = swept.unwrap();
    assert_eq!((swept.read, swept.found, swept.found_in_all), (3, 0, 1));
}

/// A sweep is longer than one run, and than one life.
#[tokio::test]
async fn a_sweep_goes_on_after_a_crash() {
    let bench = Bench::new(PAGES + 5);
    bench.life(1).await;
    let (_, swept) = bench.life(1).await;
    let swept = swept.unwrap();
    assert_eq!(swept.read, PAGES);
    let last = PAGES as u64;
    assert_eq!(swept.at, Some(Cursor::Sequence { last }));
    "renamed".clone_into(&mut bench.source.names.lock().unwrap()[PAGES + 2]);
    let (_, swept) = bench.life(1).await;
    let swept = swept.unwrap();
    assert_eq!((swept.read, swept.found, swept.at), (PAGES + 5, 1, None));
}

/// A sweep that fails never stops the normal reading: what passes is tried again where it was, what does
/// not ends the sweep until the next is due.
#[tokio::test]
async fn a_sweep_that_fails_is_tried_again_or_given_up() {
    let bench = Bench::new(3);
    bench.life(1).await;
    *bench.source.faults.lock().unwrap() = vec![Fault::retry("http_timeout", "no reply")];
    let (_, swept) = bench.life(1).await;
    assert_eq!(swept.unwrap().read, 0);
    let (_, swept) = bench.life(1).await;
    assert_eq!(swept.unwrap().read, 3, "it was still due");
    *bench.source.faults.lock().unwrap() = vec![Fault::bug("bad_cursor", "not one of ours")];
    let (_, swept) = bench.life(1).await;
    let swept = swept.unwrap();
    assert_eq!((swept.at, swept.read), (None, 3));
    let (_, swept) = bench.life(1).await;
    assert_eq!(swept.unwrap().read, 3, "the next began anew");
}
