//! Practice systems on loopback: two webstores, a marketplace, a till, an ERP and a supplier, with people
//! in them and with faults on demand. `crossdock demo` and the end-to-end tests run the real daemon against them.
//!
//! ```text
//! crew (shoppers, till, clerk, supplier) --> systems <-- stations (limit, faults) <-- HTTP <-- daemon
//!                                               |
//!                                           audit log --> statement
//! ```
//!
//! The daemon meets a world only through [`World::config_toml`] and what listens there. Whether it did
//! its work is computed by [`statement`] from the systems' own log, never from the daemon's store.
//!
//! Everything takes its time from the [`Clock`] of the world. On a manual clock, with [`Station::exchange`]
//! instead of sockets, a world is a deterministic simulation.

pub mod audit;
pub mod basket;
pub mod catalog;
pub mod crew;
pub mod erp;
pub mod faults;
pub mod inside;
pub mod live;
pub mod market;
pub mod outlet;
mod paging;
pub mod pos;
pub mod serve;
pub mod settings;
pub mod shop;
pub mod statement;
pub mod supplier;
mod wire;

#[cfg(test)]
mod manifest_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crew::{Crew, Pace};
pub use faults::{FaultKind, FaultPlan};
pub use serve::{Call, Ending, RateLimit, Reply, Station, System};
pub use statement::{Reach, Statement};

use audit::AuditLog;
use erp::{Erp, ErpOptions};
use market::{Market, MarketOptions};
use outlet::Outlet;
use pos::Pos;
use shop::{Shop, ShopOptions};
use supplier::Supplier;

use crate::clock::{Clock, Timestamp};

/// The systems that speak HTTP, in the order in which people read them.
pub const SYSTEMS: [&str; 5] = ["north", "south", "pos", "erp", "market"];

/// What kind of world.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// Where everything random comes from.
    pub seed: u64,
    /// How many articles; at least 8.
    pub articles: usize,
    /// What goes wrong, by system; nothing at those that are not named.
    pub faults: BTreeMap<String, FaultPlan>,
    /// How many requests each system takes.
    pub limit: Option<RateLimit>,
    /// Whether the ERP refuses a reference that it has already.
    pub erp_unique_reference: bool,
    /// How long a webstore's token lives.
    pub token_life: Duration,
    /// How long until a webstore's order shows up in lists, at most.
    pub visibility_lag: Duration,
    /// Whether people buy at the marketplace too.
    pub market: bool,
    /// The shops lack a third of the articles at the beginning, and the daemon is to carry items and
    /// prices to them; otherwise they have everything and prices are nobody's business.
    pub carry_items: bool,
    /// Where the supplier drops its files.
    pub folder: PathBuf,
    /// How soon the daemon promises to tell: what the statement calls avoidable depends on it.
    pub reach: Reach,
}

impl WorldOptions {
    /// A calm world whose supplier drops into `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            seed: 1,
            articles: 42,
            faults: BTreeMap::new(),
            limit: Some(RateLimit {
                per_second: 100.0,
                burst: 200.0,
            }),
            erp_unique_reference: false,
            token_life: Duration::from_mins(5),
            visibility_lag: Duration::from_millis(800),
            market: false,
            carry_items: true,
            folder,
            reach: Reach::default(),
        }
    }

    /// The same world, with every kind of fault at every system: about `percent` of the requests, and
    /// clocks that are wrong by up to `skew_secs` either way.
    #[must_use]
    pub fn with_faults(mut self, percent: f64, skew_secs: i64) -> Self {
        for (name, sign) in SYSTEMS.into_iter().zip([1, -1, 0, 1, -1]) {
            let mut plan = FaultPlan::all(self.seed, percent);
            plan.clock_skew_secs = sign * skew_secs;
            self.faults.insert(name.to_owned(), plan);
        }
        self
    }

    fn plan(&self, system: &str) -> FaultPlan {
        self.faults.get(system).cloned().unwrap_or_default()
    }
}

/// All practice systems together.
#[derive(Debug)]
pub struct World {
    /// The webstore `north`: honours idempotency keys.
    pub north: Arc<Shop>,
    /// The webstore `south`: does not, and shows its orders late.
    pub south: Arc<Shop>,
    /// The marketplace `market`.
    pub market: Arc<Market>,
    /// The till system `pos`.
    pub pos: Arc<Pos>,
    /// The ERP `erp`.
    pub erp: Arc<Erp>,
    /// The supplier `acme`.
    pub acme: Arc<Supplier>,
    /// What really happened.
    pub audit: Arc<AuditLog>,
    options: WorldOptions,
    stations: BTreeMap<String, Arc<Station>>,
    urls: BTreeMap<String, String>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl World {
    /// A world that nobody can reach over the network: for simulations, through [`World::station`].
    pub fn new(clock: &Arc<dyn Clock>, options: WorldOptions) -> Self {
        let audit = AuditLog::new(Arc::clone(clock));
        let articles = catalog::articles(options.seed, options.articles);
        let shop = |name: &str, idempotency: bool| {
            let options = ShopOptions {
                name: name.to_owned(),
                number_prefix: name[..1].to_uppercase(),
                idempotency,
                token_life: options.token_life,
                visibility_lag: options.visibility_lag,
                knows_all: !options.carry_items,
                seed: options.seed,
            };
            Arc::new(Shop::new(
                options,
                Arc::clone(&audit),
                &articles,
                clock.now(),
            ))
        };
        let (north, south) = (shop("north", true), shop("south", false));
        let pos = Arc::new(Pos::new("pos", Arc::clone(&audit), &articles));
        let erp_options = ErpOptions {
            name: "erp".to_owned(),
            unique_reference: options.erp_unique_reference,
            warn_every: 4,
        };
        let erp = Erp::new(erp_options, Arc::clone(&audit), &articles, clock.now());
        let erp = Arc::new(erp);
        let market = MarketOptions {
            token_life: options.token_life,
            visibility_lag: options.visibility_lag,
            ..MarketOptions::new("market", options.seed)
        };
        let market = Market::new(market, Arc::clone(&audit), &articles, clock.now());
        let market = Arc::new(market);
        let folder = options.folder.clone();
        let acme = Arc::new(Supplier::new("acme", folder, Arc::clone(&audit), &articles));
        let systems: [Arc<dyn System>; 5] = [
            Arc::<Shop>::clone(&north),
            Arc::<Shop>::clone(&south),
            Arc::<Pos>::clone(&pos),
            Arc::<Erp>::clone(&erp),
            Arc::<Market>::clone(&market),
        ];
        let stations = systems.into_iter().map(|system| {
            let name = system.name().to_owned();
            let plan = options.plan(&name);
            // The marketplace has a quota for each operation instead.
            let limit = options.limit.filter(|_| name != "market");
            let station = Station::new(system, Arc::clone(&audit), plan, limit);
            (name, station)
        });
        Self {
            north,
            south,
            market,
            pos,
            erp,
            acme,
            stations: stations.collect(),
            audit,
            options,
            urls: BTreeMap::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// The same, with every system listening on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be had, or the supplier's folder cannot be made.
    pub async fn start(clock: &Arc<dyn Clock>, options: WorldOptions) -> io::Result<Self> {
        std::fs::create_dir_all(options.folder.join("in"))?;
        let mut world = Self::new(clock, options);
        for (name, station) in &world.stations {
            let url = serve::listen(Arc::clone(station), &world.tasks, &world.stop).await?;
            world.urls.insert(name.clone(), url);
        }
        Ok(world)
    }

    /// Stops listening and waits until every connection is closed.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What kind of world it is.
    pub fn options(&self) -> &WorldOptions {
        &self.options
    }

    /// Where a system listens: `http://127.0.0.1:PORT`; `None` when it does not.
    pub fn url(&self, system: &str) -> Option<&str> {
        self.urls.get(system).map(String::as_str)
    }

    /// A system with its limit and faults.
    pub fn station(&self, system: &str) -> Option<&Arc<Station>> {
        self.stations.get(system)
    }

    /// The webstore of that name.
    pub fn shop(&self, name: &str) -> Option<&Arc<Shop>> {
        [&self.north, &self.south]
            .into_iter()
            .find(|shop| shop.name() == name)
    }

    /// Where shoppers buy.
    pub fn outlets(&self) -> Vec<&dyn Outlet> {
        let mut outlets: Vec<&dyn Outlet> = vec![&*self.north, &*self.south];
        if self.options.market {
            outlets.push(&*self.market);
        }
        outlets
    }

    /// What `system` takes for the present time.
    pub fn time_at(&self, system: &str) -> Timestamp {
        self.station(system)
            .map_or_else(|| self.audit.clock().now(), |station| station.now())
    }

    /// Lets all faults rest (`false`), so that things can settle, or goes on with them.
    pub fn switch_faults(&self, on: bool) {
        for station in self.stations.values() {
            station.faults.switch(on);
        }
    }

    /// The people at work until `stop`: one step every 50 ms. Returns after the first step that saw it.
    pub async fn run(&self, crew: &mut Crew, stop: &CancellationToken) {
        let clock = self.audit.clock();
        loop {
            crew.step(clock.now(), self);
            if stop.is_cancelled() {
                return;
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Closing time: nobody buys any more, faults rest, and the clerk sends what was bought, until all of
    /// it is settled or `limit` is over. Gives the statement then.
    ///
    /// Settled is when the statement holds and nobody has anything left to do; one that cannot hold any
    /// more (something was doubled) is waited for in vain, up to the limit.
    pub async fn settle(&self, crew: &mut Crew, limit: Duration) -> Statement {
        let clock = self.audit.clock();
        let until = clock.monotonic() + limit;
        crew.close();
        self.switch_faults(false);
        loop {
            for _ in 0..10 {
                crew.step(clock.now(), self);
                clock.sleep(Duration::from_millis(50)).await;
            }
            let statement = self.statement();
            let settled = statement.holds() && crew.is_idle(self);
            if settled || clock.monotonic() >= until {
                return statement;
            }
        }
    }

    /// What became of everything so far.
    pub fn statement(&self) -> Statement {
        statement::compute(self)
    }
}
