//! A proposal for how a file is written: for a person to read, correct and paste, never applied by
//! itself.

mod words;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::csv::{CsvReader, Dialect, Limits, Next, Problem};
use super::encoding::{Charset, Probe};
use super::number::trim;

/// Rows that are looked at.
const ROWS: usize = 200;

/// What a file looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// How it is written.
    pub dialect: Dialect,
    /// The names of the columns, as written.
    pub columns: Vec<String>,
    /// Field and the column that probably holds it.
    pub mapping: Vec<(&'static str, String)>,
    /// `.` or `,`; `None` when no number with a fraction was seen.
    pub decimal_mark: Option<char>,
    /// What a person should look at.
    pub notes: Vec<String>,
}

/// Looks at the beginning of a file (about a megabyte is plenty).
pub fn sniff(bytes: &[u8]) -> Proposal {
    let mut notes = Vec::new();
    let charset = propose_charset(bytes, &mut notes);
    let best = candidates(charset)
        .map(|dialect| (dialect, Shape::of(bytes, dialect)))
        .reduce(|best, other| if other.1.beats(&best.1) { other } else { best });
    let (mut dialect, shape) = best.unwrap_or_default();
    if shape.width <= 1 {
        notes.push("no delimiter was found: every row is one cell".to_owned());
    }
    let first = shape.first_full_row();
    if let Some(row) = first {
        dialect.skip_lines = row.line - 1;
        dialect.header = looks_like_header(row, &shape.rows);
    }
    let columns = match first {
        Some(row) if dialect.header => row.cells.clone(),
        _ => Vec::new(),
    };
    if first.is_some() && !dialect.header {
        notes.push("the first row looks like data: give columns by their number".to_owned());
    }
    if shape.odd > 0 {
        let odd = shape.odd;
        notes.push(format!(
            "{odd} of the first rows do not have the usual number of cells"
        ));
    }
    let mapping = words::propose(&columns);
    let decimal_mark = decimal_mark(&shape.rows, &mut notes);
    Proposal {
        dialect,
        columns,
        mapping,
        decimal_mark,
        notes,
    }
}

impl Proposal {
    /// The settings to paste below `[connection.NAME]`.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for note in &self.notes {
            let _ = writeln!(out, "# {note}");
        }
        let dialect = &self.dialect;
        if !dialect.charset.is_utf8() {
            let _ = writeln!(out, "encoding = \"{}\"", dialect.charset);
        }
        let _ = writeln!(out, "delimiter = {}", quoted(char::from(dialect.delimiter)));
        if let Some(quote) = dialect.quote.filter(|quote| *quote != b'"') {
            let _ = writeln!(out, "quote = {}", quoted(char::from(quote)));
        }
        if dialect.spaces_before_quote {
            let _ = writeln!(out, "spaces_before_quote = true");
        }
        if dialect.skip_lines > 0 {
            let _ = writeln!(out, "skip_lines = {}", dialect.skip_lines);
        }
        if !dialect.header {
            let _ = writeln!(out, "header = false");
        }
        if let Some(mark) = self.decimal_mark {
            let _ = writeln!(out, "decimal_mark = {}", quoted(mark));
        }
        let _ = writeln!(out, "\n[columns]");
        for (field, column) in &self.mapping {
            let _ = writeln!(out, "{field} = {}", toml::Value::from(column.as_str()));
        }
        let taken: Vec<_> = self.mapping.iter().map(|(_, column)| column).collect();
        for column in self.columns.iter().filter(|name| !taken.contains(name)) {
            if !column.is_empty() {
                let _ = writeln!(out, "# not used: {}", toml::Value::from(column.as_str()));
            }
        }
        out
    }
}

fn quoted(c: char) -> String {
    toml::Value::from(c.to_string()).to_string()
}

fn propose_charset(bytes: &[u8], notes: &mut Vec<String>) -> Charset {
    let mut probe = Probe::new();
    probe.feed(bytes);
    let suggestion = probe.suggestion();
    let certain = probe.finish(None, None);
    let guessed = Charset::from_label(suggestion).unwrap_or(Charset::UTF_8);
    match certain {
        Ok(charset) if charset.is_utf8() && !guessed.is_utf8() => {
            notes.push(format!("no byte order mark, but it looks like {guessed}"));
            guessed
        }
        Ok(charset) => charset,
        Err(unknown) => {
            notes.push(format!(
                "the encoding is a guess (line {} is not UTF-8): look at a name with accents",
                unknown.line
            ));
            guessed
        }
    }
}

/// In the order of preference between equals. A comma stands in decimals and texts too, so a
/// semicolon or tab that fits as well is the delimiter.
fn candidates(charset: Charset) -> impl Iterator<Item = Dialect> {
    let delimiters = [b'\t', b';', b',', b'|'];
    delimiters.into_iter().flat_map(move |delimiter| {
        [(b'"', false), (b'"', true), (b'\'', false)].map(|(quote, spaces)| Dialect {
            charset,
            delimiter,
            quote: Some(quote),
            spaces_before_quote: spaces,
            skip_lines: 0,
            header: false,
        })
    })
}

#[derive(Debug)]
struct Line {
    line: u64,
    cells: Vec<String>,
}

/// How a file falls into rows under one dialect.
#[derive(Debug, Default)]
struct Shape {
    rows: Vec<Line>,
    /// The usual number of cells.
    width: usize,
    /// Rows with another number of cells, or broken ones.
    odd: usize,
    seen: usize,
}

impl Shape {
    fn of(bytes: &[u8], dialect: Dialect) -> Self {
        let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
        let mut broken = 0;
        visit(bytes, dialect, |next| match width_of(next) {
            Some(width) => *widths.entry(width).or_default() += 1,
            None => broken += 1,
        });
        let usual = widths
            .iter()
            .max_by_key(|(width, count)| (**count, **width));
        let Some((&width, &count)) = usual else {
            return Self::default();
        };
        let mut shape = Self {
            rows: Vec::new(),
            width,
            odd: broken + widths.values().sum::<usize>() - count,
            seen: broken + widths.values().sum::<usize>(),
        };
        // Again, for the cells: a reader takes the first row as the measure, so start at a usual one.
        let mut skip_lines = None;
        visit(bytes, dialect, |next| {
            if skip_lines.is_none() && width_of(next) == Some(width) {
                skip_lines = Some(line_of(next) - 1);
            }
        });
        let skip_lines = skip_lines.unwrap_or(0);
        visit(
            bytes,
            Dialect {
                skip_lines,
                ..dialect
            },
            |next| {
                if let Next::Row(row) = next {
                    let cells = row.iter().map(|cell| trim(cell).to_owned()).collect();
                    let line = row.line();
                    shape.rows.push(Line { line, cells });
                }
            },
        );
        shape
    }

    /// The share of usual rows, in percent.
    fn fit(&self) -> usize {
        if self.width <= 1 || self.seen == 0 {
            return 0;
        }
        100 * (self.seen - self.odd) / self.seen
    }

    /// Better than one of an earlier candidate: clearly more regular, or as regular over several rows with
    /// far more cells.
    fn beats(&self, earlier: &Self) -> bool {
        let (fit, other) = (self.fit(), earlier.fit());
        fit > other + 3
            || (self.seen > 1 && fit + 3 >= other && self.width >= earlier.width.max(1) * 3)
    }

    /// Where the table begins: titles above it leave most cells empty.
    fn first_full_row(&self) -> Option<&Line> {
        self.rows
            .iter()
            .find(|row| {
                row.cells.iter().filter(|cell| !cell.is_empty()).count() * 2 > row.cells.len()
            })
            .or(self.rows.first())
    }
}

fn visit(bytes: &[u8], dialect: Dialect, mut each: impl FnMut(&Next<'_>)) {
    let mut reader = CsvReader::new(bytes, dialect, Limits::default());
    for _ in 0..ROWS {
        match reader.next_row() {
            Ok(Some(next)) => each(&next),
            Ok(None) | Err(_) => return,
        }
    }
}

fn width_of(next: &Next<'_>) -> Option<usize> {
    match next {
        Next::Row(row) => Some(row.len()),
        Next::Bad(bad) => match bad.problem {
            Problem::WrongWidth { found, .. } => Some(found),
            _ => None,
        },
    }
}

fn line_of(next: &Next<'_>) -> u64 {
    match next {
        Next::Row(row) => row.line(),
        Next::Bad(bad) => bad.line,
    }
}

/// Names are words: known ones, or none that begin with a digit above cells that do.
fn looks_like_header(row: &Line, rows: &[Line]) -> bool {
    if !words::propose(&row.cells).is_empty() {
        return true;
    }
    let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    if row.cells.iter().any(|cell| is_number(cell)) {
        return false;
    }
    let below = rows.iter().filter(|other| other.line > row.line);
    below
        .flat_map(|other| &other.cells)
        .any(|cell| is_number(cell))
        || rows.len() == 1
}

fn decimal_mark(rows: &[Line], notes: &mut Vec<String>) -> Option<char> {
    let (mut points, mut commas, mut either) = (0, 0, 0);
    for cell in rows.iter().flat_map(|row| &row.cells) {
        match fraction_mark(cell) {
            Some(('.', true)) => points += 1,
            Some((',', true)) => commas += 1,
            Some(_) => either += 1,
            None => {}
        }
    }
    if points > 0 && commas > 0 {
        notes.push("numbers with a decimal point and with a decimal comma stand in it".to_owned());
    } else if points + commas == 0 && either > 0 {
        notes.push("numbers such as 1.234 could mean two things: set `decimal_mark`".to_owned());
    }
    match points.cmp(&commas) {
        std::cmp::Ordering::Greater => Some('.'),
        std::cmp::Ordering::Less => Some(','),
        std::cmp::Ordering::Equal => None,
    }
}

/// The last mark of a number, and whether it certainly begins the fraction: three digits behind it
/// could be a group.
fn fraction_mark(cell: &str) -> Option<(char, bool)> {
    let number = cell.trim_matches(|c: char| !c.is_ascii_digit());
    if number.len() + 4 < cell.len()
        || !number
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
    {
        return None;
    }
    let at = number.rfind(['.', ','])?;
    let mark = if number.as_bytes()[at] == b'.' {
        '.'
    } else {
        ','
    };
    let marks = number.bytes().filter(|b| matches!(b, b'.' | b',')).count();
    let same = number.matches(mark).count();
    // 1.234,50: two kinds; 28.01.2018: a date.
    (same == 1).then(|| (mark, number.len() - at - 1 != 3 || marks > same))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_german_stock_list_is_recognised() {
        let text = "Lagerliste Muster GmbH\n\nArtikelnr.;Bezeichnung;Bestand;Preis\n\
                    0017;K\u{e4}se, jung;12;3,99\n0018;Br\u{f6}tchen;0;0,45\n";
        let bytes = Charset::from_label("windows-1252")
            .unwrap()
            .encode(text)
            .unwrap();
        let proposal = sniff(&bytes);
        assert_eq!(proposal.dialect.charset.name(), "windows-1252");
        assert_eq!(proposal.dialect.delimiter, b';');
        assert_eq!(proposal.dialect.skip_lines, 2);
        assert!(proposal.dialect.header);
        assert_eq!(proposal.decimal_mark, Some(','));
        let toml = proposal.to_toml();
        for expect in [
            "encoding = \"windows-1252\"",
            "delimiter = \";\"",
            "skip_lines = 2",
            "decimal_mark = \",\"",
            "sku = \"Artikelnr.\"",
            "on_hand = \"Bestand\"",
            "price = \"Preis\"",
        ] {
            assert!(toml.contains(expect), "{expect} in\n{toml}");
        }
    }

    #[test]
    fn nothing_is_made_up() {
        let proposal = sniff(b"");
        assert!(proposal.mapping.is_empty() && proposal.columns.is_empty());
        let proposal = sniff(b"1;2\n3;4\n");
        assert!(!proposal.dialect.header);
        assert!(
            sniff(b"s\0k\0u\0;\0q\0\n\0")
                .dialect
                .charset
                .name()
                .starts_with("UTF-16")
        );
    }

    #[test]
    fn a_group_of_three_digits_decides_nothing() {
        assert_eq!(fraction_mark("1.234"), Some(('.', false)));
        assert_eq!(fraction_mark("1.234,50"), Some((',', true)));
        assert_eq!(fraction_mark("28.01.2018"), None);
        assert_eq!(fraction_mark("$74.69"), Some(('.', true)));
        assert_eq!(fraction_mark("SW10002.1"), Some(('.', true)));
    }
}
