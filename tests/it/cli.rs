//! Commands, run without a process.

use crossdock::cli::{self, Exit, Shell};
use crossdock::connector::Connector;

use crate::config::{World, registry};

fn run(world: &World, args: &[&str]) -> (Exit, String, String) {
    let connectors = registry();
    let connectors: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut shell = Shell {
        registry: &connectors,
        around: world,
        out: &mut out,
        err: &mut err,
        is_terminal: false,
    };
    let args = std::iter::once("crossdock")
        .chain(args.iter().copied())
        .map(Into::into);
    let exit = cli::run(args, &mut shell);
    (
        exit,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

const GOOD: &str = "version = 1\n[connection.drop]\nconnector = \"folder\"\nsettings.path = \"/srv\"\n\
                    [connection.north]\nconnector = \"shop\"\n\
                    settings = { url = \"u\", token = \"${credential:t}\" }\n\
                    [route.items]\nfrom = \"drop.items\"\nto = \"north.items\"\nmode = \"apply\"\n";

#[test]
fn check_says_what_it_found() {
    for (text, args, exit, last) in [
        (
            GOOD,
            &["check", "--config", "c.toml", "--assume-credentials"][..],
            Exit::Ok,
            "c.toml: accepted: 2 connections, 1 route, 0 publish rules; 1 of 1 write",
        ),
        (
            GOOD,
            &["check", "--config", "c.toml"],
            Exit::Config,
            "c.toml: 1 error; refused",
        ),
        (
            "version = 1\n",
            &["check", "--config", "c.toml"],
            Exit::Ok,
            "c.toml: accepted: 0 connections, 0 routes, 0 publish rules; 0 of 0 write",
        ),
        (
            "version = 1\n[mapping.m]\n",
            &["--config", "c.toml", "check", "--strict"],
            Exit::Findings,
            "c.toml: 1 warning; accepted: 0 connections, 0 routes, 0 publish rules; 0 of 0 write",
        ),
        (
            "version = 1\nx = 1\n",
            &["check", "--json", "--config=c.toml"],
            Exit::Config,
            "}",
        ),
    ] {
        let (found, out, err) = run(&World::of(text), args);
        assert_eq!(
            (found, out.lines().last(), err.as_str()),
            (exit, Some(last), ""),
            "{out}"
        );
    }
}

#[test]
fn findings_as_json_are_json() {
    let (_, out, _) = run(
        &World::of("version = 1\nx = 1\n"),
        &["check", "--json", "--config=c.toml"],
    );
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["accepted"], false);
    assert_eq!(found["findings"][0]["code"], "X0301");
}

#[test]
fn the_configuration_is_found() {
    let world = World::of("");
    let (exit, out, _) = run(&world, &["check"]);
    assert_eq!(exit, Exit::Config);
    assert!(out.contains("/etc/crossdock"), "{out}");
    let (_, out, _) = run(&world.var("CROSSDOCK_CONFIG", "elsewhere.toml"), &["check"]);
    assert!(out.contains("elsewhere.toml"), "{out}");
}

/// Story 55: secrets in logs.
#[test]
fn show_leaves_secrets_out_and_schema_is_json() {
    let text = GOOD.replace("${credential:t}", "hunter2");
    let (exit, out, _) = run(&World::of(text), &["config", "show", "--config", "c.toml"]);
    assert_eq!(exit, Exit::Ok);
    assert!(
        out.contains("drain_secs") && !out.contains("hunter2"),
        "{out}"
    );
    let (exit, out, _) = run(&World::default(), &["config", "schema"]);
    assert_eq!(exit, Exit::Ok);
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
}

#[test]
fn a_wrong_command_line_is_2() {
    let (exit, out, err) = run(&World::default(), &["chekc"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("'check'"), "{err}");
    assert_eq!(run(&World::default(), &["--help"]).0, Exit::Ok);
}

#[test]
fn a_held_file_is_released_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["held", "processing"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let held = format!("20261122T101500123Z-{}-stock.csv", "a1".repeat(16));
    std::fs::write(folder.path().join("held").join(&held), "sku,qty\nA,1\n").unwrap();
    let path = folder.path().display();
    let text = format!(
        "version = 1\n[connection.acme]\nconnector = \"feed\"\nsettings.path = \"{path}\"\n\
         [connection.north]\nconnector = \"shop\"\nsettings = {{ url = \"u\", token = \"t\" }}\n"
    );
    let world = World::of(text.as_str());
    let release = |connection: &str, file: &str| {
        run(&world, &["release", connection, file, "--config", "c.toml"])
    };
    let (exit, _, err) = release("acme", "prices.csv");
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains(&held), "{err}");
    let (exit, _, err) = release("north", "stock.csv");
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("`north` is no connection of"), "{err}");
    let (exit, out, _) = release("acme", "stock.csv");
    assert_eq!(exit, Exit::Ok);
    assert!(out.starts_with("released: "), "{out}");
    let taken = std::fs::read_dir(folder.path().join("processing")).unwrap();
    assert_eq!(taken.count(), 1);
}

#[test]
fn a_file_is_looked_at_and_settings_proposed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list.csv");
    std::fs::write(&file, "Artikelnr;Bestand;Preis\n0017;5;1,99\n1E5;7;2,50\n").unwrap();
    let file = file.to_str().unwrap();
    let (exit, out, _) = run(&World::default(), &["feed", "sniff", file]);
    assert_eq!(exit, Exit::Ok);
    for line in [
        "delimiter = \";\"",
        "decimal_mark = \",\"",
        "sku = \"Artikelnr\"",
    ] {
        assert!(out.contains(line), "{out}");
    }
    let (exit, _, err) = run(&World::default(), &["feed", "sniff", "/nowhere.csv"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("/nowhere.csv"), "{err}");
}
