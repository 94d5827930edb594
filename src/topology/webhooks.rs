//! Webhooks: what is set for them goes together.

use std::collections::BTreeMap;

use super::{Draft, PlannedConnection};
use crate::config::codes::NO_WEBHOOKS;
use crate::id::ConnectionName;

/// Says what could never work.
pub(super) fn check(
    draft: &mut Draft<'_>,
    connections: &BTreeMap<ConnectionName, PlannedConnection>,
) {
    let server = &draft.config.server;
    let (listens, is_named) = (
        server.webhooks_listen.is_some(),
        server.webhook_url.is_some(),
    );
    for (name, planned) in connections {
        let Some(needs) = planned.configured.webhooks() else {
            continue;
        };
        let path = ["connection", name.as_str()];
        if !listens {
            let message = format!("webhooks of `{name}` could be proved, but nothing listens");
            let help = "set server.webhooks_listen = \"127.0.0.1:9465\", or leave the secret out";
            draft.warning(NO_WEBHOOKS, &path, message, help);
        } else if needs.address && !is_named {
            let message =
                format!("`{name}` signs the address of its webhooks, and that is not known");
            let help = "set server.webhook_url to what the outside calls it";
            draft.error(NO_WEBHOOKS, &path, message, help);
        }
    }
}
