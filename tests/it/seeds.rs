//! The whole daemon against scripted systems in virtual time, one short run for each seed: hundreds in every
//! test run. Whatever happens, nothing is lost, doubled or sold twice, and everything ends well.
//!
//! Beside `sim.rs`, where whole days pass through HTTP, JSON and manifests, this is the daemon alone: its
//! loops, its limiter, its engine and a store that crashes. `CROSSDOCK_SEED=17` runs one seed and prints its
//! story, `CROSSDOCK_SEEDS=100000` so many from 1 (or `CROSSDOCK_FROM`) on; `--profile sweep` builds for that. The
//! same seed is the same run, to the last event.

#[path = "seeds/case.rs"]
mod case;
#[path = "seeds/clock.rs"]
mod clock;
#[path = "seeds/erp.rs"]
mod erp;
#[path = "seeds/horizon.rs"]
mod horizon;
#[path = "seeds/items.rs"]
mod items;
#[path = "seeds/judge.rs"]
mod judge;
#[path = "seeds/life.rs"]
mod life;
#[path = "seeds/plan.rs"]
mod plan;
#[path = "seeds/planted.rs"]
mod planted;
#[path = "seeds/prices.rs"]
mod prices;
#[path = "seeds/quota.rs"]
mod quota;
#[path = "seeds/shop.rs"]
mod shop;
#[path = "seeds/sinks.rs"]
mod sinks;
#[path = "seeds/sources.rs"]
mod sources;
#[path = "seeds/sweep.rs"]
mod sweep;
#[path = "seeds/systems.rs"]
mod systems;
#[path = "seeds/wire.rs"]
mod wire;
#[path = "seeds/world.rs"]
mod world;

use case::Case;
use sweep::Swept;

/// How many seeds are run when nobody says otherwise.
const SEEDS: u64 = 500;

#[expect(
    clippy::disallowed_methods,
    reason = "how much is swept is said from outside"
)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|it| it.parse().ok())
}

#[test]
#[expect(clippy::print_stdout, reason = "what was swept is printed")]
fn whatever_happens_everything_ends_well() {
    let from = number("CROSSDOCK_FROM").unwrap_or(1);
    let many = number("CROSSDOCK_SEEDS").unwrap_or(SEEDS);
    let seeds = number("CROSSDOCK_SEED").map_or(from..=from + many - 1, |seed| seed..=seed);
    let is_one = seeds.clone().count() == 1;
    let swept = sweep::sweep(seeds.clone());
    if let Some(failed) = swept.failed {
        let as_it_is = number("CROSSDOCK_BRIEF") == Some(0);
        println!("{}", sweep::story(&failed, as_it_is));
        panic!("seed {} goes wrong", failed.seed);
    }
    if is_one {
        let case = Case::new(*seeds.start());
        println!("{}", life::run(&case).trace);
    }
    let Swept { orders, lives, .. } = swept;
    println!("{} seeds, {orders} orders, {lives} lives", seeds.count());
}

/// The same seed is the same run, to the last event.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..=12 {
        let case = Case::new(seed);
        let (one, other) = (life::run(&case).trace, life::run(&case).trace);
        assert!(
            one == other,
            "seed {seed}:\n{}",
            sweep::first_difference(&one, &other)
        );
    }
}
