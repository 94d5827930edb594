//! `check --online` against practice systems: what is asked, what is told, and that nothing moves.

use std::process::{Command, Output};

use crossdock::sandbox::WorldOptions;
use serde_json::Value;

use super::Place;

fn check(place: &Place, config: &str, args: &[&str]) -> Output {
    place.write(config);
    Command::new(env!("CARGO_BIN_EXE_crossdock"))
        .args(["check", "--online", "--config"])
        .arg(place.file())
        .args(args)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_system_is_asked_and_nothing_moves() {
    let place = Place::new(None).await;
    let config = place.config();
    place.world.acme.drop_file().unwrap();
    let before = std::fs::read_dir(place.world.acme.folder().join("in"))
        .unwrap()
        .count();
    let output = check(&place, &config, &[]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for part in [
        "ok       login",
        "ok       read orders",
        "ok       read stock",
        "ok       clock",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    assert!(!told.contains("FAILED"), "{told}");
    let after = std::fs::read_dir(place.world.acme.folder().join("in"))
        .unwrap()
        .count();
    assert_eq!(
        (before, place.folder.path().join("store").exists()),
        (after, false)
    );

    let output = check(&place, &config, &["--json"]);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all["online"].as_object().unwrap().len(), 5, "{all:#}");
    assert_eq!(all["online"]["erp"][0]["what"], "login");
    place.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_answer_as_needed_is_told() {
    let place = Place::new(None).await;
    let config = place.config();
    std::fs::write(place.folder.path().join("wrong-password"), "hunter2").unwrap();
    let wrong = config.replacen("practice-password", "wrong-password", 1);
    let output = check(&place, &wrong, &[]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("FAILED   login"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");

    let url = place.world.url("erp").unwrap();
    let output = check(&place, &config.replacen(url, "http://127.0.0.1:1", 1), &[]);
    assert_eq!(output.status.code(), Some(1));
    let output = check(&place, "version = 1\n[route.x]\n", &[]);
    assert_eq!(output.status.code(), Some(3));
    place.world.stop().await;
}

/// Stories 9 and 13: a clock that is wrong, on whichever side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_is_seen() {
    for (skew, args, code, word) in [
        (600, &[][..], 0, "LOOK     clock"),
        (600, &["--strict"], 1, "LOOK     clock"),
        (-5000, &[], 1, "FAILED   clock"),
    ] {
        let place = Place::with(|options: &mut WorldOptions| {
            let plan = crossdock::sandbox::FaultPlan {
                clock_skew_secs: skew,
                ..Default::default()
            };
            options.faults.insert("erp".to_owned(), plan);
        })
        .await;
        let output = check(&place, &place.config(), args);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(word), "{told}");
        place.world.stop().await;
    }
}
