//! A connection's child across its lives: started when it is needed, left alone for a while when it failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};

use super::declared::{Launch, Ways};
use super::keeper::{Ask, Ending, Keeper, Order, Step};
use super::lines::Mask;
use super::wire;
use crate::clock::Clock;
use crate::connector::{Context, Progress};
use crate::fault::{Class, Effect, Fault};
use crate::id::DeliveryId;
use crate::manifest::Values;
use crate::record::Stream;

/// The version of the protocol: see PROTOCOL.md.
pub(super) const PROTOCOL: u64 = 1;
/// How long a child that failed is left alone: doubled with each failure.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// What a connection's child is and is told.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) spec_name: String,
    pub(super) ways: BTreeMap<Stream, Ways>,
    pub(super) launch: Launch,
    pub(super) values: Values,
    pub(super) context: Context,
    pub(super) mask: Mask,
    state: Mutex<State>,
    slots: Arc<Semaphore>,
    /// Nothing is started any more.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    failures: u32,
    /// Nothing is started before this, because of that.
    rest: Option<(Duration, Fault)>,
}

#[derive(Debug)]
struct Running {
    orders: mpsc::UnboundedSender<Order>,
    ending: Ending,
    /// It answered something that it was asked.
    was_useful: Arc<AtomicBool>,
}

/// Where an open request is asked, and who may report steps of it.
struct Way {
    orders: mpsc::UnboundedSender<Order>,
    was_useful: Arc<AtomicBool>,
}

impl Guest {
    pub(super) fn new(
        spec_name: String,
        (ways, launch): (BTreeMap<Stream, Ways>, Launch),
        values: Values,
        context: Context,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(launch.concurrency));
        Self {
            spec_name,
            ways,
            mask: Mask::of(&values.secrets),
            launch,
            values,
            context,
            state: Mutex::default(),
            slots,
            closed: AtomicBool::new(false),
        }
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.context.clock
    }

    /// Asks something that only looks.
    pub(super) async fn read(&self, call: Json) -> Result<Json, Fault> {
        let answer = self.ask(call, false, None).await;
        // Reading has no effect, whatever the child says of it.
        answer.map_err(|fault| Fault {
            effect: Effect::None,
            ..fault
        })
    }

    /// Asks something that changes the other side; `progress` makes durable what it captures.
    pub(super) async fn write(
        &self,
        call: Json,
        deliveries: BTreeSet<DeliveryId>,
        progress: &dyn Progress,
    ) -> Result<Json, Fault> {
        self.ask(call, true, Some((deliveries, progress))).await
    }

    async fn ask(
        &self,
        call: Json,
        writes: bool,
        steps: Option<(BTreeSet<DeliveryId>, &dyn Progress)>,
    ) -> Result<Json, Fault> {
        let closed = || Fault::retry("process_ended", "the connection is being closed");
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| closed())?;
        let way = self.running().await?;
        let (answer, answered) = oneshot::channel();
        let (reports, mut noted) = mpsc::unbounded_channel();
        let progress = steps.as_ref().map(|(_, progress)| *progress);
        let ask = Ask {
            call: object(call),
            limit: self.launch.request,
            writes,
            steps: steps.map(|(deliveries, _)| (deliveries, reports)),
            answer,
            slot: Some(slot),
        };
        if way.orders.send(Order::Ask(ask)).is_err() {
            return Err(Fault::retry(
                "process_exited",
                "the connector's process has just ended",
            ));
        }
        let mut waiting = Waiting {
            answer: Some(answered),
            orders: &way.orders,
        };
        let answer = loop {
            tokio::select! {
                biased; // a step is durable before what came of it is known
                Some(step) = noted.recv() => durable(&way.orders, progress, step).await?,
                answer = waiting.answer() => break answer,
            }
        };
        waiting.answer = None;
        let answer = answer.unwrap_or_else(|_| {
            let fault = Fault::bug(
                "process_lost",
                "nobody keeps the connector's process any more",
            );
            Err(if writes { fault.after_sending() } else { fault })
        });
        if answer.is_ok() {
            way.was_useful.store(true, Ordering::Relaxed);
        }
        answer.map_err(|fault| self.fit_to_show(fault))
    }

    /// Without secrets, and without what is quoted: that may name a person (law D5).
    pub(super) fn fit_to_show(&self, fault: Fault) -> Fault {
        let message = self.mask.hide(&fault.message);
        Fault { message, ..fault }
    }

    /// The child that runs, or a new one.
    async fn running(&self) -> Result<Way, Fault> {
        let mut state = self.state.lock().await;
        if let Some(running) = &state.running {
            if !running.orders.is_closed() {
                return Ok(running.way());
            }
            let useful = running.was_useful.load(Ordering::Relaxed);
            let why = running.ending.get().cloned().unwrap_or_else(|| {
                Fault::retry("process_exited", "the connector's process has just ended")
            });
            state.running = None;
            self.failed(&mut state, why, useful);
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(Fault::retry(
                "process_ended",
                "the connection is being closed",
            ));
        }
        let now = self.clock().monotonic();
        if let Some((until, why)) = &state.rest
            && now < *until
        {
            let message = format!("{}; it is started again in a moment", why.message);
            // Whoever comes now has nothing to do with the rule that was broken.
            let class = match why.class {
                Class::Bug => Class::Retry,
                class => class,
            };
            let fault = Fault {
                class,
                message,
                effect: Effect::None,
                ..why.clone()
            };
            return Err(fault.wait(Some(until.saturating_sub(now))));
        }
        match self.start().await {
            Ok(running) => {
                let way = running.way();
                state.running = Some(running);
                Ok(way)
            }
            Err(fault) => {
                let fault = self.fit_to_show(fault);
                self.failed(&mut state, fault.clone(), false);
                Err(fault)
            }
        }
    }

    /// Leaves it alone for a while: longer with each start that led to nothing.
    fn failed(&self, state: &mut State, why: Fault, was_useful: bool) {
        state.failures = if was_useful {
            1
        } else {
            state.failures.saturating_add(1)
        };
        let doubled = REST.saturating_mul(1 << (state.failures - 1).min(16));
        let until = self.clock().monotonic() + doubled.min(LONGEST_REST);
        state.rest = Some((until, why));
    }

    /// A new child that said what it is and took its settings.
    async fn start(&self) -> Result<Running, Fault> {
        let ending = Ending::default();
        let name = &self.context.name;
        let keeper = Keeper::start(name, &self.launch, self.mask.clone(), self.clock(), &ending)?;
        let (orders, told) = mpsc::unbounded_channel();
        #[expect(
            clippy::disallowed_methods,
            reason = "the one task beside runtime's: it ends with its child, and `Closing` waits for it"
        )]
        tokio::spawn(keeper.keep(told));
        let hello = json!({
            "call": "hello",
            "protocol": PROTOCOL,
            "crossdock": env!("CARGO_PKG_VERSION"),
        });
        let said = self.first(&orders, hello).await?;
        wire::agree(&said, &self.spec_name, &self.ways)?;
        let windows = self.context.windows.iter().map(|(stream, window)| {
            let window = json!({
                "settle_lag_secs": window.settle_lag.as_secs(),
                "overlap_secs": window.overlap.as_secs(),
                "start_from": window.start_from,
            });
            (stream.name().to_owned(), window)
        });
        let configure = json!({
            "call": "configure",
            "connection": name,
            "settings": self.values.settings,
            "secrets": self.values.secrets,
            "windows": windows.collect::<Map<String, Json>>(),
        });
        self.first(&orders, configure).await?;
        Ok(Running {
            orders,
            ending,
            was_useful: Arc::default(),
        })
    }

    async fn first(
        &self,
        orders: &mpsc::UnboundedSender<Order>,
        call: Json,
    ) -> Result<Json, Fault> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            call: object(call),
            limit: self.launch.start,
            writes: false,
            steps: None,
            answer,
            slot: None,
        };
        let lost = || Fault::retry("process_exited", "the connector's process has just ended");
        orders.send(Order::Ask(ask)).map_err(|_| lost())?;
        answered.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Ends the child in order; nothing is started any more.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let mut state = self.state.lock().await;
        if let Some(running) = state.running.take() {
            let (done, ended) = oneshot::channel();
            if running.orders.send(Order::Close(done)).is_ok() {
                let _ = ended.await; // gone is as good
            }
        }
    }
}

impl Running {
    fn way(&self) -> Way {
        Way {
            orders: self.orders.clone(),
            was_useful: Arc::clone(&self.was_useful),
        }
    }
}

/// Waits for an answer; tells the keeper when whoever waited is dropped before it came.
struct Waiting<'a> {
    answer: Option<oneshot::Receiver<Result<Json, Fault>>>,
    orders: &'a mpsc::UnboundedSender<Order>,
}

impl Waiting<'_> {
    async fn answer(&mut self) -> Result<Result<Json, Fault>, oneshot::error::RecvError> {
        match &mut self.answer {
            Some(answer) => answer.await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.answer.take().is_some() {
            // The child is gone already: then there is nothing to cancel.
            let _ = self.orders.send(Order::Cancelled);
        }
    }
}

/// Makes a step durable, then lets the child go on.
async fn durable(
    orders: &mpsc::UnboundedSender<Order>,
    progress: Option<&dyn Progress>,
    step: Step,
) -> Result<(), Fault> {
    let Some(progress) = progress else {
        return Ok(());
    };
    let kept = progress.captured(&step.delivery, &step.name, step.value);
    // Not durable: nothing may go on, and what was done so far is to be looked for.
    kept.await.map_err(Fault::after_sending)?;
    // Ended meanwhile: the answer says so.
    let _ = orders.send(Order::Durable {
        request: step.request,
        step: step.name,
    });
    Ok(())
}

fn object(call: Json) -> Map<String, Json> {
    match call {
        Json::Object(call) => call,
        _ => Map::new(),
    }
}
