//! Which things of which streams a request is about.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::super::scope::{Frame, Trouble, holds};
use super::Hooking;
use crate::connector::{Hint, Inbound, Notice};
use crate::expr::Template;
use crate::fault::Fault;
use crate::id::RemoteId;

/// The most things that one request may tell of.
const MAX_ITEMS: usize = 1000;
/// The longest id or name of an event, in bytes.
const MAX_ID_BYTES: usize = 256;
/// Of a longer body nobody who has not proved who he is sees the text.
const SHORT_BODY_BYTES: usize = 256;

/// What may be looked at before anything is proved.
pub(super) fn outside(request: &Inbound) -> Json {
    let mut headers = Map::new();
    for (name, value) in &request.headers {
        headers
            .entry(name.clone())
            .or_insert_with(|| value.as_str().into());
    }
    let short = Some(&request.body).filter(|body| body.len() <= SHORT_BODY_BYTES);
    let text = short.and_then(|body| std::str::from_utf8(body).ok());
    json!({ "url": request.url, "headers": headers, "text": text })
}

impl Hooking {
    pub(super) fn is_ping(&self, frame: &Frame<'_>) -> Result<bool, Fault> {
        let Some(ping) = &self.ping else {
            return Ok(false);
        };
        holds(ping, frame).map_err(|trouble| not_understood(&trouble))
    }

    /// What a proven request says; `told` is what [`outside`] made of it.
    pub(super) fn decode(
        &self,
        request: &Inbound,
        mut told: Json,
        outer: &Frame<'_>,
    ) -> Result<Notice, Fault> {
        let body: Json = serde_json::from_slice(&request.body)
            .map_err(|_| Fault::reject("not_json", "the body is no JSON"))?;
        told["json"] = body;
        let roots = [("request", &told)];
        let frame = outer.with(&roots);
        let listed = match &self.items {
            Some(items) => items.json(&frame).map_err(|it| not_understood(&it))?,
            None => json!([told["json"]]),
        };
        let Json::Array(items) = listed else {
            return Err(not_understood(&Trouble::told("`items` gave no list")));
        };
        if items.len() > MAX_ITEMS {
            let message = format!("it tells of more than {MAX_ITEMS} things");
            return Err(Fault::reject("too_many", message));
        }
        let mut notice = Notice::default();
        let mut seen = BTreeSet::new();
        for item in &items {
            let roots = [("item", item)];
            let frame = frame.with(&roots);
            match self.hint(&frame)? {
                Some(hint) if seen.insert(hint.clone()) => notice.hints.push(hint),
                Some(_) => {}
                None => notice.unknown += 1,
            }
        }
        Ok(notice)
    }

    /// Nothing when nobody knows what it is about.
    fn hint(&self, frame: &Frame<'_>) -> Result<Option<Hint>, Fault> {
        let topic = text(Some(&self.topic), frame)?;
        let known = topic.and_then(|topic| self.topics.get(&topic));
        let Some((stream, id)) = known else {
            return Ok(None);
        };
        let id = text(id.as_ref(), frame)?;
        let is_no_id = |id: &String| id.len() > MAX_ID_BYTES || id.contains(char::is_control);
        if id.as_ref().is_some_and(is_no_id) {
            return Err(not_understood(&Trouble::told("an id is no id")));
        }
        let event = text(self.event.as_ref(), frame)?;
        Ok(Some(Hint {
            stream: *stream,
            id: id.map(RemoteId::from),
            event: event.filter(|event| event.len() <= MAX_ID_BYTES),
        }))
    }
}

/// A text; nothing where it is absent, null or empty.
fn text(template: Option<&Template>, frame: &Frame<'_>) -> Result<Option<String>, Fault> {
    let Some(template) = template else {
        return Ok(None);
    };
    match template.eval_text(frame) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(error) => {
            let trouble = Trouble::new(&error);
            if trouble.missing {
                Ok(None)
            } else {
                Err(not_understood(&trouble))
            }
        }
    }
}

/// Says nothing out of the request.
fn not_understood(trouble: &Trouble) -> Fault {
    Fault::reject(
        "not_understood",
        format!("the webhook is not as foreseen: {trouble}"),
    )
}
