//! Supplier files that nobody here wrote: rows, sums, encodings and repeated articles must be what other
//! readers found in them.
//!
//! The samples are not part of the package (some have no licence); where they are missing, the tests say
//! so and pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossdock::clock::{Clock, ManualClock};
use crossdock::connector::{Body, Connector, Context, Page, Source};
use crossdock::connectors::feed::FeedConnector;
use crossdock::fault::Fault;
use crossdock::format::csv::{Column, CsvReader, Dialect, Limits, Next};
use crossdock::format::encoding::{Charset, Probe};
use crossdock::format::number::{self, NumberFormat};
use crossdock::format::sniff::sniff;
use crossdock::record::{Record, Stream};
use crossdock::transport::http::replay::{Order, Replay};
use rust_decimal::Decimal;
use serde_json::Value;

/// The samples of one folder, or a note that there are none.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn samples(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/samples")
        .join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no samples at {}", path.display());
    None
}

struct Sample {
    name: String,
    bytes: Vec<u8>,
    expected: Value,
}

impl Sample {
    fn read(folder: &Path, name: &str) -> Self {
        let expected = folder.join("expected").join(format!("{name}.json"));
        Self {
            name: name.to_owned(),
            bytes: fs::read(folder.join(name)).unwrap(),
            expected: serde_json::from_slice(&fs::read(expected).unwrap()).unwrap(),
        }
    }

    fn all(folder: &Path) -> Vec<Self> {
        let mut names: Vec<String> = fs::read_dir(folder.join("expected"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.trim_end_matches(".json").to_owned())
            .collect();
        names.sort();
        names.iter().map(|name| Self::read(folder, name)).collect()
    }

    fn text(&self, field: &str) -> &str {
        self.expected[field].as_str().unwrap_or_default()
    }

    fn count(&self, field: &str) -> u64 {
        self.expected[field].as_u64().unwrap_or_default()
    }

    /// What the tools that made the expectations took the bytes for.
    fn setting(&self) -> Option<Charset> {
        match self.text("encoding") {
            "utf-8" | "utf-8-sig" => None,
            other => Some(Charset::from_label(&other.replace('_', "-")).unwrap()),
        }
    }

    fn charset(&self) -> Charset {
        let mut probe = Probe::new();
        probe.feed(&self.bytes);
        probe.finish(None, self.setting()).unwrap()
    }

    fn dialect(&self) -> Dialect {
        // Of the polluted files the parameters are known; of the others somebody looked.
        let upstream = &self.expected["upstream_parameters"];
        let known = |field: &str| upstream[field].as_str().filter(|text| !text.is_empty());
        let delimiter = known("delimiter").unwrap_or(self.text("delimiter"));
        let quote = known("quotechar").unwrap_or("\"");
        Dialect {
            charset: self.charset(),
            delimiter: delimiter.bytes().next().unwrap_or(b','),
            quote: quote.bytes().next(),
            spaces_before_quote: delimiter == ", ",
            skip_lines: 0,
            header: true,
        }
    }
}

/// Rows by their number of cells, broken rows by their code.
fn shape(sample: &Sample) -> BTreeMap<String, u64> {
    let mut reader = CsvReader::new(&sample.bytes[..], sample.dialect(), Limits::default());
    let mut shape = BTreeMap::new();
    let mut count = |what: String| *shape.entry(what).or_insert(0) += 1;
    match reader.header() {
        Ok(header) => count(header.len().to_string()),
        Err(error) => {
            count(error.code().to_owned());
            return shape;
        }
    }
    while let Some(next) = reader.next_row().unwrap() {
        match next {
            Next::Row(row) => count(row.len().to_string()),
            Next::Bad(bad) => match bad.problem {
                crossdock::format::csv::Problem::WrongWidth { found, .. } => {
                    count(found.to_string());
                }
                other => count(other.code().to_owned()),
            },
        }
    }
    shape
}

#[test]
fn every_sample_falls_into_the_rows_that_others_found() {
    for folder in ["csv", "csv-pollock"] {
        let Some(folder) = samples(folder) else {
            return;
        };
        for sample in Sample::all(&folder) {
            let found = shape(&sample);
            let by_others = || {
                let widths = sample.expected["widths"].as_object().unwrap();
                widths
                    .iter()
                    .map(|(width, rows)| (width.clone(), rows.as_u64().unwrap()))
                    .collect::<BTreeMap<_, _>>()
            };
            let one = |what: &str, rows: u64| (what.to_owned(), rows);
            let expect = match sample.name.as_str() {
                // Read there with another delimiter or quote than it has.
                "file_field_delimiter_0x2C_0x20.csv" => [one("9", 84)].into(),
                // Likewise; and in 33 rows an apostrophe of the text (`won't`) is not doubled.
                "file_quotation_char_0x27.csv" => {
                    [one("9", 51), one("text_after_quote", 33)].into()
                }
                "file_no_payload.csv" => [one("file_empty", 1)].into(),
                // A NUL is no text.
                "csvkit_null_byte.csv" => [one("3", 1), one("nul_byte", 1)].into(),
                // `5","" Inseam`: text behind a closing quote is an error here.
                "file_multitable_less.csv" => {
                    [one("9", 84), one("8", 82), one("text_after_quote", 1)].into()
                }
                // Rows of nothing but delimiters count as empty there, not here.
                "file_preamble.csv" => [one("9", 86)].into(),
                "sniff_note_4_staff_costs__average_number_of_persons_employed_13_14.csv" => {
                    [one("8", 20)].into()
                }
                _ => by_others(),
            };
            assert_eq!(found, expect, "{}", sample.name);
        }
    }
}

/// Keys, repeated keys and the sum of one column, exactly.
#[test]
fn every_sample_holds_the_keys_and_sums_that_others_found() {
    let Some(folder) = samples("csv") else { return };
    let mut checked = 0;
    for sample in Sample::all(&folder) {
        let key = sample.text("key_column");
        if key.is_empty() {
            continue;
        }
        let mut reader = CsvReader::new(&sample.bytes[..], sample.dialect(), Limits::default());
        let header = reader.header().unwrap();
        let place = |name: &str| header.find(&Column::Named(name.to_owned())).unwrap();
        let key = place(key);
        let number = sample.expected["number_column"].as_str().map(place);
        let format = match sample.text("decimal") {
            "," => NumberFormat::COMMA,
            _ => NumberFormat::POINT,
        };
        let (mut keys, mut empty, mut sum) = (BTreeSet::new(), 0, Decimal::ZERO);
        while let Some(Next::Row(row)) = reader.next_row().unwrap() {
            match row.get(key).unwrap().trim() {
                "" => empty += 1,
                text => _ = keys.insert(text.to_owned()),
            }
            if let Some(value) = number.and_then(|at| number::parse(row.get(at)?, format).ok()) {
                sum += value;
            }
        }
        let name = &sample.name;
        assert_eq!(keys.len() as u64, sample.count("distinct_keys"), "{name}");
        assert_eq!(empty, sample.count("empty_keys"), "{name}");
        if number.is_some() {
            let expect = sample.expected["number_sum"].to_string();
            assert_eq!(
                sum.normalize(),
                expect.parse::<Decimal>().unwrap().normalize(),
                "{name}"
            );
        }
        checked += 1;
    }
    assert!(checked >= 10, "{checked}");
}

#[test]
fn sniffing_proposes_what_a_person_would() {
    for folder in ["csv", "csv-pollock"] {
        let Some(folder) = samples(folder) else {
            return;
        };
        for sample in Sample::all(&folder) {
            let expect = sample.dialect();
            let found = sniff(&sample.bytes).dialect;
            let name = sample.name.as_str();
            if name == "file_no_payload.csv" {
                continue;
            }
            assert_eq!(
                char::from(found.delimiter),
                char::from(expect.delimiter),
                "delimiter of {name}"
            );
            if name == "file_quotation_char_0x27.csv" {
                assert_eq!(found.quote, Some(b'\''));
            }
            // Two short lines with a pound sign are too little to tell one Latin code page from another.
            if name != "sniff_mixed_comma_and_semicolon.csv" {
                assert_eq!(found.charset, expect.charset, "encoding of {name}");
            }
        }
    }
}

struct Feed {
    dir: tempfile::TempDir,
    settings: String,
}

/// What one file said.
#[derive(Debug, Default)]
struct Said {
    /// Article and number.
    told: Vec<(String, Decimal)>,
    rejected: Vec<(String, String)>,
    complete: bool,
}

impl Said {
    fn sum(&self) -> Decimal {
        self.told.iter().map(|(_, number)| number).sum()
    }
}

impl Feed {
    fn new(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        let path = dir.path().display();
        let settings =
            format!("path = \"{path}\"\npattern = \"*\"\ncomplete = \"renamed\"\n{settings}");
        Self { dir, settings }
    }

    fn open(&self, stream: Stream) -> Arc<dyn Source> {
        let clock: Arc<dyn Clock> =
            Arc::new(ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap()));
        let context = Context {
            name: "acme".into(),
            http: Arc::new(Replay::new(Vec::new(), Order::Any, Arc::clone(&clock))),
            tokens: Arc::default(),
            files: crossdock::connector::FileLimits::default(),
            clock,
            windows: BTreeMap::new(),
        };
        let table = self.settings.parse().unwrap();
        let configured = FeedConnector::default().configure(&table).unwrap();
        Arc::clone(&configured.open(context).unwrap().sources[&stream])
    }

    async fn read(&self, stream: Stream, name: &str, bytes: &[u8]) -> Result<Said, Fault> {
        fs::write(self.dir.path().join("in").join(name), bytes).unwrap();
        let source = self.open(stream);
        let mut said = Said::default();
        let mut cursor = None;
        loop {
            let page: Page = source.pull(cursor.as_ref()).await?;
            for change in page.changes {
                let id = change.id.to_string();
                match change.body {
                    Body::Present(Record::Stock(level)) => {
                        said.told.push((id, level.on_hand.value().unwrap().0));
                    }
                    Body::Present(Record::Price(price)) => said.told.push((id, price.price.amount)),
                    Body::Rejected(fault) => said.rejected.push((id, fault.code.into_owned())),
                    other => panic!("{other:?}"),
                }
            }
            said.complete = page.complete;
            if !page.more {
                return Ok(said);
            }
            cursor = Some(page.cursor);
        }
    }
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[tokio::test]
async fn stock_lists_from_three_countries() {
    let Some(folder) = samples("csv") else { return };
    let cases = [
        (
            "shopware_instock.csv",
            "delimiter = \";\"\ncolumns = { sku = \"ordernumber\", on_hand = \"instock\" }",
        ),
        (
            "kr_stock_cp949.csv",
            "encoding = \"cp949\"\ncolumns = { sku = \"재료\", on_hand = 3 }",
        ),
        (
            "magento_catalog_products.csv",
            "columns = { sku = \"sku\", on_hand = \"qty\" }",
        ),
    ];
    for (name, settings) in cases {
        let sample = Sample::read(&folder, name);
        let feed = Feed::new(&format!("kind = \"full\"\n{settings}\n"));
        let said = feed.read(Stream::Stock, name, &sample.bytes).await.unwrap();
        let repeated: BTreeSet<&str> = sample.expected["duplicate_keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap())
            .collect();
        let refused: BTreeSet<&str> = said.rejected.iter().map(|(id, _)| id.as_str()).collect();
        assert!(refused.is_subset(&repeated), "{name}: {:?}", said.rejected);
        let articles: BTreeSet<&str> = said.told.iter().map(|(sku, _)| sku.as_str()).collect();
        let all = articles.union(&refused).count() as u64;
        assert_eq!(all, sample.count("distinct_keys"), "{name}");
        if refused.is_empty() {
            assert_eq!(
                said.sum(),
                decimal(&sample.expected["number_sum"].to_string()),
                "{name}"
            );
        }
        assert_eq!(said.complete, refused.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn prices_with_a_decimal_comma_in_four_encodings() {
    let Some(folder) = samples("csv") else { return };
    let sample = Sample::read(&folder, "shopware_prices.csv");
    let text = String::from_utf8(sample.bytes.clone()).unwrap();
    let encoded = |label: &str| Charset::from_label(label).unwrap().encode(&text).unwrap();
    let utf16 = fs::read(folder.join("derived_shopware_prices_utf16le.txt")).unwrap();
    let base = "kind = \"full\"\ncurrency = \"EUR\"\ndecimal_mark = \",\"\n\
                columns = { sku = \"ordernumber\", price = \"price\", price_list = \"pricegroup\" }\n";
    let cases = [
        ("utf-8", sample.bytes.clone(), "delimiter = \";\"\n"),
        (
            "marked",
            [b"\xEF\xBB\xBF", &sample.bytes[..]].concat(),
            "delimiter = \";\"\n",
        ),
        (
            "windows-1250",
            encoded("windows-1250"),
            "delimiter = \";\"\nencoding = \"windows-1250\"\n",
        ),
        (
            "windows-1252",
            encoded("windows-1252"),
            "delimiter = \";\"\nencoding = \"windows-1252\"\n",
        ),
        ("utf-16", utf16, "delimiter = \"\\t\"\n"),
    ];
    for (name, bytes, dialect) in cases {
        let feed = Feed::new(&format!("{dialect}{base}"));
        let said = feed.read(Stream::Prices, name, &bytes).await.unwrap();
        assert_eq!(
            said.told.len() as u64,
            sample.count("number_parsed"),
            "{name}"
        );
        assert_eq!(
            said.sum(),
            decimal(&sample.expected["number_sum"].to_string()),
            "{name}"
        );
        assert_eq!(
            said.told[0],
            ("SW10002.1@EK".to_owned(), decimal("59.99")),
            "{name}"
        );
    }
    // Read with a decimal point the prices mean something else: nothing is taken.
    let feed = Feed::new(&base.replace("decimal_mark = \",\"", "delimiter = \";\""));
    let fault = feed
        .read(Stream::Prices, "x", &sample.bytes)
        .await
        .unwrap_err();
    assert_eq!(fault.code, "feed_held");
}

#[tokio::test]
async fn prices_in_cyrillic_and_articles_in_japanese() {
    let Some(folder) = samples("csv") else { return };
    let settings = "kind = \"full\"\ndelimiter = \";\"\ncurrency = \"RUB\"\n\
                    encoding = \"windows-1251\"\ncolumns = { sku = \"SKU\", price = \"Цена, RUB\" }\n";
    let mut sums = Vec::new();
    for name in ["ru_price.csv", "derived_ru_price_cp1251.csv"] {
        let sample = Sample::read(&folder, name);
        let feed = Feed::new(settings);
        let said = feed
            .read(Stream::Prices, name, &sample.bytes)
            .await
            .unwrap();
        assert_eq!(said.told.len() as u64, sample.count("data_rows"), "{name}");
        sums.push(said.sum());
    }
    assert_eq!(sums[0], sums[1]);
    let sample = Sample::read(&folder, "jp_zaiko_cp932.csv");
    let settings = "kind = \"full\"\nencoding = \"cp932\"\ncolumns = { sku = \"商品番号\", \
                    on_hand = \"即時在庫数量\", location = \"倉庫名\" }\n";
    let feed = Feed::new(settings);
    let said = feed
        .read(Stream::Stock, "在庫.csv", &sample.bytes)
        .await
        .unwrap();
    let rows = said.told.len() + said.rejected.len();
    assert_eq!(
        rows as u64,
        sample.count("data_rows"),
        "{:?}",
        said.rejected
    );
    assert_eq!(said.told[0], ("P001".to_owned(), decimal("50")));
}

/// Not a test: `cargo test --release --test it -- --ignored --nocapture feeds::speed`. Ours against the
/// bare `csv` crate on the same bytes, each row cut up and hashed.
#[test]
#[ignore = "a measurement, for a quiet machine and a release build"]
#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a measurement prints, and needs a real clock"
)]
fn speed() {
    use std::fmt::Write as _;
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::time::{Duration, Instant};

    let mut text = String::from("sku,qty,price,name\n");
    for n in 0..1_000_000 {
        let (qty, cents) = (n % 97, n % 100);
        let euros = n % 500;
        let _ = writeln!(
            text,
            "SKU-{n:07},{qty},{euros}.{cents:02},Article number {n}"
        );
    }
    let bytes = text.as_bytes();
    let theirs = || {
        let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
        let mut record = csv::ByteRecord::new();
        let mut hasher = DefaultHasher::new();
        let mut rows = 0;
        while reader.read_byte_record(&mut record).unwrap() {
            record.iter().for_each(|cell| cell.hash(&mut hasher));
            rows += 1;
        }
        (rows, hasher.finish())
    };
    let ours = || {
        let mut reader = CsvReader::new(bytes, Dialect::default(), Limits::default());
        let mut hasher = DefaultHasher::new();
        let mut rows = 0;
        while let Some(Next::Row(row)) = reader.next_row().unwrap() {
            row.iter()
                .for_each(|cell| cell.as_bytes().hash(&mut hasher));
            rows += 1;
        }
        (rows, hasher.finish())
    };
    assert_eq!(theirs(), ours());
    let timed = |run: &dyn Fn() -> (i32, u64)| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    let best = |times: &[Duration]| times.iter().min().copied().unwrap();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        a.push(timed(&theirs));
        b.push(timed(&ours));
    }
    let (a, b) = (best(&a), best(&b));
    let ratio = b.as_secs_f64() / a.as_secs_f64();
    eprintln!(
        "1M rows, {} bytes: csv {a:?}, ours {b:?}, ratio {ratio:.2}",
        bytes.len()
    );
}

/// Not a test, as `speed`: a whole feed, identified, judged and handed over, without an engine. Rows from
/// `FEED_ROWS` millions; memory is what `/usr/bin/time` says of the process.
#[tokio::test]
#[ignore = "a measurement, for a quiet machine and a release build"]
#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a measurement prints, reads its size from outside and needs a real clock"
)]
async fn speed_of_a_whole_feed() {
    use std::io::Write as _;

    let millions: usize = std::env::var("FEED_ROWS").map_or(1, |text| text.parse().unwrap());
    let rows = millions * 1_000_000;
    let feed = Feed::new("kind = \"full\"\ncolumns = { sku = \"sku\", on_hand = \"qty\" }\n");
    let path = feed.dir.path().join("in/big.csv");
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    writeln!(file, "sku,qty,price,name").unwrap();
    for n in 0..rows {
        writeln!(
            file,
            "SKU-{n:08},{},{}.99,Article number {n}",
            n % 97,
            n % 500
        )
        .unwrap();
    }
    file.into_inner().unwrap();
    let source = feed.open(Stream::Stock);
    let start = std::time::Instant::now();
    let (mut cursor, mut told) = (None, 0);
    loop {
        let page = source.pull(cursor.as_ref()).await.unwrap();
        told += page.changes.len();
        if !page.more {
            assert!(page.complete);
            break;
        }
        cursor = Some(page.cursor);
    }
    assert_eq!(told, rows);
    eprintln!("{millions}M rows: {:?}", start.elapsed());
}
