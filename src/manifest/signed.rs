//! `auth.hmac`: each request signed with a secret, over a text that the manifest puts together.
//!
//! There is one text for each vendor and no standard: what all of them are made of is known as `request`, and the
//! rest is a template. A signature holds for one moment and is made anew for each try.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::request::QUERY;
use super::scope::{Compiler, Frame, Trouble};
use super::text::Text;
use super::webhook::Encoding;
use crate::expr::{Template, Type};
use crate::secret::Secret;
use crate::transport::http::{HeaderValue, HttpRequest};

/// `auth.hmac`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hmac {
    /// The hash.
    #[serde(default)]
    pub hash: Hash,
    /// The secret.
    pub key: Text,
    /// How the bytes of the secret are written; as it stands when absent.
    pub key_encoding: Option<Encoding>,
    /// Query parameters that are added before it is signed, such as a time: of `request`, which has no more than
    /// `timestamp`, `timestamp_ms` and `nonce` then.
    #[serde(default)]
    pub query: BTreeMap<String, Text>,
    /// What is signed, of `request`: `method`, `host`, `path`, `query` (as it is sent), `sorted_query`, `params` (names
    /// and values in turn, decoded, by name), `body`, `body_sha256` (hex), `body_sha256_base64`, `timestamp`
    /// (seconds), `timestamp_ms`, `nonce`.
    pub text: Text,
    /// How the signature is written; hex is in lower case.
    pub encoding: Encoding,
    /// Headers, of `request`, `signature` and `secret`.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// Query parameters that are added last, of the same.
    #[serde(default)]
    pub signed_query: BTreeMap<String, Text>,
}

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hash {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
    /// SHA-1: for platforms that know no other.
    Sha1,
}

impl Hash {
    fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }
}

/// A compiled [`Hmac`].
#[derive(Debug)]
pub(super) struct Sealing {
    hash: Hash,
    key: Template,
    key_encoding: Option<Encoding>,
    query: Vec<(String, Template)>,
    text: Template,
    encoding: Encoding,
    headers: Vec<(String, Template)>,
    signed_query: Vec<(String, Template)>,
}

impl Hmac {
    pub(super) fn compile(&self, compiler: &mut Compiler, secrets: &Type) -> Sealing {
        if self.headers.is_empty() && self.signed_query.is_empty() {
            let message = "the signature goes nowhere";
            let help = "headers = { x-signature = \"{signature}\" }, or `signed_query`".to_owned();
            compiler.error("auth.hmac", self.text.span(), message, Some(help));
        }
        let scope = compiler.scope(&[]).root("secret", secrets.clone());
        let before = scope.clone().root("request", Type::Dyn);
        let after = before.clone().root("signature", Type::String);
        let key = compiler.template(&self.key, &scope, "auth.hmac.key");
        let text = compiler.template(&self.text, &before, "auth.hmac.text");
        let mut all = |texts: &BTreeMap<String, Text>, scope, part: &str| {
            let texts = texts.iter().map(|(name, text)| {
                let path = format!("auth.hmac.{part}.{name}");
                (name.clone(), compiler.template(text, scope, &path))
            });
            texts.collect::<Vec<_>>()
        };
        let mut headers = all(&self.headers, &after, "headers");
        for (name, _) in &mut headers {
            name.make_ascii_lowercase();
        }
        Sealing {
            hash: self.hash,
            key,
            key_encoding: self.key_encoding,
            query: all(&self.query, &before, "query"),
            text,
            encoding: self.encoding,
            headers,
            signed_query: all(&self.signed_query, &after, "signed_query"),
        }
    }
}

impl Sealing {
    /// Adds the proof to a request that is otherwise done. `nonce` must be new for each request.
    pub(super) fn prove(
        &self,
        request: &mut HttpRequest,
        frame: &Frame<'_>,
        (now, nonce): (Timestamp, &str),
    ) -> Result<(), Trouble> {
        let moment = json!({
            "timestamp": now.as_second().to_string(),
            "timestamp_ms": now.as_millisecond().to_string(),
            "nonce": nonce,
        });
        let roots = [("request", &moment)];
        add_query(&mut request.url, &self.query, &frame.with(&roots))?;
        let whole = describe(request, moment.clone())?;
        let roots = [("request", &whole)];
        let inner = frame.with(&roots);
        let text = eval(&self.text, &inner)?;
        let tag = hmac::sign(&self.key(frame)?, text.as_bytes());
        let signature = Json::from(match self.encoding {
            Encoding::Hex => hex(tag.as_ref()),
            Encoding::Base64 => STANDARD.encode(tag.as_ref()),
        });
        let roots = [("signature", &signature)];
        let signed = inner.with(&roots);
        for (name, template) in &self.headers {
            let value = Secret::new(eval(template, &signed)?);
            request.headers.retain(|(known, _)| known != name);
            request
                .headers
                .push((name.clone(), HeaderValue::Secret(value)));
        }
        add_query(&mut request.url, &self.signed_query, &signed)
    }

    fn key(&self, frame: &Frame<'_>) -> Result<hmac::Key, Trouble> {
        let text = eval(&self.key, frame)?;
        if text.trim().is_empty() {
            return Err(Trouble::told("the secret is empty").within("key"));
        }
        let bytes = match self.key_encoding {
            None => text.into_bytes(),
            Some(encoding) => encoding.decode(&text).ok_or_else(|| {
                Trouble::told("the secret is not written as it should").within("key")
            })?,
        };
        Ok(hmac::Key::new(self.hash.algorithm(), &bytes))
    }

    /// What tells one credential from another.
    pub(super) fn who(&self, frame: &Frame<'_>) -> Option<String> {
        eval(&self.key, frame).ok()
    }
}

fn eval(template: &Template, frame: &Frame<'_>) -> Result<String, Trouble> {
    template
        .eval_text(frame)
        .map_err(|error| Trouble::new(&error))
}

fn add_query(
    url: &mut String,
    query: &[(String, Template)],
    frame: &Frame<'_>,
) -> Result<(), Trouble> {
    for (name, template) in query {
        let value = eval(template, frame).map_err(|trouble| trouble.within(name))?;
        url.push(if url.contains('?') { '&' } else { '?' });
        url.extend(utf8_percent_encode(name, QUERY));
        url.push('=');
        url.extend(utf8_percent_encode(&value, QUERY));
    }
    Ok(())
}

/// A request as texts to be signed see it.
fn describe(request: &HttpRequest, moment: Json) -> Result<Json, Trouble> {
    let parsed = url::Url::parse(&request.url);
    let url = parsed.map_err(|_| Trouble::told("the address is not valid"))?;
    let body: &[u8] = request.body.as_deref().unwrap_or_default();
    let body_digest = digest::digest(&digest::SHA256, body);
    let mut params: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    params.sort();
    let query = url.query().unwrap_or_default();
    let mut sorted: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    sorted.sort_unstable();
    let mut whole = moment;
    let host = url.host_str().unwrap_or_default();
    whole["method"] = request.method.to_ascii_uppercase().into();
    whole["host"] = match url.port() {
        Some(port) => format!("{host}:{port}").into(),
        None => host.into(),
    };
    whole["path"] = url.path().into();
    whole["query"] = query.into();
    whole["sorted_query"] = sorted.join("&").into();
    whole["params"] = params
        .into_iter()
        .flat_map(|(name, value)| [Json::from(name), Json::from(value)])
        .collect();
    whole["body"] = String::from_utf8_lossy(body).into();
    whole["body_sha256"] = hex(body_digest.as_ref()).into();
    whole["body_sha256_base64"] = STANDARD.encode(body_digest.as_ref()).into();
    Ok(whole)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a text takes everything
        text
    })
}
