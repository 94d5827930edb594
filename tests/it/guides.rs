//! The guides in `src/docs/guide/`: each example does what its page says.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossdock::alert::Kind;
use crossdock::cli::{self, Exit, Shell};
use crossdock::clock::{Clock, ManualClock};
use crossdock::config::{self, Credentials, render};
use crossdock::connector::{Connector, Context, FileLimits};
use crossdock::connectors::feed::FeedConnector;
use crossdock::record::Stream;
use crossdock::topology;
use crossdock::transport::http::replay::{Order, Replay};

use crate::config::World;

/// A fenced block: what stands behind the fence, and the text.
struct Block {
    label: String,
    text: String,
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs/guide");
    fs::read_to_string(path.join(name)).unwrap()
}

fn blocks(page: &str) -> Vec<Block> {
    let mut parts = page.split("\n```");
    parts.next();
    let mut found = Vec::new();
    while let (Some(inside), Some(_)) = (parts.next(), parts.next()) {
        let (label, text) = inside.split_once('\n').unwrap();
        found.push(Block {
            label: label.to_owned(),
            text: format!("{text}\n"),
        });
    }
    found
}

fn of_kind(name: &str, kind: &str) -> Vec<Block> {
    let mut found = blocks(&page(name));
    found.retain(|block| block.label.split(' ').next() == Some(kind));
    found
}

/// What `crossdock check --assume-credentials` says; nothing when it is content.
fn told(text: &str) -> String {
    let connectors = crossdock::connectors::built_in();
    let registry: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    let plan = config::read(Path::new("c.toml"), &World::of(text), Credentials::Assumed)
        .and_then(|loaded| topology::plan(&loaded, &registry));
    let findings = match plan {
        Ok(plan) => plan.warnings,
        Err(findings) => findings,
    };
    render::text(&findings, render::Style::Plain)
}

fn own_systems() -> String {
    let mut found = of_kind("sysadmin.md", "toml");
    found.retain(|block| block.label == "toml");
    assert_eq!(found.len(), 1);
    found.into_iter().next().unwrap().text
}

#[test]
fn the_examples_of_channels_are_accepted() {
    let mut examples = of_kind("sysadmin.md", "toml");
    examples.retain(|block| block.label == "toml alert");
    assert_eq!(examples.len(), 2);
    for example in examples {
        let text = format!("{}\n{}", own_systems(), example.text);
        assert_eq!(told(&text), "", "{}", example.text);
    }
    let page = page("sysadmin.md");
    for kind in Kind::ALL {
        let is_test = matches!(kind, Kind::Test | Kind::Subscription);
        let name = format!("`{}", kind.name());
        assert!(
            is_test || page.contains(&name),
            "the guide is silent about {name}"
        );
    }
}

#[test]
fn the_sysadmins_configuration_is_accepted() {
    assert_eq!(told(&own_systems()), "");
}

#[test]
fn every_mapping_of_the_merchants_guide_does_what_it_says() {
    let examples = of_kind("merchant.md", "toml");
    assert!(examples.len() >= 12, "only {} examples", examples.len());
    for example in examples {
        let text = &example.text;
        assert!(
            text.contains(".test]]"),
            "an example without a test:\n{text}"
        );
        // The route that the example is for, where the configuration has no mapping yet.
        let base = own_systems();
        let base = match text {
            _ if text.contains("mapping.web_orders") => base.replacen(
                "to = \"erp.orders\"\n",
                "to = \"erp.orders\"\nmapping = \"web_orders\"\n",
                1,
            ),
            _ if text.contains("mapping.gross_prices") => {
                base + "[route.p]\nfrom = \"erp.prices\"\nto = \"north.prices\"\nmapping = \"gross_prices\"\n"
            }
            _ => {
                base + "[route.i]\nfrom = \"erp.items\"\nto = \"north.items\"\nmapping = \"shop_items\"\n"
            }
        };
        assert_eq!(told(&format!("{base}\n{text}")), "", "{text}");
    }
}

#[test]
fn an_example_that_is_wrong_is_found() {
    let text = "[mapping.web_orders.field]\nchannel = { value = \"web\" }\n\
                [[mapping.web_orders.test]]\nname = \"wrong\"\ninput = { number = \"1\" }\n\
                expect = { channel = \"till\" }\n";
    let base = own_systems().replacen(
        "to = \"erp.orders\"\n",
        "to = \"erp.orders\"\nmapping = \"web_orders\"\n",
        1,
    );
    assert!(told(&format!("{base}\n{text}")).contains("X0507"));
}

/// A folder with the settings that the supplier's guide speaks of.
async fn answer_to(name: &str, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("in")).unwrap();
    fs::write(dir.path().join("in").join(name), text).unwrap();
    let settings = format!(
        "path = \"{}\"\ncomplete = \"renamed\"\nkind = \"full\"\ndelimiter = \";\"\ndecimal_mark = \",\"\n\
         currency = \"EUR\"\nwords = {{ \">100\" = 100 }}\nguard = {{ bad_rows = 0.5 }}\n\
         columns = {{ sku = \"Artikelnr\", on_hand = \"Bestand\", price = \"Preis\" }}\n",
        dir.path().display()
    );
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap()));
    let context = Context {
        name: "acme".into(),
        http: Arc::new(Replay::new(Vec::new(), Order::Any, Arc::clone(&clock))),
        tokens: Arc::default(),
        files: FileLimits::default(),
        clock,
        windows: std::collections::BTreeMap::new(),
    };
    let configured = FeedConnector::default()
        .configure(&settings.parse().unwrap())
        .unwrap();
    let connection = configured.open(context).unwrap();
    for stream in [Stream::Stock, Stream::Prices] {
        let mut cursor = None;
        loop {
            let page = connection.sources[&stream]
                .pull(cursor.as_ref())
                .await
                .unwrap();
            if !page.more {
                // The file is done when the next look is asked with where this one ended.
                connection.sources[&stream]
                    .pull(Some(&page.cursor))
                    .await
                    .unwrap();
                break;
            }
            cursor = Some(page.cursor);
        }
    }
    let mut replies = fs::read_dir(dir.path().join("reply")).unwrap();
    let reply = replies.next().unwrap().unwrap();
    assert!(reply.file_name().to_string_lossy().starts_with(name));
    fs::read_to_string(reply.path()).unwrap()
}

#[tokio::test]
async fn the_supplier_is_answered_as_the_guide_says() {
    let found = of_kind("supplier.md", "csv");
    assert_eq!(found.len(), 4, "two files, two answers");
    for pair in found.chunks(2) {
        let name = pair[0].label.strip_prefix("csv file=").unwrap();
        assert_eq!(pair[1].label, format!("csv reply={name}"));
        let answer = answer_to(name, &pair[0].text).await;
        let lines: Vec<&str> = answer
            .lines()
            .map(|line| line.trim_matches('"'))
            .filter(|line| !line.starts_with("content"))
            .collect();
        let wanted: Vec<&str> = pair[1].text.lines().collect();
        assert_eq!(lines.len(), wanted.len(), "{answer}");
        for (line, wanted) in lines.iter().zip(wanted) {
            assert!(line.starts_with(wanted), "{wanted:?} is not in\n{answer}");
        }
    }
}

/// Every `crossdock …` in a guide is a command that there is.
#[test]
fn every_command_exists() {
    let mut count = 0;
    for name in ["sysadmin.md", "merchant.md", "supplier.md"] {
        let page = page(name);
        // In code: indented or between back ticks.
        let lines = page
            .lines()
            .filter(|line| line.starts_with("    crossdock ") || line.starts_with("crossdock "));
        let spans = page
            .split('`')
            .filter(|span| span.starts_with("crossdock "));
        for line in lines.chain(spans) {
            let line = line.split('#').next().unwrap();
            let words: Vec<&str> = line
                .split_whitespace()
                .skip(1)
                .filter(|word| !word.starts_with("--") && !word.contains(['/', '.']))
                .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
                .collect();
            let help = |words: Vec<&str>| {
                let args = ["crossdock"].into_iter().chain(words).chain(["--help"]);
                let (mut out, mut err) = (Vec::new(), Vec::new());
                let world = World::default();
                let mut shell = Shell {
                    registry: &[],
                    around: &world,
                    out: &mut out,
                    err: &mut err,
                    is_terminal: false,
                };
                cli::run(args.map(Into::into), &mut shell) == Exit::Ok
            };
            assert!(
                help(words.first().copied().into_iter().collect()),
                "{name}: {line}"
            );
            count += 1;
        }
    }
    assert!(count > 20, "only {count} commands");
}

/// Part 1 of the sysadmin's guide, in a folder of its own; the people buy for a shorter time.
#[test]
#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn the_first_part_of_the_sysadmins_guide_runs() {
    let found = of_kind("sysadmin.md", "console");
    let [demo, looks] = found.as_slice() else {
        panic!("one command in the background, and the looks");
    };
    let dir = tempfile::tempdir().unwrap();
    let command = |line: &str| {
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("crossdock"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossdock"));
        command.args(words).current_dir(dir.path());
        command
    };
    assert_eq!(demo.label, "console background");
    let line = demo.text.trim().replace("--for 60s", "--for 6s");
    let mut running = command(&line)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let config = dir.path().join("practice/crossdock.toml");
    let begun = Instant::now();
    while !config.exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    for line in looks.text.lines() {
        // The daemon may still be opening its store.
        let mut done = command(line).output().unwrap();
        while !done.status.success() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(200));
            done = command(line).output().unwrap();
        }
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        let trouble = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{line}\n{told}\n{trouble}");
    }
    let ended = running.wait().unwrap();
    assert!(ended.success(), "the statement of the demo: {ended}");
}

/// Whatever a page promises, a test shows: each name in back ticks that looks like one is one.
#[test]
fn every_test_that_the_guarantees_name_exists() {
    let pages = ["guarantees", "stories"];
    let page = pages.map(|it| fs::read_to_string(format!("src/docs/{it}.md")).unwrap());
    let page = page.concat();
    let looks_like_one = |span: &&str| {
        span.len() > 15
            && span.contains('_')
            && span
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: Vec<&str> = page.split('`').filter(looks_like_one).collect();
    assert!(named.len() > 100, "{named:?}");
    let mut folders = vec![
        "src".into(),
        "connectors".into(),
        std::path::PathBuf::from("tests/it"),
    ];
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                code.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !code.contains(&format!("fn {name}(")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
