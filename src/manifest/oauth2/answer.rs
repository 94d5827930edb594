//! What a token endpoint says (RFC 6749 sections 5.1 and 5.2).
//!
//! Only what says that the credentials are no good is a fault of class `auth`: everything else (5xx, 429, a page
//! of a proxy, a reply cut off) passes by itself, and the same tokens are handed in again later.

use std::time::Duration;

use rust_decimal::prelude::ToPrimitive;
use serde_json::Value as Json;

use super::Flow;
use crate::expr::Program;
use crate::fault::{Class, Fault};
use crate::manifest::fault::{Intent, Ruling, by_rules};
use crate::manifest::reply::Reply;
use crate::manifest::scope::Frame;
use crate::secret::Secret;

/// A reply that is foreseen.
pub(super) struct Answer {
    pub(super) access: Secret,
    /// For how long the access token is good.
    pub(super) good_for: Option<Duration>,
    /// A refresh token, where one came with it.
    pub(super) refresh: Option<Secret>,
    /// For how long the newest refresh token is good.
    pub(super) refresh_good_for: Option<Duration>,
}

impl Flow {
    /// What a reply means; `frame` knows it as `reply`.
    pub(super) fn answer(&self, frame: &Frame<'_>, reply: &Reply) -> Result<Answer, Fault> {
        let json = &reply.document["json"];
        match by_rules(&self.rules, frame, reply, Intent::Read) {
            Ruling::Fault(fault) => return Err(fault),
            Ruling::Ok => {}
            Ruling::Open => by_standard(json, reply)?,
        }
        let Some(access) = text(&json["access_token"]) else {
            let message =
                "the token endpoint answered without `access_token`: is `token_url` right?";
            return Err(Fault::config("token_not_understood", message));
        };
        let seconds = |program: &Option<Program>, fields: &[&str]| match program {
            Some(program) => program
                .eval(frame)
                .ok()
                .and_then(|it| it.as_number()?.to_u64()),
            None => fields.iter().find_map(|field| number(&json[*field])),
        };
        let refresh_fields = ["refresh_token_expires_in", "x_refresh_token_expires_in"];
        let good_for = seconds(&self.expires, &["expires_in"]);
        let refresh_good_for = seconds(&self.refresh_expires, &refresh_fields);
        let above_zero = |seconds: &u64| *seconds > 0;
        Ok(Answer {
            access,
            good_for: good_for.filter(above_zero).map(Duration::from_secs),
            refresh: text(&json["refresh_token"]),
            refresh_good_for: refresh_good_for.filter(above_zero).map(Duration::from_secs),
        })
    }
}

fn by_standard(json: &Json, reply: &Reply) -> Result<(), Fault> {
    if let Some(error) = json["error"].as_str() {
        return Err(refusal(error, reply));
    }
    if !(200..=299).contains(&reply.status) {
        return Err(by_status(reply));
    }
    match &reply.trouble {
        None => Ok(()),
        // A page of a proxy or a portal, or half a reply.
        Some(trouble) => {
            let message = format!("status {}, but {trouble}", reply.status);
            Err(temporary(trouble.code(), message, reply))
        }
    }
}

fn text(value: &Json) -> Option<Secret> {
    let text = value.as_str().filter(|text| !text.trim().is_empty())?;
    Some(Secret::new(text))
}

/// A number of seconds; some write it as a text.
fn number(value: &Json) -> Option<u64> {
    let read = |text: &str| text.trim().parse::<f64>().ok();
    let number = value.as_f64().or_else(|| value.as_str().and_then(read))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds within ten years"
    )]
    (0.0..3.2e8).contains(&number).then_some(number as u64)
}

/// What the codes of section 5.2, and those that others added, mean.
fn refusal(error: &str, reply: &Reply) -> Fault {
    // What else it says may repeat what it was given, and so may what is no code.
    let is_code = |c: char| c.is_ascii_lowercase() || c == '_';
    let code = if error.len() <= 40 && error.chars().all(is_code) {
        error
    } else {
        "it says why, in words of its own"
    };
    let message = match error {
        "invalid_grant" => {
            "the refresh token was refused (invalid_grant): it was withdrawn, has ended or was used up. \
             Authorise the application again over there, put the new refresh token where the configuration \
             takes it from, and reload"
                .to_owned()
        }
        "invalid_client" | "unauthorized_client" => format!(
            "the application was refused ({code}): check its id and secret, which may have ended, and \
             client_auth of the connector"
        ),
        "invalid_request" | "unsupported_grant_type" | "invalid_scope" | "invalid_target" => {
            let message = format!("the token endpoint does not take such a request ({code})");
            return Fault::config("token_request_refused", message);
        }
        "server_error" | "temporarily_unavailable" | "slow_down" | "too_many_requests"
        | "rate_limit_exceeded" => {
            return temporary("token_later", format!("the token endpoint says {code}"), reply);
        }
        // With a status that says nothing of the credentials.
        _ if reply.status >= 500 || matches!(reply.status, 408 | 425 | 429) => {
            return by_status(reply);
        }
        _ => format!(
            "the token endpoint refused the credentials ({code}): authorise the application again, and \
             check its id and secret"
        ),
    };
    Fault::auth("token_refused", message)
}

fn by_status(reply: &Reply) -> Fault {
    let status = reply.status;
    match status {
        401 => Fault::auth(
            "token_refused",
            "status 401: the token endpoint refused the application: check its id and secret",
        ),
        429 => {
            let message = "status 429: the token endpoint wants fewer requests";
            Fault::new(Class::Throttle, "throttled", message).wait(reply.retry_after)
        }
        300..=399 | 404 | 405 | 410 => {
            let message = format!("status {status}: there is no token endpoint at `token_url`");
            Fault::config("token_url_wrong", message)
        }
        // No token endpoint refuses without saying `error`: this is somebody in between.
        _ => temporary(
            "token_later",
            format!("status {status} of the token endpoint"),
            reply,
        ),
    }
}

fn temporary(code: &'static str, message: String, reply: &Reply) -> Fault {
    Fault::retry(code, message).wait(reply.retry_after)
}
