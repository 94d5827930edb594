//! Which characters the bytes of a file mean.
//!
//! In this order: a byte order mark, what was declared on the way (a `Content-Type`), strict UTF-8, the
//! feed's own setting. A detector is asked only to word the advice when all of that fails: a wrong
//! guess turns names into rubbish without anybody noticing.

use std::fmt;
use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// How much of a file that is not UTF-8 the detector sees.
const DETECT_BYTES: usize = 256 * 1024;

/// How the bytes of one file are to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// What everything is unless it says otherwise.
    pub const UTF_8: Self = Self(UTF_8);

    /// From a name as people write it: the labels of the WHATWG encoding standard, in either case, and
    /// the Windows code page numbers `cp932`, `cp936`, `cp949`, `cp950`.
    pub fn from_label(label: &str) -> Option<Self> {
        let label = label.trim().to_ascii_lowercase();
        let known = match label.as_str() {
            "cp932" | "windows-932" | "932" => "shift_jis",
            "cp936" | "windows-936" | "936" => "gbk",
            "cp949" | "uhc" | "949" => "euc-kr",
            "cp950" | "windows-950" | "950" => "big5",
            "utf16" | "utf-16" | "unicode" => "utf-16le",
            "eucjp" => "euc-jp",
            other => other,
        };
        // The standard maps labels of encodings that must never be decoded to `replacement`.
        Encoding::for_label(known.as_bytes())
            .filter(|encoding| *encoding != encoding_rs::REPLACEMENT)
            .map(Self)
    }

    /// `windows-1252`.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Whether bytes can be taken as they are.
    pub fn is_utf8(self) -> bool {
        self.0 == UTF_8
    }

    /// The text in this encoding; `None` when a character does not exist in it or when it cannot be
    /// written (UTF-16).
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        let (bytes, written_as, had_errors) = self.0.encode(text);
        (!had_errors && written_as == self.0).then(|| bytes.into_owned())
    }
}

impl fmt::Debug for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The file is not UTF-8 and nobody said what it is instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownEncoding {
    /// The first line (from 1) with a byte that is not UTF-8.
    pub line: u64,
    /// That byte.
    pub byte: u8,
    /// What a detector takes it for.
    pub suggestion: &'static str,
}

impl fmt::Display for UnknownEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            byte,
            suggestion,
        } = self;
        write!(
            f,
            "line {line} holds the byte 0x{byte:02X}, which is not UTF-8; it looks like {suggestion}: \
             look at a name with accents, then set `encoding = \"{suggestion}\"`"
        )
    }
}

impl std::error::Error for UnknownEncoding {}

/// Watches the bytes of a file go by and tells at the end how to read it.
pub struct Probe {
    head: Vec<u8>,
    /// The beginning of a character that the next bytes complete.
    pending: Vec<u8>,
    lines: u64,
    invalid: Option<(u64, u8)>,
    sample: Vec<u8>,
    nul: bool,
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").finish_non_exhaustive()
    }
}

impl Probe {
    /// Has seen nothing.
    pub fn new() -> Self {
        Self {
            head: Vec::new(),
            pending: Vec::new(),
            lines: 1,
            invalid: None,
            sample: Vec::new(),
            nul: false,
        }
    }

    /// The next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let missing = 4usize.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..missing]);
        self.nul = self.nul || memchr::memchr(0, bytes).is_some();
        if self.invalid.is_some() {
            self.keep_sample(bytes);
        } else {
            self.check(bytes);
        }
    }

    fn check(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !self.pending.is_empty() {
            let Some((&byte, after)) = rest.split_first() else {
                return;
            };
            self.pending.push(byte);
            rest = after;
            match std::str::from_utf8(&self.pending) {
                Ok(_) => self.pending.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return self.found_invalid(self.pending[0], bytes, 0),
            }
        }
        match std::str::from_utf8(rest) {
            Ok(_) => self.lines += count_lines(rest),
            Err(error) if error.error_len().is_none() => {
                let (valid, start) = rest.split_at(error.valid_up_to());
                self.lines += count_lines(valid);
                self.pending.extend_from_slice(start);
            }
            Err(error) => {
                let at = error.valid_up_to();
                let before = bytes.len() - rest.len();
                self.found_invalid(rest[at], bytes, before + at);
            }
        }
    }

    fn found_invalid(&mut self, byte: u8, bytes: &[u8], at: usize) {
        self.lines += count_lines(&bytes[..at]);
        self.invalid = Some((self.lines, byte));
        let pending = std::mem::take(&mut self.pending);
        self.keep_sample(&pending);
        self.keep_sample(bytes);
    }

    fn keep_sample(&mut self, bytes: &[u8]) {
        let room = DETECT_BYTES
            .saturating_sub(self.sample.len())
            .min(bytes.len());
        self.sample.extend_from_slice(&bytes[..room]);
    }

    /// How to read what went by: the byte order mark, else `declared`, else UTF-8 if all of it is valid,
    /// else `setting`.
    ///
    /// A setting whose bytes can look like plain ASCII (UTF-16 without a mark, ISO-2022-JP) goes before
    /// the check for UTF-8, which it would pass.
    ///
    /// # Errors
    /// When nothing of that applies; carries what a detector would suggest.
    pub fn finish(
        mut self,
        declared: Option<Charset>,
        setting: Option<Charset>,
    ) -> Result<Charset, UnknownEncoding> {
        if let Some((encoding, _)) = Encoding::for_bom(&self.head) {
            return Ok(Charset(encoding));
        }
        if let Some(declared) = declared {
            return Ok(declared);
        }
        if let Some(setting) = setting
            && !setting.0.is_ascii_compatible()
        {
            return Ok(setting);
        }
        if let Some(&byte) = self.pending.first()
            && self.invalid.is_none()
        {
            // The file ends in the middle of a character.
            self.found_invalid(byte, &[], 0);
        }
        match (self.invalid, setting) {
            (None, _) => Ok(Charset::UTF_8),
            (Some(_), Some(setting)) if !setting.is_utf8() => Ok(setting),
            (Some((line, byte)), _) => Err(UnknownEncoding {
                line,
                byte,
                suggestion: self.suggestion(),
            }),
        }
    }

    /// What it probably is. For advice only.
    pub fn suggestion(&self) -> &'static str {
        if let Some((encoding, _)) = Encoding::for_bom(&self.head) {
            return encoding.name();
        }
        if self.nul && self.head.len() == 4 {
            match (self.head[0], self.head[1]) {
                (0, _) => return UTF_16BE.name(),
                (_, 0) => return UTF_16LE.name(),
                _ => {}
            }
        }
        if self.invalid.is_none() {
            return UTF_8.name();
        }
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
        detector.feed(&self.sample, true);
        detector.guess(None, Utf8Detection::Deny).name()
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Bytes in, UTF-8 out, without the byte order mark. UTF-8 passes unchecked: whoever cuts it into
/// rows checks each row, so that one bad byte costs one row.
pub(super) struct Utf8Reader<R> {
    inner: R,
    /// `None` when the bytes are taken as they are.
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    /// How much is read at once.
    chunk: usize,
    at_start: bool,
    done: bool,
    /// Read so far, before decoding.
    pub(super) bytes_read: u64,
}

impl<R: Read> Utf8Reader<R> {
    pub(super) fn new(inner: R, charset: Charset, chunk: usize) -> Self {
        let decoder = (!charset.is_utf8()).then(|| charset.0.new_decoder_with_bom_removal());
        let raw = if decoder.is_some() {
            vec![0; chunk]
        } else {
            Vec::new()
        };
        Self {
            inner,
            decoder,
            raw,
            chunk,
            at_start: true,
            done: false,
            bytes_read: 0,
        }
    }

    /// Whether characters that did not exist in the encoding came out as U+FFFD.
    pub(super) fn replaces(&self) -> bool {
        self.decoder.is_some()
    }

    /// Appends some text to `out`; `false` at the end.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.done {
            return Ok(false);
        }
        if self.decoder.is_some() {
            self.fill_decoded(out)?;
        } else {
            self.fill_plain(out)?;
        }
        Ok(!self.done)
    }

    fn fill_plain(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        // The first portion holds all of a byte order mark.
        let portion = if self.at_start {
            self.chunk.max(3)
        } else {
            self.chunk
        };
        out.resize(start + portion, 0);
        let read = read_full(&mut self.inner, &mut out[start..]);
        out.truncate(start + read.as_ref().copied().unwrap_or(0));
        let read = read?;
        self.bytes_read += read as u64;
        self.done = read == 0;
        if self.at_start && out[start..].starts_with(b"\xEF\xBB\xBF") {
            out.drain(start..start + 3);
        }
        self.at_start = false;
        Ok(())
    }

    fn fill_decoded(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(decoder) = self.decoder.as_mut() else {
            return Ok(());
        };
        let read = read_full(&mut self.inner, &mut self.raw)?;
        self.bytes_read += read as u64;
        self.done = read == 0;
        let start = out.len();
        let room = decoder
            .max_utf8_buffer_length(read)
            .unwrap_or(self.chunk.saturating_mul(4));
        out.resize(start + room, 0);
        // The room is the decoder's own worst case, so one call takes everything.
        let (_, _, written, _) =
            decoder.decode_to_utf8(&self.raw[..read], &mut out[start..], self.done);
        out.truncate(start + written);
        Ok(())
    }
}

/// Fills `buffer`, or as much of it as there is.
fn read_full<R: Read>(inner: &mut R, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match inner.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(bytes: &[u8], chunk: usize) -> Probe {
        let mut probe = Probe::new();
        bytes.chunks(chunk).for_each(|part| probe.feed(part));
        probe
    }

    fn choose(bytes: &[u8], setting: &str) -> Result<&'static str, UnknownEncoding> {
        let results: Vec<_> = [1, 2, 3, 7, 1024]
            .into_iter()
            .map(|chunk| {
                probe(bytes, chunk)
                    .finish(None, Charset::from_label(setting))
                    .map(Charset::name)
            })
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        results[0].clone()
    }

    #[test]
    fn the_order_is_mark_then_utf8_then_setting() {
        // Story 45: a byte order mark is not part of the first column's name.
        let cases: [(&[u8], &str, &str); 9] = [
            (b"\xEF\xBB\xBFsku", "windows-1252", "UTF-8"),
            (b"\xFF\xFEs\0k\0", "windows-1252", "UTF-16LE"),
            (b"\xFE\xFF\0s\0k", "", "UTF-16BE"),
            (b"plain", "windows-1250", "UTF-8"),
            ("Größe".as_bytes(), "windows-1250", "UTF-8"),
            (b"Gr\xF6\xDFe", "windows-1250", "windows-1250"),
            (b"s\0k\0u\0", "utf-16", "UTF-16LE"),
            (b"\x8D\xDD", "cp932", "Shift_JIS"),
            (b"", "", "UTF-8"),
        ];
        for (bytes, setting, expect) in cases {
            assert_eq!(choose(bytes, setting).unwrap(), expect, "{bytes:?}");
        }
    }

    #[test]
    fn an_unknown_encoding_is_refused_with_advice() {
        let text = "artikel;stueck\n1;M\u{fc}nsterl\u{e4}nder K\u{e4}se\n".repeat(40);
        let bytes = Charset::from_label("windows-1252")
            .unwrap()
            .encode(&text)
            .unwrap();
        let error = choose(&bytes, "").unwrap_err();
        assert_eq!((error.line, error.byte), (2, 0xFC));
        assert_eq!(error.suggestion, "windows-1252");
        assert!(error.to_string().contains("encoding = \"windows-1252\""));
        assert!(choose("ab\u{e4}".as_bytes().split_last().unwrap().1, "").is_err());
    }

    #[test]
    fn labels_that_must_not_be_decoded_are_unknown() {
        assert!(Charset::from_label("hz-gb-2312").is_none());
        assert!(Charset::from_label("cp850").is_none());
        assert_eq!(
            Charset::from_label(" CP1250 ").unwrap().name(),
            "windows-1250"
        );
    }

    #[test]
    fn decoding_is_the_same_in_any_portions() {
        let cases: [(&[u8], &str, &str); 4] = [
            (b"\xEF\xBB\xBFa\xC3\xA4", "utf-8", "a\u{e4}"),
            (b"\xFF\xFEa\0\xE4\0", "utf-16", "a\u{e4}"),
            (b"\x8D\xDD\x8C\xC9", "cp932", "\u{5728}\u{5eab}"),
            (b"a\x8D", "cp932", "a\u{fffd}"),
        ];
        for (bytes, label, expect) in cases {
            for step in 1..=4 {
                let charset = Charset::from_label(label).unwrap();
                let mut reader = Utf8Reader::new(bytes, charset, step);
                let mut out = Vec::new();
                while reader.fill(&mut out).unwrap() {}
                assert_eq!(String::from_utf8(out).unwrap(), expect, "{label} by {step}");
            }
        }
    }
}
