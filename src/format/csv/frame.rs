//! Where a row ends and where its cells stand.

use super::bad::Problem;
use super::{Dialect, Limits};

/// Start and end of a cell.
pub(super) type Span = (u32, u32);

/// What stands at the start of a window of text.
pub(super) enum Frame {
    /// Nothing but an end of line.
    EmptyLine { used: usize },
    /// A row on one line in which no quote means anything: its cells point into the window.
    Plain { len: usize, used: usize },
    /// A row with quotes: its cells point into the unquoted text.
    Quoted { used: usize, lines: u64 },
    /// Not a row.
    Bad {
        column: Option<usize>,
        problem: Problem,
    },
    /// The window ends before the row does.
    NeedMore,
}

/// The first end of line: how long the line is, and how much it takes with its ending. CR, LF and CR LF
/// all end a line.
pub(super) fn line_end(window: &[u8], end_of_file: bool) -> Option<(usize, usize)> {
    let at = memchr::memchr2(b'\n', b'\r', window)?;
    line_ending(window, at, end_of_file).map(|ending| (at, at + ending))
}

/// How long the ending at `at` is; `None` for a CR behind which an LF may still come.
fn line_ending(window: &[u8], at: usize, end_of_file: bool) -> Option<usize> {
    match (window[at], window.get(at + 1)) {
        (b'\n', _) => Some(1),
        (_, Some(b'\n')) => Some(2),
        (_, Some(_)) => Some(1),
        (_, None) => end_of_file.then_some(1),
    }
}

/// Cuts the first row off `window`.
pub(super) fn frame(
    window: &[u8],
    end_of_file: bool,
    dialect: &Dialect,
    limits: &Limits,
    cells: &mut Vec<Span>,
    unquoted: &mut Vec<u8>,
) -> Frame {
    let end = line_end(window, end_of_file);
    let (len, used) = match end {
        Some(end) => end,
        None if end_of_file => (window.len(), window.len()),
        // A quoted row may be hopeless before its first line ends; wait for the line all the same.
        None => return Frame::NeedMore,
    };
    if len == 0 {
        return Frame::EmptyLine { used };
    }
    let line = &window[..len];
    if len > limits.row_bytes {
        let limit = limits.row_bytes;
        return Frame::Bad {
            column: None,
            problem: Problem::RowTooLarge { limit },
        };
    }
    if let Some(quote) = dialect.quote
        && memchr::memchr(quote, line).is_some()
    {
        let mut quoted = Quoted {
            window,
            end_of_file,
            delimiter: dialect.delimiter,
            quote,
            spaces: dialect.spaces_before_quote,
            limits,
            cells,
            unquoted,
            lines: 0,
        };
        return quoted.row();
    }
    split_plain(line, used, dialect.delimiter, limits, cells)
}

fn split_plain(
    line: &[u8],
    used: usize,
    delimiter: u8,
    limits: &Limits,
    cells: &mut Vec<Span>,
) -> Frame {
    cells.clear();
    let mut start = 0;
    for at in memchr::memchr_iter(delimiter, line) {
        cells.push(span(start, at));
        start = at + 1;
    }
    cells.push(span(start, line.len()));
    if let Some(bad) = too_many(cells, limits) {
        return bad;
    }
    if line.len() > limits.cell_bytes
        && let Some(column) = cells
            .iter()
            .position(|&(start, end)| (end - start) as usize > limits.cell_bytes)
    {
        return too_large(column, limits);
    }
    Frame::Plain {
        len: line.len(),
        used,
    }
}

fn too_many(cells: &[Span], limits: &Limits) -> Option<Frame> {
    let limit = limits.columns;
    (cells.len() > limit).then_some(Frame::Bad {
        column: None,
        problem: Problem::TooManyColumns { limit },
    })
}

fn too_large(column: usize, limits: &Limits) -> Frame {
    Frame::Bad {
        column: Some(column),
        problem: Problem::CellTooLarge {
            limit: limits.cell_bytes,
        },
    }
}

/// Rows are far below 4 GiB (`Limits::row_bytes`), so the cut never happens.
fn span(start: usize, end: usize) -> Span {
    let short = |n| u32::try_from(n).unwrap_or(u32::MAX);
    (short(start), short(end))
}

/// A row in which a quote stands somewhere.
struct Quoted<'a> {
    window: &'a [u8],
    end_of_file: bool,
    delimiter: u8,
    quote: u8,
    spaces: bool,
    limits: &'a Limits,
    cells: &'a mut Vec<Span>,
    unquoted: &'a mut Vec<u8>,
    lines: u64,
}

/// What stands behind a cell, and where the text goes on behind that.
enum After {
    Delimiter(usize),
    EndOfRow(usize),
}

impl Quoted<'_> {
    fn row(&mut self) -> Frame {
        self.cells.clear();
        self.unquoted.clear();
        let mut at = 0;
        loop {
            let start = self.unquoted.len();
            let after = match self.opening_quote(at) {
                Some(open) => self.quoted_cell(open + 1),
                None => self.plain_cell(at),
            };
            let after = match after {
                Ok(after) => after,
                Err(stop) => return stop,
            };
            if self.unquoted.len() - start > self.limits.cell_bytes {
                return too_large(self.cells.len(), self.limits);
            }
            self.cells.push(span(start, self.unquoted.len()));
            if let Some(bad) = too_many(self.cells, self.limits) {
                return bad;
            }
            match after {
                After::Delimiter(next) => at = next,
                After::EndOfRow(used) => {
                    let lines = self.lines + 1;
                    return Frame::Quoted { used, lines };
                }
            }
        }
    }

    fn opening_quote(&self, at: usize) -> Option<usize> {
        let spaces = if self.spaces {
            count_spaces(&self.window[at..])
        } else {
            0
        };
        (self.window.get(at + spaces) == Some(&self.quote)).then_some(at + spaces)
    }

    /// An unquoted cell: a quote inside it is an ordinary character (`12" pipe`).
    fn plain_cell(&mut self, at: usize) -> Result<After, Frame> {
        let rest = &self.window[at..];
        let end = memchr::memchr3(self.delimiter, b'\n', b'\r', rest).map_or(rest.len(), |n| n);
        let after = self.after_cell(at + end)?;
        self.unquoted.extend_from_slice(&rest[..end]);
        Ok(after)
    }

    /// A quoted cell, from behind its opening quote.
    fn quoted_cell(&mut self, start: usize) -> Result<After, Frame> {
        let mut at = start;
        loop {
            let rest = &self.window[at..];
            let reach = self.limits.cell_bytes + 1;
            let Some(close) = memchr::memchr(self.quote, &rest[..rest.len().min(reach)]) else {
                return Err(self.never_closed(at, start));
            };
            self.count_lines(&rest[..close]);
            self.unquoted.extend_from_slice(&rest[..close]);
            at += close + 1;
            if self.window.get(at) == Some(&self.quote) {
                self.unquoted.push(self.quote);
                at += 1;
                if at - start > 2 * self.limits.cell_bytes {
                    return Err(too_large(self.cells.len(), self.limits));
                }
                continue;
            }
            if self.spaces {
                at += count_spaces(&self.window[at..]);
            }
            return self.after_cell(at);
        }
    }

    fn never_closed(&self, at: usize, start: usize) -> Frame {
        let scanned = self.window.len() - at;
        if scanned <= self.limits.cell_bytes && !self.end_of_file {
            return Frame::NeedMore;
        }
        let in_this_line = memchr::memchr2(b'\n', b'\r', &self.window[start..])
            .is_none_or(|end| end > self.limits.cell_bytes);
        if in_this_line && scanned > self.limits.cell_bytes {
            return too_large(self.cells.len(), self.limits);
        }
        Frame::Bad {
            column: Some(self.cells.len()),
            problem: Problem::QuoteNeverClosed,
        }
    }

    fn after_cell(&self, at: usize) -> Result<After, Frame> {
        match self.window.get(at) {
            None if self.end_of_file => Ok(After::EndOfRow(at)),
            None => Err(Frame::NeedMore),
            Some(&byte) if byte == self.delimiter => Ok(After::Delimiter(at + 1)),
            Some(b'\n' | b'\r') => line_ending(self.window, at, self.end_of_file)
                .map(|ending| After::EndOfRow(at + ending))
                .ok_or(Frame::NeedMore),
            Some(_) => Err(Frame::Bad {
                column: Some(self.cells.len()),
                problem: Problem::TextAfterQuote,
            }),
        }
    }

    /// Ends of lines inside a cell. A CR LF that is cut by a doubled quote does not exist.
    fn count_lines(&mut self, text: &[u8]) {
        let crlf = text.windows(2).filter(|pair| pair == b"\r\n").count();
        let ends = memchr::memchr2_iter(b'\n', b'\r', text).count();
        self.lines += (ends - crlf) as u64;
    }
}

fn count_spaces(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == b' ').count()
}
