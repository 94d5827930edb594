//! Items, prices and stock together, swept: whatever fails and whenever power is lost, each item is on
//! the channel once, in one product, with the last name, price and number its owners gave.

use super::*;
use crate::connector::Operation;

const SKUS: [&str; 5] = ["A", "B", "C", "D", "E"];

/// A webstore that remembers what was done to it.
#[derive(Debug, Default)]
struct Channel {
    variants: BTreeMap<String, Variant>,
    products: usize,
    created: usize,
    wrong: Vec<String>,
    /// Numbers of what is not there.
    refused: Vec<String>,
}

#[derive(Debug, Default, Clone)]
struct Variant {
    name: String,
    on_sale: bool,
    product: usize,
    price: Option<String>,
    stock: Option<String>,
}

/// What its owners say of an item.
#[derive(Debug, Clone)]
struct Truth {
    name: String,
    on_sale: bool,
    price: i64,
    stock: i64,
}

impl Channel {
    /// Does what a claimed delivery asks for, as a connector would.
    fn carry_out(&mut self, claimed: &Claimed) -> Outcome {
        let delivery = &claimed.delivery;
        let sku = delivery.record.sku().unwrap().to_string();
        let there = self.variants.contains_key(&sku);
        match &delivery.record {
            Record::Item(item) => {
                let on_sale = item.status == crate::record::ItemStatus::Active;
                let existed = delivery.operation == Operation::Create && there;
                if delivery.operation == Operation::Create && !there {
                    if claimed.action == Action::FindOnly {
                        return Outcome::Delivered(Confirmation::default());
                    }
                    let group = delivery
                        .group
                        .as_ref()
                        .and_then(|id| id.as_str().parse().ok());
                    let product = group.unwrap_or_else(|| {
                        self.products += 1;
                        self.products
                    });
                    self.created += 1;
                    let new = Variant {
                        product,
                        ..Variant::default()
                    };
                    self.variants.insert(sku.clone(), new);
                }
                let Some(variant) = self.variants.get_mut(&sku) else {
                    self.wrong
                        .push(format!("{sku} is changed before it is there"));
                    return Outcome::Failed(Fault::reject("not_there", ""));
                };
                if !existed {
                    variant.name = item.name.value().cloned().unwrap_or_default();
                    variant.on_sale = on_sale && delivery.operation != Operation::Cancel;
                }
                let group = variant.product.to_string();
                Outcome::Delivered(Confirmation {
                    remote_id: Some(format!("V-{sku}").into()),
                    group: Some(group.into()),
                    existed,
                    ..Confirmation::default()
                })
            }
            Record::Price(price) => {
                self.number(&sku, |it| it.price = Some(price.price.to_string()))
            }
            Record::Stock(level) => {
                let number = level.on_hand.value().unwrap().to_string();
                self.number(&sku, |it| it.stock = Some(number))
            }
            _ => panic!("nothing else is carried"),
        }
    }

    fn number(&mut self, sku: &str, set: impl FnOnce(&mut Variant)) -> Outcome {
        if let Some(variant) = self.variants.get_mut(sku) {
            set(variant);
            return Outcome::Delivered(Confirmation::default());
        }
        self.refused.push(sku.to_owned());
        Outcome::Failed(Fault::reject("unknown_sku", ""))
    }
}

struct Story {
    bench: Bench,
    channel: Channel,
    truth: BTreeMap<&'static str, Truth>,
    rng: fastrand::Rng,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::with(catalogue(Mode::Apply));
        // The owner's list was read once, empty: from now on each item is known before its numbers.
        bench.accept("erp", Stream::Items, vec![]);
        Self {
            bench,
            channel: Channel::default(),
            truth: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    fn owner_says(&mut self) {
        let sku = SKUS[self.rng.usize(..SKUS.len())];
        let (n, what) = (self.rng.i64(1..99), self.rng.u8(..4));
        let is_new = !self.truth.contains_key(sku);
        let truth = self.truth.entry(sku).or_insert(Truth {
            name: "new".into(),
            on_sale: true,
            price: 100,
            stock: 5,
        });
        match what {
            0 => truth.name = format!("name {n}"),
            1 => truth.on_sale = !truth.on_sale,
            2 => truth.price = 100 + n / 3,
            _ => truth.stock = n,
        }
        let truth = truth.clone();
        let status = if truth.on_sale { "active" } else { "archived" };
        self.bench.tick(1);
        if is_new || what < 2 {
            let items = vec![item(sku, &truth.name, status)];
            self.bench.accept("erp", Stream::Items, items);
        }
        if is_new || what == 2 {
            let prices = vec![price(sku, &truth.price.to_string())];
            self.bench.accept("erp", Stream::Prices, prices);
        }
        if is_new || what == 3 {
            let levels = vec![level(sku, truth.stock)];
            self.bench.accept("erp", Stream::Stock, levels);
        }
    }

    /// One round of one stream; whether something was due. `calm`: nothing goes wrong.
    fn send(&mut self, stream: Stream, calm: bool) -> bool {
        let claimed = self.bench.claim("north", stream);
        let any = !claimed.is_empty();
        for claim in claimed {
            let fate = if calm { 9 } else { self.rng.u8(..10) };
            let lost = || Outcome::Failed(Fault::retry("http_timeout", "").after_sending());
            let outcome = match fate {
                // Whoever cannot look knows no more than before (dispatch says so).
                0 if matches!(claim.action, Action::FindFirst(_)) => lost(),
                0 => Outcome::Failed(Fault::retry("refused", "")),
                1 => {
                    self.channel.carry_out(&claim);
                    lost()
                }
                2 => lost(),
                3 => {
                    self.channel.carry_out(&claim);
                    self.check_refused();
                    self.crash();
                    return true;
                }
                _ => self.channel.carry_out(&claim),
            };
            self.check_refused();
            self.bench.settle("north", stream, vec![(claim, outcome)]);
        }
        any
    }

    /// What is on sale is created first; only of what was never carried the channel says that it has
    /// not got it.
    fn check_refused(&mut self) {
        for sku in self.channel.refused.drain(..) {
            let on_sale = self.truth.get(sku.as_str()).is_some_and(|it| it.on_sale);
            assert!(!on_sale, "a number of {sku} came before it");
        }
    }

    fn crash(&mut self) {
        let bench = std::mem::replace(&mut self.bench, Bench::new());
        self.bench = bench.crash_with(catalogue(Mode::Apply));
    }

    fn settle_all(&mut self) {
        for _ in 0..200 {
            self.bench.tick(400);
            let streams = [Stream::Items, Stream::Stock, Stream::Prices];
            let busy = streams.map(|stream| self.send(stream, true));
            if busy == [false; 3] {
                return;
            }
        }
        panic!("it never becomes quiet");
    }

    fn check(&self) {
        assert_eq!(self.channel.wrong, [""; 0]);
        assert!(
            self.channel.products <= 1,
            "{} products",
            self.channel.products
        );
        assert_eq!(self.channel.created, self.channel.variants.len());
        for (sku, truth) in &self.truth {
            let Some(variant) = self.channel.variants.get(*sku) else {
                assert!(!truth.on_sale, "{sku} is not there");
                continue;
            };
            let stock = if truth.on_sale { truth.stock } else { 0 };
            let is = (
                variant.on_sale,
                variant.stock.clone(),
                variant.price.clone(),
            );
            let should = (
                truth.on_sale,
                Some(stock.to_string()),
                Some(format!("{}.00 EUR", truth.price)),
            );
            assert_eq!(is, should, "{sku}");
            assert_eq!(variant.name, truth.name, "{sku}");
        }
    }
}

#[test]
fn whatever_fails_the_channel_ends_as_its_owners_say() {
    for seed in 0..150 {
        let mut story = Story::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..60 {
                match story.rng.u8(..8) {
                    0..3 => story.owner_says(),
                    3..5 => drop(story.send(Stream::Items, false)),
                    5 => drop(story.send(Stream::Stock, false)),
                    6 => drop(story.send(Stream::Prices, false)),
                    _ if story.rng.u8(..4) == 0 => story.crash(),
                    _ => story.bench.tick(30),
                }
            }
            story.settle_all();
            story.check();
        }));
        assert!(result.is_ok(), "seed {seed} fails");
    }
}
