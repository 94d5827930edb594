//! Prices: told once, held when they jump, never zero by accident.

use super::*;

fn bench() -> Bench {
    Bench::with(catalogue_without_items())
}

/// Prices alone: nothing waits for items.
fn catalogue_without_items() -> Rules {
    let mut rules = catalogue(Mode::Apply);
    let routes = rules
        .router
        .all()
        .filter(|route| route.to.1 != Stream::Items);
    rules.router = Router::new(routes.cloned().collect::<Vec<_>>());
    rules
}

/// What `north` was told last; sends what is due, to `south` too.
fn told(bench: &mut Bench, sku: &str) -> String {
    bench.deliver("north", Stream::Prices);
    bench.deliver("south", Stream::Prices);
    let reasons = bench.engine.explain_price(sku.into(), Some("north".into()));
    let told = reasons.unwrap()[0].told.clone();
    told.map_or("-".into(), |(text, _)| text)
}

fn say(bench: &mut Bench, sku: &str, amount: &str) -> Accepted {
    bench.tick(1);
    bench.accept("erp", Stream::Prices, vec![price(sku, amount)])
}

fn held(bench: &mut Bench) -> Vec<(u64, String)> {
    let desk = bench.engine.quarantine(0, 99).unwrap();
    let rows = desk.into_iter();
    rows.map(|row| (row.number, row.row.fault.code.to_string()))
        .collect()
}

#[test]
fn a_price_is_told_once_and_a_newer_one_supersedes() {
    let mut bench = bench();
    say(&mut bench, "A", "10.00");
    assert_eq!(told(&mut bench, "A"), "10");
    assert_eq!(
        say(&mut bench, "A", "10.000").duplicates,
        1,
        "the same, otherwise written"
    );
    assert!(bench.claim("north", Stream::Prices).is_empty());
    say(&mut bench, "A", "11");
    say(&mut bench, "A", "12.5");
    let claimed = bench.claim("north", Stream::Prices);
    let Record::Price(price) = &claimed[0].delivery.record else {
        panic!("a price")
    };
    assert_eq!(
        (price.price.to_string().as_str(), claimed[0].lane),
        ("12.50 EUR", crate::record::Lane::Prices)
    );
    let results = claimed.iter().map(|c| (c.clone(), there(c))).collect();
    bench.settle("north", Stream::Prices, results);
    let counts = bench.counts("north_prices");
    assert_eq!(
        (counts.routed, counts.delivered, counts.superseded),
        (3, 2, 1)
    );
}

/// Story 33: an old price that arrives after a newer one changes nothing.
#[test]
fn an_older_price_never_replaces_a_newer_one() {
    let mut bench = bench();
    let early = bench.clock.now();
    say(&mut bench, "A", "10");
    let old = vec![price("A", "9")];
    let accepted = bench.accept_at("erp", Stream::Prices, old, early, false);
    assert_eq!((accepted.stale, told(&mut bench, "A").as_str()), (1, "10"));
}

#[test]
fn a_jump_is_held_until_somebody_lets_it_and_survives_a_crash() {
    let mut bench = bench();
    say(&mut bench, "A", "10");
    assert_eq!(told(&mut bench, "A"), "10");
    say(&mut bench, "A", "15");
    assert_eq!(told(&mut bench, "A"), "15", "half of itself is no jump");
    say(&mut bench, "A", "150");
    assert_eq!(told(&mut bench, "A"), "15");
    let mut bench = bench.crash_with(catalogue_without_items());
    assert_eq!(told(&mut bench, "A"), "15");
    let desk = held(&mut bench);
    assert_eq!(
        (desk.len(), desk[0].1.as_str()),
        (2, "price_jump"),
        "one for each channel"
    );
    let why = bench.engine.explain_price("A".into(), None).unwrap();
    assert!(
        why[0]
            .held_back
            .as_ref()
            .unwrap()
            .contains("from 15 to 150")
    );
    say(&mut bench, "A", "160");
    assert_eq!(
        (told(&mut bench, "A").as_str(), held(&mut bench).len()),
        ("15", 2)
    );
    bench.engine.quarantine_retry(desk[0].0).unwrap();
    assert_eq!(told(&mut bench, "A"), "160", "as it is now");
    assert_eq!(held(&mut bench).len(), 1, "south's is still held");
}

#[test]
fn a_held_jump_ends_when_the_source_is_mended() {
    let mut bench = bench();
    say(&mut bench, "A", "10");
    told(&mut bench, "A");
    say(&mut bench, "A", "1000");
    assert_eq!(told(&mut bench, "A"), "10");
    say(&mut bench, "A", "10");
    assert!(
        held(&mut bench).iter().all(|row| row.0 == 0),
        "both rows are gone"
    );
    say(&mut bench, "A", "11");
    assert_eq!(told(&mut bench, "A"), "11");
}

/// A jump that comes while another value is being sent stays held when that one arrives.
#[test]
fn a_jump_behind_a_value_in_flight_is_held_too() {
    let mut bench = bench();
    say(&mut bench, "A", "10");
    told(&mut bench, "A");
    say(&mut bench, "A", "11");
    let sent = bench.claim("north", Stream::Prices);
    say(&mut bench, "A", "99");
    for outcome in [
        Outcome::Failed(Fault::retry("http_timeout", "").after_sending()),
        there(&sent[0]),
    ] {
        bench.settle("north", Stream::Prices, vec![(sent[0].clone(), outcome)]);
        bench.tick(600);
        assert!(bench.claim("north", Stream::Prices).is_empty());
    }
    assert_eq!(told(&mut bench, "A"), "11");
}

#[test]
fn nothing_is_given_away_by_accident() {
    let mut bench = bench();
    say(&mut bench, "NEW", "0");
    assert_eq!(told(&mut bench, "NEW"), "-");
    say(&mut bench, "A", "10");
    told(&mut bench, "A");
    say(&mut bench, "A", "0.00");
    assert_eq!(told(&mut bench, "A"), "10");
    assert_eq!(held(&mut bench)[0].1, "zero_price");
    let gone = Change::absent("A");
    let accepted = bench.accept("erp", Stream::Prices, vec![gone]);
    assert_eq!(
        (accepted.unknown, told(&mut bench, "A").as_str()),
        (1, "10")
    );
    let negative = json!({"sku": "A", "price": {"amount": "-1", "currency": "EUR"}});
    assert!(Record::from_json(Stream::Prices, negative).is_err());
    let number = held(&mut bench)[0].0;
    bench.engine.quarantine_retry(number).unwrap();
    bench.deliver("north", Stream::Prices);
    assert_eq!(told(&mut bench, "NEW"), "0", "somebody said so");
}

/// A decimal point slipped in the whole list: the stream stops with one row, not a thousand.
#[test]
fn too_many_jumps_stop_the_stream() {
    let mut bench = bench();
    let list = |factor: i64| -> Vec<Change> {
        (10..60)
            .map(|n| price(&format!("S{n}"), &(n * factor).to_string()))
            .collect()
    };
    bench.accept("erp", Stream::Prices, list(1));
    assert_eq!(told(&mut bench, "S10"), "10");
    bench.tick(60);
    bench.accept("erp", Stream::Prices, list(100));
    let rows = held(&mut bench);
    let count = |code: &str| rows.iter().filter(|row| row.1 == code).count();
    assert_eq!((count("price_jump"), count("too_many_jumps")), (2 * 5, 2));
    let mut bench = bench.crash_with(catalogue_without_items());
    say(&mut bench, "S11", "11.5");
    assert_eq!(
        told(&mut bench, "S11"),
        "11",
        "nothing is told while it is stopped"
    );
    let stop = rows.iter().find(|row| row.1 == "too_many_jumps").unwrap().0;
    assert!(bench.engine.quarantine_dismiss(stop, "no".into()).is_err());
    bench.tick(60);
    bench.accept("erp", Stream::Prices, list(1));
    told(&mut bench, "S10"); // what nobody was sure of after the crash is said again
    told(&mut bench, "S10");
    assert!(
        held(&mut bench).iter().all(|row| row.1 != "too_many_jumps"),
        "its source was mended"
    );
    say(&mut bench, "S11", "12");
    assert_eq!(told(&mut bench, "S11"), "12");
}

/// A mapping that scales, rounds and checks.
#[derive(Debug)]
struct Gross(&'static str);

impl RecordMapping for Gross {
    fn apply(&self, record: &Value) -> Result<Mapped, Fault> {
        if record["price"]["currency"] != "EUR" {
            return Err(Fault::reject("reject_if", "field price: another currency"));
        }
        let net: rust_decimal::Decimal =
            record["price"]["amount"].as_str().unwrap().parse().unwrap();
        let factor: rust_decimal::Decimal = self.0.parse().unwrap();
        let mut mapped = record.clone();
        mapped["price"]["amount"] = Value::String((net * factor).round_dp(2).to_string());
        Ok(Mapped::Kept(mapped))
    }
    fn version(&self) -> &str {
        self.0
    }
}

fn mapped(factor: &'static str) -> Rules {
    let mut rules = catalogue_without_items();
    rules
        .mappings
        .insert("north_prices".into(), Arc::new(Gross(factor)));
    rules
}

/// Stories 58 and 59: no other currency, and nothing finer than a cent.
#[test]
fn a_mapping_makes_the_price_and_a_changed_one_is_applied_to_all() {
    let mut bench = Bench::with(mapped("1.19"));
    say(&mut bench, "A", "10.0168");
    let dollars = json!({"sku": "B", "price": {"amount": "5", "currency": "USD"}});
    bench.accept(
        "erp",
        Stream::Prices,
        vec![change(Stream::Prices, "B", dollars)],
    );
    assert_eq!(told(&mut bench, "A"), "11.92");
    let codes: Vec<String> = held(&mut bench).into_iter().map(|row| row.1).collect();
    assert_eq!(
        codes,
        ["too_fine", "reject_if"],
        "south has no mapping, and north no dollars"
    );
    while bench.engine.derive_prices().unwrap() {}
    bench.engine.reload(Arc::new(mapped("1.07"))).unwrap();
    while bench.engine.derive_prices().unwrap() {}
    assert_eq!(told(&mut bench, "A"), "10.72");
    let (number, _) = held(&mut bench)[0].clone();
    bench.engine.quarantine_retry(number).unwrap();
    assert_eq!(held(&mut bench).len(), 2, "still too fine");
}

#[test]
fn sale_prices_lists_and_quantities_are_kept_apart() {
    let mut bench = bench();
    let said = |list: &str, min_qty: &str, amount: &str, before: &str| {
        let money = |amount: &str| json!({"amount": amount, "currency": "EUR"});
        let json = json!({"sku": "A", "list": list, "min_qty": min_qty, "price": money(amount),
            "compare_at": money(before), "tax_included": true});
        change(Stream::Prices, &format!("{list}{min_qty}"), json)
    };
    let prices = vec![
        said("default", "1", "8", "10"),
        said("default", "10", "7", "7"),
        said("b2b", "1", "6", "10"),
    ];
    bench.accept("erp", Stream::Prices, prices);
    let claimed = bench.deliver("north", Stream::Prices);
    let mut sent: Vec<String> = claimed
        .iter()
        .map(|claim| {
            let Record::Price(price) = &claim.delivery.record else {
                panic!("a price")
            };
            let before = price
                .compare_at
                .value()
                .map_or("-".into(), ToString::to_string);
            format!(
                "{} from {}: {} was {before}",
                price.list, price.min_qty, price.price
            )
        })
        .collect();
    sent.sort();
    assert_eq!(
        sent,
        [
            "b2b from 1: 6.00 EUR was 10.00 EUR",
            "default from 10: 7.00 EUR was -",
            "default from 1: 8.00 EUR was 10.00 EUR",
        ]
    );
    assert_eq!(
        bench
            .engine
            .explain_price("A".into(), Some("north".into()))
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn a_price_of_somebody_who_does_not_own_it_is_shown_and_not_carried() {
    let mut rules = catalogue_without_items();
    rules.owners.insert(Stream::Prices, "other".into());
    let mut bench = Bench::with(rules);
    say(&mut bench, "A", "10");
    assert!(bench.claim("north", Stream::Prices).is_empty());
    assert_eq!(bench.counts("north_prices").filtered["not_the_owner"], 1);
}

/// Story 33: a page repeats what a price was before, behind what it is, and a later page does too.
#[test]
fn an_older_version_of_a_price_changes_nothing() {
    let mut bench = bench();
    let version = |amount: &str, at: &str| {
        let mut change = price("A", amount);
        change.version.updated_at = Some(at.parse().unwrap());
        change
    };
    let (was, is) = ("2026-11-22T09:00:00Z", "2026-11-22T09:30:00Z");
    let page = vec![version("11", is), version("10", was)];
    assert_eq!(bench.accept("erp", Stream::Prices, page).stale, 1);
    assert_eq!(told(&mut bench, "A"), "11");
    bench.tick(60);
    let again = bench.accept("erp", Stream::Prices, vec![version("10", was)]);
    assert_eq!((again.stale, told(&mut bench, "A").as_str()), (1, "11"));
    bench.tick(60);
    bench.accept("erp", Stream::Prices, vec![version("12", is)]);
    assert_eq!(told(&mut bench, "A"), "12", "two changes in one second");
}

fn with(change: impl FnOnce(&mut Value)) -> Change {
    let mut json = json!({"sku": "A", "price": {"amount": "10", "currency": "EUR"}});
    change(&mut json);
    self::change(Stream::Prices, "A", json)
}

/// All of a price arrives: what it is compared with, and whether tax is in it.
#[test]
fn a_price_is_told_with_everything_that_was_said() {
    let mut bench = bench();
    for tax in [true, false] {
        bench.tick(1);
        let said = with(|json| {
            json["compare_at"] = json!({"amount": "12", "currency": "EUR"});
            json["tax_included"] = json!(tax);
        });
        assert_eq!(bench.accept("erp", Stream::Prices, vec![said]).news, 1);
        let claimed = bench.deliver("north", Stream::Prices);
        let Record::Price(price) = &claimed[0].delivery.record else {
            panic!("a price")
        };
        assert_eq!(price.tax_included.value(), Some(&tax));
        assert_eq!(price.compare_at.value().unwrap().to_string(), "12.00 EUR");
    }
    let why = bench.engine.explain_price("A".into(), None).unwrap();
    assert_eq!(why.len(), 2);
    for reason in why {
        assert_eq!((reason.said.len(), reason.applies), (1, true));
        assert_eq!(reason.said[0].0, "erp");
    }
}

/// The name of a list is part of a key of the store: short, and without what separates its parts.
#[test]
fn a_price_list_has_a_name_that_can_be_a_key() {
    let mut bench = bench();
    let longest = crate::store::blocks::MAX_KEY_BYTES - "A\t\tEUR".len();
    for (list, is_good) in [
        ("a\tb".to_owned(), false),
        ("x".repeat(longest + 1), false),
        ("x".repeat(longest), true),
        ("gold".to_owned(), true),
    ] {
        bench.tick(1);
        let said = with(|json| json["list"] = json!(list));
        let accepted = bench.accept("erp", Stream::Prices, vec![said]);
        let expected = if is_good { (1, 0) } else { (0, 1) };
        assert_eq!((accepted.news, accepted.rejected), expected);
        // Good news of it ends what was bad before.
        assert_eq!(held(&mut bench).len(), usize::from(!is_good));
    }
}

/// What stood there as francs would be shown as euros: it is not taken in.
#[test]
fn a_price_is_not_compared_with_another_currency() {
    let mut bench = bench();
    let said = with(|json| json["compare_at"] = json!({"amount": "12", "currency": "CHF"}));
    assert_eq!(bench.accept("erp", Stream::Prices, vec![said]).rejected, 1);
    assert!(bench.claim("north", Stream::Prices).is_empty());
    let codes: Vec<String> = held(&mut bench).into_iter().map(|row| row.1).collect();
    assert_eq!(codes, ["two_currencies"]);
    say(&mut bench, "A", "10");
    assert_eq!(held(&mut bench), []);
    assert_eq!(told(&mut bench, "A"), "10");
}

/// A price for another time is told by nobody, and counted.
#[test]
fn a_price_is_told_while_it_is_valid() {
    for (from, to, told) in [
        (None, None, 1),
        (Some("2026-11-22T10:00:00Z"), None, 1),
        (Some("2026-11-22T10:00:01Z"), None, 0),
        (None, Some("2026-11-22T10:00:01Z"), 1),
        (None, Some("2026-11-22T10:00:00Z"), 0),
        (
            Some("2026-11-20T10:00:00Z"),
            Some("2026-11-21T10:00:00Z"),
            0,
        ),
    ] {
        let mut bench = bench();
        let said = with(|json| {
            json["valid_from"] = json!(from);
            json["valid_to"] = json!(to);
        });
        bench.accept("erp", Stream::Prices, vec![said]);
        let claimed = bench.claim("north", Stream::Prices);
        assert_eq!(claimed.len(), told, "{from:?} {to:?}");
        let counts = bench.counts("north_prices");
        let filtered = counts.filtered.get("not_valid_now").copied();
        assert_eq!(counts.routed, 1, "{from:?} {to:?}");
        assert_eq!(filtered.unwrap_or(0), 1 - told as u64, "{from:?} {to:?}");
    }
}

/// Two readings of one moment: what came last counts.
#[test]
fn of_one_moment_the_last_word_counts() {
    let mut bench = bench();
    for amount in ["10", "11"] {
        let accepted = bench.accept("erp", Stream::Prices, vec![price("A", amount)]);
        assert_eq!((accepted.news, accepted.stale), (1, 0));
    }
    assert_eq!(told(&mut bench, "A"), "11");
}

/// A mapping that refuses a price, keeps one back, or lets all through.
#[derive(Debug)]
struct Choosy(&'static str);

impl RecordMapping for Choosy {
    fn apply(&self, record: &Value) -> Result<Mapped, Fault> {
        match (self.0, record["sku"].as_str()) {
            ("choosy", Some("A")) => Err(Fault::reject("lookup_unmatched", "no entry")),
            ("choosy", Some("B")) => Ok(Mapped::Filtered("no_samples".into())),
            _ => Ok(Mapped::Kept(record.clone())),
        }
    }
    fn version(&self) -> &str {
        self.0
    }
}

fn choosing(version: &'static str) -> Rules {
    let mut rules = catalogue_without_items();
    for route in ["north_prices", "south_prices"] {
        let mapping = Arc::new(Choosy(version));
        rules.mappings.insert(route.into(), mapping);
    }
    rules
}

/// A mapping that refuses holds one row for each route; mended, each row is tried by itself, and what was kept
/// back comes with the next application of the rules.
#[test]
fn a_price_that_a_mapping_refused_is_told_when_that_is_mended() {
    let mut bench = Bench::with(choosing("choosy"));
    let prices = vec![price("A", "10"), price("B", "10")];
    bench.accept("erp", Stream::Prices, prices);
    assert!(bench.claim("north", Stream::Prices).is_empty());
    let rows = held(&mut bench);
    assert_eq!(rows.len(), 2, "one for each route");
    let counts = bench.counts("north_prices");
    assert_eq!((counts.routed, counts.filtered["no_samples"]), (1, 1));
    bench.engine.reload(Arc::new(choosing("mended"))).unwrap();
    bench.engine.quarantine_retry(rows[0].0).unwrap();
    assert_eq!(held(&mut bench).len(), 1, "the other is tried by itself");
    let north = bench.claim("north", Stream::Prices);
    let south = bench.claim("south", Stream::Prices);
    assert_eq!((north.len(), south.len()), (1, 0));
    while bench.engine.derive_prices().unwrap() {}
    assert_eq!(held(&mut bench).len(), 0);
    assert_eq!(bench.claim("south", Stream::Prices).len(), 2);
}

/// A changed mapping is applied to all prices, however many steps that takes.
#[test]
fn a_changed_mapping_is_applied_to_every_price() {
    let count = 1000; // just two steps
    let mut bench = Bench::with(choosing("choosy"));
    let prices = (0..count).map(|n| price(&format!("S{n:04}"), "10"));
    bench.accept("erp", Stream::Prices, prices.collect());
    let mut rules = choosing("mended");
    rules.facts = BTreeMap::new();
    let other = Route {
        name: "west_prices".into(),
        from: ("erp".into(), Stream::Prices),
        to: ("west".into(), Stream::Prices),
        mode: Mode::Apply,
        start_from: None,
    };
    let routes: Vec<Route> = rules.router.all().cloned().chain([other]).collect();
    rules.router = Router::new(routes);
    bench.engine.reload(Arc::new(rules)).unwrap();
    let mut steps = 0;
    while bench.engine.derive_prices().unwrap() {
        steps += 1;
        assert!(steps < 100, "it never ends");
    }
    let mut told = 0;
    loop {
        let claimed = bench.deliver("west", Stream::Prices);
        if claimed.is_empty() {
            break;
        }
        told += claimed.len();
    }
    assert_eq!(told, count);
}

/// A list as long as one unit of work may be, for two channels: it fits in a commit.
#[test]
fn a_long_list_is_taken_in() {
    let mut bench = bench();
    let list = |amount: &str| {
        (0..UNIT_LEVELS)
            .map(|n| price(&format!("S{n:04}"), amount))
            .collect()
    };
    for amount in ["10", "11"] {
        bench.tick(1);
        let accepted = bench.accept("erp", Stream::Prices, list(amount));
        assert_eq!(accepted.news, UNIT_LEVELS);
    }
    assert_eq!(bench.counts("south_prices").routed, 2 * UNIT_LEVELS as u64);
}

/// A price in flight that is wanted back: nobody knows what stands there after a crash, so it is told again. One
/// that was never sent leaves no doubt.
#[test]
fn a_price_that_is_wanted_back_while_it_is_sent_is_told_again() {
    for sent in [true, false] {
        let mut bench = bench();
        say(&mut bench, "A", "10");
        assert_eq!(told(&mut bench, "A"), "10");
        say(&mut bench, "A", "12");
        if sent {
            assert_eq!(bench.claim("north", Stream::Prices).len(), 1);
        }
        say(&mut bench, "A", "10");
        let mut bench = bench.crash_with(catalogue_without_items());
        let again = bench.claim("north", Stream::Prices);
        assert_eq!(again.len(), usize::from(sent));
    }
}

/// The same of one that was to be told once more anyhow: what is under way now is another price, and may land at once.
#[test]
fn a_late_price_that_is_wanted_back_while_it_is_sent_is_told_at_once() {
    let rules = || {
        let mut rules = catalogue_without_items();
        rules.facts.entry("north".into()).or_default().late = Duration::from_secs(30);
        rules
    };
    let mut bench = Bench::with(rules());
    say(&mut bench, "A", "10");
    assert_eq!(bench.claim("north", Stream::Prices).len(), 1, "under way");
    let mut bench = bench.crash_with(rules());
    assert_eq!(told(&mut bench, "A"), "10");
    assert!(bench.claim("north", Stream::Prices).is_empty(), "later");
    say(&mut bench, "A", "12");
    assert_eq!(bench.claim("north", Stream::Prices).len(), 1);
    say(&mut bench, "A", "10");
    let mut bench = bench.crash_with(rules());
    assert_eq!(bench.claim("north", Stream::Prices).len(), 1);
}

/// Where two routes lead to one channel it is the owner's that tells and counts.
#[test]
fn the_owners_route_tells() {
    let mut rules = catalogue_without_items();
    let other = Route {
        name: "acme_prices".into(),
        from: ("acme".into(), Stream::Prices),
        to: ("north".into(), Stream::Prices),
        mode: Mode::Observe,
        start_from: None,
    };
    let routes = std::iter::once(other).chain(rules.router.all().cloned());
    rules.router = Router::new(routes.collect::<Vec<_>>());
    rules.owners.insert(Stream::Prices, "erp".into());
    let mut bench = Bench::with(rules);
    bench.accept("acme", Stream::Prices, vec![price("A", "7")]);
    say(&mut bench, "A", "10");
    let told = bench.deliver("north", Stream::Prices);
    assert_eq!(told.len(), 1);
    assert_eq!(bench.counts("north_prices").delivered, 1);
    let counts = bench.counts("acme_prices");
    assert_eq!((counts.routed, counts.filtered["not_the_owner"]), (1, 1));
}
