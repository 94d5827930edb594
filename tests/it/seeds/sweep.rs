//! Many seeds side by side, and what is told of the first that fails: as little as still goes wrong.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::case::{Case, Trouble};
use super::life::{self, Ran};

/// How many runs may be spent on telling a failing seed briefly.
const TRIES: usize = 120;

/// What was swept.
#[derive(Debug, Default)]
pub struct Swept {
    pub orders: usize,
    pub lives: usize,
    /// The lowest seed that went wrong, of those that were run.
    pub failed: Option<Case>,
}

/// Runs all seeds, on as many threads as there are processors; ends early when one goes wrong.
pub fn sweep(seeds: RangeInclusive<u64>) -> Swept {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(*seeds.start());
    let swept = Mutex::new(Swept::default());
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed > *seeds.end() || swept.lock().unwrap().failed.is_some() {
            return;
        }
        let case = Case::new(seed);
        let ran = life::run(&case);
        let mut swept = swept.lock().unwrap();
        swept.orders += ran.orders;
        swept.lives += ran.lives;
        let is_first = swept.failed.as_ref().is_none_or(|known| known.seed > seed);
        if !ran.broken.is_empty() && is_first {
            swept.failed = Some(case);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    swept.into_inner().unwrap()
}

/// The story of a case that goes wrong, with as few lives, troubles and deeds as still go wrong, or as it is.
pub fn story(case: &Case, as_it_is: bool) -> String {
    let case = if as_it_is { case.clone() } else { less(case) };
    let Ran { broken, trace, .. } = life::run(&case);
    let mut told = format!("CROSSDOCK_SEED={}\n", case.seed);
    for what in broken {
        let _ = writeln!(told, "  {what}");
    }
    let _ = write!(
        told,
        "\n{} deeds, lives {:?}, without {:?}\n\n{trace}\nAgain, as it was found: \
         CROSSDOCK_SEED={} cargo nextest run --test it seeds::whatever --no-capture\n",
        case.deeds.len(),
        case.lives,
        case.without,
        case.seed
    );
    told
}

fn less(case: &Case) -> Case {
    let mut case = case.clone();
    let mut tries = 0;
    let mut goes_wrong = |case: &Case| {
        tries += 1;
        tries <= TRIES && !life::run(case).broken.is_empty()
    };
    for n in (0..case.lives.len()).rev() {
        let mut less = case.clone();
        less.lives.remove(n);
        if goes_wrong(&less) {
            case = less;
        }
    }
    for trouble in Trouble::ALL {
        let mut less = case.clone();
        less.without.push(trouble);
        if goes_wrong(&less) {
            case = less;
        }
    }
    for n in (0..case.deeds.len()).rev() {
        let mut less = case.clone();
        less.deeds.remove(n);
        if goes_wrong(&less) {
            case = less;
        }
    }
    case
}

/// Where two stories part.
pub fn first_difference(one: &str, other: &str) -> String {
    let mut lines = one.lines().zip(other.lines());
    let parted = lines.find(|(one, other)| one != other);
    parted.map_or("one ends earlier".to_owned(), |(one, other)| {
        format!("{one}\n{other}")
    })
}
