//! A manifest is refused with everything that is wrong with it.

use super::HEAD;
use crate::connector::Connector;
use crate::manifest::{load, schema};

/// The findings as `line: message (help)`.
fn findings(manifest: &str) -> Vec<String> {
    let text = format!("{HEAD}{manifest}");
    let Err(findings) = load("toy.toml", &text) else {
        return Vec::new();
    };
    let head = HEAD.matches('\n').count();
    let told = findings.0.iter().map(|finding| {
        let line = finding.line().map_or(0, |line| line.saturating_sub(head));
        let help = finding
            .help
            .as_deref()
            .map_or(String::new(), |help| format!(" ({help})"));
        format!("{line}: {}{help}", finding.message)
    });
    told.collect()
}

const STREAM: &str = r#"
[stream.stock]
evidence = "sandbox"
[stream.stock.read]
poll_secs = 60
page_size = 2
request = { path = "/stock" }
records = "reply.json.rows"
id = "{item.id}"
cursor.full = { field = "item.id" }
map = { sku = "{item.sku}", on_hand = "{item.left}" }
"#;

#[test]
fn a_good_one_is_taken() {
    assert_eq!(findings(STREAM), Vec::<String>::new());
}

/// Every slip is told at once, each with its place.
#[test]
fn all_that_is_wrong_is_told_at_once() {
    let wrong = STREAM
        .replace("poll_secs = 60", "pol_secs = 60")
        .replace("page_size = 2", "page_size = \"two\"")
        .replace("evidence = \"sandbox\"", "evidence = \"sandbax\"")
        .replace("cursor.full", "cursor.fill");
    assert_eq!(
        findings(&wrong),
        [
            "3: `sandbax` is not known here (did you mean `sandbox`?)",
            "10: an unknown kind (did you mean `full`?)",
            "6: expected a whole number, found a text",
            "5: unknown key `pol_secs` (did you mean `poll_secs`?)",
            "4: `poll_secs` is missing",
        ]
    );
}

#[test]
fn expressions_are_checked_where_they_stand() {
    let wrong = STREAM
        .replace("{item.sku}", "{itm.sku}")
        .replace("\"reply.json.rows\"", "\"reply.json.rows +\"")
        .replace("path = \"/stock\"", "path = \"/stock/{settings.shop}\"");
    let found = findings(&wrong);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found
            .iter()
            .any(|it| it.starts_with("11:") && it.contains("item")),
        "{found:#?}"
    );
    assert!(found.iter().any(|it| it.starts_with("8:")), "{found:#?}");
    assert!(
        found
            .iter()
            .any(|it| it.starts_with("7:") && it.contains("shop")),
        "{found:#?}"
    );
}

/// A secret is known only where a request proves who we are (story 55).
#[test]
fn a_secret_is_out_of_scope_elsewhere() {
    let wrong = STREAM.replace(
        "path = \"/stock\"",
        "path = \"/stock?key={secret.password}\"",
    );
    assert_eq!(findings(&wrong).len(), 1);
    let also = STREAM.replace("/stock\"", "/stock?key={settings.password}\"");
    assert_eq!(findings(&also).len(), 1);
    let allowed = "auth.header = { name = \"x-key\", value = \"{secret.password}\" }\n";
    // `[http]` is the last table of the head.
    let text = format!(
        "{}{STREAM}",
        HEAD.replace("version = 1\n", &format!("version = 1\n{allowed}"))
    );
    assert!(load("toy.toml", &text).is_ok());
}

#[test]
fn what_could_lose_or_double_something_is_refused() {
    let order = |step: &str| {
        format!(
            "[stream.orders]\nevidence = \"sandbox\"\n[stream.orders.write.create]\nconfirm = {{}}\n\
             [[stream.orders.write.create.step]]\nname = \"order\"\n{step}"
        )
    };
    // Stories 19 and 21: a create whose reply got lost must be found again.
    let found = findings(&order("request = { path = \"/orders\", body = {} }"));
    assert!(found[0].contains("a reply may get lost"), "{found:#?}");
    assert!(
        findings(&order(
            "repeatable = true\nrequest = { path = \"/o\", body = {} }"
        ))
        .is_empty()
    );
    // A step sees only what comes before it.
    let found = findings(&order("value = \"{steps.later}\""));
    assert!(found[0].contains("later"), "{found:#?}");
    // Story 51: a cost above the burst would wait for ever.
    let costly = STREAM.replace("path = \"/stock\"", "path = \"/stock\", cost = 9")
        + "[limits.bucket.default]\nper_second = 1\nburst = 5\n";
    assert!(findings(&costly)[0].contains("never fits"));
    // Story 2: what was committed late lies behind the watermark.
    let late = STREAM.replace(
        "cursor.full = { field = \"item.id\" }",
        "cursor.watermark = { field = \"item.at\", settle_lag_secs = 60, overlap_secs = 5 }",
    );
    assert!(findings(&late)[0].contains("committed late"));
    // Story 4: pages cannot be resumed by a value that is not there.
    let blind = STREAM.replace("cursor.full = { field = \"item.id\" }", "cursor.full = {}");
    assert!(findings(&blind)[0].contains("by value"));
}

#[test]
fn what_is_handed_in_and_asked_after_later_is_checked() {
    let batch = |rest: &str| {
        format!(
            "[stream.stock]\nevidence = \"sandbox\"\n[stream.stock.write.batch]\nmax = 5\nrow = \"x\"\n{rest}"
        )
    };
    let request = "request = { path = \"/s\", body = \"{rows}\" }\n";
    let later = "later = { submission = \"x\", after_secs = \"60\", max = 9 }\n";
    assert_eq!(findings(&batch(request)), [""; 0]);
    assert_eq!(findings(&batch(&format!("{request}{later}"))), [""; 0]);
    let submit = "[[stream.stock.write.batch.submit]]\nname = \"feed\"\nrepeatable = true\n\
                  request = { url = \"https://files.test/in\", form = { rows = \"{rows}\" } }\n";
    assert_eq!(findings(&batch(submit)), [""; 0]);
    let cases = [
        (batch(""), "or by the steps of `submit`"),
        (
            batch(&format!("{request}{submit}")),
            "or by the steps of `submit`",
        ),
        (
            batch(&format!("{request}confirm = {{}}\n{later}")),
            "`confirm` belongs to `later`",
        ),
        (
            batch(&format!("{request}{}", later.replace("max = 9", "max = 0"))),
            "above zero",
        ),
        (
            batch("request = { path = \"/s\", url = \"https://a.test\" }"),
            "no `path` beside it",
        ),
        (
            batch("request = { path = \"/s\", body = 1, form = { a = \"b\" } }"),
            "not both",
        ),
        (
            batch(&format!("{request}{later}").replace("\"60\"", "\"settings.nope\"")),
            "nope",
        ),
    ];
    for (text, expect) in cases {
        let found = findings(&text);
        let told = found
            .first()
            .unwrap_or_else(|| panic!("nothing is wrong with\n{text}"));
        assert!(told.contains(expect), "{expect}: {found:#?}");
    }
}

#[test]
fn settings_are_checked_with_all_findings() {
    let connector = load("toy.toml", &format!("{HEAD}{STREAM}")).unwrap();
    let wrong = toml::from_str("ulr = \"http://a.test\"\npassword = 5").unwrap();
    let found = connector.configure(&wrong).unwrap_err();
    let told = found.to_string();
    assert!(told.contains("`url` is missing"), "{told}");
    assert!(told.contains("`password` must be a text"), "{told}");
    assert!(
        found
            .0
            .iter()
            .any(|it| it.help.as_deref() == Some("did you mean `url`?"))
    );
    let schema = &connector.spec().settings_schema;
    assert_eq!(schema["properties"]["password"]["writeOnly"], true);
}

#[test]
fn the_schema_names_every_part() {
    let text = schema().to_string();
    for part in [
        "paginate",
        "on_fault",
        "repeatable",
        "settle_lag_secs",
        "tagged",
        "refused",
    ] {
        assert!(text.contains(part), "{part}");
    }
}
