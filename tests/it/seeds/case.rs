//! What a seed means: which systems, who buys what when, what goes wrong, and how each life ends.

use std::time::Duration;

use fastrand::Rng;

/// A kind of trouble; each can be left out when a failing seed is told as briefly as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The connection is refused: nothing left.
    Refused,
    /// 503 before anything happened, with or without `retry-after`.
    Unavailable,
    /// 500 after everything happened.
    FailedAfter,
    /// 429 with `retry-after`.
    ThrottledWith,
    /// 429 without.
    ThrottledWithout,
    /// It happened, and the reply is lost.
    LostReply,
    /// It did not happen, and nobody says so.
    Timeout,
    /// It happens when nobody waits for it any more: after a timeout, or when who asked is dead.
    Late,
    /// It takes long; for a while at a system, each change does.
    Slow,
    /// Some of a batch fail.
    Partial,
    /// Credentials are refused for a while.
    Auth,
    /// A system is down for a while.
    Outage,
    /// A page repeats what was told before, in another order.
    Repeats,
    /// A page tells an old version of something again.
    OldVersion,
    /// Something shows in lists later than the vendor promises; only a sweep finds it.
    LateCommit,
    /// The buyer calls an order off.
    Cancel,
    /// Goods leave or arrive without an order.
    Drift,
    /// A supplier's list is cut off, or lacks rows.
    BadFeed,
    /// Somebody tells us to look at an order again.
    Hint,
    /// The owner of prices changes one.
    Reprice,
    /// The owner of items changes one.
    Rename,
    /// A market says that a feed is done, and did not do it.
    LostFeed,
    /// A market works on a feed for ever.
    StuckFeed,
}

impl Trouble {
    pub const ALL: [Self; 23] = [
        Self::Refused,
        Self::Unavailable,
        Self::FailedAfter,
        Self::ThrottledWith,
        Self::ThrottledWithout,
        Self::LostReply,
        Self::Timeout,
        Self::Late,
        Self::Slow,
        Self::Partial,
        Self::Auth,
        Self::Outage,
        Self::Repeats,
        Self::OldVersion,
        Self::LateCommit,
        Self::Cancel,
        Self::Drift,
        Self::BadFeed,
        Self::Hint,
        Self::Reprice,
        Self::Rename,
        Self::LostFeed,
        Self::StuckFeed,
    ];
}

/// When a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At a moment of its own.
    After(Duration),
    /// Right after its nth commit.
    Commit(u64),
    /// Right after the nth thing that it changed somewhere, before it learns of it.
    Effect(u64),
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The power fails.
    PowerCut,
    /// The disk refuses a commit.
    CommitRefused,
    /// The disk writes a commit and reports an error.
    CommitUnsure,
    /// No room for a commit.
    DiskFull,
    /// It is told to stop.
    Stopped,
    /// The power fails, and so does the disk: the next life begins with nothing.
    DiskLost,
    /// As before, but there is a backup of an earlier moment.
    BackupRestored,
}

/// How the ERP takes orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErpKind {
    /// A create with the same key twice is one.
    Keyed,
    /// Whoever does not look creates twice.
    Searchable,
    /// In steps, of which each looks for what an earlier try left.
    Steps,
}

/// Something that people do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Buys on a shop: which one, and how many of which SKUs.
    Buy(usize, Vec<(usize, i64)>),
    /// Calls off an order that is not shipped, if there is one.
    Cancel(u64),
    /// Goods come to the ERP's shelf or leave it.
    Drift(usize, i64),
    /// The supplier's list changes.
    Supplier(usize, i64),
    /// A row of the supplier's list is missing for a while, or is there again.
    Unlist(usize),
    /// A system is down or refuses credentials for a while.
    Trouble(Trouble, usize, Duration),
    /// A webhook about some order.
    Hint(u64),
    /// Somebody writes a note on an order: it changes for nobody.
    Touch(u64),
    /// Something costs another amount.
    Price(usize, i64),
    /// Something is called otherwise.
    Rename(usize),
}

/// Everything about one run.
#[derive(Debug, Clone)]
pub struct Case {
    pub seed: u64,
    pub skus: usize,
    pub opening: Vec<i64>,
    pub variant: usize,
    pub erp: ErpKind,
    /// By system, in seconds.
    pub skew: [i64; 5],
    pub began: &'static str,
    /// How often the wire goes wrong, in thousandths.
    pub permille: u32,
    pub deeds: Vec<(Duration, Deed)>,
    pub lives: Vec<(Moment, End)>,
    /// Troubles that are left out.
    pub without: Vec<Trouble>,
}

/// Moments around which clocks were changed somewhere, the end of a year, and an ordinary one.
const BEGINNINGS: [&str; 4] = [
    "2026-11-22T10:00:00Z",
    "2026-10-25T00:45:00Z",
    "2027-03-28T00:50:00Z",
    "2026-12-31T23:50:00Z",
];

/// More than the fifteen minutes by which clocks may be wrong where a store was lost.
const AHEAD_SECS: i64 = 1200;

/// How long people do things.
const SPAN_SECS: u64 = 100;

impl Case {
    pub fn new(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let skus = dice.usize(3..7);
        // The first is never scarce: nobody may ever be told that little of it is left.
        let mut opening = vec![1000];
        opening.extend((1..skus).map(|_| dice.i64(0..9)));
        let kinds = [ErpKind::Keyed, ErpKind::Searchable, ErpKind::Steps];
        let mut case = Self {
            seed,
            skus,
            opening,
            variant: dice.usize(..super::plan::VARIANTS),
            erp: kinds[dice.usize(..kinds.len())],
            skew: std::array::from_fn(|_| [0, 0, 5, -7, 90, -90][dice.usize(..6)]),
            began: BEGINNINGS[dice.usize(..BEGINNINGS.len())],
            permille: [0, 20, 60, 150][dice.usize(..4)],
            deeds: Vec::new(),
            lives: Vec::new(),
            without: Vec::new(),
        };
        if super::plan::never_sweeps(case.variant) {
            case.without.push(Trouble::LateCommit); // only a sweep finds that
        }
        case.draw_deeds(&mut dice);
        case.draw_lives(&mut dice);
        case.draw_catalogue(&mut dice);
        if dice.u32(..2) == 0 {
            case.put_clocks_ahead();
        }
        if super::plan::in_memory(case.variant).is_some() && dice.bool() {
            case.draw_rush(&mut dice);
        }
        case
    }

    /// With everybody's clock so far ahead, nothing looks as if it had happened before this process began. What
    /// may have been created by a store that was lost is then not looked for, and it is not promised to be.
    fn put_clocks_ahead(&mut self) {
        self.skew = [AHEAD_SECS; 5];
        for (_, end) in &mut self.lives {
            if matches!(end, End::DiskLost | End::BackupRestored) {
                *end = End::PowerCut;
            }
        }
    }

    fn draw_deeds(&mut self, dice: &mut Rng) {
        let at = |dice: &mut Rng| Duration::from_millis(dice.u64(100..SPAN_SECS * 1000));
        let mut deeds = Vec::new();
        for _ in 0..dice.usize(5..16) {
            let lines = dice.usize(1..3);
            let first = dice.usize(..self.skus);
            let lines = (0..lines).map(|n| ((first + n) % self.skus, dice.i64(1..4)));
            let lines = lines.collect();
            deeds.push((at(dice), Deed::Buy(dice.usize(..3), lines)));
        }
        for _ in 0..dice.usize(..4) {
            deeds.push((at(dice), Deed::Cancel(dice.u64(..))));
        }
        for _ in 0..dice.usize(..4) {
            let sku = dice.usize(1..self.skus);
            deeds.push((
                at(dice),
                Deed::Drift(sku, [-2, -1, 1, 3, 6][dice.usize(..5)]),
            ));
        }
        for _ in 0..dice.usize(..3) {
            let sku = dice.usize(1..self.skus);
            deeds.push((at(dice), Deed::Supplier(sku, dice.i64(0..5))));
        }
        for _ in 0..dice.usize(..2) {
            deeds.push((at(dice), Deed::Unlist(dice.usize(1..self.skus))));
        }
        for _ in 0..dice.usize(..3) {
            deeds.push((at(dice), Deed::Hint(dice.u64(..))));
            deeds.push((at(dice), Deed::Touch(dice.u64(..))));
        }
        if self.permille > 0 {
            for _ in 0..dice.usize(..3) {
                let kind = [Trouble::Outage, Trouble::Auth][dice.usize(..2)];
                let long = Duration::from_secs(dice.u64(3..30));
                deeds.push((at(dice), Deed::Trouble(kind, dice.usize(..5), long)));
            }
        }
        deeds.sort_by_key(|(at, _)| *at);
        self.deeds = deeds;
    }

    /// Prices, never so far from one another that one would be held as a jump, and names.
    fn draw_catalogue(&mut self, dice: &mut Rng) {
        for _ in 0..dice.usize(..6) {
            let at = Duration::from_millis(dice.u64(100..SPAN_SECS * 1000));
            let deed = Deed::Price(dice.usize(..self.skus), dice.i64(80..120));
            self.deeds.push((at, deed));
        }
        for _ in 0..dice.usize(..4) {
            let at = Duration::from_millis(dice.u64(100..SPAN_SECS * 1000));
            self.deeds.push((at, Deed::Rename(dice.usize(..self.skus))));
        }
        self.deeds.sort_by_key(|(at, _)| *at);
    }

    /// Many buy at once while the ERP is slow, or refuses credentials, and some regret it: what they bought stands
    /// in the store alone then.
    fn draw_rush(&mut self, dice: &mut Rng) {
        let began = dice.u64(100..SPAN_SECS * 1000 - 20_000);
        let within = |dice: &mut Rng, most| Duration::from_millis(began + dice.u64(..most));
        let kind = [Trouble::Slow, Trouble::Auth][dice.usize(..2)];
        let long = Duration::from_secs(dice.u64(2..20));
        let deed = Deed::Trouble(kind, super::world::ERP, long);
        self.deeds.push((Duration::from_millis(began), deed));
        for _ in 0..dice.usize(6..14) {
            let mut lines = vec![(0, dice.i64(1..4))];
            if dice.u32(..4) == 0 {
                lines.push((dice.usize(1..self.skus), 1));
            }
            let deed = Deed::Buy(dice.usize(..3), lines);
            self.deeds.push((within(dice, 3000), deed));
        }
        for _ in 0..dice.usize(1..5) {
            self.deeds
                .push((within(dice, 15_000), Deed::Cancel(dice.u64(..))));
        }
        self.deeds.sort_by_key(|(at, _)| *at);
    }

    fn draw_lives(&mut self, dice: &mut Rng) {
        let ends = [
            End::PowerCut,
            End::PowerCut,
            End::PowerCut,
            End::CommitRefused,
            End::CommitUnsure,
            End::DiskFull,
            End::Stopped,
            End::DiskLost,
            End::BackupRestored,
        ];
        for _ in 0..dice.usize(..5) {
            let moment = match dice.usize(..4) {
                0 => Moment::After(Duration::from_millis(dice.u64(500..40_000))),
                1 => Moment::Effect(dice.u64(1..12)),
                _ => Moment::Commit(dice.u64(1..80)),
            };
            self.lives.push((moment, ends[dice.usize(..ends.len())]));
        }
    }

    pub fn has(&self, trouble: Trouble) -> bool {
        !self.without.contains(&trouble)
    }

    /// Until when people do things and things go wrong.
    pub fn span() -> Duration {
        Duration::from_secs(SPAN_SECS)
    }
}
