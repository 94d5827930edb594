//! Findings for people (with the lines of the file, in colour or plain) and for programs (JSON).

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::check::looks_secret;
use super::codes;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

/// Whether findings are drawn in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For files, pipes and tests.
    Plain,
    /// For terminals.
    Colour,
}

/// All findings as a person reads them: errors first, then by place.
pub fn text(findings: &Diagnostics, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled(),
    };
    let mut out = String::new();
    for finding in sorted(findings) {
        out.push_str(&one(finding, &renderer));
        out.push_str("\n\n");
    }
    out
}

fn one(finding: &Diagnostic, renderer: &Renderer) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(finding.message.as_str())
        .id(finding.code);
    let file = finding
        .place
        .as_ref()
        .map(|(source, _)| source.path.display().to_string());
    let mut group = match (&finding.place, &file) {
        (Some((source, span)), Some(file)) => {
            let span = visible(&source.text, span.start, span.end);
            let text = without_secrets(&source.text, span.start);
            let annotation = AnnotationKind::Primary.span(span);
            let snippet = Snippet::source(text).path(file.as_str());
            title.element(snippet.annotation(annotation))
        }
        _ => annotate_snippets::Group::with_title(title),
    };
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// A span that is inside the text, on character boundaries and within one line: a value over many
/// lines is pointed at where it begins.
fn visible(text: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(start.min(text.len()));
    let end = text.ceil_char_boundary(end.clamp(start, text.len()));
    let line_end = text[start..end]
        .find(['\n', '\r'])
        .map_or(end, |at| start + at);
    start..line_end.max(start)
}

/// The text with the values of settings that look like secrets starred out in the line at `at`, the
/// only one that is shown. Nothing changes its place (story 55).
fn without_secrets(text: &str, at: usize) -> String {
    let start = text[..at]
        .rfind('\n')
        .map_or(0, |line_break| line_break + 1);
    let end = text[at..]
        .find('\n')
        .map_or(text.len(), |line_break| at + line_break);
    // Whoever knows the address of a webhook may write there.
    let mut above = text[..start].lines().rev();
    let section = above.find(|line| line.trim_start().starts_with('['));
    let is_hook = [section.unwrap_or(""), &text[start..end]]
        .iter()
        .any(|line| line.contains("webhook"));
    let is_secret = |key: &str| looks_secret(key) || (is_hook && key == "url");
    let mut out = text[..start].to_owned();
    let mut key = String::new();
    // Some(quote) inside a string, with whether it is a secret's value.
    let mut quoted: Option<(char, bool)> = None;
    let mut escaped = false;
    let mut is_value = false;
    for (at, c) in text[start..end].char_indices() {
        match quoted {
            Some((quote, _)) if c == quote && !escaped => {
                quoted = None;
                out.push(c);
            }
            Some((quote, secret)) => {
                escaped = c == '\\' && !escaped && quote == '"';
                out.extend(std::iter::repeat_n(
                    '*',
                    if secret { c.len_utf8() } else { 0 },
                ));
                out.extend((!secret).then_some(c));
                if !is_value {
                    key.push(c);
                }
            }
            None => {
                out.push(c);
                match c {
                    '"' | '\'' => {
                        let placeholder = text[start + at + 1..end].starts_with("${");
                        quoted = Some((c, is_value && is_secret(&key) && !placeholder));
                    }
                    '=' => is_value = true,
                    ',' | '{' | '.' if !is_value || c != '.' => {
                        is_value = false;
                        key.clear();
                    }
                    c if !is_value && !c.is_whitespace() => key.push(c),
                    _ => {}
                }
            }
        }
    }
    out.push_str(&text[end..]);
    out
}

/// All findings as one JSON value: `{"findings": [{severity, code, title, message, path, file,
/// line, column, help}]}`; line and column count from 1, the column in characters.
pub fn json(findings: &Diagnostics) -> Value {
    let all: Vec<Value> = sorted(findings).into_iter().map(one_json).collect();
    json!({ "findings": all })
}

fn one_json(finding: &Diagnostic) -> Value {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut out = json!({
        "severity": severity,
        "code": finding.code,
        "message": finding.message,
        "path": finding.path,
    });
    let place = finding.place.as_ref();
    let file = place.map(|(source, _)| source.path.display().to_string());
    let column = place.map(|(source, span)| {
        let before = source.text.get(..span.start).unwrap_or("");
        before.chars().rev().take_while(|c| *c != '\n').count() + 1
    });
    let optional = [
        ("title", codes::title(finding.code).map(Value::from)),
        ("file", file.map(Value::from)),
        ("line", finding.line().map(Value::from)),
        ("column", column.map(Value::from)),
        ("help", finding.help.clone().map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            out[name] = value;
        }
    }
    out
}

fn sorted(findings: &Diagnostics) -> Vec<&Diagnostic> {
    let mut all: Vec<&Diagnostic> = findings.0.iter().collect();
    all.sort_by_key(|finding| {
        let place = finding.place.as_ref();
        let place = place.map(|(source, span)| (source.path.clone(), span.start));
        (std::cmp::Reverse(finding.severity), place)
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_starred_out_in_place() {
        for (text, expected) in [
            ("a = 1\npassword = \"x\\\"y\"", "a = 1\npassword = \"****\""),
            (
                "s = { url = \"u\", api_key = 'k' }",
                "s = { url = \"u\", api_key = '*' }",
            ),
            (
                "settings.token = \"é\" # why",
                "settings.token = \"**\" # why",
            ),
            ("pin = \"${env:PIN}\"", "pin = \"${env:PIN}\""),
            ("path = \"password = x\"", "path = \"password = x\""),
        ] {
            assert_eq!(without_secrets(text, text.len()), expected);
            assert_eq!(without_secrets(text, text.len()).len(), text.len());
        }
    }
}
