//! Evaluation: walking the compiled tree.
//!
//! There are no loops in the language, so this is bounded by the size of the expression and of the
//! lists it is given; what it builds is bounded by `limits.rs`.

use std::borrow::Cow;
use std::cmp::Ordering;

use rust_decimal::Decimal;
use serde_json::Value as Json;

use super::Env;
use super::fail::{Cause, Fail, Reason};
use super::functions::{Args, Function, Run, divide, index_of};
use super::limits;
use super::node::{Call, Lookup, LookupPlace, Node, Op};
use super::syntax::{Operator, Span};
use super::value::{Items, Value, compare, equal, field};

/// A value or why there is none.
pub(super) type Evaluated<'a> = Result<Value<'a>, Box<Fail<'a>>>;

/// The value of a part.
pub(super) fn eval<'a>(node: &'a Node, env: &'a dyn Env) -> Evaluated<'a> {
    match &node.op {
        Op::Literal(value) => Ok(value.borrowed()),
        Op::Root(name, declared) => match env.root(name) {
            Some(value) => value
                .settled()
                .and_then(|value| declared.read(value))
                .map_err(|cause| cause.at(node.span)),
            None => Err(Cause::NoRoot { name }.at(node.span)),
        },
        Op::Field(object, name, declared) => {
            let value = read_field(eval(object, env)?, name, object, node.span)?;
            declared.read(value).map_err(|cause| cause.at(node.span))
        }
        Op::Element(list, index) => {
            let value = eval(list, env)?;
            read_element(value, *index, list, node.span, true)
        }
        Op::Index(parts) => {
            let object = eval(&parts.0, env)?;
            let index = eval(&parts.1, env)?;
            read_index(object, index, parts, node.span)
        }
        Op::List(items) => items
            .iter()
            .map(|item| eval(item, env))
            .collect::<Result<_, _>>()
            .map(Value::List),
        Op::Map(entries) => entries
            .iter()
            .map(|(key, value)| Ok((Cow::Borrowed(&**key), eval(value, env)?)))
            .collect::<Result<_, _>>()
            .map(Value::Map),
        Op::Not(operand) => Ok(Value::Bool(!eval_bool(operand, env)?)),
        Op::Negate(operand) => match eval(operand, env)? {
            Value::Number(number) => Ok(Value::Number(-number)),
            other => Err(Cause::unexpected("number", &other).at(operand.span)),
        },
        Op::Binary(operator, sides) => eval_binary(*operator, &sides.0, &sides.1, env, node.span),
        Op::Choice(parts) => {
            let branch = if eval_bool(&parts.0, env)? {
                &parts.1
            } else {
                &parts.2
            };
            eval(branch, env)
        }
        Op::Has(path) => eval_has(path, env),
        Op::Default(parts) => eval_default(&parts.0, &parts.1, env),
        Op::Lookup(lookup) => eval_lookup(lookup, env, node.span),
        Op::Call(call) => eval_call(call, env, node.span),
    }
}

fn eval_bool<'a>(node: &'a Node, env: &'a dyn Env) -> Result<bool, Box<Fail<'a>>> {
    match eval(node, env)? {
        Value::Bool(truth) => Ok(truth),
        other => Err(Cause::unexpected("bool", &other).at(node.span)),
    }
}

fn read_field<'a>(value: Value<'a>, name: &'a str, object: &'a Node, span: Span) -> Evaluated<'a> {
    if value.is_null() {
        return Err(Cause::NullObject {
            object: object.span,
        }
        .at(span));
    }
    match field(value, name) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Cause::NoField {
            name,
            object: object.span,
        }
        .at(span)),
        Err(cause) => Err(cause.at(span)),
    }
}

fn read_element<'a>(
    value: Value<'a>,
    index: usize,
    list: &'a Node,
    span: Span,
    told: bool,
) -> Evaluated<'a> {
    let kind = value.kind();
    let Some(items) = Items::of(value) else {
        return Err(Cause::Expected {
            what: "list",
            found: kind,
        }
        .at(list.span));
    };
    let len = items.len();
    if let Some(value) = items.take(index) {
        return value.map_err(|cause| cause.at(span));
    }
    // A computed index may be a value of the record and is not told.
    let index = told.then_some(index);
    let list = list.span;
    Err(Cause::NoItem { index, len, list }.at(span))
}

fn read_index<'a>(
    object: Value<'a>,
    index: Value<'a>,
    parts: &'a (Node, Node),
    span: Span,
) -> Evaluated<'a> {
    match index {
        Value::Number(number) => match index_of(number) {
            Some(at) => read_element(object, at, &parts.0, span, false),
            None => Err(Cause::BadIndex.at(parts.1.span)),
        },
        Value::String(name) => match field(object, &name) {
            Ok(Some(value)) => Ok(value),
            // The key is computed, so it may be a value of the record and is not told.
            Ok(None) => Err(Cause::NoKey {
                object: parts.0.span,
            }
            .at(span)),
            Err(cause) => Err(cause.at(parts.0.span)),
        },
        other => Err(Cause::unexpected("number or string", &other).at(parts.1.span)),
    }
}

fn eval_binary<'a>(
    operator: Operator,
    left: &'a Node,
    right: &'a Node,
    env: &'a dyn Env,
    span: Span,
) -> Evaluated<'a> {
    match operator {
        Operator::Or => Ok(Value::Bool(eval_bool(left, env)? || eval_bool(right, env)?)),
        Operator::And => Ok(Value::Bool(eval_bool(left, env)? && eval_bool(right, env)?)),
        _ => {
            let (l, r) = (eval(left, env)?, eval(right, env)?);
            let result = match operator {
                Operator::Equal => equal(&l, &r).map(Value::Bool),
                Operator::NotEqual => equal(&l, &r).map(|same| Value::Bool(!same)),
                Operator::Less => compare(&l, &r).map(|order| Value::Bool(order.is_lt())),
                Operator::LessOrEqual => compare(&l, &r).map(|order| Value::Bool(order.is_le())),
                Operator::Greater => compare(&l, &r).map(Ordering::is_gt).map(Value::Bool),
                Operator::GreaterOrEqual => compare(&l, &r).map(Ordering::is_ge).map(Value::Bool),
                Operator::In => contains(&l, r).map(Value::Bool),
                Operator::Add => add(l, r),
                _ => arithmetic(operator, &l, &r).map(Value::Number),
            };
            result.map_err(|cause| cause.at(span))
        }
    }
}

/// `needle in hay`. Elements of another kind are no match; a list of nothing but them is an error,
/// as it is for `==`.
fn contains(needle: &Value<'_>, hay: Value<'_>) -> Result<bool, Cause<'static>> {
    match hay {
        Value::Json(Json::Object(entries)) => match needle {
            Value::String(key) => Ok(entries.contains_key(&**key)),
            other => Err(Cause::unexpected("string", other)),
        },
        Value::Map(entries) => match needle {
            Value::String(key) => Ok(entries.iter().any(|(known, _)| known == key)),
            other => Err(Cause::unexpected("string", other)),
        },
        hay => {
            let kind = hay.kind();
            let items = Items::of(hay).ok_or(Cause::Expected {
                what: "list or map",
                found: kind,
            })?;
            let (mut failed, mut compared) = (None, false);
            for item in items {
                match equal(needle, &item?) {
                    Ok(true) => return Ok(true),
                    Ok(false) => compared = true,
                    Err(cause) => failed = Some(cause),
                }
            }
            match failed {
                Some(cause) if !compared => Err(cause),
                _ => Ok(false),
            }
        }
    }
}

fn add<'a>(left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Cause<'static>> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => {
            a.checked_add(b).map(Value::Number).ok_or(Cause::Overflow)
        }
        (Value::String(a), Value::String(b)) => {
            if a.len() + b.len() > limits::TEXT_BYTES {
                return Err(Cause::TooLong);
            }
            Ok(Value::String(a + b))
        }
        (left, right) => {
            if left.is_null() || right.is_null() {
                return Err(Cause::NullOperand);
            }
            let kinds = (left.kind(), right.kind());
            match (Items::of(left), Items::of(right)) {
                (Some(a), Some(b)) if a.len() + b.len() <= limits::ITEMS => a
                    .into_iter()
                    .chain(b)
                    .collect::<Result<_, _>>()
                    .map(Value::List),
                (Some(_), Some(_)) => Err(Cause::TooMany),
                _ => Err(Cause::CannotAdd {
                    left: kinds.0,
                    right: kinds.1,
                }),
            }
        }
    }
}

fn arithmetic(
    operator: Operator,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<Decimal, Cause<'static>> {
    let (Value::Number(a), Value::Number(b)) = (left, right) else {
        let wrong = if matches!(left, Value::Number(_)) {
            right
        } else {
            left
        };
        return Err(Cause::unexpected("number", wrong));
    };
    let divides = matches!(operator, Operator::Divide | Operator::Remainder);
    if divides && b.is_zero() {
        return Err(Cause::DivisionByZero);
    }
    match operator {
        Operator::Subtract => a.checked_sub(*b),
        Operator::Multiply => a.checked_mul(*b),
        Operator::Divide => divide(*a, *b),
        _ => a.checked_rem(*b),
    }
    .ok_or(Cause::Overflow)
}

/// Whether the last step of a path is there. Only what is missing on the way is `false`; a step
/// into a text is an error like everywhere.
fn eval_has<'a>(path: &'a Node, env: &'a dyn Env) -> Evaluated<'a> {
    match eval(path, env) {
        Ok(_) => Ok(Value::Bool(true)),
        Err(fail) if fail.cause.reason() == Reason::Missing => Ok(Value::Bool(false)),
        Err(fail) => Err(fail),
    }
}

fn eval_default<'a>(value: &'a Node, fallback: &'a Node, env: &'a dyn Env) -> Evaluated<'a> {
    match eval(value, env) {
        Ok(Value::Null) => eval(fallback, env),
        Err(fail) if fail.cause.reason() == Reason::Missing => eval(fallback, env),
        other => other,
    }
}

fn eval_lookup<'a>(lookup: &'a Lookup, env: &'a dyn Env, span: Span) -> Evaluated<'a> {
    let key = match eval(&lookup.key, env)? {
        Value::String(text) => text,
        // 1 and 1.0 are the same number and so the same key.
        Value::Number(number) => Cow::Owned(number.normalize().to_string()),
        other => return Err(Cause::unexpected("string or number", &other).at(lookup.key.span)),
    };
    let (found, table) = match &lookup.place {
        LookupPlace::Table(name) => (env.entry(name, &key).map(Value::settled), Some(&**name)),
        LookupPlace::Map(map) => {
            let map_value = eval(map, env)?;
            let found = field(map_value, &key).map_err(|cause| cause.at(map.span))?;
            (found.map(Ok), None)
        }
    };
    match (found, &lookup.fallback) {
        (Some(value), _) => value.map_err(|cause| cause.at(span)),
        (None, Some(fallback)) => eval(fallback, env),
        (None, None) => Err(Cause::Unmatched { table }.at(span)),
    }
}

fn eval_call<'a>(call: &'a Call, env: &'a dyn Env, span: Span) -> Evaluated<'a> {
    let Run::Plain(run) = call.function.run else {
        // `check.rs` turns these into operations of their own.
        return Err(Cause::Value("this function cannot be called here").at(span));
    };
    let mut values: [Value<'a>; limits::ARGUMENTS] = Default::default();
    for (n, (slot, node)) in values.iter_mut().zip(&call.args).enumerate() {
        *slot = argument(call.function, n, node, env)?;
    }
    let given = call.args.len().min(limits::ARGUMENTS);
    let mut args = Args {
        values: &mut values[..given],
        prepared: &call.prepared,
    };
    run(&mut args).map_err(|cause| cause.at(span))
}

/// One argument, checked against its parameter.
fn argument<'a>(
    function: &'static Function,
    n: usize,
    node: &'a Node,
    env: &'a dyn Env,
) -> Evaluated<'a> {
    let value = eval(node, env)?;
    match function.params.get(n).or(function.params.last()) {
        Some(param) if !param.takes.accepts(&value) => Err(Cause::Argument {
            function: function.name,
            param: param.name,
            what: param.takes.describe(),
            found: value.kind(),
        }
        .at(node.span)),
        _ => Ok(value),
    }
}
