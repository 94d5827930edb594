//! Looks at everything that may be wrong, and tells somebody: once per cause, again, and when it is over.
//!
//! ```text
//! vitals, engine, plan -> facts -> alert::conditions -> findings -> the engine's board -> channels
//! ```
//!
//! What is about this process alone (a loop or the engine is stuck) stands on a board of its own in memory: the
//! engine could not be asked, and after a restart nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Live;
use super::care::Caring;
use super::channels::{self, Channel};
use crate::alert::conditions::{self, Credential, Failing, OpenOrder, StreamFacts};
use crate::alert::{Board, Cause, Finding, Kind, Notice, Pace, Severity, Standing};
use crate::clock::{Timestamp, later, since};
use crate::config::AlertSettings;
use crate::engine::{Attention, EngineError, StreamAge, Watched};
use crate::id::{ConnectionName, Key};
use crate::record::{Quantity, Stream};
use crate::store::dir;
use crate::telemetry::{self, Condition, Pulse, Room, StreamHealth};
use crate::topology::PlannedStream;

/// Seconds.
const DAY: u64 = 86_400;
/// How often everything is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often open orders and the size of the store are looked at: that reads many rows, or files.
const SLOW_LOOK: Duration = Duration::from_mins(1);
/// How long the engine may take to answer.
const ENGINE: Duration = Duration::from_secs(20);
/// How many open orders of a connection are kept for being named.
const OPEN_ORDERS: usize = 1000;

/// Until the daemon stops.
pub(super) async fn alert_loop(caring: Caring) {
    let mut desk = Desk {
        started: caring.clock.now(),
        settings: AlertSettings::default(),
        channels: Vec::new(),
        own: Board::default(),
        owed: BTreeMap::new(),
        known: Vec::new(),
        present: BTreeMap::new(),
        open: BTreeMap::new(),
        oversold: BTreeMap::new(),
        slow_at: None,
        caring,
    };
    let stop = desk.caring.stop.clone();
    loop {
        // What was being told is told again after the next start, rather than not at all.
        tokio::select! {
            () = stop.cancelled() => return,
            () = desk.look() => {}
        }
        if desk.caring.rest(LOOK).await {
            return;
        }
    }
}

struct Desk {
    caring: Caring,
    started: Timestamp,
    /// What the channels were made from.
    settings: AlertSettings,
    channels: Vec<Channel>,
    /// What is about this process alone.
    own: Board,
    /// Of that, what each channel was not told yet.
    owed: BTreeMap<&'static str, Vec<Notice>>,
    /// What the engine said last.
    known: Vec<(Cause, Standing)>,
    /// What the metrics show.
    present: BTreeMap<Cause, Severity>,
    /// Orders that must leave, by the connection that they come from.
    open: BTreeMap<ConnectionName, Vec<OpenOrder>>,
    /// Of which more is sold than there is, by pool and SKU: how many, and since when, by the monotonic clock.
    oversold: BTreeMap<(String, Key), (Quantity, Duration)>,
    slow_at: Option<Duration>,
}

impl Desk {
    async fn look(&mut self) {
        let live = self.caring.live.load_full();
        let alert = live.plan.alert.clone();
        if self.settings != alert {
            self.channels = channels::of(&alert, &self.caring.clock);
            self.settings = alert.clone();
        }
        self.slow_look(&live).await;
        let clock = Arc::clone(&self.caring.clock);
        let watched = tokio::select! {
            watched = self.ask(&live) => watched,
            () = clock.sleep(ENGINE) => None,
        };
        let stuck = self.stuck(watched.is_none());
        let pace = Pace {
            raise_after: Duration::ZERO, // a loop that is stuck was given its time
            ..pace(&alert)
        };
        let own = self.own.observe(clock.now(), stuck, pace);
        for channel in &self.channels {
            let owed = self.owed.entry(channel.name).or_default();
            owed.extend(own.iter().cloned());
        }
        if let Some(watched) = &watched {
            self.known.clone_from(&watched.present);
        }
        let watched = watched.unwrap_or_default();
        for notice in own.iter().chain(&watched.fresh) {
            telemetry::alert(notice);
        }
        self.show();
        self.tell(&alert.name, watched.owed).await;
    }

    /// What the engine makes of what was found; nothing when it does not answer.
    async fn ask(&self, live: &Live) -> Option<Watched> {
        let attention = self.caring.engine.attention().await.ok()?;
        let findings = self.findings(live, &attention);
        let channels = self.channels.iter().map(|it| it.name.to_owned()).collect();
        let engine = &self.caring.engine;
        let watched = engine.alert_observe(findings, pace(&live.plan.alert), channels);
        watched.await.ok()
    }

    fn stuck(&self, engine_is_silent: bool) -> Vec<Finding> {
        let finding = |text: String| {
            let text =
                format!("{text}; nothing feeds the watchdog meanwhile, so systemd restarts it");
            Finding::new(Kind::Stuck, "crossdock", Severity::Urgent, text)
        };
        match self.caring.vitals.check() {
            Err(stuck) => vec![finding(stuck)],
            Ok(()) if engine_is_silent => vec![finding("the engine does not answer".to_owned())],
            Ok(()) => Vec::new(),
        }
    }

    fn findings(&self, live: &Live, attention: &Attention) -> Vec<Finding> {
        let (now, alert) = (self.caring.clock.now(), &live.plan.alert);
        let mut found = self.caring.vitals.reported();
        found.extend(conditions_of(&self.caring));
        found.extend(self.streams(live, attention, now));
        for (connection, why) in &attention.paused {
            found.push(conditions::paused(connection, why));
        }
        found.extend(quarantine(live, attention, now));
        found.extend(
            attention
                .groups
                .iter()
                .map(|it| conditions::quarantined(it)),
        );
        let most = Duration::from_secs(alert.pending_secs);
        for (sink, stream, oldest) in &attention.oldest {
            if !attention.paused.contains_key(sink.as_str()) {
                let subject = format!("{sink}.{stream}");
                found.extend(conditions::pending(now, &subject, *oldest, most));
            }
        }
        let most = Duration::from_secs(alert.clock_secs);
        let warn = Duration::from_secs(alert.credential_days.saturating_mul(DAY));
        for (name, planned) in &live.plan.connections {
            let skew = self.caring.vitals.clock_skew(name.as_str());
            found.extend(conditions::clock(name.as_str(), skew, most));
            let day = planned.credential_expires;
            let known = day.and_then(|day| Credential::until_day(name.as_str(), day));
            found.extend(known.and_then(|known| conditions::credential(now, &known, warn)));
        }
        for (connection, expires_at) in self.caring.tokens.ends() {
            if live
                .plan
                .connections
                .contains_key(&ConnectionName::new(&connection))
            {
                let subject = format!("{connection}/refresh_token");
                let known = Credential {
                    subject,
                    expires_at,
                };
                found.extend(conditions::credential(now, &known, warn));
            }
        }
        if let (Some(room), Some(folder)) = (self.caring.vitals.room(), &self.caring.folder) {
            let place = folder.display().to_string();
            let min_free = live.plan.store.min_free_bytes;
            found.extend(conditions::disk(&place, room.free, min_free));
            let most = alert.store_max_bytes;
            found.extend(most.and_then(|most| conditions::store_size(room.size, most)));
        }
        let warn = Duration::from_secs(alert.ship_by_secs);
        for (connection, open) in &self.open {
            let subject = format!("{connection}.{}", Stream::Orders);
            found.extend(conditions::ship_by(now, &subject, open, warn));
        }
        found.extend(self.oversold(Duration::from_secs(alert.oversold_secs)));
        found
    }

    /// What is missing for long enough: a snapshot shows what happened a moment later.
    fn oversold(&self, patience: Duration) -> Vec<Finding> {
        let now = self.caring.clock.monotonic();
        let mut missing: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
        for ((pool, sku), (pieces, since)) in &self.oversold {
            if now.saturating_sub(*since) >= patience {
                let told = missing.entry(pool).or_default();
                told.push((sku.to_string(), pieces.to_string()));
            }
        }
        let found = missing
            .into_iter()
            .filter_map(|(pool, told)| conditions::oversold(pool, &told));
        found.collect()
    }

    fn streams(&self, live: &Live, attention: &Attention, now: Timestamp) -> Vec<Finding> {
        let patience = Duration::from_secs(live.plan.alert.trouble_secs);
        let mut read = Vec::new();
        let mut found = Vec::new();
        for health in self.caring.vitals.health() {
            let name = ConnectionName::new(&health.connection);
            let planned = live.plan.connections.get(&name);
            let Some(planned) = planned.and_then(|it| it.streams.get(&health.stream)) else {
                continue;
            };
            let mut known = attention.streams.iter();
            let known = known.find(|it| it.connection == name && it.stream == health.stream);
            let is_paused = attention.paused.contains_key(&health.connection);
            let expected = planned.silent_after();
            if health.way == Pulse::Read {
                let place = (name.clone(), health.stream, health.way);
                self.caring.vitals.expect_within(&place, expected);
            }
            let facts = facts(&health, known, is_paused, planned);
            if health.way == Pulse::Write {
                found.extend(conditions::trouble(now, &facts, false, patience));
                continue;
            }
            if let Some(silence) = attention.silences.get(&name)
                && health.stream == Stream::Orders
            {
                let is_read = !facts.rests
                    && facts.failing.is_none()
                    && facts
                        .last_success
                        .is_some_and(|at| since(at, now) <= expected)
                    && facts.drained.is_some();
                let most = planned.max_silence;
                let subject = &facts.subject;
                let strange = conditions::no_orders(now, subject, *silence, most, is_read);
                found.extend(strange);
            }
            read.push(facts);
        }
        found.extend(conditions::reading(now, self.started, &read, patience));
        found
    }

    /// Open orders and the size of the store; what cannot be read stays as it was.
    async fn slow_look(&mut self, live: &Live) {
        let now = self.caring.clock.monotonic();
        if self.slow_at.is_some_and(|at| now < at + SLOW_LOOK) {
            return;
        }
        self.slow_at = Some(now);
        if let Some(folder) = &self.caring.folder {
            let free = crate::store::space::free(folder);
            if let (Ok(free), Ok(size)) = (free, dir::size_of(folder)) {
                self.caring.vitals.set_room(Room { free, size });
            }
        }
        let warn = Duration::from_secs(live.plan.alert.ship_by_secs);
        let clock = Arc::clone(&self.caring.clock);
        let open = tokio::select! {
            open = self.open_orders(warn) => open.ok(),
            () = clock.sleep(ENGINE) => None,
        };
        self.open = open.unwrap_or_else(|| std::mem::take(&mut self.open));
        let is_told = live.plan.alert.oversold_secs > 0;
        let oversold = tokio::select! {
            oversold = self.all_oversold(is_told) => oversold.ok(),
            () = clock.sleep(ENGINE) => None,
        };
        if let Some(oversold) = oversold {
            let timed = oversold.into_iter().map(|(place, pieces)| {
                let since = self.oversold.get(&place).map_or(now, |(_, since)| *since);
                (place, (pieces, since))
            });
            self.oversold = timed.collect();
        }
    }

    async fn all_oversold(
        &self,
        is_told: bool,
    ) -> Result<BTreeMap<(String, Key), Quantity>, EngineError> {
        let mut found = BTreeMap::new();
        if !is_told {
            return Ok(found);
        }
        let mut after = None;
        loop {
            let some = self.caring.engine.oversold(after).await?;
            found.extend(some.found);
            after = some.next;
            if after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn open_orders(
        &self,
        warn: Duration,
    ) -> Result<BTreeMap<ConnectionName, Vec<OpenOrder>>, EngineError> {
        let mut open: BTreeMap<ConnectionName, Vec<OpenOrder>> = BTreeMap::new();
        if warn.is_zero() {
            return Ok(open);
        }
        let before = later(self.caring.clock.now(), warn);
        let mut after = None;
        loop {
            let some = self.caring.engine.open_orders(after, before).await?;
            for (connection, order) in some.found {
                let orders = open.entry(connection).or_default();
                if orders.len() < OPEN_ORDERS {
                    orders.push(order);
                }
            }
            after = some.next;
            if after.is_none() {
                break;
            }
        }
        for orders in open.values_mut() {
            orders.sort_by(|a, b| (a.ship_by, &a.number).cmp(&(b.ship_by, &b.number)));
        }
        Ok(open)
    }

    /// What is wrong now, in the metrics and in `status`.
    fn show(&mut self) {
        let own = self
            .own
            .raised()
            .map(|(cause, it)| (cause.clone(), it.clone()));
        let all: Vec<(Cause, Standing)> = self.known.iter().cloned().chain(own).collect();
        let now: BTreeMap<Cause, Severity> = all
            .iter()
            .map(|(cause, standing)| (cause.clone(), standing.severity))
            .collect();
        for (cause, severity) in &self.present {
            if now.get(cause) != Some(severity) {
                telemetry::alert_present(cause, *severity, false);
            }
        }
        for (cause, severity) in &now {
            telemetry::alert_present(cause, *severity, true);
        }
        self.present = now;
        self.caring
            .vitals
            .set_alerts(crate::alert::text::list(&all));
    }

    /// Tells every channel what it was not told yet, all at the same time.
    async fn tell(&mut self, name: &str, owed: BTreeMap<String, Vec<(u64, Notice)>>) {
        let clock = self.caring.clock.as_ref();
        let telling = self.channels.iter_mut().map(|channel| {
            let of_engine = owed.get(channel.name).map_or(&[][..], Vec::as_slice);
            let of_us = self.owed.get(channel.name).map_or(&[][..], Vec::as_slice);
            let notices: Vec<Notice> = of_us
                .iter()
                .chain(of_engine.iter().map(|(_, notice)| notice))
                .cloned()
                .collect();
            let mine = of_us.len();
            async move {
                let told = channel.tell(name, &notices, clock).await;
                let until = told.saturating_sub(mine);
                let until = until.checked_sub(1).and_then(|last| of_engine.get(last));
                (
                    channel.name,
                    told.min(mine),
                    until.map(|(number, _)| *number),
                )
            }
        });
        let told = join_all(telling).await;
        for (channel, ours, until) in told {
            if let Some(owed) = self.owed.get_mut(channel) {
                owed.drain(..ours);
            }
            if let Some(until) = until {
                // Where that fails it is told again, which is better than not at all.
                let noted = self.caring.engine.alert_told(channel.to_owned(), until);
                let _ = noted.await;
            }
        }
        let names: BTreeSet<&str> = self.channels.iter().map(|it| it.name).collect();
        self.owed
            .retain(|channel, owed| names.contains(channel) && !owed.is_empty());
    }
}

fn pace(alert: &AlertSettings) -> Pace {
    Pace {
        raise_after: Duration::from_secs(alert.for_secs),
        clear_after: Duration::from_secs(alert.clear_secs),
        repeat: Duration::from_secs(alert.repeat_secs),
    }
}

/// What is known of a loop, here and in the store.
fn facts(
    health: &StreamHealth,
    known: Option<&StreamAge>,
    is_paused: bool,
    planned: &PlannedStream,
) -> StreamFacts {
    let drained = known.and_then(|it| it.drained_at);
    let newest = health
        .last_success
        .max(known.map(|it| it.accepted_at))
        .max(drained);
    // Reading an old file again does not make it new. Before the first one nothing was read.
    let as_of = known.and_then(|it| it.as_of);
    let last_success = match as_of.filter(|_| planned.grows_old()) {
        Some(as_of) if as_of == Timestamp::UNIX_EPOCH => None,
        Some(as_of) => newest.map(|newest| newest.min(as_of)),
        None => newest,
    };
    let failing = health.trouble.as_ref().zip(health.trouble_since);
    StreamFacts {
        subject: format!("{}.{}", health.connection, health.stream),
        last_success,
        drained,
        expected: planned.silent_after(),
        failing: failing.map(|(why, since)| Failing {
            why: why.clone(),
            times: health.failures,
            since,
        }),
        untried: health.last_success.is_none() && health.trouble.is_none(),
        rests: health.held.is_some() || is_paused,
    }
}

/// What the loops beside this one found out about the whole process.
fn conditions_of(caring: &Caring) -> Vec<Finding> {
    let conditions = caring.vitals.conditions().into_iter();
    let mut found: Vec<Finding> = conditions
        .map(|(condition, text)| {
            let (kind, severity) = match condition {
                Condition::Disk => (Kind::DiskFull, Severity::Urgent),
                Condition::Outbox => (Kind::OutboxFull, Severity::Urgent),
                Condition::Quarantine => (Kind::QuarantineFull, Severity::Urgent),
                Condition::Waiting => (Kind::Waiting, Severity::Warning),
            };
            Finding::new(kind, "crossdock", severity, text)
        })
        .collect();
    if let Some(reload) = caring.vitals.last_reload().filter(|it| !it.applied) {
        let why = reload.told.first().map_or("", String::as_str);
        let text = format!(
            "the configuration was changed at {:.0} and refused; the daemon goes on as before: {why}; `crossdock \
             check` says all of it",
            reload.at
        );
        found.push(Finding::new(
            Kind::Reload,
            "crossdock",
            Severity::Warning,
            text,
        ));
    }
    found
}

/// The quarantine beside its bounds.
fn quarantine(live: &Live, attention: &Attention, now: Timestamp) -> Vec<Finding> {
    let (limits, share) = (&live.plan.limits, live.plan.alert.quarantine_share);
    let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let oldest = attention.quarantined_since.map(|at| since(at, now));
    let bounds = [
        (attention.quarantined, (limits.quarantine_max_rows, "rows")),
        (
            count(attention.quarantined_bytes >> 20),
            (count(limits.quarantine_max_bytes >> 20), "MB"),
        ),
        (
            count(oldest.map_or(0, |age| age.as_secs() / DAY)),
            (count(limits.quarantine_max_age_secs / DAY), "days"),
        ),
    ];
    let found = bounds
        .into_iter()
        .map(|(value, bound)| conditions::quarantine_size(value, bound, share));
    found.flatten().collect()
}
