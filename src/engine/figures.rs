//! Decimals as text in blocks, fast where they are whole and small: nearly all numbers of pieces are,
//! and there are millions of them.

use std::io::Write as _;

use rust_decimal::Decimal;

/// Appends a number as `Decimal` displays it.
pub(super) fn write(number: Decimal, out: &mut Vec<u8>) {
    let whole = i64::try_from(number.mantissa());
    match whole {
        Ok(whole) if number.scale() == 0 => write_whole(whole, out),
        // Writing into memory cannot fail.
        _ => drop(write!(out, "{number}")),
    }
}

/// Appends a whole number.
pub(super) fn write_whole(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10).to_le_bytes()[0];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Reads what [`write()`] wrote.
pub(super) fn read(text: &str) -> Option<Decimal> {
    let bytes = text.as_bytes();
    let plain = !bytes.is_empty() && bytes.len() <= 18 && bytes.iter().all(u8::is_ascii_digit);
    if !plain {
        return text.parse().ok();
    }
    let whole = bytes
        .iter()
        .fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some(Decimal::from(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_displayed_and_read_back() {
        let numbers = [
            "0",
            "7",
            "10",
            "-1",
            "-12",
            "0.5",
            "-0.5",
            "1.10",
            "999999999999999999",
            "1000000000000000000",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "79228162514264337593543950335",
        ];
        for text in numbers {
            let number: Decimal = text.parse().unwrap();
            let mut written = Vec::new();
            write(number, &mut written);
            assert_eq!(String::from_utf8(written).unwrap(), number.to_string());
            assert_eq!(read(text), Some(number));
            assert_eq!(read(text).unwrap().scale(), number.scale());
        }
        for text in ["", "-", "1|2", "x"] {
            assert_eq!(read(text), None, "{text}");
        }
        for whole in [0, 1, -1, i64::MAX, i64::MIN] {
            let mut written = Vec::new();
            write_whole(whole, &mut written);
            assert_eq!(String::from_utf8(written).unwrap(), whole.to_string());
        }
    }
}
