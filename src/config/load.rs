//! Runs the stages of reading, and settles what depends on the surroundings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::source::{self, Surroundings};
use super::tree::{self, Document, Node, Step};
use super::{
    Config, Credentials, MappingTable, NAMED, SECTIONS, VERSION, check, codes, connectors,
    interpolate, ranges, schema, section,
};
use crate::diagnostic::Diagnostics;

/// A configuration that was read, with what is needed to talk about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration, without the sections that are wrong: use it only if [`Loaded::accepted`].
    pub config: Config,
    /// Where each setting stands.
    pub document: Document,
    /// Everything that is wrong or probably not as meant.
    pub findings: Diagnostics,
    /// No section was left out.
    pub is_whole: bool,
    /// The paths of texts whose placeholders could not be replaced.
    unresolved: BTreeSet<String>,
}

impl Loaded {
    /// Itself, if nothing refuses it.
    ///
    /// # Errors
    /// All findings, warnings too, when one of them refuses the configuration.
    pub fn accepted(self) -> Result<Self, Diagnostics> {
        if self.findings.has_errors() {
            return Err(self.findings);
        }
        Ok(self)
    }

    /// Whether all placeholders below a path were replaced.
    pub fn is_resolved(&self, path: &[&str]) -> bool {
        let path: Vec<Step> = path.iter().map(|key| Step::from(*key)).collect();
        let prefix = format!("{}.", tree::path_text(&path));
        !self
            .unresolved
            .iter()
            .any(|known| known.starts_with(&prefix))
    }
}

/// Reads and checks the configuration in a file, or in the `*.toml` of a folder.
///
/// # Errors
/// All findings, warnings too, when one of them refuses the configuration.
pub fn load(
    path: &Path,
    around: &dyn Surroundings,
    credentials: Credentials,
) -> Result<Loaded, Diagnostics> {
    read(path, around, credentials)?.accepted()
}

/// As [`load`], but with what could be read beside the findings, so that
/// [`crate::topology::plan`] can add its own to them.
///
/// # Errors
/// All findings, when the files cannot be read or are no TOML.
pub fn read(
    path: &Path,
    around: &dyn Surroundings,
    credentials: Credentials,
) -> Result<Loaded, Diagnostics> {
    let mut findings = Diagnostics::default();
    let document = read_files(path, around, &mut findings);
    let Some(mut document) = document.filter(|_| !findings.has_errors()) else {
        return Err(findings);
    };
    interpolate::interpolate(&mut document.root, around, credentials, &mut findings);
    let unresolved: BTreeSet<String> = findings
        .0
        .iter()
        .map(|finding| finding.path.clone())
        .collect();
    let mut of_types = Diagnostics::default();
    let (mut config, is_whole) = read_config(&document, &mut of_types);
    // What a text would have been is not known.
    of_types
        .0
        .retain(|finding| !unresolved.contains(&finding.path));
    findings.extend(of_types);
    ranges::check(&schema(), &document, &mut findings);
    let base = base_folder(path, around);
    fill_in(&mut config, &base, around, &document, &mut findings);
    let own = connectors::find(&mut config, &base, around, &document, &mut findings);
    config.own_connectors = own;
    check::settings(&config, &document, &mut findings);
    Ok(Loaded {
        config,
        document,
        findings,
        is_whole,
        unresolved,
    })
}

fn read_files(
    path: &Path,
    around: &dyn Surroundings,
    findings: &mut Diagnostics,
) -> Option<Document> {
    let mut root: Option<Node> = None;
    for file in source::files(path, around, findings) {
        let Some(text) = source::read(&file, around, findings) else {
            continue;
        };
        let node = tree::parse(&text, findings);
        match &mut root {
            None => root = Some(node),
            Some(root) => tree::merge(root, node, findings),
        }
    }
    root.map(|root| Document { root })
}

/// The configuration without the sections that are wrong, and whether that is all of it.
fn read_config(document: &Document, findings: &mut Diagnostics) -> (Config, bool) {
    for (name, _) in document.root.table().into_iter().flatten() {
        if !SECTIONS.contains(&name.as_str()) {
            let path = [Step::from(name.as_str())];
            findings.push(section::unknown_key(document, &path, &SECTIONS));
        }
    }
    for section in NAMED {
        check::names(document, section, findings);
    }
    check_version(document, findings);
    let mut is_whole = true;
    let config = Config {
        version: VERSION,
        store: one(document, "store", findings, &mut is_whole),
        prove: one(document, "prove", findings, &mut is_whole),
        server: one(document, "server", findings, &mut is_whole),
        log: one(document, "log", findings, &mut is_whole),
        limits: one(document, "limits", findings, &mut is_whole),
        alert: one(document, "alert", findings, &mut is_whole),
        connection: named(document, "connection", findings, &mut is_whole),
        route: named(document, "route", findings, &mut is_whole),
        mapping: mappings(document, findings, &mut is_whole),
        pool: named(document, "pool", findings, &mut is_whole),
        publish: named(document, "publish", findings, &mut is_whole),
        owner: one(document, "owner", findings, &mut is_whole),
        guard: one(document, "guard", findings, &mut is_whole),
        connectors: one(document, "connectors", findings, &mut is_whole),
        own_connectors: Vec::new(),
    };
    (config, is_whole)
}

fn check_version(document: &Document, findings: &mut Diagnostics) {
    if document.root.get(&["version".into()]).is_none() {
        let message = "the configuration does not say which version of the format it is written in";
        let finding = document.error(codes::NO_VERSION, &["version"], message);
        findings.push(finding.help("write `version = 1` in the first line"));
        return;
    }
    let version: Option<u32> = section::read(document, &["version".into()], findings);
    if let Some(version) = version.filter(|version| *version != VERSION) {
        let message =
            format!("this is version {version} of the format; this program reads {VERSION}");
        let finding = document.error(codes::OTHER_VERSION, &["version"], message);
        findings.push(finding.help("a newer crossdock may read it; otherwise write `version = 1`"));
    }
}

/// Reads `[section]`; the defaults stand for one that is wrong.
fn one<T: DeserializeOwned + Default>(
    document: &Document,
    section: &str,
    findings: &mut Diagnostics,
    is_whole: &mut bool,
) -> T {
    let path = [Step::from(section)];
    if document.root.get(&path).is_none() {
        return T::default();
    }
    section::read(document, &path, findings).unwrap_or_else(|| {
        *is_whole = false;
        T::default()
    })
}

/// Reads `[section.NAME]` for each name: one that is wrong hides no other.
fn named<K: From<String> + Ord, T: DeserializeOwned>(
    document: &Document,
    section: &str,
    findings: &mut Diagnostics,
    is_whole: &mut bool,
) -> BTreeMap<K, T> {
    let mut out = BTreeMap::new();
    *is_whole &= is_table_of_tables(document, section, findings);
    for name in document.names(section) {
        match section::read(document, &[section.into(), name.into()], findings) {
            Some(value) => {
                out.insert(K::from(name.to_owned()), value);
            }
            None => *is_whole = false,
        }
    }
    out
}

fn mappings(
    document: &Document,
    findings: &mut Diagnostics,
    is_whole: &mut bool,
) -> BTreeMap<String, MappingTable> {
    *is_whole &= is_table_of_tables(document, "mapping", findings);
    let mut out = BTreeMap::new();
    for name in document.names("mapping") {
        let path: [Step; 2] = ["mapping".into(), name.into()];
        match document.root.get(&path) {
            Some(node) if node.table().is_some() => {
                out.insert(name.to_owned(), MappingTable(node.clone()));
            }
            _ => {
                let message = format!("`mapping.{name}` must be a table");
                findings.push(document.error(codes::WRONG_TYPE, &["mapping", name], message));
                *is_whole = false;
            }
        }
    }
    out
}

fn is_table_of_tables(document: &Document, section: &str, findings: &mut Diagnostics) -> bool {
    let node = document.root.get(&[section.into()]);
    let wrong = node.is_some_and(|node| node.table().is_none());
    if wrong {
        let message = format!("`{section}` must be made of named tables");
        let finding = document.error(codes::WRONG_TYPE, &[section], message);
        findings.push(finding.help(format!("write [{section}.NAME] above its settings")));
    }
    !wrong
}

/// Relative paths stand beside the configuration.
fn base_folder(path: &Path, around: &dyn Surroundings) -> PathBuf {
    match around.list(path) {
        Ok(Some(_)) => path.to_owned(),
        _ => path.parent().unwrap_or(Path::new("")).to_owned(),
    }
}

/// Settles what depends on the surroundings: default folders, and files that settings name.
fn fill_in(
    config: &mut Config,
    base: &Path,
    around: &dyn Surroundings,
    document: &Document,
    findings: &mut Diagnostics,
) {
    // With several directories systemd separates them with colons; the first is ours.
    let given = |variable: &str| {
        let value = around.var(variable)?.into_string().ok()?;
        let first = value.split(':').next().filter(|first| !first.is_empty())?;
        Some(PathBuf::from(first))
    };
    let store = match &config.store.path {
        Some(path) => base.join(path),
        None => given("STATE_DIRECTORY")
            .map_or_else(|| base.join("crossdock-data"), |state| state.join("store")),
    };
    let socket = match &config.server.admin_socket {
        Some(path) => base.join(path),
        None => given("RUNTIME_DIRECTORY")
            .unwrap_or_else(|| store.clone())
            .join("admin.sock"),
    };
    if let Some(file) = config
        .alert
        .smtp
        .as_mut()
        .and_then(|it| it.ca_file.as_mut())
    {
        *file = base.join(&file);
    }
    config.store.path = Some(store);
    config.server.admin_socket = Some(socket);
    for (name, connection) in &mut config.connection {
        let http = &mut connection.http;
        // Somebody who shortens the whole request need not shorten connecting too.
        let written = ["connection", name.as_str(), "http", "connect_timeout_secs"].map(Step::from);
        if document.root.get(&written).is_none() {
            http.connect_timeout_secs = http.connect_timeout_secs.min(http.timeout_secs);
        }
        let Some(file) = &http.ca_file else {
            continue;
        };
        let path = ["connection", name.as_str(), "http", "ca_file"];
        let file = base.join(file);
        let read = read_ca(&file, around);
        http.ca_file = Some(file);
        match read {
            Ok(pem) => http.ca_pem = Some(pem),
            Err(message) => findings.push(document.error(codes::NO_FILE, &path, message)),
        }
    }
}

fn read_ca(path: &Path, around: &dyn Surroundings) -> Result<String, String> {
    let shown = path.display();
    let bytes = around
        .read(path, source::MAX_FILE_BYTES)
        .map_err(|error| format!("cannot read {shown}: {}", source::io_reason(&error)))?;
    match String::from_utf8(bytes) {
        Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => Ok(pem),
        _ => Err(format!("{shown} holds no certificate in PEM form")),
    }
}
