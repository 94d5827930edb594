//! `auth.oauth2`: access tokens from a token endpoint (RFC 6749), renewed before they end.
//!
//! With the grant `refresh_token` the configuration gives the first refresh token. Where each use gives a new
//! one, the newest is kept in the store, sealed with the first one (`seal`); a first one that was changed in the
//! configuration is another credential, and what was kept of the old one is not looked at any more. How a
//! token is renewed, and what must not happen meanwhile: `renew`. What a token endpoint says: `answer`.

mod answer;
mod renew;
mod seal;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::fault::{FaultRule, Rule, compile as compile_rules};
use super::limits::Limits;
use super::request::{flat, is_safe, named};
use super::scope::{Compiler, Frame, Tables};
use super::settings::Values;
use super::text::{Expr, Name, Text, Tree};
use super::tree::Node;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expr::{Program, Scope, Template, Type};
use crate::record::Fingerprint;
use crate::secret::Secret;

pub(super) use renew::Renewer;

/// `auth.oauth2`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oauth2 {
    /// What is handed in for an access token.
    pub grant: Grant,
    /// Where: `https`, or plain HTTP on this machine.
    pub token_url: Text,
    /// The application.
    pub client_id: Text,
    /// Its proof; an application without one says `client_auth = "none"`.
    pub client_secret: Option<Text>,
    /// Where both travel.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// For the grant `refresh_token`: the first one, as somebody's consent gave it.
    pub refresh_token: Option<Text>,
    /// A use of the refresh token may give a new one and end the old one; true when absent. Then only the
    /// daemon uses it, which keeps the new one. False where the same one stays good.
    pub rotates: Option<bool>,
    /// What is asked for.
    pub scope: Option<Text>,
    /// Further parameters of the form; one that is left out or null is not sent.
    #[serde(default)]
    pub params: BTreeMap<String, Tree>,
    /// Headers of all other requests, in terms of `token`; `{ authorization = "Bearer {token}" }` when absent.
    pub headers: Option<BTreeMap<String, Text>>,
    /// For how many seconds the access token is good, of the `reply`; `expires_in` of it when absent.
    pub expires_secs: Option<Expr>,
    /// For how many seconds the refresh token is good, of the `reply`; its `refresh_token_expires_in` or
    /// `x_refresh_token_expires_in` when absent.
    pub refresh_expires_secs: Option<Expr>,
    /// For how many days a refresh token is good where no reply says.
    pub lifetime_days: Option<u32>,
    /// Which of `[limits]` pays; `default` when absent.
    pub bucket: Option<Name>,
    /// Whole request, connect to last byte.
    pub timeout_secs: Option<u64>,
    /// What replies of the token endpoint mean, before what RFC 6749 says.
    #[serde(default)]
    pub fault: Vec<FaultRule>,
}

/// What is handed in for an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The application's own rights (RFC 6749 section 4.4).
    ClientCredentials,
    /// Somebody's consent, given once (section 6).
    RefreshToken,
}

/// How the application proves itself (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// As HTTP Basic.
    #[default]
    Basic,
    /// In the form.
    Body,
    /// It has no secret; its id stands in the form.
    None,
}

/// A compiled [`Oauth2`].
#[derive(Debug)]
pub(super) struct Flow {
    grant: Grant,
    client_auth: ClientAuth,
    rotates: bool,
    texts: Vec<(Part, Template, String)>,
    params: Vec<(String, Node)>,
    pub(super) headers: Vec<(String, Template)>,
    expires: Option<Program>,
    refresh_expires: Option<Program>,
    lifetime: Option<Duration>,
    bucket: String,
    timeout: Option<Duration>,
    rules: Vec<Rule>,
}

/// What a text of the manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Url,
    Id,
    Secret,
    Refresh,
    Scope,
}

/// What one connection hands in: all of it is known from its settings.
#[derive(Debug, Clone)]
struct Given {
    url: String,
    id: String,
    secret: Option<Secret>,
    first: Option<Secret>,
    scope: Option<String>,
    params: Vec<(String, String)>,
}

impl Oauth2 {
    pub(super) fn compile(&self, compiler: &mut Compiler, limits: &Limits, secrets: &Type) -> Flow {
        self.check(compiler);
        let path = "auth.oauth2";
        let scope = compiler.scope(&[]).root("secret", secrets.clone());
        let replies = compiler.scope(&["reply"]);
        limits.check(self.bucket.as_ref(), 1, compiler, path);
        let named_texts = [
            (Part::Url, "token_url", Some(&self.token_url)),
            (Part::Id, "client_id", Some(&self.client_id)),
            (Part::Secret, "client_secret", self.client_secret.as_ref()),
            (Part::Refresh, "refresh_token", self.refresh_token.as_ref()),
            (Part::Scope, "scope", self.scope.as_ref()),
        ];
        let texts = named_texts.into_iter().filter_map(|(part, name, text)| {
            let text = text?;
            let template = compiler.template(text, &scope, &format!("{path}.{name}"));
            Some((part, template, setting_of(text.as_str(), name)))
        });
        let texts = texts.collect();
        let bucket = self.bucket.as_ref().map_or("default", Name::as_str);
        let days = self.lifetime_days.map(|days| u64::from(days) * 86_400);
        Flow {
            grant: self.grant,
            client_auth: self.client_auth,
            rotates: self.grant == Grant::RefreshToken && self.rotates.unwrap_or(true),
            texts,
            params: named(&self.params, compiler, &scope, &format!("{path}.params")),
            headers: self.headers(compiler),
            expires: compiler.maybe(
                self.expires_secs.as_ref(),
                &replies,
                "auth.oauth2.expires_secs",
            ),
            refresh_expires: compiler.maybe(
                self.refresh_expires_secs.as_ref(),
                &replies,
                "auth.oauth2.refresh_expires_secs",
            ),
            lifetime: days.map(Duration::from_secs),
            bucket: bucket.to_owned(),
            timeout: self.timeout_secs.map(Duration::from_secs),
            rules: compile_rules(&self.fault, compiler, &replies, "auth.oauth2.fault"),
        }
    }

    /// What does not go together.
    fn check(&self, compiler: &mut Compiler) {
        let mut wrong = |at: &Text, message: &str, help: &str| {
            compiler.error("auth.oauth2", at.span(), message, Some(help.to_owned()));
        };
        match (self.grant, &self.refresh_token) {
            (Grant::RefreshToken, None) => wrong(
                &self.token_url,
                "the grant `refresh_token` needs `refresh_token`: the first one",
                "refresh_token = \"{secret.refresh_token}\", and a setting of type secret",
            ),
            (Grant::ClientCredentials, Some(token)) => wrong(
                token,
                "the grant `client_credentials` knows no refresh token",
                "leave `refresh_token` out, or set grant = \"refresh_token\"",
            ),
            _ => {}
        }
        let has_secret = self.client_secret.is_some();
        if has_secret == (self.client_auth == ClientAuth::None) {
            wrong(
                &self.client_id,
                "`client_secret` and `client_auth` do not fit",
                "client_secret = \"{secret.client_secret}\"; or client_auth = \"none\" without one",
            );
        }
        if self.grant == Grant::ClientCredentials
            && (self.rotates.is_some() || self.lifetime_days.is_some())
        {
            wrong(
                &self.token_url,
                "`rotates` and `lifetime_days` belong to refresh tokens",
                "leave them out: the grant `client_credentials` has none",
            );
        }
    }

    fn headers(&self, compiler: &mut Compiler) -> Vec<(String, Template)> {
        let scope: Scope = compiler.scope(&[]).root("token", Type::String);
        let Some(headers) = &self.headers else {
            let bearer = "Bearer {token}";
            let template = compiler.template_text(bearer, 0..0, &scope, "auth.oauth2");
            return vec![("authorization".to_owned(), template)];
        };
        let headers = headers.iter().map(|(name, text)| {
            let path = format!("auth.oauth2.headers.{name}");
            let template = compiler.template(text, &scope, &path);
            (name.to_ascii_lowercase(), template)
        });
        headers.collect()
    }
}

/// The setting that a text is, for findings: `{secret.refresh_token}` is `refresh_token`.
fn setting_of(text: &str, otherwise: &str) -> String {
    let inner = text.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
    let name = inner.and_then(|it| it.strip_prefix("secret.").or(it.strip_prefix("settings.")));
    let name = name.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    name.unwrap_or(otherwise).to_owned()
}

impl Flow {
    /// Reads what a connection hands in.
    fn given(&self, values: &Values, tables: &Tables) -> Result<Given, Diagnostics> {
        let roots = [("settings", &values.settings), ("secret", &values.secrets)];
        let frame = Frame::new(&roots, tables);
        let mut findings = Diagnostics::default();
        let mut read = |part: Part| {
            let (_, template, setting) = self.texts.iter().find(|(it, ..)| *it == part)?;
            // What is not set is null, which is no text.
            let text = template.eval_text(&frame).unwrap_or_default();
            let text = text.trim();
            if text.is_empty() && part != Part::Scope {
                let message = format!("`{setting}` is missing: no access token can be asked for");
                let help = match part {
                    Part::Refresh => {
                        "authorise the application once over there and give the refresh token that \
                         comes of it; later ones are kept by crossdock itself"
                    }
                    _ => "see the application's page over there",
                };
                findings.push(Diagnostic::error("X0703", setting, message).help(help));
            }
            if part == Part::Url && !text.is_empty() && !is_safe(text) {
                let message =
                    format!("`{setting}` must begin with https://, or be on this machine");
                findings.push(Diagnostic::error("X0702", setting, message));
            }
            Some(text.to_owned()).filter(|text| !text.is_empty())
        };
        let mut given = Given {
            url: read(Part::Url).unwrap_or_default(),
            id: read(Part::Id).unwrap_or_default(),
            secret: read(Part::Secret).map(Secret::new),
            first: read(Part::Refresh).map(Secret::new),
            scope: read(Part::Scope),
            params: Vec::new(),
        };
        for (name, node) in &self.params {
            match node.eval(&frame) {
                Ok(value) => {
                    let values = flat(value).into_iter();
                    given
                        .params
                        .extend(values.map(|value| (name.clone(), value)));
                }
                Err(trouble) => {
                    let message = format!("the parameter `{name}` of the token request: {trouble}");
                    findings.push(Diagnostic::error("X0703", name, message));
                }
            }
        }
        findings.into_result(given)
    }

    /// What tells this credential from every other.
    pub(super) fn credential(&self, values: &Values, tables: &Tables) -> Option<String> {
        Some(self.given(values, tables).ok()?.credential())
    }

    /// Notes what a connection lacks.
    pub(super) fn check(&self, values: &Values, tables: &Tables) -> Result<(), Diagnostics> {
        self.given(values, tables).map(drop)
    }
}

impl Given {
    /// What tells this credential from every other. With a refresh token that is the first one, of this
    /// application; else everything that is asked for.
    fn credential(&self) -> String {
        let mut parts = vec![self.url.as_str(), &self.id];
        if let Some(first) = &self.first {
            parts.push(first.expose());
        } else {
            parts.extend(self.scope.as_deref());
            let params = self.params.iter();
            parts.extend(params.flat_map(|(name, value)| [name.as_str(), value]));
            parts.extend(self.secret.as_ref().map(Secret::expose));
        }
        fingerprint(&parts).to_string()
    }

    /// Of everything that is handed in with this refresh token: what was refused is not worth another try.
    fn attempt(&self, refresh: Option<&Secret>) -> Fingerprint {
        let mut parts = vec![self.url.as_str(), &self.id];
        parts.push(self.secret.as_ref().map_or("", Secret::expose));
        parts.push(refresh.map_or("", Secret::expose));
        parts.extend(self.scope.as_deref());
        fingerprint(&parts)
    }
}

fn fingerprint(parts: &[&str]) -> Fingerprint {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&part.len().to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Fingerprint::of_bytes(&bytes)
}
