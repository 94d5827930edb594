use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::connector::{Body, Change, Cursor, Page};
use crate::fault::Class;
use crate::record::Record;
use crate::transport::http::replay::{Order, Replay};

/// A folder, a connection that reads it, and the cursors that an engine would have stored.
struct Bench {
    dir: tempfile::TempDir,
    settings: String,
    clock: ManualClock,
    connection: Connection,
    cursors: BTreeMap<Stream, Cursor>,
    /// So that each file is newer than the one before.
    written: u64,
}

/// What one run over one file gave.
#[derive(Debug, Default, PartialEq)]
struct Run {
    /// `sku=value`, in the order of the file.
    told: Vec<String>,
    /// `id!code`
    rejected: Vec<String>,
    pages: usize,
    complete: bool,
}

const STOCK: &str = "kind = \"full\"\ncolumns = { sku = \"sku\", on_hand = \"qty\" }\n";

impl Bench {
    fn new(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let settings = format!("path = \"{path}\"\ncomplete = \"renamed\"\n{settings}");
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
        let connection = open(&settings, &clock);
        let bench = Self {
            dir,
            settings,
            clock,
            connection,
            cursors: BTreeMap::new(),
            written: 1_700_000_000,
        };
        fs::create_dir(bench.path("in")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&mut self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("in").join(name);
        fs::write(&path, content).unwrap();
        self.written += 60;
        let at = std::time::UNIX_EPOCH + Duration::from_secs(self.written);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(at).unwrap();
    }

    /// Another process with the same folder and the same stored cursors.
    fn restart(&mut self) {
        self.connection = open(&self.settings, &self.clock);
    }

    async fn pull(&mut self, stream: Stream) -> Result<Page, Fault> {
        self.clock.advance(Duration::from_secs(10));
        let page = self.connection.sources[&stream]
            .pull(self.cursors.get(&stream))
            .await?;
        self.cursors.insert(stream, page.cursor.clone());
        Ok(page)
    }

    async fn run(&mut self, stream: Stream) -> Result<Run, Fault> {
        let mut run = Run::default();
        loop {
            let page = self.pull(stream).await?;
            run.pages += usize::from(!page.changes.is_empty());
            run.complete |= page.complete;
            page.changes
                .iter()
                .for_each(|change| note(&mut run, change));
            if !page.more {
                return Ok(run);
            }
        }
    }

    /// One file of stock, dropped and read.
    async fn stock(&mut self, content: impl AsRef<[u8]>) -> Result<Run, Fault> {
        self.put("stock.csv", content);
        self.run(Stream::Stock).await
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn replies(&self) -> String {
        let read = |name: &String| fs::read_to_string(self.path("reply").join(name)).unwrap();
        self.names("reply")
            .iter()
            .map(read)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn open(settings: &str, clock: &ManualClock) -> Connection {
    let table = settings.parse().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let context = Context {
        name: "acme".into(),
        http: Arc::new(Replay::new(Vec::new(), Order::Any, Arc::clone(&clock))),
        tokens: Arc::default(),
        files: crate::connector::FileLimits::default(),
        clock,
        windows: BTreeMap::new(),
    };
    let configured = FeedConnector::default().configure(&table).unwrap();
    configured.open(context).unwrap()
}

fn note(run: &mut Run, change: &Change) {
    let id = &change.id;
    match &change.body {
        Body::Present(Record::Stock(level)) => {
            let told = level.on_hand.value().or(level.available.value()).unwrap();
            let about = if level.is_estimated { "~" } else { "" };
            run.told.push(format!("{id}={about}{told}"));
        }
        Body::Present(Record::Price(price)) => run.told.push(format!("{id}={}", price.price)),
        Body::Present(Record::Item(item)) => {
            run.told
                .push(format!("{id}={}", item.name.value().unwrap()));
        }
        Body::Rejected(fault) => run.rejected.push(format!("{id}!{}", fault.code)),
        other => panic!("{other:?}"),
    }
}

fn release(bench: &Bench, file: &str) -> Result<String, Fault> {
    let settings = bench.settings.parse().unwrap();
    FeedConnector::default()
        .files()
        .unwrap()
        .release(&settings, file)
}

/// `n` articles, the first `zeros` of them without stock.
fn list(n: usize, zeros: usize) -> String {
    let row = |i: usize| format!("S{i:05},{}\n", if i < zeros { 0 } else { 5 + i % 7 });
    format!("sku,qty\n{}", (0..n).map(row).collect::<String>())
}

#[tokio::test]
async fn a_full_list_is_handed_over_page_by_page_and_archived_once_accepted() {
    let mut bench = Bench::new(STOCK);
    let run = bench.stock(list(9600, 0)).await.unwrap();
    assert_eq!((run.told.len(), run.pages, run.complete), (9600, 3, true));
    // The engine has the last page, but nobody told us yet that it is durable.
    assert_eq!(bench.names("processing").len(), 1);
    let idle = bench.run(Stream::Stock).await.unwrap();
    assert_eq!(idle, Run::default());
    assert!(bench.names("processing").is_empty());
    assert_eq!(bench.names("archive").len(), 1);
    assert!(
        bench
            .replies()
            .contains("result,accepted\r\nrows,9600\r\nbad_rows,0\r\n")
    );
}

/// Story 60 for files: a crash after any page goes on behind that page, and nothing is skipped.
#[tokio::test]
async fn a_crash_after_any_page_resumes_behind_it() {
    for crash_after in 0..5 {
        let mut bench = Bench::new(STOCK);
        bench.put("stock.csv", list(9600, 0));
        let mut run = Run::default();
        for pulled in 0.. {
            if pulled == crash_after {
                bench.restart();
            }
            let page = bench.pull(Stream::Stock).await.unwrap();
            page.changes
                .iter()
                .for_each(|change| note(&mut run, change));
            run.complete |= page.complete;
            if !page.more {
                break;
            }
        }
        bench.restart();
        bench.run(Stream::Stock).await.unwrap();
        assert_eq!(
            (run.told.len(), run.complete),
            (9600, true),
            "{crash_after}"
        );
        assert_eq!(bench.names("archive").len(), 1);
    }
}

#[tokio::test]
async fn a_page_that_was_not_accepted_is_given_again() {
    let mut bench = Bench::new(STOCK);
    bench.put("stock.csv", list(9600, 0));
    let first = bench.pull(Stream::Stock).await.unwrap();
    let before = bench.cursors[&Stream::Stock].clone();
    let second = bench.pull(Stream::Stock).await.unwrap();
    bench.cursors.insert(Stream::Stock, before);
    let again = bench.pull(Stream::Stock).await.unwrap();
    assert_eq!(second.changes, again.changes);
    assert_ne!(first.changes, again.changes);
    // The engine begins a run that was cut off from where it began.
    bench.cursors.clear();
    bench.restart();
    let run = bench.run(Stream::Stock).await.unwrap();
    assert_eq!((run.told.len(), run.complete), (9600, true));
}

#[tokio::test]
async fn story_47_an_article_number_is_text() {
    let mut bench = Bench::new(STOCK);
    let text = "sku,qty\n0017,1\n1E5,2\n90.750,3\n 00 7 ,4\nSW-1/2,5\n1.23E+12,6\n=1+1,7\n\
                @x,8\n+49,9\n-5,1\n\"\t=x\",1\n";
    let run = bench.stock(text).await;
    // Six of eleven bad rows hold the file.
    assert_eq!(run.unwrap_err().code, "feed_held");
    let name = bench.names("held").remove(0);
    release(&bench, &name).unwrap();
    let run = bench.run(Stream::Stock).await.unwrap();
    assert_eq!(
        run.told,
        ["0017=1", "1E5=2", "90.750=3", "00 7=4", "SW-1/2=5"]
    );
    assert_eq!(run.rejected[0], "line 7!scientific_sku");
    assert!(
        run.rejected[1..]
            .iter()
            .all(|r| r.ends_with("!formula_in_sku"))
    );
    let replies = bench.replies();
    assert!(replies.contains("8,sku,'=1+1,formula_in_sku,"), "{replies}");
    assert!(replies.contains("format the column as text"), "{replies}");
}

/// A spreadsheet's formula in a number is no number: its row is refused and told, the others count.
#[tokio::test]
async fn a_formula_is_no_quantity() {
    let mut bench = Bench::new(STOCK);
    let text = list(40, 0) + "A,=1+1\nB,\"=HYPERLINK(1)\"\nC,+2\nD,3\n";
    let run = bench.stock(text).await.unwrap();
    assert!(run.told.contains(&"D=3".to_owned()));
    let refused: Vec<&str> = run.rejected.iter().map(|it| &it[..1]).collect();
    assert_eq!(refused[..2], ["A", "B"], "{:?}", run.rejected);
    bench.run(Stream::Stock).await.unwrap();
    let replies = bench.replies();
    assert!(
        replies.contains("'=1+1"),
        "no formula in an answer: {replies}"
    );
}

/// Story 39: a list without its column of stock says nothing about stock. It is not an empty list, and the
/// next good one is read.
#[tokio::test]
async fn story_39_a_list_without_its_stock_column_zeroes_nothing() {
    let mut bench = Bench::new(STOCK);
    bench.stock(list(40, 0)).await.unwrap();
    bench.run(Stream::Stock).await.unwrap();
    let without = list(40, 0).replace("sku,qty", "sku,name");
    let fault = bench.stock(without).await.unwrap_err();
    assert_eq!(fault.class, Class::Reject, "{fault}");
    assert!(fault.message.contains("qty"), "{fault}");
    let run = bench.stock(list(41, 0)).await.unwrap();
    assert_eq!((run.told.len(), run.complete), (41, true));
}

#[tokio::test]
async fn story_39_absent_blank_and_zero_are_three_things() {
    let mut bench = Bench::new(STOCK);
    let mut text = list(20, 0);
    text.push_str("A,\nB,0\nC, \n,\n,,\n");
    text = text.replace(",,\n", "\n");
    let run = bench.stock(text).await.unwrap();
    assert!(run.told.contains(&"B=0".to_owned()));
    assert_eq!(run.rejected, ["A!unknown_quantity", "C!unknown_quantity"]);
    // What stands in the bad rows is unknown, so what is missing is not proven missing.
    assert!(!run.complete);
    // A file without the column says nothing at all.
    let fault = bench.stock("sku,bestand\nA,5\n").await.unwrap_err();
    assert_eq!((fault.class, &*fault.code), (Class::Reject, "feed_failed"));
    assert!(
        fault.message.contains("the column `qty` is missing"),
        "{fault}"
    );
    assert_eq!(bench.names("failed").len(), 1);
    for empty in ["", "\n\n", "sku,qty\n"] {
        let fault = bench.stock(empty).await.unwrap_err();
        assert!(fault.code.starts_with("feed_"), "{fault}");
    }
}

#[tokio::test]
async fn words_stand_for_numbers_and_are_marked_as_estimates() {
    let words = "words = { \">100\" = 100, \"Auf Lager\" = 10, \"ausverkauft\" = 0 }\n";
    let mut bench = Bench::new(&format!("{words}{STOCK}"));
    let text = "sku,qty\nA,>100\nB,auf lager\nC,Ausverkauft\nD,7\nE,bald\nF,1\nG,1\nH,1\n";
    let run = bench.stock(text).await.unwrap();
    assert_eq!(run.told[..4], ["A=~100", "B=~10", "C=~0", "D=7"]);
    assert_eq!(run.rejected, ["E!not_a_number"]);
    assert!(bench.replies().contains("belongs into the feed's `words`"));
}

#[tokio::test]
async fn a_feed_that_shrinks_or_zeroes_is_held_and_released_once() {
    let mut bench = Bench::new(STOCK);
    bench.stock(list(1000, 100)).await.unwrap();
    let fault = bench.stock(list(100, 10)).await.unwrap_err();
    assert_eq!((fault.class, &*fault.code), (Class::Reject, "feed_held"));
    assert!(
        fault
            .message
            .contains("100 rows where the last good file had 1000"),
        "{fault}"
    );
    // Pulling again changes nothing and does not alert again.
    assert_eq!(bench.run(Stream::Stock).await.unwrap(), Run::default());
    let fault = bench.stock(list(1000, 900)).await.unwrap_err();
    assert!(
        fault.message.contains("90 % of the articles have no stock"),
        "{fault}"
    );
    assert_eq!(bench.names("held").len(), 2);
    assert!(bench.replies().contains("result,held\r\n"));
    // A better file passes without anybody's help.
    assert!(bench.stock(list(990, 100)).await.unwrap().complete);
    // A person lets the last one pass, and the guards compare with it from then on.
    let name = bench.names("held").remove(1);
    release(&bench, &name).unwrap();
    assert_eq!(bench.run(Stream::Stock).await.unwrap().told.len(), 1000);
    assert!(bench.stock(list(1000, 905)).await.unwrap().complete);
}

#[tokio::test]
async fn story_46_a_lost_decimal_comma_moves_all_prices_and_is_held() {
    let settings = "kind = \"full\"\ncurrency = \"EUR\"\ndelimiter = \";\"\ndecimal_mark = \",\"\n\
                    columns = { sku = \"sku\", price = \"preis\" }\n";
    let mut bench = Bench::new(settings);
    let prices = |cents: &str| {
        let row = |i: usize| format!("S{i};{}{cents}\n", i + 1);
        format!("sku;preis\n{}", (0..40).map(row).collect::<String>())
    };
    bench.put("p.csv", prices(",99"));
    let run = bench.run(Stream::Prices).await.unwrap();
    assert_eq!(run.told[0], "S0=1.99 EUR");
    assert!(!run.complete, "a missing price is not a price");
    bench.put("p.csv", prices("99"));
    let fault = bench.run(Stream::Prices).await.unwrap_err();
    assert!(fault.message.contains("the mean price is"), "{fault}");
    bench.put("p.csv", prices(".99"));
    let fault = bench.run(Stream::Prices).await.unwrap_err();
    assert!(fault.message.contains("40 of 40 rows are bad"), "{fault}");
}

#[tokio::test]
async fn rows_that_contradict_each_other_are_both_refused() {
    let mut bench = Bench::new(STOCK);
    let text = format!("{}X,1\nY,2\nX,9\nY,2\nX,1\n", list(60, 0));
    let run = bench.stock(text).await.unwrap();
    let told: Vec<_> = run.told.iter().filter(|t| !t.starts_with('S')).collect();
    assert_eq!(told, ["Y=2", "Y=2"], "said twice is said once");
    assert_eq!(run.rejected, ["X!duplicate_sku"; 3]);
    assert!(!run.complete);
    let replies = bench.replies();
    assert!(
        replies.contains("62,sku,X,duplicate_sku,line 64"),
        "{replies}"
    );
    assert!(
        replies.contains("64,sku,X,duplicate_sku,line 62"),
        "{replies}"
    );
}

#[tokio::test]
async fn the_same_content_again_is_a_duplicate_and_a_return_is_not() {
    let mut bench = Bench::new(STOCK);
    let (one, two) = (list(30, 0), list(30, 3));
    assert_eq!(bench.stock(&one).await.unwrap().told.len(), 30);
    assert_eq!(bench.stock(&one).await.unwrap(), Run::default());
    assert!(bench.replies().contains("result,duplicate\r\n"));
    bench.restart();
    assert_eq!(bench.stock(&one).await.unwrap(), Run::default());
    // A, then B, then A again is news, also in the same bytes.
    assert_eq!(bench.stock(&two).await.unwrap().told.len(), 30);
    assert_eq!(bench.stock(&one).await.unwrap().told.len(), 30);
    // A copy of an old file that kept its time is not.
    bench.written -= 600;
    assert_eq!(bench.stock(&two).await.unwrap(), Run::default());
    bench.run(Stream::Stock).await.unwrap();
    assert!(bench.names("processing").is_empty());
    assert_eq!(bench.names("archive").len(), 6);
}

#[tokio::test]
async fn a_file_with_an_older_export_time_is_refused() {
    let dated = "name_time = \"stock_%Y%m%d.csv\"\ntime_zone = \"Europe/Vienna\"\n";
    for (kind, folder) in [("full", "archive"), ("delta", "held")] {
        let stock = STOCK.replace("full", kind);
        let mut bench = Bench::new(&format!("{dated}{stock}"));
        bench.put("stock_20261120.csv", list(30, 0));
        let page = bench.pull(Stream::Stock).await.unwrap();
        assert_eq!(page.read_at.to_string(), "2026-11-19T23:00:00Z");
        bench.put("stock_20261119.csv", list(31, 0));
        let run = bench.run(Stream::Stock).await;
        assert!(run.map_or_else(|fault| fault.code == "feed_held", |run| run.told.is_empty()));
        bench.run(Stream::Stock).await.unwrap();
        assert!(
            bench
                .names(folder)
                .iter()
                .any(|name| name.contains("20261119.csv"))
        );
        assert!(bench.replies().contains("result,older"));
        bench.put("stock_20261121.csv", list(32, 0));
        assert_eq!(bench.run(Stream::Stock).await.unwrap().told.len(), 32);
    }
}

#[tokio::test]
async fn a_file_without_an_export_time_knows_nothing_of_the_last_hour() {
    let mut bench = Bench::new(STOCK);
    bench.put("stock.csv", list(30, 0));
    let page = bench.pull(Stream::Stock).await.unwrap();
    let written = jiff::Timestamp::from_second(bench.written.cast_signed()).unwrap();
    assert_eq!(
        page.read_at,
        crate::clock::earlier(written, Duration::from_hours(1))
    );
    // Later polls without a file do not make it any fresher.
    let idle = bench.pull(Stream::Stock).await.unwrap();
    assert_eq!(idle.read_at, page.read_at);
}

#[tokio::test]
async fn a_share_of_bad_rows_holds_the_file_and_a_few_do_not() {
    let mut bench = Bench::new(STOCK);
    let few = format!("{}bad\n1,2,3\n\"x,1\n", list(100, 0));
    let run = bench.stock(few).await.unwrap();
    assert_eq!(run.told.len(), 100);
    assert_eq!(
        run.rejected,
        [
            "line 102!wrong_width",
            "line 103!wrong_width",
            "line 104!quote_never_closed"
        ]
    );
    assert!(!run.complete);
    let many = format!("{}{}", list(100, 0), "bad\n".repeat(20));
    let fault = bench.stock(many).await.unwrap_err();
    assert!(
        fault.message.contains("20 of 120 rows are bad (16.7 %"),
        "{fault}"
    );
}

#[tokio::test]
async fn stock_and_prices_of_one_file_are_archived_when_both_are_done() {
    let settings = "kind = \"full\"\ncurrency = \"EUR\"\n\
                    columns = { sku = \"sku\", on_hand = \"qty\", price = \"price\" }\n";
    let mut bench = Bench::new(settings);
    bench.put(
        "both.csv",
        "sku,qty,price\nA,1,$2\nB,2,EUR 3.50\nC,x,4\nD,4,\n\u{20ac}E,1,1\n",
    );
    let stock = bench.run(Stream::Stock).await.unwrap();
    assert_eq!(stock.told, ["A=1", "B=2", "D=4", "\u{20ac}E=1"]);
    bench.run(Stream::Stock).await.unwrap();
    assert_eq!(
        bench.names("processing").len(),
        1,
        "prices were not read yet"
    );
    bench.restart();
    let prices = bench.run(Stream::Prices).await.unwrap();
    assert_eq!(
        prices.told,
        ["B=3.50 EUR", "C=4.00 EUR", "\u{20ac}E=1.00 EUR"]
    );
    assert_eq!(prices.rejected, ["A!not_a_number"]);
    bench.run(Stream::Prices).await.unwrap();
    assert_eq!(
        bench.names("processing").len(),
        1,
        "stock did not say so since the start"
    );
    bench.run(Stream::Stock).await.unwrap();
    assert!(bench.names("processing").is_empty());
}

#[tokio::test]
async fn items_are_read_when_asked_for() {
    let settings = "kind = \"delta\"\nstreams = [\"items\"]\n\
                    columns = { sku = \"sku\", name = \"name\", gtin = \"ean\" }\n";
    let mut bench = Bench::new(settings);
    bench.put("items.csv", "sku,name,ean\n0017,K\u{e4}se,4006381333931\n");
    let run = bench.run(Stream::Items).await.unwrap();
    assert_eq!(run.told, ["0017=K\u{e4}se"]);
}

#[tokio::test]
async fn an_encoding_that_nobody_named_is_refused_with_advice() {
    let text =
        "sku,qty,name\n".to_owned() + &"A1,5,P\u{159}\u{ed}li\u{161} \u{17e}lu\u{165}\n".repeat(3);
    let cp1250 = crate::format::encoding::Charset::from_label("cp1250").unwrap();
    let bytes = cp1250.encode(&text).unwrap();
    let mut bench = Bench::new(STOCK);
    let fault = bench.stock(&bytes).await.unwrap_err();
    assert_eq!(fault.code, "feed_failed");
    assert!(
        fault.message.contains("set `encoding = \"windows-"),
        "{fault}"
    );
    let mut bench = Bench::new(&format!("encoding = \"windows-1250\"\n{STOCK}"));
    assert_eq!(bench.stock(&bytes).await.unwrap().told.len(), 3);
    // A file that is UTF-8 after all is read as that.
    let told = bench.stock(text + "B,1,x\n").await.unwrap().told;
    assert_eq!(told, ["A1=5", "A1=5", "A1=5", "B=1"]);
}

#[tokio::test]
async fn names_of_files_are_shown_and_never_used() {
    let mut bench = Bench::new(STOCK);
    bench.put("=cmd|' &C calc'!A0;..csv.csv", list(30, 0));
    assert_eq!(bench.run(Stream::Stock).await.unwrap().told.len(), 30);
    bench.run(Stream::Stock).await.unwrap();
    let name = bench.names("archive").remove(0);
    assert!(name.ends_with("-_cmd____C_calc__A0_.csv.csv"), "{name}");
    assert_eq!(bench.names("reply").len(), 1);
}

#[tokio::test]
async fn a_file_that_vanishes_while_it_is_read_does_not_stop_the_next() {
    let mut bench = Bench::new(STOCK);
    bench.put("stock.csv", list(9600, 0));
    bench.pull(Stream::Stock).await.unwrap();
    let name = bench.names("processing").remove(0);
    fs::remove_file(bench.path("processing").join(name)).unwrap();
    bench.restart();
    // The run ends without claiming to be complete; the next one takes the next file.
    assert_eq!(bench.stock(list(40, 0)).await.unwrap(), Run::default());
    let run = bench.run(Stream::Stock).await.unwrap();
    assert_eq!((run.told.len(), run.complete), (40, true));
}

#[tokio::test]
async fn several_deltas_are_read_in_one_go_and_full_lists_one_by_one() {
    let mut bench = Bench::new(&STOCK.replace("full", "delta"));
    bench.put("a.csv", "sku,qty\nA,1\n");
    bench.put("b.csv", "sku,qty\nA,2\n");
    let run = bench.run(Stream::Stock).await.unwrap();
    assert_eq!(
        (run.told, run.complete),
        (vec!["A=1".into(), "A=2".into()], false)
    );
    let mut bench = Bench::new(STOCK);
    bench.put("a.csv", list(30, 0));
    bench.put("b.csv", list(31, 0));
    assert_eq!(bench.run(Stream::Stock).await.unwrap().told.len(), 30);
    assert_eq!(bench.run(Stream::Stock).await.unwrap().told.len(), 31);
}

#[tokio::test]
async fn a_missing_folder_is_a_fault_and_not_an_empty_list() {
    let mut bench = Bench::new(STOCK);
    bench.settings = bench.settings.replace("path = \"", "path = \"/not-mounted");
    bench.restart();
    let fault = bench.pull(Stream::Stock).await.unwrap_err();
    assert_eq!(
        (fault.class, &*fault.code),
        (Class::Retry, "folder_missing")
    );
    let probe = bench.connection.probe.clone().unwrap();
    assert!(probe.probe().await.is_err());
}

#[test]
fn wrong_settings_are_all_reported() {
    let findings = |text: &str| {
        let table = text.parse().unwrap();
        let found = FeedConnector::default().configure(&table).unwrap_err();
        found.to_string()
    };
    let all = findings(
        "path = \"feeds\"\nin_dir = \"../x\"\nkind = \"full\"\ndelimiter = \";;\"\n\
         decimal_mark = \",\"\nthousands_mark = \",\"\nencoding = \"cp850\"\n\
         columns = { on_hand = 0 }\nstreams = [\"prices\"]\nguard = { shrink = 2.0 }\n",
    );
    for expect in [
        "path: the drop folder must be given by its absolute path",
        "in_dir: ",
        "delimiter: it must be one ASCII character",
        "thousands_mark: both marks are the same",
        "encoding: `cp850` is not an encoding",
        "columns.sku: the column of the article number is missing",
        "columns: columns are counted from 1",
        "streams: `prices` cannot be read without its columns",
        "currency: prices need a currency",
        "guard.shrink: a share is between 0 and 1",
    ] {
        assert!(all.contains(expect), "{expect} in\n{all}");
    }
    assert!(findings("path = \"/x\"\ncolumns = { sku = 1 }\n").contains("kind"));
    let none = findings("path = \"/x\"\nkind = \"full\"\ncolumns = { sku = 1 }\n");
    assert!(
        none.contains("neither a column for stock nor one for prices"),
        "{none}"
    );
    assert!(findings("path = \"/x\"\nkind = \"full\"\ncolums = {}\n").contains("colums"));
}

/// A folder that is looked at again and again does not make its last file any younger; a file that is
/// still to come is no news either.
#[tokio::test]
async fn a_file_stays_as_old_as_it_is() {
    let mut bench = Bench::new(STOCK);
    let idle = bench.pull(Stream::Stock).await.unwrap();
    assert_eq!(idle.as_of, Some(crate::clock::Timestamp::UNIX_EPOCH));
    bench.put("stock.csv", list(30, 0));
    let page = bench.pull(Stream::Stock).await.unwrap();
    let made = crate::clock::Timestamp::from_second(bench.written.cast_signed()).unwrap();
    assert_eq!(page.as_of, Some(made));
    for _ in 0..3 {
        bench.restart();
        assert_eq!(bench.pull(Stream::Stock).await.unwrap().as_of, Some(made));
    }
}

#[tokio::test]
async fn the_archive_and_the_answers_keep_the_newest() {
    let mut bench = Bench::new(&format!("keep_files = 2\n{STOCK}"));
    for n in 30..34 {
        bench.stock(list(n, 0)).await.unwrap();
        bench.run(Stream::Stock).await.unwrap();
    }
    let archive = bench.names("archive");
    assert_eq!(archive.len(), 2, "{archive:?}");
    assert!(
        archive[0] < archive[1] && archive[1].starts_with("20231114T22"),
        "{archive:?}"
    );
    assert_eq!(bench.names("reply").len(), 2);
}
