//! The second half of compiling a rule: what is done to its value, and whether the result fits.

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value as Json;

use super::compile::Compiler;
use super::path::Path;
use super::settings::{
    Constant, Digits as DigitsSetting, Kind, RoundingMode, RuleSettings, TooLong, Unmatched,
};
use super::shape;
use super::step::{CurrencyFrom, Digits, Step};
use crate::config::{Step as Place, codes, path_text, suggest};
use crate::expr::{Type, decimal};
use crate::record::{Currency, Stream};

/// Personal data, and so nothing below it may stand in a message (law D5).
const PERSONAL: [&str; 12] = [
    "customer",
    "ship_to",
    "bill_to",
    "addresses",
    "address",
    "notes",
    "gift",
    "personalisation",
    "marketing_consent",
    "tax_ids",
    "payments",
    "title",
];

/// Fields whose values may stand in a message, because a person needs them to mend a table.
const TELLABLE: [&str; 19] = [
    "sku",
    "supplier_sku",
    "location",
    "ship_from",
    "return_to",
    "list",
    "currency",
    "channel",
    "kind",
    "status",
    "stock_unit",
    "tax_category",
    "category",
    "service",
    "service_level",
    "brand",
    "scac",
    "code",
    "supplier",
];

/// A part of a rule was refused; the findings say why.
#[derive(Debug)]
pub(super) struct Refused;

impl Compiler<'_> {
    /// Whether a value of this field may stand in a message.
    pub(super) fn is_tellable(&self, path: &Path) -> bool {
        self.from != Stream::Customers && !path.passes(&PERSONAL) && TELLABLE.contains(&path.leaf())
    }

    /// What is done to the value, in its order, and the type that comes out.
    pub(super) fn steps(
        &mut self,
        inside: &dyn Fn(&str) -> Vec<Place>,
        rule: &RuleSettings,
        of: Type,
        tellable: bool,
    ) -> Option<(Vec<Step>, Type)> {
        let (mut steps, mut of) = (Vec::new(), of);
        if rule.trim {
            of = self.needs(&inside("trim"), "trim", &of, &Type::String);
            steps.push(Step::Trim);
        }
        if let Some(case) = rule.case {
            of = self.needs(&inside("case"), "case", &of, &Type::String);
            steps.push(Step::Case(case));
        }
        if let Some(table) = &rule.lookup {
            let unmatched = rule.unmatched.unwrap_or_default();
            of = self.lookup(&inside("lookup"), table, unmatched, &of)?;
            steps.push(Step::Lookup {
                table: table.clone(),
                unmatched,
                tellable,
            });
        }
        if let Some(separator) = &rule.join {
            if !matches!(of, Type::List(_) | Type::Dyn) {
                let message = format!("`join` needs a list, and finds a {of}");
                self.error(&inside("join"), codes::TYPES_DIFFER, message, None);
            }
            of = Type::String;
            steps.push(Step::Join(separator.clone()));
        }
        if let Some(kind) = rule.kind {
            let currency = self.currency(&inside("currency"), rule, &of).ok()?;
            of = type_of(kind);
            steps.push(Step::Convert(kind, currency));
        }
        if let Some(factor) = &rule.scale {
            of = self.calculates(&inside("scale"), "scale", of);
            steps.push(Step::Scale(self.factor(&inside("scale"), factor)?));
        }
        if let Some(digits) = rule.round {
            of = self.calculates(&inside("round"), "round", of);
            let digits = match digits {
                DigitsSetting::Count(digits) => Digits::Count(digits),
                DigitsSetting::Currency => Digits::Currency,
            };
            steps.push(Step::Round(
                digits,
                strategy(rule.rounding.unwrap_or_default()),
            ));
        }
        if let Some(chars) = rule.max_length {
            of = self.needs(&inside("max_length"), "max_length", &of, &Type::String);
            let truncate = rule.on_too_long == Some(TooLong::Truncate);
            let chars = usize::try_from(chars).unwrap_or(usize::MAX);
            steps.push(Step::MaxLength { chars, truncate });
        }
        Some((steps, of))
    }

    /// Checks what a step is done to.
    fn needs(&mut self, inside: &[Place], rule: &str, found: &Type, wanted: &Type) -> Type {
        if !matches!(found, Type::Dyn | Type::Null) && found != wanted {
            let message = format!("`{rule}` needs a {wanted}, and finds a {found}");
            self.error(inside, codes::TYPES_DIFFER, message, None);
        }
        wanted.clone()
    }

    /// Checks what a calculation is done to: a number, or money.
    fn calculates(&mut self, inside: &[Place], rule: &str, found: Type) -> Type {
        if !matches!(found, Type::Dyn | Type::Null | Type::Number) && found != shape::money() {
            let message = format!("`{rule}` needs a number or money, and finds a {found}");
            let help = (found == Type::String).then(|| "add type = \"number\"".to_owned());
            self.error(inside, codes::TYPES_DIFFER, message, help);
        }
        found
    }

    fn lookup(
        &mut self,
        inside: &[Place],
        table: &str,
        unmatched: Unmatched,
        key: &Type,
    ) -> Option<Type> {
        let Some(rows) = self.tables.get(table) else {
            let known: Vec<&str> = self.tables.keys().map(String::as_str).collect();
            let help = match known.as_slice() {
                [] => format!("add [{}.table.{table}]", path_text(&self.at)),
                known => suggest(Some(table), known),
            };
            let message = format!("there is no table `{table}`");
            self.error(inside, codes::NO_SUCH_TABLE, message, Some(help));
            return None;
        };
        let mut of = Type::Null;
        for value in rows.values() {
            of = of.either(&constant_type(value));
        }
        if unmatched == Unmatched::Keep {
            of = of.either(key);
        }
        if !matches!(
            key,
            Type::Dyn | Type::Null | Type::String | Type::Number | Type::Bool
        ) {
            let message = format!("`lookup` needs a text or number, and finds a {key}");
            self.error(inside, codes::TYPES_DIFFER, message, None);
        }
        Some(if of == Type::Null { Type::Dyn } else { of })
    }

    /// The currency of an amount that is being made money.
    fn currency(
        &mut self,
        inside: &[Place],
        rule: &RuleSettings,
        of: &Type,
    ) -> Result<Option<CurrencyFrom>, Refused> {
        if rule.kind != Some(Kind::Money) || (rule.currency.is_none() && *of == shape::money()) {
            return Ok(None);
        }
        let has_own = self.source.field("currency").is_some();
        let text = match (&rule.currency, has_own) {
            (Some(text), _) => text.as_str(),
            (None, true) => "currency",
            (None, false) => {
                let message = "`type = \"money\"` needs a `currency` here";
                let help = "as in currency = \"EUR\"".to_owned();
                self.error(inside, codes::BAD_RULE, message, Some(help));
                return Err(Refused);
            }
        };
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return match Currency::from_code(text) {
                Ok(currency) => Ok(Some(CurrencyFrom::Code(currency))),
                Err(fault) => {
                    self.error(inside, codes::BAD_RULE, fault.message, None);
                    Err(Refused)
                }
            };
        }
        let source = self.source.clone();
        let (path, _) = self.path(inside, text, &source).ok_or(Refused)?;
        if path.lists() > 0 {
            let message = "the currency stands in a field of the record, not of a list";
            self.error(inside, codes::BAD_RULE, message, None);
            return Err(Refused);
        }
        Ok(Some(CurrencyFrom::Field(path)))
    }

    fn factor(&mut self, inside: &[Place], factor: &Constant) -> Option<Decimal> {
        let found = match &factor.0 {
            Json::Number(number) => decimal(number.as_str()),
            Json::String(text) => decimal(text.trim()),
            _ => None,
        };
        if found.is_none() {
            let help = "as in scale = 0.01".to_owned();
            self.error(inside, codes::BAD_RULE, "`scale` is a number", Some(help));
        }
        found
    }

    /// Checks that what a rule makes is what its field holds.
    pub(super) fn check_fit(&mut self, at: &[Place], made: &Type, field: &Type) {
        if fits(made, field) {
            return;
        }
        let help = match field {
            Type::String => Some("text"),
            Type::Number => Some("number"),
            Type::Bool => Some("bool"),
            Type::Timestamp => Some("timestamp"),
            money if *money == shape::money() => Some("money"),
            _ => None,
        };
        let help = help.map(|kind| format!("type = \"{kind}\" converts it"));
        let message = format!("the field holds a {field}, and the rule makes a {made}");
        self.error(at, codes::TYPES_DIFFER, message, help);
    }
}

/// The type of a value written in TOML.
pub(super) fn constant_type(value: &Json) -> Type {
    match value {
        Json::Null => Type::Null,
        Json::Bool(_) => Type::Bool,
        Json::Number(_) => Type::Number,
        Json::String(_) => Type::String,
        Json::Array(items) => Type::list(
            items
                .iter()
                .fold(Type::Null, |of, item| of.either(&constant_type(item))),
        ),
        Json::Object(entries) => Type::record(
            entries
                .iter()
                .map(|(name, value)| (name.as_str(), constant_type(value))),
        ),
    }
}

/// The type of a constant for a field: a decimal or moment may be written as text, as records do.
pub(super) fn constant_type_for(value: &Json, field: &Type) -> Type {
    match (value, field) {
        (Json::String(text), Type::Number) if decimal(text).is_some() => Type::Number,
        (Json::String(text), Type::Timestamp) if text.parse::<jiff::Timestamp>().is_ok() => {
            Type::Timestamp
        }
        (Json::Array(items), Type::List(element)) => {
            let all = |of: Type, item| of.either(&constant_type_for(item, element));
            Type::list(items.iter().fold(Type::Null, all))
        }
        (Json::Object(entries), Type::Record(_)) => {
            let entry = |(name, value): (&'_ String, &Json)| match field.field(name) {
                Some(wanted) => (name.clone(), constant_type_for(value, wanted)),
                None => (name.clone(), constant_type(value)),
            };
            let fields: Vec<(String, Type)> = entries.iter().map(entry).collect();
            Type::record(fields.iter().map(|(name, of)| (name.as_str(), of.clone())))
        }
        _ => constant_type(value),
    }
}

/// Whether a value of one type can stand in a field of another.
pub(super) fn fits(made: &Type, field: &Type) -> bool {
    match (made, field) {
        (Type::Dyn | Type::Null, _) | (_, Type::Dyn) | (Type::Map(_), Type::Record(_)) => true,
        (Type::List(a), Type::List(b)) => fits(a, b),
        (Type::Record(_), Type::Record(_)) => made
            .fields()
            .all(|(name, of)| field.field(name).is_some_and(|wanted| fits(of, wanted))),
        (Type::Record(_) | Type::Map(_), Type::Map(wanted)) => match made {
            Type::Map(value) => fits(value, wanted),
            _ => made.fields().all(|(_, of)| fits(of, wanted)),
        },
        (a, b) => a == b,
    }
}

fn type_of(kind: Kind) -> Type {
    match kind {
        Kind::Text => Type::String,
        Kind::Number => Type::Number,
        Kind::Bool => Type::Bool,
        Kind::Timestamp => Type::Timestamp,
        Kind::Money => shape::money(),
    }
}

fn strategy(mode: RoundingMode) -> RoundingStrategy {
    match mode {
        RoundingMode::HalfUp => RoundingStrategy::MidpointAwayFromZero,
        RoundingMode::HalfEven => RoundingStrategy::MidpointNearestEven,
        RoundingMode::Up => RoundingStrategy::AwayFromZero,
        RoundingMode::Down => RoundingStrategy::ToZero,
    }
}
