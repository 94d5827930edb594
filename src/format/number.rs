//! Numbers as suppliers write them, read exactly or not at all.
//!
//! `1.234` is a thousand pieces in Vienna and little more than one in London (story 46): each feed says
//! which marks it uses, and a number that would only make sense with other marks is refused.

use std::borrow::Cow;
use std::fmt;

use rust_decimal::Decimal;
use unicode_normalization::UnicodeNormalization;

/// How a feed writes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberFormat {
    /// Between whole and part: `.` or `,`.
    pub decimal: char,
    /// Between groups of three digits: one of `. , ' _` or a space, which stands for every kind of
    /// space; `None` where there are none.
    pub thousands: Option<char>,
}

impl NumberFormat {
    /// `1234.5`
    pub const POINT: Self = Self {
        decimal: '.',
        thousands: None,
    };
    /// `1234,5`
    pub const COMMA: Self = Self {
        decimal: ',',
        thousands: None,
    };
}

/// The most decimals that a quantity or amount has.
pub const MAX_DECIMALS: u32 = 6;

/// Why a text is no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberError {
    /// Nothing stands there. Not zero.
    Blank,
    /// It is not a number.
    NotANumber,
    /// It holds a mark that this feed does not use so.
    Mark {
        /// Which.
        mark: char,
    },
    /// `1.23E+12`: a spreadsheet shortened it, the digits are gone.
    Scientific,
    /// It has more digits than can be held exactly.
    TooLong,
    /// It has more than six decimals, and they are not the noise of a binary fraction.
    TooFine,
}

impl NumberError {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::NotANumber => "not_a_number",
            Self::Mark { .. } => "ambiguous_number",
            Self::Scientific => "scientific_notation",
            Self::TooLong => "number_too_long",
            Self::TooFine => "too_many_decimals",
        }
    }
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("the cell is empty, which is unknown and not zero"),
            Self::NotANumber => f.write_str("this is not a number"),
            Self::Mark { mark } => write!(
                f,
                "`{mark}` does not fit this feed's `decimal_mark` and `thousands_mark`, so the number \
                 could mean two things"
            ),
            Self::Scientific => f.write_str(
                "a spreadsheet shortened this number and its digits are lost; format the column as \
                 text before saving",
            ),
            Self::TooLong => f.write_str("the number has too many digits to be held exactly"),
            Self::TooFine => write!(f, "the number has more than {MAX_DECIMALS} decimals"),
        }
    }
}

impl std::error::Error for NumberError {}

/// Reads a number exactly. A sign may stand on either side (`5-` is how SAP writes it).
///
/// Binary noise behind the sixth decimal (`35.949999999999`) is rounded away; real digits there are
/// refused.
///
/// # Errors
/// See [`NumberError`].
pub fn parse(text: &str, format: NumberFormat) -> Result<Decimal, NumberError> {
    let text = trim(text);
    if text.is_empty() {
        return Err(NumberError::Blank);
    }
    if text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit()) {
        return text
            .parse::<i64>()
            .map(Decimal::from)
            .map_err(|_| NumberError::NotANumber);
    }
    let plain: Cow<'_, str> = if text.is_ascii() {
        Cow::Borrowed(text)
    } else {
        // Full-width digits, hard and thin spaces, the typographic minus.
        let typed = |c| match c {
            '\u{2212}' => '-',
            '\u{2019}' => '\'',
            other => other,
        };
        Cow::Owned(text.nfkc().map(typed).collect())
    };
    let (negative, digits) = split_sign(plain.trim())?;
    let number = to_plain(digits, format)?;
    let value = Decimal::from_str_exact(&number).map_err(|_| NumberError::TooLong)?;
    let value = without_noise(value)?;
    Ok(if negative { -value } else { value })
}

fn split_sign(text: &str) -> Result<(bool, &str), NumberError> {
    let (front, rest) = match text.as_bytes().first() {
        Some(b'-') => (Some(true), &text[1..]),
        Some(b'+') => (Some(false), &text[1..]),
        _ => (None, text),
    };
    let (back, digits) = match rest.as_bytes().last() {
        Some(b'-') => (Some(true), &rest[..rest.len() - 1]),
        _ => (None, rest),
    };
    match (front, back) {
        (Some(_), Some(_)) => Err(NumberError::NotANumber),
        (sign, None) | (None, sign) => Ok((sign == Some(true), digits.trim())),
    }
}

/// `1.234,50` as `1234.50`.
fn to_plain(text: &str, format: NumberFormat) -> Result<String, NumberError> {
    if text.chars().all(|c| !c.is_ascii_digit()) {
        return Err(NumberError::NotANumber);
    }
    if is_scientific(text) {
        return Err(NumberError::Scientific);
    }
    let (whole, part) = match text.split_once(format.decimal) {
        Some((whole, part)) => (whole, Some(part)),
        None => (text, None),
    };
    let mut out = String::with_capacity(text.len() + 1);
    push_whole(whole, format, &mut out)?;
    if let Some(part) = part {
        if let Some(wrong) = part.chars().find(|c| !c.is_ascii_digit()) {
            return Err(not_a_digit(wrong));
        }
        if part.is_empty() {
            return Err(NumberError::NotANumber);
        }
        if out.is_empty() {
            out.push('0');
        }
        out.push('.');
        out.push_str(part);
    }
    if out.is_empty() {
        return Err(NumberError::NotANumber);
    }
    Ok(out)
}

/// The digits before the decimal mark. Groups have three digits, the first one to three.
fn push_whole(whole: &str, format: NumberFormat, out: &mut String) -> Result<(), NumberError> {
    let mark = format.thousands.filter(|mark| whole.contains(*mark));
    let Some(mark) = mark else {
        if let Some(wrong) = whole.chars().find(|c| !c.is_ascii_digit()) {
            return Err(not_a_digit(wrong));
        }
        out.push_str(whole);
        return Ok(());
    };
    for (n, group) in whole.split(mark).enumerate() {
        if let Some(wrong) = group.chars().find(|c| !c.is_ascii_digit()) {
            return Err(not_a_digit(wrong));
        }
        let fits = if n == 0 {
            (1..=3).contains(&group.len())
        } else {
            group.len() == 3
        };
        if !fits {
            return Err(NumberError::Mark { mark });
        }
        out.push_str(group);
    }
    Ok(())
}

fn not_a_digit(c: char) -> NumberError {
    match c {
        '.' | ',' | '\'' | '_' | ' ' => NumberError::Mark { mark: c },
        _ => NumberError::NotANumber,
    }
}

fn without_noise(value: Decimal) -> Result<Decimal, NumberError> {
    if value.scale() <= MAX_DECIMALS {
        return Ok(value);
    }
    let rounded = value.round_dp(MAX_DECIMALS);
    let noise = rounded
        .checked_sub(value)
        .ok_or(NumberError::TooLong)?
        .abs();
    if noise <= Decimal::new(1, 9) {
        return Ok(rounded.normalize());
    }
    Err(NumberError::TooFine)
}

/// Whether a text looks like a number that a spreadsheet shortened: `1.23E+12`, `1,23E12`, `5E+05`.
///
/// `1E5` alone does not: it is a good article number.
pub fn is_scientific(text: &str) -> bool {
    let text = trim(text);
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return false;
    }
    let Some(at) = text.find(['E', 'e']) else {
        return false;
    };
    let (mantissa, exponent) = (&text[..at], &text[at + 1..]);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, has_part) = match mantissa.split_once(['.', ',']) {
        Some((whole, part)) if digits(part) => (whole, true),
        Some(_) => return false,
        None => (mantissa, false),
    };
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let has_plus = exponent.starts_with('+');
    whole.len() <= 1 && digits(whole) && digits(unsigned) && (has_part || has_plus)
}

/// Without spaces of any kind around it.
pub fn trim(text: &str) -> &str {
    let bytes = text.as_bytes();
    if let (Some(first), Some(last)) = (bytes.first(), bytes.last())
        && first.is_ascii_graphic()
        && last.is_ascii_graphic()
    {
        return text;
    }
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}' || c == '\u{200B}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, marks: &str, expect: Result<&str, &str>) {
        let mut marks = marks.chars();
        let format = NumberFormat {
            decimal: marks.next().unwrap(),
            thousands: marks.next(),
        };
        let found = parse(text, format)
            .map(|value| value.to_string())
            .map_err(|error| error.code());
        assert_eq!(
            found.as_deref().map_err(|code| *code),
            expect,
            "`{text}` with {format:?}"
        );
    }

    #[test]
    fn story_46_a_decimal_comma_is_never_dropped() {
        check("5,6", ",", Ok("5.6"));
        check("5,6", ".", Err("ambiguous_number"));
        check("5,6", ".,", Err("ambiguous_number"));
        check("173,900", ",", Ok("173.900"));
        check("173,900", ".", Err("ambiguous_number"));
        check("173,900", ".,", Ok("173900"));
        check("1.234", ",", Err("ambiguous_number"));
        check("1.234", ",.", Ok("1234"));
        check("59.99", ",.", Err("ambiguous_number"));
        check("1.234.567,89", ",.", Ok("1234567.89"));
        check("12.34.567", ",.", Err("ambiguous_number"));
        check("1,234.5,6", ".,", Err("ambiguous_number"));
    }

    #[test]
    fn numbers_of_many_countries() {
        check("0", ".", Ok("0"));
        check(" 42 ", ".", Ok("42"));
        check("+7", ".", Ok("7"));
        check("-7", ".", Ok("-7"));
        check("7-", ".", Ok("-7"));
        check("\u{2212}7", ".", Ok("-7"));
        check("- 7", ".", Ok("-7"));
        check("-7-", ".", Err("not_a_number"));
        check("1 234,5", ", ", Ok("1234.5"));
        check("1\u{a0}234,5", ", ", Ok("1234.5"));
        check("1\u{202f}234\u{202f}567", ", ", Ok("1234567"));
        check("1'234.50", ".'", Ok("1234.50"));
        check("\u{ff11}\u{ff12}", ".", Ok("12"));
        check(".5", ".", Ok("0.5"));
        check("5.", ".", Err("not_a_number"));
        check("90.750", ".", Ok("90.750"));
        check("007", ".", Ok("7"));
    }

    #[test]
    fn what_is_no_number_is_never_zero() {
        check("", ".", Err("blank"));
        check("\u{a0} ", ".", Err("blank"));
        check("auf Lager", ".", Err("not_a_number"));
        check(">100", ".", Err("not_a_number"));
        check("-", ".", Err("not_a_number"));
        check("NaN", ".", Err("not_a_number"));
        check("0x10", ".", Err("not_a_number"));
        check("1E5", ".", Err("not_a_number"));
        check("1.23E+12", ".", Err("scientific_notation"));
        check("1,23E+12", ".", Err("scientific_notation"));
        check(&"9".repeat(40), ".", Err("number_too_long"));
    }

    #[test]
    fn binary_noise_is_rounded_and_real_digits_are_not() {
        check("35.949999999999", ".", Ok("35.95"));
        check("0.30000000000000004", ".", Ok("0.3"));
        check("0.1234567", ".", Err("too_many_decimals"));
        check("0.1234560000", ".", Ok("0.123456"));
    }

    #[test]
    fn only_what_a_spreadsheet_shortened_is_scientific() {
        for text in ["1.23E+12", "1,23E+12", "1.5e3", "5E+05", "4.00599E+12"] {
            assert!(is_scientific(text), "{text}");
        }
        for text in [
            "1E5", "0017", "E5", "1E", "12E+5A", "12.5E3", "AB1.2E+3", "1E-5", "",
        ] {
            assert!(!is_scientific(text), "{text}");
        }
    }
}
