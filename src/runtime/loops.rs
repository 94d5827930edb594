//! The loops: one for each stream that is read, one for each that is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Runtime;
use super::gate::Gate;
use crate::clock::Clock;
use crate::connector::Connection;
use crate::dispatch::Dispatcher;
use crate::engine::{Handle, QUARANTINE_FULL};
use crate::fault::{Class, Fault};
use crate::id::ConnectionName;
use crate::intake::receive::Bell;
use crate::intake::{CLOCK_STEP, Poller, Run, Schedule};
use crate::outbox::Backoff;
use crate::telemetry::{self, Place, Pulse, Vitals};
use crate::topology::Plan;

/// How long a dispatcher sleeps when nothing is due and nobody wakes it.
const IDLE: Duration = Duration::from_secs(30);
/// How soon a dispatcher looks again for what is due and could not be claimed.
const OVERDUE: Duration = Duration::from_millis(200);
/// How many requests of one stream of one sink are under way at a time.
const CONCURRENCY: usize = 8;
/// How long a stream that is only woken by webhooks waits for more of them.
const GATHER: Duration = Duration::from_secs(1);
/// How long nothing is fetched by id after something could not be.
const FAILED: Duration = Duration::from_secs(2);
/// How often a loop that must rest says that it is alive.
const RESTING: Duration = Duration::from_secs(30);

/// What a loop does. A loop with the same work on the same connection goes on at a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// Reads.
    Read(Schedule),
    /// Writes.
    Write {
        /// Deliveries in a request.
        max_batch: usize,
        /// Requests at a time.
        concurrency: usize,
    },
}

/// A loop that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub work: Work,
    pub connection: Arc<Connection>,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

/// All loops that a plan wants.
pub(super) fn wanted(plan: &Plan) -> BTreeMap<Place, Work> {
    let mut wanted = BTreeMap::new();
    for (name, planned) in &plan.connections {
        let at_once = super::limits::concurrency(planned) as usize;
        for (stream, settings) in &planned.streams {
            if settings.is_read {
                let schedule = Schedule {
                    every: settings.poll,
                    settle_lag: settings.settle_lag,
                    max_pages: plan.limits.intake_max_pages,
                    max_changes: plan.limits.page_max_changes,
                    unit_changes: plan.limits.accept_max_changes,
                    max_record_bytes: plan.limits.record_max_bytes,
                    reread_open: settings.reread_open,
                    sweep: settings.sweep,
                };
                let place = (name.clone(), *stream, Pulse::Read);
                wanted.insert(place, Work::Read(schedule));
            }
            if settings.is_written {
                let declared = planned.spec.streams.get(stream);
                let declared = declared.map_or(1, |spec| spec.max_batch);
                let work = Work::Write {
                    max_batch: declared.clamp(1, plan.limits.batch_max_deliveries),
                    concurrency: CONCURRENCY.min(at_once).max(1),
                };
                wanted.insert((name.clone(), *stream, Pulse::Write), work);
            }
        }
    }
    wanted
}

impl Runtime {
    /// Starts a loop; none when the connection lacks the stream, which the plan's checks exclude.
    pub(super) fn start_loop(
        &self,
        place: &Place,
        work: Work,
        connection: Arc<Connection>,
    ) -> Option<Running> {
        let (name, stream, way) = place;
        let parent = match way {
            Pulse::Read => &self.reading,
            Pulse::Write => &self.sending,
        };
        let stop = parent.child_token();
        let round = Round {
            place: place.clone(),
            vitals: self.vitals.clone(),
            gate: self.gate.clone(),
            stop: stop.clone(),
            clock: Arc::clone(&self.clock),
            bell: self.bells.of(name, *stream),
        };
        let engine = self.engine.clone();
        let task = match &work {
            Work::Read(schedule) => {
                let poller = Poller {
                    connection: name.clone(),
                    stream: *stream,
                    source: Arc::clone(connection.sources.get(stream)?),
                    engine,
                    clock: Arc::clone(&self.clock),
                    schedule: schedule.clone(),
                };
                self.vitals.expect(place);
                self.tasks.spawn(read_loop(poller, round))
            }
            Work::Write {
                max_batch,
                concurrency,
            } => {
                let dispatcher = Dispatcher {
                    connection: name.clone(),
                    stream: *stream,
                    sink: Arc::clone(connection.sinks.get(stream)?),
                    engine,
                    max_batch: *max_batch,
                    concurrency: *concurrency,
                };
                self.tasks.spawn(write_loop(dispatcher, round))
            }
        };
        Some(Running {
            work,
            connection,
            stop,
            task,
        })
    }
}

/// What every loop is told by and tells.
struct Round {
    place: Place,
    vitals: Vitals,
    gate: Gate,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
    /// Somebody told that there is something to read.
    bell: Bell,
}

impl Round {
    /// Waits; whether the loop goes on.
    async fn rest(&self, wait: Duration) -> bool {
        self.vitals.beat(&self.place, wait);
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = self.clock.sleep(wait) => true,
        }
    }

    /// Rests while the gate is closed; whether the loop is to end.
    async fn pass(&mut self, why_not: impl Fn(&Gate) -> Option<String>) -> bool {
        while let Some(why) = why_not(&self.gate) {
            self.vitals.hold(&self.place, Some(why));
            self.vitals.beat(&self.place, RESTING);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return true,
                () = self.gate.changed() => {}
                () = self.clock.sleep(RESTING) => {}
            }
        }
        self.vitals.hold(&self.place, None);
        self.stop.is_cancelled()
    }
}

async fn read_loop(poller: Poller, mut round: Round) {
    let stream = poller.stream;
    while !round.pass(|gate| gate.why_not_read(stream)).await {
        let (vitals, place) = (round.vitals.clone(), round.place.clone());
        let begun = poller.clock.monotonic();
        vitals.beat(&place, Duration::ZERO);
        let on_page = || vitals.beat(&place, Duration::ZERO);
        // A page is accepted as a whole or not at all: dropping a run between awaits loses nothing.
        let run = tokio::select! {
            biased;
            () = round.stop.cancelled() => break,
            () = round.gate.until_closed(stream) => continue,
            run = poller.run(&on_page) => run,
        };
        let read = run.as_ref().ok().copied();
        let wait = after_run(&poller, &round, begun, run).await;
        let rested = match read {
            Some(read) => rest(&poller, &mut round, wait, read).await,
            None => round.rest(wait).await,
        };
        if !rested {
            break;
        }
    }
    round.vitals.end(&round.place);
}

/// Tells how a run went; how long to wait for the next.
async fn after_run(
    poller: &Poller,
    round: &Round,
    begun: Duration,
    run: Result<Run, Fault>,
) -> Duration {
    let (vitals, place) = (&round.vitals, &round.place);
    match run {
        Ok(run) => {
            vitals.success(place);
            telemetry::stopped(&poller.connection, poller.stream, false);
            let told = telemetry::ReadRun {
                pages: run.pages,
                changes: run.changes,
                news: run.news,
                rejected: run.rejected,
            };
            telemetry::read(&poller.connection, poller.stream, &told);
            if run.drained {
                let took = poller.clock.monotonic().saturating_sub(begun);
                pause_after(&poller.schedule, &run, took)
            } else {
                Duration::ZERO
            }
        }
        Err(fault) => {
            let failures = vitals.failure(place, &fault);
            telemetry::read_failed(&poller.connection, poller.stream, &fault);
            if fault.code == QUARANTINE_FULL {
                vitals.hold(place, Some(fault.message.clone()));
                telemetry::stopped(&poller.connection, poller.stream, true);
            }
            pause_if_refused(&poller.engine, &poller.connection, &fault).await;
            show_if_rejected(poller, &fault).await;
            let backoff = Backoff {
                initial: Duration::from_secs(1),
                max: Duration::from_secs(300),
            };
            fault
                .retry_after
                .unwrap_or_else(|| backoff.delay(failures, u32::MAX))
        }
    }
}

/// Waits for the next run, and fetches meanwhile what webhooks tell of; whether there is a next run. Where
/// nothing can be fetched by id, a webhook ends the wait.
async fn rest(poller: &Poller, round: &mut Round, wait: Duration, mut read: Run) -> bool {
    let until = round.clock.monotonic() + wait;
    loop {
        let left = until.saturating_sub(round.clock.monotonic());
        let next = next_fetch(&read, round.clock.as_ref());
        round.vitals.beat(&round.place, left);
        tokio::select! {
            () = round.stop.cancelled() => return false,
            () = round.clock.sleep(left) => return true,
            () = round.clock.sleep(next.unwrap_or(left)), if next.is_some_and(|next| next < left) => {}
            () = round.bell.rung(), if !read.hints_failed => {}
        }
        if !poller.source.can_fetch() {
            // Several at a time are one.
            return round.rest(left.min(GATHER)).await;
        }
        if round.gate.why_not_read(poller.stream).is_some() {
            return true;
        }
        let begun = round.clock.monotonic();
        let run = tokio::select! {
            () = round.stop.cancelled() => return false,
            run = poller.run_hints() => run,
        };
        let told = run.as_ref().ok().copied();
        let wait = after_run(poller, round, begun, run).await;
        match told {
            Some(told) => read = told,
            None => return round.rest(wait).await,
        }
    }
}

/// How long until something is to be fetched by id; a while where that failed just now.
fn next_fetch(read: &Run, clock: &dyn Clock) -> Option<Duration> {
    let next = crate::clock::since(clock.now(), read.next_hint?);
    Some(if read.hints_failed {
        next.max(FAILED)
    } else {
        next
    })
}

/// Between two runs of which the second is to begin `every` after the first began, which took so long. A
/// source that takes longer than that to answer is still left alone for a moment. What changed just before a new
/// store began is asked for as soon as it shows: until then channels may be told less, never more.
fn pause_after(schedule: &Schedule, run: &Run, took: Duration) -> Duration {
    let every = schedule.every;
    let pause = every.saturating_sub(took).max(every / 10);
    if run.catching_up {
        pause.min(schedule.settle_lag + CLOCK_STEP)
    } else {
        pause
    }
}

/// Refused credentials stop deliveries too; the care loop resumes them when the probe passes.
async fn pause_if_refused(engine: &Handle, connection: &ConnectionName, fault: &Fault) {
    if fault.class == Class::Auth {
        // When the engine has stopped there is nothing left to pause.
        let _ = engine.pause(connection.clone(), fault.clone()).await;
    }
}

/// What was given as a whole cannot be believed, such as a file: it stands on the desk until something
/// better comes.
async fn show_if_rejected(poller: &Poller, fault: &Fault) {
    if fault.class == Class::Reject {
        let (connection, stream) = (poller.connection.clone(), poller.stream);
        let shown = poller
            .engine
            .stopped_reading(connection, stream, fault.clone());
        // When the engine has stopped there is no desk any more.
        let _ = shown.await;
    }
}

async fn write_loop(dispatcher: Dispatcher, mut round: Round) {
    let mut commits = dispatcher.engine.commits();
    while !round.pass(Gate::why_not_sent).await {
        commits.mark_seen();
        round.vitals.beat(&round.place, IDLE);
        // Most commits concern others: whoever asks for something to send has to be told that there is some.
        let wait = match next_due(&dispatcher, round.clock.as_ref()).await {
            Duration::ZERO => send_due(&dispatcher, &round).await,
            wait => {
                round.vitals.success(&round.place);
                wait
            }
        };
        round.vitals.beat(&round.place, IDLE);
        tokio::select! {
            biased;
            () = round.stop.cancelled() => break,
            () = round.gate.changed() => {}
            () = round.clock.sleep(wait) => {}
            () = dispatcher.engine.stopped() => break,
            () = commits.changed() => {}
        }
    }
    round.vitals.end(&round.place);
}

/// Sends what is due; how long to wait for more.
async fn send_due(dispatcher: &Dispatcher, round: &Round) -> Duration {
    let (vitals, place) = (&round.vitals, &round.place);
    // Asked before each claim: the round gets on, however long it is.
    let stopping = || {
        vitals.beat(place, IDLE);
        round.stop.is_cancelled() || round.gate.why_not_sent().is_some()
    };
    let (connection, stream) = (&dispatcher.connection, dispatcher.stream);
    match dispatcher.round(&stopping).await {
        Ok(sent) => {
            vitals.success(place);
            telemetry::sent(connection, stream, sent.settled, sent.delivered);
            match next_due(dispatcher, round.clock.as_ref()).await {
                // What is due and was not claimed waits for something else: its connection is paused.
                Duration::ZERO => OVERDUE,
                wait => wait,
            }
        }
        Err(fault) => {
            vitals.failure(place, &fault);
            telemetry::send_failed(connection, stream, &fault);
            Duration::from_secs(1)
        }
    }
}

/// How long until something is due; nothing when it is now, and a while when nothing is known to be.
async fn next_due(dispatcher: &Dispatcher, clock: &dyn Clock) -> Duration {
    let (sink, stream) = (dispatcher.connection.clone(), dispatcher.stream);
    let due = dispatcher.engine.next_due(sink, stream).await;
    // An engine that stopped is noticed by whoever waits.
    let due = due.ok().flatten();
    let wait = due.map_or(IDLE, |due| crate::clock::since(clock.now(), due));
    wait.min(IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(every: Duration, settle_lag: Duration) -> Schedule {
        Schedule {
            every,
            settle_lag,
            max_pages: 1,
            max_changes: 1,
            unit_changes: 1,
            max_record_bytes: 1,
            reread_open: None,
            sweep: None,
        }
    }

    #[test]
    fn what_changed_before_a_store_began_is_asked_for_when_it_shows() {
        let secs = Duration::from_secs;
        let pause = |every, catching_up| {
            let run = Run {
                catching_up,
                ..Run::default()
            };
            pause_after(&schedule(secs(every), secs(30)), &run, secs(2))
        };
        assert_eq!(pause(600, true), secs(31));
        assert_eq!(pause(600, false), secs(598));
        assert_eq!(pause(20, true), secs(18), "no later than otherwise");
    }

    #[test]
    fn runs_begin_at_their_interval_and_never_without_a_pause() {
        let every = schedule(Duration::from_millis(250), Duration::ZERO);
        let pause = |took| pause_after(&every, &Run::default(), Duration::from_millis(took));
        assert_eq!(pause(0), Duration::from_millis(250));
        assert_eq!(pause(40), Duration::from_millis(210));
        assert_eq!(pause(249), Duration::from_millis(25));
        assert_eq!(pause(9000), Duration::from_millis(25));
    }
}
