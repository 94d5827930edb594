//! The ways to people: a program, a webhook, a mail server. Each bounded in time, each tried again by itself.
//!
//! A channel that fails is counted and logged, and never the cause of an alert: it could not be told.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::alert::{Cause, Kind, Notice, Severity, Step, text};
use crate::clock::Clock;
use crate::config::{AlertSettings, HookSettings, HookStyle, MailTls, SmtpSettings};
use crate::fault::{Class, Fault};
use crate::id::uuid_at;
use crate::outbox::Backoff;
use crate::secret::Secret;
use crate::telemetry;
use crate::topology::Plan;
use crate::transport::http::{Client, HttpClient, HttpOptions, HttpRequest};
use crate::transport::mail::{Encryption, Letter, MailOptions, Mailer};

/// How long one message may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer of a webhook that is read.
const MAX_REPLY: usize = 64 << 10;
/// How many notices make one message.
const AT_ONCE: usize = 20;
/// How long a channel that failed is left alone: doubling, up to an hour.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_secs(10),
    max: Duration::from_secs(3600),
};

/// What a channel answered to a test: its name, and how it went.
pub type Answered = (&'static str, Result<(), Fault>);

/// One way to people.
#[derive(Debug)]
pub(super) struct Channel {
    pub name: &'static str,
    way: Way,
    failures: u32,
    not_before: Duration,
}

#[derive(Debug)]
enum Way {
    Command(Vec<String>),
    Webhook {
        http: Arc<dyn HttpClient>,
        url: Secret,
        style: HookStyle,
    },
    Mail(Mailer),
    /// It could not even be set up.
    Broken(Fault),
}

/// The channels that the configuration names.
pub(super) fn of(alert: &AlertSettings, clock: &Arc<dyn Clock>) -> Vec<Channel> {
    let mut ways: BTreeMap<&'static str, Result<Way, Fault>> = BTreeMap::new();
    if !alert.command.is_empty() {
        ways.insert("command", Ok(Way::Command(alert.command.clone())));
    }
    if let Some(hook) = &alert.webhook {
        ways.insert("webhook", webhook(hook, clock));
    }
    if let Some(smtp) = &alert.smtp {
        ways.insert("smtp", mail(smtp));
    }
    ways.into_iter()
        .map(|(name, way)| Channel {
            name,
            way: way.unwrap_or_else(Way::Broken),
            failures: 0,
            not_before: Duration::ZERO,
        })
        .collect()
}

fn webhook(hook: &HookSettings, clock: &Arc<dyn Clock>) -> Result<Way, Fault> {
    let options = HttpOptions {
        timeout: PATIENCE,
        max_body_bytes: MAX_REPLY,
        ..HttpOptions::default()
    };
    Ok(Way::Webhook {
        http: Arc::new(Client::new(options, Arc::clone(clock))?),
        url: hook.url.secret().clone(),
        style: hook.style,
    })
}

fn mail(smtp: &SmtpSettings) -> Result<Way, Fault> {
    let login = smtp.username.clone().zip(smtp.password.as_ref());
    let options = MailOptions {
        host: smtp.host.clone(),
        port: smtp.port,
        encryption: match smtp.tls {
            MailTls::Starttls => Encryption::Starttls,
            MailTls::Implicit => Encryption::Implicit,
            MailTls::None => Encryption::None,
        },
        from: smtp.from.clone(),
        to: smtp.to.clone(),
        login: login.map(|(user, password)| (user, password.secret().clone())),
        ca_file: smtp.ca_file.clone(),
        timeout: PATIENCE,
    };
    Mailer::new(&options).map(Way::Mail)
}

impl Channel {
    /// Tells the first of these, if it is time to; how many were told.
    pub async fn tell(&mut self, name: &str, owed: &[Notice], clock: &dyn Clock) -> usize {
        let count = owed.len().min(AT_ONCE);
        if count == 0 || clock.monotonic() < self.not_before {
            return 0;
        }
        match self.way.send(name, &owed[..count], clock).await {
            Ok(()) => {
                self.failures = 0;
                telemetry::alerts_sent(self.name, count);
                count
            }
            Err(fault) => {
                self.failures = self.failures.saturating_add(1);
                let wait = BACKOFF.delay(self.failures, u32::MAX);
                self.not_before = clock.monotonic() + wait;
                telemetry::alerts_not_sent(self.name, count, self.failures, &fault);
                0
            }
        }
    }
}

impl Way {
    async fn send(&self, name: &str, notices: &[Notice], clock: &dyn Clock) -> Result<(), Fault> {
        let sent = async {
            match self {
                Self::Command(command) => run(command, &text::json(name, notices)).await,
                Self::Webhook { http, url, style } => {
                    let body = match style {
                        HookStyle::Slack => text::slack(name, notices),
                        HookStyle::Json => text::json(name, notices),
                    };
                    post(http.as_ref(), url, &body).await
                }
                Self::Mail(mailer) => {
                    let at = clock.now();
                    let letter = Letter {
                        subject: text::subject(name, notices),
                        text: text::mail(notices),
                        at,
                        id: uuid_at(at, fastrand::u128(..)).simple().to_string(),
                    };
                    mailer.send(&letter).await
                }
                Self::Broken(fault) => Err(fault.clone()),
            }
        };
        tokio::select! {
            sent = sent => sent,
            () = clock.sleep(PATIENCE) => {
                let message = format!("it took longer than {} s", PATIENCE.as_secs());
                Err(Fault::retry("too_slow", message))
            }
        }
    }
}

/// The address is a secret: what went wrong is told without it.
async fn post(http: &dyn HttpClient, url: &Secret, body: &Value) -> Result<(), Fault> {
    let mut request = HttpRequest::new("POST", url.expose())
        .header("content-type", "application/json")
        .body(body.to_string());
    request.changes = true;
    let reply = http.send(request).await.map_err(|fault| Fault {
        message: "the webhook cannot be reached".to_owned(),
        ..fault
    })?;
    match reply.status {
        200..=299 => Ok(()),
        status => {
            let message = format!("the webhook answered {status}");
            Err(Fault::new(Class::Retry, "webhook_refused", message))
        }
    }
}

/// Killed when this is dropped.
async fn run(command: &[String], input: &Value) -> Result<(), Fault> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let failed = |what: &str| Fault::retry("command_failed", format!("{program} {what}"));
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&format!("cannot be started: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not want to read it need not.
        let _ = stdin.write_all(format!("{input}\n").as_bytes()).await;
    }
    let ended = child.wait().await;
    let status = ended.map_err(|error| failed(&format!("cannot be waited for: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(&format!("ended with {status}")))
    }
}

/// Sends a test to every channel of a plan; what each answered. Needs no daemon.
pub async fn test(plan: &Plan, clock: &Arc<dyn Clock>) -> Vec<Answered> {
    let at = clock.now();
    let notice = Notice {
        step: Step::Raised,
        cause: Cause::new(Kind::Test, "channels"),
        severity: Severity::Warning,
        text: "this is a test by `crossdock alert test`: nothing is wrong".to_owned(),
        since: at,
        at,
        more: 0,
    };
    let mut answered = Vec::new();
    for channel in of(&plan.alert, clock) {
        let notices = std::slice::from_ref(&notice);
        let answer = channel
            .way
            .send(&plan.alert.name, notices, clock.as_ref())
            .await;
        answered.push((channel.name, answer));
    }
    answered
}
