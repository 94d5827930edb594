//! What the type and the bounds of a single setting cannot say. Pure; every finding is reported.

use std::collections::BTreeSet;

use super::codes;
use super::interpolate::ASSUMED;
use super::tree::{Document, Node, Step, Value};
use super::{
    AlertSettings, Config, ConnectionSettings, HookStyle, MailTls, PublishSettings, SmtpSettings,
    StoreEngine,
};
use crate::diagnostic::{Diagnostics, Severity};
use crate::record::Sku;

/// The longest name, in characters.
pub const MAX_NAME_CHARS: usize = 40;

/// The shortest part of an address that nobody guesses, in characters.
const MIN_PATH_SECRET: usize = 16;

/// The longest path of a Unix socket, in bytes: what fits in `sockaddr_un` with its final zero.
const MAX_SOCKET_BYTES: usize = 107;

/// Checks one section of named tables for names that cannot be used everywhere a name appears:
/// in endpoints, metrics, file names.
pub fn names(document: &Document, section: &str, findings: &mut Diagnostics) {
    for name in document.names(section) {
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
        let rest = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if first && rest && name.chars().count() <= MAX_NAME_CHARS {
            continue;
        }
        let path = [Step::from(section), Step::from(name)];
        let message = format!("`{name}` cannot be a name in [{section}]");
        let finding = document.finding(Severity::Error, codes::BAD_NAME, &path, message);
        let help = format!(
            "a name begins with a letter from a to z, goes on with letters, digits, `_` and `-`, \
             and has at most {MAX_NAME_CHARS} characters"
        );
        findings.push(super::section::at_key(document, &path, true, finding).help(help));
    }
}

/// Checks what two settings say together.
pub fn settings(config: &Config, document: &Document, findings: &mut Diagnostics) {
    process(config, document, findings);
    limits(config, document, findings);
    for (name, connection) in &config.connection {
        let http = &connection.http;
        if http.connect_timeout_secs > http.timeout_secs {
            let path = ["connection", name.as_str(), "http", "connect_timeout_secs"];
            let message = format!(
                "`connect_timeout_secs` is {}, but the whole request ends after {} s",
                http.connect_timeout_secs, http.timeout_secs
            );
            let finding = document.error(codes::CONTRADICTION, &path, message);
            findings.push(finding.help("make it at most `timeout_secs`"));
        }
    }
    for (name, connection) in &config.connection {
        path_secret(name.as_str(), connection, document, findings);
    }
    for (name, rule) in &config.publish {
        publish(name, rule, document, findings);
    }
    alert(&config.alert, document, findings);
    inline_secrets(document, findings);
}

/// Channels that could never tell anybody anything.
fn alert(alert: &AlertSettings, document: &Document, findings: &mut Diagnostics) {
    let mut wrong = |path: &[&str], message: String, help: &str| {
        let finding = document.error(codes::BAD_VALUE, path, message);
        findings.push(finding.help(help));
    };
    if jiff::tz::TimeZone::get(&alert.time_zone).is_err() {
        let message = format!("there is no time zone `{}`", alert.time_zone);
        wrong(
            &["alert", "time_zone"],
            message,
            "write it as Europe/Berlin",
        );
    }
    if let Some(program) = alert.command.first()
        && !program.starts_with('/')
    {
        let message = format!("`{program}` is no absolute path");
        let help =
            "write the whole path of the program: it is started without a shell and without PATH";
        wrong(&["alert", "command"], message, help);
    }
    if let Some(hook) = &alert.webhook {
        let written = hook.url.secret().expose();
        let url = url::Url::parse(written).ok();
        if written != ASSUMED
            && !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        {
            let message = "the address of the webhook is none".to_owned();
            wrong(
                &["alert", "webhook", "url"],
                message,
                "write it as https://host/path",
            );
        }
    }
    inline_hook(alert, document, findings);
    if let Some(smtp) = &alert.smtp {
        letters(smtp, document, findings);
    }
}

/// Whoever knows the address of a chat's webhook may write there; an address of one's own is no secret.
fn inline_hook(alert: &AlertSettings, document: &Document, findings: &mut Diagnostics) {
    let path = ["alert", "webhook", "url"];
    let slack = alert.webhook.as_ref().map(|hook| hook.style) == Some(HookStyle::Slack);
    let node = document.root.get(&path.map(Step::from));
    let inline = node.is_some_and(|node| matches!(&node.value, Value::Text { written: None, .. }));
    if slack && inline {
        let message = "the address of the webhook, a secret, stands in the file itself";
        let help =
            "give it as a credential of systemd and write url = \"${credential:alert_webhook}\"";
        findings.push(
            document
                .warning(codes::INLINE_SECRET, &path, message)
                .help(help),
        );
    }
}

/// Mail that could never be sent.
fn letters(smtp: &SmtpSettings, document: &Document, findings: &mut Diagnostics) {
    let mut wrong = |path: &[&str], message: String, help: &str| {
        let finding = document.error(codes::BAD_VALUE, path, message);
        findings.push(finding.help(help));
    };
    let is_address = |text: &str| {
        let inside = text.rsplit_once('<').map_or(text, |(_, rest)| rest);
        let (who, host) = inside
            .trim_end_matches('>')
            .split_once('@')
            .unwrap_or_default();
        let plain = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
        text == ASSUMED || plain(who) && plain(host) && !text.contains(char::is_control)
    };
    let help = "write it as alerts@example.com";
    if !is_address(&smtp.from) {
        let message = "`from` is no mail address".to_owned();
        wrong(&["alert", "smtp", "from"], message, help);
    }
    if !smtp.to.iter().all(|to| is_address(to)) {
        let message = "`to` holds something that is no mail address".to_owned();
        wrong(&["alert", "smtp", "to"], message, help);
    }
    if smtp.username.is_some() != smtp.password.is_some() {
        let message = "`username` and `password` belong together".to_owned();
        let finding = document.error(codes::CONTRADICTION, &["alert", "smtp"], message);
        findings.push(finding.help("give both, or neither"));
    }
    if smtp.password.is_some() && smtp.tls == MailTls::None {
        let message = "the password would cross the network in the clear".to_owned();
        let finding = document.error(codes::CONTRADICTION, &["alert", "smtp", "tls"], message);
        findings.push(finding.help("set tls = \"starttls\" or \"implicit\""));
    }
}

/// It stands in an address, and somebody may try them one after the other.
fn path_secret(
    name: &str,
    connection: &ConnectionSettings,
    document: &Document,
    findings: &mut Diagnostics,
) {
    let Some(secret) = &connection.webhook.path_secret else {
        return;
    };
    let secret = secret.expose();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if secret.len() >= MIN_PATH_SECRET && secret.chars().all(fits) {
        return;
    }
    let path = ["connection", name, "webhook", "path_secret"];
    let message = format!(
        "`path_secret` must have at least {MIN_PATH_SECRET} characters, each a letter, a digit, `-` or `_`"
    );
    let finding = document.error(codes::BAD_VALUE, &path, message);
    findings.push(finding.help("`openssl rand -hex 16` makes one"));
}

fn process(config: &Config, document: &Document, findings: &mut Diagnostics) {
    if !config.server.listen.ip().is_loopback() {
        let message = format!("the server listens on {}", config.server.listen);
        let help = "everybody who reaches it sees the dashboard and the metrics: put a proxy that \
                    asks for a login in front, or listen on 127.0.0.1";
        let path = ["server", "listen"];
        findings.push(document.warning(codes::EXPOSED, &path, message).help(help));
    }
    if let Some(url) = &config.server.webhook_url {
        let known = url::Url::parse(url).ok();
        let fits = known.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if !fits {
            let message = "`webhook_url` is no address that webhooks could be sent to";
            let finding = document.error(codes::BAD_VALUE, &["server", "webhook_url"], message);
            findings.push(finding.help("write it as https://hooks.example.com"));
        }
    }
    if config.store.engine == StoreEngine::Memory {
        let message =
            "the store is in memory: at exit, links, queued orders and positions are lost";
        let path = ["store", "engine"];
        let finding = document.warning(codes::FORGETFUL, &path, message);
        findings.push(finding.help("only for trying things out; use engine = \"sled\""));
    }
    if config.store.ballast_bytes > config.store.min_free_bytes {
        let message = "`ballast_bytes` is more than `min_free_bytes`";
        let path = ["store", "ballast_bytes"];
        let finding = document.error(codes::CONTRADICTION, &path, message);
        findings.push(finding.help(
            "the ballast is given up when less than min_free_bytes are free: make it smaller",
        ));
    }
    if let Some(socket) = &config.server.admin_socket {
        let bytes = socket.as_os_str().len();
        if bytes > MAX_SOCKET_BYTES {
            let message = format!(
                "the path of the admin socket has {bytes} bytes; \
                 the system allows {MAX_SOCKET_BYTES}"
            );
            let path = ["server", "admin_socket"];
            let finding = document.error(codes::BAD_VALUE, &path, message);
            findings.push(finding.help("set server.admin_socket to a shorter one"));
        }
    }
}

fn limits(config: &Config, document: &Document, findings: &mut Diagnostics) {
    let limits = &config.limits;
    let (first, max) = (limits.retry_first_ms, limits.retry_max_secs);
    let (max_ms, age) = (max.saturating_mul(1000), limits.retry_max_age_secs);
    let ordered = [
        (
            "retry_first_ms",
            first,
            first > max_ms,
            "retry_max_secs",
            max,
        ),
        ("retry_max_secs", max, max > age, "retry_max_age_secs", age),
    ];
    for (small, less, is_longer, large, more) in ordered {
        if is_longer {
            let message = format!("`{small}` is {less}, longer than `{large}`, which is {more}");
            let finding = document.error(codes::CONTRADICTION, &["limits", small], message);
            let help = format!("make `{small}` shorter, or `{large}` longer");
            findings.push(finding.help(help));
        }
    }
}

fn publish(name: &str, rule: &PublishSettings, document: &Document, findings: &mut Diagnostics) {
    let mut bounds = |path: &[&str], min: u32, max: Option<u32>| {
        if let Some(max) = max.filter(|max| min > *max) {
            let message = format!("`min` is {min}, but `max` is {max}");
            let finding = document.error(codes::CONTRADICTION, path, message);
            findings.push(finding.help("make `min` at most `max`"));
        }
    };
    bounds(&["publish", name, "min"], rule.min, rule.max);
    for (sku, item) in &rule.item {
        if item.min.is_some() || item.max.is_some() {
            let setting = if item.min.is_some() { "min" } else { "max" };
            let path = ["publish", name, "item", sku, setting];
            bounds(&path, item.min.unwrap_or(rule.min), item.max.or(rule.max));
        }
    }
    let mut seen: BTreeSet<Sku> = BTreeSet::new();
    for written in rule.item.keys() {
        let path: Vec<Step> = ["publish", name, "item", written].map(Step::from).to_vec();
        let (code, message) = match Sku::new(written).map(|sku| seen.insert(sku)) {
            Ok(true) => continue,
            Ok(false) => {
                let message = format!("`{written}` is the same SKU as another one of these");
                (codes::TWICE, message)
            }
            Err(fault) => (codes::BAD_NAME, fault.message),
        };
        let finding = document.finding(Severity::Error, code, &path, message);
        let finding = super::section::at_key(document, &path, true, finding);
        findings.push(finding.help("SKUs are compared trimmed and in Unicode's form NFC"));
    }
}

/// Warns about settings of connections and channels that look like secrets and stand in the file itself.
fn inline_secrets(document: &Document, findings: &mut Diagnostics) {
    for connection in document.names("connection") {
        for section in ["settings", "webhook"] {
            let path = ["connection", connection, section].map(Step::from);
            if let Some(settings) = document.root.get(&path) {
                let mut path = path.to_vec();
                secrets_below(settings, connection, document, &mut path, findings);
            }
        }
    }
    let path = ["alert"].map(Step::from);
    if let Some(settings) = document.root.get(&path) {
        secrets_below(settings, "alert", document, &mut path.to_vec(), findings);
    }
}

fn secrets_below(
    node: &Node,
    connection: &str,
    document: &Document,
    path: &mut Vec<Step>,
    findings: &mut Diagnostics,
) {
    let Some(entries) = node.table() else {
        return;
    };
    for (key, child) in entries {
        path.push(Step::Key(key.clone()));
        let inline =
            matches!(&child.value, Value::Text { text, written: None } if !text.is_empty());
        if inline && looks_secret(key) {
            let message = format!("the secret `{key}` stands in the file itself");
            let help = format!(
                "give it as a credential of systemd and write \
                 {key} = \"${{credential:{connection}_{key}}}\""
            );
            let finding = document.finding(Severity::Warning, codes::INLINE_SECRET, path, message);
            let finding = super::section::at_key(document, path, true, finding);
            findings.push(finding.help(help));
        }
        secrets_below(child, connection, document, path, findings);
        path.pop();
    }
}

/// Whether a setting of that name is a secret, as far as its name tells.
pub fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let whole = [
        "token",
        "secret",
        "pin",
        "passphrase",
        "password",
        "passwd",
        "credentials",
    ];
    let tail = [
        "_token",
        "_secret",
        "_password",
        "_key",
        "_pin",
        "_passphrase",
    ];
    whole.contains(&key.as_str()) || key == "apikey" || tail.iter().any(|tail| key.ends_with(tail))
}
