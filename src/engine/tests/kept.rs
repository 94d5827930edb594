//! What the engine keeps for others: how far sweeps are, tokens, payloads.

use super::*;
use crate::connector::{Kept, Raw, Refused};

const DAY: Duration = Duration::from_secs(86_400);

impl Bench {
    fn turn(&mut self) -> SweepTurn {
        let turn = self.engine.sweep_turn("north".into(), Stream::Orders, DAY);
        turn.unwrap()
    }

    fn swept(&mut self, next: Option<Cursor>, counted: (usize, usize)) {
        let done = self
            .engine
            .swept("north".into(), Stream::Orders, next, counted);
        done.unwrap();
    }

    fn sweep(&mut self) -> Swept {
        let status = self.engine.status().unwrap();
        let mut streams = status.streams.into_iter();
        let of = streams.find(|row| row.connection == "north" && row.stream == Stream::Orders);
        of.unwrap().swept.unwrap()
    }
}

/// The first comes a day after the stream is known, goes on where it was, also after a crash, and the next comes a
/// day after it was over.
#[test]
fn a_sweep_comes_once_a_day_and_goes_on_where_it_was() {
    let mut bench = Bench::new();
    assert_eq!(bench.turn(), SweepTurn::Rest);
    bench.tick(86_399);
    assert_eq!(bench.turn(), SweepTurn::Rest);
    bench.tick(1);
    assert_eq!(bench.turn(), SweepTurn::Begin);
    let begun = bench.clock.now();
    let at = Cursor::Sequence { last: 7 };
    bench.swept(Some(at.clone()), (100, 2));
    let mut bench = bench.crash();
    assert_eq!(bench.turn(), SweepTurn::GoOn(at));
    bench.tick(60);
    bench.swept(None, (30, 1));
    let told = bench.sweep();
    assert_eq!((told.read, told.found, told.found_in_all), (130, 3, 3));
    assert_eq!(
        (told.begun_at, told.over_at),
        (Some(begun), bench.clock.now())
    );
    assert_eq!(bench.turn(), SweepTurn::Rest);
    bench.tick(86_400);
    assert_eq!(bench.turn(), SweepTurn::Begin);
    // The next one counts anew, and together with the one before.
    bench.swept(Some(Cursor::Sequence { last: 9 }), (10, 0));
    bench.swept(None, (10, 1));
    let told = bench.sweep();
    assert_eq!((told.read, told.found, told.found_in_all), (20, 1, 4));
}

/// What a sweep found is noted; a page that finds nothing says nothing.
#[test]
fn what_a_sweep_found_is_noted() {
    let mut bench = Bench::new();
    let noted = |bench: &mut Bench| {
        let rows = bench
            .engine
            .store()
            .scan(&crate::store::KeyRange::all(), usize::MAX);
        let rows = rows.unwrap().into_iter();
        rows.filter(|row| String::from_utf8_lossy(&row.value).contains("found_by_sweep"))
            .count()
    };
    bench.swept(None, (10, 0));
    assert_eq!(noted(&mut bench), 0);
    bench.swept(None, (10, 2));
    assert_eq!(noted(&mut bench), 1);
}

/// Each stream has a sweep of its own.
#[test]
fn sweeps_of_two_connections_are_apart() {
    let mut bench = Bench::new();
    bench.turn();
    bench.tick(43_200);
    let south = |bench: &mut Bench| {
        let turn = bench.engine.sweep_turn("south".into(), Stream::Orders, DAY);
        turn.unwrap()
    };
    assert_eq!(south(&mut bench), SweepTurn::Rest);
    bench.tick(43_200);
    assert_eq!(bench.turn(), SweepTurn::Begin);
    assert_eq!(south(&mut bench), SweepTurn::Rest);
    bench.swept(Some(Cursor::Sequence { last: 7 }), (1, 0));
    assert_eq!(south(&mut bench), SweepTurn::Rest);
}

/// A sweep that cannot go on is over: the next begins anew when it is due.
#[test]
fn a_sweep_that_was_given_up_begins_anew() {
    let mut bench = Bench::new();
    bench.turn();
    bench.tick(86_400);
    bench.swept(Some(Cursor::Sequence { last: 7 }), (100, 0));
    let fault = Fault::reject("cursor_expired", "the page is gone");
    bench
        .engine
        .sweep_given_up("north".into(), Stream::Orders, fault)
        .unwrap();
    assert_eq!(bench.turn(), SweepTurn::Rest);
    bench.tick(86_400);
    assert_eq!(bench.turn(), SweepTurn::Begin);
}

fn kept(bench: &Bench, connections: &[&str], refused: bool) -> Kept {
    Kept {
        at: bench.clock.now(),
        connections: connections.iter().map(|it| (*it).to_owned()).collect(),
        refused: refused.then(|| Refused {
            of: crate::record::Fingerprint([7; 16]),
            fault: Fault::auth("invalid_grant", "it was used already"),
        }),
        ..Kept::default()
    }
}

impl Bench {
    fn token(&mut self, credential: &str) -> Option<Kept> {
        self.engine.token(credential.into()).unwrap()
    }

    fn keep(&mut self, credential: &str, kept: Kept) {
        self.engine.keep_token(credential.into(), kept).unwrap();
    }
}

/// A refresh token that was used is replaced by its successor; after a crash too, or the platform is lost for good.
#[test]
fn a_token_is_kept_until_it_is_too_old_for_use() {
    let mut bench = Bench::new();
    assert_eq!(bench.token("shop"), None);
    let first = kept(&bench, &["north"], false);
    bench.keep("shop", first.clone());
    let mut bench = bench.crash();
    assert_eq!(bench.token("shop"), Some(first));
    bench.tick(400 * 86_400);
    let other = kept(&bench, &["south"], false);
    bench.keep("other", other.clone());
    assert!(bench.token("shop").is_some(), "400 days to the second");
    bench.tick(1);
    bench.keep("other", other.clone());
    assert_eq!(bench.token("shop"), None);
    assert_eq!(bench.token("other"), Some(other));
}

/// Resuming a connection has its credential tried again, and nobody else's.
#[test]
fn a_resumed_connection_tries_its_credential_again() {
    let mut bench = Bench::new();
    let (north, south) = (
        kept(&bench, &["north", "till"], true),
        kept(&bench, &["south"], true),
    );
    bench.keep("a", north);
    bench.keep("b", south);
    bench.engine.resume("north".into()).unwrap();
    assert_eq!(bench.token("a").unwrap().refused, None);
    assert!(bench.token("b").unwrap().refused.is_some());
}

/// Small payloads share a row, so that a million of them are few; a row is bounded, and goes when its time is over.
#[test]
fn payloads_share_rows_and_go_when_their_time_is_over() {
    let mut bench = Bench::new();
    let with_payload = |id: &str, bytes: usize| {
        let mut change = order(id, &[("A", 1)]);
        let raw = format!("{{\"id\":\"{}\"}}", "1".repeat(bytes - 9));
        change.raw = Some(Raw {
            bytes: raw.into(),
            personal: false,
        });
        change
    };
    let place = |bench: &mut Bench, name: &str| {
        let lives = bench.engine.explain(Stream::Orders, name.into()).unwrap();
        let link = &lives[0].entity.links[&ConnectionName::from("north")];
        link.seen.as_ref().unwrap().payload.unwrap().number
    };
    let page = [("1", 30_000), ("2", 35_536), ("3", 40_000)];
    let page = page.map(|(id, bytes)| with_payload(id, bytes)).to_vec();
    bench.accept("north", Stream::Orders, page);
    let places = ["N1", "N2", "N3"].map(|name| place(&mut bench, name));
    assert_eq!(places[0], places[1], "64 KiB in all");
    assert_ne!(places[1], places[2]);
    assert!(!bench.engine.expire_payloads().unwrap());
    let rows = |bench: &mut Bench| bench.engine.store().size_on_disk().unwrap();
    let before = rows(&mut bench);
    bench.tick(31 * 86_400);
    assert!(!bench.engine.expire_payloads().unwrap(), "nothing is left");
    assert!(rows(&mut bench) < before);
}

/// What failed together is not tried again together.
#[test]
fn tries_are_spread() {
    let mut bench = Bench::new();
    let orders = (0..20).map(|n| order(&n.to_string(), &[("A", 1)]));
    bench.accept("north", Stream::Orders, orders.collect());
    let claimed = bench.claim("erp", Stream::Orders);
    let busy = |one: Claimed| (one, Outcome::Failed(Fault::retry("http_502", "bad")));
    let results = claimed.into_iter().map(busy).collect();
    bench.settle("erp", Stream::Orders, results);
    let rows = bench.engine.queue(0, 99).unwrap();
    let dues: BTreeSet<String> = rows.iter().map(|row| format!("{:?}", row.state)).collect();
    assert!(dues.len() > 10, "{dues:?}");
}
