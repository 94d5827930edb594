//! A child that behaves badly in every way that we could think of; each has the fault that must follow.
//!
//! `misbehave.py HOW` is the child. Without `python3` nothing of this is shown, which is said loudly.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::clock::{BoxFuture, Clock, Timestamp};
use crate::connector::contract::Fixtures;
use crate::connector::{Body, Captured, Delivery, FileLimits, Operation, Outcome, Page, StepLog};
use crate::fault::{Class, Effect};
use crate::id::RemoteId;
use crate::record::{Record, Stream};
use crate::transport::http::{Feedback, HttpClient, HttpReply, HttpRequest};

/// A child lives in real time.
#[derive(Debug)]
struct RealClock(Instant);

#[expect(clippy::disallowed_methods, reason = "a child lives in real time")]
impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[expect(clippy::disallowed_methods, reason = "a child lives in real time")]
fn clock() -> Arc<dyn Clock> {
    Arc::new(RealClock(Instant::now()))
}

#[derive(Debug)]
struct NoHttp;

#[async_trait::async_trait]
impl HttpClient for NoHttp {
    async fn send(&self, _: HttpRequest) -> Result<HttpReply, Fault> {
        Err(Fault::bug("no_http", "not here"))
    }
    fn observe(&self, _: &str, _: Feedback) {}
}

/// Whether there is a Python; says so where not.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn python() -> bool {
    let there =
        Path::new("/usr/bin/python3").exists() || Path::new("/usr/local/bin/python3").exists();
    if !there {
        eprintln!(
            "SKIPPED: no python3 in /usr/bin or /usr/local/bin: nothing is shown of child processes"
        );
    }
    there
}

fn toml(how: &str) -> String {
    format!(
        r#"
version = 1
[connector]
name = "guest"
summary = "Behaves badly"
[process]
command = ["python3", "misbehave.py", "{how}"]
environment = {{ COLOUR = "blue" }}
start_secs = 20
request_secs = 20
stop_secs = 1
concurrency = 2
max_line_bytes = 100000
[settings.token]
type = "secret"
doc = "x"
[stream.stock]
evidence = "sandbox"
read = {{ fetch = true }}
[stream.orders]
evidence = "sandbox"
write = {{ max_batch = 5 }}
"#
    )
}

/// A child of one kind, in a folder of its own.
struct Bad {
    folder: tempfile::TempDir,
    connection: Connection,
}

impl Bad {
    fn new(how: &str) -> Self {
        Self::with(how, |text| text)
    }

    /// The same with shorter patience for answers.
    fn hasty(how: &str) -> Self {
        Self::with(how, |text| {
            text.replace("request_secs = 20", "request_secs = 1")
        })
    }

    fn with(how: &str, change: impl FnOnce(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = include_str!("misbehave.py");
        std::fs::write(folder.path().join("misbehave.py"), script).unwrap();
        let file = folder.path().join("connector.toml");
        let connector = load(file, &change(toml(how))).unwrap();
        let settings: toml::Table = toml::from_str("token = \"t0p-secret\"").unwrap();
        let context = Context {
            name: "guest".to_owned(),
            clock: clock(),
            http: Arc::new(NoHttp),
            tokens: Arc::default(),
            files: FileLimits::default(),
            windows: BTreeMap::new(),
        };
        let configured = connector.configure(&settings).unwrap();
        let connection = configured.open(context).unwrap();
        Self { folder, connection }
    }

    async fn pull(&self) -> Result<Page, Fault> {
        self.connection.sources[&Stream::Stock].pull(None).await
    }

    async fn deliver(&self) -> Outcome {
        let outcomes = self.deliver_with(&StepLog::default()).await;
        assert_eq!(outcomes.len(), 2, "D1: each delivery has one outcome");
        assert_eq!(
            matches!(outcomes[0], Outcome::Delivered(_)),
            matches!(outcomes[1], Outcome::Delivered(_))
        );
        outcomes.into_iter().next().unwrap()
    }

    async fn deliver_with(&self, steps: &StepLog) -> Vec<Outcome> {
        let batch = [order("17", ""), order("18", "")];
        self.connection.sinks[&Stream::Orders]
            .deliver(&batch, steps)
            .await
    }

    fn has(&self, file: &str) -> bool {
        self.folder.path().join(file).exists()
    }

    fn lives(&self) -> usize {
        let text = std::fs::read_to_string(self.folder.path().join("lives"));
        text.unwrap_or_default().len()
    }

    async fn close(&self) {
        self.connection.closing.as_ref().unwrap().close().await;
    }
}

fn order(id: &str, note: &str) -> Delivery {
    let money = |amount: &str| json!({ "amount": amount, "currency": "EUR" });
    let record = json!({
        "id": id, "placed_at": "2026-11-22T10:15:00Z", "currency": "EUR", "notes": note,
        "customer": { "name": "Ann Buyer" },
        "ship_to": { "name": "Ann Buyer", "city": "Bonn", "country": "DE" },
        "lines": [{ "line_id": "1", "sku": "A", "quantity": "1", "unit_price": money("1.00"),
                    "prices_include_tax": true, "line_net": money("1.00"), "line_gross": money("1.00") }],
        "totals": { "lines_net": money("1.00"), "charges_net": money("0"), "taxes": money("0"),
                    "grand_total": money("1.00") },
    });
    Delivery {
        id: format!("dlv_{id}").into(),
        stream: Stream::Orders,
        key: id.into(),
        operation: Operation::Create,
        record: Record::from_json(Stream::Orders, record).unwrap(),
        reference: format!("north:{id}"),
        origin: "north".to_owned(),
        target: None,
        group: None,
        captured: Captured::new(),
        attempts: 0,
    }
}

fn failed(outcome: Outcome) -> Fault {
    match outcome {
        Outcome::Failed(fault) => fault,
        other => panic!("it did not fail: {other:?}"),
    }
}

/// A deliver and a pull each: which class and code; a deliver that was written is always unknown, a read
/// never has an effect.
async fn both(bad: impl Fn() -> Bad, class: Class, code: &str) {
    let one = bad();
    let fault = failed(one.deliver().await);
    assert_eq!(
        (fault.class, fault.code.as_ref()),
        (class, code),
        "deliver: {fault}"
    );
    assert_eq!(fault.effect, Effect::Unknown, "deliver: {fault}");
    one.close().await;
    let one = bad();
    let fault = one.pull().await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_ref()),
        (class, code),
        "pull: {fault}"
    );
    assert_eq!(fault.effect, Effect::None, "pull: {fault}");
    one.close().await;
}

#[tokio::test]
async fn a_child_that_dies_mid_request() {
    if python() {
        both(|| Bad::new("dies"), Class::Retry, "process_exited").await;
    }
}

#[tokio::test]
async fn a_child_that_hangs() {
    if python() {
        both(|| Bad::hasty("hangs"), Class::Retry, "process_timeout").await;
    }
}

#[tokio::test]
async fn a_child_that_answers_after_its_time() {
    if python() {
        both(|| Bad::hasty("is_late"), Class::Retry, "process_timeout").await;
    }
}

#[tokio::test]
async fn a_child_that_answers_garbage() {
    if python() {
        both(|| Bad::new("garbage"), Class::Bug, "process_not_json").await;
        // What comes while it is left alone for that is not held for good.
        let bad = Bad::new("garbage");
        assert_eq!(failed(bad.deliver().await).class, Class::Bug);
        let fault = failed(bad.deliver().await);
        assert_eq!((fault.class, fault.effect), (Class::Retry, Effect::None));
        assert!(fault.retry_after.is_some() && bad.lives() == 1);
    }
}

#[tokio::test]
async fn a_child_that_answers_what_is_not_utf8() {
    if python() {
        both(|| Bad::new("no_utf8"), Class::Bug, "process_not_utf8").await;
    }
}

#[tokio::test]
async fn a_child_that_answers_with_a_wrong_id() {
    if python() {
        both(|| Bad::new("wrong_id"), Class::Bug, "process_unknown_id").await;
    }
}

#[tokio::test]
async fn a_child_that_answers_with_neither_result_nor_fault_or_both() {
    if python() {
        both(|| Bad::new("neither"), Class::Bug, "process_bad_answer").await;
        both(|| Bad::new("both"), Class::Bug, "process_bad_answer").await;
    }
}

#[tokio::test]
async fn a_child_that_writes_a_huge_line() {
    if python() {
        both(
            || Bad::new("huge_line"),
            Class::Bug,
            "process_line_too_long",
        )
        .await;
    }
}

#[tokio::test]
async fn a_child_that_writes_endless_lines() {
    if python() {
        both(
            || Bad::new("endless_lines"),
            Class::Bug,
            "process_unknown_id",
        )
        .await;
    }
}

#[tokio::test]
async fn a_child_that_floods_its_log() {
    if python() {
        both(|| Bad::new("endless_log"), Class::Bug, "process_log_flood").await;
    }
}

#[tokio::test]
async fn a_child_whose_fault_is_none() {
    if python() {
        both(|| Bad::new("bad_fault"), Class::Bug, "process_bad_answer").await;
    }
}

#[tokio::test]
async fn a_child_whose_answer_has_another_form() {
    if python() {
        both(|| Bad::new("no_list"), Class::Bug, "process_bad_answer").await;
        both(|| Bad::new("nothing"), Class::Bug, "process_bad_answer").await;
    }
}

#[tokio::test]
async fn a_second_answer_ends_the_child_and_not_what_was_answered() {
    if python() {
        let bad = Bad::new("twice");
        assert!(matches!(bad.deliver().await, Outcome::Delivered(_)));
        // The child was ended for it; a moment later it is started again.
        let mut last = None;
        for _ in 0..100 {
            last = Some(bad.pull().await);
            if bad.lives() > 1 {
                break;
            }
            pause().await;
        }
        assert!(bad.lives() > 1, "{last:?}");
        bad.close().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a child lives in real time")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn outcomes_of_deliveries_that_it_was_not_given() {
    if python() {
        for (how, code) in [
            ("foreign_outcome", "process_foreign_delivery"),
            ("too_few_outcomes", "process_bad_answer"),
            ("two_outcomes", "process_bad_answer"),
            ("foreign_step", "process_bad_step"),
        ] {
            let bad = Bad::new(how);
            let fault = failed(bad.deliver().await);
            assert_eq!(
                (fault.class, fault.code.as_ref()),
                (Class::Bug, code),
                "{how}: {fault}"
            );
            assert_eq!(fault.effect, Effect::Unknown, "{how}: {fault}");
            bad.close().await;
        }
    }
}

#[tokio::test]
async fn ids_that_were_not_asked_for() {
    if python() {
        let ids = [RemoteId::from("A")];
        for (how, code) in [
            ("foreign_ids", "process_foreign_id"),
            ("too_few_ids", "process_bad_answer"),
        ] {
            let bad = Bad::new(how);
            let fault = bad.connection.sources[&Stream::Stock]
                .fetch(&ids)
                .await
                .unwrap_err();
            assert_eq!(
                (fault.class, fault.code.as_ref()),
                (Class::Bug, code),
                "{how}: {fault}"
            );
            bad.close().await;
        }
        let good = Bad::new("good");
        let found = good.connection.sources[&Stream::Stock]
            .fetch(&ids)
            .await
            .unwrap();
        assert!(matches!(found[0].body, Body::Present(_)));
        good.close().await;
    }
}

#[tokio::test]
async fn a_child_that_is_not_what_its_file_says() {
    if python() {
        for how in [
            "claims_a_stream",
            "has_another_name",
            "speaks_another_version",
        ] {
            let bad = Bad::new(how);
            let fault = failed(bad.deliver().await);
            assert_eq!(fault.class, Class::Config, "{how}: {fault}");
            assert_eq!(fault.code, "process_other_spec", "{how}");
            assert_eq!(fault.effect, Effect::None, "{how}: nothing was asked yet");
            bad.close().await;
        }
    }
}

#[tokio::test]
async fn a_child_that_changes_its_spec_between_two_starts() {
    if python() {
        let bad = Bad::new("changes_its_spec");
        assert!(bad.pull().await.is_ok());
        bad.close().await;
        // Another life of the same connector, in the same folder.
        let file = bad.folder.path().join("connector.toml");
        let connector = load(file, &toml("changes_its_spec")).unwrap();
        let configured = connector.configure(&toml::Table::new()).unwrap();
        let context = Context {
            name: "guest".to_owned(),
            clock: clock(),
            http: Arc::new(NoHttp),
            tokens: Arc::default(),
            files: FileLimits::default(),
            windows: BTreeMap::new(),
        };
        let second = configured.open(context).unwrap();
        let fault = second.sources[&Stream::Stock].pull(None).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_ref()),
            (Class::Config, "process_other_spec")
        );
    }
}

#[tokio::test]
async fn a_child_that_exits_at_once_is_not_started_in_a_loop() {
    if python() {
        let bad = Bad::new("exits_at_once");
        let began = clock();
        let mut asked = 0;
        while began.monotonic() < Duration::from_millis(2500) {
            let fault = failed(bad.deliver().await);
            assert_eq!(
                (fault.class, fault.code.as_ref()),
                (Class::Retry, "process_exited")
            );
            assert_eq!(fault.effect, Effect::None, "it never got there");
            asked += 1;
            pause().await;
        }
        assert!(asked > 5, "asked only {asked} times");
        assert!(bad.lives() <= 3, "{} starts", bad.lives());
        let waits = failed(bad.deliver().await).retry_after;
        assert!(waits.is_some(), "it is told when to come again");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_matter_of_configuration() {
    let bad = Bad::with("good", |text| {
        text.replace("\"python3\"", "\"no-such-program\"")
    });
    let fault = bad.pull().await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_ref()),
        (Class::Config, "process_not_started")
    );
}

#[tokio::test]
async fn a_child_that_died_is_started_again() {
    if python() {
        let bad = Bad::new("dies_at_first");
        assert!(matches!(bad.deliver().await, Outcome::Failed(_)));
        for _ in 0..100 {
            if bad.pull().await.is_ok() {
                return bad.close().await;
            }
            pause().await;
        }
        panic!("it never came back");
    }
}

#[tokio::test]
async fn a_child_that_does_not_read_was_told_nothing_whole() {
    if python() {
        let bad = Bad::hasty("is_deaf");
        // More than a pipe holds: the first bytes leave, and so nobody knows; what waits behind them is safe.
        let big = [order("17", &"x".repeat(300_000))];
        let (steps, small) = (StepLog::default(), [order("18", "")]);
        let sink = &bad.connection.sinks[&Stream::Orders];
        let (first, second) =
            tokio::join!(sink.deliver(&big, &steps), sink.deliver(&small, &steps));
        let effects = [first, second].map(|mut all| failed(all.remove(0)).effect);
        assert_eq!(effects, [Effect::Unknown, Effect::None]);
        bad.close().await;
    }
}

#[tokio::test]
async fn what_a_child_leaves_behind_is_ended_with_it() {
    if python() {
        let bad = Bad::new("has_children");
        assert!(matches!(bad.deliver().await, Outcome::Failed(_)));
        let pid = std::fs::read_to_string(bad.folder.path().join("grandchild")).unwrap();
        // Gone, or dead and not reaped by whoever inherited it.
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        };
        for _ in 0..100 {
            if is_gone() {
                break;
            }
            pause().await;
        }
        assert!(is_gone());
    }
}

/// Story 55: secrets in logs, arguments and environments.
#[tokio::test]
async fn a_child_knows_what_it_was_told_and_nothing_else() {
    if python() {
        let good = Bad::new("good");
        let says = good
            .connection
            .probe
            .as_ref()
            .unwrap()
            .probe()
            .await
            .unwrap();
        let (names, rest) = says.split_once(" | ").unwrap();
        // Python itself adds LC_CTYPE where it needs it.
        let names: Vec<&str> = names
            .split(' ')
            .filter(|name| *name != "LC_CTYPE")
            .collect();
        assert_eq!(names, ["COLOUR", "LANG", "PATH"]);
        let folder = good.folder.path().file_name().unwrap().to_string_lossy();
        assert_eq!(rest, format!("good | {folder}"));
        good.close().await;
        assert!(good.has("stopped"), "it was told to end");
        let bad = Bad::new("tells_secrets");
        let fault = failed(bad.deliver().await);
        assert_eq!(fault.message, "no [secret] for \"…\" …");
        assert_eq!((fault.class, fault.effect), (Class::Reject, Effect::None));
        bad.close().await;
    }
}

#[tokio::test]
async fn one_bad_record_is_one_rejected_change() {
    if python() {
        let bad = Bad::new("one_bad_record");
        let page = bad.pull().await.unwrap();
        let rejected =
            |body: &Body| matches!(body, Body::Rejected(fault) if fault.class == Class::Reject);
        assert!(matches!(page.changes[0].body, Body::Present(_)));
        assert!(rejected(&page.changes[1].body) && rejected(&page.changes[2].body));
        assert_eq!(page.changes[1].id.as_str(), "B");
        bad.close().await;
    }
}

#[tokio::test]
async fn a_captured_step_is_durable_before_the_child_goes_on() {
    if python() {
        let bad = Bad::new("captures");
        let steps = StepLog::default();
        let outcomes = bad.deliver_with(&steps).await;
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Delivered(_)))
        );
        assert_eq!(
            steps.steps(),
            [("dlv_17".into(), "draft".to_owned(), json!({ "id": 5 }))]
        );
        bad.close().await;
    }
}

#[tokio::test]
async fn whoever_goes_away_cancels_and_the_child_goes_on() {
    if python() {
        let bad = Bad::new("is_late");
        assert!(matches!(bad.deliver().await, Outcome::Delivered(_)));
        let clock = clock();
        tokio::select! {
            page = bad.pull() => panic!("{page:?}"),
            () = clock.sleep(Duration::from_millis(1000)) => {}
        }
        for _ in 0..100 {
            if bad.has("cancelled") {
                break;
            }
            pause().await;
        }
        assert!(bad.has("cancelled"));
        assert_eq!(bad.lives(), 1, "nobody ended it");
        bad.close().await;
    }
}

#[tokio::test]
async fn a_child_that_does_not_stop_is_killed() {
    if python() {
        let bad = Bad::new("does_not_stop");
        assert!(bad.pull().await.is_ok());
        let began = clock();
        bad.close().await;
        let took = began.monotonic();
        assert!(took < Duration::from_secs(8), "{took:?}");
        assert!(!bad.has("stopped"));
        let fault = bad.pull().await.unwrap_err();
        assert_eq!(
            fault.code, "process_ended",
            "nothing is started after the end"
        );
    }
}

/// The laws S1-S9 and D1-D6 of the example that PROTOCOL.md shows.
#[tokio::test]
async fn the_example_keeps_the_contract() {
    if python() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("example");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("connector.py"), include_str!("example.py")).unwrap();
        let text = include_str!("template.toml").replace("_template", "example");
        let connector = load(home.join("connector.toml"), &text).unwrap();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/process/fixtures");
        let fixtures = Fixtures::load(&own).unwrap();
        let report = connector
            .trial()
            .unwrap()
            .run(&fixtures, &own, &clock())
            .await;
        assert!(report.passed(), "{report}");
        assert!(
            report.checks.len() >= 27,
            "only {} checks",
            report.checks.len()
        );
    }
}

#[test]
fn what_is_wrong_in_the_file_is_told_at_once() {
    let text = toml("x")
        .replace(
            "command = [\"python3\", \"misbehave.py\", \"x\"]",
            "command = []",
        )
        .replace("COLOUR", "PATH")
        .replace("stop_secs = 1", "stop_secs = 0")
        .replace("[stream.stock]", "[stream.stok]")
        .replace("fetch = true", "settle_lag_secs = 5");
    let findings = load("guest/connector.toml", &text).unwrap_err().to_string();
    for part in [
        "no program",
        "`PATH` cannot be set",
        "out of range",
        "this is no stream",
    ] {
        assert!(findings.contains(part), "{part} is not in\n{findings}");
    }
}
