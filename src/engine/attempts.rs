//! What stands between single keys of a state stream and their sink.

use std::collections::BTreeMap;

use super::EngineError;
use super::cell::Target;
use super::index::Update;
use super::stage::Stage;
use super::tables::{ATTEMPT, CellAttempt};
use crate::id::Key;
use crate::store::Txn;

/// So few rows beside a stretch of keys are read before all of them.
const FEW: usize = 500;

/// The attempts of a stretch of keys, as they stood when it was looked. There are few of them as a rule, and
/// asking the store about each key costs more than all the rest.
pub(super) struct Attempts<'t> {
    target: &'t Target,
    /// All of the stretch; absent when they are not few.
    all: Option<BTreeMap<Key, CellAttempt>>,
}

impl<'t> Attempts<'t> {
    /// Those of `keys`, which are in ascending order.
    pub(super) fn among<'k>(
        txn: &Txn<'_>,
        target: &'t Target,
        mut keys: impl DoubleEndedIterator<Item = &'k Key>,
    ) -> Result<Self, EngineError> {
        let place = |key: &Key| (target.0.clone(), target.1, key.clone());
        let Some(first) = keys.next() else {
            let all = Some(BTreeMap::new());
            return Ok(Self { target, all });
        };
        let last = keys.next_back().unwrap_or(first);
        let range = ATTEMPT.between(&place(first), &place(last));
        let rows = ATTEMPT.scan(txn, &range, FEW + 1)?;
        let all = (rows.len() <= FEW).then(|| {
            let rows = rows.into_iter();
            rows.map(|((_, _, key), attempt)| (key, attempt)).collect()
        });
        Ok(Self { target, all })
    }

    /// The attempt of one of the keys.
    pub(super) fn get(&self, txn: &Txn<'_>, key: &Key) -> Result<Option<CellAttempt>, EngineError> {
        match &self.all {
            Some(all) => Ok(all.get(key).cloned()),
            None => Ok(ATTEMPT.get(txn, &(self.target.0.clone(), self.target.1, key.clone()))?),
        }
    }
}

/// Notes what stands between a key and its sink.
pub(super) fn put(
    stage: &mut Stage<'_, '_>,
    target: &Target,
    key: &Key,
    (before, after): (Option<&CellAttempt>, &CellAttempt),
) -> Result<(), EngineError> {
    let before = before.is_some_and(|attempt| attempt.not_listed);
    let more = i64::from(after.not_listed) - i64::from(before);
    count_unlisted(stage, target, more);
    Ok(ATTEMPT.put(stage.txn, &(target.0.clone(), target.1, key.clone()), after)?)
}

/// Nothing stands there any more.
pub(super) fn forget(stage: &mut Stage<'_, '_>, target: &Target, key: &Key, before: &CellAttempt) {
    count_unlisted(stage, target, -i64::from(before.not_listed));
    ATTEMPT.delete(stage.txn, &(target.0.clone(), target.1, key.clone()));
}

fn count_unlisted(stage: &mut Stage<'_, '_>, target: &Target, more: i64) {
    if more != 0 {
        stage.updates.push(Update::Unlisted(target.clone(), more));
    }
}
