//! `[[fault]]`: what a reply means. The first rule that holds decides, then the table of defaults.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::reply::Reply;
use super::scope::{Compiler, Frame, holds};
use super::text::{Expr, Name, Text};
use crate::expr::{Program, Scope, Template};
use crate::fault::{Class, Effect, Fault};

/// What follows from a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// It is no fault at all.
    Ok,
    /// It will probably work later.
    Retry,
    /// The other side asked us to slow down.
    Throttle,
    /// This record cannot succeed as it is.
    Reject,
    /// The credentials were refused; a session is opened again once.
    Auth,
    /// The connection is set up wrongly.
    Config,
    /// Nobody foresaw this.
    Bug,
}

/// Whether the other side may have acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MayHaveActed {
    /// Certainly not.
    None,
    /// Perhaps.
    Unknown,
}

/// One rule.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// About `reply` (`status`, `headers`, `json`, `text`); false where something it names is absent or of another kind.
    pub when: Expr,
    /// What follows.
    pub class: Meaning,
    /// A stable name, such as `not_logged_in`.
    pub code: Option<Name>,
    /// One sentence. What a reply says is stripped of quoted texts and addresses (law D5).
    pub message: Option<Text>,
    /// Whether something may have happened; none for `reject`, `auth`, `throttle` and `config`,
    /// unknown for a write otherwise.
    pub effect: Option<MayHaveActed>,
    /// Seconds to wait, for `throttle` and `retry`.
    pub retry_after: Option<Expr>,
}

/// A compiled [`FaultRule`].
#[derive(Debug, Clone)]
pub(super) struct Rule {
    condition: Program,
    meaning: Meaning,
    code: String,
    message: Option<Template>,
    effect: Option<MayHaveActed>,
    retry_after: Option<Program>,
}

/// Compiles rules.
pub(super) fn compile(
    rules: &[FaultRule],
    compiler: &mut Compiler,
    scope: &Scope,
    path: &str,
) -> Vec<Rule> {
    let rules = rules.iter().enumerate();
    rules
        .map(|(n, rule)| {
            let path = format!("{path}[{n}]");
            if rule.class != Meaning::Ok && rule.code.is_none() {
                let help = Some("a short stable name, such as \"unknown_sku\"".to_owned());
                compiler.error(&path, rule.when.span(), "`code` is missing", help);
            }
            Rule {
                condition: compiler.expr(&rule.when, scope, &path),
                meaning: rule.class,
                code: rule
                    .code
                    .as_ref()
                    .map_or_else(String::new, |code| code.as_str().to_owned()),
                message: rule
                    .message
                    .as_ref()
                    .map(|text| compiler.template(text, scope, &path)),
                effect: rule.effect,
                retry_after: compiler.maybe(rule.retry_after.as_ref(), scope, &path),
            }
        })
        .collect()
}

/// What a request was for, which decides what is unknown when its reply does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Changes nothing over there.
    Read,
    /// May change something.
    Write,
}

impl Intent {
    /// A fault of a request with this intent: reading never has an effect.
    pub(super) fn settle(self, mut fault: Fault) -> Fault {
        if self == Self::Read {
            fault.effect = Effect::None;
        }
        fault
    }
}

/// The fault that a reply means, if any.
pub(super) fn classify(
    rules: &[&[Rule]],
    frame: &Frame<'_>,
    reply: &Reply,
    intent: Intent,
) -> Option<Fault> {
    for rules in rules {
        match by_rules(rules, frame, reply, intent) {
            Ruling::Open => {}
            Ruling::Ok => return None,
            Ruling::Fault(fault) => return Some(fault),
        }
    }
    by_default(reply).map(|fault| intent.settle(fault))
}

/// What rules make of a reply.
pub(super) enum Ruling {
    /// It is no fault.
    Ok,
    /// It is this one.
    Fault(Fault),
    /// None of them holds.
    Open,
}

/// The first rule that holds decides.
pub(super) fn by_rules(rules: &[Rule], frame: &Frame<'_>, reply: &Reply, intent: Intent) -> Ruling {
    for rule in rules {
        match holds(&rule.condition, frame) {
            Ok(false) => {}
            Ok(true) if rule.meaning == Meaning::Ok => return Ruling::Ok,
            Ok(true) => return Ruling::Fault(rule.fault(frame, reply, intent)),
            Err(trouble) => {
                let message = format!("a rule about replies could not be evaluated: {trouble}");
                let fault = Fault::bug("bad_fault_rule", message).after_sending();
                return Ruling::Fault(intent.settle(fault));
            }
        }
    }
    Ruling::Open
}

impl Rule {
    fn fault(&self, frame: &Frame<'_>, reply: &Reply, intent: Intent) -> Fault {
        let class = match self.meaning {
            Meaning::Ok | Meaning::Bug => Class::Bug,
            Meaning::Retry => Class::Retry,
            Meaning::Throttle => Class::Throttle,
            Meaning::Reject => Class::Reject,
            Meaning::Auth => Class::Auth,
            Meaning::Config => Class::Config,
        };
        let told = self
            .message
            .as_ref()
            .and_then(|text| text.eval_text(frame).ok());
        let message = told.map_or_else(
            || format!("status {}", reply.status),
            |text| discreet(&text),
        );
        let wait = self
            .retry_after
            .as_ref()
            .and_then(|program| seconds(program, frame));
        let unknown = match self.effect {
            Some(effect) => effect == MayHaveActed::Unknown,
            None => matches!(class, Class::Retry | Class::Bug),
        };
        let mut fault =
            Fault::new(class, self.code.clone(), message).wait(wait.or(reply.retry_after));
        if unknown {
            fault = fault.after_sending();
        }
        intent.settle(fault)
    }
}

fn seconds(program: &Program, frame: &Frame<'_>) -> Option<Duration> {
    let number = program.eval(frame).ok()?.as_number()?;
    let millis = (number * rust_decimal::Decimal::ONE_THOUSAND).trunc();
    u64::try_from(millis.mantissa())
        .ok()
        .map(Duration::from_millis)
}

/// What statuses mean where no rule says otherwise. Effects are those of a write.
fn by_default(reply: &Reply) -> Option<Fault> {
    let status = reply.status;
    let retry = |code: &'static str, message: String| {
        Some(
            Fault::retry(code, message)
                .after_sending()
                .wait(reply.retry_after),
        )
    };
    match status {
        200..=299 => match &reply.trouble {
            None => None,
            Some(trouble) => retry(trouble.code(), format!("status {status}, but {trouble}")),
        },
        300..=399 => Some(Fault::config(
            "redirected",
            format!("status {status}: the address has moved; set the new one"),
        )),
        401 | 403 => Some(Fault::auth(
            "refused",
            format!("status {status}: the credentials were refused"),
        )),
        408 => retry(
            "timeout_there",
            "status 408: the other side gave up waiting".to_owned(),
        ),
        425 => Some(Fault::retry("too_early", "status 425: too early")),
        429 => Some(
            Fault::new(
                Class::Throttle,
                "throttled",
                "status 429: too many requests",
            )
            .wait(reply.retry_after),
        ),
        404 | 410 => Some(Fault::reject(
            "not_found",
            format!("status {status}: not there"),
        )),
        400..=499 => Some(Fault::reject("refused", format!("status {status}"))),
        500..=599 => retry("server_error", format!("status {status}")),
        _ => Some(
            Fault::bug("odd_status", format!("status {status} is not foreseen")).after_sending(),
        ),
    }
}

/// What another system says, without quoted texts and e-mail addresses: they may be personal data.
pub fn discreet(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(300));
    let mut closing = None;
    for c in text.chars() {
        match closing {
            Some(end) if c == end => {
                closing = None;
                out.push('…');
                out.push(c);
            }
            Some(_) => {}
            None => {
                closing = match c {
                    '"' => Some('"'),
                    '“' | '„' => Some('”'),
                    '«' => Some('»'),
                    _ => None,
                };
                out.push(if c.is_control() { ' ' } else { c });
            }
        }
    }
    let words: Vec<&str> = out
        .split_whitespace()
        .map(|word| if word.contains('@') { "…" } else { word })
        .collect();
    let mut text = words.join(" ");
    if let Some((end, _)) = text.char_indices().nth(300) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law D5: what a remote system says about a record may name a person.
    #[test]
    fn messages_of_others_lose_what_they_quote() {
        let said =
            "The e-mail \"ann@example.com\" of party \"Ann Buyer\" is used by bob@example.com.";
        assert_eq!(
            discreet(said),
            "The e-mail \"…\" of party \"…\" is used by …"
        );
        assert!(discreet(&"x".repeat(1000)).chars().count() <= 301);
    }
}
