//! Who may ask: Login with Amazon, access tokens, and tokens for data about people.
//!
//! ```text
//! POST /auth/o2/token  grant_type=refresh_token&refresh_token=…&client_id=…&client_secret=…   (a form)
//!      200 {access_token, refresh_token, token_type: bearer, expires_in}
//!      400 {error: invalid_grant | unsupported_grant_type | invalid_request, error_description}
//!      401 {error: invalid_client, …}
//! POST /tokens/2021-03-01/restrictedDataToken {restrictedResources: [{method, path, dataElements?}]}
//!      200 {restrictedDataToken, expiresIn}
//! ```
//!
//! Every other request needs `x-amz-access-token`. The orders API of 2026-01-01 shows buyers to whoever
//! has that role, without a token of its own; the operations of version 0 about people want one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{Market, State, api};
use crate::clock::{Timestamp, later};
use crate::sandbox::serve::{Call, Reply};

/// The application's id and the merchant's grant; the secret is that of all practice systems.
const CLIENT_ID: &str = "crossdock";
const SECRET: &str = "practice";

/// The tokens that are good at the moment.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    last: u64,
    live: BTreeMap<String, Grant>,
}

#[derive(Debug)]
struct Grant {
    expires: Timestamp,
    /// Method and path of what it is for; none for an ordinary token.
    only: Option<Vec<(String, String)>>,
}

impl Tokens {
    fn issue(
        &mut self,
        prefix: &str,
        expires: Timestamp,
        only: Option<Vec<(String, String)>>,
    ) -> String {
        self.last += 1;
        let token = format!("{prefix}practice-{}", self.last);
        self.live.insert(token.clone(), Grant { expires, only });
        token
    }

    /// Forgets all; says whether there were any.
    pub(super) fn clear(&mut self) -> bool {
        let any = !self.live.is_empty();
        self.live.clear();
        any
    }

    /// Whether a request may pass. `restricted`: only with a token made for it.
    pub(super) fn check(
        &mut self,
        call: &Call,
        restricted: bool,
        now: Timestamp,
    ) -> Result<(), Reply> {
        self.live.retain(|_, grant| grant.expires > now);
        let denied = |details: &str| {
            api::error_with(
                403,
                "Unauthorized",
                "Access to requested resource is denied.",
                details,
            )
        };
        let Some(token) = call.headers.get("x-amz-access-token") else {
            return Err(denied("Access token is missing in the request header."));
        };
        let Some(grant) = self.live.get(token) else {
            let was_ours = token.contains("practice-");
            return Err(denied(if was_ours {
                "The access token you provided has expired."
            } else {
                "The access token you provided is revoked, malformed or invalid."
            }));
        };
        let is_for_it = match &grant.only {
            None => !restricted,
            Some(resources) => resources
                .iter()
                .any(|(method, path)| *method == call.method && covers(path, &call.path)),
        };
        if is_for_it { Ok(()) } else { Err(denied("")) }
    }
}

/// Whether a resource of a restricted token, which may have `{orderId}` in it, means this path.
fn covers(resource: &str, path: &str) -> bool {
    let (mut wanted, mut there) = (resource.split('/'), path.split('/'));
    loop {
        match (wanted.next(), there.next()) {
            (None, None) => return true,
            (Some(part), Some(_)) if part.starts_with('{') => {}
            (Some(part), Some(other)) if part == other => {}
            _ => return false,
        }
    }
}

impl Market {
    /// Login with Amazon. Its errors look different from the API's.
    pub(super) fn login(
        &self,
        state: &mut State,
        call: &Call,
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        let refuse = |status, error: &str, text: &str| {
            Reply::json(
                status,
                &json!({ "error": error, "error_description": text }),
            )
        };
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(&call.body)
            .into_owned()
            .collect();
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        match field("grant_type") {
            "refresh_token" => {}
            "" => {
                let text = "The request is missing a required parameter : grant_type";
                return Err(refuse(400, "invalid_request", text));
            }
            _ => {
                let text = "The authorization grant type is not supported";
                return Err(refuse(400, "unsupported_grant_type", text));
            }
        }
        if field("client_id") != CLIENT_ID || field("client_secret") != SECRET {
            let text = "Client authentication failed";
            return Err(refuse(401, "invalid_client", text));
        }
        if field("refresh_token") != SECRET {
            let text = "The request has an invalid grant parameter : refresh_token";
            return Err(refuse(400, "invalid_grant", text));
        }
        let life = self.options.token_life;
        let token = state.tokens.issue("Atza|", later(now, life), None);
        Ok(Reply::ok(&json!({
            "access_token": token,
            "refresh_token": SECRET,
            "token_type": "bearer",
            "expires_in": life.as_secs(),
        })))
    }

    /// A token for data about people.
    pub(super) fn restricted_token(
        &self,
        state: &mut State,
        call: &Call,
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wanted {
            restricted_resources: Vec<Resource>,
        }
        #[derive(Deserialize)]
        struct Resource {
            method: String,
            path: String,
        }
        let wanted: Wanted = api::body(call)?;
        let resources = wanted.restricted_resources.into_iter();
        let resources: Vec<_> = resources.map(|one| (one.method, one.path)).collect();
        let is_known = |path: &str| path.starts_with("/orders/v0/orders");
        let all_known = resources
            .iter()
            .all(|(method, path)| method == "GET" && is_known(path));
        if resources.is_empty() || resources.len() > 50 || !all_known {
            return Err(api::error_with(
                400,
                "InvalidRequest",
                "Request is missing or has invalid parameters",
                "Resource not provided.",
            ));
        }
        let life = self.options.token_life;
        let token = state
            .tokens
            .issue("Atz.sprdt|", later(now, life), Some(resources));
        Ok(Reply::ok(&json!({
            "restrictedDataToken": token,
            "expiresIn": life.as_secs(),
        })))
    }
}
