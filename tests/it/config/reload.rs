//! What a reload says that it does.

use crossdock::topology::{Plan, Verdict, diff};

use super::World;

const BEFORE: &str = r#"
version = 1
[connection.drop]
connector = "folder"
settings.path = "/srv"
[connection.north]
connector = "shop"
settings = { url = "https://north.example", token = "${env:NORTH_TOKEN}" }
[route.items]
from = "drop.items"
to = "north.items"
mapping = "items"
[route.prices]
from = "drop.prices"
to = "north.prices"
[mapping.items]
field.sku = "sku"
"#;

fn plan(text: &str, token: &str) -> Plan {
    World::of(text)
        .var("NORTH_TOKEN", token)
        .plan("c.toml")
        .unwrap_or_else(|f| panic!("{f}"))
}

fn changes(after: &str, token: &str) -> Vec<(String, Verdict)> {
    diff(&plan(BEFORE, "one"), &plan(after, token))
        .into_iter()
        .filter(|change| change.verdict != Verdict::Unchanged)
        .map(|change| (change.section, change.verdict))
        .collect()
}

/// Story 61: a reload that says "applied" though a restart was required.
#[test]
fn each_section_gets_its_verdict() {
    use Verdict::{Added, Changed, Removed, RestartNeeded};
    type Case<'a> = (String, &'a str, Vec<(&'a str, Verdict)>);
    let cases: Vec<Case<'_>> = vec![
        (BEFORE.to_owned(), "one", vec![]),
        (
            format!("# a comment moves everything\n\n{BEFORE}"),
            "one",
            vec![],
        ),
        (
            BEFORE.to_owned(),
            "two",
            vec![("connection.north", Changed)],
        ),
        (
            BEFORE.replace("/srv", "/mnt"),
            "one",
            vec![("connection.drop", Changed)],
        ),
        (
            BEFORE.replace("sku = \"sku\"", "sku = \"name\""),
            "one",
            vec![("mapping.items", Changed), ("route.items", Changed)],
        ),
        (
            BEFORE.replace("route.prices", "route.tariffs"),
            "one",
            vec![("route.prices", Removed), ("route.tariffs", Added)],
        ),
        (
            format!("{BEFORE}[limits]\ndrain_secs = 3\n"),
            "one",
            vec![("limits", Changed)],
        ),
        (
            format!("{BEFORE}[limits]\nserver_max_connections = 3\n"),
            "one",
            vec![("limits", RestartNeeded)],
        ),
        (
            format!("{BEFORE}[store]\njournal_ttl_secs = 3600\n[log]\nlevel = \"debug\"\n"),
            "one",
            vec![("log", Changed), ("store", Changed)],
        ),
        (
            format!("{BEFORE}[log]\nformat = \"json\"\n"),
            "one",
            vec![("log", RestartNeeded)],
        ),
        (
            format!("{BEFORE}[store]\npath = \"/x\"\n"),
            "one",
            vec![("server", RestartNeeded), ("store", RestartNeeded)],
        ),
        (
            format!("{BEFORE}[guard.stock]\nmin_rows = 3\n"),
            "one",
            vec![("guard.stock", Changed)],
        ),
    ];
    for (after, token, expected) in cases {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(section, verdict)| (section.to_owned(), verdict))
            .collect();
        assert_eq!(changes(&after, token), expected, "{after}");
    }
}

const SECRETS: &str = r#"
version = 1
[connection.north]
connector = "shop"
http.ca_file = "ca.pem"
settings = { url = "https://north.example", token = "${file:/run/token}" }
[connection.drop]
connector = "folder"
settings.path = "/srv"
[route.items]
from = "drop.items"
to = "north.items"
"#;

/// A secret or a certificate that is exchanged where it lies, while not a letter of the configuration
/// changes, is a change of its connection.
#[test]
fn what_lies_in_files_is_read_again() {
    let plan = |token: &str, certificate: &str| {
        let pem = format!("-----BEGIN CERTIFICATE-----\n{certificate}\n");
        World::default()
            .file("/etc/x/c.toml", SECRETS)
            .file("/etc/x/ca.pem", pem)
            .file("/run/token", token)
            .plan("/etc/x/c.toml")
            .unwrap_or_else(|findings| panic!("{findings}"))
    };
    let before = plan("one", "A");
    let http = &before.connections[&"north".into()].http;
    let path = http.ca_file.as_ref().unwrap();
    assert_eq!(
        path.to_str(),
        Some("/etc/x/ca.pem"),
        "beside the configuration"
    );
    for (token, certificate, expected) in [
        ("one", "A", None),
        ("two", "A", Some(())),
        ("one", "B", Some(())),
    ] {
        let changed = diff(&before, &plan(token, certificate))
            .into_iter()
            .find(|change| change.verdict != Verdict::Unchanged);
        let told = changed.as_ref().map(ToString::to_string);
        let expected = expected.map(|()| "[connection.north] changed".to_owned());
        assert_eq!(told, expected, "{token} {certificate}");
    }
}
