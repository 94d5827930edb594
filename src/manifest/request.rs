//! `request`, `lookup`, `read`, `fetch`: one HTTP request, and `[http]`, what all of them share.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::fault::{FaultRule, Rule, compile as compile_rules};
use super::limits::Limits;
use super::scope::{Compiler, Frame, Trouble};
use super::tagged::{Tagged, Unwrap};
use super::text::{Name, Text, Tree};
use super::tree::Node;
use crate::expr::{Reads, Scope, Template, Type};
use crate::fault::Fault;
use crate::transport::http::{HeaderValue, HttpRequest, Lane};

/// RFC 3986 section 2.3: what needs no encoding in a query.
pub(super) const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What all requests share.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The address before each path, such as `{settings.url}`.
    pub base: Text,
    /// The path of requests that name none.
    pub path: Option<Text>,
    /// Headers of every request; one that is left out or null is not sent.
    #[serde(default)]
    pub headers: BTreeMap<String, Tree>,
    /// Whole request, connect to last byte.
    pub timeout_secs: Option<u64>,
    /// How values are wrapped in this JSON dialect.
    pub tagged: Option<Tagged>,
}

/// What the reply's body must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// JSON; anything else is a fault.
    #[default]
    Json,
    /// Anything, also nothing.
    Any,
}

/// One request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `POST` with a body, `GET` without, unless it says otherwise.
    pub method: Option<Name>,
    /// Behind the base address. A value in it is written `{urlencode(…)}`.
    pub path: Option<Text>,
    /// An address of its own in place of base and path: `https`, or plain HTTP on this machine. Nothing
    /// that proves who we are goes there, and of `[http] headers` only `user-agent`.
    pub url: Option<Text>,
    /// Query parameters; one that is left out or null is not sent.
    #[serde(default)]
    pub query: BTreeMap<String, Tree>,
    /// Headers; one that is left out or null is not sent.
    #[serde(default)]
    pub headers: BTreeMap<String, Tree>,
    /// The body, sent as JSON.
    pub body: Option<Tree>,
    /// The body, sent as a form; a field that is left out or null is not sent.
    #[serde(default)]
    pub form: BTreeMap<String, Tree>,
    /// The reply may be packed with gzip without saying so in its headers.
    #[serde(default)]
    pub gunzip: bool,
    /// Which of `[limits]` pays; `default` when absent.
    pub bucket: Option<Name>,
    /// How many cells of it.
    pub cost: Option<u32>,
    /// Whole request, connect to last byte.
    pub timeout_secs: Option<u64>,
    /// What the reply's body must be.
    #[serde(default)]
    pub expect: Expect,
    /// What replies to this request mean, before the rules for all.
    #[serde(default)]
    pub fault: Vec<FaultRule>,
}

/// Compiled [`Http`].
#[derive(Debug, Clone)]
pub(super) struct Base {
    address: Template,
    path: Option<Template>,
    headers: Vec<(String, Node)>,
    pub(super) timeout: Option<Duration>,
    pub(super) unwrap: Option<Unwrap>,
}

/// A compiled [`Request`].
#[derive(Debug, Clone)]
pub(super) struct Call {
    method: Option<String>,
    path: Option<Template>,
    url: Option<Template>,
    query: Vec<(String, Node)>,
    headers: Vec<(String, Node)>,
    body: Option<Node>,
    form: Vec<(String, Node)>,
    pub(super) gunzip: bool,
    pub(super) bucket: String,
    pub(super) cost: u32,
    timeout: Option<Duration>,
    pub(super) wants_json: bool,
    pub(super) rules: Vec<Rule>,
}

impl Http {
    pub(super) fn compile(&self, compiler: &mut Compiler) -> Base {
        let scope = compiler.scope(&[]);
        Base {
            address: compiler.template(&self.base, &scope, "http.base"),
            path: self
                .path
                .as_ref()
                .map(|path| compiler.template(path, &scope, "http.path")),
            headers: headers(&self.headers, compiler, &scope, "http.headers"),
            timeout: self.timeout_secs.map(Duration::from_secs),
            unwrap: self.tagged.as_ref().map(|tagged| tagged.compile(compiler)),
        }
    }
}

fn headers(
    trees: &BTreeMap<String, Tree>,
    compiler: &mut Compiler,
    scope: &Scope,
    path: &str,
) -> Vec<(String, Node)> {
    let nodes = trees.iter().map(|(name, tree)| {
        (
            name.to_ascii_lowercase(),
            compiler.tree(tree, scope, &format!("{path}.{name}")),
        )
    });
    nodes.collect()
}

/// Values by their names as written.
pub(super) fn named(
    trees: &BTreeMap<String, Tree>,
    compiler: &mut Compiler,
    scope: &Scope,
    path: &str,
) -> Vec<(String, Node)> {
    let nodes = trees.iter().map(|(name, tree)| {
        (
            name.clone(),
            compiler.tree(tree, scope, &format!("{path}.{name}")),
        )
    });
    nodes.collect()
}

impl Request {
    /// Compiles it; `limits` are checked for the bucket and the cost.
    pub(super) fn compile(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        scope: &Scope,
        path: &str,
    ) -> Call {
        let rule_scope = scope.clone().root("reply", Type::Dyn);
        let bucket = self.bucket.as_ref().map_or("default", Name::as_str);
        let cost = self.cost.unwrap_or(1);
        limits.check(self.bucket.as_ref(), cost, compiler, path);
        if let (Some(url), Some(_)) = (&self.url, &self.path) {
            let message = "`url` is the whole address: there is no `path` beside it";
            compiler.error(path, url.span(), message, None);
        }
        if self.body.is_some() && !self.form.is_empty() {
            let message = "a request has a `body` or a `form`, not both";
            compiler.error(path, 0..0, message, None);
        }
        Call {
            query: named(&self.query, compiler, scope, &format!("{path}.query")),
            form: named(&self.form, compiler, scope, &format!("{path}.form")),
            gunzip: self.gunzip,
            url: self
                .url
                .as_ref()
                .map(|text| compiler.template(text, scope, path)),
            method: self
                .method
                .as_ref()
                .map(|method| method.as_str().to_ascii_uppercase()),
            path: self
                .path
                .as_ref()
                .map(|text| compiler.template(text, scope, path)),
            headers: headers(&self.headers, compiler, scope, path),
            body: self
                .body
                .as_ref()
                .map(|tree| compiler.tree(tree, scope, &format!("{path}.body"))),
            bucket: bucket.to_owned(),
            cost,
            timeout: self.timeout_secs.map(Duration::from_secs),
            wants_json: self.expect == Expect::Json,
            rules: compile_rules(&self.fault, compiler, &rule_scope, &format!("{path}.fault")),
        }
    }
}

impl Base {
    /// The address before each path.
    pub(super) fn address(&self, frame: &Frame<'_>) -> Option<String> {
        self.address.eval_text(frame).ok()
    }

    /// How we call ourselves, where the manifest says.
    pub(super) fn user_agent(&self, frame: &Frame<'_>) -> Result<Option<String>, Trouble> {
        let known = self.headers.iter().find(|(name, _)| name == "user-agent");
        let value = known.map(|(_, node)| node.eval(frame)).transpose()?;
        Ok(flat(value.flatten()).into_iter().next())
    }
}

impl Call {
    /// Whether all that is done with the name `root` is to hand it on in the body.
    pub(super) fn only_hands_on(&self, root: &str) -> bool {
        let mut read = Reads::default();
        for text in self.path.iter().chain(&self.url) {
            text.reads(root, &mut read);
        }
        let mut nodes = self.query.iter().chain(&self.headers).chain(&self.form);
        // Rules about the reply may name anything.
        let elsewhere = read.any() || !self.rules.is_empty();
        let elsewhere = elsewhere || nodes.any(|(_, node)| node.names(root));
        !elsewhere
            && self
                .body
                .as_ref()
                .is_none_or(|body| body.only_hands_on(root))
    }

    /// Whether it goes to an address of its own, where nothing must prove who we are.
    pub(super) fn is_foreign(&self) -> bool {
        self.url.is_some()
    }

    /// The request that this call is for the values in `frame`.
    pub(super) fn build(
        &self,
        base: &Base,
        frame: &Frame<'_>,
        lane: Lane,
    ) -> Result<HttpRequest, Trouble> {
        let mut url = self.address(base, frame)?;
        let separator = if url.contains('?') { '&' } else { '?' };
        let query = pairs(&self.query, frame)?;
        if !query.is_empty() {
            url.push(separator);
            url.push_str(&query);
        }
        let mut headers: Vec<(String, HeaderValue)> = Vec::new();
        let shared = base.headers.iter();
        let shared = shared.filter(|(name, _)| !self.is_foreign() || name == "user-agent");
        for (name, node) in shared.chain(&self.headers) {
            let value = node.eval(frame).map_err(|trouble| trouble.within(name))?;
            headers.retain(|(known, _)| known != name);
            headers.extend(
                flat(value)
                    .into_iter()
                    .map(|value| (name.clone(), HeaderValue::Plain(value))),
            );
        }
        let body = self.payload(frame)?;
        if let Some((_, kind)) = &body
            && !headers.iter().any(|(name, _)| name == "content-type")
        {
            let kind = HeaderValue::Plain((*kind).to_owned());
            headers.push(("content-type".to_owned(), kind));
        }
        let method = self.method.clone();
        Ok(HttpRequest {
            method: method
                .unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned()),
            url,
            headers,
            body: body.map(|(bytes, _)| bytes),
            bucket: self.bucket.clone(),
            cost: self.cost,
            lane,
            timeout: self.timeout.or(base.timeout),
            changes: false,
        })
    }

    fn address(&self, base: &Base, frame: &Frame<'_>) -> Result<String, Trouble> {
        let text = |template: &Template, place: &str| {
            let text = template.eval_text(frame);
            text.map_err(|error| Trouble::new(&error).within(place))
        };
        if let Some(own) = &self.url {
            let url = text(own, "url")?;
            return if is_safe(&url) {
                Ok(url)
            } else {
                let why = "an address of its own must begin with https://, or be on this machine";
                Err(Trouble::told(why).within("url"))
            };
        }
        let mut url = text(&base.address, "base")?;
        if let Some(path) = self.path.as_ref().or(base.path.as_ref()) {
            url.push_str(&text(path, "path")?);
        }
        Ok(url)
    }

    /// The body, if there is one, and of which kind it is.
    fn payload(&self, frame: &Frame<'_>) -> Result<Option<(Bytes, &'static str)>, Trouble> {
        if let Some(node) = &self.body {
            let body = node
                .bytes(frame)
                .map_err(|trouble| trouble.within("body"))?;
            return Ok(Some((Bytes::from(body), "application/json")));
        }
        if self.form.is_empty() {
            return Ok(None);
        }
        let form = pairs(&self.form, frame)?;
        let kind = "application/x-www-form-urlencoded";
        Ok(Some((Bytes::from(form), kind)))
    }
}

/// `name=value&…`, encoded.
fn pairs(nodes: &[(String, Node)], frame: &Frame<'_>) -> Result<String, Trouble> {
    let mut text = String::new();
    for (name, node) in nodes {
        let value = node.eval(frame).map_err(|trouble| trouble.within(name))?;
        for value in flat(value) {
            if !text.is_empty() {
                text.push('&');
            }
            text.extend(utf8_percent_encode(name, QUERY));
            text.push('=');
            text.extend(utf8_percent_encode(&value, QUERY));
        }
    }
    Ok(text)
}

/// Whether what is sent there cannot be read on its way.
pub(super) fn is_safe(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else {
        return false;
    };
    match url.host() {
        Some(_) if url.scheme() == "https" => true,
        Some(_) if url.scheme() != "http" => false,
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The values of a query parameter: none for null, several for a list.
pub(super) fn flat(value: Option<Json>) -> Vec<String> {
    match value {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(items)) => items
            .into_iter()
            .flat_map(|item| flat(Some(item)))
            .collect(),
        Some(Json::String(text)) => vec![text],
        Some(other) => vec![other.to_string()],
    }
}

/// A request that could not be built from what a record or setting has: repeating cannot help.
pub(super) fn cannot_build(trouble: &Trouble) -> Fault {
    Fault::reject(
        "cannot_build",
        format!("the request cannot be made: {trouble}"),
    )
}

#[cfg(test)]
mod tests {
    use super::is_safe;

    /// An address that another system tells must not be one where everybody on the way can read.
    #[test]
    fn a_foreign_address_is_https_or_on_this_machine() {
        let cases = [
            ("https://bucket.test/in?X-Sig=1", true),
            ("http://127.0.0.1:8123/in", true),
            ("http://[::1]:8123/in", true),
            ("http://localhost/in", true),
            ("http://bucket.test/in", false),
            ("http://10.0.0.1/in", false),
            ("http://127.0.0.1.bucket.test/in", false),
            ("file:///etc/passwd", false),
            ("ftp://127.0.0.1/in", false),
            ("/in", false),
            ("", false),
        ];
        for (url, safe) in cases {
            assert_eq!(is_safe(url), safe, "{url}");
        }
    }
}
