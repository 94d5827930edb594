//! What a merchant writes about one supplier's folder, and what it means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::codes::{BAD_VALUE, CONTRADICTION, MISSING, OUT_OF_RANGE, WRONG_TYPE};
use crate::connector::FileLimits;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::format::cell::Words;
use crate::format::csv::{Column, Dialect};
use crate::format::encoding::Charset;
use crate::format::number::NumberFormat;
use crate::record::{Currency, Stream};
use crate::transport::dir::{Completeness, DropFolder};

/// The settings as they stand in the file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    /// The drop folder. It must exist; the folders below it are made.
    path: PathBuf,
    /// Where the supplier writes, below `path`; `.` for `path` itself.
    #[serde(default = "default_in_dir")]
    in_dir: String,
    /// Which files are meant: text with `*` and `?`.
    #[serde(default = "default_pattern")]
    pattern: String,
    /// How a file shows that it is complete.
    #[serde(default)]
    complete: RawCompleteness,
    /// With `complete = "stable"`: how many looks must agree.
    #[serde(default = "default_looks")]
    stable_looks: u32,
    /// With `complete = "stable"`: how far apart two looks are at least.
    #[serde(default = "default_apart")]
    stable_apart_secs: u64,
    /// Whether a file holds all there is (`full`: what is missing is gone) or only changes (`delta`).
    kind: Kind,
    /// Which streams the file is read for. Without it: those whose columns are given (`items` only when
    /// it stands here).
    streams: Option<Vec<Stream>>,
    /// The name of the supplier's location.
    #[serde(default = "default_location")]
    location: String,
    /// What the bytes mean when the file is not UTF-8 and has no byte order mark: `windows-1252`.
    encoding: Option<String>,
    /// Between two cells: one character.
    #[serde(default = "default_delimiter")]
    delimiter: String,
    /// Around a cell that holds a delimiter: one character; empty when quotes mean nothing.
    #[serde(default = "default_quote")]
    quote: String,
    /// Whether a quote may stand behind spaces.
    #[serde(default)]
    spaces_before_quote: bool,
    /// Lines before the header.
    #[serde(default)]
    skip_lines: u64,
    /// Whether the first row names the columns. If not, give columns by their number.
    #[serde(default = "yes")]
    header: bool,
    /// Between whole and part of a number: `.` or `,`.
    #[serde(default = "default_decimal")]
    decimal_mark: String,
    /// Between groups of three digits: `.`, `,`, `'` or a space; empty for none.
    #[serde(default)]
    thousands_mark: String,
    /// Which column holds what: name of the column, or its number from 1.
    columns: BTreeMap<Field, Column>,
    /// Words that stand for a number of pieces: `">100" = 100`, `"sold out" = 0`.
    #[serde(default)]
    words: BTreeMap<String, RawNumber>,
    /// The currency of prices, unless a column tells.
    currency: Option<String>,
    /// Whether prices include tax.
    tax_included: Option<bool>,
    /// The name of the price list, unless a column tells.
    #[serde(default = "default_location")]
    price_list: String,
    /// How a file's name tells when it was exported: `stock_%Y%m%d_%H%M.csv`.
    name_time: Option<String>,
    /// The time zone of `name_time`.
    #[serde(default = "default_zone")]
    time_zone: String,
    /// Without `name_time`: how old the numbers in a file may be when it is written.
    #[serde(default = "default_age")]
    snapshot_age_secs: u64,
    /// The largest file.
    #[serde(default = "default_max_bytes")]
    max_bytes: u64,
    /// How many files `archive/` and `reply/` keep each; the oldest go first.
    #[serde(default = "default_keep_files")]
    keep_files: usize,
    /// When a whole file is held back.
    #[serde(default)]
    guard: GuardLimits,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum RawCompleteness {
    /// Its size, time and last bytes no longer change.
    #[default]
    Stable,
    /// It gets its name when it is complete.
    Renamed,
    /// `NAME.done` is put beside it.
    Marker,
}

/// Whether a file holds everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// All there is: what is missing is gone.
    Full,
    /// Only what changed.
    Delta,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum RawNumber {
    Whole(i64),
    Text(String),
}

/// What a column can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Field {
    /// The article number. Always given.
    Sku,
    /// Pieces that are there.
    OnHand,
    /// Pieces that can be sold.
    Available,
    /// Pieces on the way to the supplier.
    Incoming,
    /// Where they are, when a file tells of several locations.
    Location,
    /// The price.
    Price,
    /// The crossed-out price.
    CompareAt,
    /// The price's currency.
    Currency,
    /// The price list.
    PriceList,
    /// From how many pieces on the price holds.
    MinQty,
    /// The trade item number.
    Gtin,
    /// What it is called.
    Name,
    /// What is said about it.
    Description,
    /// Who makes it.
    Brand,
}

impl Field {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Brand as usize + 1;
}

/// When a whole file is held back. Shares are between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GuardLimits {
    /// Bad rows among all rows.
    pub(super) bad_rows: f64,
    /// How much shorter than the last good file a full one may be.
    pub(super) shrink: f64,
    /// How far the share of zeros may rise above that of the last good file.
    pub(super) zero_rise: f64,
    /// The most zeros in the very first file.
    pub(super) first_zeros: f64,
    /// By which factor the mean price may differ from the last good file's.
    pub(super) price_factor: f64,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            bad_rows: 0.1,
            shrink: 0.3,
            zero_rise: 0.3,
            first_zeros: 0.95,
            price_factor: 2.0,
        }
    }
}

fn default_in_dir() -> String {
    "in".to_owned()
}
fn default_pattern() -> String {
    "*.csv".to_owned()
}
fn default_looks() -> u32 {
    3
}
fn default_apart() -> u64 {
    2
}
fn default_location() -> String {
    "default".to_owned()
}
fn default_delimiter() -> String {
    ",".to_owned()
}
fn default_quote() -> String {
    "\"".to_owned()
}
fn default_decimal() -> String {
    ".".to_owned()
}
fn default_zone() -> String {
    "UTC".to_owned()
}
fn default_age() -> u64 {
    3600
}
fn default_keep_files() -> usize {
    1000
}

fn default_max_bytes() -> u64 {
    1 << 30
}
fn yes() -> bool {
    true
}

/// Checked settings.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) folder: DropFolder,
    pub(super) kind: Kind,
    pub(super) streams: Vec<Stream>,
    pub(super) location: String,
    /// As the file is written, except for the encoding, which each file decides.
    pub(super) dialect: Dialect,
    pub(super) encoding: Option<Charset>,
    pub(super) numbers: NumberFormat,
    pub(super) columns: BTreeMap<Field, Column>,
    pub(super) words: Words,
    pub(super) currency: Option<Currency>,
    pub(super) tax_included: Option<bool>,
    pub(super) price_list: String,
    pub(super) name_time: Option<String>,
    pub(super) time_zone: TimeZone,
    pub(super) snapshot_age: Duration,
    pub(super) max_bytes: u64,
    /// How many files `archive/` and `reply/` keep each.
    pub(super) keep_files: usize,
    pub(super) guard: GuardLimits,
    /// What a file may be at most, whatever is configured here.
    pub(super) files: FileLimits,
}

impl Settings {
    /// Reads and checks a connection's settings.
    ///
    /// # Errors
    /// All findings about meaning at once; of findings about form the first.
    pub(super) fn read(table: &toml::Table) -> Result<Self, Diagnostics> {
        let raw: Raw = serde_path_to_error::deserialize(table.clone()).map_err(|error| {
            let path = error.path().to_string();
            let message = error.inner().message().to_owned();
            Diagnostics(vec![Diagnostic::error(WRONG_TYPE, path, message)])
        })?;
        Reader::default().settings(raw)
    }
}

/// Collects findings while it turns raw settings into checked ones.
#[derive(Default)]
struct Reader {
    findings: Diagnostics,
}

impl Reader {
    fn settings(mut self, raw: Raw) -> Result<Settings, Diagnostics> {
        self.check_columns(&raw);
        let streams = self.streams(&raw);
        let currency = raw.currency.as_deref().and_then(|code| {
            let currency = Currency::from_code(code);
            if let Err(fault) = &currency {
                self.bad("currency", fault.message.clone());
            }
            currency.ok()
        });
        let prices = streams.contains(&Stream::Prices);
        if prices && raw.currency.is_none() && !raw.columns.contains_key(&Field::Currency) {
            let finding = Diagnostic::error(MISSING, "currency", "prices need a currency");
            self.findings
                .push(finding.help("set `currency = \"EUR\"` or `columns.currency`"));
        }
        let settings = Settings {
            folder: self.folder(&raw),
            kind: raw.kind,
            location: raw.location.clone(),
            dialect: self.dialect(&raw),
            encoding: self.encoding(&raw),
            numbers: self.numbers(&raw),
            words: self.words(&raw),
            time_zone: self.time_zone(&raw),
            guard: self.guard(raw.guard),
            columns: raw.columns,
            streams,
            currency,
            tax_included: raw.tax_included,
            price_list: raw.price_list,
            // Names are compared as we keep them, with `_` for spaces.
            name_time: raw.name_time.map(|format| format.replace(' ', "_")),
            snapshot_age: Duration::from_secs(raw.snapshot_age_secs),
            max_bytes: raw.max_bytes,
            files: FileLimits::default(),
            keep_files: raw.keep_files,
        };
        self.findings.into_result(settings)
    }

    fn bad(&mut self, path: &str, message: impl Into<String>) {
        self.findings
            .push(Diagnostic::error(BAD_VALUE, path, message));
    }

    fn folder(&mut self, raw: &Raw) -> DropFolder {
        if !raw.path.is_absolute() {
            self.bad("path", "the drop folder must be given by its absolute path");
        }
        let plain = std::path::Path::new(&raw.in_dir);
        let is_plain = raw.in_dir == "."
            || (plain.components().count() == 1
                && plain
                    .components()
                    .all(|part| matches!(part, std::path::Component::Normal(_))));
        let ours = ["processing", "archive", "failed", "held", "reply"];
        if !is_plain || ours.contains(&raw.in_dir.as_str()) {
            self.bad(
                "in_dir",
                "it must be `.` or one name that is not one of our own folders",
            );
        }
        if raw.stable_looks == 0 || raw.stable_looks > 1000 || raw.stable_apart_secs > 86_400 {
            let message = "looks are 1 to 1000 and at most a day apart";
            let finding = Diagnostic::error(OUT_OF_RANGE, "stable_looks", message);
            self.findings.push(finding);
        }
        let complete = match raw.complete {
            RawCompleteness::Renamed => Completeness::Renamed,
            RawCompleteness::Marker => Completeness::Marker,
            RawCompleteness::Stable => Completeness::Stable {
                looks: raw.stable_looks,
                apart: Duration::from_secs(raw.stable_apart_secs),
            },
        };
        DropFolder::new(&raw.path, &raw.in_dir, raw.pattern.clone(), complete)
    }

    fn check_columns(&mut self, raw: &Raw) {
        if !raw.columns.contains_key(&Field::Sku) {
            let message = "the column of the article number is missing";
            let finding = Diagnostic::error(MISSING, "columns.sku", message);
            self.findings.push(finding);
        }
        for column in raw.columns.values() {
            match column {
                Column::Place(0) => self.bad("columns", "columns are counted from 1"),
                Column::Named(name) if !raw.header => {
                    let message = format!("without a header, give the number of `{name}`");
                    self.bad("columns", message);
                }
                _ => {}
            }
        }
    }

    fn streams(&mut self, raw: &Raw) -> Vec<Stream> {
        let given = |field| raw.columns.contains_key(&field);
        let has = |stream| match stream {
            Stream::Stock => given(Field::OnHand) || given(Field::Available),
            Stream::Prices => given(Field::Price),
            Stream::Items => true,
            _ => false,
        };
        let Some(listed) = &raw.streams else {
            let found: Vec<_> = [Stream::Stock, Stream::Prices]
                .into_iter()
                .filter(|stream| has(*stream))
                .collect();
            if found.is_empty() {
                let message = "neither a column for stock nor one for prices is given";
                let finding = Diagnostic::error(MISSING, "columns", message);
                self.findings
                    .push(finding.help("set `columns.on_hand` or `columns.price`"));
            }
            return found;
        };
        for stream in listed.iter().filter(|stream| !has(**stream)) {
            let message = format!("`{stream}` cannot be read without its columns");
            self.findings
                .push(Diagnostic::error(CONTRADICTION, "streams", message));
        }
        let mut streams = listed.clone();
        streams.sort();
        streams.dedup();
        if streams.is_empty() {
            self.bad("streams", "the list is empty");
        }
        streams
    }

    fn dialect(&mut self, raw: &Raw) -> Dialect {
        let delimiter = self.ascii("delimiter", &raw.delimiter).unwrap_or(b',');
        let quote = if raw.quote.is_empty() {
            None
        } else {
            self.ascii("quote", &raw.quote)
        };
        if quote == Some(delimiter) {
            self.bad("quote", "the quote and the delimiter are the same");
        }
        Dialect {
            charset: Charset::UTF_8,
            delimiter,
            quote,
            spaces_before_quote: raw.spaces_before_quote,
            skip_lines: raw.skip_lines,
            header: raw.header,
        }
    }

    fn ascii(&mut self, path: &str, text: &str) -> Option<u8> {
        match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
            _ => {
                self.bad(path, "it must be one ASCII character; a tab is \"\\t\"");
                None
            }
        }
    }

    fn encoding(&mut self, raw: &Raw) -> Option<Charset> {
        let label = raw.encoding.as_deref()?;
        let charset = Charset::from_label(label);
        if charset.is_none() {
            self.bad(
                "encoding",
                format!("`{label}` is not an encoding that is known here"),
            );
        }
        charset
    }

    fn numbers(&mut self, raw: &Raw) -> NumberFormat {
        let decimal = match raw.decimal_mark.as_str() {
            "," => ',',
            "." => '.',
            _ => {
                self.bad("decimal_mark", "it must be `.` or `,`");
                '.'
            }
        };
        let thousands = match raw.thousands_mark.as_str() {
            "" => None,
            "." => Some('.'),
            "," => Some(','),
            "'" => Some('\''),
            "_" => Some('_'),
            " " => Some(' '),
            _ => {
                self.bad(
                    "thousands_mark",
                    "it must be `.`, `,`, `'`, `_`, a space or empty",
                );
                None
            }
        };
        if thousands == Some(decimal) {
            self.bad("thousands_mark", "both marks are the same");
        }
        NumberFormat { decimal, thousands }
    }

    fn words(&mut self, raw: &Raw) -> Words {
        let mut table = Vec::new();
        for (word, number) in &raw.words {
            let value = match number {
                RawNumber::Whole(whole) => Ok(Decimal::from(*whole)),
                RawNumber::Text(text) => Decimal::from_str_exact(text),
            };
            match value {
                Ok(value) if !value.is_sign_negative() || value.is_zero() => {
                    table.push((word.as_str(), value));
                }
                _ => self.bad(
                    "words",
                    format!("`{word}` must stand for a number, zero or more"),
                ),
            }
        }
        Words::new(table)
    }

    fn time_zone(&mut self, raw: &Raw) -> TimeZone {
        TimeZone::get(&raw.time_zone).unwrap_or_else(|_| {
            self.bad(
                "time_zone",
                format!(
                    "`{}` is not a time zone such as `Europe/Vienna`",
                    raw.time_zone
                ),
            );
            TimeZone::UTC
        })
    }

    fn guard(&mut self, guard: GuardLimits) -> GuardLimits {
        let shares = [
            ("guard.bad_rows", guard.bad_rows),
            ("guard.shrink", guard.shrink),
            ("guard.zero_rise", guard.zero_rise),
            ("guard.first_zeros", guard.first_zeros),
        ];
        for (path, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                let finding = Diagnostic::error(OUT_OF_RANGE, path, "a share is between 0 and 1");
                self.findings.push(finding);
            }
        }
        if guard.price_factor.is_nan() || guard.price_factor < 1.0 {
            let message = "a factor is at least 1";
            let finding = Diagnostic::error(OUT_OF_RANGE, "guard.price_factor", message);
            self.findings.push(finding);
        }
        guard
    }
}
