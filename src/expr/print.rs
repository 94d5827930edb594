//! A syntax tree back to source, for the property that parsing it again gives the same tree.

use super::syntax::{Expr, Kind};

/// Source with every binary operation in brackets.
pub(super) fn print(expr: &Expr) -> String {
    let list = |items: &[Expr]| items.iter().map(print).collect::<Vec<_>>().join(", ");
    match &expr.kind {
        Kind::Null => "null".into(),
        Kind::Bool(truth) => truth.to_string(),
        Kind::Number(number) => number.to_string(),
        Kind::Text(text) => quoted(text),
        Kind::List(items) => format!("[{}]", list(items)),
        Kind::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(&key.text), print(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Kind::Root(name) => name.clone(),
        Kind::Field(object, name) => format!("({}).{}", print(object), name.text),
        Kind::Index(list, index) => format!("({})[{}]", print(list), print(index)),
        Kind::Not(operand) => format!("!({})", print(operand)),
        Kind::Negate(operand) => format!("-({})", print(operand)),
        Kind::Binary(operator, sides) => {
            format!(
                "({}) {} ({})",
                print(&sides.0),
                operator.symbol(),
                print(&sides.1)
            )
        }
        Kind::Choice(parts) => {
            format!(
                "({}) ? ({}) : ({})",
                print(&parts.0),
                print(&parts.1),
                print(&parts.2)
            )
        }
        Kind::Call(name, args) => format!("{}({})", name.text, list(args)),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
