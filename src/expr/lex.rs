//! Source text to tokens, one at a time.

use rust_decimal::Decimal;

use super::ExprError;
use super::syntax::Span;
use super::value::decimal;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number(Decimal),
    Text(String),
    Name(String),
    /// An operator or a bracket; the word `in` is a name.
    Symbol(&'static str),
    End,
}

impl Token {
    /// For messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Number(number) => format!("the number {number}"),
            Self::Text(_) => "a text".into(),
            Self::Name(name) => format!("'{name}'"),
            Self::Symbol(symbol) => format!("'{symbol}'"),
            Self::End => "the end".into(),
        }
    }
}

/// Two-character symbols stand before their one-character beginnings.
const SYMBOLS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "(", ")", "[", "]", "{", "}", ",", ".", ":", "?", "+", "-",
    "*", "/", "%", "<", ">", "!", ";",
];

/// Reads tokens from a position onwards.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    /// Starts at a byte of the source, which must be the start of a character.
    pub(super) fn new(source: &'s str, at: usize) -> Self {
        Self { source, at }
    }

    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or("")
    }

    /// The next token and where it stands.
    pub(super) fn next(&mut self) -> Result<(Token, Span), ExprError> {
        self.skip_space();
        let start = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Ok((Token::End, Span::new(start, start)));
        };
        let token = match first {
            '0'..='9' => self.number()?,
            '"' | '\'' => self.text(first, false)?,
            'r' if self.rest().starts_with("r'") => self.text('\'', true)?,
            'r' if self.rest().starts_with("r\"") => self.text('"', true)?,
            'a'..='z' | 'A'..='Z' | '_' => Token::Name(self.take_word().to_owned()),
            _ => self.symbol(first)?,
        };
        Ok((token, Span::new(start, self.at)))
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn take_word(&mut self) -> &'s str {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or("")
    }

    fn symbol(&mut self, first: char) -> Result<Token, ExprError> {
        for symbol in SYMBOLS {
            if self.rest().starts_with(symbol) {
                self.at += symbol.len();
                return Ok(Token::Symbol(symbol));
            }
        }
        let span = Span::new(self.at, self.at + first.len_utf8());
        let help = match first {
            '=' => Some("'==' compares two values"),
            '&' => Some("'&&' means and"),
            '|' => Some("'||' means or"),
            '\u{201c}' | '\u{201d}' | '\u{2018}' | '\u{2019}' | '\u{201e}' => {
                Some("text stands in straight quotes: 'text'")
            }
            _ => None,
        };
        Err(ExprError::new(
            span,
            format!("unexpected character '{first}'"),
            help,
        ))
    }

    fn number(&mut self) -> Result<Token, ExprError> {
        let start = self.at;
        let rest = self.rest();
        let whole = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let mut end = whole;
        if let Some(fraction) = rest.get(whole..).and_then(|rest| rest.strip_prefix('.')) {
            let digits = fraction.len()
                - fraction
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .len();
            // `1.trim()` is no number with a point; a call on a number reads as one token less.
            if digits > 0 {
                end = whole + 1 + digits;
            }
        }
        self.at += end;
        let text = rest.get(..end).unwrap_or("");
        let span = Span::new(start, self.at);
        if rest
            .get(end..)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        {
            let help = Some("a code with letters is text: put it in quotes");
            return Err(ExprError::new(span, "a number runs into letters", help));
        }
        if whole > 1 && text.starts_with('0') {
            let help = Some("a code with leading zeros is text: put it in quotes");
            return Err(ExprError::new(span, "a number with leading zeros", help));
        }
        match decimal(text) {
            Some(number) => Ok(Token::Number(number)),
            None => Err(ExprError::new(
                span,
                "a number with more than 28 digits",
                None,
            )),
        }
    }

    /// Text in quotes. In a raw one (`r'\d+'`) a backslash is a backslash.
    fn text(&mut self, quote: char, raw: bool) -> Result<Token, ExprError> {
        let start = self.at;
        self.at += usize::from(raw) + quote.len_utf8();
        let mut text = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                let span = Span::new(start, self.source.len());
                let help = format!("close it with {quote}");
                return Err(ExprError::new(span, "a text without an end", Some(&help)));
            };
            self.at += c.len_utf8();
            if c == quote {
                return Ok(Token::Text(text));
            }
            text.push(if c == '\\' && !raw { self.escape()? } else { c });
        }
    }

    fn escape(&mut self) -> Result<char, ExprError> {
        let start = self.at - 1;
        let c = self.rest().chars().next();
        self.at += c.map_or(0, char::len_utf8);
        let escaped = match c {
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some(c @ ('\\' | '\'' | '"')) => Some(c),
            Some('u') => {
                let digits = self.rest().get(..4).unwrap_or("");
                self.at += digits.len();
                let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                u32::from_str_radix(digits, 16)
                    .ok()
                    .filter(|_| hex)
                    .and_then(char::from_u32)
            }
            _ => None,
        };
        escaped.ok_or_else(|| {
            let help = Some("known are \\n \\r \\t \\\\ \\' \\\" and \\u00e4");
            ExprError::new(
                Span::new(start, self.at),
                "an unknown escape in a text",
                help,
            )
        })
    }
}
