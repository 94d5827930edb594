//! Fair share between those who use one credential: inside a lane the one goes first that got the least of a
//! bucket. Whoever wanted nothing for a while begins where the others are, and cannot take it all at once then.

use std::collections::BTreeMap;

/// One of those who share a limiter, such as a connection.
pub(super) type Payer = u32;

/// Lane as aged, then order of coming: smaller goes first.
pub(super) type Order = (u32, u64);

/// How many cells each was given, by bucket.
#[derive(Debug, Default)]
pub(super) struct Shares {
    given: BTreeMap<(usize, Payer), u64>,
}

/// One that waits: its lane as it came, its place, and who it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) lane: u32,
    pub(super) order: Order,
    pub(super) payer: Payer,
}

impl Shares {
    fn of(&self, bucket: usize, payer: Payer) -> u64 {
        self.given.get(&(bucket, payer)).copied().unwrap_or(0)
    }

    /// `payer` wants something of a bucket for which these wait.
    pub(super) fn begin(
        &mut self,
        bucket: usize,
        payer: Payer,
        waiting: impl Iterator<Item = Payer>,
    ) {
        let mut least = None;
        for other in waiting {
            if other == payer {
                return; // it is among them already
            }
            let given = self.of(bucket, other);
            least = Some(least.map_or(given, |least: u64| least.min(given)));
        }
        let own = self.given.entry((bucket, payer)).or_default();
        *own = (*own).max(least.unwrap_or(0));
    }

    /// It was given something.
    pub(super) fn give(&mut self, bucket: usize, payer: Payer, cells: u32) {
        let given = self.given.entry((bucket, payer)).or_default();
        *given = given.saturating_add(u64::from(cells));
    }

    /// Whose turn it is. The foremost lane goes first, as the one that waits longest in it has aged; inside it
    /// the one with the smallest share.
    pub(super) fn first(
        &self,
        bucket: usize,
        asking: impl Iterator<Item = Asking> + Clone,
    ) -> Option<Order> {
        // Mostly there is only one.
        let one = asking.clone().next()?;
        if asking.clone().all(|it| it.payer == one.payer) {
            return asking.map(|it| it.order).min();
        }
        let mut heads: BTreeMap<(u32, Payer), Order> = BTreeMap::new();
        for one in asking {
            let head = heads.entry((one.lane, one.payer)).or_insert(one.order);
            *head = one.order.min(*head);
        }
        let mut first: Option<(Order, Order)> = None;
        let mut heads = heads.into_iter().peekable();
        while let Some(((lane, payer), order)) = heads.next() {
            let mut foremost = order;
            let mut fair = (self.of(bucket, payer), order.1);
            while let Some(((_, other), order)) = heads.next_if(|((it, _), _)| *it == lane) {
                foremost = foremost.min(order);
                fair = fair.min((self.of(bucket, other), order.1));
            }
            let found = (foremost, (foremost.0, fair.1));
            first = Some(first.map_or(found, |first| first.min(found)));
        }
        first.map(|(_, chosen)| chosen)
    }
}
