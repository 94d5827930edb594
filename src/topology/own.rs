//! Connectors of the merchant's own: manifests from the folders that the configuration names.

use crate::config::Config;
use crate::connector::Connector;
use crate::connectors;
use crate::diagnostic::Diagnostics;

/// Understands the manifests that the configuration found, those that are right; about the others
/// everything that is wrong is told, with file and line.
pub fn own_connectors(
    config: &Config,
    built_in: &[&dyn Connector],
    findings: &mut Diagnostics,
) -> Vec<Box<dyn Connector>> {
    let mut own = Vec::new();
    for found in &config.own_connectors {
        let connector = match connectors::load(&found.text.path, &found.text.text) {
            Ok(connector) => connector,
            Err(wrong) => {
                findings.extend(wrong);
                continue;
            }
        };
        let told = &connector.spec().name;
        if *told != found.name {
            let message = format!(
                "the connector calls itself `{told}`, its folder `{}`",
                found.name
            );
            let help = format!("write `name = \"{}\"`, or rename the folder", found.name);
            findings.push(found.named_wrongly(told, message, help));
        } else if built_in.iter().any(|known| known.spec().name == *told) {
            let message = format!("the program has a connector `{told}` of its own");
            let help = "give yours another name, and its folder the same".to_owned();
            findings.push(found.named_wrongly(told, message, help));
        } else {
            own.push(connector);
        }
    }
    own
}
