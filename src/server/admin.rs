//! The admin socket: one JSON request a line, one JSON reply a line.
//!
//! An embedded store has one owner, so while the daemon runs every command asks it through this socket,
//! which only its user and group can open. Without a daemon a command opens the store itself and asks
//! the same [`answer`].

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::alert::{Cause, Kind};
use crate::engine::{DeskFilter, EngineError, Handle};
use crate::id::ConnectionName;
use crate::record::Stream;
use crate::runtime::Prover;
use crate::telemetry::Vitals;

/// How long a client may take to send its line.
const PATIENCE: Duration = Duration::from_secs(10);
/// With so many rows of the quarantine something is done at a time.
const AT_ONCE: usize = 100;
/// Of so many rows it is told why they failed.
const TOLD: usize = 20;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// How it stands.
    Status,
    /// Deliveries that wait, after a place in the queue.
    Queue {
        /// After this place.
        after: u64,
        /// At most so many.
        limit: usize,
    },
    /// Rows of the quarantine, after a number.
    Quarantine {
        /// After this number.
        after: u64,
        /// At most so many.
        limit: usize,
        /// Only these.
        #[serde(default)]
        of: DeskFilter,
    },
    /// Why rows are in quarantine, and how many for each reason.
    QuarantineGroups {
        /// Only these.
        #[serde(default)]
        of: DeskFilter,
    },
    /// One row of the quarantine.
    QuarantineShow {
        /// Which.
        number: u64,
    },
    /// Tries rows again.
    QuarantineRetry {
        /// Which.
        numbers: Vec<u64>,
        /// All of these too.
        #[serde(default)]
        of: Option<DeskFilter>,
    },
    /// Orders were changed at their sinks by hand, as they were where they were placed.
    QuarantineChanged {
        /// Which.
        numbers: Vec<u64>,
    },
    /// Replaces what would be delivered.
    QuarantineEdit {
        /// Which.
        number: u64,
        /// The new record.
        record: Value,
    },
    /// Lets rows go.
    QuarantineDismiss {
        /// Which.
        numbers: Vec<u64>,
        /// All of these too.
        #[serde(default)]
        of: Option<DeskFilter>,
        /// Why.
        reason: String,
    },
    /// What somebody was told of and is not over.
    Alerts,
    /// Somebody knows of a cause.
    AlertAck {
        /// Which.
        cause: Cause,
    },
    /// The life of a thing.
    Explain {
        /// Of which stream.
        stream: Stream,
        /// Our id, its number, or `connection:remote id`.
        name: String,
    },
    /// Why channels are told a number.
    ExplainStock {
        /// Of which SKU.
        sku: String,
        /// Only this channel.
        connection: Option<ConnectionName>,
    },
    /// Why channels are told a price.
    ExplainPrice {
        /// Of which SKU.
        sku: String,
        /// Only this channel.
        connection: Option<ConnectionName>,
    },
    /// Asks both sides what came of the orders of a period.
    Prove {
        /// Placed at or after this moment.
        from: Timestamp,
        /// Placed before this moment.
        to: Timestamp,
    },
    /// The proofs of days that were kept.
    Proofs,
    /// Lets deliveries to a paused connection go on.
    Resume {
        /// Which.
        connection: ConnectionName,
    },
}

/// Answers a request. `prover` asks the systems themselves.
///
/// # Errors
/// A sentence for a person.
pub async fn answer(
    engine: &Handle,
    prover: &Prover,
    vitals: Option<&Vitals>,
    request: Request,
) -> Result<Value, String> {
    let text = |error: EngineError| error.to_string();
    let json = |value: Result<Value, serde_json::Error>| value.map_err(|error| error.to_string());
    match request {
        Request::Status => status(engine, vitals).await,
        Request::Alerts => alerts(engine, vitals).await,
        Request::AlertAck { cause } => {
            let known = engine.alert_ack(cause).await.map_err(text)?;
            Ok(json!({ "acknowledged": known }))
        }
        Request::Queue { after, limit } => json(serde_json::to_value(
            engine.queue(after, limit).await.map_err(text)?,
        )),
        Request::Quarantine { after, limit, of } => {
            let rows = engine.quarantine_of(of, after, limit).await;
            json(serde_json::to_value(rows.map_err(text)?))
        }
        Request::QuarantineGroups { of } => json(serde_json::to_value(
            engine.quarantine_groups(of).await.map_err(text)?,
        )),
        Request::QuarantineShow { number } => json(serde_json::to_value(
            engine.quarantine_show(number).await.map_err(text)?,
        )),
        Request::QuarantineRetry { numbers, of } => retry(engine, numbers, of).await,
        Request::QuarantineChanged { numbers } => changed(engine, &numbers).await,
        Request::QuarantineEdit { number, record } => {
            engine.quarantine_edit(number, record).await.map_err(text)?;
            Ok(json!({ "edited": number }))
        }
        Request::QuarantineDismiss {
            numbers,
            of,
            reason,
        } => {
            let numbers = meant(engine, numbers, of).await.map_err(text)?;
            each(&numbers, "dismissed", |number| {
                engine.quarantine_dismiss(number, reason.clone())
            })
            .await
        }
        Request::Explain { stream, name } => json(serde_json::to_value(
            engine.explain(stream, name).await.map_err(text)?,
        )),
        Request::ExplainStock { sku, connection } => {
            let reasons = engine.explain_stock(sku, connection).await.map_err(text)?;
            json(serde_json::to_value(reasons))
        }
        Request::ExplainPrice { sku, connection } => {
            let reasons = engine.explain_price(sku, connection).await.map_err(text)?;
            json(serde_json::to_value(reasons))
        }
        Request::Prove { from, to } => {
            let proof = prover.prove(from, to).await.map_err(text)?;
            json(serde_json::to_value(proof))
        }
        Request::Proofs => {
            let kept = engine.proofs().await.map_err(text)?;
            Ok(kept.into_iter().collect::<serde_json::Map<_, _>>().into())
        }
        Request::Resume { connection } => {
            let resumed = engine.resume(connection).await.map_err(text)?;
            Ok(json!({ "resumed": resumed }))
        }
    }
}

async fn retry(
    engine: &Handle,
    numbers: Vec<u64>,
    of: Option<DeskFilter>,
) -> Result<Value, String> {
    let numbers = meant(engine, numbers, of)
        .await
        .map_err(|error| error.to_string())?;
    let work = |number| engine.quarantine_retry(number);
    each(&numbers, "retried", work).await
}

async fn changed(engine: &Handle, numbers: &[u64]) -> Result<Value, String> {
    let work = |number| engine.quarantine_changed(number);
    each(numbers, "changed", work).await
}

/// The rows that are meant, as they are now: what comes meanwhile is not among them.
async fn meant(
    engine: &Handle,
    mut numbers: Vec<u64>,
    of: Option<DeskFilter>,
) -> Result<Vec<u64>, EngineError> {
    if let Some(of) = of {
        numbers.extend(engine.quarantine_numbers(of).await?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Does something with each row, many at a time; how many went well and why others did not.
async fn each<F>(numbers: &[u64], done: &str, work: impl Fn(u64) -> F) -> Result<Value, String>
where
    F: Future<Output = Result<(), EngineError>>,
{
    let (mut count, mut failed) = (0_usize, Vec::new());
    for some in numbers.chunks(AT_ONCE) {
        let results = join_all(some.iter().map(|number| work(*number))).await;
        for (number, result) in some.iter().zip(results) {
            match result {
                Ok(()) => count += 1,
                Err(error) => failed.push((*number, error.to_string())),
            }
        }
    }
    match failed.first() {
        Some((_, why)) if count == 0 => Err(why.clone()),
        _ => {
            let more = failed.len().saturating_sub(TOLD);
            let failed = failed.iter().take(TOLD);
            let failed: Vec<Value> = failed
                .map(|(number, why)| json!({ "number": number, "why": why }))
                .collect();
            Ok(json!({ done: count, "failed": failed, "failed_more": more }))
        }
    }
}

/// How it stands, with what is known of the loops where a daemon runs.
async fn status(engine: &Handle, vitals: Option<&Vitals>) -> Result<Value, String> {
    let text = |error: EngineError| error.to_string();
    let json = |value: Result<Value, serde_json::Error>| value.map_err(|error| error.to_string());
    let status = engine.status().await.map_err(text)?;
    let mut value = json(serde_json::to_value(status))?;
    value["alerts"] = alerts(engine, vitals).await?;
    value["loops"] = json(serde_json::to_value(vitals.map(Vitals::health)))?;
    if let Some(vitals) = vitals {
        value["conditions"] = json(serde_json::to_value(vitals.conditions()))?;
        value["reload"] = json(serde_json::to_value(vitals.last_reload()))?;
        value["stuck"] = json(serde_json::to_value(vitals.check().err()))?;
    }
    Ok(value)
}

/// What was told and is not over. A store that does not answer hides nothing: then as it was last seen.
async fn alerts(engine: &Handle, vitals: Option<&Vitals>) -> Result<Value, String> {
    let shown = vitals.map(Vitals::alerts).unwrap_or_default();
    let shown: Vec<Value> = shown.as_array().cloned().unwrap_or_default();
    let Ok(listed) = tokio::time::timeout(PATIENCE, engine.alert_list()).await else {
        return Ok(Value::Array(shown));
    };
    let listed = listed.map_err(|error| error.to_string())?;
    let mut all = crate::alert::text::list(&listed);
    // What is about the process alone is not in the store.
    let stuck = shown.into_iter().filter(|row| {
        let cause = row["cause"].as_str().unwrap_or_default();
        cause.starts_with(Kind::Stuck.name())
    });
    if let Some(rows) = all.as_array_mut() {
        rows.extend(stuck);
    }
    Ok(all)
}

/// Makes the socket, in the place of one that a daemon which is gone left behind.
///
/// # Errors
/// When the folder is missing or another daemon listens.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let message = format!("another daemon listens on {}", path.display());
            return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, message));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let only_us = std::os::unix::fs::PermissionsExt::from_mode(0o660);
    std::fs::set_permissions(path, only_us)?;
    Ok(listener)
}

/// What clients may ask of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The longest request line; an edited record is the largest thing that is sent.
    pub request_bytes: u64,
    /// Clients at once.
    pub clients: usize,
}

/// Serves clients for as long as it is polled; beyond the bound the next one waits.
pub async fn listen(
    listener: UnixListener,
    prover: Prover,
    (engine, vitals): (Handle, Vitals),
    bounds: Bounds,
) {
    let mut clients = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if clients.len() < bounds.clients.max(1) => {
                if let Ok((stream, _)) = accepted {
                    let (engine, vitals) = (engine.clone(), vitals.clone());
                    let prover = prover.clone();
                    clients.spawn(async move {
                        // A client that hangs up in the middle is no trouble of ours.
                        let asked = (engine, vitals);
                        let _ = serve(stream, &prover, asked, bounds.request_bytes).await;
                    });
                }
            }
            Some(_) = clients.join_next() => {}
        }
    }
}

/// Serves one client until it hangs up.
async fn serve(
    stream: UnixStream,
    prover: &Prover,
    (engine, vitals): (Handle, Vitals),
    request_bytes: u64,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        let mut limited = (&mut reader).take(request_bytes);
        let read = tokio::time::timeout(PATIENCE, limited.read_line(&mut line)).await;
        let Ok(Ok(length)) = read else { return Ok(()) };
        if length == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_str(&line) {
            Ok(request) => answer(&engine, prover, Some(&vitals), request).await,
            Err(error) => Err(format!("the request cannot be understood: {error}")),
        };
        let reply = match reply {
            Ok(value) => json!({ "ok": value }),
            Err(message) => json!({ "error": message }),
        };
        writer.write_all(format!("{reply}\n").as_bytes()).await?;
    }
}

/// Asks a running daemon; `None` when there is none.
///
/// # Errors
/// What the daemon answered, or why it could not be understood.
pub async fn ask(path: &Path, request: &Request) -> Option<Result<Value, String>> {
    let stream = UnixStream::connect(path).await.ok()?;
    Some(exchange(stream, request).await)
}

async fn exchange(stream: UnixStream, request: &Request) -> Result<Value, String> {
    let (reader, mut writer) = stream.into_split();
    let line = serde_json::to_string(request).map_err(|error| error.to_string())?;
    let sent = writer.write_all(format!("{line}\n").as_bytes()).await;
    sent.map_err(|error| format!("the daemon hung up: {error}"))?;
    let mut reply = String::new();
    let read = BufReader::new(reader).read_line(&mut reply).await;
    read.map_err(|error| format!("the daemon hung up: {error}"))?;
    let mut reply: Value = serde_json::from_str(&reply)
        .map_err(|error| format!("the daemon's answer cannot be understood: {error}"))?;
    match reply.get("error").and_then(Value::as_str) {
        Some(message) => Err(message.to_owned()),
        None => Ok(reply["ok"].take()),
    }
}
