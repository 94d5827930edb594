//! A manifest's stream as a [`Sink`].

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value as Json, json};

use super::batch::CompiledBatch;
use super::run::{Purpose, Resume, Run, unexpected};
use super::scope::holds;
use super::source::lane_of;
use super::wire::Wire;
use super::write::{CompiledPlan, Way, Writing};
use crate::connector::{Confirmation, Delivery, LineLink, Operation, Outcome, Progress, Sink};
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::record::{Record, Stream};
use crate::transport::http::Lane;

/// See the module.
#[derive(Debug)]
pub(super) struct ManifestSink {
    pub(super) wire: Arc<Wire>,
    pub(super) stream: Stream,
}

impl ManifestSink {
    fn writing(&self) -> Result<&Writing, Fault> {
        let writing = self.wire.manifest.writes.get(&self.stream);
        writing.ok_or_else(|| Fault::bug("not_writable", "this stream cannot be written"))
    }

    fn lane(&self, operation: Operation) -> Lane {
        if operation == Operation::Cancel {
            Lane::Cancellations
        } else {
            lane_of(self.stream)
        }
    }

    /// What expressions see of a delivery.
    fn document(&self, delivery: &Delivery) -> Result<Json, Fault> {
        let mut record = delivery.record.to_json();
        for length in &self.writing()?.lengths {
            length.apply(&mut record)?;
        }
        Ok(json!({
            "reference": delivery.reference,
            "key": delivery.key.as_str(),
            "operation": operation_name(delivery.operation),
            "target": delivery.target.as_ref().map(RemoteId::as_str),
            "group": delivery.group.as_ref().map(RemoteId::as_str),
            "attempts": delivery.attempts,
            "idempotency_key": delivery.id.as_str(),
            "origin": delivery.origin,
            "captured": delivery.captured,
            "record": record,
        }))
    }

    async fn one(&self, delivery: &Delivery, progress: &dyn Progress) -> Outcome {
        let result = match self.way(delivery) {
            Ok(Way::Plan(plan)) => self.plan(plan, delivery, progress).await,
            // Batches are taken apart by `deliver`.
            Ok(Way::Batch) => Err(Fault::bug("not_a_plan", "a batch is not a plan")),
            Err(fault) => Err(fault),
        };
        match result {
            Ok(confirmation) => Outcome::Delivered(confirmation),
            Err(fault) => Outcome::Failed(fault.at(self.stream.noun())),
        }
    }

    fn way(&self, delivery: &Delivery) -> Result<Way<'_>, Fault> {
        let operation = delivery.operation;
        self.writing()?.way(operation).ok_or_else(|| {
            let (name, noun) = (operation_name(operation), self.stream.noun());
            let message = format!("this connector cannot {name} a {noun}");
            Fault::reject("cannot_do", message)
        })
    }

    async fn plan(
        &self,
        plan: &CompiledPlan,
        delivery: &Delivery,
        progress: &dyn Progress,
    ) -> Result<Confirmation, Fault> {
        let document = self.document(delivery)?;
        let resume = Resume {
            delivery: &delivery.id,
            captured: &delivery.captured,
            progress,
            last: plan.steps.last().map_or("", |step| &step.name),
        };
        let lane = self.lane(delivery.operation);
        let mut run = Run::new(&self.wire, lane, Purpose::Write(resume));
        let results = run.steps(&plan.steps, &[("delivery", &document)]).await?;
        let existed = match &plan.find {
            Some(find) => run.existed.contains(&find.step),
            None => false,
        };
        let results = Json::Object(results);
        let mut confirmation = self.confirmation(plan, &document, &results).await?;
        confirmation.existed = existed;
        Ok(confirmation)
    }

    async fn confirmation(
        &self,
        plan: &CompiledPlan,
        delivery: &Json,
        results: &Json,
    ) -> Result<Confirmation, Fault> {
        let names = [("delivery", delivery), ("steps", results)];
        let json = self
            .wire
            .with_frame(&names, |frame| plan.confirm.json(frame))
            .await;
        let json = json.map_err(|it| unexpected(&it.within("confirm")).after_sending())?;
        read_confirmation(self.stream, &json)
    }

    async fn batch(&self, batch: &CompiledBatch, deliveries: &[&Delivery]) -> Vec<Outcome> {
        let mut good = Vec::with_capacity(deliveries.len());
        let mut bad = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match self.document(delivery) {
                Ok(document) => {
                    good.push(document);
                    bad.push(Ok(()));
                }
                Err(fault) => bad.push(Err(fault)),
            }
        }
        let lane = lane_of(self.stream);
        let mut done = batch.run(&self.wire, lane, good).await.into_iter();
        let results = bad.into_iter().map(|document| {
            document?;
            let missing = || Err(Fault::bug("no_outcome", "a delivery got no outcome"));
            read_confirmation(self.stream, &done.next().unwrap_or_else(missing)?)
        });
        results
            .map(|result| match result {
                Ok(confirmation) => Outcome::Delivered(confirmation),
                Err(fault) => Outcome::Failed(fault.at(self.stream.noun())),
            })
            .collect()
    }

    async fn find_plan(
        &self,
        plan: &CompiledPlan,
        delivery: &Delivery,
    ) -> Result<Option<Confirmation>, Fault> {
        let Some(find) = &plan.find else {
            return Ok(None);
        };
        let document = self.document(delivery)?;
        let names = [("delivery", &document)];
        let purpose = Purpose::Find {
            step: &find.step,
            captured: &delivery.captured,
        };
        let mut run = Run::new(&self.wire, self.lane(delivery.operation), purpose);
        let results = Json::Object(run.steps(&plan.steps, &names).await?);
        let found = results.get(&find.step).filter(|found| !found.is_null());
        let Some(found) = found else {
            return Ok(None);
        };
        // Whatever is to be called off may have been left half-way.
        let done = find.done.as_ref();
        if let Some(done) = done.filter(|_| delivery.operation != Operation::Cancel) {
            let names = [
                ("delivery", &document),
                ("steps", &results),
                ("found", found),
            ];
            let done = self
                .wire
                .with_frame(&names, |frame| holds(done, frame))
                .await;
            if !done.map_err(|trouble| unexpected(&trouble))? {
                return Ok(None);
            }
        }
        let mut confirmation = self.confirmation(plan, &document, &results).await?;
        confirmation.existed = true;
        Ok(Some(confirmation))
    }

    /// What a create of the same reference left there, done or not.
    async fn find_to_cancel(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault> {
        match self.writing()?.way(Operation::Create) {
            Some(Way::Plan(plan)) => self.find_plan(plan, delivery).await,
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl Sink for ManifestSink {
    async fn deliver(&self, batch: &[Delivery], progress: &dyn Progress) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = batch.iter().map(|_| None).collect();
        let together: Vec<usize> = (0..batch.len())
            .filter(|n| matches!(self.way(&batch[*n]), Ok(Way::Batch)))
            .collect();
        if let Ok(writing) = self.writing()
            && let Some(way) = &writing.batch
            && !together.is_empty()
        {
            let deliveries: Vec<&Delivery> = together.iter().map(|n| &batch[*n]).collect();
            let done = self.batch(way, &deliveries).await;
            for (n, outcome) in together.into_iter().zip(done) {
                outcomes[n] = Some(outcome);
            }
        }
        let mut all = Vec::with_capacity(batch.len());
        for (delivery, outcome) in batch.iter().zip(outcomes) {
            all.push(match outcome {
                Some(outcome) => outcome,
                None => self.one(delivery, progress).await,
            });
        }
        all
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Confirmation>, Fault> {
        if delivery.operation == Operation::Cancel && delivery.target.is_none() {
            let found = self.find_to_cancel(delivery).await;
            return found.map_err(|it| it.at(self.stream.noun()));
        }
        match self.way(delivery)? {
            Way::Plan(plan) => self
                .find_plan(plan, delivery)
                .await
                .map_err(|it| it.at(self.stream.noun())),
            // Absolute values are simply said again.
            Way::Batch => Ok(None),
        }
    }
}

fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Cancel => "cancel",
    }
}

/// `{ remote_id, number, group, lines, stored }` as a confirmation.
fn read_confirmation(stream: Stream, json: &Json) -> Result<Confirmation, Fault> {
    let text = |name: &str| match json.get(name) {
        Some(Json::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Json::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let lines = json
        .get("lines")
        .and_then(Json::as_array)
        .into_iter()
        .flatten();
    let link = |line: &Json| {
        let field = |name: &str| match line.get(name)? {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            _ => None,
        };
        Some(LineLink {
            line_id: field("line_id")?,
            remote_id: field("remote_id")?,
        })
    };
    let stored = match json.get("stored") {
        None | Some(Json::Null) => None,
        Some(record) => {
            let record = Record::from_json(stream, record.clone());
            Some(
                record
                    .map_err(|fault| fault.at("what is stored").after_sending())?
                    .fingerprint(),
            )
        }
    };
    Ok(Confirmation {
        remote_id: text("remote_id").map(RemoteId::from),
        number: text("number"),
        group: text("group").map(RemoteId::from),
        stored,
        lines: lines.filter_map(link).collect(),
        existed: false,
    })
}
