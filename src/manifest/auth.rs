//! `[auth]`: how a request proves who we are.
//!
//! Only here is `secret` in scope, and what is computed here is never shown. A session logs in with the
//! first request, keeps what the reply gave, and logs in again, once for all who wait, when a reply
//! means `auth`; then the refused request is repeated once. One that says for how long it is good is
//! renewed before that (`expires_secs`). Access tokens by RFC 6749 are [`oauth2`](super::oauth2).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::limits::Limits;
use super::oauth1::Signer;
use super::oauth2::{Flow, Oauth2};
use super::request::{Call, Request};
use super::scope::{Compiler, Frame, Trouble};
use super::signed::{Hmac, Sealing};
use super::text::{Expr, Name, Text, Tree};
use super::tree::Node;
use crate::expr::{Program, Template, Type};
use crate::secret::Secret;
use crate::transport::http::{HeaderValue, HttpRequest};

/// One way.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// Nobody asks.
    #[default]
    None,
    /// A header.
    Header(Header),
    /// User and password in each request (RFC 7617).
    Basic(Basic),
    /// `Authorization: Bearer …` with a token that does not change (RFC 6750).
    Bearer(Bearer),
    /// Each request is signed (RFC 5849, without a token).
    Oauth1(Oauth1),
    /// Each request is signed with a secret, in the vendor's own way.
    Hmac(Box<Hmac>),
    /// Access tokens from a token endpoint (RFC 6749).
    Oauth2(Box<Oauth2>),
    /// Log in, keep what comes back, send it along.
    Session(Box<Session>),
}

/// `auth.header`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Its name.
    pub name: Name,
    /// Its value.
    pub value: Text,
}

/// `auth.basic`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// Who.
    pub user: Text,
    /// Proof.
    pub password: Text,
}

/// `auth.bearer`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// The token.
    pub token: Text,
}

/// `auth.oauth1`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oauth1 {
    /// The consumer key.
    pub key: Text,
    /// The consumer secret; it never travels, except as `basic_over_tls` says.
    pub secret: Text,
    /// Where this is `true`, a request over https is not signed but carries both as HTTP Basic does.
    pub basic_over_tls: Option<Text>,
}

/// `auth.session`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The request that logs in. Whatever refuses it is a fault of class `auth`.
    pub login: Request,
    /// What to keep of its reply; known everywhere as `session`.
    pub capture: Tree,
    /// Headers of every other request, in terms of `session` and `secret`.
    pub headers: BTreeMap<String, Text>,
    /// For how many seconds it is good, of the `reply`: it is renewed before that. Without it, only when a
    /// reply says that it is over.
    pub expires_secs: Option<Expr>,
    /// A further request of a new session, such as for a user's preferences.
    pub then: Option<Then>,
}

/// `auth.session.then`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Then {
    /// The request.
    pub request: Request,
    /// What to keep of its reply, beside what `capture` kept.
    pub capture: Tree,
}

/// A compiled [`Auth`].
#[derive(Debug)]
pub(super) enum Proof {
    /// Headers that need no request first.
    Fixed(Vec<(String, Template)>),
    /// A signature of each request.
    Signed(Box<Signing>),
    /// Another one.
    Sealed(Box<Sealing>),
    /// Access tokens.
    Oauth2(Arc<Flow>),
    /// A session.
    Session(Box<Login>),
}

/// A compiled [`Oauth1`].
#[derive(Debug)]
pub(super) struct Signing {
    key: Template,
    secret: Template,
    basic_over_tls: Option<Template>,
    basic: Vec<(String, Template)>,
}

/// A compiled [`Session`].
#[derive(Debug)]
pub(super) struct Login {
    pub(super) first: Call,
    pub(super) capture: Node,
    pub(super) expires: Option<Program>,
    pub(super) headers: Vec<(String, Template)>,
    pub(super) then: Option<(Call, Node)>,
}

impl Auth {
    pub(super) fn compile(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        secrets: &Type,
    ) -> Proof {
        let scope = compiler.scope(&[]).root("secret", secrets.clone());
        let mut fixed = |name: &str, text: &str, span, path: &str| {
            let template = compiler.template_text(text, span, &scope, path);
            Proof::Fixed(vec![(name.to_ascii_lowercase(), template)])
        };
        match self {
            Self::None => Proof::Fixed(Vec::new()),
            Self::Header(header) => {
                let value = &header.value;
                fixed(
                    header.name.as_str(),
                    value.as_str(),
                    value.span(),
                    "auth.header.value",
                )
            }
            Self::Bearer(bearer) => {
                let token = format!("Bearer {}", bearer.token.as_str());
                fixed(
                    "authorization",
                    &token,
                    bearer.token.span(),
                    "auth.bearer.token",
                )
            }
            Self::Basic(basic) => {
                let text = basic_text(&basic.user, &basic.password);
                fixed("authorization", &text, basic.user.span(), "auth.basic")
            }
            Self::Oauth1(oauth) => Proof::Signed(Box::new(oauth.compile(compiler, secrets))),
            Self::Hmac(hmac) => Proof::Sealed(Box::new(hmac.compile(compiler, secrets))),
            Self::Oauth2(oauth) => {
                Proof::Oauth2(Arc::new(oauth.compile(compiler, limits, secrets)))
            }
            Self::Session(session) => {
                Proof::Session(Box::new(session.compile(compiler, limits, secrets)))
            }
        }
    }
}

/// User and password as RFC 7617 has them in a header.
fn basic_text(user: &Text, password: &Text) -> String {
    let both = [user, password].map(|text| inner(text.as_str()));
    format!("Basic {{base64({} + ':' + {})}}", both[0], both[1])
}

impl Oauth1 {
    fn compile(&self, compiler: &mut Compiler, secrets: &Type) -> Signing {
        let scope = compiler.scope(&[]).root("secret", secrets.clone());
        let basic = basic_text(&self.key, &self.secret);
        let basic = compiler.template_text(&basic, self.key.span(), &scope, "auth.oauth1");
        Signing {
            key: compiler.template(&self.key, &scope, "auth.oauth1.key"),
            secret: compiler.template(&self.secret, &scope, "auth.oauth1.secret"),
            basic_over_tls: self
                .basic_over_tls
                .as_ref()
                .map(|text| compiler.template(text, &scope, "auth.oauth1.basic_over_tls")),
            basic: vec![("authorization".to_owned(), basic)],
        }
    }
}

impl Signing {
    /// Adds the proof to a request that is otherwise done.
    pub(super) fn prove(
        &self,
        request: &mut HttpRequest,
        frame: &Frame<'_>,
        now: Timestamp,
    ) -> Result<(), Trouble> {
        let text = |template: &Template| {
            template
                .eval_text(frame)
                .map_err(|error| Trouble::new(&error))
        };
        let basic = self.basic_over_tls.as_ref().map(text).transpose()?;
        if basic.as_deref() == Some("true") && request.url.starts_with("https://") {
            request.headers.extend(secret_headers(&self.basic, frame)?);
            return Ok(());
        }
        let signer = Signer {
            key: text(&self.key)?,
            secret: Secret::new(text(&self.secret)?),
        };
        request.url = signer.sign(&request.method, &request.url, now, &nonce());
        Ok(())
    }

    /// What tells one credential from another.
    pub(super) fn who(&self, frame: &Frame<'_>) -> Option<String> {
        let both = [&self.key, &self.secret].map(|template| template.eval_text(frame).ok());
        let [key, secret] = both;
        Some(format!("{} {}", key?, secret?))
    }
}

/// It need not be secret, only new: 128 bits are.
pub(super) fn nonce() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// A template of one placeholder as an expression; anything else as a literal text.
fn inner(text: &str) -> String {
    match text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        Some(expr) if !expr.contains('}') => expr.to_owned(),
        _ => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
    }
}

impl Session {
    fn compile(&self, compiler: &mut Compiler, limits: &Limits, secrets: &Type) -> Login {
        let before = compiler.scope(&[]).root("secret", secrets.clone());
        let reply = before.clone().root("reply", Type::Dyn);
        let inside = before.clone().root("session", Type::Dyn);
        let inside_reply = inside.clone().root("reply", Type::Dyn);
        let headers = self.headers.iter().map(|(name, text)| {
            let path = format!("auth.session.headers.{name}");
            (
                name.to_ascii_lowercase(),
                compiler.template(text, &inside, &path),
            )
        });
        Login {
            headers: headers.collect(),
            first: self
                .login
                .compile(compiler, limits, &before, "auth.session.login"),
            capture: compiler.tree(&self.capture, &reply, "auth.session.capture"),
            expires: compiler.maybe(
                self.expires_secs.as_ref(),
                &reply,
                "auth.session.expires_secs",
            ),
            then: self.then.as_ref().map(|then| {
                let call = then
                    .request
                    .compile(compiler, limits, &inside, "auth.session.then");
                (
                    call,
                    compiler.tree(&then.capture, &inside_reply, "auth.session.then.capture"),
                )
            }),
        }
    }
}

/// Headers that nobody may see.
pub(super) fn secret_headers(
    headers: &[(String, Template)],
    frame: &Frame<'_>,
) -> Result<Vec<(String, HeaderValue)>, Trouble> {
    headers
        .iter()
        .map(|(name, template)| {
            let value = template
                .eval_text(frame)
                .map_err(|error| Trouble::new(&error))?;
            Ok((name.clone(), HeaderValue::Secret(Secret::new(value))))
        })
        .collect()
}
