//! Single cells: what a spreadsheet would run, and words that stand for numbers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::csv::fold;

/// Whether a spreadsheet would run this text as a formula instead of showing it.
pub fn is_formula(text: &str) -> bool {
    matches!(
        text.bytes().next(),
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r')
    )
}

/// A cell that any spreadsheet shows as it is: what would run is put behind an apostrophe (OWASP, CSV
/// injection). Signed numbers stay as they are; nothing runs in them.
///
/// For what we export only; nothing that comes in is changed.
pub fn shown(text: &str) -> Cow<'_, str> {
    if is_formula(text) && !is_signed_number(text) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

fn is_signed_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or_default();
    digits.bytes().any(|b| b.is_ascii_digit())
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
}

/// What a supplier writes instead of a number: `>100`, `auf Lager`, `ausverkauft`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(BTreeMap<String, Decimal>);

impl Words {
    /// From the feed's table. Compared without regard to case, width and kind of spaces.
    pub fn new<'a>(table: impl IntoIterator<Item = (&'a str, Decimal)>) -> Self {
        Self(
            table
                .into_iter()
                .map(|(word, value)| (fold(word), value))
                .collect(),
        )
    }

    /// What this text stands for.
    pub fn get(&self, text: &str) -> Option<Decimal> {
        if self.0.is_empty() || text.is_empty() {
            return None;
        }
        self.0.get(&fold(text)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_run_is_shown_instead() {
        let cases = [
            ("=HYPERLINK(\"x\")", "'=HYPERLINK(\"x\")"),
            ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-1-2", "'-1-2"),
            ("\t=1", "'\t=1"),
            ("-5", "-5"),
            ("+4.5", "+4.5"),
            ("-", "'-"),
            ("0017", "0017"),
            ("", ""),
        ];
        for (text, expect) in cases {
            assert_eq!(shown(text), expect, "{text}");
        }
    }

    #[test]
    fn words_are_found_however_they_are_written() {
        let words = Words::new([
            (">100", Decimal::from(100)),
            ("Auf Lager", Decimal::from(5)),
        ]);
        assert_eq!(words.get("auf  lager"), Some(Decimal::from(5)));
        assert_eq!(words.get("AUF\u{a0}LAGER "), Some(Decimal::from(5)));
        assert_eq!(words.get("\u{ff1e}100"), Some(Decimal::from(100)));
        assert_eq!(words.get("bald"), None);
        assert_eq!(words.get(""), None);
    }
}
