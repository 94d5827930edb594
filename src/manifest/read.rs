//! `[stream.S.read]`: how a stream is read, and how what comes becomes canonical records.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::cursor::{CursorKind, Kind, Paginate, Rules};
use super::limits::Limits;
use super::request::{Call, Request};
use super::scope::{Compiler, Frame, Trouble};
use super::step::{
    Allowed, Check, CompiledCheck, CompiledStep, Step, compile as compile_steps, compile_behind,
    compile_check,
};
use super::text::{Expr, Name, Text, Tree};
use super::tree::Node;
use crate::connector::{Change, Raw, Version};
use crate::expr::{Program, Scope, Template, Type};
use crate::fault::Fault;
use crate::id::RemoteId;
use crate::record::{Fingerprint, Record, Stream};

/// One stream's source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// How often to poll when the configuration does not say.
    pub poll_secs: u64,
    /// Rows of one page, as `page.size`.
    pub page_size: u32,
    /// What must be known before the request.
    #[serde(default)]
    pub step: Vec<Step>,
    /// Asks for one page.
    pub request: Request,
    /// The rows of a reply. Not a list is a fault, never an empty page (law S9).
    pub records: Expr,
    /// Whether there is more than this page, by the reply; when absent: because the page is full.
    pub more: Option<Expr>,
    /// What must be known of a page's `rows` before they are mapped.
    #[serde(default)]
    pub then: Vec<Step>,
    /// A row is several records.
    pub expand: Option<Expand>,
    /// The id over there, of `item`.
    pub id: Text,
    /// Which version it is: `{ updated_at = …, etag = … }`.
    pub version: Option<Tree>,
    /// The canonical record, of `item`.
    pub map: Tree,
    /// It holds personal data, which shortens how long the payload is kept.
    #[serde(default)]
    pub personal: bool,
    /// What a record must not be; it is held, and the page goes on (law S8).
    #[serde(default)]
    pub check: Vec<Check>,
    /// How far it was read.
    pub cursor: CursorKind,
    /// Where the next page begins.
    #[serde(default)]
    pub paginate: Paginate,
    /// The present state of things by id.
    pub fetch: Option<Fetch>,
    /// Things that are not closed are read again by id, because the vendor's timestamp lies.
    #[serde(default)]
    pub reread_open: bool,
}

/// `expand`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expand {
    /// The list within `item`.
    #[serde(rename = "in")]
    pub list: Expr,
    /// What an element is called.
    #[serde(rename = "as")]
    pub name: Name,
}

/// What it means that a thing asked for by id does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It is gone.
    Absent,
    /// Nothing: it may be hidden from us.
    Unknown,
}

/// `fetch`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Asks for the things named by `ids`.
    pub request: Request,
    /// The rows of its reply; those of the page when absent.
    pub records: Option<Expr>,
    /// How many ids one request may carry.
    pub max: usize,
    /// What it means that one does not come.
    pub missing: Missing,
    /// An `item` for which this is false is left alone, as one that a page does not show: neither there nor
    /// gone. A webhook may tell of what no page would.
    pub only: Option<Expr>,
}

/// A compiled [`Read`].
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) poll: Duration,
    pub(super) settle_lag: Duration,
    pub(super) reread_open: bool,
    pub(super) page_size: u32,
    pub(super) steps: Vec<CompiledStep>,
    pub(super) call: Call,
    pub(super) records: Program,
    pub(super) more: Option<Program>,
    pub(super) token: Option<Program>,
    pub(super) value: Option<Program>,
    pub(super) then: Vec<CompiledStep>,
    pub(super) rules: Rules,
    pub(super) fetch: Option<Fetching>,
    pub(super) mapper: Mapper,
}

/// A compiled [`Fetch`].
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) call: Call,
    pub(super) records: Program,
    pub(super) max: usize,
    pub(super) missing: Missing,
    pub(super) only: Option<Program>,
}

/// Turns rows into changes.
#[derive(Debug)]
pub(super) struct Mapper {
    stream: Stream,
    expand: Option<(Program, String)>,
    id: Template,
    version: Option<Node>,
    map: Node,
    personal: bool,
    checks: Vec<CompiledCheck>,
}

impl Read {
    pub(super) fn compile(
        &self,
        stream: Stream,
        compiler: &mut Compiler,
        limits: &Limits,
        path: &str,
    ) -> Reading {
        let base = compiler.scope(&["page", "ids"]);
        let reading = Allowed::Reading;
        let (steps, scope) = compile_steps(
            &self.step,
            compiler,
            limits,
            &base,
            reading,
            &format!("{path}.step"),
        );
        let reply = scope.clone().root("reply", Type::Dyn);
        let rows = reply.clone().root("rows", Type::Dyn);
        let call = self
            .request
            .compile(compiler, limits, &scope, &format!("{path}.request"));
        let (then, after) = self.compile_then(compiler, limits, path);
        let item = after.root("item", Type::Dyn);
        let records = compiler.expr(&self.records, &reply, &format!("{path}.records"));
        let scopes = [&scope, &reply, &item];
        let fetch = self.compile_fetch(compiler, limits, scopes, &records, path);
        if self.page_size == 0 || self.poll_secs == 0 {
            compiler.error(
                path,
                0..0,
                "`page_size` and `poll_secs` must be above zero",
                None,
            );
        }
        if self.reread_open && fetch.is_none() {
            compiler.error(path, 0..0, "`reread_open` needs `fetch`", None);
        }
        let (rules, value) = self.compile_cursor(compiler, &item, path);
        let lag = match rules.kind {
            Kind::Watermark { lag, .. } => lag,
            _ => Duration::ZERO,
        };
        Reading {
            poll: Duration::from_secs(self.poll_secs),
            settle_lag: lag,
            reread_open: self.reread_open,
            page_size: self.page_size,
            steps,
            call,
            records,
            more: compiler.maybe(self.more.as_ref(), &rows, &format!("{path}.more")),
            token: match &self.paginate {
                Paginate::Token(token) => Some(compiler.expr(&token.next, &reply, path)),
                _ => None,
            },
            value,
            then,
            rules,
            fetch,
            mapper: self.compile_mapper(stream, compiler, &item, path),
        }
    }

    /// In terms of the scopes of the page's request, of its reply and of one of its rows; and of the page's rows.
    fn compile_fetch(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        [scope, reply, item]: [&Scope; 3],
        records: &Program,
        path: &str,
    ) -> Option<Fetching> {
        let fetch = self.fetch.as_ref()?;
        if fetch.max == 0 {
            compiler.error(path, 0..0, "`fetch.max` must be above zero", None);
        }
        let own = compiler.maybe(
            fetch.records.as_ref(),
            reply,
            &format!("{path}.fetch.records"),
        );
        Some(Fetching {
            call: fetch
                .request
                .compile(compiler, limits, scope, &format!("{path}.fetch")),
            records: own.unwrap_or_else(|| records.clone()),
            max: fetch.max.max(1),
            missing: fetch.missing,
            only: compiler.maybe(fetch.only.as_ref(), item, &format!("{path}.fetch.only")),
        })
    }

    /// Steps behind the request see those before it, `page` and `rows`.
    fn compile_then(
        &self,
        compiler: &mut Compiler,
        limits: &Limits,
        path: &str,
    ) -> (Vec<CompiledStep>, Scope) {
        let scope = compiler.scope(&["page", "ids", "rows"]);
        let both = (self.step.as_slice(), self.then.as_slice());
        let reading = Allowed::Reading;
        compile_behind(
            both,
            compiler,
            limits,
            &scope,
            reading,
            &format!("{path}.then"),
        )
    }

    fn compile_cursor(
        &self,
        compiler: &mut Compiler,
        item: &Scope,
        path: &str,
    ) -> (Rules, Option<Program>) {
        let path = format!("{path}.cursor");
        let (kind, field) = match &self.cursor {
            CursorKind::Watermark(mark) => {
                if mark.overlap_secs < mark.settle_lag_secs {
                    let message = "`overlap_secs` must not be below `settle_lag_secs`: what was \
                                   committed late would be skipped";
                    compiler.error(&path, mark.field.span(), message, None);
                }
                let kind = Kind::Watermark {
                    lag: Duration::from_secs(mark.settle_lag_secs),
                    overlap: Duration::from_secs(mark.overlap_secs),
                };
                (kind, Some(&mark.field))
            }
            CursorKind::Sequence(sequence) => (
                Kind::Sequence {
                    overlap: sequence.overlap,
                },
                Some(&sequence.field),
            ),
            CursorKind::Full(full) => (Kind::Full, full.field.as_ref()),
        };
        let by_value = matches!(self.paginate, Paginate::ByValue);
        if by_value && field.is_none() {
            let help = "name a `field` that never changes, or another `paginate`";
            let message = "pages cannot be resumed by value without a value";
            compiler.error(&path, 0..0, message, Some(help.to_owned()));
        }
        let single = matches!(self.paginate, Paginate::None);
        (
            Rules {
                kind,
                by_value,
                single,
            },
            compiler.maybe(field, item, &path),
        )
    }

    fn compile_mapper(
        &self,
        stream: Stream,
        compiler: &mut Compiler,
        item: &Scope,
        path: &str,
    ) -> Mapper {
        let expand = self.expand.as_ref().map(|expand| {
            let list = compiler.expr(&expand.list, item, &format!("{path}.expand"));
            (list, expand.name.as_str().to_owned())
        });
        let scope = match &expand {
            Some((_, name)) => item.clone().root(name, Type::Dyn),
            None => item.clone(),
        };
        let version = self.version.as_ref();
        Mapper {
            stream,
            id: compiler.template(&self.id, &scope, &format!("{path}.id")),
            version: version.map(|tree| compiler.tree(tree, &scope, &format!("{path}.version"))),
            map: compiler.tree(&self.map, &scope, &format!("{path}.map")),
            personal: self.personal,
            checks: self
                .check
                .iter()
                .map(|check| compile_check(check, compiler, &scope, &format!("{path}.check")))
                .collect(),
            expand,
        }
    }
}

impl Mapper {
    /// The changes that a row is. What cannot be understood is rejected on its own (law S8).
    pub(super) fn changes(&self, row: &Json, frame: &Frame<'_>, changes: &mut Vec<Change>) {
        let roots = [("item", row)];
        let frame = frame.with(&roots);
        let raw = Raw {
            bytes: row.to_string().into(),
            personal: self.personal,
        };
        let Some((list, name)) = &self.expand else {
            changes.push(self.change(&frame, &raw));
            return;
        };
        match super::tree::elements(list, &frame) {
            Ok(parts) => {
                for part in parts.iter() {
                    let roots = [(name.as_str(), part)];
                    changes.push(self.change(&frame.with(&roots), &raw));
                }
            }
            Err(trouble) => changes.push(rejected(unreadable_id(&raw), cannot_map(&trouble), &raw)),
        }
    }

    fn change(&self, frame: &Frame<'_>, raw: &Raw) -> Change {
        let id = match self.id.eval_text(frame) {
            Ok(id) if !id.is_empty() => RemoteId::from(id),
            Ok(_) => {
                return rejected(
                    unreadable_id(raw),
                    cannot_map(&Trouble::told("the id is empty")),
                    raw,
                );
            }
            Err(error) => {
                let trouble = Trouble::new(&error).within("id");
                return rejected(unreadable_id(raw), cannot_map(&trouble), raw);
            }
        };
        let version = self.version(frame);
        match self.record(frame) {
            Ok(record) => Change {
                version,
                raw: Some(raw.clone()),
                ..Change::present(id, record)
            },
            Err(fault) => Change {
                version,
                ..rejected(id, fault, raw)
            },
        }
    }

    fn record(&self, frame: &Frame<'_>) -> Result<Record, Fault> {
        for check in &self.checks {
            if let Some(fault) = check
                .failed(frame)
                .map_err(|trouble| cannot_map(&trouble))?
            {
                return Err(fault);
            }
        }
        let json = self
            .map
            .json(frame)
            .map_err(|trouble| cannot_map(&trouble))?;
        Record::from_json(self.stream, json)
    }

    /// A hint; one that cannot be read is left out.
    fn version(&self, frame: &Frame<'_>) -> Version {
        let json = self.version.as_ref().and_then(|node| node.json(frame).ok());
        let text = |name: &str| match json.as_ref()?.get(name)? {
            Json::String(text) => Some(text.clone()),
            Json::Null => None,
            other => Some(other.to_string()),
        };
        Version {
            updated_at: text("updated_at").and_then(|at| at.parse().ok()),
            etag: text("etag"),
        }
    }
}

/// A name for a row whose own id cannot be read: the same each time it comes.
fn unreadable_id(raw: &Raw) -> RemoteId {
    RemoteId::from(format!("unreadable-{}", Fingerprint::of_bytes(&raw.bytes)))
}

fn rejected(id: RemoteId, fault: Fault, raw: &Raw) -> Change {
    let mut change = Change::rejected(id, fault);
    change.raw = Some(raw.clone());
    change
}

fn cannot_map(trouble: &Trouble) -> Fault {
    Fault::reject("cannot_map", format!("not as foreseen: {trouble}"))
}

/// The ids of a fetch, as `ids`.
pub(super) fn ids_document(ids: &[RemoteId]) -> Json {
    json!(ids.iter().map(RemoteId::as_str).collect::<Vec<_>>())
}
