//! Names of files. A supplier's name is shown to people and never used as a path.

use std::ffi::OsStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The longest display name, in bytes; file systems allow 255 for all of it.
const MAX_DISPLAY: usize = 100;
/// Hexadecimal digits of a content hash.
const HASH_DIGITS: usize = 32;
/// Stands in for the hash until the file was read.
const NOT_READ: &str = "new";
/// Behind the hash of a file that a person released.
const RELEASED: char = 'r';

/// A name that is safe as one component of a path and readable: letters and digits of any script, and
/// `. _ -` inside; everything else becomes `_`.
pub fn safe_name(name: &OsStr) -> String {
    let mut out = String::new();
    for c in name.to_string_lossy().chars() {
        let keep = c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        let c = if keep { c } else { '_' };
        if out.len() + c.len_utf8() > MAX_DISPLAY {
            break;
        }
        // Nothing hidden, nothing that looks like an option or a parent folder.
        if matches!(c, '.' | '-') && (out.is_empty() || out.ends_with('.')) {
            continue;
        }
        out.push(c);
    }
    if out.is_empty() {
        out.push_str("unnamed");
    }
    out
}

/// What a file is called from the moment it is claimed, in every folder:
/// `20261122T101500123Z-<hash>-<display>`.
///
/// The name carries all that must survive a restart: when the file was written, what is in it, and
/// whether a person released it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpoolName {
    stamp: String,
    /// What the supplier called it, made safe.
    pub display: String,
    /// The first 16 bytes of BLAKE3 of its content, in hexadecimal; `None` until it was read.
    pub hash: Option<String>,
    /// A person looked at it and let it pass.
    pub released: bool,
}

impl SpoolName {
    /// Of a file that was just found.
    pub fn new(written_at: Timestamp, display: String) -> Self {
        let civil = TimeZone::UTC.to_datetime(written_at);
        let millis = civil.subsec_nanosecond() / 1_000_000;
        let stamp = format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}{millis:03}Z",
            civil.year().max(0),
            civil.month(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second(),
        );
        Self {
            stamp,
            display,
            hash: None,
            released: false,
        }
    }

    /// From the name of a file in one of our folders; `None` for a file that is not ours.
    pub fn parse(name: &str) -> Option<Self> {
        let (stamp, rest) = name.split_once('-')?;
        let (state, display) = rest.split_once('-')?;
        let stamp_is_ours = stamp.len() == 19 && stamp.ends_with('Z') && stamp.is_ascii();
        if !stamp_is_ours || display.is_empty() || safe_name(OsStr::new(display)) != display {
            return None;
        }
        let (hash, released) = match state.strip_suffix(RELEASED) {
            Some(hash) => (hash, true),
            None => (state, false),
        };
        let is_hash = hash.len() == HASH_DIGITS
            && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hash && state != NOT_READ {
            return None;
        }
        Some(Self {
            stamp: stamp.to_owned(),
            display: display.to_owned(),
            hash: is_hash.then(|| hash.to_owned()),
            released,
        })
    }

    /// The first digits of the hash, for names that people read.
    pub fn short_hash(&self) -> &str {
        self.hash.as_deref().map_or(NOT_READ, |hash| &hash[..8])
    }
}

impl std::fmt::Display for SpoolName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.hash.as_deref().unwrap_or(NOT_READ);
        write!(f, "{}-{state}", self.stamp)?;
        if self.released && self.hash.is_some() {
            write!(f, "{RELEASED}")?;
        }
        write!(f, "-{}", self.display)
    }
}

/// Whether a name says by itself that its file is not for us, or not yet.
pub(super) fn is_unfinished(name: &str) -> bool {
    const SUFFIXES: [&str; 8] = [
        ".part",
        ".partial",
        ".filepart",
        ".tmp",
        ".temp",
        ".crdownload",
        ".swp",
        "~",
    ];
    let lower = name.to_ascii_lowercase();
    lower.starts_with('.')
        || lower.starts_with("~$")
        || SUFFIXES.iter().any(|suffix| lower.ends_with(suffix))
}

/// Whether a name matches a pattern of text, `*` (any characters) and `?` (one), without regard to the
/// case of ASCII letters.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().map(|c| c.to_ascii_lowercase()).collect();
    let name: Vec<char> = name.chars().map(|c| c.to_ascii_lowercase()).collect();
    let (mut p, mut n) = (0, 0);
    // Where to go on after the last star took one character more.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, taken)) => {
                    retry = Some((star, taken + 1));
                    p = star + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_suppliers_name_is_never_a_path() {
        let cases: [(&[u8], &str); 10] = [
            (b"stock.csv", "stock.csv"),
            (b"../../etc/passwd", "_._etc_passwd"),
            (b"/etc/passwd", "_etc_passwd"),
            (b"..", "unnamed"),
            (b"-rf", "rf"),
            (b".hidden", "hidden"),
            (b"a\0b\n;$(x).csv", "a_b____x_.csv"),
            (b"C:\\feeds\\a.csv", "C__feeds_a.csv"),
            (
                "Best\u{e4}nde \u{5728}\u{5eab}.csv".as_bytes(),
                "Best\u{e4}nde_\u{5728}\u{5eab}.csv",
            ),
            (b"\xff\xfe.csv", "__.csv"),
        ];
        for (name, expect) in cases {
            assert_eq!(safe_name(OsStr::from_bytes(name)), expect);
        }
        assert_eq!(safe_name(OsStr::new(&"x".repeat(5000))).len(), MAX_DISPLAY);
        assert!(safe_name(OsStr::new(&"\u{5728}".repeat(5000))).len() <= MAX_DISPLAY);
    }

    #[test]
    fn a_spool_name_reads_back() {
        let at: Timestamp = "2026-11-22T10:15:00.123456Z".parse().unwrap();
        let mut name = SpoolName::new(at, "stock-list.csv".into());
        assert_eq!(name.to_string(), "20261122T101500123Z-new-stock-list.csv");
        assert_eq!(SpoolName::parse(&name.to_string()).unwrap(), name);
        name.hash = Some("0123456789abcdef0123456789abcdef".into());
        assert_eq!(SpoolName::parse(&name.to_string()).unwrap(), name);
        name.released = true;
        assert_eq!(SpoolName::parse(&name.to_string()).unwrap(), name);
        assert_eq!(name.short_hash(), "01234567");
    }

    #[test]
    fn files_that_are_not_ours_are_told_apart() {
        for name in [
            "stock.csv",
            "20261122T101500123Z-new-",
            "20261122T101500123Z-new-../x",
            "20261122T101500123Z-xyz-stock.csv",
            "20261122T101500123Z-newr-stock.csv",
            "a-b-c",
        ] {
            assert_eq!(SpoolName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, expect) in [
            ("*", "a.csv", true),
            ("*.csv", "A.CSV", true),
            ("stock_*.csv", "stock_2026.csv", true),
            ("stock_*.csv", "prices_2026.csv", false),
            ("*_*_*.csv", "a_b_c.csv", true),
            ("a?.csv", "ab.csv", true),
            ("a?.csv", "a.csv", false),
            ("", "a", false),
            ("a*b*c", "aXXbYYbZc", true),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(50), &"b".repeat(200)));
    }

    #[test]
    fn unfinished_files_say_so() {
        for name in [
            ".x.csv",
            "a.csv.part",
            "a.csv.TMP",
            "a.csv.filepart",
            "~$a.xlsx",
            "a.csv~",
        ] {
            assert!(is_unfinished(name), "{name}");
        }
        assert!(!is_unfinished("stock.csv"));
    }
}
