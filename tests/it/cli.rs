//! Commands, run without a process.

use crossdock::cli::{self, Exit, Shell};
use crossdock::connector::Connector;
use crossdock::connectors::feed::FeedConnector;

use crate::config::{World, registry};

fn run(world: &World, args: &[&str]) -> (Exit, String, String) {
    let connectors = registry();
    let connectors: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    run_with(world, &connectors, args)
}

/// The same with suppliers' files.
fn run_with_files(world: &World, args: &[&str]) -> (Exit, String, String) {
    let mut connectors = registry();
    connectors.push(Box::new(FeedConnector::default()));
    let connectors: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    run_with(world, &connectors, args)
}

fn run_with(world: &World, connectors: &[&dyn Connector], args: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut shell = Shell {
        registry: connectors,
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

/// Credentials are the unit's alone; whoever asks the daemon, or looks into its store, has none at hand.
#[test]
fn asking_needs_no_credentials() {
    let world = World::of(GOOD);
    let commands = [
        &["status"][..],
        &["queue"],
        &["explain", "order", "1"],
        &["quarantine", "list"],
        &["store", "check"],
        &["state", "rename", "old", "north"],
    ];
    for command in commands {
        let (exit, out, err) = run(&world, &[command, &["--config", "c.toml"]].concat());
        assert_ne!(exit, Exit::Config, "{command:?} {out}{err}");
        assert!(!err.contains("X0204"), "{command:?} {err}");
    }
    let (exit, _, err) = run(&world, &["alert", "test", "--config", "c.toml"]);
    assert!(exit == Exit::Config && err.contains("X0204"), "{err}");
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
    assert!(out.contains("crossdock demo"), "{out}");
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

/// Mappings are compiled and their tests run before the daemon starts, and findings point into the file.
#[test]
fn check_compiles_mappings_and_runs_their_tests() {
    let mapped = |mapping: &str| {
        GOOD.replace("mode = \"apply\"", "mode = \"apply\"\nmapping = \"m\"")
            + &format!("[mapping.m]\n{mapping}")
    };
    let case = |expected: &str| {
        format!(
            "field.name = {{ expr = \"upper(item.sku)\" }}\n[[mapping.m.test]]\nname = \"upper\"\n\
             input = {{ sku = \"a1\" }}\nexpect = {{ name = \"{expected}\" }}\n"
        )
    };
    for (mapping, exit, shown) in [
        (case("A1"), Exit::Ok, &["accepted"][..]),
        (
            case("a1"),
            Exit::Config,
            &[
                "error[X0507]",
                "test `upper`",
                "--> c.toml:1",
                "`name` should be",
            ],
        ),
        (
            "field.nme = \"sku\"\n".to_owned(),
            Exit::Config,
            &[
                "error[X0502]",
                "no field `nme`",
                "--> c.toml:",
                "did you mean `name`",
            ],
        ),
        (
            "field.name = { expr = \"item.skuu\" }\n".to_owned(),
            Exit::Config,
            &["error[X0501]", "skuu", "--> c.toml:"],
        ),
    ] {
        let world = World::of(mapped(&mapping));
        let args = ["check", "--config", "c.toml", "--assume-credentials"];
        let (found, out, _) = run(&world, &args);
        assert_eq!(found, exit, "{out}");
        for part in shown {
            assert!(out.contains(part), "{part} is not in\n{out}");
        }
    }
}

fn real(args: &[&str]) -> (Exit, String, String) {
    let connectors = crossdock::connectors::built_in();
    let connectors: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    run_with(&World::default(), &connectors, args)
}

#[test]
fn connectors_can_be_listed_and_shown() {
    let (exit, out, _) = real(&["connector", "list"]);
    assert_eq!(exit, Exit::Ok);
    let line = out.lines().find(|line| line.contains("tryton")).unwrap();
    assert!(
        line.contains("orders") && line.contains("real software"),
        "{line}"
    );
    let (_, out, _) = real(&["connector", "list", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 10);

    let (exit, out, _) = real(&["connector", "show", "vendure"]);
    assert_eq!(exit, Exit::Ok);
    for part in [
        "password",
        "secret",
        "required",
        "orders",
        "real software",
        "its stock falls",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    let (_, out, _) = real(&["connector", "show", "feed", "--json"]);
    let feed: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(feed["streams"]["stock"]["read"], true);

    let (exit, _, err) = real(&["connector", "show", "vendur"]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("did you mean `vendure`"), "{err}");
}

#[test]
fn a_new_connector_is_green_and_never_written_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_str().unwrap();
    for (name, more) in [("mine", &[][..]), ("yours", &["--from", "vendure"])] {
        let mut args = vec!["connector", "new", name, "--into", into];
        args.extend(more);
        let (exit, out, err) = real(&args);
        assert_eq!(exit, Exit::Ok, "{out}{err}");
        let text =
            std::fs::read_to_string(folder.path().join(name).join("connector.toml")).unwrap();
        let connector = crossdock::connectors::load("x", &text).unwrap();
        assert_eq!(connector.name(), name);
        let (exit, _, err) = real(&args);
        assert_eq!(exit, Exit::Failed, "{err}");
    }
    for (name, more, why) in [
        ("Mine", &[][..], "cannot be a connector's name"),
        ("../mine", &[], "cannot be a connector's name"),
        ("vendure", &[], "of its own"),
        ("other", &["--from", "nothing"], "there is no manifest"),
    ] {
        let mut args = vec!["connector", "new", name, "--into", into];
        args.extend(more);
        let (exit, _, err) = real(&args);
        assert_eq!(exit, Exit::Usage, "{name}");
        assert!(err.contains(why), "{err}");
    }
}

#[test]
fn trying_a_connector_says_what_it_lacks_and_never_writes() {
    let case = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/connectors/vendure/fixtures/stock_write.json"
    );
    for (args, exit, why) in [
        (&["vendur"][..], Exit::Usage, "did you mean `vendure`"),
        (&["vendure"], Exit::Config, "`url` is missing"),
        (&["vendure", "--set", "url"], Exit::Usage, "KEY=VALUE"),
        (&["vendure", "ordres"], Exit::Usage, "one of items"),
        (&["vendure", "--write", case], Exit::Usage, "--dry-run"),
        (
            &[
                "vendure",
                "--write",
                "nowhere.json",
                "--dry-run",
                "--set",
                "url=http://127.0.0.1:9",
                "--set",
                "username=u",
                "--set",
                "password=p",
            ],
            Exit::Usage,
            "nowhere.json",
        ),
        (
            &[
                "vendure",
                "--set",
                "url=http://127.0.0.1:9",
                "--set",
                "username=u",
                "--set",
                "password=s3cret",
            ],
            Exit::Findings,
            "FAILED (Retry)",
        ),
    ] {
        let all: Vec<&str> = ["connector", "try"].iter().chain(args).copied().collect();
        let (found, out, err) = real(&all);
        assert_eq!(found, exit, "{args:?}: {out}{err}");
        assert!(
            out.contains(why) || err.contains(why),
            "{args:?}: {out}{err}"
        );
        assert!(
            !out.contains("s3cret") && !err.contains("s3cret"),
            "{out}{err}"
        );
    }
}

#[test]
fn a_connector_is_tested_against_its_fixtures() {
    let (exit, out, err) = real(&["connector", "test", "tryton"]);
    assert_eq!(exit, Exit::Ok, "{out}{err}");
    assert!(
        out.contains("recorded cases") && out.contains("0 did not"),
        "{out}"
    );
    let (exit, _, err) = real(&["connector", "test", "feed"]);
    assert_eq!(exit, Exit::Failed);
    assert!(
        err.contains("0 fixtures")
            && err.contains("nothing is shown")
            && err.contains("check --online"),
        "{err}"
    );
    // Fixtures of another connector: everything fails, and that is the result.
    let (exit, out, _) = real(&[
        "connector",
        "test",
        "sandbox_pos",
        "--fixtures",
        "connectors/tryton/fixtures",
    ]);
    assert_eq!(exit, Exit::Findings, "{out}");
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
        run_with_files(&world, &["release", connection, file, "--config", "c.toml"])
    };
    let (exit, _, err) = release("acme", "prices.csv");
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains(&held), "{err}");
    let (exit, _, err) = release("north", "stock.csv");
    assert_eq!(exit, Exit::Failed);
    assert!(
        err.contains("`north` is a connection of `shop`, which reads no files"),
        "{err}"
    );
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
    let (exit, out, _) = run_with_files(&World::default(), &["feed", "sniff", file]);
    assert_eq!(exit, Exit::Ok);
    for line in [
        "delimiter = \";\"",
        "decimal_mark = \",\"",
        "sku = \"Artikelnr\"",
    ] {
        assert!(out.contains(line), "{out}");
    }
    let (exit, _, err) = run_with_files(&World::default(), &["feed", "sniff", "/nowhere.csv"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("/nowhere.csv"), "{err}");
}

#[test]
fn explain_knows_the_codes_of_findings() {
    let world = World::default();
    let (exit, out, _) = run(&world, &["explain", "x0203"]);
    assert_eq!(exit, Exit::Ok);
    assert!(
        out.starts_with("X0203: a file that a setting names cannot be read\n\n"),
        "{out}"
    );
    let (exit, out, _) = run(&world, &["explain", "X0203", "--json"]);
    let page: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, &page["code"]), (Exit::Ok, &"X0203".into()));
    for wrong in [&["explain", "X9999"][..], &["explain", "odrer", "1"]] {
        let (exit, _, err) = run(&world, wrong);
        assert_eq!(exit, Exit::Usage);
        assert!(err.contains("--help"), "{err}");
    }
}

#[test]
fn what_a_package_installs_is_printed() {
    let world = World::default();
    for shell in ["bash", "zsh", "fish"] {
        let (exit, out, _) = run(&world, &["completions", shell]);
        assert_eq!(exit, Exit::Ok);
        assert!(
            out.contains("quarantine") && out.contains("crossdock"),
            "{shell}"
        );
    }
    let (exit, out, _) = run(&world, &["man"]);
    assert_eq!(exit, Exit::Ok);
    assert!(out.starts_with(".ie") && out.contains("crossdock"), "{out}");
    let temp = tempfile::tempdir().unwrap();
    let (exit, _, err) = run(&world, &["man", "--into", temp.path().to_str().unwrap()]);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    assert!(temp.path().join("crossdock-quarantine.1").exists());
}
