//! What is wrong in configuration: in a merchant's TOML file, a mapping, a manifest.
//!
//! Reading configuration collects *all* findings and reports them at once, each with file, line,
//! excerpt, what is wrong and how to fix it. This module holds the finding; `config/render.rs` draws it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A text that diagnostics point into.
#[derive(PartialEq, Eq)]
pub struct SourceText {
    /// Where it was read from, as the user wrote it.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// Shows where the text is from, not the text: somebody may have written a secret into it (story 55).
impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Works, but probably not as meant.
    Warning,
    /// Refused.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable code, `X0203`; `crossdock explain X0203` shows its page.
    pub code: &'static str,
    /// What is wrong, in one lower-case sentence without a full stop.
    pub message: String,
    /// Which setting: `route.orders.to`.
    pub path: String,
    /// The text it stands in and the bytes to underline; `None` for what has no place in a file.
    pub place: Option<(Arc<SourceText>, Range<usize>)>,
    /// How to fix it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding that refuses the configuration.
    pub fn error(code: &'static str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            path: path.into(),
            place: None,
            help: None,
        }
    }

    /// A finding that lets the configuration pass.
    pub fn warning(
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, path, message)
        }
    }

    /// The same finding with a place to underline.
    #[must_use]
    pub fn at(mut self, text: &Arc<SourceText>, span: Range<usize>) -> Self {
        self.place = Some((Arc::clone(text), span));
        self
    }

    /// The same finding with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The line (from 1) that it points to.
    pub fn line(&self) -> Option<usize> {
        let (source, span) = self.place.as_ref()?;
        let before = source.text.get(..span.start)?;
        Some(before.matches('\n').count() + 1)
    }
}

/// All findings about one configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, finding: Diagnostic) {
        self.0.push(finding);
    }

    /// Adds all of another's.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether anything here refuses the configuration.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// `Ok(value)` unless something here refuses it.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.has_errors() {
            Err(self)
        } else {
            Ok(value)
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "[{}] {}: {}",
                finding.code, finding.path, finding.message
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// "Did you mean …?": the known name closest to `name`, if one is close enough to be a slip.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count().min(12) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_slips() {
        assert_eq!(
            did_you_mean("conection", ["connection", "route"]),
            Some("connection")
        );
        assert_eq!(did_you_mean("zzz", ["connection", "route"]), None);
    }

    #[test]
    fn a_finding_knows_its_line() {
        let text = Arc::new(SourceText {
            path: "a.toml".into(),
            text: "a = 1\nb = 2\n".into(),
        });
        let finding = Diagnostic::error("X0001", "b", "wrong").at(&text, 6..7);
        assert_eq!(finding.line(), Some(2));
    }
}
