//! Mappings: what merchants change about records on their way.
//!
//! A mapping is a pure function from a record's JSON form to a record's JSON form, to "filtered by
//! this rule", or to a fault. It starts from the source record as a whole; rules replace fields of
//! it, `drop` takes fields out. When a route makes records of another stream it starts from nothing.
//! All rules read the source record as it came, never what another rule made, so that their order
//! does not matter; a rule for `customer` is applied before one for `customer.name`.
//!
//! *Absent*, *null* and a value differ: a rule whose source field is absent leaves the target field
//! absent (and takes it out if the source record had one of that name), null stays null, unless the
//! rule has a `default`. A record that a rule cannot map is rejected: it goes to quarantine, and the
//! original never passes through instead.
//!
//! `settings.rs` is what stands in the file; `compile.rs` and `compile_steps.rs` check it against the
//! fields of both streams (`shape.rs`) and make the rules of `rule.rs` and `step.rs`; `cases.rs` runs
//! the merchant's own tests.

mod cases;
mod compile;
mod compile_steps;
mod path;
#[cfg(test)]
mod props;
mod rule;
mod settings;
mod shape;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::config::{
    Document, MappingTable, Node, Step as Place, Value as Written, codes, path_text,
};
use crate::diagnostic::Diagnostics;
use crate::expr::Program;
use crate::fault::Fault;
use crate::record::Stream;

pub use cases::TestFailure;
pub use settings::{
    Case, Constant, Digits, FieldSettings, FilterSettings, Kind, MappingSettings, RejectSettings,
    Rest, RoundingMode, RuleSettings, TestSettings, TooLong, Unmatched,
};
pub use shape::{record_type, root_name};

use cases::TestCase;
use compile::Compiler;
use path::Path;
use rule::{MISSING, Problem, REJECTED, Rule, Tables, View};

/// What a mapping makes of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Mapped {
    /// This goes on.
    Kept(Json),
    /// A rule keeps it back.
    Filtered {
        /// The name of the rule.
        rule: String,
    },
}

/// A compiled mapping.
#[derive(Debug)]
pub struct Mapping {
    name: String,
    version: String,
    /// What the record is called in expressions.
    root: &'static str,
    /// Whether fields without a rule stay.
    keep_rest: bool,
    filters: Vec<(String, Program)>,
    rejects: Vec<(String, Program)>,
    drops: Vec<Path>,
    rules: Vec<Rule>,
    tables: Tables,
    cases: Vec<TestCase>,
}

/// Compiles `[mapping.NAME]` for a route from one stream to another.
///
/// # Errors
/// All findings, each with its place in the file.
pub fn compile(
    name: &str,
    table: &MappingTable,
    from: Stream,
    to: Stream,
) -> Result<Mapping, Diagnostics> {
    let document = document(name, &table.0);
    let at: Vec<Place> = ["mapping", name].map(Place::from).into();
    let mut findings = Diagnostics::default();
    let Some(settings) = crate::config::read_part::<MappingSettings>(&document, &at, &mut findings)
    else {
        return Err(with_quotes(findings, &document, &at, &record_type(to)));
    };
    let tables: Tables = settings
        .table
        .iter()
        .map(|(name, rows)| {
            let rows: Map<String, Json> = rows
                .iter()
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .collect();
            (name.clone(), rows)
        })
        .collect();
    let mut compiler = Compiler {
        document: &document,
        at,
        from,
        source: record_type(from),
        target: record_type(to),
        tables: &tables,
        findings,
    };
    let (filters, rejects) = conditions(&mut compiler, &settings);
    let drops = compile::drops(&mut compiler, &settings);
    let rules: Vec<Rule> = settings
        .field
        .iter()
        .filter_map(|(target, field)| compiler.field(target, field))
        .collect();
    let cases = cases::compile(&mut compiler, &settings.test);
    let findings = compiler.findings;
    let keep_rest = settings.rest.map_or(from == to, |rest| rest == Rest::Keep);
    findings.into_result(Mapping {
        name: name.to_owned(),
        version: version(&table.0, from, to),
        root: root_name(from),
        keep_rest,
        filters,
        rejects,
        drops,
        rules,
        tables,
        cases,
    })
}

/// The mapping as the only part of a document, so that findings have its whole path.
fn document(name: &str, mapping: &Node) -> Document {
    let table =
        |key: &str, node: Node| Node::new(Written::Table(BTreeMap::from([(key.to_owned(), node)])));
    Document {
        root: table("mapping", table(name, mapping.clone())),
    }
}

/// `customer.name = "x"` is a table in TOML. Says so where that is what an unknown setting comes from.
fn with_quotes(
    mut findings: Diagnostics,
    document: &Document,
    at: &[Place],
    target: &crate::expr::Type,
) -> Diagnostics {
    let fields: Vec<Place> = at.iter().cloned().chain([Place::from("field")]).collect();
    let names = |path: &[Place]| -> Vec<String> {
        let table = document.root.get(path).and_then(Node::table);
        table
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    };
    for name in names(&fields) {
        let inside: Vec<Place> = fields
            .iter()
            .cloned()
            .chain([name.as_str().into()])
            .collect();
        for key in names(&inside) {
            let whole: Vec<Place> = inside
                .iter()
                .cloned()
                .chain([key.as_str().into()])
                .collect();
            let meant = format!("{name}.{key}");
            let place = path_text(&whole);
            if !Path::parse(&meant).is_ok_and(|path| path.type_in(target).is_ok()) {
                continue;
            }
            for finding in &mut findings.0 {
                if finding.code == codes::UNKNOWN_KEY && finding.path == place {
                    finding.help = Some(format!("write the path in quotes: `\"{meant}\" = …`"));
                }
            }
        }
    }
    findings
}

/// Tells one version of a mapping from another: changes with anything that changes results, and so
/// not with tests or comments.
fn version(mapping: &Node, from: Stream, to: Stream) -> String {
    let mut written = mapping.to_toml(true);
    if let Some(table) = written.as_table_mut() {
        table.remove("test");
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{from} {to} {written}").as_bytes());
    hasher.finalize().to_hex().chars().take(16).collect()
}

/// A condition with the name of its filter or the message of its rejection.
type Conditions = Vec<(String, Program)>;

fn conditions(compiler: &mut Compiler<'_>, settings: &MappingSettings) -> (Conditions, Conditions) {
    let scope = compiler.scope();
    let (mut filters, mut rejects): (Conditions, Conditions) = (Vec::new(), Vec::new());
    for (n, filter) in settings.filter.iter().enumerate() {
        let inside = |setting: &str| [Place::from("filter"), Place::Index(n), setting.into()];
        if filter.name.trim().is_empty() || filters.iter().any(|(name, _)| *name == filter.name) {
            let message = "each filter needs a name of its own: records are counted under it";
            compiler.error(&inside("name"), codes::BAD_RULE, message, None);
        }
        if let Some(when) = compiler.condition(&inside("when"), &filter.when, &scope) {
            filters.push((filter.name.clone(), when));
        }
    }
    for (n, reject) in settings.reject.iter().enumerate() {
        let inside = [Place::from("reject"), Place::Index(n), "when".into()];
        if let Some(when) = compiler.condition(&inside, &reject.when, &scope) {
            rejects.push((reject.message.clone(), when));
        }
    }
    (filters, rejects)
}

impl Mapping {
    /// Its name: `[mapping.NAME]`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells one version of the mapping from another.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Maps one record.
    ///
    /// # Errors
    /// `Reject` with the code `lookup_unmatched` or `mapping_…`; the message names the mapping, the
    /// field and the rule, and contains no personal data.
    pub fn apply(&self, record: &Json) -> Result<Mapped, Fault> {
        let view = View {
            root: self.root,
            record,
            it: None,
            value: None,
            tables: &self.tables,
        };
        for (name, when) in &self.filters {
            let place = || format!("filter `{name}`");
            if when
                .eval_bool(&view)
                .map_err(|error| self.fault(&Problem::of(&error, &place()), None))?
            {
                return Ok(Mapped::Filtered { rule: name.clone() });
            }
        }
        for (message, when) in &self.rejects {
            let bad = |error| self.fault(&Problem::of(&error, "rule `reject`"), None);
            if when.eval_bool(&view).map_err(bad)? {
                return Err(self.fault(&Problem::new(REJECTED, message.clone()), None));
            }
        }
        let mut out = if self.keep_rest {
            record.clone()
        } else {
            Json::Object(Map::with_capacity(self.rules.len()))
        };
        for rule in &self.rules {
            rule.apply(view, &mut out)
                .map_err(|problem| self.fault(&problem, Some(rule)))?;
        }
        for path in &self.drops {
            path.remove(&mut out);
        }
        Ok(Mapped::Kept(out))
    }

    /// Tries the merchant's own examples.
    pub fn run_tests(&self) -> Vec<TestFailure> {
        self.cases.iter().flat_map(|case| case.run(self)).collect()
    }

    fn fault(&self, problem: &Problem, rule: Option<&Rule>) -> Fault {
        let mut place = format!("mapping `{}`", self.name);
        if let Some(rule) = rule {
            let target = rule.target.with_places(&problem.places);
            place = format!("{place}, field `{target}`");
        }
        let help = match problem.code {
            MISSING => "; `default(…)` or has(…) allows for it",
            _ => "",
        };
        Fault::reject(problem.code, format!("{place}: {}{help}", problem.text))
    }
}
