//! `crossdock prove`: both sides are asked, and whatever somebody does to one of them is told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossdock::clock::{Clock, Timestamp};
use crossdock::config::{self, Credentials};
use crossdock::connector::Connector;
use crossdock::connectors::built_in;
use crossdock::proof::{NumbersProof, Proof, RouteProof};
use crossdock::runtime::{Runtime, SystemClock, open_store, store_path};
use crossdock::sandbox::erp::{ErpOrder, ErpState};
use crossdock::sandbox::shop::ShopOrder;
use crossdock::sandbox::{Crew, Pace, World, WorldOptions};
use crossdock::topology::{self, Plan};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(90);

/// A world after a short day, and its daemon.
struct Evening {
    clock: Arc<dyn Clock>,
    began: Timestamp,
    world: World,
    runtime: Runtime,
}

impl Evening {
    async fn of(folder: &Path, state: &Path) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let began = clock.now();
        let mut options = WorldOptions::new(folder.join("acme"));
        options.reach.write = Duration::from_secs(10);
        let world = World::start(&clock, options).await.unwrap();
        let runtime = start(&plan_of(&world, state), &clock);
        let mut crew = Crew::new(7, &Pace::default(), began);
        let stop = CancellationToken::new();
        tokio::join!(world.run(&mut crew, &stop), async {
            clock.sleep(Duration::from_secs(5)).await;
            stop.cancel();
        });
        let statement = world.settle(&mut crew, LIMIT).await;
        assert!(statement.holds(), "{}", statement.to_text());
        Self {
            clock,
            began,
            world,
            runtime,
        }
    }

    async fn prove(&self) -> Proof {
        let to = self.clock.now();
        self.runtime.prover().prove(self.began, to).await.unwrap()
    }

    async fn end(self) {
        let limit = Duration::from_secs(5);
        self.runtime.stop(limit, self.clock.as_ref()).await.unwrap();
        self.world.stop().await;
    }
}

fn plan_of(world: &World, state: &Path) -> Arc<Plan> {
    let path = world.write_config(state).unwrap();
    let connectors = built_in();
    let registry: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    let loaded = config::load(&path, &config::System, Credentials::Needed).unwrap();
    Arc::new(topology::plan(&loaded, &registry).unwrap())
}

fn start(plan: &Arc<Plan>, clock: &Arc<dyn Clock>) -> Runtime {
    let store = open_store(plan, &store_path(plan), clock.as_ref()).unwrap();
    Runtime::start(Arc::clone(plan), store, clock, 7).unwrap()
}

fn north(proof: &Proof) -> &RouteProof {
    let mut routes = proof.routes.iter();
    routes.find(|route| route.from == "north.orders").unwrap()
}

/// Stories 7, 8, 19 and 62: what our own books say is compared with what the systems say. An order that
/// somebody deletes, doubles, or calls off there is told with what we know of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_done_to_one_side_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let evening = Evening::of(folder.path(), folder.path()).await;

    let proof = evening.prove().await;
    assert!(proof.holds(), "{proof:#?}");
    let placed: usize = proof.routes.iter().map(|route| route.source.count).sum();
    let there: usize = proof
        .routes
        .iter()
        .filter_map(|it| it.sink.as_ref())
        .map(|it| it.count)
        .sum();
    assert!(placed > 3 && there > 2, "{proof:#?}");
    let route = north(&proof);
    let sums = (&route.source.sums, &route.sink.as_ref().unwrap().sums);
    if route.explained.is_empty() && route.source.count == route.same {
        assert_eq!(sums.0, sums.1, "{route:#?}");
    }

    let erp = &evening.world.erp;
    let orders = erp.orders();
    // Those that stand: one that was called off is nothing to lose.
    let ours = |number: usize| {
        let stands = |it: &&ErpOrder| it.state != ErpState::Cancelled;
        let of_north = orders
            .iter()
            .filter(stands)
            .filter(|it| it.reference.starts_with("north:"));
        of_north.clone().nth(number).unwrap().reference.clone()
    };
    let (gone, twice) = (ours(0), ours(1));
    erp.delete_order(&gone);
    erp.copy_order(&twice);

    let proof = evening.prove().await;
    assert!(!proof.holds());
    let route = north(&proof);
    assert_eq!(route.unexplained.get("missing"), Some(&1), "{route:#?}");
    assert_eq!(route.unexplained.get("doubled"), Some(&1), "{route:#?}");
    let first = &route.differences[0];
    assert!(!first.explained && !first.story.is_empty(), "{first:#?}");
    assert!(
        [&gone, &twice]
            .iter()
            .any(|it| it.ends_with(&format!(":{}", first.id))),
        "{first:#?}"
    );
    evening.end().await;
}

fn numbers<'p>(proof: &'p Proof, to: &str) -> &'p NumbersProof {
    let mut numbers = proof.numbers.iter();
    numbers.find(|numbers| numbers.to == to).unwrap()
}

/// Stories 26 and 62: a number that somebody changes at the channel behind everybody's back is told with its
/// SKU, and so is a price; what channels cannot be asked for is counted and never called proven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_channel_shows_is_compared_with_what_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let evening = Evening::of(folder.path(), folder.path()).await;

    let proof = evening.prove().await;
    assert!(proof.holds(), "{proof:#?}");
    for to in ["north.stock", "south.stock", "north.prices"] {
        let told = numbers(&proof, to);
        assert!(told.compared > 3 && told.same > 3, "{told:#?}");
        assert_eq!((told.not_readable, &told.why_not), (0, &None), "{told:#?}");
    }

    let north = evening.world.shop("north").unwrap();
    let skus: Vec<String> = north.products().into_iter().map(|it| it.sku).collect();
    let listed = |sku: &&String| {
        let product = north.products().into_iter().find(|it| it.sku == **sku);
        product.is_some_and(|it| it.active)
    };
    let mut skus = skus.iter().filter(listed);
    let (counted, priced) = (skus.next().unwrap(), skus.next().unwrap());
    assert!(north.tamper(counted, |product| product.on_hand += 3));
    assert!(north.tamper(priced, |product| product.price += 1));

    let proof = evening.prove().await;
    assert!(!proof.holds());
    for (to, sku) in [("north.stock", counted), ("north.prices", priced)] {
        let told = numbers(&proof, to);
        assert_eq!(told.unexplained.get("different"), Some(&1), "{told:#?}");
        let first = &told.differences[0];
        assert_eq!((&first.name, first.explained), (sku, false), "{told:#?}");
        assert!(first.why.contains("there, told as"), "{first:#?}");
    }
    assert!(numbers(&proof, "south.stock").holds(), "{proof:#?}");
    evening.end().await;
}

/// Stories 7, 8 and 62: a tracking number that somebody types over at the channel is told with its order, and
/// the exit code says so, from a daemon or without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracking_number_that_was_changed_there_is_told_with_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let evening = Evening::of(folder.path(), folder.path()).await;

    let proof = evening.prove().await;
    assert!(proof.holds(), "{proof:#?}");
    let mut routes = proof.shipments.iter();
    let told = routes.find(|route| route.to == "north.shipments").unwrap();
    assert!(told.source.count > 0 && told.same > 0, "{told:#?}");
    assert!(told.elsewhere > 0, "south's are not north's: {told:#?}");
    assert_eq!(told.sink.as_ref().unwrap().count, told.same, "{told:#?}");

    let north = Arc::clone(evening.world.shop("north").unwrap());
    let orders = evening.world.erp.orders();
    let ids = orders
        .iter()
        .filter_map(|it| it.reference.strip_prefix("north:"));
    let tracked = |id: &&str| {
        let order = north.order(id).unwrap();
        order
            .parcels
            .iter()
            .any(|it| !it.tracking_numbers.is_empty())
    };
    let id = ids.clone().find(tracked).unwrap().to_owned();
    let config = evening.world.write_config(folder.path()).unwrap();
    let Evening {
        clock,
        world,
        runtime,
        ..
    } = evening;
    let limit = Duration::from_secs(5);
    runtime.stop(limit, clock.as_ref()).await.unwrap();

    let (code, said) = crossdock_prove(&config).await;
    assert_eq!(code, Some(0), "{said}");
    let spoil = |number: &mut String| "9999".clone_into(number);
    let parcels = |order: &mut ShopOrder| {
        let numbers = order
            .parcels
            .iter_mut()
            .flat_map(|it| &mut it.tracking_numbers);
        numbers.for_each(spoil);
    };
    assert!(north.tamper_order(&id, parcels));
    let sku = north
        .products()
        .into_iter()
        .find(|it| it.active)
        .unwrap()
        .sku;
    assert!(north.tamper(&sku, |product| product.on_hand += 3));
    let (code, said) = crossdock_prove(&config).await;
    assert_eq!(code, Some(1), "{said}");
    let line = |of: &str| {
        let mut lines = said.lines();
        let found = lines.find(|line| line.contains("UNEXPLAINED") && line.contains(of));
        found
            .unwrap_or_else(|| panic!("nothing of {of}: {said}"))
            .to_owned()
    };
    let tracking = line("tracking:");
    assert!(
        tracking.contains(&format!("the order {id} there")),
        "{tracking}"
    );
    assert!(tracking.contains("9999"), "{tracking}");
    assert!(line("different:").contains(&sku), "{said}");
    world.stop().await;
}

/// Its exit code and what it printed.
async fn crossdock_prove(config: &Path) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_crossdock"));
    command.args(["prove", "--config"]).arg(config);
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.code(), said)
}

/// A side that does not answer proves nothing, and is never taken for an empty one (law S9).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_that_is_away_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let evening = Evening::of(folder.path(), folder.path()).await;
    evening.world.stop().await;
    let proof = evening.prove().await;
    assert!(!proof.holds());
    for route in &proof.routes {
        assert!(route.trouble.is_some(), "{route:#?}");
        assert_eq!(route.source.count, 0);
    }
    for route in &proof.shipments {
        assert!(route.trouble.is_some(), "{route:#?}");
    }
    for told in &proof.numbers {
        let is_readable = told.why_not.is_none();
        assert_eq!(told.trouble.is_some(), is_readable, "{told:#?}");
        assert_eq!(told.compared, 0, "{told:#?}");
    }
    let limit = Duration::from_secs(5);
    evening
        .runtime
        .stop(limit, evening.clock.as_ref())
        .await
        .unwrap();
}
