//! The declarative engine: a connector as one TOML file.
//!
//! A manifest ([`Manifest`]) says what a platform's requests, replies and errors mean, in a closed
//! vocabulary with one file for each kind. It is checked when it is loaded: unknown keys, expressions
//! that name what is not in scope, a create that nobody could find again are all reported at once, with
//! their places. What runs it knows the laws of a source and a sink, so that a manifest cannot break
//! them by accident: see [`cursor`] for reading, [`step`] for writing.
//!
//! In reading order: `text`, `scope` and `tree` (expressions and documents), `load`, `settings`,
//! `request` with `tagged` and `limits`, `auth` with `oauth1`,
//! `oauth2`, `signed` and `account`, `reply` and `fault`, `wire` (what sends), `cursor`,
//! `read` and `source`, `step` and `run`, `batch` with `later`, `lengths`, `write` and `sink`, `webhook`.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

mod account;
mod auth;
mod batch;
mod body;
mod compiled;
pub mod cursor;
mod fault;
mod later;
mod lengths;
mod limits;
mod load;
mod oauth1;
mod oauth2;
mod read;
mod read_back;
mod reply;
mod request;
mod run;
mod scope;
mod settings;
mod signed;
mod sink;
mod source;
pub mod step;
mod tagged;
mod text;
mod tree;
mod webhook;
mod wire;
mod write;

pub use auth::Auth;
pub use compiled::{About, Declared, Manifest, parse_stream};
pub use fault::discreet;
pub use limits::{Limit, LimitPart};
pub use read::Read;
pub use settings::{DeclaredSettings, Setting, SettingKind, Values};
pub use text::{Expr, Name, Text, Tree};
pub use webhook::{Encoding, Proof, Subscription, Topic, Verify, Webhook};
pub use write::Write;

use compiled::Compiled;
use fault::Intent;
use sink::ManifestSink;
use source::ManifestSource;
use webhook::{ManifestReceiver, ManifestSubscriptions};
use wire::Wire;

use crate::connector::{Configured, Connection, Connector, Context, HookNeeds, Probe, Spec};
use crate::diagnostic::{Diagnostics, SourceText};
use crate::fault::Fault;
use crate::record::Fingerprint;
use crate::transport::http::Lane;

/// JSON Schema of the format, made once: that costs more than to read a manifest.
pub fn schema() -> &'static Json {
    static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        generator.into_root_schema_for::<Manifest>().to_value()
    });
    &SCHEMA
}

/// Reads the TOML file of a connector of another kind, checked in the same way: every unknown key, wrong
/// type and missing key at once.
///
/// # Errors
/// Everything that is wrong with its shape, each with its place.
pub fn read_shape<T>(source: &Arc<SourceText>) -> Result<T, Diagnostics>
where
    T: serde::de::DeserializeOwned + schemars::JsonSchema,
{
    let generator = SchemaSettings::draft2020_12().into_generator();
    load::load(source, &generator.into_root_schema_for::<T>().to_value())
}

/// Reads a manifest. `path` is only for messages.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn load(path: impl Into<PathBuf>, text: &str) -> Result<ManifestConnector, Diagnostics> {
    let source = Arc::new(SourceText {
        path: path.into(),
        text: text.to_owned(),
    });
    let manifest: Manifest = load::load(&source, schema())?;
    let compiled = manifest.compile(&source)?;
    Ok(ManifestConnector {
        compiled: Arc::new(compiled),
    })
}

/// A connector that is a manifest.
#[derive(Debug, Clone)]
pub struct ManifestConnector {
    compiled: Arc<Compiled>,
}

impl Connector for ManifestConnector {
    fn spec(&self) -> &Spec {
        &self.compiled.spec
    }

    fn configure(&self, settings: &toml::Table) -> Result<Box<dyn Configured>, Diagnostics> {
        let values = settings::read(&self.compiled.settings, settings)?;
        let compiled = Arc::clone(&self.compiled);
        if let Some(hooking) = &compiled.webhook {
            hooking.verifier(&values, &compiled.tables)?;
        }
        if let auth::Proof::Oauth2(flow) = &compiled.proof {
            flow.check(&values, &compiled.tables)?;
        }
        Ok(Box::new(ConfiguredManifest { compiled, values }))
    }
}

#[derive(Debug)]
struct ConfiguredManifest {
    compiled: Arc<Compiled>,
    values: Values,
}

impl Configured for ConfiguredManifest {
    fn open(&self, context: Context) -> Result<Connection, Fault> {
        let wire = Arc::new(Wire::new(
            Arc::clone(&self.compiled),
            self.values.clone(),
            context,
        )?);
        let mut connection = Connection::default();
        for stream in self.compiled.reads.keys().copied() {
            let source = ManifestSource {
                wire: Arc::clone(&wire),
                stream,
                lane: source::lane_of(stream),
            };
            connection.sources.insert(stream, Arc::new(source));
        }
        for stream in self.compiled.writes.keys().copied() {
            let sink = ManifestSink {
                wire: Arc::clone(&wire),
                stream,
            };
            connection.sinks.insert(stream, Arc::new(sink));
        }
        if let Some(hooking) = &self.compiled.webhook
            && let Ok(Some(verifier)) = hooking.verifier(&self.values, &self.compiled.tables)
        {
            connection.receiver = Some(Arc::new(ManifestReceiver {
                manifest: Arc::clone(&self.compiled),
                values: self.values.clone(),
                verifier,
            }));
            if hooking.subscribing().is_some() {
                let wire = Arc::clone(&wire);
                connection.subscriptions = Some(Arc::new(ManifestSubscriptions { wire }));
            }
        }
        if self.compiled.probe.is_some() {
            connection.probe = Some(Arc::new(ManifestProbe { wire }));
        }
        Ok(connection)
    }

    fn account(&self) -> Option<Fingerprint> {
        account::account(&self.compiled, &self.values)
    }

    fn webhooks(&self) -> Option<HookNeeds> {
        let hooking = self.compiled.webhook.as_ref()?;
        hooking.needs(&self.values, &self.compiled.tables)
    }
}

#[derive(Debug)]
struct ManifestProbe {
    wire: Arc<Wire>,
}

#[async_trait]
impl Probe for ManifestProbe {
    async fn probe(&self) -> Result<String, Fault> {
        let Some((call, says)) = &self.wire.manifest.probe else {
            return Err(Fault::bug("no_probe", "this connector has no probe"));
        };
        let reply = self
            .wire
            .call(call, &[], Lane::default(), Intent::Read)
            .await;
        let reply = reply.map_err(|failure| failure.fault)?;
        let roots = [("reply", &reply.document)];
        let told = self.wire.with_frame(&roots, |frame| {
            says.eval_text(frame)
                .map_err(|error| scope::Trouble::new(&error))
        });
        told.await.map_err(|trouble| run::unexpected(&trouble))
    }
}

#[cfg(test)]
mod tests;
