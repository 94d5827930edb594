//! What we say of shipments and numbers for a proof.

use super::*;
use crate::connector::Body;
use crate::proof::{Elsewhere, Number, Parcels, State, Told};

impl Bench {
    fn parcels_of(&mut self, route: &str, change: &Change) -> Parcels {
        let Body::Present(Record::Shipment(shipment)) = &change.body else {
            unreachable!()
        };
        let left_at = shipment.shipped_at.value().copied();
        let things = vec![(change.id.clone(), (**shipment).clone(), left_at)];
        let mut parcels = self.engine.parcels(route.into(), things).unwrap();
        assert_eq!(parcels.len(), 1);
        parcels.remove(0)
    }

    fn told(&mut self, connection: &str, stream: Stream) -> Vec<Told> {
        let target = (connection.into(), stream);
        let (first, next) = self.engine.told(target.clone(), None, 1).unwrap();
        let (rest, _) = self.engine.told(target.clone(), next, 100).unwrap();
        let told: Vec<Told> = first.into_iter().chain(rest).collect();
        let keys = told.iter().map(|one| one.key.clone()).collect();
        let again = self.engine.told_of(target, keys).unwrap();
        let bare = again.into_iter().map(|one| Told {
            story: Vec::new(),
            ..one
        });
        assert_eq!(bare.collect::<Vec<_>>(), told);
        told
    }

    /// Why what a channel is told first need not be there, in a word.
    fn held(&mut self, connection: &str, stream: Stream) -> Option<String> {
        let told = self.told(connection, stream);
        told[0].held.as_ref().map(|(what, _)| what.clone())
    }
}

/// From its order's being read to the parcel at the channel.
#[test]
fn a_shipment_on_its_way_and_there() {
    let mut bench = Bench::new();
    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let at = bench.clock.now();
    let (one, two) = (
        shipment("S1", "R-north:1", &[("A", 1)], at),
        shipment("S2", "R-north:1", &[("A", 1)], at),
    );
    assert_eq!(
        bench.parcels_of("to_north", &one).account.state,
        State::Unread
    );
    bench.tick(60);
    bench.accept("erp", Stream::Shipments, vec![one.clone()]);

    let parcels = bench.parcels_of("to_north", &one);
    let waiting = State::Waiting("is pending".into());
    assert_eq!(parcels.account.state, waiting);
    assert_eq!(parcels.account.reference, "north:1");
    assert_eq!(parcels.order, Some("1".into()));
    assert_eq!(parcels.tracking, ["TS1"]);
    assert_eq!(parcels.elsewhere, None);
    let other = bench.parcels_of("to_south", &one);
    assert_eq!(other.elsewhere, Some(Elsewhere::AnotherChannel));

    bench.deliver("north", Stream::Shipments);
    let delivered = bench.parcels_of("to_north", &one).account.state;
    assert!(matches!(delivered, State::Delivered(_)), "{delivered:?}");
    // Its second parcel is another one, which was left out of what was read (stories 7 and 8).
    assert_eq!(
        bench.parcels_of("to_north", &two).account.state,
        State::Unseen
    );
    // Another number over there than the one that was read is news that is still to be read.
    let mut json = match &one.body {
        Body::Present(record) => record.to_json(),
        _ => unreachable!(),
    };
    json["parcels"] = json!([{ "tracking_number": "T9" }]);
    let corrected = change(Stream::Shipments, "S1", json);
    let state = bench.parcels_of("to_north", &corrected).account.state;
    assert_eq!(state, State::Unread);
}

#[test]
fn a_shipment_that_is_not_ours_refused_or_early_says_so() {
    let mut bench = Bench::new();
    let at = bench.clock.now();
    let strange = shipment("S7", "77", &[("A", 1)], at);
    let mut early = shipment("S8", "78", &[("A", 1)], at);
    if let Body::Present(Record::Shipment(shipment)) = &mut early.body {
        shipment.order_reference = "north:8".to_owned().into();
    }
    let both = vec![strange.clone(), early.clone()];
    bench.accept("erp", Stream::Shipments, both);
    let elsewhere = bench.parcels_of("to_north", &strange).elsewhere;
    assert_eq!(elsewhere, Some(Elsewhere::NotOurs));
    let State::Waiting(why) = bench.parcels_of("to_north", &early).account.state else {
        panic!("it does not wait for its order")
    };
    assert!(why.contains("order"), "{why}");

    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let refused = shipment("S1", "R-north:1", &[("A", 1)], at);
    bench.accept("erp", Stream::Shipments, vec![refused.clone()]);
    let claimed = bench.claim("north", Stream::Shipments);
    let fault = Fault::reject("no_tracking_number", "there is no number");
    let failed = |it: &Claimed| (it.clone(), Outcome::Failed(fault.clone()));
    let results = claimed.iter().map(failed).collect();
    bench.settle("north", Stream::Shipments, results);
    let State::Quarantined(why) = bench.parcels_of("to_north", &refused).account.state else {
        panic!("it is not held")
    };
    assert!(why.contains("there is no number"), "{why}");
}

/// What holds a number back is told for as long as it does, and not longer.
#[test]
fn a_number_says_why_it_need_not_be_there() {
    let mut bench = Bench::new();
    bench.accept("erp", Stream::Stock, vec![level("A", 5), level("B", 3)]);
    let told = bench.told("north", Stream::Stock);
    let places: Vec<String> = told.iter().map(|one| one.place.to_string()).collect();
    assert_eq!(places, ["A", "B"]);
    let five = Number {
        amount: 5.into(),
        compare_at: None,
    };
    assert_eq!((told[0].wanted, told[0].told), (five, None));
    assert_eq!(
        bench.held("north", Stream::Stock).as_deref(),
        Some("pending")
    );

    let claimed = bench.claim("north", Stream::Stock);
    assert_eq!(
        bench.held("north", Stream::Stock).as_deref(),
        Some("pending")
    );
    let refused = Fault::reject("row_refused", "not this one");
    let failed = |it: &Claimed| (it.clone(), Outcome::Failed(refused.clone()));
    let results = claimed.iter().map(failed).collect();
    bench.settle("north", Stream::Stock, results);
    let word = bench.held("north", Stream::Stock);
    assert_eq!(word.as_deref(), Some("quarantined"));

    bench.accept("erp", Stream::Stock, vec![level("A", 4)]);
    bench.deliver("north", Stream::Stock);
    let told = bench.told("north", Stream::Stock);
    assert_eq!(told[0].held, None, "{told:?}");
    assert_eq!(told[0].told.unwrap().0.amount, 4.into());

    let mut bench = Bench::with(rules(Mode::Observe));
    bench.accept("erp", Stream::Stock, vec![level("A", 5)]);
    let word = bench.held("north", Stream::Stock);
    assert_eq!(word.as_deref(), Some("observed"));
    let nobody = bench.engine.told(("till".into(), Stream::Stock), None, 9);
    assert!(nobody.is_err());
}

#[test]
fn a_price_is_told_with_its_list_and_currency() {
    let mut bench = Bench::with(catalogue(Mode::Apply));
    bench.accept("erp", Stream::Prices, vec![price("A", "12.50")]);
    let told = bench.told("north", Stream::Prices);
    assert_eq!(told[0].place.to_string(), "A default EUR");
    assert_eq!(told[0].wanted.to_string(), "12.5");
    assert!(told[0].held.is_some());
}

#[derive(Debug)]
struct NoParcels;

impl RecordMapping for NoParcels {
    fn apply(&self, _: &Value) -> Result<Mapped, Fault> {
        Ok(Mapped::Filtered("letters_only".into()))
    }
    fn version(&self) -> &'static str {
        "v1"
    }
}

/// A shipment that names one of our orders is ours, also before the order is read; one that a rule keeps back is
/// known as that after the journal forgot it.
#[test]
fn a_shipment_says_whose_it_is_and_what_kept_it_back() {
    let mut rules = rules(Mode::Apply);
    rules
        .mappings
        .insert("to_north".into(), Arc::new(NoParcels));
    let mut bench = Bench::with(rules);
    let at = bench.clock.now();
    let mut early = shipment("S8", "78", &[("A", 1)], at);
    if let Body::Present(Record::Shipment(shipment)) = &mut early.body {
        shipment.order_reference = "north:8".to_owned().into();
    }
    bench.accept("erp", Stream::Shipments, vec![early.clone()]);
    assert_eq!(bench.parcels_of("to_north", &early).elsewhere, None);

    bench.accept("north", Stream::Orders, vec![order("1", &[("A", 2)])]);
    bench.deliver("erp", Stream::Orders);
    let one = shipment("S1", "R-north:1", &[("A", 1)], at);
    bench.accept("erp", Stream::Shipments, vec![one.clone()]);
    bench.tick(91 * 24 * 3600);
    let mut sweep = Some(Sweep::default());
    while let Some(after) = sweep.take() {
        sweep = bench.engine.expire_journal(after).unwrap();
    }
    let state = bench.parcels_of("to_north", &one).account.state;
    assert_eq!(state, State::Filtered("letters_only".into()));
}

/// A stream that the guard stopped, a number that was told before, and what may still be carried out: each is said.
#[test]
fn a_number_that_is_stopped_or_late_says_so() {
    let mut bench = Bench::with(catalogue(Mode::Apply));
    bench.accept("erp", Stream::Items, vec![]);
    let list = |amount: &str| (0..30).map(|n| price(&format!("S{n}"), amount)).collect();
    bench.accept("erp", Stream::Prices, list("10"));
    bench.deliver("north", Stream::Prices);
    bench.tick(60);
    bench.accept("erp", Stream::Prices, vec![price("S29", "11")]);
    let why = |bench: &mut Bench, key: usize| {
        let told = bench.told("north", Stream::Prices);
        told[key].held.clone().unwrap()
    };
    let of = |told: &[Told]| {
        told.iter()
            .position(|one| one.place.to_string().starts_with("S29"))
    };
    let at = of(&bench.told("north", Stream::Prices)).unwrap();
    let (word, text) = why(&mut bench, at);
    assert_eq!(word, "pending");
    assert!(text.contains("10 was told at"), "{text}");
    bench.accept("erp", Stream::Prices, list("1000"));
    let (word, text) = why(&mut bench, at);
    assert_eq!(word, "guarded", "{text}");

    let mut rules = rules(Mode::Apply);
    rules.facts.entry("south".into()).or_default().late = Duration::from_secs(30);
    let mut bench = Bench::with(rules);
    bench.accept("erp", Stream::Stock, vec![level("A", 17)]);
    let claimed = bench.claim("south", Stream::Stock).remove(0);
    let outcome = Outcome::Failed(Fault::retry("http_timeout", "no reply").after_sending());
    bench.settle("south", Stream::Stock, vec![(claimed, outcome)]);
    bench.accept("erp", Stream::Stock, vec![level("A", 20)]);
    bench.tick(5);
    bench.deliver("south", Stream::Stock);
    assert_eq!(bench.held("south", Stream::Stock).as_deref(), Some("late"));
    bench.tick(25);
    assert_ne!(bench.held("south", Stream::Stock).as_deref(), Some("late"));
}
