//! A manifest, whole: its structure ([`Manifest`]) and what it is compiled to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::auth::{Auth, Proof};
use super::fault::{FaultRule, Rule, compile as compile_rules};
use super::limits::{LimitPart, Limits};
use super::read::{Read, Reading};
use super::request::{Base, Call, Http, Request};
use super::scope::{Compiler, Tables};
use super::settings::{self, Settings};
use super::text::{Name, Text};
use super::webhook::{Hooking, Webhook};
use super::write::{Write, Writing};
use crate::connector::{Capabilities, Evidence, Onward, Spec, StockBasis, StockWrite, StreamSpec};
use crate::diagnostic::{Diagnostics, SourceText, did_you_mean};
use crate::expr::{Template, Type};
use crate::record::Stream;

/// The version of the format that this build reads.
const VERSION: u32 = 1;

/// A manifest, `connectors/NAME/connector.toml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format: 1.
    pub version: u32,
    /// What the connector is.
    pub connector: About,
    /// What a merchant sets.
    #[serde(default)]
    pub settings: Settings,
    /// What all requests share.
    pub http: Http,
    /// How a request proves who we are.
    #[serde(default)]
    pub auth: Auth,
    /// How fast a credential may ask.
    #[serde(default)]
    pub limits: LimitPart,
    /// Long texts, such as GraphQL queries: `text.NAME`.
    #[serde(default)]
    pub text: BTreeMap<String, String>,
    /// Tables for `lookup('NAME', key)`.
    #[serde(default)]
    pub table: BTreeMap<String, BTreeMap<String, String>>,
    /// What replies mean.
    #[serde(default)]
    pub fault: Vec<FaultRule>,
    /// One cheap authenticated request for `check --online`.
    pub probe: Option<ProbeRequest>,
    /// Declared facts.
    #[serde(default)]
    pub capabilities: Declared,
    /// What can be read and written.
    pub stream: BTreeMap<Name, StreamPart>,
    /// What it tells on its own.
    pub webhook: Option<Webhook>,
}

/// `[connector]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The name of its folder.
    pub name: Name,
    /// One sentence.
    pub summary: String,
    /// The day on which its evidence was last shown: `2026-11-22`.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}$"))]
    pub checked: Option<String>,
}

/// `[probe]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// The request.
    pub request: Request,
    /// Who we are over there, of its `reply`.
    pub says: Text,
}

/// `[capabilities]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// When the owner's number falls.
    #[serde(default)]
    pub stock_basis: StockBasis,
    /// How it is told a quantity.
    #[serde(default)]
    pub stock_write: StockWrite,
    /// It puts stock back by itself when an order is cancelled.
    #[serde(default)]
    pub restores_stock_on_cancel: bool,
    /// After a confirming step succeeded, a read shows it this much later.
    #[serde(default)]
    pub stock_lag_secs: u64,
}

/// `[stream.NAME]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamPart {
    /// What stands behind the claim that it works.
    pub evidence: Evidence,
    /// The same of reading alone, where that is less.
    pub read_evidence: Option<Evidence>,
    /// How it is read.
    pub read: Option<Read>,
    /// How it is written.
    pub write: Option<Write>,
}

/// A compiled [`Manifest`].
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) spec: Spec,
    pub(super) settings: Settings,
    pub(super) base: Base,
    pub(super) proof: Proof,
    pub(super) limits: Limits,
    pub(super) texts: Json,
    pub(super) tables: Tables,
    pub(super) rules: Vec<Rule>,
    pub(super) probe: Option<(Call, Template)>,
    pub(super) reads: BTreeMap<Stream, Reading>,
    pub(super) writes: BTreeMap<Stream, Writing>,
    pub(super) webhook: Option<Hooking>,
}

impl Manifest {
    /// Compiles it, or says everything that is wrong with it.
    pub(super) fn compile(self, source: &Arc<SourceText>) -> Result<Compiled, Diagnostics> {
        let mut compiler = Compiler::new(Arc::clone(source));
        if self.version != VERSION {
            let message = format!("this build reads version {VERSION} of the format");
            compiler.error("version", 0..0, message, None);
        }
        settings::check(&self.settings, &mut compiler);
        let secrets = self.declare(&mut compiler);
        let limits = Limits::compile(&self.limits, &mut compiler);
        let base = self.http.compile(&mut compiler);
        let proof = self.auth.compile(&mut compiler, &limits, &secrets);
        if matches!(proof, Proof::Session(_)) {
            compiler.everywhere = compiler.everywhere.clone().root("session", Type::Dyn);
        }
        let replies = compiler.scope(&["reply"]);
        let rules = compile_rules(&self.fault, &mut compiler, &replies, "fault");
        let probe = self.probe.as_ref().map(|probe| {
            let scope = compiler.scope(&[]);
            let call = probe
                .request
                .compile(&mut compiler, &limits, &scope, "probe.request");
            (call, compiler.template(&probe.says, &replies, "probe.says"))
        });
        let (mut reads, mut writes) = (BTreeMap::new(), BTreeMap::new());
        let mut specs = BTreeMap::new();
        for (name, part) in &self.stream {
            let path = format!("stream.{}", name.as_str());
            let stream = parse_stream(name).map_err(|help| {
                compiler.error(&path, name.span(), "this is no stream", Some(help));
            });
            let Ok(stream) = stream else { continue };
            if part.read.is_none() && part.write.is_none() {
                compiler.error(&path, name.span(), "neither read nor written", None);
            }
            let read = part
                .read
                .as_ref()
                .map(|read| read.compile(stream, &mut compiler, &limits, &format!("{path}.read")));
            let write = part
                .write
                .as_ref()
                .map(|write| write.compile(&mut compiler, &limits, &format!("{path}.write")));
            specs.insert(stream, stream_spec(part, read.as_ref(), write.as_ref()));
            reads.extend(read.map(|read| (stream, read)));
            writes.extend(write.map(|write| (stream, write)));
        }
        let read: Vec<Stream> = reads.keys().copied().collect();
        let webhook = self.webhook.as_ref();
        let webhook = webhook.map(|it| it.compile(&mut compiler, &limits, &secrets, &read));
        let whole = Compiled {
            spec: self.spec(specs, compiler.costliest),
            base,
            proof,
            limits,
            texts: self
                .text
                .into_iter()
                .map(|(name, text)| (name, Json::from(text)))
                .collect(),
            tables: tables(self.table),
            rules,
            probe,
            reads,
            writes,
            webhook,
            settings: self.settings,
        };
        compiler.findings.into_result(whole)
    }

    /// Declares the names that are known everywhere; gives the type of `secret`.
    fn declare(&self, compiler: &mut Compiler) -> Type {
        let (settings, secrets) = settings::types(&self.settings);
        let texts = Type::record(self.text.keys().map(|name| (name.as_str(), Type::String)));
        let mut scope = compiler
            .everywhere
            .clone()
            .root("settings", settings)
            .root("text", texts);
        for name in self.table.keys() {
            scope = scope.table(name);
        }
        compiler.everywhere = scope;
        secrets
    }

    fn spec(&self, streams: BTreeMap<Stream, StreamSpec>, costliest_request: u32) -> Spec {
        Spec {
            name: self.connector.name.as_str().to_owned(),
            summary: self.connector.summary.clone(),
            checked: self.connector.checked.clone(),
            streams,
            capabilities: Capabilities {
                costliest_request,
                ..self.capabilities.capabilities()
            },
            quotas: self.limits.quotas(),
            concurrency: self.limits.concurrency,
            settings_schema: settings::json_schema(&self.settings),
        }
    }
}

/// The stream of that name, or what might have been meant.
///
/// # Errors
/// Advice.
pub fn parse_stream(name: &Name) -> Result<Stream, String> {
    name.as_str().parse().map_err(|()| {
        let names = Stream::ALL.map(Stream::name);
        did_you_mean(name.as_str(), names).map_or_else(
            || format!("one of {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        )
    })
}

impl Declared {
    /// As the plan sees it; nothing is counted in cells.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            stock_basis: self.stock_basis,
            stock_write: self.stock_write,
            restores_stock_on_cancel: self.restores_stock_on_cancel,
            stock_lag: Duration::from_secs(self.stock_lag_secs),
            costliest_request: 0,
        }
    }
}

fn stream_spec(part: &StreamPart, read: Option<&Reading>, write: Option<&Writing>) -> StreamSpec {
    let batch = write.and_then(|write| write.batch.as_ref());
    let bulk = write.and_then(|write| write.bulk.as_ref());
    let bulk = bulk.map_or(1, |(_, bulk)| bulk.max);
    StreamSpec {
        read: read.is_some(),
        write: write.is_some(),
        read_evidence: read.and(part.read_evidence.or(Some(part.evidence))),
        write_evidence: write.and(Some(part.evidence)),
        max_batch: batch.map_or(1, |batch| batch.max).max(bulk),
        poll: read.map_or(Duration::ZERO, |read| read.poll),
        fresh_for: None,
        onward: read.map_or(Onward::Whole, |read| read.rules.kind.onward()),
        settle_lag: read.map_or(Duration::ZERO, |read| read.settle_lag),
        reread_open: read.is_some_and(|read| read.reread_open),
    }
}

fn tables(tables: BTreeMap<String, BTreeMap<String, String>>) -> Tables {
    let rows = |table: BTreeMap<String, String>| {
        table
            .into_iter()
            .map(|(key, value)| (key, Json::from(value)))
            .collect::<Json>()
    };
    tables
        .into_iter()
        .map(|(name, table)| (name, rows(table)))
        .collect()
}
