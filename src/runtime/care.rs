//! What is looked after beside the loops: paused connections, old rows, room, and how much waits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Live;
use super::gate::Closed;
use crate::clock::{Clock, earlier};
use crate::connector::{Probe, Tokens};
use crate::engine::{EngineError, Handle, Pressure, Sweep};
use crate::id::ConnectionName;
use crate::store::space::{self, Ballast, Needs, Room};
use crate::telemetry::{self, Condition, Vitals};

/// How often old rows are removed, and how soon a paused connection is probed.
const CARE: Duration = Duration::from_secs(20);
/// How long a paused connection rests between two probes at most: whoever is refused for long and goes on asking is
/// locked out in the end.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// How often room and queues are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// How many steps through the journal are made at a time; the rest comes next time.
const JOURNAL_STEPS: usize = 20;
/// How long the journal rests after it was gone through.
const JOURNAL_REST: Duration = Duration::from_secs(3600);
/// What the loops of this module share.
pub(super) struct Caring {
    pub engine: Handle,
    pub live: Arc<ArcSwap<Live>>,
    pub vitals: Vitals,
    pub clock: Arc<dyn Clock>,
    pub tokens: Arc<Tokens>,
    pub stop: CancellationToken,
    /// Where the store is, if it is on disk.
    pub folder: Option<PathBuf>,
}

impl Caring {
    /// Ends when it is to stop: whether.
    pub(super) async fn rest(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => true,
            () = self.clock.sleep(time) => false,
        }
    }

    /// A condition of the whole process began, goes on in other words, or ended.
    fn condition(&self, condition: Condition, what: Option<String>) {
        let told = what.clone();
        let is_new = self.vitals.condition(condition, what);
        telemetry::condition(condition, told.as_deref(), is_new);
    }
}

/// Probes paused connections and removes what is too old.
pub(super) async fn care_loop(caring: Caring) {
    let (mut journal, mut probes) = (Journal::default(), Probes::default());
    loop {
        if let Err(error) = care(&caring, &mut journal, &mut probes).await {
            tracing::error!(%error, "care failed");
        }
        if caring.rest(CARE).await {
            return;
        }
    }
}

/// How far the journal was gone through.
#[derive(Default)]
struct Journal {
    at: Sweep,
    not_before: Duration,
}

async fn care(
    caring: &Caring,
    journal: &mut Journal,
    probes: &mut Probes,
) -> Result<(), EngineError> {
    let engine = &caring.engine;
    while engine.expire_payloads().await? {}
    while engine.expire_quarantine().await? {}
    while engine.derive_prices().await? {}
    while engine.derive_stock().await? {}
    let mut done = None;
    loop {
        done = engine.refresh(done).await?;
        if done.is_none() {
            break;
        }
    }
    expire_journal(caring, journal).await?;
    alert_waiting(caring).await?;
    probe_paused(caring, probes).await?;
    compact(caring).await
}

/// When each connection that is paused is probed next.
#[derive(Debug, Default)]
struct Probes(BTreeMap<ConnectionName, Rest>);

/// One that was opened anew, with other credentials, is another probe: it does not rest.
#[derive(Debug)]
struct Rest {
    probe: Arc<dyn Probe>,
    until: Duration,
    time: Duration,
}

impl Probes {
    fn is_due(&self, name: &ConnectionName, probe: &Arc<dyn Probe>, now: Duration) -> bool {
        let rest = self.0.get(name);
        rest.is_none_or(|rest| now >= rest.until || !Arc::ptr_eq(&rest.probe, probe))
    }

    /// It rests, and twice as long as before.
    fn failed(&mut self, name: &ConnectionName, probe: &Arc<dyn Probe>, now: Duration) {
        let before = self.0.get(name);
        let before = before.filter(|rest| Arc::ptr_eq(&rest.probe, probe));
        let time = before.map_or(CARE, |rest| (rest.time * 2).min(LONGEST_REST));
        let (probe, until) = (Arc::clone(probe), now + time);
        self.0.insert(name.clone(), Rest { probe, until, time });
    }
}

/// Resumes what is paused and works again.
async fn probe_paused(caring: &Caring, probes: &mut Probes) -> Result<(), EngineError> {
    let live = caring.live.load_full();
    probes
        .0
        .retain(|name, _| live.connections.contains_key(name));
    for (name, connection) in &live.connections {
        if !caring.engine.is_paused(name.clone()).await? {
            probes.0.remove(name);
            continue;
        }
        let now = caring.clock.monotonic();
        let probe = connection.probe.as_ref();
        let Some(probe) = probe.filter(|probe| probes.is_due(name, probe, now)) else {
            continue;
        };
        match probe.probe().await {
            Ok(_) => {
                caring.engine.resume(name.clone()).await?;
                tracing::info!(connection = %name, "resumed: the probe passed");
            }
            Err(fault) => {
                tracing::warn!(connection = %name, %fault, "still paused");
                probes.failed(name, probe, caring.clock.monotonic());
            }
        }
    }
    Ok(())
}

/// A few steps through the journal; once through, it rests.
async fn expire_journal(caring: &Caring, journal: &mut Journal) -> Result<(), EngineError> {
    let now = caring.clock.monotonic();
    if now < journal.not_before {
        return Ok(());
    }
    for _ in 0..JOURNAL_STEPS {
        let after = std::mem::take(&mut journal.at);
        let Some(next) = caring.engine.expire_journal(after).await? else {
            journal.not_before = now + JOURNAL_REST;
            break;
        };
        journal.at = next;
    }
    Ok(())
}

/// Gives room back to the disk where there is much to give and enough to make the copy.
async fn compact(caring: &Caring) -> Result<(), EngineError> {
    let (above, min_free) = {
        let live = caring.live.load();
        let store = &live.plan.store;
        (store.compact_above_bytes, store.min_free_bytes)
    };
    let Some(folder) = caring.folder.as_ref().filter(|_| above > 0) else {
        return Ok(());
    };
    let Ok(free) = space::free(folder) else {
        return Ok(()); // the watch tells it
    };
    let begun = caring.clock.monotonic();
    let room = free.saturating_sub(min_free);
    if let Some(done) = caring.engine.compact(above, room).await? {
        let took = caring.clock.monotonic().saturating_sub(begun);
        telemetry::compacted(done.before, done.after, done.rows, took);
    }
    Ok(())
}

/// What waits for longer than it should: its item cannot be created, or its order is not imported.
async fn alert_waiting(caring: &Caring) -> Result<(), EngineError> {
    let secs = caring.live.load().plan.limits.waiting_alert_secs;
    let before = earlier(caring.clock.now(), Duration::from_secs(secs));
    let mut late = caring.engine.waiting().await?;
    late.retain(|row| row.oldest < before);
    let late: Vec<String> = late
        .iter()
        .map(|row| format!("{} {} for {}", row.count, row.stream, row.sink))
        .collect();
    let what = (!late.is_empty()).then(|| {
        format!(
            "waiting for more than {secs} s for items to be created or orders to be imported: {}; \
             see `crossdock queue`",
            late.join(", ")
        )
    });
    caring.condition(Condition::Waiting, what);
    Ok(())
}

/// Closes the gate while the disk is full or too much waits, and opens it again by itself.
pub(super) struct Watch {
    caring: Caring,
    disk: Option<Disk>,
    gate: watch::Sender<Closed>,
}

impl Watch {
    /// Looks at the disk once, so that nothing is read before anybody looked.
    pub fn new(caring: Caring, gate: watch::Sender<Closed>) -> Self {
        let mut disk = caring.folder.clone().map(|folder| Disk {
            ballast: Ballast::of(&folder),
            folder,
            room: None,
        });
        let mut closed = Closed::default();
        if let Some(disk) = &mut disk {
            disk.look(&caring, &mut closed);
        }
        gate.send_replace(closed);
        Self { caring, disk, gate }
    }

    /// Goes on looking until the daemon stops.
    pub async fn run(mut self) {
        loop {
            let mut closed = Closed::default();
            if let Some(disk) = &mut self.disk {
                disk.look(&self.caring, &mut closed);
            }
            match self.caring.engine.pressure().await {
                Ok(pressure) => {
                    self.caring.vitals.beat_engine();
                    look_at_queues(&self.caring, pressure, &mut closed);
                }
                // The engine has stopped; whoever runs us sees it and ends the process.
                Err(_) => return,
            }
            self.gate.send_if_modified(|now| {
                let changed = *now != closed;
                *now = closed;
                changed
            });
            if self.caring.rest(WATCH).await {
                return;
            }
        }
    }
}

fn look_at_queues(caring: &Caring, pressure: Pressure, closed: &mut Closed) {
    let limits = caring.live.load().plan.limits.clone();
    let too_many = pressure.events >= limits.outbox_max_events
        || pressure.event_bytes >= limits.outbox_max_bytes;
    let outbox = too_many.then(|| {
        let (events, size) = (pressure.events, megabytes(pressure.event_bytes));
        format!(
            "{events} events of {size} wait to be delivered (limits.outbox_max_events, outbox_max_bytes): no \
             more are read"
        )
    });
    let is_full = pressure.quarantined >= limits.quarantine_max_rows
        || pressure.quarantined_bytes >= limits.quarantine_max_bytes;
    let quarantine = is_full.then(|| {
        let (rows, size) = (pressure.quarantined, megabytes(pressure.quarantined_bytes));
        format!(
            "{rows} rows of {size} are in quarantine (limits.quarantine_max_rows, quarantine_max_bytes): a \
             stream that needs another one is not read on; `crossdock quarantine list` shows them"
        )
    });
    closed.events.clone_from(&outbox);
    caring.condition(Condition::Outbox, outbox);
    caring.condition(Condition::Quarantine, quarantine);
}

/// The store's file system.
struct Disk {
    folder: PathBuf,
    ballast: Ballast,
    /// How it was at the last look; none before the first.
    room: Option<Room>,
}

impl Disk {
    fn look(&mut self, caring: &Caring, closed: &mut Closed) {
        let free = match space::free(&self.folder) {
            Ok(free) => free,
            Err(error) => {
                tracing::error!(%error, "how much room there is cannot be told");
                return;
            }
        };
        telemetry::disk(free);
        let live = caring.live.load();
        let store = &live.plan.store;
        let needs = Needs {
            min_free: store.min_free_bytes,
            ballast: store.ballast_bytes,
        };
        let before = self.room.unwrap_or(Room {
            ballast_given_up: needs.ballast > 0 && !self.ballast.is_there(),
            ..Room::default()
        });
        let mut room = before.next(free, needs);
        self.keep_ballast(&mut room, needs.ballast);
        self.room = Some(room);
        let missing = if room.ballast_given_up {
            needs.ballast
        } else {
            0
        };
        let needed = megabytes(needs.min_free.saturating_add(missing));
        let has = megabytes(free);
        let what = room.reading_stops.then(|| {
            let ballast = if room.ballast_given_up {
                ", the ballast included, which was given up"
            } else {
                ""
            };
            format!(
                "{} has {has} free, {needed} are needed (store.min_free_bytes): nothing more is \
                 read{ballast}",
                self.folder.display()
            )
        });
        closed.reading.clone_from(&what);
        closed.sending = room
            .sending_stops
            .then(|| format!("{} has {has} free: nothing is sent", self.folder.display()));
        caring.condition(Condition::Disk, what);
    }

    fn keep_ballast(&self, room: &mut Room, bytes: u64) {
        let done = if room.ballast_given_up {
            self.ballast.give_up()
        } else if room.reading_stops {
            return; // no time to make one
        } else {
            self.ballast.make(bytes)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the ballast could not be made or given up");
            room.ballast_given_up = bytes > 0 && !self.ballast.is_there();
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    #[derive(Debug)]
    struct Refused;

    #[async_trait::async_trait]
    impl Probe for Refused {
        async fn probe(&self) -> Result<String, Fault> {
            Err(Fault::auth("refused", "who are you?"))
        }
    }

    /// Story 54: what is refused for long is asked ever more rarely; with other credentials at once.
    #[test]
    fn a_paused_connection_is_probed_ever_more_rarely() {
        let (mut probes, name) = (Probes::default(), ConnectionName::new("north"));
        let probe: Arc<dyn Probe> = Arc::new(Refused);
        let (mut now, mut asked) = (Duration::ZERO, 0);
        while now < Duration::from_secs(86_400) {
            if probes.is_due(&name, &probe, now) {
                asked += 1;
                probes.failed(&name, &probe, now);
            }
            now += CARE;
        }
        assert!((280..=295).contains(&asked), "{asked} in a day");
        let last = now.checked_sub(CARE).unwrap();
        assert!(!probes.is_due(&name, &probe, last));
        let other: Arc<dyn Probe> = Arc::new(Refused);
        assert!(probes.is_due(&name, &other, last));
    }
}
