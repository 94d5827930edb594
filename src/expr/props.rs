//! What holds for every input: no panic, bounded results, and the printed tree parses to itself.

use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::json;

use super::print::print;
use super::syntax::{Expr, Kind, Name, Operator, Span};
use super::value::{decimal, json_number};
use super::*;

const OPERATORS: [Operator; 14] = [
    Operator::Or,
    Operator::And,
    Operator::Equal,
    Operator::NotEqual,
    Operator::Less,
    Operator::LessOrEqual,
    Operator::Greater,
    Operator::GreaterOrEqual,
    Operator::In,
    Operator::Add,
    Operator::Subtract,
    Operator::Multiply,
    Operator::Divide,
    Operator::Remainder,
];

fn plain(kind: Kind) -> Expr {
    Expr {
        kind,
        span: Span::default(),
        depth: 0,
    }
}

fn name(text: &str) -> Name {
    Name {
        text: text.to_owned(),
        span: Span::default(),
    }
}

/// Trees over the names of the test document and every function of the table.
fn trees() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        Just(plain(Kind::Null)),
        any::<bool>().prop_map(|truth| plain(Kind::Bool(truth))),
        (0i64..=i64::MAX, 0u32..28).prop_map(|(m, s)| plain(Kind::Number(Decimal::new(m, s)))),
        (0i64..30).prop_map(|m| plain(Kind::Number(Decimal::from(m)))),
        "[a-z%. \\\\\"'é🙂\n]{0,12}".prop_map(|text| plain(Kind::Text(text))),
        prop_oneof![Just("order"), Just("big"), Just("n")]
            .prop_map(|root| plain(Kind::Root(root.into()))),
    ];
    leaf.prop_recursive(5, 60, 4, |inner| {
        let fields = prop_oneof![Just("lines"), Just("sku"), Just("missing"), Just("qty")];
        let names: Vec<&str> = functions::all()
            .iter()
            .map(|function| function.name)
            .collect();
        let functions = proptest::sample::select(names);
        let two = || (inner.clone(), inner.clone());
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| plain(Kind::List(items))),
            inner
                .clone()
                .prop_map(|value| plain(Kind::Map(vec![(name("sku"), value)]))),
            (inner.clone(), fields)
                .prop_map(|(object, field)| plain(Kind::Field(Box::new(object), name(field)))),
            two().prop_map(|(a, b)| plain(Kind::Index(Box::new(a), Box::new(b)))),
            inner
                .clone()
                .prop_map(|operand| plain(Kind::Not(Box::new(operand)))),
            inner
                .clone()
                .prop_map(|operand| plain(Kind::Negate(Box::new(operand)))),
            (proptest::sample::select(&OPERATORS[..]), two())
                .prop_map(|(operator, sides)| plain(Kind::Binary(operator, Box::new(sides)))),
            (inner.clone(), two()).prop_map(|(a, (b, c))| plain(Kind::Choice(Box::new((a, b, c))))),
            (functions, proptest::collection::vec(inner, 0..4))
                .prop_map(|(function, args)| plain(Kind::Call(name(function), args))),
        ]
    })
}

/// Forgets places, which printing changes.
fn bare(mut expr: Expr) -> Expr {
    let boxed = |inner: Box<Expr>| Box::new(bare(*inner));
    let all = |items: Vec<Expr>| items.into_iter().map(bare).collect();
    let unplaced = |old: Name| name(&old.text);
    expr.kind = match expr.kind {
        Kind::List(items) => Kind::List(all(items)),
        Kind::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(key, value)| (unplaced(key), bare(value)))
                .collect(),
        ),
        Kind::Field(object, field) => Kind::Field(boxed(object), unplaced(field)),
        Kind::Index(a, b) => Kind::Index(boxed(a), boxed(b)),
        Kind::Not(operand) => Kind::Not(boxed(operand)),
        Kind::Negate(operand) => Kind::Negate(boxed(operand)),
        Kind::Binary(operator, sides) => {
            Kind::Binary(operator, Box::new((bare(sides.0), bare(sides.1))))
        }
        Kind::Choice(parts) => {
            Kind::Choice(Box::new((bare(parts.0), bare(parts.1), bare(parts.2))))
        }
        Kind::Call(function, args) => Kind::Call(unplaced(function), all(args)),
        leaf => leaf,
    };
    plain(expr.kind)
}

fn document() -> serde_json::Value {
    json!({
        "lines": [{"sku": "A", "qty": 2}, {"sku": "é🙂", "qty": null}],
        "sku": "0017",
        "qty": 79_228_162_514_264_337_593_543_950_335u128,
    })
}

/// Compiles against both an open and a declared document and evaluates what compiles.
fn try_all(source: &str) {
    let doc = document();
    let big: serde_json::Value = serde_json::from_str("1e400").unwrap();
    let line = Type::record([("sku", Type::String), ("qty", Type::Number)]);
    let declared = Type::record([
        ("lines", Type::list(line)),
        ("sku", Type::String),
        ("qty", Type::Number),
    ]);
    for of in [Type::Dyn, declared] {
        let scope = Scope::new()
            .root("order", of)
            .root("big", Type::Dyn)
            .root("n", Type::Number);
        let vars = Vars::new()
            .with("order", &doc)
            .with("big", &big)
            .with("n", 3);
        if let Ok(program) = compile(source, &scope) {
            check_bounds(program.eval(&vars));
        }
        if let Ok(template) = Template::parse(source, &scope) {
            check_bounds(template.eval(&vars));
        }
    }
}

fn check_bounds(result: Result<Value<'_>, EvalError>) {
    match result {
        Ok(Value::String(text)) => assert!(text.len() <= limits::TEXT_BYTES),
        Ok(Value::List(items)) => assert!(items.len() <= limits::ITEMS),
        Ok(_) => {}
        Err(error) => assert!(error.span.start <= error.span.end, "{error:?}"),
    }
}

proptest! {
    // A failing input is printed; add it to `tests.rs` as an example instead of to a side file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(source in "\\PC{0,80}") {
        try_all(&source);
    }

    #[test]
    fn near_misses_never_panic(source in
        "([a-z]{1,6}|order|lines|sku|[0-9.]{1,9}|'[a-z]{0,3}'|[-+*/%!=<>&|?:.,(){}\\[\\]]| |in){0,30}"
    ) {
        try_all(&source);
    }

    #[test]
    fn a_printed_tree_parses_to_itself(tree in trees()) {
        let source = print(&tree);
        prop_assume!(source.len() <= limits::SOURCE_BYTES);
        match parse::parse(&source) {
            Ok(again) => prop_assert_eq!(bare(again), bare(tree), "{}", source),
            Err(error) => {
                prop_assert!(error.message.contains("deeper") || error.message.contains("parts"),
                    "{}: {:?}", source, error);
            }
        }
    }

    #[test]
    fn evaluation_of_any_tree_never_panics(tree in trees()) {
        try_all(&print(&tree));
    }

    #[test]
    fn decimals_pass_through_unchanged(mantissa in any::<i64>(), scale in 0u32..=28) {
        let number = Decimal::new(mantissa, scale);
        let number = if number.is_zero() { Decimal::ZERO } else { number };
        let json = json_number(number);
        let text = serde_json::to_string(&json).unwrap();
        let again: serde_json::Value = serde_json::from_str(&text).unwrap();
        let vars = Vars::new().with("x", &again);
        let program = compile("x", &Scope::new().root("x", Type::Number)).unwrap();
        prop_assert_eq!(program.eval(&vars).unwrap().into_json(), json);
        prop_assert_eq!(decimal(&text), Some(number));
    }

    #[test]
    fn addition_and_subtraction_are_exact(a in -1_000_000_000_000i64..1_000_000_000_000, b in any::<i32>()) {
        let scope = Scope::new().root("a", Type::Number).root("b", Type::Number);
        let (a, b) = (Decimal::new(a, 6), Decimal::new(b.into(), 4));
        let vars = Vars::new().with("a", a).with("b", b);
        let program = compile("a + b - b == a && (a - b) + b == a", &scope).unwrap();
        prop_assert!(program.eval_bool(&vars).unwrap());
    }
}
