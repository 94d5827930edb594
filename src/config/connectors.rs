//! `connectors = ["./my-connectors"]`: connectors that the merchant, or somebody for them, wrote.
//!
//! Only finds and reads their files. What stands in them is understood when the plan is made, so that a
//! mistake in one is told beside all other findings. Without the setting the folder `connectors` beside the
//! configuration is read, if there is one. A connector that no connection uses never refuses a
//! configuration: what is wrong with it is a warning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::{self, Surroundings, io_reason};
use super::tree::{Document, Step};
use super::{Config, codes};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, SourceText};

/// The file that makes a folder a connector.
pub const MANIFEST: &str = "connector.toml";

/// The folder beside the configuration that is read without being named.
const USUAL: &str = "connectors";

/// How many connectors of one's own there are at most.
const MAX_OWN: usize = 256;

/// How many files of a child process's folder tell whether it is another one now, and of what size.
const MAX_PROGRAM_FILES: usize = 64;
const MAX_PROGRAM_BYTES: u64 = 4 << 20;

/// A connector's manifest outside the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnConnector {
    /// The name of its folder, which must be the connector's.
    pub name: String,
    /// The manifest.
    pub text: Arc<SourceText>,
    /// It stands in the folder that is read without being named.
    pub is_usual: bool,
    /// For a child process: a fingerprint of the files beside its manifest, so that a reload notices
    /// another program.
    pub program: Option<String>,
}

/// Reads the manifests below each of the configuration's folders.
pub(super) fn find(
    config: &mut Config,
    base: &Path,
    around: &dyn Surroundings,
    document: &Document,
    findings: &mut Diagnostics,
) -> Vec<OwnConnector> {
    let is_named = document.root.get(&[Step::from("connectors")]).is_some();
    let usual = base.join(USUAL);
    if !is_named && matches!(around.list(&usual), Ok(Some(_))) {
        config.connectors = vec![USUAL.into()];
    }
    let mut known: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut own = Vec::new();
    for (n, folder) in config.connectors.iter().enumerate() {
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
        if found.is_empty() && is_named {
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
            let mut wrong = Diagnostics::default();
            if let Some(text) = source::read(&manifest, around, &mut wrong) {
                own.push(OwnConnector {
                    name: name.clone(),
                    program: program(&text, around),
                    is_usual: !is_named,
                    text,
                });
            }
            findings.extend(as_bad_as_used(wrong, config, &name));
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
    let is_meant = |entry: &&PathBuf| {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with(['.', '_'])
    };
    let meant = listed.iter().filter(is_meant);
    let mut found: Vec<PathBuf> = meant.map(|entry| entry.join(MANIFEST)).collect();
    found.retain(|manifest| around.read(manifest, 1).is_ok());
    found.sort();
    Ok(found)
}

/// What is wrong with a connector refuses the configuration only if one of its connections uses it.
pub fn as_bad_as_used(wrong: Diagnostics, config: &Config, name: &str) -> Diagnostics {
    let mut all = config.connection.values();
    if all.any(|connection| connection.connector == name) {
        return wrong;
    }
    let mild = |finding: Diagnostic| Diagnostic {
        severity: Severity::Warning,
        message: format!("{} (no connection uses this connector)", finding.message),
        ..finding
    };
    Diagnostics(wrong.0.into_iter().map(mild).collect())
}

/// For a child process: what its folder holds besides folders and hidden files.
fn program(manifest: &SourceText, around: &dyn Surroundings) -> Option<String> {
    let table: toml::Table = toml::from_str(&manifest.text).ok()?;
    table.get("process")?;
    let mut files = around.list(manifest.path.parent()?).ok()??;
    files.sort();
    let mut hash = blake3::Hasher::new();
    for file in files.iter().take(MAX_PROGRAM_FILES) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        // A folder, or a file that may not be read: the child will say so itself.
        if let Ok(bytes) = around.read(file, MAX_PROGRAM_BYTES) {
            hash.update(name.as_bytes());
            hash.update(&[0]);
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(&bytes);
        }
    }
    Some(hash.finalize().to_hex().to_string())
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
