#![allow(warnings)]
use crossdock::{clock::*, connector::*, manifest, record::*, transport::http::*};
use std::sync::Arc;
use std::time::Duration;
#[derive(Debug)]
struct Sys;
impl Clock for Sys {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn monotonic(&self) -> Duration {
        static S: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        S.get_or_init(std::time::Instant::now).elapsed()
    }
    fn sleep(&self, d: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(d))
    }
}
fn open(name: &str, settings: &str) -> Connection {
    let clock: Arc<dyn Clock> = Arc::new(Sys);
    let path = format!("connectors/{name}/connector.toml");
    let c = manifest::load(&path, &std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|d| {
        for f in &d.0 {
            println!(
                "{}:{} [{}] {}: {} {}",
                path,
                f.line().unwrap_or(0),
                f.code,
                f.path,
                f.message,
                f.help.clone().unwrap_or_default()
            )
        }
        std::process::exit(1)
    });
    let conf = c.configure(&toml::from_str(settings).unwrap()).unwrap();
    let client = Client::new(HttpOptions::default(), clock.clone()).unwrap();
    conf.open(Context {
        name: name.into(),
        clock,
        http: Arc::new(client),
    })
    .unwrap()
}
fn vendure(port: u16) -> Connection {
    open(
        "vendure",
        &format!(
            "url=\"http://127.0.0.1:{port}\"\nusername=\"superadmin\"\npassword=\"superadmin\""
        ),
    )
}
fn tryton() -> Connection {
    open(
        "tryton",
        "url=\"http://127.0.0.1:8101\"\ndatabase=\"tryton\"\nuser=\"admin\"\npassword=\"admin\"\nweb_shops={north=\"north\",south=\"south\"}\ncarriers={flat=\"DHL\",free=\"DHL\",express=\"UPS\"}",
    )
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let a: Vec<String> = std::env::args().collect();
    match a[1].as_str() {
        "check" => {
            open(&a[2], &a[3]);
        }
        "probe" => {
            let c = if a[2] == "tryton" {
                tryton()
            } else {
                vendure(3101)
            };
            println!("{:?}", c.probe.unwrap().probe().await)
        }
        "pull" => {
            let c = if a[2] == "tryton" {
                tryton()
            } else {
                vendure(3101)
            };
            let s: Stream = a[3].parse().unwrap();
            let src = &c.sources[&s];
            let mut cur: Option<Cursor> = None;
            let mut n = 0;
            loop {
                let p = src.pull(cur.as_ref()).await;
                let p = match p {
                    Ok(p) => p,
                    Err(f) => {
                        println!("FAULT {f:?}");
                        break;
                    }
                };
                for ch in &p.changes {
                    match &ch.body {
                        Body::Present(r) => {
                            if n < a.get(4).and_then(|x| x.parse().ok()).unwrap_or(1) {
                                println!(
                                    "{} {}",
                                    ch.id,
                                    serde_json::to_string_pretty(&r.to_json()).unwrap()
                                )
                            }
                            n += 1;
                        }
                        b => println!("{} {b:?}", ch.id),
                    }
                }
                println!(
                    "cursor {} more {} read_at {} changes {} complete {}",
                    p.cursor,
                    p.more,
                    p.read_at,
                    p.changes.len(),
                    p.complete
                );
                let more = p.more;
                if let Some(c) = &cur {
                    c.check_successor(&p.cursor).unwrap()
                }
                cur = Some(p.cursor);
                if !more {
                    break;
                }
            }
            let p = src.pull(cur.as_ref()).await.unwrap();
            println!("again: {} changes, cursor {}", p.changes.len(), p.cursor);
        }
        "fetch" => {
            let c = if a[2] == "tryton" {
                tryton()
            } else {
                vendure(3101)
            };
            let s: Stream = a[3].parse().unwrap();
            let ids: Vec<_> = a[4].split(',').map(crossdock::id::RemoteId::from).collect();
            for c in c.sources[&s].fetch(&ids).await.unwrap() {
                match c.body {
                    Body::Present(r) => println!(
                        "{} {}",
                        c.id,
                        serde_json::to_string_pretty(&r.to_json()).unwrap()
                    ),
                    b => println!("{} {b:?}", c.id),
                }
            }
        }
        "order" => {
            // order <port> <origin> <id,..> [crash step]
            let port: u16 = a[2].parse().unwrap();
            let v = vendure(port);
            let t = tryton();
            let ids: Vec<_> = a[4].split(',').map(crossdock::id::RemoteId::from).collect();
            for c in v.sources[&Stream::Orders].fetch(&ids).await.unwrap() {
                let Body::Present(record) = c.body else {
                    println!("{:?}", c.body);
                    continue;
                };
                let mut d = Delivery {
                    id: "dlv_1".into(),
                    stream: Stream::Orders,
                    key: c.id.as_str().into(),
                    operation: Operation::Create,
                    record,
                    reference: format!("{}:{}", a[3], c.id),
                    origin: a[3].clone(),
                    target: None,
                    captured: Captured::new(),
                    attempts: 0,
                };
                let log = StepLog::default();
                let begun = std::time::Instant::now();
                println!("find before: {:?}", t.sinks[&Stream::Orders].find(&d).await);
                let out = t.sinks[&Stream::Orders]
                    .deliver(std::slice::from_ref(&d), &log)
                    .await;
                println!(
                    "{} {out:?} {:?}\n steps {:?}",
                    c.id,
                    begun.elapsed(),
                    log.steps()
                        .iter()
                        .map(|s| (s.1.clone(), s.2.to_string()))
                        .collect::<Vec<_>>()
                );
                println!("find after: {:?}", t.sinks[&Stream::Orders].find(&d).await);
                // crash: everything captured is lost
                let log = StepLog::default();
                let out = t.sinks[&Stream::Orders]
                    .deliver(std::slice::from_ref(&d), &log)
                    .await;
                println!("again without memory: {out:?}");
                for (n, v) in log
                    .steps()
                    .iter()
                    .map(|s| (s.1.clone(), s.2.clone()))
                    .take(2)
                {
                    d.captured.insert(n, v);
                }
                let log = StepLog::default();
                let out = t.sinks[&Stream::Orders]
                    .deliver(std::slice::from_ref(&d), &log)
                    .await;
                println!(
                    "again with some memory: {out:?} {:?}",
                    log.steps().iter().map(|s| s.1.clone()).collect::<Vec<_>>()
                );
            }
        }
        _ => {}
    }
}
