//! A manifest's stream as a [`Sink`].

use std::sync::Arc;

use async_trait::async_trait;
use rust_decimal::Decimal;
use serde_json::{Map, Value as Json, json};

use super::batch::{CompiledBatch, Done};
use super::later::CompiledLater;
use super::run::{Purpose, Resume, Run, unexpected};
use super::scope::{Trouble, holds};
use super::source::lane_of;
use super::step::repeats;
use super::wire::Wire;
use super::write::{CompiledPlan, Way, Writing};
use crate::connector::{
    Asked, Confirmation, Delivery, LineLink, Operation, Outcome, Progress, Repeats, Sink, Standing,
    Token,
};
use crate::expr::{Program, Reads};
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
        self.part_of_document(delivery, &Reads::whole())
    }

    /// The same without what nobody reads.
    fn part_of_document(&self, delivery: &Delivery, reads: &Reads) -> Result<Json, Fault> {
        let id = |id: &Option<RemoteId>| id.as_ref().map_or(Json::Null, |id| id.as_str().into());
        let mut document = Map::new();
        let mut add = |name: &str, value: &dyn Fn() -> Json| {
            if reads.takes(name) {
                document.insert(name.to_owned(), value());
            }
        };
        add("reference", &|| delivery.reference.as_str().into());
        add("key", &|| delivery.key.as_str().into());
        add("operation", &|| operation_name(delivery.operation).into());
        add("target", &|| id(&delivery.target));
        add("group", &|| id(&delivery.group));
        add("attempts", &|| delivery.attempts.into());
        add("idempotency_key", &|| delivery.id.as_str().into());
        add("origin", &|| delivery.origin.as_str().into());
        add("captured", &|| json!(delivery.captured));
        // Its texts are measured, whoever reads them.
        let lengths = &self.writing()?.lengths;
        if reads.takes("record") || !lengths.is_empty() {
            let mut record = match reads.parts_of("record") {
                Some(parts) if lengths.is_empty() => delivery.record.part(parts),
                _ => delivery.record.to_json(),
            };
            for length in lengths {
                length.apply(&mut record)?;
            }
            document.insert("record".to_owned(), record);
        }
        Ok(document.into())
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
        let document = self.part_of_document(delivery, &plan.reads)?;
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

    /// The documents of deliveries, for those that have one.
    fn documents(&self, deliveries: &[&Delivery], reads: &Reads) -> Documents {
        let mut documents = Documents::default();
        for delivery in deliveries {
            let document = self.part_of_document(delivery, reads);
            documents.faults.push(document.as_ref().err().cloned());
            documents.good.extend(document.ok());
        }
        documents
    }

    async fn batch(&self, batch: &CompiledBatch, deliveries: &[&Delivery]) -> Vec<Done> {
        let Documents { good, faults } = self.documents(deliveries, &batch.reads);
        let lane = lane_of(self.stream);
        let mut done = batch.run(&self.wire, lane, good).await.into_iter();
        let missing = || Done::Failed(Fault::bug("no_outcome", "a delivery got no outcome"));
        let all = faults.into_iter().map(|fault| match fault {
            Some(fault) => Done::Failed(fault),
            None => done.next().unwrap_or_else(missing),
        });
        all.collect()
    }

    /// Many in the way for many; what is refused there as a whole is told like a few (law D6).
    async fn together(&self, writing: &Writing, deliveries: &[&Delivery]) -> Vec<Outcome> {
        let Some(batch) = &writing.batch else {
            return Vec::new();
        };
        let bulk = match &writing.bulk {
            Some((from, bulk)) if self.is_many(from, deliveries.len()).await => Some(bulk),
            _ => None,
        };
        let Some(bulk) = bulk else {
            let done = self.batch(batch, deliveries).await;
            return done.into_iter().map(|it| self.outcome(it)).collect();
        };
        let mut done = self.batch(bulk, deliveries).await;
        let refused = |it: &Done| matches!(it, Done::Refused(_));
        let again: Vec<usize> = (0..done.len()).filter(|n| refused(&done[*n])).collect();
        if !again.is_empty() {
            let few: Vec<&Delivery> = again.iter().map(|n| deliveries[*n]).collect();
            let others = self.batch(batch, &few).await;
            for (n, other) in again.into_iter().zip(others) {
                done[n] = other;
            }
        }
        done.into_iter().map(|it| self.outcome(it)).collect()
    }

    async fn is_many(&self, from: &Program, count: usize) -> bool {
        let told = self.wire.with_frame(&[], |frame| {
            let from = from.eval(frame).map_err(|error| Trouble::new(&error))?;
            Ok(from.as_number())
        });
        let from = told.await.ok().flatten().filter(|from| !from.is_zero());
        from.is_some_and(|from| Decimal::from(count) >= from)
    }

    fn outcome(&self, done: Done) -> Outcome {
        match done {
            Done::Confirmed(json) => match read_confirmation(self.stream, &json) {
                Ok(confirmation) => Outcome::Delivered(confirmation),
                Err(fault) => Outcome::Failed(fault.at(self.stream.noun())),
            },
            Done::TakenIn {
                token,
                after,
                in_order,
            } => Outcome::Submitted {
                token,
                check_after: after,
                in_order,
            },
            Done::Failed(fault) | Done::Refused(fault) => {
                Outcome::Failed(fault.at(self.stream.noun()))
            }
        }
    }

    /// The `later` that gave a token: that of the many, or of the few.
    fn later(&self, token: &Token) -> Option<&CompiledLater> {
        let writing = self.writing().ok()?;
        let few = writing.batch.as_ref().and_then(|it| it.later.as_ref());
        let many = writing.bulk.as_ref().and_then(|(_, it)| it.later.as_ref());
        [few, many].into_iter().flatten().find(|it| it.gave(token))
    }

    async fn find_plan(
        &self,
        plan: &CompiledPlan,
        delivery: &Delivery,
    ) -> Result<Option<Confirmation>, Fault> {
        let Some(find) = &plan.find else {
            return Ok(None);
        };
        let document = self.part_of_document(delivery, &plan.reads)?;
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
            && !together.is_empty()
        {
            let deliveries: Vec<&Delivery> = together.iter().map(|n| &batch[*n]).collect();
            let done = self.together(writing, &deliveries).await;
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

    async fn check(&self, batch: &[Delivery], tokens: &[Token]) -> Vec<Outcome> {
        let lane = lane_of(self.stream);
        let mut outcomes = Vec::with_capacity(batch.len());
        let Some(later) = tokens.first().and_then(|token| self.later(token)) else {
            // The connector was changed meanwhile: what was taken in is told again.
            let message = "nobody knows any more how to ask after this submission";
            let fault = Fault::retry("unknown_submission", message).after_sending();
            return batch
                .iter()
                .map(|_| Outcome::Failed(fault.clone()))
                .collect();
        };
        for (some, tokens) in batch.chunks(later.max).zip(tokens.chunks(later.max)) {
            let mut documents = Vec::with_capacity(some.len());
            for (delivery, token) in some.iter().zip(tokens) {
                let mut document = self.document(delivery).unwrap_or_default();
                if let Json::Object(document) = &mut document {
                    document.insert("told".to_owned(), token.told.clone());
                }
                documents.push(document);
            }
            let documents = Json::Array(documents);
            let done = later.check(&self.wire, lane, &documents, tokens).await;
            outcomes.extend(done.into_iter().map(|it| self.outcome(it)));
        }
        outcomes
    }

    fn repeats(&self, operation: Operation) -> Repeats {
        let way = self.writing().ok().and_then(|it| it.way(operation));
        let strictest = match way {
            Some(Way::Plan(plan)) => repeats(&plan.steps),
            // Absolute values are simply said again.
            Some(Way::Batch) | None => Repeats::Freely,
        };
        match (operation, strictest) {
            (Operation::Update | Operation::Cancel, Repeats::AfterFinding) => Repeats::Freely,
            (_, strictest) => strictest,
        }
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

    async fn read_back(&self, origin: &str, asked: &[Asked]) -> Result<Vec<Standing>, Fault> {
        let Some(read_back) = &self.writing()?.read_back else {
            return Err(Fault::bug(
                "no_read_back",
                "this stream cannot be read back",
            ));
        };
        let found = read_back.run(&self.wire, origin, asked).await;
        found.map_err(|fault| fault.at(self.stream))
    }

    fn can_read_back(&self) -> bool {
        self.writing().is_ok_and(|it| it.read_back.is_some())
    }
}

/// Documents of deliveries.
#[derive(Default)]
struct Documents {
    /// Of those that have one.
    good: Vec<Json>,
    /// For each delivery, why it has none.
    faults: Vec<Option<Fault>>,
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
