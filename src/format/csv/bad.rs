//! What can be wrong with a row, and what is wrong with a whole file.

use std::fmt;
use std::io;

use crate::format::encoding::Charset;

/// How much of a bad row is shown.
const EXCERPT_CHARS: usize = 80;

/// Why a row is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// More or fewer cells than the header.
    WrongWidth {
        /// As many as the header names.
        expected: usize,
        /// As many as stand there.
        found: usize,
    },
    /// A quote opens and the cell never ends.
    QuoteNeverClosed,
    /// `"abc"def`: behind the closing quote the cell goes on.
    TextAfterQuote,
    /// A cell is too long.
    CellTooLarge {
        /// In bytes.
        limit: usize,
    },
    /// A row is too long.
    RowTooLarge {
        /// In bytes.
        limit: usize,
    },
    /// A row has too many cells.
    TooManyColumns {
        /// At most so many.
        limit: usize,
    },
    /// A NUL byte, which no text has.
    NulByte,
    /// Bytes that do not exist in the file's encoding.
    NotEncoded {
        /// That encoding.
        charset: Charset,
    },
}

impl Problem {
    /// A stable name, for replies and counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongWidth { .. } => "wrong_width",
            Self::QuoteNeverClosed => "quote_never_closed",
            Self::TextAfterQuote => "text_after_quote",
            Self::CellTooLarge { .. } => "cell_too_large",
            Self::RowTooLarge { .. } => "row_too_large",
            Self::TooManyColumns { .. } => "too_many_columns",
            Self::NulByte => "nul_byte",
            Self::NotEncoded { .. } => "bad_encoding",
        }
    }

    pub(super) fn is_broken_quote(&self) -> bool {
        matches!(
            self,
            Self::QuoteNeverClosed | Self::TextAfterQuote | Self::CellTooLarge { .. }
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongWidth { expected, found } => write!(
                f,
                "the row has {found} cells instead of {expected}; is there a delimiter inside an \
                 unquoted cell?"
            ),
            Self::QuoteNeverClosed => f.write_str(
                "a quote opens this cell and never closes it; double it if it belongs to the text",
            ),
            Self::TextAfterQuote => f.write_str(
                "text stands behind the closing quote; a quote inside a quoted cell must be doubled",
            ),
            Self::CellTooLarge { limit } => write!(
                f,
                "the cell is longer than {limit} bytes; was a quote not closed?"
            ),
            Self::RowTooLarge { limit } => write!(f, "the row is longer than {limit} bytes"),
            Self::TooManyColumns { limit } => write!(f, "the row has more than {limit} cells"),
            Self::NulByte => f.write_str(
                "the row holds a NUL byte; is the file UTF-16 without a byte order mark, or cut off?",
            ),
            Self::NotEncoded { charset } => {
                write!(f, "the row holds bytes that do not exist in {charset}")
            }
        }
    }
}

/// A row that could not be cut into cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The physical line (from 1) on which it begins.
    pub line: u64,
    /// The cell (from 0) in which it went wrong, where that is known.
    pub column: Option<usize>,
    /// What is wrong.
    pub problem: Problem,
    /// How its first line begins, without control characters.
    pub excerpt: String,
}

impl BadRow {
    pub(super) fn new(line: u64, column: Option<usize>, problem: Problem, text: &[u8]) -> Self {
        let first = text.split(|b| matches!(b, b'\n' | b'\r')).next();
        let first = first.unwrap_or_default();
        // A character has at most four bytes: enough for the excerpt, little of a row of megabytes.
        let start = &first[..first.len().min(EXCERPT_CHARS * 4)];
        let excerpt = String::from_utf8_lossy(start)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(EXCERPT_CHARS)
            .collect();
        Self {
            line,
            column,
            problem,
            excerpt,
        }
    }
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = self.column {
            write!(f, ", column {}", column + 1)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Why a file cannot be read, or not to its end.
#[derive(Debug)]
pub enum CsvError {
    /// The operating system says so.
    Io(io::Error),
    /// There is nothing in it, not even a header.
    Empty,
    /// The header is no row.
    Header(BadRow),
    /// The file is too large.
    TooManyBytes {
        /// In bytes.
        limit: u64,
    },
    /// The file has too many rows.
    TooManyRows {
        /// At most so many.
        limit: u64,
    },
    /// So many quotes are broken that the dialect must be wrong.
    TooManyBrokenQuotes {
        /// The line at which reading stopped.
        line: u64,
    },
}

impl CsvError {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "file_unreadable",
            Self::Empty => "file_empty",
            Self::Header(_) => "bad_header",
            Self::TooManyBytes { .. } => "file_too_large",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::TooManyBrokenQuotes { .. } => "too_many_broken_quotes",
        }
    }
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the file cannot be read: {error}"),
            Self::Empty => f.write_str("the file is empty: not even a header stands in it"),
            Self::Header(bad) => write!(f, "the header cannot be read: {bad}"),
            Self::TooManyBytes { limit } => write!(f, "the file is larger than {limit} bytes"),
            Self::TooManyRows { limit } => write!(f, "the file has more than {limit} rows"),
            Self::TooManyBrokenQuotes { line } => write!(
                f,
                "too many rows up to line {line} have broken quotes; check `quote` and `delimiter`"
            ),
        }
    }
}

impl std::error::Error for CsvError {}
