//! A proof over the raw bytes of a request: made with a shared secret (RFC 2104), or signed by a key of which
//! we know the public half (RSA PKCS#1 v1.5 or ECDSA P-256, both over SHA-256).
//!
//! What is signed is `before`, the body as it came, `after`. Secrets are compared in constant time, and all
//! of them are tried whichever fits: how long it takes tells nothing.

use std::time::Duration;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use subtle::{Choice, ConstantTimeEq};

use super::super::scope::{Compiler, Frame, Trouble};
use super::super::text::{Name, Text};
use crate::clock::{Timestamp, since};
use crate::connector::Inbound;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expr::{Template, Type};
use crate::fault::Fault;

/// The most proofs of one request that are looked at.
const MAX_PROOFS: usize = 8;
/// How far a moment may be from ours when the manifest does not say.
const TOLERANCE_SECS: u64 = 300;
/// Greater numbers are milliseconds: as seconds they would be in the year 5138.
const MILLIS_FROM: i64 = 100_000_000_000;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// One way.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Verify {
    /// HMAC with SHA-256 and a secret that both sides know.
    HmacSha256(Box<Proof>),
    /// RSA, PKCS#1 v1.5 with SHA-256, 2048 bits or more.
    RsaSha256(Box<Proof>),
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256Sha256(Box<Proof>),
}

/// Where the proof stands, and of what it is one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The header with the proof.
    pub header: Name,
    /// How its bytes are written.
    pub encoding: Encoding,
    /// What stands before each proof in the header, such as `sha256=`; what does not begin so is none.
    pub prefix: Option<String>,
    /// Where several stand in the header, what is between them.
    pub separator: Option<String>,
    /// The secrets, or the public keys as PEM or JWKS; any of them will do, so that they can be changed.
    /// Those that are not set are left out; without any, webhooks are not taken in.
    pub keys: Vec<Text>,
    /// How the bytes of a secret are written; as it stands when absent.
    pub key_encoding: Option<Encoding>,
    /// Which key of a JWKS it is, of `request`; each is tried when absent.
    pub kid: Option<Text>,
    /// What is signed before the body, of `request`.
    pub before: Option<Text>,
    /// What is signed behind the body, of `request`.
    pub after: Option<Text>,
    /// When it was signed, of `request`: seconds or milliseconds since 1970, or RFC 3339. It must be part of
    /// `before` or `after`.
    pub timestamp: Option<Text>,
    /// How far that may be from our clock, in seconds.
    pub tolerance_secs: Option<u64>,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// RFC 4648 section 8, in either case.
    Hex,
    /// RFC 4648 sections 4 and 5, with or without padding.
    Base64,
}

impl Encoding {
    pub(in crate::manifest) fn decode(self, text: &str) -> Option<Vec<u8>> {
        let text = text.trim();
        match self {
            Self::Base64 => BASE64
                .decode(text)
                .or_else(|_| BASE64_URL.decode(text))
                .ok(),
            Self::Hex => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let pair = |pair: &[u8]| match pair {
                    [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
                    _ => None,
                };
                text.as_bytes().chunks(2).map(pair).collect()
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hmac,
    Rsa,
    Ecdsa,
}

/// A compiled [`Verify`].
#[derive(Debug)]
pub(super) struct Checking {
    kind: Kind,
    header: String,
    encoding: Encoding,
    prefix: String,
    separator: Option<String>,
    keys: Vec<(Template, String)>,
    key_encoding: Option<Encoding>,
    kid: Option<Template>,
    before: Option<Template>,
    after: Option<Template>,
    timestamp: Option<Template>,
    tolerance: Duration,
}

/// A public key in the forms in which its signatures may be written, with its name where it has one.
type PublicKey = (Option<String>, Vec<ParsedPublicKey>);

/// The keys of one connection. `Debug` shows none.
pub(crate) enum Verifier {
    Secrets(Vec<hmac::Key>),
    Public(Vec<PublicKey>),
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verify {
    pub(super) fn compile(&self, compiler: &mut Compiler, secrets: &Type) -> Checking {
        let (kind, proof) = match self {
            Self::HmacSha256(proof) => (Kind::Hmac, proof),
            Self::RsaSha256(proof) => (Kind::Rsa, proof),
            Self::EcdsaP256Sha256(proof) => (Kind::Ecdsa, proof),
        };
        let path = "webhook.verify";
        let place = proof.header.span();
        if proof.keys.is_empty() {
            let message = "`keys` is empty: nothing could ever be proved";
            compiler.error(path, place.clone(), message, None);
        }
        if proof.timestamp.is_some() && proof.before.is_none() && proof.after.is_none() {
            let message = "a `timestamp` that is not signed proves nothing";
            let help = "make it part of `before` or `after`, as the other side does".to_owned();
            compiler.error(path, place.clone(), message, Some(help));
        }
        let is_of_secrets = kind == Kind::Hmac;
        if (is_of_secrets && proof.kid.is_some())
            || (!is_of_secrets && proof.key_encoding.is_some())
        {
            let message = "`kid` belongs to public keys, `key_encoding` to secrets";
            compiler.error(path, place, message, None);
        }
        let of_keys = compiler.scope(&[]).root("secret", secrets.clone());
        let of_request = compiler.scope(&["request"]);
        let mut text = |text: &Option<Text>, name: &str| {
            let text = text.as_ref()?;
            Some(compiler.template(text, &of_request, &format!("{path}.{name}")))
        };
        let (key_id, before, after) = (
            text(&proof.kid, "kid"),
            text(&proof.before, "before"),
            text(&proof.after, "after"),
        );
        let timestamp = text(&proof.timestamp, "timestamp");
        let keys = proof.keys.iter().map(|key| {
            let template = compiler.template(key, &of_keys, &format!("{path}.keys"));
            (template, setting_of(key.as_str()))
        });
        Checking {
            kind,
            header: proof.header.as_str().to_ascii_lowercase(),
            encoding: proof.encoding,
            prefix: proof.prefix.clone().unwrap_or_default(),
            separator: proof.separator.clone(),
            keys: keys.collect(),
            key_encoding: proof.key_encoding,
            kid: key_id,
            before,
            after,
            timestamp,
            tolerance: Duration::from_secs(proof.tolerance_secs.unwrap_or(TOLERANCE_SECS)),
        }
    }
}

/// The setting that a key comes from, for findings: `{secret.webhook_secret}` is `webhook_secret`.
fn setting_of(text: &str) -> String {
    let inner = text.trim_start_matches('{').trim_end_matches('}');
    let name = inner.rsplit('.').next().unwrap_or(inner);
    name.to_owned()
}

impl Checking {
    /// What is signed beside the body.
    pub(super) fn signed(&self) -> impl Iterator<Item = &Template> {
        self.before.iter().chain(&self.after)
    }

    /// Reads the keys of a connection; nothing when none is set.
    pub(super) fn verifier(&self, frame: &Frame<'_>) -> Result<Option<Verifier>, Diagnostics> {
        let mut findings = Diagnostics::default();
        let (mut secrets, mut public) = (Vec::new(), Vec::new());
        for (template, setting) in &self.keys {
            // What is not set is null, which is no text. An empty secret would be one that everybody knows.
            let text = template.eval_text(frame).unwrap_or_default();
            if text.trim().is_empty() {
                continue;
            }
            let read = match self.kind {
                Kind::Hmac => self.secret(&text).map(|key| secrets.push(key)),
                _ => public_keys(self.kind, &text).map(|keys| public.extend(keys)),
            };
            if let Err(what) = read {
                let message = format!("`{setting}` {what}");
                findings.push(Diagnostic::error("X0702", setting, message));
            }
        }
        let verifier = match self.kind {
            Kind::Hmac => (!secrets.is_empty()).then_some(Verifier::Secrets(secrets)),
            _ => (!public.is_empty()).then_some(Verifier::Public(public)),
        };
        findings.into_result(verifier)
    }

    fn secret(&self, text: &str) -> Result<hmac::Key, &'static str> {
        let bytes = match self.key_encoding {
            None => text.as_bytes().to_vec(),
            Some(encoding) => encoding
                .decode(text)
                .filter(|bytes| !bytes.is_empty())
                .ok_or("is not written as the other side writes its secrets")?,
        };
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    /// Whether the request is proved by any of the keys, and fresh where that can be told.
    pub(super) fn check(
        &self,
        verifier: &Verifier,
        request: &Inbound,
        frame: &Frame<'_>,
    ) -> Result<(), Fault> {
        let given = request.header(&self.header).unwrap_or_default();
        let proofs = match &self.separator {
            Some(separator) => given.split(separator.as_str()).collect(),
            None => vec![given],
        };
        let proofs = proofs.into_iter().map(str::trim);
        let proofs = proofs.filter_map(|proof| proof.strip_prefix(self.prefix.as_str()));
        let proofs = proofs.filter_map(|proof| self.encoding.decode(proof));
        let proofs: Vec<Vec<u8>> = proofs
            .filter(|proof| !proof.is_empty())
            .take(MAX_PROOFS)
            .collect();
        let part = |template: &Option<Template>| match template {
            None => Ok(String::new()),
            Some(template) => template.eval_text(frame).map_err(|_| {
                let message = "what should be signed is not there";
                Fault::auth("not_signed", message)
            }),
        };
        let (before, after) = (part(&self.before)?, part(&self.after)?);
        let parts = [before.as_bytes(), &request.body, after.as_bytes()];
        let is_proved = match verifier {
            Verifier::Secrets(keys) => bool::from(fits(keys, &parts, &proofs)),
            Verifier::Public(keys) => {
                let kid = part(&self.kid)?;
                let wanted = self.kid.as_ref().map(|_| kid.as_str());
                is_signed(keys, wanted, &parts, &proofs)
            }
        };
        if !is_proved {
            let message = format!("the header `{}` does not prove the sender", self.header);
            return Err(Fault::auth("forged", message));
        }
        self.check_moment(request.at, frame)
    }

    fn check_moment(&self, now: Timestamp, frame: &Frame<'_>) -> Result<(), Fault> {
        let Some(template) = &self.timestamp else {
            return Ok(());
        };
        let told = template
            .eval_text(frame)
            .map_err(|error| Trouble::new(&error));
        let at = told.ok().and_then(|text| moment(text.trim()));
        let Some(at) = at else {
            return Err(Fault::auth("no_moment", "it does not say when it was sent"));
        };
        if since(at, now).max(since(now, at)) > self.tolerance {
            let message = format!(
                "it was signed more than {} s away from our clock: replayed, or a clock is wrong",
                self.tolerance.as_secs()
            );
            return Err(Fault::auth("replayed", message));
        }
        Ok(())
    }
}

/// Whether any proof is one by any secret.
fn fits(keys: &[hmac::Key], parts: &[&[u8]], proofs: &[Vec<u8>]) -> Choice {
    let mut fits = Choice::from(0);
    for key in keys {
        let mut context = hmac::Context::with_key(key);
        for part in parts {
            context.update(part);
        }
        let tag = context.sign();
        for proof in proofs {
            fits |= tag.as_ref().ct_eq(proof);
        }
    }
    fits
}

/// Whether any proof is a signature by any key that may have made it.
fn is_signed(
    keys: &[PublicKey],
    wanted: Option<&str>,
    parts: &[&[u8]],
    proofs: &[Vec<u8>],
) -> bool {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let hash = context.finish();
    let may = |name: &Option<String>| match (wanted, name) {
        (Some(wanted), Some(name)) => wanted == name,
        _ => true,
    };
    let keys = keys.iter().filter(|(name, _)| may(name));
    let mut forms = keys.flat_map(|(_, forms)| forms);
    forms.any(|key| {
        proofs
            .iter()
            .any(|proof| key.verify_digest_sig(&hash, proof).is_ok())
    })
}

/// Public keys out of a PEM or a JWKS.
fn public_keys(kind: Kind, text: &str) -> Result<Vec<PublicKey>, &'static str> {
    const NO_KEY: &str =
        "holds no public key of the right kind: it must be a PEM (BEGIN PUBLIC KEY) or a JWKS";
    let text = text.trim();
    if text.starts_with('{') {
        let json: Json = serde_json::from_str(text).map_err(|_| NO_KEY)?;
        let one = std::slice::from_ref(&json);
        let listed = json["keys"].as_array().map_or(one, Vec::as_slice);
        let keys = listed.iter().filter_map(|jwk| {
            let name = jwk["kid"].as_str().map(str::to_owned);
            Some((name, of_jwk(kind, jwk)?))
        });
        let keys: Vec<_> = keys.collect();
        return if keys.is_empty() {
            Err(NO_KEY)
        } else {
            Ok(keys)
        };
    }
    let inside: String = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let der = Encoding::Base64.decode(&inside).ok_or(NO_KEY)?;
    let forms = forms(kind, &der).ok_or(NO_KEY)?;
    Ok(vec![(None, forms)])
}

/// RFC 7518 section 6.
fn of_jwk(kind: Kind, jwk: &Json) -> Option<Vec<ParsedPublicKey>> {
    let number = |name: &str| Encoding::Base64.decode(jwk[name].as_str()?);
    match (kind, jwk["kty"].as_str()?) {
        (Kind::Rsa, "RSA") => {
            let (n, e) = (number("n")?, number("e")?);
            let key = RsaPublicKeyComponents { n, e };
            let key = key.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256);
            Some(vec![key.ok()?])
        }
        (Kind::Ecdsa, "EC") if jwk["crv"] == "P-256" => {
            let point = [vec![4], number("x")?, number("y")?].concat();
            forms(kind, &point)
        }
        _ => None,
    }
}

/// An elliptic signature is two numbers, in DER or side by side (JOSE).
fn forms(kind: Kind, key: &[u8]) -> Option<Vec<ParsedPublicKey>> {
    let one = |of| ParsedPublicKey::new(of, key).ok();
    match kind {
        Kind::Hmac => None,
        Kind::Rsa => {
            let key = ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key);
            Some(vec![key.ok()?])
        }
        Kind::Ecdsa => Some(vec![
            one(&signature::ECDSA_P256_SHA256_ASN1)?,
            one(&signature::ECDSA_P256_SHA256_FIXED)?,
        ]),
    }
}

/// A moment as senders write it.
fn moment(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(number) if number.abs() >= MILLIS_FROM => Timestamp::from_millisecond(number).ok(),
        Ok(number) => Timestamp::from_second(number).ok(),
        Err(_) => text.parse().ok(),
    }
}
