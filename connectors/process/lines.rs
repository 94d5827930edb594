//! What a child writes: answers, cut into lines of bounded length, and its log.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value as Json;

/// How much of a line of the log is kept.
const LOG_CHARS: usize = 1000;
/// How much of a line of the log is looked at: enough that a secret cut by the end is not shown.
const LOG_BYTES: usize = 16 << 10;
/// Lines of the log that are passed on in a minute.
const LOG_LINES: u32 = 200;
/// Bytes of the log in a minute beyond which the child is ended.
const LOG_FLOOD: u64 = 16 << 20;
const MINUTE: Duration = Duration::from_secs(60);
/// A secret shorter than this would hide half of every line.
const SHORTEST_SECRET: usize = 4;

/// Cuts what comes in portions into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) buffer: Vec<u8>,
    /// Up to where no end of a line stands.
    searched: usize,
}

impl Lines {
    /// The next whole line, without its end.
    ///
    /// # Errors
    /// When it is longer than `max`, complete or not.
    pub(super) fn next(&mut self, max: usize) -> Result<Option<Vec<u8>>, TooLong> {
        let found = memchr::memchr(b'\n', &self.buffer[self.searched..]);
        let Some(at) = found.map(|at| at + self.searched) else {
            self.searched = self.buffer.len();
            return if self.searched > max {
                Err(TooLong)
            } else {
                Ok(None)
            };
        };
        if at > max {
            return Err(TooLong);
        }
        let rest = self.buffer.split_off(at + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        self.searched = 0;
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(line))
    }
}

/// A line longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// What must not be shown: each text in a connection's secrets, and each line of one that has several.
#[derive(Clone, Default)]
pub(super) struct Mask(Vec<String>);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({})", self.0.len())
    }
}

impl Mask {
    pub(super) fn of(secrets: &Json) -> Self {
        let mut texts = Vec::new();
        for secret in secrets
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::values)
        {
            let Some(secret) = secret.as_str() else {
                continue;
            };
            texts.push(secret.to_owned());
            texts.extend(secret.lines().map(|line| line.trim().to_owned()));
        }
        texts.retain(|text| text.len() >= SHORTEST_SECRET);
        // The longest first: one may be part of another.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        Self(texts)
    }

    /// The text without secrets.
    pub(super) fn hide(&self, text: &str) -> String {
        let hide = |text: String, secret: &String| text.replace(secret.as_str(), "[secret]");
        self.0.iter().fold(text.to_owned(), hide)
    }
}

/// A child's log on its way into ours.
#[derive(Debug)]
pub(super) struct Log {
    mask: Mask,
    line: Vec<u8>,
    /// When this minute began, and what came in it.
    since: Duration,
    lines: u32,
    bytes: u64,
    left_out: u64,
    ready: VecDeque<String>,
}

/// More log than anybody can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flood;

impl Log {
    pub(super) fn new(mask: Mask) -> Self {
        Self {
            mask,
            line: Vec::new(),
            since: Duration::ZERO,
            lines: 0,
            bytes: 0,
            left_out: 0,
            ready: VecDeque::new(),
        }
    }

    /// Takes a portion that came at `now`; the lines to pass on are in [`Log::next`] then.
    pub(super) fn take(&mut self, portion: &[u8], now: Duration) -> Result<(), Flood> {
        if now.saturating_sub(self.since) >= MINUTE {
            self.told_left_out();
            (self.since, self.lines, self.bytes) = (now, 0, 0);
        }
        self.bytes += portion.len() as u64;
        for &byte in portion {
            match byte {
                b'\n' => self.end_of_line(),
                byte if self.line.len() < LOG_BYTES => self.line.push(byte),
                _ => {}
            }
        }
        if self.bytes > LOG_FLOOD {
            return Err(Flood);
        }
        Ok(())
    }

    /// What is left when nothing more comes.
    pub(super) fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_of_line();
        }
        self.told_left_out();
    }

    /// A line to pass on.
    pub(super) fn next(&mut self) -> Option<String> {
        self.ready.pop_front()
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if self.lines >= LOG_LINES {
            self.left_out += 1;
            return;
        }
        self.lines += 1;
        let text = self.mask.hide(&String::from_utf8_lossy(&line));
        let shown = text.trim_end().chars().take(LOG_CHARS);
        let shown = shown.map(|c| if c.is_control() { ' ' } else { c });
        self.ready.push_back(shown.collect());
    }

    fn told_left_out(&mut self) {
        let count = std::mem::take(&mut self.left_out);
        if count > 0 {
            self.ready
                .push_back(format!("({count} more lines left out)"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_portions_end() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for portion in ["{\"a\"", ":1}\r\n{", "}\n\n", "rest"] {
            lines.buffer.extend_from_slice(portion.as_bytes());
            while let Some(line) = lines.next(100).unwrap() {
                found.push(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(found, ["{\"a\":1}", "{}", ""]);
        assert_eq!(lines.buffer, b"rest");
    }

    #[test]
    fn a_line_that_is_too_long_is_seen_before_its_end() {
        let mut lines = Lines::default();
        lines.buffer.extend_from_slice(&[b'x'; 11]);
        assert_eq!(lines.next(10), Err(TooLong));
        let mut lines = Lines::default();
        lines.buffer.extend_from_slice(b"xxxxxxxxxxx\n");
        assert_eq!(lines.next(10), Err(TooLong));
    }

    /// Story 55: secrets in logs.
    #[test]
    fn the_log_hides_secrets_and_is_bounded() {
        let secrets =
            json!({"token": "t0psecret", "key": "-----BEGIN\nabcdef12\n-----END", "n": null});
        let mut log = Log::new(Mask::of(&secrets));
        log.take(b"login with t0psecret\nline abcdef12\n", Duration::ZERO)
            .unwrap();
        assert_eq!(log.next().unwrap(), "login with [secret]");
        assert_eq!(log.next().unwrap(), "line [secret]");
        log.take(&b"noise\n".repeat(1000), Duration::ZERO).unwrap();
        let passed = std::iter::from_fn(|| log.next()).count();
        assert_eq!(passed, 198);
        log.take(b"later\n", MINUTE).unwrap();
        assert_eq!(log.next().unwrap(), "(802 more lines left out)");
        assert_eq!(log.next().unwrap(), "later");
        let much = vec![b'x'; 1 << 20];
        log.take(&much, MINUTE).unwrap();
        assert!(log.line.len() <= LOG_BYTES);
        let flood = (0..16).find(|_| log.take(&much, MINUTE).is_err());
        assert!(flood.is_some());
    }
}
