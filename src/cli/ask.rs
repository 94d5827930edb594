//! Commands that ask the engine: through the admin socket of a running daemon, else by opening the
//! store themselves, with the same answers.

use std::io;
use std::sync::Arc;

use serde_json::Value;

use super::run::socket_path;
use super::{Exit, Global, Shell};
use crate::clock::Clock;
use crate::engine::{Engine, Service};
use crate::runtime::{Prover, SystemClock, engine_rules, open_store, store_path};
use crate::server::admin::{self, Request};
use crate::topology::Plan;

/// Asks, and hands the answer to `show`.
pub(super) fn ask(
    request: &Request,
    global: &Global,
    shell: &mut Shell<'_>,
    show: impl FnOnce(&Value, &mut Shell<'_>) -> io::Result<Exit>,
) -> io::Result<Exit> {
    let plan = match global.plan(shell)? {
        Ok(plan) => plan,
        Err(exit) => return Ok(exit),
    };
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let plan = Arc::new(plan);
    let store = store_path(&plan);
    let socket = socket_path(&plan, &store);
    let answer = match tokio.block_on(admin::ask(&socket, request)) {
        Some(answer) => answer,
        None if !store.exists() => {
            let store = store.display();
            writeln!(
                shell.err,
                "crossdock: no daemon runs and there is no store at {store}"
            )?;
            return Ok(Exit::Unreachable);
        }
        None => match tokio.block_on(ask_store(&plan, request)) {
            Ok(answer) => answer,
            // A daemon that was just being started has it by now.
            Err(message) => {
                let Some(answer) = tokio.block_on(admin::ask(&socket, request)) else {
                    writeln!(shell.err, "crossdock: {message}")?;
                    return Ok(Exit::Store);
                };
                answer
            }
        },
    };
    match answer {
        Ok(value) => show(&value, shell),
        Err(message) => {
            writeln!(shell.err, "crossdock: {message}")?;
            Ok(Exit::Findings)
        }
    }
}

/// Opens the store for one question.
async fn ask_store(plan: &Arc<Plan>, request: &Request) -> Result<Result<Value, String>, String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rules = engine_rules(plan);
    let store = open_store(plan, &store_path(plan), clock.as_ref()).map_err(|e| e.to_string())?;
    let engine = Engine::open(
        store,
        Arc::new(rules),
        Arc::clone(&clock),
        fastrand::u64(..),
    )
    .map_err(|error| error.to_string())?;
    let (service, handle) = Service::new(engine);
    let thread = std::thread::spawn(move || service.run());
    let prover = Prover::alone(Arc::clone(plan), handle.clone(), &clock);
    let answer = match &prover {
        Ok(prover) => admin::answer(&handle, prover, None, request.clone()).await,
        Err(fault) => Err(fault.to_string()),
    };
    drop((prover, handle));
    match thread.join() {
        Ok(Ok(_)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the engine has a defect; see the message above".into()),
    }
}
