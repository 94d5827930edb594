//! `connectors = ["./my-connectors"]`: connectors that the merchant, or somebody for them, wrote.
//!
//! Only finds and reads the manifests. What stands in them is understood by [`crate::manifest`] when
//! the plan is made, so that a mistake in one is told beside all other findings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codes;
use super::source::{self, Surroundings, io_reason};
use super::tree::{Document, Step};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, SourceText};

/// The file that makes a folder a connector.
pub const MANIFEST: &str = "connector.toml";

/// How many connectors of one's own there are at most.
const MAX_OWN: usize = 256;

/// A connector's manifest outside the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnConnector {
    /// The name of its folder, which must be the connector's.
    pub name: String,
    /// The manifest.
    pub text: Arc<SourceText>,
}

/// Reads the manifests below each of `folders`.
pub(super) fn find(
    folders: &[PathBuf],
    base: &Path,
    around: &dyn Surroundings,
    document: &Document,
    findings: &mut Diagnostics,
) -> Vec<OwnConnector> {
    let mut known: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut own = Vec::new();
    for (n, folder) in folders.iter().enumerate() {
        let path = [Step::from("connectors"), Step::Index(n)];
        let finding = |code, message| document.finding(Severity::Error, code, &path, message);
        let shown = base.join(folder);
        let found = match manifests(&shown, around) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("cannot read {}: {}", shown.display(), io_reason(&error));
                findings.push(finding(codes::NO_FILE, message));
                continue;
            }
        };
        if found.is_empty() {
            let message = format!("{} holds no connector", shown.display());
            let help = format!("a connector is a folder with a manifest: NAME/{MANIFEST}");
            findings.push(finding(codes::NO_CONNECTOR, message).help(help));
        }
        if own.len() + found.len() > MAX_OWN {
            let message = format!("more than {MAX_OWN} connectors");
            findings.push(finding(codes::TOO_LARGE, message));
            continue;
        }
        for manifest in found {
            let name = name_of(&manifest);
            if let Some(other) = known.get(&name) {
                let message = format!(
                    "there are two connectors `{name}`: {} and {}",
                    other.display(),
                    manifest.display()
                );
                findings.push(finding(codes::TWICE, message).help("rename one of the folders"));
                continue;
            }
            if let Some(text) = source::read(&manifest, around, findings) {
                own.push(OwnConnector {
                    name: name.clone(),
                    text,
                });
            }
            known.insert(name, manifest);
        }
    }
    own
}

/// The folder's own manifest, else those in the folders below it, by name.
fn manifests(folder: &Path, around: &dyn Surroundings) -> std::io::Result<Vec<PathBuf>> {
    let own = folder.join(MANIFEST);
    if around.read(&own, 1).is_ok() {
        return Ok(vec![own]);
    }
    let Some(listed) = around.list(folder)? else {
        return Err(std::io::ErrorKind::NotFound.into());
    };
    let mut found: Vec<PathBuf> = listed.iter().map(|entry| entry.join(MANIFEST)).collect();
    found.retain(|manifest| around.read(manifest, 1).is_ok());
    found.sort();
    Ok(found)
}

fn name_of(manifest: &Path) -> String {
    let folder = manifest.parent().and_then(Path::file_name);
    folder.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

impl OwnConnector {
    /// A finding about the name that a manifest gives itself.
    pub fn named_wrongly(&self, told: &str, message: String, help: String) -> Diagnostic {
        let quoted = format!("\"{told}\"");
        let at = self.text.text.find(&quoted);
        let span = at.map_or(0..0, |start| start..start + quoted.len());
        Diagnostic::error(codes::BAD_NAME, "connector.name", message)
            .at(&self.text, span)
            .help(help)
    }
}
