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
    let mut taken_in = 0;
    for (name, planned) in connections {
        let settings = draft.config.connection.get(name);
        let has_secret = settings.is_some_and(|it| it.webhook.path_secret.is_some());
        let path = ["connection", name.as_str()];
        let Some(needs) = planned.configured.webhooks() else {
            if has_secret {
                let path = [path[0], path[1], "webhook", "path_secret"];
                let message =
                    format!("`{name}` takes in no webhooks: nothing is set that proves them");
                let help = "set what the connector's README names for webhooks, or leave it out";
                draft.error(NO_WEBHOOKS, &path, message, help);
            }
            continue;
        };
        taken_in += 1;
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
    // While a connection is wrong nobody knows what it would take in.
    if listens && taken_in == 0 && connections.len() == draft.config.connection.len() {
        let path = ["server", "webhooks_listen"];
        let message = "no connection takes in webhooks".to_owned();
        let help = "set what proves them in the settings of a connection, or leave this out";
        draft.warning(NO_WEBHOOKS, &path, message, help);
    }
}
