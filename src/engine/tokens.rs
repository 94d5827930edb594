//! What is kept of credentials whose tokens change with each use: sealed by whoever uses them.

use std::time::Duration;

use super::EngineError;
use super::stage::Stage;
use super::tables::TOKEN;
use crate::clock::earlier;
use crate::connector::Kept;
use crate::id::ConnectionName;

/// What was not kept anew for so long is good nowhere any more: the longest that a platform lets an unused
/// refresh token live is a year.
const FORGET_AFTER: Duration = Duration::from_secs(400 * 86_400);
/// How many credentials are looked at.
const MOST: usize = 10_000;

/// What is kept of a credential.
pub(super) fn get(stage: &Stage<'_, '_>, credential: &String) -> Result<Option<Kept>, EngineError> {
    Ok(TOKEN.get(stage.txn, credential)?)
}

/// Keeps this in place of what was kept, and forgets what is too old to be of use.
pub(super) fn put(
    stage: &mut Stage<'_, '_>,
    credential: &String,
    kept: &Kept,
) -> Result<(), EngineError> {
    let before = earlier(stage.now, FORGET_AFTER);
    for (name, known) in TOKEN.scan(stage.txn, &TOKEN.all(), MOST)? {
        if known.at < before {
            TOKEN.delete(stage.txn, &name);
        }
    }
    Ok(TOKEN.put(stage.txn, credential, kept)?)
}

/// Somebody wants the credential of a connection to be tried again.
pub(super) fn try_again(
    stage: &mut Stage<'_, '_>,
    connection: &ConnectionName,
) -> Result<(), EngineError> {
    for (name, mut kept) in TOKEN.scan(stage.txn, &TOKEN.all(), MOST)? {
        let is_its = kept.connections.iter().any(|it| it == connection.as_str());
        if is_its && kept.refused.take().is_some() {
            TOKEN.put(stage.txn, &name, &kept)?;
        }
    }
    Ok(())
}
