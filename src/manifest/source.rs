//! A manifest's stream as a [`Source`].

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::cursor::{Kind, PageFacts, Position, Rules};
use super::fault::Intent;
use super::read::{Fetching, Missing, Reading, ids_document};
use super::reply::Reply;
use super::run::{Purpose, Results, Run, unexpected};
use super::scope::{Trouble, holds};
use super::step::CompiledStep;
use super::tree::elements;
use super::wire::Wire;
use crate::connector::{Change, Cursor, Page, Source, Window};
use crate::expr::Program;
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::record::{Fingerprint, Stream};
use crate::transport::http::Lane;

/// The most rows of one page, whatever was asked for.
const MAX_ROWS: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub(super) struct ManifestSource {
    pub(super) wire: Arc<Wire>,
    pub(super) stream: Stream,
    /// A sweep goes behind everything else.
    pub(super) lane: Lane,
}

/// Rows with everything that mapping them needs.
struct Rows {
    /// A list.
    list: Json,
    reply: Reply,
    results: Json,
}

impl Rows {
    fn list(&self) -> &[Json] {
        self.list.as_array().map_or(&[], Vec::as_slice)
    }
}

impl ManifestSource {
    /// The compiled stream.
    fn reading(&self) -> Result<&Reading, Fault> {
        let reading = self.wire.manifest.reads.get(&self.stream);
        reading.ok_or_else(|| Fault::bug("not_readable", "this stream cannot be read"))
    }

    /// How far back the merchant wants it read.
    fn window(&self) -> Option<&Window> {
        self.wire.context.windows.get(&self.stream)
    }

    async fn steps(
        &self,
        steps: &[CompiledStep],
        names: &[(&str, &Json)],
    ) -> Result<Results, Fault> {
        let mut run = Run::new(&self.wire, self.lane, Purpose::Read);
        run.steps(steps, names).await
    }

    /// One request with the steps before and after it.
    async fn rows(
        &self,
        reading: &Reading,
        fetching: Option<&Fetching>,
        names: &[(&str, &Json)],
    ) -> Result<Rows, Fault> {
        let before = Json::Object(self.steps(&reading.steps, names).await?);
        let (call, records) = match fetching {
            Some(fetching) => (&fetching.call, &fetching.records),
            None => (&reading.call, &reading.records),
        };
        let here = [names, &[("steps", &before)]].concat();
        let reply = self.wire.call(call, &here, self.lane, Intent::Read).await;
        let reply = reply.map_err(|failure| failure.fault)?;
        let with_reply = [here.as_slice(), &[("reply", &reply.document)]].concat();
        let rows = self
            .wire
            .with_frame(&with_reply, |frame| {
                Ok(elements(records, frame)?.into_owned())
            })
            .await;
        let rows = rows.map_err(|trouble| unexpected(&trouble.within("records")))?;
        let is_empty = rows.is_empty();
        if rows.len() > MAX_ROWS {
            let message = format!("a page of more than {MAX_ROWS} rows");
            return Err(Fault::bug("page_too_large", message));
        }
        let rows = Json::Array(rows);
        let mut results = before;
        if !reading.then.is_empty() && !is_empty {
            let here = [names, &[("steps", &results), ("rows", &rows)]].concat();
            let more = self.steps_after(&reading.then, &here).await?;
            if let Json::Object(known) = &mut results {
                known.extend(more);
            }
        }
        Ok(Rows {
            list: rows,
            reply,
            results,
        })
    }

    /// Steps that see the results of those before the request.
    async fn steps_after(
        &self,
        steps: &[CompiledStep],
        names: &[(&str, &Json)],
    ) -> Result<Map<String, Json>, Fault> {
        let mut run = Run::new(&self.wire, self.lane, Purpose::Read);
        run.steps_after(steps, names).await
    }

    /// The changes that rows are.
    async fn changes(
        &self,
        reading: &Reading,
        rows: &Rows,
        names: &[(&str, &Json)],
    ) -> Result<Vec<Change>, Fault> {
        let roots = [names, &[("steps", &rows.results)]].concat();
        let changes = self.wire.with_frame(&roots, |frame| {
            let list = rows.list();
            let mut changes = Vec::with_capacity(list.len());
            for row in list {
                reading.mapper.changes(row, frame, &mut changes);
            }
            Ok(changes)
        });
        changes.await.map_err(|trouble| unexpected(&trouble))
    }

    /// The rows that a page would show, and those that are left alone.
    async fn divide(
        &self,
        fetching: &Fetching,
        mut rows: Rows,
        names: &[(&str, &Json)],
    ) -> Result<(Rows, Rows), Fault> {
        let mut left = Rows {
            list: Json::Array(Vec::new()),
            reply: rows.reply.clone(),
            results: rows.results.clone(),
        };
        let Some(only) = &fetching.only else {
            return Ok((rows, left));
        };
        let roots = [names, &[("steps", &rows.results)]].concat();
        let list = rows.list();
        let divided = self.wire.with_frame(&roots, |frame| {
            let (mut shown, mut left) = (Vec::new(), Vec::new());
            for row in list {
                let roots = [("item", row)];
                // What is not as foreseen is shown, so that it is rejected (law S8).
                let list = match only.eval_bool(&frame.with(&roots)) {
                    Ok(false) => &mut left,
                    Ok(true) | Err(_) => &mut shown,
                };
                list.push(row.clone());
            }
            Ok((shown, left))
        });
        let (shown, hidden) = divided.await.map_err(|trouble| unexpected(&trouble))?;
        rows.list = shown.into();
        left.list = hidden.into();
        Ok((rows, left))
    }

    /// What the page says about where the next one begins.
    async fn facts(
        &self,
        reading: &Reading,
        rows: &Rows,
        names: &[(&str, &Json)],
    ) -> Result<PageFacts, Fault> {
        let reply = &rows.reply.document;
        let roots = [
            names,
            &[
                ("steps", &rows.results),
                ("reply", reply),
                ("rows", &rows.list),
            ],
        ]
        .concat();
        let list = rows.list();
        let full = list.len() >= reading.page_size as usize;
        let found = self.wire.with_frame(&roots, |frame| {
            let token = reading
                .token
                .as_ref()
                .map(|next| token(next, frame))
                .transpose()?
                .flatten();
            let more = match (&reading.more, &reading.token) {
                (Some(more), _) => holds(more, frame)?,
                (None, Some(_)) => token.is_some(),
                (None, None) => full,
            };
            let mut values = Vec::with_capacity(list.len());
            for row in list {
                let roots = [("item", row)];
                values.push(match &reading.value {
                    Some(program) => value_of(program, &frame.with(&roots))?,
                    None => Json::Null,
                });
            }
            Ok((token, more, values))
        });
        let (token, more, values) = found
            .await
            .map_err(|trouble| unexpected(&trouble.within("cursor")))?;
        Ok(PageFacts {
            values,
            fingerprint: Fingerprint::of_json(&rows.list),
            more,
            token,
            server_time: rows.reply.server_time,
            received_at: rows.reply.received_at,
        })
    }

    async fn page(&self, rules: &Rules, position: Position) -> Result<Page, Fault> {
        let reading = self.reading()?;
        let first = position.pages == 0 && position.from.is_none();
        let page = position.document(reading.page_size);
        let no_ids = Json::Null;
        let names = [("page", &page), ("ids", &no_ids)];
        let rows = self.rows(reading, None, &names).await?;
        let changes = self.changes(reading, &rows, &names).await?;
        let facts = self.facts(reading, &rows, &names).await?;
        let (cursor, more) = position.after(rules, &facts)?;
        Ok(Page {
            changes,
            cursor,
            more,
            read_at: read_at(&rows.reply),
            as_of: None,
            // What is missing is gone only where one page holds all there is.
            complete: rules.kind == Kind::Full && first && !more,
        })
    }
}

#[async_trait]
impl Source for ManifestSource {
    async fn pull(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        let rules = self.reading()?.rules.within(self.window());
        let position = Position::start(&rules, after)?;
        let page = self.page(&rules, position).await;
        page.map_err(|fault| fault.at(self.stream))
    }

    fn reads_ahead(&self) -> bool {
        true
    }

    async fn fetch(&self, ids: &[RemoteId]) -> Result<Vec<Change>, Fault> {
        let reading = self.reading()?;
        let Some(fetching) = &reading.fetch else {
            return Err(Fault::bug("no_fetch", "this stream cannot be read by id"));
        };
        let mut changes = Vec::with_capacity(ids.len());
        for some in ids.chunks(fetching.max) {
            let ids = ids_document(some);
            let page = Position::default().document(reading.page_size);
            let names = [("page", &page), ("ids", &ids)];
            let rows = self.rows(reading, Some(fetching), &names).await;
            let rows = rows.map_err(|fault| fault.at(self.stream))?;
            let (rows, left) = self.divide(fetching, rows, &names).await?;
            let found = self.changes(reading, &rows, &names).await?;
            let left = self.changes(reading, &left, &names).await?;
            let there = found.iter().chain(&left);
            let there: BTreeSet<RemoteId> = there.map(|change| change.id.clone()).collect();
            changes.extend(found);
            if fetching.missing == Missing::Absent {
                let gone = some.iter().filter(|id| !there.contains(*id));
                changes.extend(gone.map(|id| Change::absent(id.clone())));
            }
        }
        Ok(changes)
    }

    async fn sweep(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        let rules = &self.reading()?.rules;
        let whole = rules.whole();
        let position = match after {
            Some(after) => Position::start(&whole, Some(after))?,
            None => Position::sweep(rules, self.window().and_then(|window| window.start_from)),
        };
        let slow = Self {
            wire: Arc::clone(&self.wire),
            stream: self.stream,
            lane: Lane::Items,
        };
        let page = slow.page(&whole, position).await;
        page.map_err(|fault| fault.at(self.stream))
    }

    fn can_fetch(&self) -> bool {
        self.reading().is_ok_and(|reading| reading.fetch.is_some())
    }
}

/// When the read began, by the vendor's clock where it tells one.
fn read_at(reply: &Reply) -> Timestamp {
    reply.server_time.unwrap_or(reply.asked_at)
}

fn token(next: &Program, frame: &super::scope::Frame<'_>) -> Result<Option<String>, Trouble> {
    match next.eval(frame) {
        Ok(value) => Ok(match value.into_json() {
            Json::Null => None,
            Json::String(text) if text.is_empty() => None,
            Json::String(text) => Some(text),
            other => Some(other.to_string()),
        }),
        Err(error) => {
            let trouble = Trouble::new(&error);
            if trouble.missing {
                Ok(None)
            } else {
                Err(trouble)
            }
        }
    }
}

/// The value that pages are resumed by; null where the row has none (story 5).
fn value_of(program: &Program, frame: &super::scope::Frame<'_>) -> Result<Json, Trouble> {
    match program.eval(frame) {
        Ok(value) => Ok(value.into_json()),
        Err(error) => {
            let trouble = Trouble::new(&error);
            if trouble.missing {
                Ok(Json::Null)
            } else {
                Err(trouble)
            }
        }
    }
}

/// Which lane reads and writes of a stream are in. Stock is always urgent here: whether it is less
/// than before is known only to the engine.
pub(super) fn lane_of(stream: Stream) -> Lane {
    match stream {
        Stream::Stock => Lane::StockDown,
        Stream::Orders => Lane::Orders,
        Stream::Shipments => Lane::Shipments,
        Stream::Returns
        | Stream::Refunds
        | Stream::PurchaseOrders
        | Stream::Receipts
        | Stream::Invoices => Lane::Documents,
        Stream::Prices => Lane::Prices,
        Stream::Items | Stream::Customers | Stream::Promotions => Lane::Items,
    }
}
