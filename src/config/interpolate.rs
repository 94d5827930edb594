//! Placeholders in texts: `${env:NAME}`, `${file:/path}`, `${credential:NAME}`; `$${` is a plain
//! `${`.
//!
//! They are replaced after parsing, so that a value can never become syntax, and once: what comes
//! out of a placeholder is not searched again. What stands between the braces may itself hold
//! placeholders (`${file:${env:SECRETS}/erp}`).

use std::path::Path;

use super::codes;
use super::source::{Surroundings, io_reason};
use super::tree::{Node, Step, Value, path_text};
use crate::diagnostic::{Diagnostic, Diagnostics, did_you_mean};

/// The largest file that a placeholder can name, in bytes.
pub const MAX_VALUE_BYTES: u64 = 64 << 10;

/// How deep placeholders can stand in placeholders.
const MAX_DEPTH: usize = 4;

const KINDS: [&str; 3] = ["env", "file", "credential"];

/// What to do about a credential when there is no credentials directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Refuse: the daemon cannot work without.
    #[default]
    Needed,
    /// Take some text for it: the file is being checked where its secrets are not at hand.
    Assumed,
}

/// What stands for a credential that is not at hand.
pub(super) const ASSUMED: &str = "assumed";

/// Replaces the placeholders in all texts of a tree, except below `mapping`: a mapping is the same
/// wherever it runs, and its test data may hold any text.
pub fn interpolate(
    root: &mut Node,
    around: &dyn Surroundings,
    credentials: Credentials,
    findings: &mut Diagnostics,
) {
    let mut pass = Pass {
        around,
        credentials,
        findings,
        path: Vec::new(),
    };
    pass.node(root);
}

struct Pass<'a> {
    around: &'a dyn Surroundings,
    credentials: Credentials,
    findings: &'a mut Diagnostics,
    path: Vec<Step>,
}

struct Refused {
    code: &'static str,
    message: String,
    help: Option<String>,
}

impl Pass<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Table(entries) => {
                for (key, node) in entries {
                    if self.path.is_empty() && key == "mapping" {
                        continue;
                    }
                    self.path.push(Step::Key(key.clone()));
                    self.node(node);
                    self.path.pop();
                }
            }
            Value::List(items) => {
                for (index, node) in items.iter_mut().enumerate() {
                    self.path.push(Step::Index(index));
                    self.node(node);
                    self.path.pop();
                }
            }
            Value::Text { text, written } if text.contains("${") => match self.replace(text, 0) {
                Ok(replaced) => *written = Some(std::mem::replace(text, replaced)),
                Err(refused) => {
                    // It is a placeholder all the same, and no secret in the file.
                    *written = Some(text.clone());
                    let path = path_text(&self.path);
                    let mut finding = Diagnostic::error(refused.code, path, refused.message);
                    finding.place.clone_from(&node.place);
                    finding.help = refused.help;
                    self.findings.push(finding);
                }
            },
            _ => {}
        }
    }

    fn replace(&self, text: &str, depth: usize) -> Result<String, Refused> {
        if depth == MAX_DEPTH {
            return Err(malformed(format!(
                "more than {MAX_DEPTH} placeholders in each other"
            )));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = &after[2..];
                continue;
            }
            out.push_str(before);
            let inner = &after[2..];
            let end = closing_brace(inner)
                .ok_or_else(|| malformed("a placeholder has no closing `}`".to_owned()))?;
            let inside = self.replace(&inner[..end], depth + 1)?;
            out.push_str(&self.look_up(&inside)?);
            rest = &inner[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn look_up(&self, inside: &str) -> Result<String, Refused> {
        let (kind, name) = inside.split_once(':').unwrap_or((inside, ""));
        if !KINDS.contains(&kind) {
            let mut refused = malformed(format!("`${{{inside}}}` is no placeholder"));
            if let Some(meant) = did_you_mean(kind, KINDS) {
                refused.help = Some(format!("did you mean `${{{meant}:…}}`?"));
            } else if name.is_empty() && is_variable_name(inside) {
                refused.help = Some(format!(
                    "for an environment variable write `${{env:{inside}}}`"
                ));
            }
            return Err(refused);
        }
        if name.is_empty() {
            return Err(malformed(format!("`${{{kind}:}}` names nothing")));
        }
        match kind {
            "env" => self.variable(name),
            "file" => self.file(codes::NO_FILE, &format!("the file {name}"), Path::new(name)),
            _ => self.credential(name),
        }
    }

    fn variable(&self, name: &str) -> Result<String, Refused> {
        let Some(value) = self.around.var(name) else {
            return Err(Refused {
                code: codes::NO_VARIABLE,
                message: format!("the environment variable {name} is not set"),
                help: Some(format!(
                    "set it for the daemon (systemd: `Environment={name}=…`); secrets are better \
                     given as `${{credential:…}}`"
                )),
            });
        };
        value.into_string().map_err(|_| Refused {
            code: codes::NO_VARIABLE,
            message: format!("the environment variable {name} is not UTF-8"),
            help: None,
        })
    }

    fn credential(&self, name: &str) -> Result<String, Refused> {
        if name.contains('/') || name.starts_with('.') {
            return Err(malformed("a credential is a name, not a path".to_owned()));
        }
        let Some(directory) = self.around.var("CREDENTIALS_DIRECTORY") else {
            if self.credentials == Credentials::Assumed {
                return Ok(ASSUMED.to_owned());
            }
            return Err(Refused {
                code: codes::NO_CREDENTIAL,
                message: format!(
                    "the credential {name} is not at hand: CREDENTIALS_DIRECTORY is not set"
                ),
                help: Some(format!(
                    "systemd sets it for units with `LoadCredential={name}:/path`; by hand: \
                     CREDENTIALS_DIRECTORY=/folder crossdock …, or check with --assume-credentials"
                )),
            });
        };
        let path = Path::new(&directory).join(name);
        self.file(
            codes::NO_CREDENTIAL,
            &format!("the credential {name}"),
            &path,
        )
    }

    /// The content of a file without the line break at its end.
    fn file(&self, code: &'static str, what: &str, path: &Path) -> Result<String, Refused> {
        let refuse = |reason: String, help: Option<&str>| Refused {
            code,
            message: format!("{what} {reason}"),
            help: help.map(str::to_owned),
        };
        let bytes = self
            .around
            .read(path, MAX_VALUE_BYTES + 1)
            .map_err(|error| {
                let place = format!("looked for {}", path.display());
                refuse(
                    format!("cannot be read: {}", io_reason(&error)),
                    Some(&place),
                )
            })?;
        if bytes.len() as u64 > MAX_VALUE_BYTES {
            return Err(refuse("is larger than 64 KiB".to_owned(), None));
        }
        let text = String::from_utf8(bytes).map_err(|_| refuse("is not UTF-8".to_owned(), None))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(refuse("is empty".to_owned(), None));
        }
        Ok(text.to_owned())
    }
}

fn malformed(message: String) -> Refused {
    Refused {
        code: codes::BAD_PLACEHOLDER,
        message,
        help: Some(
            "placeholders are ${env:NAME}, ${file:/path} and ${credential:NAME}; write $${ for a \
             plain ${"
                .to_owned(),
        ),
    }
}

/// Where the brace that opened before `text` closes.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}
