//! The loops.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Runtime;
use crate::clock::Clock;
use crate::dispatch::Dispatcher;
use crate::engine::{EngineError, Handle};
use crate::fault::{Class, Fault};
use crate::id::ConnectionName;
use crate::intake::{Poller, Schedule};
use crate::outbox::Backoff;
use crate::record::Stream;
use crate::telemetry::{self, Pulse, Vitals};

/// How long a dispatcher sleeps when nothing is due and nobody wakes it.
const IDLE: Duration = Duration::from_secs(30);
/// How often paused connections are probed and old rows removed.
const CARE: Duration = Duration::from_secs(20);
/// How many requests of one stream of one sink are under way at a time.
const CONCURRENCY: usize = 8;

type Place = (ConnectionName, Stream, Pulse);

impl Runtime {
    pub(super) fn spawn_all(&self, clock: &Arc<dyn Clock>) {
        for (name, planned) in &self.plan.connections {
            let Some(connection) = self.connections.get(name) else {
                continue;
            };
            for (stream, settings) in &planned.streams {
                if let (true, Some(source)) = (settings.is_read, connection.sources.get(stream)) {
                    let poller = Poller {
                        connection: name.clone(),
                        stream: *stream,
                        source: Arc::clone(source),
                        engine: self.engine.clone(),
                        clock: Arc::clone(clock),
                        schedule: Schedule {
                            every: settings.poll,
                            max_pages: self.plan.limits.intake_max_pages,
                            reread_open: settings.reread_open,
                        },
                    };
                    self.vitals.expect(&(name.clone(), *stream, Pulse::Read));
                    let (vitals, stop) = (self.vitals.clone(), self.reading.clone());
                    self.tasks.spawn(read_loop(poller, vitals, stop));
                }
                if let (true, Some(sink)) = (settings.is_written, connection.sinks.get(stream)) {
                    let declared = planned
                        .spec
                        .streams
                        .get(stream)
                        .map_or(1, |spec| spec.max_batch);
                    let dispatcher = Dispatcher {
                        connection: name.clone(),
                        stream: *stream,
                        sink: Arc::clone(sink),
                        engine: self.engine.clone(),
                        max_batch: declared.clamp(1, self.plan.limits.batch_max_deliveries),
                        concurrency: CONCURRENCY.min(planned.limits.concurrency as usize).max(1),
                    };
                    let (vitals, stop) = (self.vitals.clone(), self.sending.clone());
                    self.tasks
                        .spawn(write_loop(dispatcher, Arc::clone(clock), vitals, stop));
                }
            }
        }
        self.tasks.spawn(care_loop(
            self.engine.clone(),
            Arc::clone(&self.connections),
            Arc::clone(clock),
            Duration::from_secs(self.plan.limits.waiting_alert_secs),
            self.reading.clone(),
        ));
    }
}

async fn read_loop(poller: Poller, vitals: Vitals, stop: CancellationToken) {
    let place: Place = (poller.connection.clone(), poller.stream, Pulse::Read);
    let backoff = Backoff {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(300),
    };
    loop {
        // A page is accepted as a whole or not at all: dropping a run between awaits loses nothing.
        let run = tokio::select! {
            () = stop.cancelled() => break,
            run = poller.run() => run,
        };
        let wait = match run {
            Ok(run) => {
                vitals.success(&place);
                let told = telemetry::ReadRun {
                    pages: run.pages,
                    changes: run.changes,
                    news: run.news,
                    rejected: run.rejected,
                };
                telemetry::read(&poller.connection, poller.stream, &told);
                if run.drained {
                    poller.schedule.every
                } else {
                    Duration::ZERO
                }
            }
            Err(fault) => {
                let failures = vitals.failure(&place, &fault);
                telemetry::read_failed(&poller.connection, poller.stream, &fault);
                pause_if_refused(&poller.engine, &poller.connection, &fault).await;
                show_if_rejected(&poller, &fault).await;
                fault
                    .retry_after
                    .unwrap_or_else(|| backoff.delay(failures, u32::MAX))
            }
        };
        vitals.beat(&place, wait);
        tokio::select! {
            () = stop.cancelled() => break,
            () = poller.clock.sleep(wait) => {}
        }
    }
    vitals.end(&place);
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

async fn write_loop(
    dispatcher: Dispatcher,
    clock: Arc<dyn Clock>,
    vitals: Vitals,
    stop: CancellationToken,
) {
    let place: Place = (
        dispatcher.connection.clone(),
        dispatcher.stream,
        Pulse::Write,
    );
    let mut commits = dispatcher.engine.commits();
    loop {
        commits.mark_unchanged();
        vitals.beat(&place, IDLE);
        let stopping = || stop.is_cancelled();
        let wait = match dispatcher.round(&stopping).await {
            Ok(round) => {
                vitals.success(&place);
                let (connection, stream) = (&dispatcher.connection, dispatcher.stream);
                telemetry::sent(connection, stream, round.settled, round.delivered);
                wait_for_due(&dispatcher, clock.as_ref()).await
            }
            Err(fault) => {
                vitals.failure(&place, &fault);
                telemetry::send_failed(&dispatcher.connection, dispatcher.stream, &fault);
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = clock.sleep(wait) => {}
            woken = commits.changed() => if woken.is_err() { break },
        }
    }
    vitals.end(&place);
}

/// Until something is due, or somebody commits something.
async fn wait_for_due(dispatcher: &Dispatcher, clock: &dyn Clock) -> Duration {
    let (sink, stream) = (dispatcher.connection.clone(), dispatcher.stream);
    let due = dispatcher
        .engine
        .next_due(sink, stream)
        .await
        .ok()
        .flatten();
    // What is due and was not claimed waits for something else: its connection is paused.
    due.map_or(IDLE, |due| crate::clock::since(clock.now(), due))
        .clamp(Duration::from_millis(200), IDLE)
}

async fn care_loop(
    engine: Handle,
    connections: Arc<std::collections::BTreeMap<ConnectionName, crate::connector::Connection>>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    stop: CancellationToken,
) {
    let mut told = clock.monotonic();
    loop {
        if let Err(error) = care(&engine, &connections).await {
            tracing::error!(%error, "care failed");
        }
        if clock.monotonic() > told + patience {
            told = clock.monotonic();
            tell_waiting(&engine, clock.as_ref(), patience).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(CARE) => {}
        }
    }
}

/// What waits for longer than it should: its item cannot be created, or its order is not imported.
async fn tell_waiting(engine: &Handle, clock: &dyn Clock, patience: Duration) {
    let waiting = engine.waiting().await.unwrap_or_default();
    for row in waiting {
        let age = crate::clock::since(row.oldest, clock.now());
        if age > patience {
            let (sink, stream) = (row.sink.into(), row.stream);
            telemetry::waiting(&sink, stream, row.count, age);
        }
    }
}

async fn care(
    engine: &Handle,
    connections: &std::collections::BTreeMap<ConnectionName, crate::connector::Connection>,
) -> Result<(), EngineError> {
    while engine.expire_payloads().await? {}
    while engine.derive_prices().await? {}
    let mut done = None;
    loop {
        done = engine.refresh(done).await?;
        if done.is_none() {
            break;
        }
    }
    for (name, connection) in connections {
        if !engine.is_paused(name.clone()).await? {
            continue;
        }
        let Some(probe) = &connection.probe else {
            continue;
        };
        match probe.probe().await {
            Ok(_) => {
                engine.resume(name.clone()).await?;
                tracing::info!(connection = %name, "resumed: the probe passed");
            }
            Err(fault) => tracing::warn!(connection = %name, %fault, "still paused"),
        }
    }
    Ok(())
}
