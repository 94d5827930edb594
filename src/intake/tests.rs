//! Pages of any size and quality are taken in by commits of a bounded size.

use std::sync::Arc;
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

/// Each bad row is a row of the quarantine and of the journal, where thousands of good ones are a few blocks: a list
/// of which the first half is bad is taken in all the same, and stops nobody.
#[tokio::test]
async fn a_list_with_thousands_of_bad_rows_is_taken_in() {
    let clock = Arc::new(ManualClock::at(START.parse().unwrap()));
    let store = Box::new(MemoryStore::new());
    let rules = Arc::new(Rules::default());
    let engine = Engine::open(store, rules, Arc::clone(&clock) as _, 1).unwrap();
    let (service, engine) = Service::new(engine);
    let thread = std::thread::spawn(move || drop(service.run()));
    let poller = Poller {
        connection: "acme".into(),
        stream: Stream::Stock,
        source: Arc::new(List {
            bad: 3000,
            good: 3000,
        }),
        engine: engine.clone(),
        clock,
        schedule: Schedule {
            every: Duration::from_secs(60),
            max_pages: 10,
            max_changes: 10_000,
            unit_changes: UNIT_LEVELS,
            max_record_bytes: 1 << 20,
            reread_open: None,
            sweep: None,
        },
    };
    poller.run(&|| {}).await.unwrap();
    assert_eq!(engine.status().await.unwrap().quarantined, 3000);
    drop((poller, engine));
    thread.join().unwrap();
}
