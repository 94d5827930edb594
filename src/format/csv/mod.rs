//! Delimited text: bytes to rows, with bounded memory and one report per bad row.
//!
//! The tokenizer is our own, because two things decide about money here that the `csv` crate leaves
//! open: a quote that is never closed must cost its row and not the rest of the file, and text after a
//! closing quote must be an error and not a longer cell (it is how a forgotten quote swallows the next
//! rows without changing the number of cells). Rows without such faults come out exactly as from the
//! `csv` crate; a property test holds the two together.
//!
//! A bad row is reported and reading goes on with the next *physical* line after the one where the bad
//! row began.

mod bad;
mod frame;
mod header;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;

pub use bad::{BadRow, CsvError, Problem};
pub(crate) use header::fold;
pub use header::{Column, Header, NoColumn};

use super::encoding::{Charset, Utf8Reader};
use frame::{Frame, Span, frame};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// How one file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// What its bytes mean.
    pub charset: Charset,
    /// Between two cells. ASCII.
    pub delimiter: u8,
    /// Around a cell, doubled inside it; `None` where quotes are ordinary characters. ASCII.
    pub quote: Option<u8>,
    /// Whether a quote may stand behind spaces: `1, "two"`.
    pub spaces_before_quote: bool,
    /// Physical lines before the header.
    pub skip_lines: u64,
    /// Whether the first row names the columns.
    pub header: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            charset: Charset::UTF_8,
            delimiter: b',',
            quote: Some(b'"'),
            spaces_before_quote: false,
            skip_lines: 0,
            header: true,
        }
    }
}

/// What a file may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes: u64,
    /// Rows, good and bad.
    pub rows: u64,
    /// Cells of one row.
    pub columns: usize,
    /// Bytes of one cell, as UTF-8.
    pub cell_bytes: usize,
    /// Bytes of one row, as UTF-8.
    pub row_bytes: usize,
    /// Rows with broken quotes after which the rest is not worth reading.
    pub broken_quotes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 4 << 30,
            rows: 50_000_000,
            columns: 1024,
            cell_bytes: 64 << 10,
            row_bytes: 1 << 20,
            broken_quotes: 1000,
        }
    }
}

/// One row that could be cut into cells. Borrows from the reader.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    line: u64,
    text: &'a str,
    cells: &'a [Span],
}

impl<'a> Row<'a> {
    /// The physical line (from 1) on which it begins.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// How many cells it has: as many as the header, plus an empty one where every row ends with a
    /// delimiter.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has no cells; a row always has one.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The cell at `index` (from 0), without its quotes, otherwise as written.
    pub fn get(&self, index: usize) -> Option<&'a str> {
        let (start, end) = *self.cells.get(index)?;
        self.text.get(start as usize..end as usize)
    }

    /// All cells.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let text = self.text;
        self.cells
            .iter()
            .map(move |&(start, end)| text.get(start as usize..end as usize).unwrap_or_default())
    }

    /// Whether nothing stands in any cell: what a spreadsheet leaves below its data.
    pub fn is_blank(&self) -> bool {
        self.iter().all(|cell| cell.trim().is_empty())
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What stands next in a file.
#[derive(Debug)]
pub enum Next<'a> {
    /// A row as wide as it should be.
    Row(Row<'a>),
    /// Something that is not a row.
    Bad(BadRow),
}

/// Reads rows. Holds one row and one chunk, whatever the size of the file.
pub struct CsvReader<R> {
    source: Utf8Reader<R>,
    dialect: Dialect,
    limits: Limits,
    /// Text that is not cut up yet begins at `at`.
    buffer: Vec<u8>,
    at: usize,
    end_of_file: bool,
    /// Whether a NUL stands somewhere in the buffer.
    holds_nul: bool,
    /// The line that begins at `at`.
    line: u64,
    rows: u64,
    broken_quotes: u64,
    /// Cells of the row read last; they point into `unquoted` if `from_unquoted`, else the buffer.
    cells: Vec<Span>,
    unquoted: Vec<u8>,
    header: Option<Header>,
    /// How many cells a data row has, once the first one was seen.
    width: Option<usize>,
}

impl<R> fmt::Debug for CsvReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvReader")
            .field("dialect", &self.dialect)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// Where the text of a framed row stands.
#[derive(Clone, Copy)]
enum Place {
    Buffer { start: usize, end: usize },
    Unquoted,
}

/// A framed row, still as positions.
enum Step {
    Row { line: u64, place: Place },
    Bad(BadRow),
    End,
}

impl<R: Read> CsvReader<R> {
    /// Opens a file; nothing is read yet.
    pub fn new(source: R, dialect: Dialect, limits: Limits) -> Self {
        Self::with_chunk(source, dialect, limits, CHUNK)
    }

    fn with_chunk(source: R, dialect: Dialect, limits: Limits, chunk: usize) -> Self {
        Self {
            source: Utf8Reader::new(source, dialect.charset, chunk),
            dialect,
            limits,
            buffer: Vec::new(),
            at: 0,
            end_of_file: false,
            holds_nul: false,
            line: 1,
            rows: 0,
            broken_quotes: 0,
            cells: Vec::new(),
            unquoted: Vec::new(),
            header: None,
            width: None,
        }
    }

    /// The names of the columns; none when the dialect has no header.
    ///
    /// # Errors
    /// An empty file, a header that cannot be read, a failing read.
    pub fn header(&mut self) -> Result<&Header, CsvError> {
        if self.header.is_none() {
            self.skip_preamble()?;
            let header = if self.dialect.header {
                self.read_header()?
            } else {
                Header::without_names()
            };
            self.header = Some(header);
        }
        // Set just above; the fallback is never reached.
        self.header.as_ref().ok_or(CsvError::Empty)
    }

    /// The next row, or what stands in its place; `None` at the end.
    ///
    /// # Errors
    /// When the rest of the file cannot be read or is not worth reading: a failing read, a limit.
    pub fn next_row(&mut self) -> Result<Option<Next<'_>>, CsvError> {
        self.header()?;
        let step = self.step()?;
        let (line, place) = match step {
            Step::End => return Ok(None),
            Step::Bad(bad) => return self.count_row().map(|()| Some(Next::Bad(bad))),
            Step::Row { line, place } => (line, place),
        };
        self.count_row()?;
        if let Some(bad) = self.wrong_width(line, place) {
            return Ok(Some(Next::Bad(bad)));
        }
        Ok(Some(match self.text(place) {
            Ok(text) => Next::Row(Row {
                line,
                text,
                cells: &self.cells,
            }),
            Err(problem) => Next::Bad(self.bad(line, place, problem)),
        }))
    }

    /// Goes on behind the row that began on `line`, as after a restart in the middle of a file.
    ///
    /// # Errors
    /// As [`CsvReader::next_row`].
    pub fn skip_past(&mut self, line: u64) -> Result<(), CsvError> {
        self.header()?;
        if self.width.is_none() && self.line <= line {
            // The first row decides how wide rows are.
            let _ = self.next_row()?;
        }
        while self.line <= line {
            match self.step()? {
                Step::End => break,
                Step::Row { .. } | Step::Bad(_) => self.count_row()?,
            }
        }
        Ok(())
    }

    /// The physical line that comes next.
    pub fn next_line(&self) -> u64 {
        self.line
    }

    fn count_row(&mut self) -> Result<(), CsvError> {
        self.rows += 1;
        if self.rows > self.limits.rows {
            return Err(CsvError::TooManyRows {
                limit: self.limits.rows,
            });
        }
        Ok(())
    }

    fn skip_preamble(&mut self) -> Result<(), CsvError> {
        while self.line <= self.dialect.skip_lines {
            if !self.skip_line()? {
                return Err(CsvError::Empty);
            }
        }
        Ok(())
    }

    fn read_header(&mut self) -> Result<Header, CsvError> {
        match self.step()? {
            Step::End => Err(CsvError::Empty),
            Step::Bad(bad) => Err(CsvError::Header(bad)),
            Step::Row { line, place } => match self.text(place) {
                Ok(text) => {
                    let row = Row {
                        line,
                        text,
                        cells: &self.cells,
                    };
                    Ok(Header::new(line, row.iter()))
                }
                Err(problem) => Err(CsvError::Header(self.bad(line, place, problem))),
            },
        }
    }

    /// The row's text, if its characters are what they should be.
    fn text(&self, place: Place) -> Result<&str, Problem> {
        let bytes = self.bytes(place);
        if self.holds_nul && memchr::memchr(0, bytes).is_some() {
            return Err(Problem::NulByte);
        }
        let charset = self.dialect.charset;
        let text = std::str::from_utf8(bytes).map_err(|_| Problem::NotEncoded { charset })?;
        if self.source.replaces() && text.contains('\u{FFFD}') {
            return Err(Problem::NotEncoded { charset });
        }
        Ok(text)
    }

    fn bytes(&self, place: Place) -> &[u8] {
        match place {
            Place::Buffer { start, end } => &self.buffer[start..end],
            Place::Unquoted => &self.unquoted,
        }
    }

    fn bad(&self, line: u64, place: Place, problem: Problem) -> BadRow {
        BadRow::new(line, None, problem, self.bytes(place))
    }

    /// A row has as many cells as the header. One empty cell more (or, below a header that ends in an
    /// empty name, less) is the writer's habit of ending rows with a delimiter: the first row tells.
    fn wrong_width(&mut self, line: u64, place: Place) -> Option<BadRow> {
        let found = self.cells.len();
        let named = self.header.as_ref().map_or(0, Header::len);
        let ends_empty = self.cells.last().is_some_and(|&(start, end)| start == end);
        let width = *self.width.get_or_insert_with(|| {
            let header_ends_empty = self.header.as_ref().is_some_and(Header::ends_empty);
            if named == 0 || (found == named + 1 && ends_empty) {
                found
            } else if found + 1 == named && header_ends_empty {
                named - 1
            } else {
                named
            }
        });
        if found != width {
            let problem = Problem::WrongWidth {
                expected: width,
                found,
            };
            return Some(self.bad(line, place, problem));
        }
        if named != 0 && width > named && !ends_empty {
            let problem = Problem::WrongWidth {
                expected: named,
                found,
            };
            return Some(self.bad(line, place, problem));
        }
        None
    }

    /// Cuts off the next row that is not an empty line.
    fn step(&mut self) -> Result<Step, CsvError> {
        loop {
            let window = &self.buffer[self.at..];
            if window.is_empty() && self.end_of_file {
                return Ok(Step::End);
            }
            let cap = self.limits.row_bytes;
            let framed = frame(
                window,
                self.end_of_file,
                &self.dialect,
                &self.limits,
                &mut self.cells,
                &mut self.unquoted,
            );
            let line = self.line;
            match framed {
                Frame::NeedMore if window.len() > cap => {
                    return self.skip_long_row(line).map(Step::Bad);
                }
                Frame::NeedMore => self.fill()?,
                Frame::EmptyLine { used } => {
                    self.at += used;
                    self.line += 1;
                }
                Frame::Plain { len, used } => {
                    let start = self.at;
                    self.at += used;
                    self.line += 1;
                    let end = start + len;
                    let place = Place::Buffer { start, end };
                    return Ok(Step::Row { line, place });
                }
                Frame::Quoted { used, lines } => {
                    self.at += used;
                    self.line += lines;
                    let place = Place::Unquoted;
                    return Ok(Step::Row { line, place });
                }
                Frame::Bad { column, problem } => {
                    return self.skip_bad(line, column, problem).map(Step::Bad);
                }
            }
        }
    }

    /// Reports a row and goes on with the next physical line.
    fn skip_bad(
        &mut self,
        line: u64,
        column: Option<usize>,
        problem: Problem,
    ) -> Result<BadRow, CsvError> {
        if problem.is_broken_quote() {
            // Each such row may look ahead as far as a cell may be long: bounded only by counting.
            self.broken_quotes += 1;
            if self.broken_quotes > self.limits.broken_quotes {
                return Err(CsvError::TooManyBrokenQuotes { line });
            }
        }
        let bad = BadRow::new(line, column, problem, &self.buffer[self.at..]);
        self.skip_line()?;
        Ok(bad)
    }

    fn skip_long_row(&mut self, line: u64) -> Result<BadRow, CsvError> {
        let limit = self.limits.row_bytes;
        self.skip_bad(line, None, Problem::RowTooLarge { limit })
    }

    /// Drops everything up to the end of the physical line; `false` when there was none.
    fn skip_line(&mut self) -> Result<bool, CsvError> {
        let mut any = false;
        loop {
            let window = &self.buffer[self.at..];
            any = any || !window.is_empty();
            match frame::line_end(window, self.end_of_file) {
                Some((_, used)) => {
                    self.at += used;
                    self.line += 1;
                    return Ok(any);
                }
                None if self.end_of_file => {
                    self.at = self.buffer.len();
                    self.line += u64::from(any);
                    return Ok(any);
                }
                None => {
                    // A last CR stays: the LF that may follow belongs to it.
                    self.at = self.buffer.len() - usize::from(window.last() == Some(&b'\r'));
                    self.fill()?;
                }
            }
        }
    }

    fn fill(&mut self) -> Result<(), CsvError> {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.end_of_file = !self.source.fill(&mut self.buffer).map_err(CsvError::Io)?;
        self.holds_nul = memchr::memchr(0, &self.buffer).is_some();
        if self.source.bytes_read > self.limits.bytes {
            return Err(CsvError::TooManyBytes {
                limit: self.limits.bytes,
            });
        }
        Ok(())
    }
}
