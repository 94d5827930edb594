//! `crossdock prove`: both sides are asked, and whatever somebody does to one of them is told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossdock::clock::{Clock, Timestamp};
use crossdock::config::{self, Credentials};
use crossdock::connector::Connector;
use crossdock::connectors::built_in;
use crossdock::proof::{Proof, RouteProof};
use crossdock::runtime::{Runtime, SystemClock, open_store, store_path};
use crossdock::sandbox::erp::{ErpOrder, ErpState};
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
    let connectors = built_in().unwrap();
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
    let limit = Duration::from_secs(5);
    evening
        .runtime
        .stop(limit, evening.clock.as_ref())
        .await
        .unwrap();
}
