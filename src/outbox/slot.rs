//! What stands in memory of a row of the queue. Of 200,000 orders that wait each has one, so it is small: what
//! few rows have is boxed, and our own ids are packed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::queue::Entry;
use crate::id::{EntityId, Key};
use crate::record::Lane;

/// The most bytes of a prefix that is packed: `ord`.
const PREFIX: usize = 4;

/// What the index knows of a row: an [`Entry`], packed.
#[derive(Debug)]
pub(super) struct Slot {
    pub thing: Thing,
    /// When its turn comes, see [`nanos`]; [`NEVER`] while it waits for something else than time.
    pub due: i64,
    pub extra: Option<Box<Extra>>,
    /// Which of the queue's targets.
    pub target: u32,
    pub bytes: u32,
    pub lane: Lane,
}

/// No moment.
pub(super) const NEVER: i64 = i64::MAX;

/// What few rows have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extra {
    pub waits_on: Option<(EntityId, Timestamp)>,
    pub group: Option<Key>,
    pub holds_group: bool,
    pub on_the_way: Vec<(Key, Decimal)>,
    pub perhaps: bool,
}

/// The thing with which a row keeps order: of ours, `ord_` and 32 digits, what they say; else the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Thing {
    Packed([u8; PREFIX], [u8; 16]),
    Text(EntityId),
}

impl Slot {
    pub(super) fn of(entry: &Entry, target: u32) -> Self {
        let Entry {
            waits_on,
            group,
            on_the_way,
            ..
        } = entry;
        let any = waits_on.is_some() || group.is_some() || !on_the_way.is_empty();
        let extra = any.then(|| Extra {
            waits_on: waits_on.clone(),
            group: group.clone(),
            holds_group: entry.holds_group,
            on_the_way: on_the_way.clone(),
            perhaps: entry.perhaps,
        });
        Self {
            thing: Thing::of(&entry.line),
            due: entry.due.map_or(NEVER, nanos),
            extra: extra.map(Box::new),
            target,
            bytes: u32::try_from(entry.bytes).unwrap_or(u32::MAX),
            lane: entry.lane,
        }
    }

    pub(super) fn waits_on(&self) -> Option<&(EntityId, Timestamp)> {
        self.extra.as_ref()?.waits_on.as_ref()
    }

    pub(super) fn group(&self) -> Option<&Key> {
        self.extra.as_ref()?.group.as_ref()
    }

    pub(super) fn on_the_way(&self) -> &[(Key, Decimal)] {
        self.extra.as_ref().map_or(&[], |extra| &extra.on_the_way)
    }
}

impl Thing {
    pub(super) fn of(id: &EntityId) -> Self {
        Self::packed(id.as_str()).unwrap_or_else(|| Self::Text(id.clone()))
    }

    fn packed(text: &str) -> Option<Self> {
        let (prefix, digits) = text.split_once('_')?;
        let mut packed = [0; PREFIX];
        packed
            .get_mut(..prefix.len())?
            .copy_from_slice(prefix.as_bytes());
        let uuid = Uuid::try_parse(digits).ok()?;
        let packed = Self::Packed(packed, uuid.into_bytes());
        // Only what comes out as it went in: no capitals, no hyphens.
        (packed.id().as_str() == text).then_some(packed)
    }

    pub(super) fn id(&self) -> EntityId {
        match self {
            Self::Text(id) => id.clone(),
            Self::Packed(prefix, uuid) => {
                let prefix = String::from_utf8_lossy(prefix);
                let prefix = prefix.trim_end_matches('\0');
                EntityId::from(format!("{prefix}_{}", Uuid::from_bytes(*uuid).simple()))
            }
        }
    }

    /// A number for this thing at a sink. Two may have the same.
    pub(super) fn hashed(&self, sink: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        sink.hash(&mut hasher);
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Nanoseconds since 1970, of the years 1678 to 2261; what is before or behind them stands at their ends.
pub(super) fn nanos(at: Timestamp) -> i64 {
    let nanos = at.as_nanosecond();
    let end = if nanos < 0 { i64::MIN } else { NEVER - 1 };
    i64::try_from(nanos).unwrap_or(end).min(NEVER - 1)
}

/// The moment of [`nanos`].
pub(super) fn moment(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_what_it_was() {
        let digits = "019ab0000000700080000000000000f1";
        let ours = format!("ord_{digits}");
        let hyphens = "ord_019ab000-0000-7000-8000-000000000001";
        for (text, is_packed) in [
            (ours.as_str(), true),
            (hyphens, false),
            (&format!("ord_{}", digits.to_uppercase()), false),
            (&format!("orders_{digits}"), false),
            ("items of north", false),
            ("", false),
        ] {
            let thing = Thing::of(&text.into());
            assert_eq!(thing.id().as_str(), text);
            assert_eq!(matches!(thing, Thing::Packed(..)), is_packed, "{text}");
        }
        let thing = Thing::of(&ours.as_str().into());
        assert_ne!(thing.hashed("erp"), thing.hashed("north"));
    }

    #[test]
    fn a_slot_is_small() {
        assert!(size_of::<Slot>() <= 56, "{}", size_of::<Slot>());
    }

    #[test]
    fn a_moment_is_what_it_was() {
        let now: Timestamp = "2026-11-23T01:02:03.123456789Z".parse().unwrap();
        assert_eq!(moment(nanos(now)), now);
        assert!(nanos(Timestamp::MIN) < nanos(now));
        assert!(nanos(Timestamp::MAX) < NEVER);
    }
}
