//! From what a merchant wrote to rules that run, or to everything that is wrong with it.

use serde_json::Value as Json;

use super::compile_steps::{constant_type_for, fits};
use super::path::Path;
use super::rule::{Reject, Rule, Source, Tables};
use super::settings::{Constant, FieldSettings, Kind, MappingSettings, RuleSettings, Unmatched};
use super::shape;
use crate::config::{Document, Step as Place, codes, suggest};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::expr::{self, ExprError, Program, Scope, Type};
use crate::record::Stream;

/// Compiles the parts of one mapping.
#[derive(Debug)]
pub(super) struct Compiler<'a> {
    pub(super) document: &'a Document,
    /// `mapping.NAME`
    pub(super) at: Vec<Place>,
    pub(super) from: Stream,
    pub(super) source: Type,
    pub(super) target: Type,
    pub(super) tables: &'a Tables,
    pub(super) findings: Diagnostics,
}

impl Compiler<'_> {
    /// A finding about a setting inside the mapping.
    pub(super) fn error(
        &mut self,
        inside: &[Place],
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let finding = self.finding(inside, code, message.into(), help);
        self.findings.push(finding);
    }

    pub(super) fn finding(
        &self,
        inside: &[Place],
        code: &'static str,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        let path: Vec<Place> = self.at.iter().chain(inside).cloned().collect();
        let finding = self.document.finding(Severity::Error, code, &path, message);
        match help {
            Some(help) => finding.help(help),
            None => finding,
        }
    }

    /// The names that an expression outside of lists may use.
    pub(super) fn scope(&self) -> Scope {
        let root = shape::root_name(self.from);
        let scope = Scope::new().root(root, self.source.clone());
        self.tables
            .keys()
            .fold(scope, |scope, name| scope.table(name))
    }

    /// Compiles an expression that stands in the file at `inside`.
    pub(super) fn program(
        &mut self,
        inside: &[Place],
        source: &str,
        scope: &Scope,
    ) -> Option<Program> {
        match expr::compile(source, scope) {
            Ok(program) => Some(program),
            Err(errors) => {
                for error in errors {
                    let finding = self.expression_finding(inside, source, error);
                    self.findings.push(finding);
                }
                None
            }
        }
    }

    /// Compiles a condition.
    pub(super) fn condition(
        &mut self,
        inside: &[Place],
        source: &str,
        scope: &Scope,
    ) -> Option<Program> {
        let program = self.program(inside, source, scope)?;
        let of = program.result_type();
        if !matches!(of, Type::Bool | Type::Dyn) {
            let message = format!("a condition is true or false, this is a {of}");
            let help = "compare it with something, as in order.currency == 'EUR'".to_owned();
            self.error(inside, codes::BAD_EXPRESSION, message, Some(help));
            return None;
        }
        Some(program)
    }

    /// Points at the part of the expression that is wrong, where the file has it letter by letter.
    fn expression_finding(&self, inside: &[Place], source: &str, error: ExprError) -> Diagnostic {
        let finding = self.finding(inside, codes::BAD_EXPRESSION, error.message, error.help);
        let Some((text, span)) = finding.place.clone() else {
            return finding;
        };
        let written = text.text.get(span.clone()).unwrap_or("");
        // Between quotes without escapes, the file has exactly the expression's bytes.
        match written.find(source) {
            Some(quotes) if quotes <= 4 && written.len() <= source.len() + 2 * quotes.max(1) => {
                let start = span.start + quotes;
                finding.at(&text, start + error.span.start..start + error.span.end)
            }
            _ => finding,
        }
    }

    /// A path to a field of the source or target.
    pub(super) fn path(&mut self, inside: &[Place], text: &str, of: &Type) -> Option<(Path, Type)> {
        let path = match Path::parse(text) {
            Ok(path) => path,
            Err(message) => {
                let help = "a path is written `customer.name` or `lines[].sku`".to_owned();
                self.error(inside, codes::NO_SUCH_FIELD, message, Some(help));
                return None;
            }
        };
        match path.type_in(of) {
            Ok(found) => Some((path, found)),
            Err((name, known)) => {
                let message = format!("`{text}`: there is no field `{name}`");
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let help = (!known.is_empty()).then(|| suggest(Some(&name), &known));
                self.error(inside, codes::NO_SUCH_FIELD, message, help);
                None
            }
        }
    }

    /// The rule for one field of the target.
    pub(super) fn field(&mut self, target: &str, settings: &FieldSettings) -> Option<Rule> {
        let at = [Place::from("field"), Place::from(target)];
        let wanted = self.target.clone();
        let copy;
        let rule = match settings {
            FieldSettings::Rule(rule) => &**rule,
            FieldSettings::Copy(from) => {
                copy = RuleSettings {
                    from: Some(from.clone()),
                    ..RuleSettings::default()
                };
                &copy
            }
        };
        let before = self.findings.0.len();
        self.contradictions(&at, rule);
        let (target, field) = self.path(&at, target, &wanted)?;
        let (rule, made) = self.made(&at, rule, &target, &field)?;
        if self.findings.0.len() == before {
            self.check_fit(&at, &made, &field);
        }
        Some(rule)
    }

    /// Settings that say nothing without another, or more than one thing.
    fn contradictions(&mut self, at: &[Place], rule: &RuleSettings) {
        let sources = [
            rule.from.is_some(),
            rule.expr.is_some(),
            rule.value.is_some(),
        ];
        if sources.into_iter().filter(|given| *given).count() != 1 {
            let message = "a rule takes its value from one of `from`, `expr` and `value`";
            let help = "as in { from = \"number\" } or { value = \"web\" }; a path with dots stands \
                        in quotes: \"customer.name\" = …";
            self.error(at, codes::BAD_RULE, message, Some(help.to_owned()));
        }
        let pairs = [
            (
                "unmatched",
                rule.unmatched.is_some(),
                "lookup",
                rule.lookup.is_some(),
            ),
            (
                "on_too_long",
                rule.on_too_long.is_some(),
                "max_length",
                rule.max_length.is_some(),
            ),
            (
                "rounding",
                rule.rounding.is_some(),
                "round",
                rule.round.is_some(),
            ),
            (
                "currency",
                rule.currency.is_some(),
                "type",
                rule.kind == Some(Kind::Money),
            ),
            (
                "reject_message",
                rule.reject_message.is_some(),
                "reject_if",
                rule.reject_if.is_some(),
            ),
            (
                "default",
                rule.unmatched == Some(Unmatched::Default),
                "default",
                rule.default.is_some(),
            ),
        ];
        for (setting, given, needs, there) in pairs {
            if given && !there {
                let message = match setting {
                    "default" => "`unmatched = \"default\"` needs a `default`".to_owned(),
                    "currency" => "`currency` says nothing without `type = \"money\"`".to_owned(),
                    _ => format!("`{setting}` says nothing without `{needs}`"),
                };
                self.error(at, codes::BAD_RULE, message, None);
            }
        }
    }

    /// Everything of a rule but its target, and the type of what it makes.
    fn made(
        &mut self,
        at: &[Place],
        rule: &RuleSettings,
        target: &Path,
        field: &Type,
    ) -> Option<(Rule, Type)> {
        // A plain copy has no settings of its own to point at.
        let is_copy = *rule == plain(rule);
        let inside = |setting: &str| -> Vec<Place> {
            let setting = (!is_copy).then(|| Place::from(setting));
            at.iter().cloned().chain(setting).collect()
        };
        let record = self.source.clone();
        let from = match &rule.from {
            Some(from) => Some(self.path(&inside("from"), from, &record)?),
            None => None,
        };
        let lists = self.lists(at, rule, from.as_ref().map(|(path, _)| path), target)?;
        let mut scope = self.scope();
        if let Some(element) = lists.element {
            scope = scope.root("it", element);
        }
        let (source, of) = self.source(&inside, rule, from.as_ref(), &scope, field)?;
        let when = match &rule.when {
            Some(when) => Some(self.condition(&inside("when"), when, &scope)?),
            None => None,
        };
        let default = rule.default.as_ref().map(|Constant(value)| value.clone());
        let of = match &default {
            Some(value) => self.with_default(&inside("default"), rule, value, of),
            None => of,
        };
        let tellable = from
            .as_ref()
            .is_some_and(|(path, _)| self.is_tellable(path));
        let (steps, of) = self.steps(&inside, rule, of, tellable)?;
        let reject = match &rule.reject_if {
            Some(condition) => {
                let scope = scope.root("value", of.clone());
                let message = rule.reject_message.clone();
                let message = message.unwrap_or_else(|| format!("`{condition}` is true"));
                let when = self.condition(&inside("reject_if"), condition, &scope)?;
                Some(Reject { when, message })
            }
            None => None,
        };
        let (target, parts) = (target.clone(), target.split());
        let lists = lists.paths;
        Some((
            Rule {
                target,
                parts,
                lists,
                source,
                when,
                default,
                steps,
                reject,
            },
            of,
        ))
    }

    /// Where a rule's value comes from, and its type.
    fn source(
        &mut self,
        inside: &dyn Fn(&str) -> Vec<Place>,
        rule: &RuleSettings,
        from: Option<&(Path, Type)>,
        scope: &Scope,
        field: &Type,
    ) -> Option<(Source, Type)> {
        if let Some((path, of)) = from {
            return Some((
                Source::Field(path.split().pop().unwrap_or_default()),
                of.clone(),
            ));
        }
        if let Some(source) = &rule.expr {
            let program = self.program(&inside("expr"), source, scope)?;
            let of = program.result_type().clone();
            return Some((Source::Program(program), of));
        }
        let Constant(value) = rule.value.as_ref()?;
        Some((
            Source::Constant(value.clone()),
            constant_type_for(value, field),
        ))
    }

    /// The type of a value that may be the default instead.
    fn with_default(
        &mut self,
        inside: &[Place],
        rule: &RuleSettings,
        default: &Json,
        of: Type,
    ) -> Type {
        let default = constant_type_for(default, &of);
        // With `lookup` the default may stand for what the table gives.
        if rule.lookup.is_some() || of == Type::Dyn || fits(&default, &of) {
            return of;
        }
        let message = format!("the value is a {of}, its default a {default}");
        self.error(inside, codes::TYPES_DIFFER, message, None);
        of
    }

    /// The source lists that a rule goes through.
    fn lists(
        &mut self,
        at: &[Place],
        rule: &RuleSettings,
        from: Option<&Path>,
        target: &Path,
    ) -> Option<Lists> {
        let record = self.source.clone();
        let list = match (&rule.each, from) {
            (Some(_), Some(_)) => {
                let message = "`each` belongs to `expr` or `value`; `from` names the list itself";
                self.error(at, codes::BAD_RULE, message, None);
                return None;
            }
            (Some(each), None) => {
                let inside: Vec<Place> = at.iter().cloned().chain([Place::from("each")]).collect();
                Some(self.path(&inside, each, &record)?.0)
            }
            (None, Some(from)) => from.list(),
            (None, None) => target.list(),
        };
        let (wanted, given) = (
            target.lists(),
            list.as_ref().map_or(0, |list| list.lists() + 1),
        );
        if given != wanted {
            let message = format!("the target has {wanted} `[]`, the source {given}");
            let help = "each `[]` of the target needs a list to take its elements from: \
                        \"lines[].sku\" = \"lines[].sku\"";
            self.error(at, codes::BAD_RULE, message, Some(help.to_owned()));
            return None;
        }
        let Some(list) = list else {
            return Some(Lists::default());
        };
        let (_, of) = self.path(at, &list.to_string(), &record)?;
        if !matches!(of, Type::List(_) | Type::Dyn) {
            self.error(
                at,
                codes::TYPES_DIFFER,
                format!("`{list}` is a {of}, not a list"),
                None,
            );
            return None;
        }
        let element = of.element_type().cloned().unwrap_or_default();
        Some(Lists {
            paths: list.split(),
            element: Some(element),
        })
    }
}

/// The source lists of a rule.
#[derive(Debug, Default)]
struct Lists {
    /// Each relative to an element of the one before.
    paths: Vec<Path>,
    /// The type of the innermost element.
    element: Option<Type>,
}

/// A rule with nothing but its `from`.
fn plain(rule: &RuleSettings) -> RuleSettings {
    RuleSettings {
        from: rule.from.clone(),
        ..RuleSettings::default()
    }
}

/// The target fields that a mapping takes out.
pub(super) fn drops(compiler: &mut Compiler<'_>, settings: &MappingSettings) -> Vec<Path> {
    let target = compiler.target.clone();
    let mut drops = Vec::new();
    for (n, text) in settings.drop.iter().enumerate() {
        let inside = [Place::from("drop"), Place::Index(n)];
        if let Some((path, _)) = compiler.path(&inside, text, &target) {
            if settings.field.contains_key(text) {
                let message = format!("`{text}` is dropped, and a rule makes it");
                compiler.error(&inside, codes::BAD_RULE, message, None);
            }
            drops.push(path);
        }
    }
    drops
}
