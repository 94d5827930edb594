//! What was told of each cause, and so what is to be told next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Cause, Finding, Kind, Notice, Severity, Step};
use crate::clock::since;

/// The most causes of one kind that are remembered; of more only the number is told.
const MAX_OF_A_KIND: usize = 20;
/// More of one kind at once are told as one.
const TOLD_ONE_BY_ONE: usize = 5;
/// The longest text of a cause, in characters.
const MAX_TEXT: usize = 600;
/// How long a text that changed is left as it was: each change is a write.
const TEXT_REST: Duration = Duration::from_mins(1);

/// How patient the board is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a cause must last before it is told.
    pub raise_after: Duration,
    /// How long it must have been well before it is over.
    pub clear_after: Duration,
    /// How long until it is told again.
    pub repeat: Duration,
}

/// What is known of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How soon somebody should look.
    pub severity: Severity,
    /// What, where, how to mend it.
    pub text: String,
    /// When the text was written down.
    text_at: Timestamp,
    /// Since when it is wrong.
    pub since: Timestamp,
    /// Since when it is well again, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well_since: Option<Timestamp>,
    /// When it was told first; not yet while it may be over in a moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_at: Option<Timestamp>,
    /// When it was told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_at: Option<Timestamp>,
    /// Somebody knows: it is not repeated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledged: bool,
}

/// Everything that is wrong, and what was told of it. Small: at most twenty causes of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Board {
    causes: BTreeMap<Cause, Standing>,
}

impl Board {
    /// What was told and is not over.
    pub fn raised(&self) -> impl Iterator<Item = (&Cause, &Standing)> {
        let all = self.causes.iter();
        all.filter(|(_, standing)| standing.raised_at.is_some())
    }

    /// Somebody knows of a cause: it is not repeated until it is over. Whether it was told at all.
    pub fn acknowledge(&mut self, cause: &Cause) -> bool {
        let standing = self.causes.get_mut(cause);
        let told = standing.filter(|standing| standing.raised_at.is_some());
        told.map(|standing| standing.acknowledged = true).is_some()
    }

    /// Compares what was found with what was told; what is to be told now.
    pub fn observe(&mut self, now: Timestamp, findings: Vec<Finding>, pace: Pace) -> Vec<Notice> {
        let (findings, beyond) = self.bound(findings);
        let mut found = BTreeSet::new();
        let mut steps = Vec::new();
        for finding in findings {
            found.insert(finding.cause.clone());
            if let Some(step) = self.meet(now, &finding, pace) {
                steps.push((finding.cause, step));
            }
        }
        for (cause, standing) in &mut self.causes {
            if found.contains(cause) {
                continue;
            }
            let well = *standing.well_since.get_or_insert(now);
            if since(well, now) >= pace.clear_after || standing.raised_at.is_none() {
                steps.push((cause.clone(), Step::Cleared));
            }
        }
        let notices = steps.iter().filter_map(|(cause, step)| {
            let standing = self.causes.get(cause)?;
            // What was never told is not over either.
            let told = *step != Step::Cleared || standing.raised_at.is_some();
            told.then(|| notice(now, cause, standing, *step))
        });
        let notices = grouped(notices.collect(), &beyond);
        for (cause, step) in steps {
            match step {
                Step::Cleared => {
                    self.causes.remove(&cause);
                }
                Step::Raised | Step::Repeated => {
                    if let Some(standing) = self.causes.get_mut(&cause) {
                        standing.raised_at.get_or_insert(now);
                        standing.told_at = Some(now);
                    }
                }
            }
        }
        notices
    }

    /// Notes a cause that was found; what is to be told of it.
    fn meet(&mut self, now: Timestamp, finding: &Finding, pace: Pace) -> Option<Step> {
        if !finding.firm {
            let known = self.causes.get_mut(&finding.cause)?;
            known.well_since = None;
            return None;
        }
        let fresh = || Standing {
            severity: finding.severity,
            text: cut(&finding.text),
            text_at: now,
            since: now,
            well_since: None,
            raised_at: None,
            told_at: None,
            acknowledged: false,
        };
        let known = self.causes.entry(finding.cause.clone());
        let standing = known.or_insert_with(fresh);
        standing.well_since = None;
        let worse = finding.severity > standing.severity;
        let repeats = standing
            .told_at
            .is_some_and(|told| since(told, now) >= pace.repeat);
        let step = match standing.raised_at {
            None if since(standing.since, now) >= pace.raise_after => Some(Step::Raised),
            Some(_) if worse => Some(Step::Raised),
            Some(_) if repeats && !standing.acknowledged => Some(Step::Repeated),
            _ => None,
        };
        if worse {
            standing.acknowledged = false;
        }
        if standing.severity != finding.severity {
            standing.severity = finding.severity;
        }
        let text = cut(&finding.text);
        if standing.text != text && (step.is_some() || since(standing.text_at, now) >= TEXT_REST) {
            standing.text = text;
            standing.text_at = now;
        }
        step
    }

    /// At most so many of each kind, those that are known first; how many of each kind were left out.
    fn bound(&self, mut findings: Vec<Finding>) -> (Vec<Finding>, BTreeMap<Kind, usize>) {
        findings.sort_by(|a, b| {
            let place = |finding: &Finding| {
                let is_new = !self.causes.contains_key(&finding.cause);
                (finding.cause.kind, is_new, finding.cause.subject.clone())
            };
            place(a).cmp(&place(b))
        });
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        findings.retain(|finding| {
            let count = counts.entry(finding.cause.kind).or_default();
            *count += usize::from(finding.firm);
            *count <= MAX_OF_A_KIND || !finding.firm
        });
        let beyond = counts
            .into_iter()
            .map(|(kind, count)| (kind, count.saturating_sub(MAX_OF_A_KIND)));
        (findings, beyond.filter(|(_, left)| *left > 0).collect())
    }
}

fn notice(now: Timestamp, cause: &Cause, standing: &Standing, step: Step) -> Notice {
    Notice {
        step,
        cause: cause.clone(),
        severity: standing.severity,
        text: standing.text.clone(),
        since: standing.since,
        at: now,
        more: 0,
    }
}

/// Many of one kind at once are told as one, which says how many more there are.
fn grouped(notices: Vec<Notice>, beyond: &BTreeMap<Kind, usize>) -> Vec<Notice> {
    let mut kinds: BTreeMap<(Step, Kind), Vec<Notice>> = BTreeMap::new();
    for notice in notices {
        let place = (notice.step, notice.cause.kind);
        kinds.entry(place).or_default().push(notice);
    }
    let mut told = Vec::new();
    for ((step, kind), mut same) in kinds {
        let left_out = match step {
            Step::Cleared => 0,
            _ => beyond.get(&kind).copied().unwrap_or(0),
        };
        if same.len() <= TOLD_ONE_BY_ONE && left_out == 0 {
            told.append(&mut same);
            continue;
        }
        let severity = same.iter().map(|notice| notice.severity).max();
        let others: Vec<&str> = same
            .iter()
            .skip(1)
            .take(TOLD_ONE_BY_ONE)
            .map(|notice| notice.cause.subject.as_str())
            .collect();
        let more = same.len() - 1 + left_out;
        let others = others.join(", ");
        if let Some(mut first) = same.drain(..).next() {
            first.severity = severity.unwrap_or(first.severity);
            first.text = format!("{} (and {more} more of this kind: {others} …)", first.text);
            first.more = more;
            told.push(first);
        }
    }
    told
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::later;

    const PACE: Pace = Pace {
        raise_after: Duration::from_secs(60),
        clear_after: Duration::from_secs(300),
        repeat: Duration::from_secs(3600),
    };

    fn at(secs: u64) -> Timestamp {
        let start = "2026-11-22T10:00:00Z".parse().unwrap();
        later(start, Duration::from_secs(secs))
    }

    fn bad(subject: &str) -> Finding {
        let text = format!("{subject} is silent");
        Finding::new(Kind::StreamSilent, subject, Severity::Warning, text)
    }

    /// What is told when the findings are these at these seconds.
    fn told(board: &mut Board, story: &[(u64, Vec<Finding>)]) -> Vec<(u64, Step, String)> {
        let mut all = Vec::new();
        for (secs, findings) in story {
            // What the store keeps is all there is to know.
            let kept = serde_json::to_string(board).unwrap();
            *board = serde_json::from_str(&kept).unwrap();
            let notices = board.observe(at(*secs), findings.clone(), PACE);
            all.extend(
                notices
                    .into_iter()
                    .map(|notice| (*secs, notice.step, notice.cause.subject)),
            );
        }
        all
    }

    #[test]
    fn a_cause_is_told_once_again_and_when_it_is_over() {
        let mut board = Board::default();
        let story = [
            (0, vec![bad("a")]),
            (30, vec![bad("a")]),
            (60, vec![bad("a")]),
            (90, vec![bad("a")]),
            (3600, vec![bad("a")]),
            (3660, vec![bad("a")]),
            (3700, vec![]),
            (3800, vec![]),
            (4000, vec![]),
            (4100, vec![]),
        ];
        let expect = [
            (60, Step::Raised, "a".to_owned()),
            (3660, Step::Repeated, "a".to_owned()),
            (4000, Step::Cleared, "a".to_owned()),
        ];
        assert_eq!(told(&mut board, &story), expect);
        assert_eq!(board, Board::default(), "nothing is left of it");
    }

    #[test]
    fn flapping_is_told_once() {
        let mut board = Board::default();
        let mut story = vec![(0, vec![bad("a")]), (60, vec![bad("a")])];
        // Well for two minutes, bad for one, and so on.
        for round in 0..22 {
            story.push((100 + round * 180, vec![]));
            story.push((220 + round * 180, vec![bad("a")]));
        }
        let steps = told(&mut board, &story);
        assert_eq!(steps[0], (60, Step::Raised, "a".to_owned()));
        assert!(
            steps[1..]
                .iter()
                .all(|(_, step, _)| *step == Step::Repeated),
            "{steps:?}"
        );
        assert_eq!(steps.len(), 2);
        // And what is over before it lasted was never told.
        let mut board = Board::default();
        let story = [(0, vec![bad("a")]), (30, vec![]), (61, vec![bad("a")])];
        assert_eq!(told(&mut board, &story), []);
    }

    #[test]
    fn what_is_known_is_not_repeated_until_it_is_over_or_worse() {
        let mut board = Board::default();
        told(&mut board, &[(0, vec![bad("a")]), (60, vec![bad("a")])]);
        assert!(board.acknowledge(&bad("a").cause));
        assert!(!board.acknowledge(&bad("b").cause));
        assert_eq!(told(&mut board, &[(9000, vec![bad("a")])]), []);
        let worse = Finding {
            severity: Severity::Urgent,
            ..bad("a")
        };
        let expect = [(9060, Step::Raised, "a".to_owned())];
        assert_eq!(told(&mut board, &[(9060, vec![worse.clone()])]), expect);
        let expect = [(20_000, Step::Repeated, "a".to_owned())];
        assert_eq!(told(&mut board, &[(20_000, vec![worse])]), expect);
        let expect = [(20_500, Step::Cleared, "a".to_owned())];
        let story = [(20_100, vec![]), (20_500, vec![])];
        assert_eq!(told(&mut board, &story), expect);
        assert!(!board.acknowledge(&bad("a").cause), "forgotten");
    }

    #[test]
    fn what_is_less_bad_keeps_but_does_not_raise() {
        let mut board = Board::default();
        let weak = || vec![bad("a").weak()];
        let story = [(0, weak()), (100, weak()), (9000, weak())];
        assert_eq!(told(&mut board, &story), []);
        let story = [
            (9000, vec![bad("a")]),
            (9060, vec![bad("a")]),
            (20_000, weak()),
            (30_000, weak()),
            (30_001, vec![]),
            (30_400, vec![]),
        ];
        let steps: Vec<Step> = told(&mut board, &story)
            .into_iter()
            .map(|it| it.1)
            .collect();
        assert_eq!(steps, [Step::Raised, Step::Cleared]);
    }

    #[test]
    fn very_many_are_told_as_one_and_bounded() {
        let mut board = Board::default();
        let many = || -> Vec<Finding> { (0..246).map(|n| bad(&format!("s{n:03}"))).collect() };
        board.observe(at(0), many(), PACE);
        let notices = board.observe(at(60), many(), PACE);
        assert_eq!(notices.len(), 1);
        assert_eq!(notices[0].more, 245);
        assert!(
            notices[0].text.contains("and 245 more of this kind: s001"),
            "{}",
            notices[0].text
        );
        assert_eq!(board.raised().count(), MAX_OF_A_KIND);
        assert!(serde_json::to_string(&board).unwrap().len() < 16_000);
        assert_eq!(board.observe(at(120), many(), PACE), []);
        // One of another kind beside them is told by itself.
        let mut all = many();
        all.push(Finding::new(
            Kind::DiskFull,
            "store",
            Severity::Urgent,
            "full",
        ));
        board.observe(at(130), all.clone(), PACE);
        let notices = board.observe(at(190), all, PACE);
        assert_eq!(notices.len(), 1);
        assert_eq!(notices[0].cause.kind, Kind::DiskFull);
        board.observe(at(200), vec![], PACE);
        let notices = board.observe(at(500), vec![], PACE);
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert_eq!(board, Board::default());
    }

    #[test]
    fn texts_change_seldom_and_are_short() {
        let mut board = Board::default();
        let with = |text: &str| {
            vec![Finding {
                text: text.into(),
                ..bad("a")
            }]
        };
        board.observe(at(0), with("one"), PACE);
        board.observe(at(60), with("two"), PACE);
        let text = |board: &Board| board.raised().next().unwrap().1.text.clone();
        assert_eq!(text(&board), "two", "as told");
        board.observe(at(90), with("three"), PACE);
        assert_eq!(text(&board), "two");
        board.observe(at(120), with(&"x".repeat(10_000)), PACE);
        assert_eq!(text(&board).chars().count(), MAX_TEXT + 1);
    }
}
