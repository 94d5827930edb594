//! One connection's way to the other side: builds, authenticates, sends, classifies, remembers lookups.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::prelude::ToPrimitive;
use serde_json::{Map, Value as Json};
use tokio::sync::Mutex;

use super::auth::{Login, Proof, nonce, secret_headers};
use super::compiled::Compiled;
use super::fault::{Intent, classify};
use super::oauth2::Renewer;
use super::reply::{Reply, unpacked};
use super::request::{Call, cannot_build};
use super::scope::{Frame, Trouble, Written};
use super::settings::Values;
use super::tree::Node;
use crate::connector::Context;
use crate::expr::Program;
use crate::fault::{Class, Effect, Fault};
use crate::record::Fingerprint;
use crate::secret::Secret;
use crate::transport::http::{HeaderValue, HttpReply, HttpRequest, Lane};

/// The most lookups that are remembered at once; beyond that they are looked up again.
const MAX_REMEMBERED: usize = 10_000;

/// A fault, and the reply that it was read from, if there was one.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) reply: Option<Box<Reply>>,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, reply: None }
    }
}

/// After a refused login nobody tries again for so long, and for twice as long after each further one: a wrong password
/// must not lock an account.
const REFUSED_LOGIN_PAUSE: Duration = Duration::from_secs(30);
/// The longest of these pauses: four tries an hour are borne by the lock-outs that are common.
const LONGEST_LOGIN_PAUSE: Duration = Duration::from_secs(15 * 60);

/// An open session. `number` tells whether the one that was refused is still the newest.
#[derive(Debug, Clone, Default)]
struct Session {
    number: u64,
    document: Option<Arc<Json>>,
    /// The access token, where there is no more to a session.
    token: Option<Secret>,
    /// When it is renewed, by the monotonic clock; never by itself when absent.
    until: Option<Duration>,
    /// Until when a refusal stands, and what it was.
    refused: Option<(Duration, Fault)>,
    /// How often in a row it was refused.
    refusals: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) manifest: Arc<Compiled>,
    pub(super) values: Values,
    pub(super) context: Context,
    session: Mutex<Session>,
    /// Where access tokens come from, if the manifest has it so.
    renewer: Option<Arc<Renewer>>,
    remembered: Mutex<HashMap<Fingerprint, (Duration, Json)>>,
}

impl Wire {
    pub(super) fn new(
        manifest: Arc<Compiled>,
        values: Values,
        context: Context,
    ) -> Result<Self, Fault> {
        let renewer = match &manifest.proof {
            Proof::Oauth2(flow) => Some(Renewer::new(flow, &manifest, &values, &context)?),
            _ => None,
        };
        Ok(Self {
            manifest,
            values,
            context,
            renewer: renewer.map(Arc::new),
            session: Mutex::default(),
            remembered: Mutex::default(),
        })
    }

    /// Sends a call and gives the reply that is no fault. `names` are what its templates may use
    /// beside the settings.
    pub(super) async fn call(
        &self,
        call: &Call,
        names: &[(&str, &Json)],
        lane: Lane,
        intent: Intent,
    ) -> Result<Reply, Failure> {
        self.call_with(call, (names, None), lane, intent).await
    }

    /// The same, with a name whose value the body only hands on.
    pub(super) async fn call_with(
        &self,
        call: &Call,
        names: (&[(&str, &Json)], Option<Written<'_>>),
        lane: Lane,
        intent: Intent,
    ) -> Result<Reply, Failure> {
        let mut refused = None;
        loop {
            let session = self.session(refused).await?;
            let result = self.once(call, names, lane, intent, &session).await;
            match result {
                Err(failure)
                    if failure.fault.class == Class::Auth
                        && failure.fault.effect == Effect::None
                        && refused.is_none()
                        && matches!(self.manifest.proof, Proof::Session(_) | Proof::Oauth2(_)) =>
                {
                    refused = Some(session.number);
                }
                result => {
                    if let (Some(renewer), Ok(_)) = (&self.renewer, &result) {
                        renewer.worked(session.number);
                    }
                    return result;
                }
            }
        }
    }

    /// One try in one session.
    async fn once(
        &self,
        call: &Call,
        (names, written): (&[(&str, &Json)], Option<Written<'_>>),
        lane: Lane,
        intent: Intent,
        session: &Session,
    ) -> Result<Reply, Failure> {
        let outer = self.roots(session.document.as_deref());
        let outer = Frame::new(&outer, &self.manifest.tables);
        let frame = outer.with_written(names, written);
        let base = &self.manifest.base;
        let mut request = call
            .build(base, &frame, lane)
            .map_err(|it| cannot_build(&it))?;
        if !call.is_foreign() {
            self.add_proof(&mut request, session)?;
        }
        request.changes = intent == Intent::Write;
        let reply = self
            .send(request, call)
            .await
            .map_err(|it| intent.settle(it))?;
        self.judge(call, &frame, reply, intent)
    }

    /// Whether a reply is a fault, by the rules of its call, of the manifest and the defaults.
    fn judge(
        &self,
        call: &Call,
        frame: &Frame<'_>,
        reply: Reply,
        intent: Intent,
    ) -> Result<Reply, Failure> {
        let roots = [("reply", &reply.document)];
        let frame = frame.with(&roots);
        let http = &self.context.http;
        for feedback in self
            .manifest
            .limits
            .feedback((&call.bucket, call.cost), &frame)
        {
            http.observe(&call.bucket, feedback);
        }
        let Some(fault) = classify(&[&call.rules, &self.manifest.rules], &frame, &reply, intent)
        else {
            return Ok(reply);
        };
        if fault.class == Class::Throttle && reply.status != 429 {
            let retry_after = fault.retry_after;
            let feedback = crate::transport::http::Feedback::Throttled { retry_after };
            http.observe(&call.bucket, feedback);
        }
        Err(Failure {
            fault,
            reply: Some(Box::new(reply)),
        })
    }

    async fn send(&self, request: HttpRequest, call: &Call) -> Result<Reply, Fault> {
        let begun = self.context.clock.monotonic();
        let mut reply: HttpReply = self.context.http.send(request).await?;
        if call.gunzip {
            reply.body = unpacked(reply.body, self.context.files.bytes)?;
        }
        let took = self.context.clock.monotonic().saturating_sub(begun);
        let mut reply = Reply::read(&reply, took, call.wants_json);
        if let (Some(unwrap), Some(json)) =
            (&self.manifest.base.unwrap, reply.document.get_mut("json"))
        {
            unwrap.apply(json).map_err(|trouble| {
                let message = format!("a wrapped value in a reply is not understood: {trouble}");
                Fault::bug("bad_wrapped_value", message).after_sending()
            })?;
        }
        Ok(reply)
    }

    /// What expressions may name everywhere.
    fn roots<'a>(&'a self, session: Option<&'a Json>) -> Vec<(&'a str, &'a Json)> {
        let mut roots = vec![
            ("settings", &self.values.settings),
            ("text", &self.manifest.texts),
        ];
        roots.extend(session.map(|session| ("session", session)));
        roots
    }

    fn add_proof(&self, request: &mut HttpRequest, session: &Session) -> Result<(), Fault> {
        let mut roots = self.roots(session.document.as_deref());
        // Nothing but these headers may name it.
        let token = session.token.as_ref().map(|it| Json::from(it.expose()));
        roots.extend(token.as_ref().map(|token| ("token", token)));
        roots.push(("secret", &self.values.secrets));
        let frame = Frame::new(&roots, &self.manifest.tables);
        let incomplete = |trouble| {
            let message = format!("the credentials are incomplete: {trouble}");
            Fault::config("no_credentials", message)
        };
        let headers = match &self.manifest.proof {
            Proof::Fixed(headers) => headers,
            Proof::Oauth2(flow) => &flow.headers,
            Proof::Session(login) => &login.headers,
            Proof::Sealed(sealing) => {
                let now = self.context.clock.now();
                let proved = sealing.prove(request, &frame, (now, &nonce()));
                return proved.map_err(incomplete);
            }
            Proof::Signed(signing) => {
                let now = self.context.clock.now();
                return signing.prove(request, &frame, now).map_err(incomplete);
            }
        };
        let headers = secret_headers(headers, &frame).map_err(incomplete)?;
        for (name, value) in headers {
            request.headers.retain(|(known, _)| *known != name);
            request.headers.push((name, value));
        }
        Ok(())
    }

    /// The session to use: a new one when there is none, or when the newest is the `refused` one.
    /// One caller logs in, the others wait for it (story 53).
    async fn session(&self, refused: Option<u64>) -> Result<Session, Fault> {
        if let Some(renewer) = &self.renewer {
            let access = renewer.access(refused).await?;
            return Ok(Session {
                number: access.number,
                token: Some(access.token),
                ..Session::default()
            });
        }
        let Proof::Session(login) = &self.manifest.proof else {
            return Ok(Session::default());
        };
        let mut session = self.session.lock().await;
        let now = self.context.clock.monotonic();
        let is_over = session.until.is_some_and(|until| now >= until);
        if session.document.is_some() && refused != Some(session.number) && !is_over {
            return Ok(session.clone());
        }
        if let Some((until, fault)) = &session.refused
            && now < *until
        {
            return Err(fault.clone());
        }
        session.document = None;
        match self.log_in(login).await.map_err(login_fault) {
            Ok((document, good_for)) => {
                session.number += 1;
                session.until = good_for.map(|good_for| now + good_for);
                session.document = Some(Arc::new(document));
                session.refused = None;
                session.refusals = 0;
                Ok(session.clone())
            }
            Err(fault) => {
                session.refused = None;
                if fault.class == Class::Auth {
                    let pause = login_pause(session.refusals);
                    session.refusals = session.refusals.saturating_add(1);
                    let told = format!(
                        "{} (the next try is in {} s at the earliest, also after a resume)",
                        fault.message,
                        pause.as_secs()
                    );
                    let kept = Fault {
                        message: told,
                        ..fault.clone()
                    };
                    session.refused = Some((now + pause, kept));
                }
                Err(fault)
            }
        }
    }

    /// What a new session is, and after how long it is renewed.
    async fn log_in(&self, login: &Login) -> Result<(Json, Option<Duration>), Fault> {
        let mut roots = self.roots(None);
        roots.push(("secret", &self.values.secrets));
        let (mut document, reply) = self
            .log_in_step(&login.first, &login.capture, &roots, &[])
            .await?;
        let good_for = match &login.expires {
            Some(expires) => {
                let with_reply = [roots.as_slice(), &[("reply", &reply)]].concat();
                let frame = Frame::new(&with_reply, &self.manifest.tables);
                Some(good_for(expires, &frame).map_err(|trouble| not_captured(&trouble))?)
            }
            None => None,
        };
        if let Some((call, capture)) = &login.then {
            roots.push(("session", &document));
            let frame = Frame::new(&roots, &self.manifest.tables);
            let proof = secret_headers(&login.headers, &frame).map_err(|it| not_captured(&it))?;
            let (more, _) = self.log_in_step(call, capture, &roots, &proof).await?;
            document = merged(document, more);
        }
        Ok((document, good_for))
    }

    async fn log_in_step(
        &self,
        call: &Call,
        capture: &Node,
        roots: &[(&str, &Json)],
        proof: &[(String, HeaderValue)],
    ) -> Result<(Json, Json), Fault> {
        let frame = Frame::new(roots, &self.manifest.tables);
        let built = call.build(&self.manifest.base, &frame, Lane::StockDown);
        let mut request = built.map_err(|trouble| cannot_build(&trouble))?;
        request.headers.extend(proof.iter().cloned());
        let reply = self.send(request, call).await?;
        let reply = self
            .judge(call, &frame, reply, Intent::Read)
            .map_err(|it| it.fault)?;
        let roots = [("reply", &reply.document)];
        let document = capture
            .json(&frame.with(&roots))
            .map_err(|it| not_captured(&it))?;
        if !document.is_object() {
            return Err(not_captured(&Trouble::told("`capture` must be a table")));
        }
        Ok((document, reply.document))
    }

    /// Evaluates something in terms of everything that is known everywhere and of `names`.
    pub(super) async fn with_frame<T>(
        &self,
        names: &[(&str, &Json)],
        evaluate: impl FnOnce(&Frame<'_>) -> Result<T, Trouble> + Send,
    ) -> Result<T, Trouble> {
        let session = self.session.lock().await.document.clone();
        let outer = self.roots(session.as_deref());
        let outer = Frame::new(&outer, &self.manifest.tables);
        evaluate(&outer.with(names))
    }

    /// What an earlier lookup gave for the same request, if that is not too long ago.
    pub(super) async fn recall(&self, key: Fingerprint) -> Option<Json> {
        let now = self.context.clock.monotonic();
        let remembered = self.remembered.lock().await;
        let (until, value) = remembered.get(&key)?;
        (now < *until).then(|| value.clone())
    }

    /// Remembers what a lookup gave.
    pub(super) async fn remember(&self, key: Fingerprint, value: &Json, secs: u64) {
        let until = self.context.clock.monotonic() + Duration::from_secs(secs);
        let mut remembered = self.remembered.lock().await;
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, (until, value.clone()));
    }

    /// Forgets what a lookup gave, so that it is asked anew.
    pub(super) async fn forget(&self, call: &Call, names: &[(&str, &Json)]) {
        if let Ok(key) = self.lookup_key(call, names).await {
            self.remembered.lock().await.remove(&key);
        }
    }

    /// What tells one lookup from another: the request that it would send.
    pub(super) async fn lookup_key(
        &self,
        call: &Call,
        names: &[(&str, &Json)],
    ) -> Result<Fingerprint, Failure> {
        // A lookup may name the session, which the first request opens.
        let session = self.session(None).await?;
        let outer = self.roots(session.document.as_deref());
        let outer = Frame::new(&outer, &self.manifest.tables);
        let request = call
            .build(&self.manifest.base, &outer.with(names), Lane::default())
            .map_err(|trouble| cannot_build(&trouble))?;
        let body = request.body.unwrap_or_default();
        let text = [request.method.as_bytes(), request.url.as_bytes(), &body].join(&0);
        Ok(Fingerprint::of_bytes(&text))
    }
}

/// How long nobody logs in after a refusal that follows so many others.
fn login_pause(refusals: u32) -> Duration {
    let doubled = REFUSED_LOGIN_PAUSE.saturating_mul(1 << refusals.min(8));
    doubled.min(LONGEST_LOGIN_PAUSE)
}

/// How long a session is used that is good for so many seconds: it must not end on its way.
fn good_for(expires: &Program, frame: &Frame<'_>) -> Result<Duration, Trouble> {
    let seconds = expires.eval(frame).map_err(|error| Trouble::new(&error))?;
    let seconds = seconds.as_number().and_then(|seconds| seconds.to_u64());
    let Some(seconds) = seconds else {
        return Err(Trouble::told("`expires_secs` is no number of seconds").within("expires_secs"));
    };
    Ok(early(Duration::from_secs(seconds)))
}

/// After how long something is renewed that is good for so long: a tenth earlier, at most a minute.
pub(super) fn early(good_for: Duration) -> Duration {
    good_for.saturating_sub((good_for / 10).min(Duration::from_secs(60)))
}

fn not_captured(trouble: &Trouble) -> Fault {
    Fault::auth(
        "login_not_understood",
        format!("the reply to the login is not foreseen: {trouble}"),
    )
}

/// Whatever refuses a login is a matter of credentials; what is temporary stays so.
fn login_fault(mut fault: Fault) -> Fault {
    fault.effect = Effect::None;
    if matches!(fault.class, Class::Reject | Class::Bug) {
        fault.class = Class::Auth;
    }
    fault.at("login")
}

fn merged(one: Json, other: Json) -> Json {
    let (Json::Object(one), Json::Object(other)) = (one, other) else {
        return Json::Null;
    };
    Json::Object(one.into_iter().chain(other).collect::<Map<_, _>>())
}
