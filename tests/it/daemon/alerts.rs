//! What somebody is told when it is not well: by a program, a webhook and a mail server of the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossdock::alert::{Kind, Severity};
use crossdock::clock::Clock;
use crossdock::config::{self, Credentials, System};
use crossdock::connector::Connector;
use crossdock::runtime::{Runtime, SystemClock};
use crossdock::store::memory::MemoryStore;
use crossdock::topology;
use serde_json::Value;

use super::notify::{Manager, free_port, page};
use super::{Daemon, PATIENCE, Place};

type Heard = Arc<Mutex<Vec<String>>>;

/// A web server that keeps the bodies that it is sent. The first request is refused.
fn web_server() -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook-secret", listener.local_addr().unwrap());
    let heard = Heard::default();
    let (kept, requests) = (Arc::clone(&heard), AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let body = request(&mut stream).unwrap_or_default();
            let is_first = requests.fetch_add(1, Ordering::Relaxed) == 0;
            let status = if is_first { "500 Oops" } else { "200 OK" };
            if !is_first {
                kept.lock().unwrap().push(body);
            }
            let reply =
                format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    (url, heard)
}

/// The body of an HTTP request.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

/// A mail server that keeps the letters that it is sent.
fn mail_server() -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            if let Some(letter) = letter(stream) {
                kept.lock().unwrap().push(letter);
            }
        }
    });
    (port, heard)
}

/// One letter, with its envelope in front.
fn letter(stream: TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    let mut say = |line: &str| writer.write_all(format!("{line}\r\n").as_bytes()).ok();
    say("220 test")?;
    let mut letter = String::new();
    let mut in_data = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return Some(letter);
        }
        let line = line.trim_end();
        if in_data {
            letter += line;
            letter.push('\n');
            if line == "." {
                in_data = false;
                say("250 taken")?;
            }
            continue;
        }
        match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" | "HELO" => say("250 test")?,
            "MAIL" | "RCPT" => {
                letter += line;
                letter.push('\n');
                say("250 ok")?;
            }
            "DATA" => {
                in_data = true;
                say("354 go on")?;
            }
            "QUIT" => {
                say("221 bye")?;
                return Some(letter);
            }
            _ => say("502 what?")?,
        }
    }
}

/// What the command hook was given: step and cause of each notice.
fn told(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut all = Vec::new();
    for line in text.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        assert_eq!(message["source"], "crossdock");
        for notice in message["notices"].as_array().unwrap() {
            let part = |name: &str| notice[name].as_str().unwrap().to_owned();
            all.push(format!("{} {}", part("step"), part("cause")));
        }
    }
    all
}

async fn until(what: &str, daemon: Option<&Daemon>, wanted: impl Fn() -> bool) {
    let began = Instant::now();
    while !wanted() {
        let log = || daemon.map(Daemon::log).unwrap_or_default();
        assert!(began.elapsed() < PATIENCE, "not {what}\n{}", log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn hook(file: &Path) -> String {
    let script = format!("/bin/cat >> {}", file.display());
    format!("command = [\"/bin/sh\", \"-c\", \"{script}\"]\n")
}

fn crossdock(place: &Place, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_crossdock"))
        .args(["--config"])
        .arg(place.file())
        .args(args)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Story 54: refused credentials are told, with what to do: once by each channel, not again after a crash, again
/// after a while unless somebody knows, and when it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cause_is_told_once_whatever_happens() {
    let place = Place::new(None).await;
    let (url, posted) = web_server();
    let (smtp, letters) = mail_server();
    let file: PathBuf = place.folder.path().join("told");
    let port = free_port();
    std::fs::write(place.folder.path().join("erp-password"), "hunter2").unwrap();
    let (before, erp) = {
        let config = place.config();
        let at = config.find("[connection.erp]").unwrap();
        (config[..at].to_owned(), config[at..].to_owned())
    };
    let wrong = erp.replacen("practice-password", "erp-password", 1);
    let before = before.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    let alert = |repeat: u64| {
        format!(
            "[alert]\nname = \"shop\"\nfor_secs = 1\nclear_secs = 1\nrepeat_secs = {repeat}\n{}\
             webhook = {{ url = \"{url}\" }}\n\
             smtp = {{ host = \"127.0.0.1\", port = {smtp}, tls = \"none\", from = \"Shop <shop@example.com>\", \
             to = [\"me@example.com\", \"you@example.com\"] }}\n",
            hook(&file)
        )
    };
    let mut daemon = place.daemon(&format!("{before}{wrong}\n{}", alert(3600)));
    let raised = "raised paused:erp";
    until("raised", Some(&daemon), || {
        told(&file).iter().any(|it| it == raised)
    })
    .await;
    until("mailed", Some(&daemon), || {
        !letters.lock().unwrap().is_empty()
    })
    .await;
    // Refused the first time, and tried again.
    until("posted", Some(&daemon), || {
        !posted.lock().unwrap().is_empty()
    })
    .await;
    let letter = letters.lock().unwrap()[0].clone();
    for part in [
        "MAIL FROM:<shop@example.com>",
        "RCPT TO:<me@example.com>",
        "RCPT TO:<you@example.com>",
        "Subject: [shop] urgent: paused:erp",
        "connection resume erp",
    ] {
        let plain = letter.replace("=\n", "");
        assert!(plain.contains(part), "{part} is not in\n{letter}");
    }
    let body: Value = serde_json::from_str(&posted.lock().unwrap()[0]).unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("*shop*\nURGENT erp is paused"), "{text}");
    let status = daemon
        .until("shown", |it| it["alerts"][0]["cause"] == "paused:erp")
        .await;
    assert_eq!(status["alerts"][0]["severity"], "urgent");
    let metric = "crossdock_alert{kind=\"paused\",subject=\"erp\",severity=\"urgent\"} 1";
    let (_, metrics) = page(port, "/metrics");
    assert!(metrics.contains(metric), "{metrics}");

    daemon.signal("KILL");
    daemon.ended(PATIENCE).await;
    let mut daemon = Daemon::start(place.folder.path(), &[]);
    daemon
        .until("up again", |it| it["alerts"][0]["cause"] == "paused:erp")
        .await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let once = told(&file);
    assert_eq!(once, [raised], "{}", daemon.log());

    place.write(&format!("{before}{wrong}\n{}", alert(1)));
    assert_eq!(daemon.reload().await["applied"], true);
    let is = |step: &str| {
        told(&file)
            .iter()
            .any(|it| it == &format!("{step} paused:erp"))
    };
    until("repeated", Some(&daemon), || is("repeated")).await;
    let (code, text) = crossdock(&place, &["alert", "ack", "paused:erp"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = crossdock(&place, &["alert", "list"]);
    assert!(
        code == Some(1) && text.contains("paused:erp") && text.contains("yes"),
        "{text}"
    );
    tokio::time::sleep(Duration::from_secs(6)).await; // what was on its way
    let count = told(&file).len();
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(told(&file).len(), count, "somebody knows");

    place.write(&format!("{before}{erp}\n{}", alert(1)));
    assert_eq!(daemon.reload().await["applied"], true);
    until("over", Some(&daemon), || is("cleared")).await;
    daemon
        .until("shown as over", |it| {
            it["alerts"].as_array().unwrap().is_empty()
        })
        .await;
    let (_, metrics) = page(port, "/metrics");
    assert!(metrics.contains(&metric.replace("} 1", "} 0")), "{metrics}");
    let (code, text) = crossdock(&place, &["alert", "list"]);
    assert!(
        code == Some(0) && text.contains("nothing is wrong"),
        "{text}"
    );
    let raised = told(&file).iter().filter(|it| *it == raised).count();
    assert_eq!(raised, 1, "{:?}", told(&file));
    let everything = format!("{}{:?}{letter}", daemon.log(), posted.lock().unwrap());
    assert!(!everything.contains("hunter2") && !everything.contains("hook-secret"));
    place.world.stop().await;
}

/// Story 64: alive but idle. Every loop beats, no system answers: the watchdog is fed, because a restart would
/// not help, and somebody is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alive_but_idle_is_told_and_not_killed() {
    let place = Place::new(None).await;
    let file = place.folder.path().join("told");
    let port = free_port();
    let mut config = place.config();
    for name in ["north", "south", "pos", "erp"] {
        config = config.replace(place.world.url(name).unwrap(), "http://127.0.0.1:1");
    }
    let secs = |stream: &str| format!("stream.{stream}.poll_secs");
    for stream in ["orders", "stock", "shipments", "items", "prices"] {
        let fresh = format!("stream.{stream}.freshness_secs = 6\n{}", secs(stream));
        config = config.replace(&secs(stream), &fresh);
    }
    let config = config.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    let alert = format!("[alert]\nfor_secs = 1\n{}", hook(&file));
    place.write(&format!("{config}\n{alert}\n[limits]\nstuck_secs = 5\n"));
    let manager = Manager::at(&place, false);
    let mut daemon = Daemon::start(place.folder.path(), &manager.environment());
    let silent = |it: &Value| {
        let alerts = it["alerts"].as_array().unwrap();
        let silent = |it: &&Value| it["cause"].as_str().unwrap().contains("_silent");
        alerts.iter().any(|it| silent(&it))
    };
    let status = daemon.until("silent", silent).await;
    until("told", Some(&daemon), || {
        told(&file)
            .iter()
            .any(|it| it.starts_with("raised ") && it.contains("_silent"))
    })
    .await;
    assert!(status["stuck"].is_null(), "{status:#}");
    manager.hear(Duration::from_millis(100)); // what was on its way
    let heard = manager.hear(Duration::from_secs(3));
    let fed = heard
        .iter()
        .filter(|message| message.contains("WATCHDOG=1"));
    assert!(fed.count() >= 5, "{heard:?}");
    assert_eq!(page(port, "/healthz").0, 200);
    assert_eq!(page(port, "/readyz").0, 503);
    place.world.stop().await;
}

/// Story 17: a system calls us no more. Whoever finds that out reports it, and somebody is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_report_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("told");
    let path = folder.path().join("c.toml");
    let alert = format!("[alert]\nfor_secs = 0\nclear_secs = 0\n{}", hook(&file));
    let text = format!("version = 1\n[store]\nengine = \"memory\"\n{alert}");
    std::fs::write(&path, text).unwrap();
    let connectors = crossdock::connectors::built_in();
    let registry: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    let loaded = config::read(&path, &System, Credentials::Needed).unwrap();
    let plan = topology::plan(&loaded, &registry).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = Box::new(MemoryStore::new());
    let runtime = Runtime::start(Arc::new(plan), store, &clock, 1).unwrap();
    let gone = || Some((Severity::Urgent, "north calls us no more".to_owned()));
    runtime
        .vitals
        .report(Kind::Subscription, "north.orders", gone());
    until("told", None, || {
        told(&file) == ["raised subscription:north.orders"]
    })
    .await;
    runtime
        .vitals
        .report(Kind::Subscription, "north.orders", None);
    until("over", None, || told(&file).len() == 2).await;
    assert_eq!(told(&file)[1], "cleared subscription:north.orders");
    runtime
        .stop(Duration::from_secs(5), clock.as_ref())
        .await
        .unwrap();
}

/// Story 13, and silence: a system whose clock is wrong, and a shop in which nobody buys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_silence_and_credentials_are_told() {
    let place = Place::with(|options| {
        let plan = crossdock::sandbox::FaultPlan {
            clock_skew_secs: 600,
            ..Default::default()
        };
        options.faults.insert("erp".to_owned(), plan);
    })
    .await;
    let config = place.config().replacen(
        "[connection.pos]\n",
        "[connection.pos]\ncredential_expires = \"2020-01-31\"\nstream.orders.max_silence_secs = 2\n",
        1,
    );
    let mut daemon = place.daemon(&format!("{config}\n[alert]\nfor_secs = 0\n"));
    for cause in ["clock:erp", "no_orders:pos.orders", "credential:pos"] {
        let told = |it: &Value| {
            let alerts = it["alerts"].as_array().unwrap();
            alerts.iter().any(|it| it["cause"] == cause)
        };
        daemon.until(cause, told).await;
    }
    let (_, text) = crossdock(&place, &["status"]);
    for part in [
        "EXPECTED EVERY",
        "15 min",
        "ALERT urgent",
        "ended at 2020-02-01",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    place.world.stop().await;
}

/// `alert test` says of each channel what it answered, and no secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_tried() {
    let place = Place::new(None).await;
    let file = place.folder.path().join("told");
    let (url, posted) = web_server();
    let base = place.config();
    place.write(&base);
    let (code, text) = crossdock(&place, &["alert", "test"]);
    assert!(code == Some(1) && text.contains("no channel"), "{text}");
    let alert = format!(
        "[alert]\n{}webhook = {{ url = \"{url}\", style = \"json\" }}\n",
        hook(&file)
    );
    place.write(&format!("{base}\n{alert}"));
    let (code, text) = crossdock(&place, &["alert", "test"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("ok       command"), "{text}");
    assert!(
        text.contains("FAILED   webhook: the webhook answered 500"),
        "{text}"
    );
    assert!(!text.contains("hook-secret"), "{text}");
    let (code, text) = crossdock(&place, &["alert", "test", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(posted.lock().unwrap()[0].contains("test:channels"));
    assert_eq!(told(&file), ["raised test:channels"; 2]);

    // A program that hangs or is not there, a mail server that is not there.
    let broken = format!(
        "[alert]\ncommand = [\"/nowhere/hook\"]\n\
         smtp = {{ host = \"127.0.0.1\", port = {}, from = \"a@b.example\", to = [\"a@b.example\"], \
         username = \"u\", password = \"hunter2\" }}\n",
        free_port()
    );
    place.write(&format!("{base}\n{broken}"));
    let (code, text) = crossdock(&place, &["alert", "test"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("FAILED   command: /nowhere/hook cannot be started"),
        "{text}"
    );
    assert!(
        text.contains("FAILED   smtp: the mail server cannot be reached"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    place.world.stop().await;
}
