//! The traits, each method one request.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value as Json, json};

use super::child::Guest;
use super::declared::ReadWays;
use super::wire;
use crate::connector::{
    Body, Change, Closing, Confirmation, Cursor, Delivery, Outcome, Page, Probe, Progress, Sink,
    Source, StepLog, Token,
};
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::manifest::discreet;
use crate::record::Stream;

/// One stream that is read.
#[derive(Debug)]
pub(super) struct GuestSource {
    pub(super) guest: Arc<Guest>,
    pub(super) stream: Stream,
    pub(super) ways: ReadWays,
}

impl GuestSource {
    async fn page(&self, call: &str, after: Option<&Cursor>) -> Result<Option<Page>, Fault> {
        let asked = self.guest.context.clock.now();
        let call = json!({ "call": call, "stream": self.stream, "after": after });
        let answer = self.guest.read(call).await?;
        if answer.is_null() {
            return Ok(None);
        }
        let mut page = wire::page(answer, self.stream, self.ways.whole, asked)?;
        self.fit_to_show(&mut page.changes);
        Ok(Some(page))
    }

    /// What a child says of a change that it refuses is shown to people.
    fn fit_to_show(&self, changes: &mut [Change]) {
        for change in changes {
            if let Body::Rejected(fault) = &mut change.body {
                *fault = self.guest.fit_to_show(fault.clone());
            }
        }
    }

    async fn some_page(&self, call: &str, after: Option<&Cursor>) -> Result<Page, Fault> {
        let page = self.page(call, after).await?.ok_or_else(|| {
            // Nothing is not an empty page (law S9).
            let message = format!("the connector's process answered `{call}` with nothing");
            Fault::bug("process_bad_answer", message)
        })?;
        if let Some(after) = after {
            after.check_successor(&page.cursor)?;
        }
        Ok(page)
    }
}

#[async_trait]
impl Source for GuestSource {
    async fn pull(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        self.some_page("pull", after).await
    }

    async fn fetch(&self, ids: &[RemoteId]) -> Result<Vec<Change>, Fault> {
        if !self.ways.fetch {
            let message = "this stream cannot be asked for single things";
            return Err(Fault::config("no_fetch", message));
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let call = json!({ "call": "fetch", "stream": self.stream, "ids": ids });
        let mut changes = wire::fetched(self.guest.read(call).await?, self.stream, ids)?;
        self.fit_to_show(&mut changes);
        Ok(changes)
    }

    async fn sweep(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        let call = if self.ways.sweep { "sweep" } else { "pull" };
        self.some_page(call, after).await
    }

    async fn peek(&self) -> Result<Option<Page>, Fault> {
        if self.ways.peek {
            self.page("peek", None).await
        } else {
            Ok(None)
        }
    }

    fn can_fetch(&self) -> bool {
        self.ways.fetch
    }
}

/// One stream that is written.
#[derive(Debug)]
pub(super) struct GuestSink {
    pub(super) guest: Arc<Guest>,
    pub(super) stream: Stream,
}

impl GuestSink {
    async fn outcomes(
        &self,
        call: Json,
        batch: &[Delivery],
        progress: &dyn Progress,
    ) -> Vec<Outcome> {
        let ids: BTreeSet<_> = batch.iter().map(|delivery| delivery.id.clone()).collect();
        let outcomes = match self.guest.write(call, ids, progress).await {
            // What was answered is worth nothing: nobody knows what was done (law D3).
            Ok(answer) => wire::outcomes(answer, batch).map_err(Fault::after_sending),
            Err(fault) => Err(fault),
        };
        let fit = |outcome| match outcome {
            Outcome::Failed(fault) => Outcome::Failed(self.guest.fit_to_show(fault)),
            outcome => outcome,
        };
        match outcomes {
            Ok(outcomes) => outcomes.into_iter().map(fit).collect(),
            Err(fault) => vec![Outcome::Failed(fault); batch.len()],
        }
    }

    fn batch(batch: &[Delivery]) -> Vec<Json> {
        batch.iter().map(wire::delivery).collect()
    }
}

/// The request that delivers a batch.
pub(super) fn deliver_call(stream: Stream, batch: &[Delivery]) -> Json {
    json!({ "call": "deliver", "stream": stream, "batch": GuestSink::batch(batch) })
}

#[async_trait]
impl Sink for GuestSink {
    async fn deliver(&self, batch: &[Delivery], progress: &dyn Progress) -> Vec<Outcome> {
        let call = deliver_call(self.stream, batch);
        self.outcomes(call, batch, progress).await
    }

    async fn check(&self, batch: &[Delivery], tokens: &[Token]) -> Vec<Outcome> {
        let call = json!({
            "call": "check", "stream": self.stream, "batch": Self::batch(batch),
            "tokens": wire::tokens(tokens),
        });
        // A check captures nothing that must be remembered.
        self.outcomes(call, batch, &StepLog::default()).await
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault> {
        let call = json!({
            "call": "find", "stream": self.stream, "delivery": wire::delivery(delivery),
        });
        wire::found(self.guest.read(call).await?)
    }
}

#[async_trait]
impl Probe for Guest {
    async fn probe(&self) -> Result<String, Fault> {
        let answer = self.read(json!({ "call": "probe" })).await?;
        match answer["says"].as_str() {
            Some(says) => Ok(discreet(&self.mask.hide(says))),
            None => Err(Fault::bug("process_bad_answer", "a `probe` without `says`")),
        }
    }
}

#[async_trait]
impl Closing for Guest {
    async fn close(&self) {
        Guest::close(self).await;
    }
}
