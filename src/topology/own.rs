//! Connectors of the merchant's own: manifests from the folders that the configuration names.

use crate::config::{Config, as_bad_as_used};
use crate::connector::Connector;
use crate::connectors;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

/// Understands the manifests that the configuration found, those that are right; about the others
/// everything that is wrong is told, with file and line: as an error where a connection uses it.
pub fn own_connectors(
    config: &Config,
    built_in: &[&dyn Connector],
    findings: &mut Diagnostics,
) -> Vec<Box<dyn Connector>> {
    let mut own = Vec::new();
    for found in &config.own_connectors {
        let is_ours = |(name, text): &(&str, &str)| *name == found.name && *text == found.text.text;
        if found.is_usual && connectors::BUILT_IN.iter().any(is_ours) {
            continue; // a configuration in our own source tree, beside the program's own manifests
        }
        let connector = match connectors::load(&found.text.path, &found.text.text) {
            Ok(connector) => connector,
            Err(wrong) => {
                findings.extend(as_bad_as_used(wrong, config, &found.name));
                continue;
            }
        };
        let told = connector.name().to_owned();
        let is_built_in = built_in.iter().any(|known| known.name() == told);
        let wrong = if told != found.name {
            let message = format!(
                "the connector calls itself `{told}`, its folder `{}`",
                found.name
            );
            let help = format!("write `name = \"{}\"`, or rename the folder", found.name);
            found.named_wrongly(&told, message, help)
        } else if is_built_in {
            let message = format!("the program has a connector `{told}` of its own");
            let help = "give yours another name, and its folder the same".to_owned();
            found.named_wrongly(&told, message, help)
        } else {
            own.push(connector);
            continue;
        };
        if is_built_in && found.is_usual {
            // Nobody named the folder: what it holds beside the program's own changes nothing.
            let message = format!("{}, which is used instead", wrong.message);
            findings.push(Diagnostic {
                severity: Severity::Warning,
                message,
                ..wrong
            });
        } else {
            let wrong = Diagnostics(vec![wrong]);
            findings.extend(as_bad_as_used(wrong, config, &found.name));
        }
    }
    own
}
