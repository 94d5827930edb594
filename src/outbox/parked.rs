//! Rows of the queue that stand in the store alone: of a long queue only the beginning is kept in memory.
//!
//! They are new orders of which nothing was sent, all behind what stands in memory, oldest first. Whoever needs one of
//! them fetches it, and the others come when what is in memory runs short.

use std::collections::BTreeMap;

use super::queue::Target;

/// How many rows of each target are parked, and where they begin.
#[derive(Debug, Default)]
pub(super) struct Parked(BTreeMap<Target, Place>);

#[derive(Debug)]
struct Place {
    count: usize,
    /// None stands before this one.
    first: u64,
}

impl Parked {
    /// One more row, behind all that are parked.
    pub(super) fn add(&mut self, target: &Target, seq: u64) {
        let new = || Place {
            count: 0,
            first: seq,
        };
        let place = self.0.entry(target.clone()).or_insert_with(new);
        place.count += 1;
        place.first = place.first.min(seq);
    }

    /// One row less.
    pub(super) fn take(&mut self, target: &Target) {
        if let Some(place) = self.0.get_mut(target) {
            place.count -= 1;
            if place.count == 0 {
                self.0.remove(target);
            }
        }
    }

    /// None of a target is parked before this one any more.
    pub(super) fn pass(&mut self, target: &Target, first: u64) {
        if let Some(place) = self.0.get_mut(target) {
            place.first = place.first.max(first);
        }
    }

    /// None of a target is parked, whatever was counted; how many were counted.
    pub(super) fn end(&mut self, target: &Target) -> usize {
        self.0.remove(target).map_or(0, |place| place.count)
    }

    /// How many rows of a target are parked.
    pub(super) fn count(&self, target: &Target) -> usize {
        self.0.get(target).map_or(0, |place| place.count)
    }

    /// How many rows are parked.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(|place| place.count).sum()
    }

    /// Where the rows of each target begin.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Target, u64)> {
        self.0.iter().map(|(target, place)| (target, place.first))
    }
}
