//! One new access token for all who wait for it.
//!
//! - One renews, the others wait, whatever stream, task or connection they are of (story 53: two refreshed within
//!   13 ms, and the second ended the token of the first).
//! - Before a refresh token that is good for one use is handed in, the store has taken down that it will be: a
//!   store that takes nothing more loses no token.
//! - What came is durable before the new access token goes into any request. Platforms take the old refresh token
//!   again until then, or for a while: Shopify until the new one is used, within 30 days; Xero for 30 minutes;
//!   Intuit gives the same one for a day. So a reply that was lost, or a crash before the commit, is
//!   mended by handing in the kept one again. A platform that takes each only once refuses it: then somebody
//!   must authorise the application again, and is told that once.
//! - What was refused is not handed in again, also after a restart, until something of it was changed in the
//!   configuration or somebody resumes the connection (a client was seen to try 2,767 times).
//! - Whoever asked may go away: a refresh under way is carried to its end ([`finish`](crate::connector::TokenKeeper::finish)).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::utf8_percent_encode;
use tokio::sync::oneshot;

use super::answer::Answer;
use super::{ClientAuth, Flow, Given, Grant, seal};
use crate::clock::later;
use crate::connector::{Access, Context, Credential, Kept, Refresh, Refused, TokenState};
use crate::fault::{Class, Fault};
use crate::manifest::compiled::Compiled;
use crate::manifest::reply::Reply;
use crate::manifest::request::{QUERY, cannot_build};
use crate::manifest::scope::Frame;
use crate::manifest::settings::Values;
use crate::manifest::wire::early;
use crate::secret::Secret;
use crate::transport::http::{HeaderValue, HttpRequest, Lane};

/// An access token that is younger is not renewed because it was refused: its age cannot be the reason. Each
/// one that was never of use doubles it.
const YOUNG: Duration = Duration::from_secs(60);
/// At most so often: a bit more than an hour.
const MOST_DOUBLED: u32 = 6;

/// Gets access tokens for one connection.
#[derive(Debug)]
pub(in crate::manifest) struct Renewer {
    flow: Arc<Flow>,
    manifest: Arc<Compiled>,
    values: Values,
    context: Context,
    given: Given,
    /// The credential's name.
    name: String,
    credential: Arc<Credential>,
}

impl Renewer {
    pub(in crate::manifest) fn new(
        flow: &Arc<Flow>,
        manifest: &Arc<Compiled>,
        values: &Values,
        context: &Context,
    ) -> Result<Self, Fault> {
        let given = flow
            .given(values, &manifest.tables)
            .map_err(|findings| Fault::config("no_credentials", findings.to_string()))?;
        let name = given.credential();
        Ok(Self {
            flow: Arc::clone(flow),
            manifest: Arc::clone(manifest),
            values: values.clone(),
            context: context.clone(),
            credential: context.tokens.credential(&name),
            given,
            name,
        })
    }

    /// The access token to use: a new one when there is none, or it is over, or when the newest is the
    /// `refused` one.
    pub(in crate::manifest) async fn access(
        self: &Arc<Self>,
        refused: Option<u64>,
    ) -> Result<Access, Fault> {
        let mut state = Arc::clone(&self.credential.state).lock_owned().await;
        state.users.insert(self.context.name.clone());
        let now = self.context.clock.monotonic();
        if let Some(access) = state.access.clone() {
            let is_over = access.until.is_some_and(|until| now >= until);
            let is_refused = refused == Some(access.number);
            if !is_over && !is_refused {
                return Ok(access);
            }
            if is_refused && !is_over {
                self.may_renew_early(&mut state, &access, now)?;
            }
        }
        let Some(keeper) = self.context.tokens.keeper().cloned() else {
            return self.renew(&mut state).await;
        };
        let (tell, told) = oneshot::channel();
        let this = Arc::clone(self);
        keeper.finish(Box::pin(async move {
            let renewed = this.renew(&mut state).await;
            drop(state); // whoever is told may ask at once
            let _ = tell.send(renewed); // whoever asked may have gone away
        }));
        let gone = |_| Err(Fault::retry("token_later", "the daemon is about to end"));
        told.await.unwrap_or_else(gone)
    }

    /// Notes that a request with this access token went well.
    pub(in crate::manifest) fn worked(&self, number: u64) {
        self.credential.worked(number);
    }

    /// Whether it makes sense to renew an access token that should still be good.
    fn may_renew_early(
        &self,
        state: &mut TokenState,
        access: &Access,
        now: Duration,
    ) -> Result<(), Fault> {
        let was_useful = self.credential.has_worked(access.number);
        if was_useful {
            state.useless = 0;
        }
        let age = now.saturating_sub(access.asked);
        if age < YOUNG.saturating_mul(1 << state.useless.min(MOST_DOUBLED)) {
            let message = format!(
                "an access token that is {} s old was refused: a newer one would not help; check what the \
                 application may do over there",
                age.as_secs()
            );
            return Err(Fault::auth("access_refused", message));
        }
        if !was_useful {
            state.useless = state.useless.saturating_add(1);
        }
        Ok(())
    }

    async fn renew(&self, state: &mut TokenState) -> Result<Access, Fault> {
        self.look(state).await?;
        if state.unkept.is_none() {
            self.refresh(state).await?;
        }
        // Not used before it is kept. What cannot be kept now is kept at the next try.
        if state.must_keep {
            self.keep(state).await?;
            state.must_keep = false;
        }
        let access = state.unkept.take();
        let access = access.ok_or_else(|| Fault::bug("no_token", "a token came and went"))?;
        let ends = state.refresh.as_ref().and_then(|refresh| refresh.ends);
        for user in &state.users {
            self.context.tokens.note_end(user, ends);
        }
        tracing::debug!(target: "auth", connection = self.context.name, "a new access token");
        state.access = Some(access.clone());
        Ok(access)
    }

    /// What is kept, and whether a refusal still stands.
    async fn look(&self, state: &mut TokenState) -> Result<(), Fault> {
        if let Some(keeper) = self.context.tokens.keeper() {
            let kept = keeper.kept(&self.name).await?.unwrap_or_default();
            state.users.extend(kept.connections);
            state.refused = kept.refused;
            if let (None, Some(first), false) =
                (&state.refresh, &self.given.first, kept.sealed.is_empty())
            {
                state.refresh = Some(seal::open(&kept.sealed, &self.name, first)?);
            }
        }
        if let (None, Some(first)) = (&state.refresh, &self.given.first) {
            state.refresh = Some(Refresh {
                token: first.clone(),
                ends: None,
                asked: None,
            });
        }
        Ok(())
    }

    /// Hands in what there is and takes what comes.
    async fn refresh(&self, state: &mut TokenState) -> Result<(), Fault> {
        let handed_in = state.refresh.as_ref().map(|refresh| refresh.token.clone());
        let attempt = self.given.attempt(handed_in.as_ref());
        if let Some(refused) = &state.refused
            && refused.of == attempt
        {
            return Err(refused.fault.clone());
        }
        let asked_before = state.refresh.as_ref().and_then(|refresh| refresh.asked);
        if self.flow.rotates {
            if self.context.tokens.keeper().is_none() {
                return Err(only_the_daemon());
            }
            if let Some(refresh) = &mut state.refresh {
                refresh.asked = asked_before.or(Some(self.context.clock.now()));
            }
            // Where this cannot be written the new token could not either.
            self.keep(state).await?;
        }
        let begun = self.context.clock.monotonic();
        let (reply, answer) = match self.ask(handed_in.as_ref()).await {
            Ok(answered) => answered,
            Err(fault) if fault.class == Class::Auth => {
                let fault = match asked_before {
                    Some(at) => fault_after_lost_reply(fault, at),
                    None => fault,
                };
                let (of, told) = (attempt, fault.clone());
                state.refused = Some(Refused { of, fault: told });
                self.keep(state).await?;
                return Err(fault);
            }
            Err(fault) => return Err(fault),
        };
        state.refused = None;
        self.take(state, answer, (begun, reply.received_at));
        Ok(())
    }

    /// Takes in what came.
    fn take(
        &self,
        state: &mut TokenState,
        answer: Answer,
        (begun, at): (Duration, jiff::Timestamp),
    ) {
        state.number += 1;
        state.unkept = Some(Access {
            number: state.number,
            token: answer.access,
            asked: begun,
            // From when it was asked for, by our own clock: whatever the other side's says.
            until: answer.good_for.map(|good_for| begun + early(good_for)),
        });
        let Some(refresh) = &mut state.refresh else {
            return;
        };
        let is_new = answer
            .refresh
            .as_ref()
            .is_some_and(|it| *it != refresh.token);
        let told = answer.refresh_good_for.map(|good_for| later(at, good_for));
        let counted = self.flow.lifetime.map(|lifetime| later(at, lifetime));
        let before = refresh.ends;
        refresh.ends = match (told, is_new) {
            (Some(told), _) => Some(told),
            (None, true) => counted,
            // One that stays the same ends when it did.
            (None, false) => before.or(counted),
        };
        refresh.asked = None;
        if let Some(token) = answer.refresh {
            refresh.token = token;
        }
        let lasts = self.flow.lifetime.is_some() && before.is_none();
        state.must_keep |= self.flow.rotates || is_new || lasts;
    }

    async fn keep(&self, state: &TokenState) -> Result<(), Fault> {
        let Some(keeper) = self.context.tokens.keeper() else {
            return Ok(());
        };
        let sealed = match (&state.refresh, &self.given.first) {
            (Some(refresh), Some(first)) => seal::seal(refresh, &self.name, first)?,
            _ => Vec::new(),
        };
        let kept = Kept {
            connections: state.users.iter().cloned().collect(),
            sealed,
            refused: state.refused.clone(),
            at: self.context.clock.now(),
        };
        keeper.keep(&self.name, kept).await
    }

    async fn ask(&self, refresh: Option<&Secret>) -> Result<(Reply, Answer), Fault> {
        let roots = [
            ("settings", &self.values.settings),
            ("text", &self.manifest.texts),
        ];
        let frame = Frame::new(&roots, &self.manifest.tables);
        let request = self.request(refresh, &frame)?;
        let begun = self.context.clock.monotonic();
        let sent = self.context.http.send(request).await;
        let reply = sent.map_err(|mut fault| {
            // A refresh is no effect that anybody must look for.
            fault.effect = crate::fault::Effect::None;
            fault.at("access token")
        })?;
        let took = self.context.clock.monotonic().saturating_sub(begun);
        let reply = Reply::read(&reply, took, true);
        let roots = [("reply", &reply.document)];
        let answer = self.flow.answer(&frame.with(&roots), &reply);
        let answer = answer.map_err(|fault| fault.at("access token"))?;
        Ok((reply, answer))
    }

    fn request(&self, refresh: Option<&Secret>, frame: &Frame<'_>) -> Result<HttpRequest, Fault> {
        let (flow, given) = (&self.flow, &self.given);
        let grant = match flow.grant {
            Grant::ClientCredentials => "client_credentials",
            Grant::RefreshToken => "refresh_token",
        };
        let secret = given.secret.as_ref().map_or("", Secret::expose);
        let mut form = vec![("grant_type", grant)];
        form.extend(refresh.map(|token| ("refresh_token", token.expose())));
        match flow.client_auth {
            ClientAuth::Basic => {}
            ClientAuth::None => form.push(("client_id", &given.id)),
            ClientAuth::Body => form.extend([("client_id", &*given.id), ("client_secret", secret)]),
        }
        form.extend(given.scope.as_deref().map(|scope| ("scope", scope)));
        let params = given.params.iter();
        form.extend(params.map(|(name, value)| (name.as_str(), value.as_str())));
        let form: Vec<String> = form
            .into_iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let mut request = HttpRequest::new("POST", &given.url)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.join("&"));
        let agent = self.manifest.base.user_agent(frame);
        if let Some(agent) = agent.map_err(|trouble| cannot_build(&trouble))? {
            request = request.header("user-agent", agent);
        }
        if flow.client_auth == ClientAuth::Basic {
            let both = format!("{}:{}", encoded(&given.id), encoded(secret));
            let value = Secret::new(format!("Basic {}", STANDARD.encode(both)));
            let header = ("authorization".to_owned(), HeaderValue::Secret(value));
            request.headers.push(header);
        }
        request.bucket.clone_from(&flow.bucket);
        request.lane = Lane::StockDown;
        request.timeout = flow.timeout.or(self.manifest.base.timeout);
        Ok(request)
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

fn fault_after_lost_reply(mut fault: Fault, at: jiff::Timestamp) -> Fault {
    fault.message = format!(
        "{}. The reply to the refresh of {at:.0} was lost, and with it the new token, which this platform does \
         not give twice",
        fault.message
    );
    fault
}

/// A check beside a running daemon must not use up its token.
fn only_the_daemon() -> Fault {
    let message = "its refresh token is good for one use, which is the daemon's: start the daemon and look at \
                   `crossdock status`";
    Fault::config("only_the_daemon", message)
}
