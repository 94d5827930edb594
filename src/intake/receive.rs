//! Taking in what other systems tell: durable before it is answered, fetched at once, and never too often.
//!
//! A hint that is there already costs nothing. A thing that is told of again and again in a minute (some
//! systems tell of the look that our fetch was, story 29) is fetched once a minute until that ends.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Clock, later};
use crate::connector::Hint;
use crate::engine::{EngineError, Handle, NewHint};
use crate::fault::Fault;
use crate::id::{ConnectionName, RemoteId};
use crate::record::Stream;
use crate::telemetry;

/// Over how long is counted, and how long a thing rests that was told of too often.
const MINUTE: Duration = Duration::from_secs(60);
/// How long it stays quiet about a stream that goes round in circles once it was said.
const QUIET: Duration = Duration::from_secs(3600);
/// How many things and events are remembered at most.
const MAX_REMEMBERED: usize = 20_000;
/// Senders wait for a few seconds and count what takes longer as failed (Intuit: 3 s).
const PATIENCE: Duration = Duration::from_millis(2500);
/// The engine did not get to it in time.
pub const BUSY: &str = "busy";

/// A stream of a connection.
type Place = (ConnectionName, Stream);
/// A thing that is told of.
type Thing = (ConnectionName, Stream, RemoteId);

/// Wakes the loop that reads one stream.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Several times before anybody listens are one.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Until it is rung, or at once when it was since somebody listened last.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

/// The bells of all streams.
#[derive(Debug, Clone, Default)]
pub struct Bells(Arc<Mutex<BTreeMap<Place, Bell>>>);

impl Bells {
    /// The bell of one stream: the same whoever asks.
    pub fn of(&self, connection: &ConnectionName, stream: Stream) -> Bell {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = bells.entry((connection.clone(), stream)).or_default();
        bell.clone()
    }
}

/// Where hints of a connection may lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leads {
    /// The streams that are read, and whether things of them can be fetched by id.
    pub streams: BTreeMap<Stream, bool>,
    /// How many things of the connection may wait to be fetched.
    pub most: usize,
    /// How often a thing may be told of in a minute before it is fetched once a minute.
    pub per_minute: u32,
}

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Things that are fetched now.
    pub new: usize,
    /// Things that wait to be fetched already, or events that were told before.
    pub known: usize,
    /// Things that are told of too often: fetched once a minute.
    pub slowed: usize,
    /// Streams that are read at once.
    pub woken: usize,
    /// Things of streams that nobody reads.
    pub unread: usize,
}

/// Takes hints in.
#[derive(Debug)]
pub struct Reception {
    engine: Handle,
    clock: Arc<dyn Clock>,
    bells: Bells,
    memory: Mutex<Memory>,
}

impl Reception {
    /// One for all connections.
    pub fn new(engine: Handle, clock: Arc<dyn Clock>, bells: Bells) -> Self {
        Self {
            engine,
            clock,
            bells,
            memory: Mutex::default(),
        }
    }

    /// Takes hints in; they are durable when this returns.
    ///
    /// # Errors
    /// `Retry` when too much waits or the engine does not get to it in time; then the sender must tell it
    /// again. Some of it may have been taken in all the same, which does no harm.
    pub async fn take(
        &self,
        connection: &ConnectionName,
        hints: Vec<Hint>,
        leads: &Leads,
    ) -> Result<Taken, Fault> {
        let mut taken = Taken::default();
        let mut new = Vec::new();
        let mut wake = BTreeSet::new();
        let mut events = Vec::new();
        let mut told = Vec::new();
        let now = self.clock.monotonic();
        for hint in hints {
            let Hint { stream, id, event } = hint;
            let (Some(can_fetch), id) = (leads.streams.get(&stream), id) else {
                taken.unread += 1;
                continue;
            };
            // What is not named, or cannot be fetched, is one thing: the stream.
            let named = id.filter(|_| *can_fetch);
            let thing = named.clone().unwrap_or_else(|| RemoteId::new(""));
            let thing = (connection.clone(), stream, thing);
            if let Some(event) = event {
                let event = (thing.clone(), event);
                if self.with(|memory| memory.events.contains(&event)) {
                    taken.known += 1;
                    continue;
                }
                events.push(event);
            }
            let is_slow = self.with(|memory| memory.is_too_often(&thing, now, leads.per_minute));
            told.push(thing);
            taken.slowed += usize::from(is_slow);
            match named {
                Some(id) => {
                    let not_before = is_slow.then(|| later(self.clock.now(), MINUTE));
                    new.push(NewHint {
                        stream,
                        id,
                        not_before,
                    });
                }
                None if is_slow => {}
                None => drop(wake.insert(stream)),
            }
        }
        taken.woken = wake.len();
        wake.extend(new.iter().map(|hint| hint.stream));
        let asked = new.len();
        if asked > 0 {
            taken.new = self.make_durable(connection, new, leads.most).await?;
            taken.known += asked - taken.new;
        }
        // What was refused is told again because it was refused: only what was taken in counts.
        self.note(&told, now, leads.per_minute);
        self.with(|memory| memory.remember(events));
        for stream in wake {
            self.bells.of(connection, stream).ring();
        }
        Ok(taken)
    }

    async fn make_durable(
        &self,
        connection: &ConnectionName,
        hints: Vec<NewHint>,
        most: usize,
    ) -> Result<usize, Fault> {
        let asked = self.engine.take_hints(connection.clone(), hints, most);
        tokio::select! {
            taken = asked => taken.map_err(EngineError::into_fault),
            () = self.clock.sleep(PATIENCE) => {
                Err(Fault::retry(BUSY, "the engine does not get to it in time"))
            }
        }
    }

    fn note(&self, told: &[Thing], now: Duration, most: u32) {
        for thing in told {
            let (is_too_often, is_new) = self.with(|memory| memory.note(thing, now, most));
            if is_too_often {
                telemetry::webhook_slowed(&thing.0, thing.1, most, is_new);
            }
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Memory) -> T) -> T {
        f(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was told of lately. Forgetting it does no harm: something is fetched that need not be.
#[derive(Debug, Default)]
struct Memory {
    /// Since when and how often in this minute.
    told: HashMap<Thing, (Duration, u32)>,
    /// When it was last said that a stream goes round in circles.
    said: BTreeMap<Place, Duration>,
    events: BTreeSet<(Thing, String)>,
    oldest_first: VecDeque<(Thing, String)>,
}

impl Memory {
    /// Whether a thing that is told of once more is told of too often.
    fn is_too_often(&self, thing: &Thing, now: Duration, most: u32) -> bool {
        let told = self.told.get(thing);
        told.is_some_and(|(since, count)| now < *since + MINUTE && *count >= most)
    }

    /// A thing was told of: whether too often, and whether that should be said.
    fn note(&mut self, thing: &Thing, now: Duration, most: u32) -> (bool, bool) {
        if self.told.len() >= MAX_REMEMBERED && !self.told.contains_key(thing) {
            self.told.retain(|_, (since, _)| now < *since + MINUTE);
            if self.told.len() >= MAX_REMEMBERED {
                self.told.clear();
            }
        }
        let (since, count) = self.told.entry(thing.clone()).or_insert((now, 0));
        if now >= *since + MINUTE {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count <= most {
            return (false, false);
        }
        let said = self.said.insert((thing.0.clone(), thing.1), now);
        (true, said.is_none_or(|at| now >= at + QUIET))
    }

    fn remember(&mut self, events: Vec<(Thing, String)>) {
        for event in events {
            if self.events.insert(event.clone()) {
                self.oldest_first.push_back(event);
            }
        }
        while self.oldest_first.len() > MAX_REMEMBERED {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.events.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(id: &str) -> Thing {
        ("shop".into(), Stream::Orders, id.into())
    }

    /// Story 29: N updates of one key in a minute are slowed down, said once, and over when it ends.
    #[test]
    fn what_goes_round_in_circles_is_slowed_down_and_said_once() {
        let mut memory = Memory::default();
        let at = Duration::from_secs;
        for n in 0..5 {
            assert!(!memory.is_too_often(&thing("1"), at(n), 5));
            assert_eq!(memory.note(&thing("1"), at(n), 5), (false, false));
        }
        assert!(memory.is_too_often(&thing("1"), at(6), 5));
        assert!(!memory.is_too_often(&thing("1"), at(60), 5));
        assert_eq!(memory.note(&thing("1"), at(6), 5), (true, true));
        assert_eq!(memory.note(&thing("1"), at(7), 5), (true, false));
        assert_eq!(memory.note(&thing("2"), at(7), 5), (false, false));
        assert_eq!(memory.note(&thing("1"), at(60), 5), (false, false));
        for n in 61..65 {
            memory.note(&thing("1"), at(n), 5);
        }
        assert_eq!(memory.note(&thing("1"), at(66), 5), (true, false));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut memory = Memory::default();
        for n in 0..MAX_REMEMBERED + 500 {
            let thing = thing(&n.to_string());
            memory.note(&thing, Duration::ZERO, 5);
            memory.remember(vec![(thing, "e".to_owned())]);
        }
        assert!(memory.told.len() <= MAX_REMEMBERED);
        assert_eq!(memory.events.len(), MAX_REMEMBERED);
        assert!(!memory.events.contains(&(thing("0"), "e".to_owned())));
    }
}
