//! The type check: a syntax tree and a scope to a compiled tree, or everything that is wrong.
//!
//! It goes on after a finding, with an unknown type in its place, so that one load reports all.

use crate::diagnostic::did_you_mean;

use super::ExprError;
use super::functions::{self, Function, Param, Run, Takes, index_of};
use super::limits;
use super::node::{Call, Lookup, LookupPlace, Node, Op, Prepared};
use super::prepare::prepare;
use super::syntax::{Expr, Kind, Name, Operator, Span};
use super::types::{Scope, Type};
use super::value::{Declared, Value};

/// Checks a whole expression.
pub(super) fn check(expr: &Expr, scope: &Scope) -> Result<(Node, Type), Vec<ExprError>> {
    let mut checker = Checker {
        scope,
        errors: Vec::new(),
    };
    let result = checker.expr(expr);
    if checker.errors.is_empty() {
        Ok(result)
    } else {
        Err(checker.errors)
    }
}

type Checked = (Node, Type);

struct Checker<'s> {
    scope: &'s Scope,
    errors: Vec<ExprError>,
}

impl Checker<'_> {
    fn error(&mut self, span: Span, message: impl Into<String>, help: Option<&str>) {
        self.errors.push(ExprError::new(span, message, help));
    }

    fn expr(&mut self, expr: &Expr) -> Checked {
        let span = expr.span;
        let (op, of) = match &expr.kind {
            Kind::Null => (Op::Literal(Value::Null), Type::Null),
            Kind::Bool(truth) => (Op::Literal(Value::Bool(*truth)), Type::Bool),
            Kind::Number(number) => (Op::Literal(Value::Number(*number)), Type::Number),
            Kind::Text(text) => (Op::Literal(Value::text(text.clone())), Type::String),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Root(name) => self.root(name, span),
            Kind::Field(object, name) => self.field(object, name),
            Kind::Index(list, index) => self.index(list, index),
            Kind::Not(operand) => {
                let operand = self.wanted(operand, &Type::Bool, "'!' needs");
                (Op::Not(Box::new(operand)), Type::Bool)
            }
            Kind::Negate(operand) => self.negate(operand),
            Kind::Binary(operator, sides) => self.binary(*operator, &sides.0, &sides.1, span),
            Kind::Choice(parts) => {
                let condition = self.wanted(&parts.0, &Type::Bool, "'?' needs");
                let (yes, yes_type) = self.expr(&parts.1);
                let (no, no_type) = self.expr(&parts.2);
                (
                    Op::Choice(Box::new((condition, yes, no))),
                    yes_type.either(&no_type),
                )
            }
            Kind::Call(name, args) => self.call(name, args, span),
        };
        (Node { op, span }, of)
    }

    /// A part that must be of one type.
    fn wanted(&mut self, expr: &Expr, wanted: &Type, who: &str) -> Node {
        let (node, of) = self.expr(expr);
        if !of.is_dyn() && of != *wanted {
            self.error(expr.span, format!("{who} a {wanted}, this is a {of}"), None);
        }
        node
    }

    fn list(&mut self, items: &[Expr]) -> (Op, Type) {
        let (mut nodes, mut element) = (Vec::new(), None::<Type>);
        for item in items {
            let (node, of) = self.expr(item);
            nodes.push(node);
            element = Some(element.map_or(of.clone(), |known| known.either(&of)));
        }
        (
            Op::List(nodes.into()),
            Type::list(element.unwrap_or_default()),
        )
    }

    fn map(&mut self, entries: &[(Name, Expr)]) -> (Op, Type) {
        let (mut nodes, mut fields) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            let (node, of) = self.expr(value);
            nodes.push((key.text.as_str().into(), node));
            fields.push((key.text.as_str(), of));
        }
        (Op::Map(nodes.into()), Type::record(fields))
    }

    fn root(&mut self, name: &str, span: Span) -> (Op, Type) {
        if let Some(of) = self.scope.type_of(name) {
            return (Op::Root(name.into(), Declared::of(of)), of.clone());
        }
        let help = match did_you_mean(name, self.scope.root_names()) {
            Some(known) => format!("did you mean '{known}'?"),
            None if functions::find(name).is_some() => format!("a call is written {name}(…)"),
            None => self.known_roots(),
        };
        self.error(span, format!("unknown name '{name}'"), Some(&help));
        (Op::Literal(Value::Null), Type::Dyn)
    }

    fn known_roots(&self) -> String {
        let names: Vec<&str> = self.scope.root_names().collect();
        if names.is_empty() {
            return "no names are known here; text stands in quotes".into();
        }
        format!("known here: {}; text stands in quotes", names.join(", "))
    }

    fn field(&mut self, object: &Expr, name: &Name) -> (Op, Type) {
        let (node, of) = self.expr(object);
        let of = self.field_type(&of, &name.text, name.span);
        let declared = Declared::of(&of);
        (
            Op::Field(Box::new(node), name.text.as_str().into(), declared),
            of,
        )
    }

    /// The type of a field; reports what cannot have it.
    fn field_type(&mut self, object: &Type, name: &str, span: Span) -> Type {
        match object {
            Type::Dyn => Type::Dyn,
            Type::Map(value) => value.as_ref().clone(),
            Type::Record(fields) => {
                if let Some((_, of)) = fields.iter().find(|(known, _)| **known == *name) {
                    return of.clone();
                }
                let known = fields.iter().map(|(known, _)| &**known);
                let help = match did_you_mean(name, known.clone()) {
                    Some(known) => format!("did you mean '{known}'?"),
                    None => format!("its fields: {}", known.collect::<Vec<_>>().join(", ")),
                };
                self.error(span, format!("unknown field '{name}'"), Some(&help));
                Type::Dyn
            }
            other => {
                let help = functions::find(name)
                    .map(|_| format!("'{name}' is a function: write {name}(…)"))
                    .or_else(|| match other {
                        Type::List(_) => Some("take an element, as in lines[0].sku".to_owned()),
                        _ => None,
                    });
                self.error(span, format!("a {other} has no fields"), help.as_deref());
                Type::Dyn
            }
        }
    }

    fn index(&mut self, list: &Expr, index: &Expr) -> (Op, Type) {
        let (object, of) = self.expr(list);
        let (node, index_type) = self.expr(index);
        if let (Kind::Text(name), false) = (&index.kind, matches!(of, Type::List(_))) {
            let of = self.field_type(&of, name, index.span);
            let declared = Declared::of(&of);
            return (
                Op::Field(Box::new(object), name.as_str().into(), declared),
                of,
            );
        }
        let element = match &of {
            Type::Dyn => {
                if !matches!(index_type, Type::Dyn | Type::Number | Type::String) {
                    self.error(
                        index.span,
                        format!("a {index_type} cannot be an index"),
                        None,
                    );
                }
                Type::Dyn
            }
            Type::List(element) => {
                if !matches!(index_type, Type::Dyn | Type::Number) {
                    let message = format!("a list index is a number, this is a {index_type}");
                    self.error(index.span, message, None);
                }
                element.as_ref().clone()
            }
            Type::Map(_) | Type::Record(_) => {
                if !matches!(index_type, Type::Dyn | Type::String) {
                    let message = format!("a key is a string, this is a {index_type}");
                    self.error(index.span, message, None);
                }
                Type::Dyn
            }
            other => {
                self.error(list.span, format!("a {other} has no elements"), None);
                Type::Dyn
            }
        };
        if let Op::Literal(Value::Number(number)) = &node.op {
            if let Some(at) = index_of(*number) {
                return (Op::Element(Box::new(object), at), element);
            }
            self.error(
                index.span,
                "a list index must be a whole number from 0",
                None,
            );
        }
        (Op::Index(Box::new((object, node))), element)
    }

    fn negate(&mut self, operand: &Expr) -> (Op, Type) {
        let node = self.wanted(operand, &Type::Number, "'-' needs");
        if let Op::Literal(Value::Number(number)) = node.op {
            return (Op::Literal(Value::Number(-number)), Type::Number);
        }
        (Op::Negate(Box::new(node)), Type::Number)
    }

    fn binary(&mut self, operator: Operator, left: &Expr, right: &Expr, span: Span) -> (Op, Type) {
        let (left_node, l) = self.expr(left);
        let (right_node, r) = self.expr(right);
        let symbol = operator.symbol();
        let of = match operator {
            Operator::Or | Operator::And => {
                for (side, of) in [(left, &l), (right, &r)] {
                    if !matches!(of, Type::Dyn | Type::Bool) {
                        let message = format!("'{symbol}' needs a bool, this is a {of}");
                        self.error(side.span, message, None);
                    }
                }
                Type::Bool
            }
            Operator::Equal | Operator::NotEqual => {
                if !l.comparable(&r) {
                    self.error(
                        span,
                        format!("a {l} never equals a {r}"),
                        convert_help(&l, &r),
                    );
                }
                Type::Bool
            }
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => {
                self.ordered(symbol, &l, &r, span);
                Type::Bool
            }
            Operator::In => {
                self.contained(&l, &r, right.span, span);
                Type::Bool
            }
            Operator::Add => self.sum(&l, &r, span),
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
                for (side, of) in [(left, &l), (right, &r)] {
                    if !matches!(of, Type::Dyn | Type::Number) {
                        let message = format!("'{symbol}' needs a number, this is a {of}");
                        let help = (*of == Type::String).then_some("number(x) reads text");
                        self.error(side.span, message, help);
                    }
                }
                Type::Number
            }
        };
        (Op::Binary(operator, Box::new((left_node, right_node))), of)
    }

    fn ordered(&mut self, symbol: &str, l: &Type, r: &Type, span: Span) {
        let orderable = |of: &Type| {
            matches!(
                of,
                Type::Dyn | Type::Number | Type::String | Type::Timestamp
            )
        };
        if !orderable(l) || !orderable(r) {
            let of = if orderable(l) { r } else { l };
            let message = format!("'{symbol}' orders numbers, strings and timestamps, not a {of}");
            self.error(span, message, None);
        } else if !l.comparable(r) {
            self.error(
                span,
                format!("cannot compare a {l} with a {r}"),
                convert_help(l, r),
            );
        }
    }

    fn contained(&mut self, l: &Type, r: &Type, right: Span, span: Span) {
        match r {
            Type::Dyn => {}
            Type::List(element) if l.comparable(element) => {}
            Type::List(element) => {
                let message = format!("a {l} is never in a list of {element}");
                self.error(span, message, convert_help(l, element));
            }
            Type::Map(_) | Type::Record(_) if matches!(l, Type::Dyn | Type::String) => {}
            Type::Map(_) | Type::Record(_) => {
                self.error(
                    span,
                    format!("keys of a map are strings, this is a {l}"),
                    None,
                );
            }
            Type::String => {
                let help = Some("contains(text, part) looks into text");
                self.error(right, "'in' needs a list or a map, this is a string", help);
            }
            other => {
                self.error(
                    right,
                    format!("'in' needs a list or a map, this is a {other}"),
                    None,
                );
            }
        }
    }

    fn sum(&mut self, l: &Type, r: &Type, span: Span) -> Type {
        let addable = |of: &Type| matches!(of, Type::Number | Type::String | Type::List(_));
        match (l, r) {
            (Type::Dyn, Type::Dyn) => Type::Dyn,
            (Type::Number, Type::Number) => Type::Number,
            (Type::String, Type::String) => Type::String,
            (Type::List(a), Type::List(b)) => Type::list(a.either(b)),
            (Type::List(_), Type::Dyn) | (Type::Dyn, Type::List(_)) => Type::list(Type::Dyn),
            (known, Type::Dyn) | (Type::Dyn, known) if addable(known) => known.clone(),
            _ => {
                let help = match (l, r) {
                    (Type::String, Type::Number) | (Type::Number, Type::String) => {
                        Some("string(x) makes text of a number")
                    }
                    (Type::List(_), _) | (_, Type::List(_)) => Some("one more element: list + [x]"),
                    _ => None,
                };
                self.error(span, format!("cannot add a {l} and a {r}"), help);
                Type::Dyn
            }
        }
    }

    fn call(&mut self, name: &Name, args: &[Expr], span: Span) -> (Op, Type) {
        let Some(function) = functions::find(&name.text) else {
            let known = functions::all().iter().map(|function| function.name);
            let help = did_you_mean(&name.text, known).map_or_else(
                || unknown_help(&name.text),
                |known| Some(format!("did you mean '{known}'?")),
            );
            self.error(
                name.span,
                format!("unknown function '{}'", name.text),
                help.as_deref(),
            );
            // The arguments may hold findings of their own.
            for arg in args {
                self.expr(arg);
            }
            return (Op::Literal(Value::Null), Type::Dyn);
        };
        let most = if function.repeats {
            limits::ARGUMENTS
        } else {
            function.params.len()
        };
        if args.len() < function.required || args.len() > most {
            let message = format!("wrong number of arguments: {}", args.len());
            self.error(
                span,
                message,
                Some(&format!("it is {}", function.signature())),
            );
            for arg in args {
                self.expr(arg);
            }
            return (Op::Literal(Value::Null), Type::Dyn);
        }
        match function.run {
            Run::Special => self.special(function, args),
            Run::Plain(_) => self.plain(function, args),
        }
    }

    fn special(&mut self, function: &'static Function, args: &[Expr]) -> (Op, Type) {
        match (function.name, args) {
            ("has", [path]) => {
                if !matches!(path.kind, Kind::Field(..) | Kind::Index(..) | Kind::Root(_)) {
                    let help = Some("as in has(order.customer.email)");
                    self.error(path.span, "has() asks for a field", help);
                }
                (Op::Has(Box::new(self.expr(path).0)), Type::Bool)
            }
            ("default", [value, fallback]) => {
                let (value, value_type) = self.expr(value);
                let (fallback, fallback_type) = self.expr(fallback);
                let of = function.gives.for_args(&[value_type, fallback_type]);
                (Op::Default(Box::new((value, fallback))), of)
            }
            (_, [place, key, rest @ ..]) => {
                let place = self.lookup_place(place);
                let (key_node, key_type) = self.expr(key);
                if !Takes::TextOrNumber.accepts_type(&key_type) {
                    let message = format!("a key is a string or a number, this is a {key_type}");
                    self.error(key.span, message, None);
                }
                let fallback = rest.first().map(|fallback| self.expr(fallback).0);
                (
                    Op::Lookup(Box::new(Lookup {
                        place,
                        key: key_node,
                        fallback,
                    })),
                    Type::Dyn,
                )
            }
            _ => (Op::Literal(Value::Null), Type::Dyn),
        }
    }

    fn lookup_place(&mut self, place: &Expr) -> LookupPlace {
        if let Kind::Text(name) = &place.kind {
            if !self.scope.has_table(name) {
                let known: Vec<&str> = self.scope.table_names().collect();
                let help = match did_you_mean(name, known.iter().copied()) {
                    Some(known) => format!("did you mean '{known}'?"),
                    None if known.is_empty() => "no tables are declared".into(),
                    None => format!("known tables: {}", known.join(", ")),
                };
                self.error(place.span, format!("unknown table '{name}'"), Some(&help));
            }
            return LookupPlace::Table(name.as_str().into());
        }
        let (node, of) = self.expr(place);
        if !of.is_dyn() && !of.is_map() {
            let message = format!("a table is a name in quotes or a map, this is a {of}");
            self.error(place.span, message, None);
        }
        LookupPlace::Map(node)
    }

    fn plain(&mut self, function: &'static Function, args: &[Expr]) -> (Op, Type) {
        let (mut nodes, mut types, mut prepared) = (Vec::new(), Vec::new(), Vec::new());
        for (n, arg) in args.iter().enumerate() {
            let (node, of) = self.expr(arg);
            if let Some(param) = function.params.get(n).or(function.params.last()) {
                prepared.push(self.argument(function, param, arg, &of));
            }
            nodes.push(node);
            types.push(of);
        }
        let of = match (prepared.get_mut(1), types.first(), args.get(1)) {
            (Some(Prepared::Path(path, declared)), Some(Type::List(element)), Some(arg)) => {
                let end = self.path_type(element, path, arg.span);
                *declared = Declared::of(&end);
                self.path_result(function, end, &types, arg.span)
            }
            _ => function.gives.for_args(&types),
        };
        if prepared.iter().all(|one| matches!(one, Prepared::Nothing)) {
            prepared.clear();
        }
        let call = Call {
            function,
            args: nodes.into(),
            prepared: prepared.into(),
        };
        (Op::Call(Box::new(call)), of)
    }

    /// Checks one argument against its parameter; a literal one is made ready.
    fn argument(&mut self, function: &Function, param: &Param, arg: &Expr, of: &Type) -> Prepared {
        if param.takes.literal() {
            let Kind::Text(text) = &arg.kind else {
                let message = format!(
                    "argument '{}' of {}() must be {}, written out",
                    param.name,
                    function.name,
                    param.takes.describe()
                );
                self.error(arg.span, message, None);
                return Prepared::Nothing;
            };
            return prepare(param.takes, text).unwrap_or_else(|(message, help)| {
                self.error(arg.span, message, help.as_deref());
                Prepared::Nothing
            });
        }
        if !param.takes.accepts_type(of) {
            let message = format!(
                "argument '{}' of {}() must be {}, this is a {of}",
                param.name,
                function.name,
                param.takes.describe()
            );
            let help = match (param.takes, of) {
                (Takes::Number, Type::String) => Some("number(x) reads text"),
                (Takes::Text, Type::Number) => Some("string(x) makes text of a number"),
                (Takes::Timestamp, Type::String) => Some("timestamp(x) reads text"),
                _ => None,
            };
            self.error(arg.span, message, help);
        }
        Prepared::Nothing
    }

    /// Follows a field path through declared elements, so that a mistyped step is found at load.
    fn path_type(&mut self, element: &Type, path: &[Box<str>], span: Span) -> Type {
        let mut of = element.clone();
        for name in path {
            of = self.field_type(&of, name, span);
        }
        of
    }

    /// The result of a function over what stands at the end of a path.
    fn path_result(&mut self, function: &Function, end: Type, types: &[Type], span: Span) -> Type {
        match (function.name, types.get(2)) {
            ("pluck", _) => return Type::list(end),
            ("sum", _) if !matches!(end, Type::Dyn | Type::Number) => {
                self.error(span, format!("sum() adds numbers, this is a {end}"), None);
            }
            ("where", Some(value)) if !end.comparable(value) => {
                let message = format!("a {end} never equals a {value}");
                self.error(span, message, convert_help(&end, value));
            }
            _ => {}
        }
        function.gives.for_args(types)
    }
}

/// How to make two types comparable.
fn convert_help(left: &Type, right: &Type) -> Option<&'static str> {
    match (left, right) {
        (Type::String, Type::Number) | (Type::Number, Type::String) => {
            Some("number(x) reads text, string(x) makes text")
        }
        (Type::String, Type::Timestamp) | (Type::Timestamp, Type::String) => {
            Some("timestamp(x) reads text")
        }
        _ => None,
    }
}

/// Functions that people look for and that are called differently here, or are missing on purpose.
fn unknown_help(name: &str) -> Option<String> {
    let help = match name {
        "now" | "today" => "an expression has no clock: the same record gives the same result",
        "length" | "len" | "count" => "did you mean 'size'?",
        "concat" => "texts are joined with '+'",
        "coalesce" | "ifnull" | "nvl" => "did you mean 'default'?",
        "int" | "float" | "double" | "decimal" => "did you mean 'number'?",
        "str" | "text" => "did you mean 'string'?",
        "map" | "filter" | "all" | "exists" => "there are no loops; see pluck, where, sum, first",
        "if" | "iif" => "write 'condition ? yes : no'",
        _ => return None,
    };
    Some(help.to_owned())
}
