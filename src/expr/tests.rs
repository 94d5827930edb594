//! The language by example: source, what it gives or why it does not.

use serde_json::json;

use super::*;

fn scope() -> Scope {
    let line = Type::record([
        ("sku", Type::String),
        ("quantity", Type::record([("value", Type::Number)])),
        ("price", Type::Number),
    ]);
    let order = Type::record([
        ("number", Type::String),
        ("total", Type::Number),
        ("currency", Type::String),
        ("note", Type::String),
        ("test", Type::Bool),
        ("tags", Type::list(Type::String)),
        (
            "customer",
            Type::record([("name", Type::String), ("email", Type::String)]),
        ),
        ("lines", Type::list(line)),
    ]);
    Scope::new()
        .root("order", order)
        .root("doc", Type::Dyn)
        .table("countries")
}

fn order() -> Json {
    serde_json::from_str(
        r#"{
            "number": " 0017 ", "total": 19.90, "currency": "EUR", "note": null, "test": false,
            "tags": ["web", "gift"], "customer": {"name": "Ada Lovelace 🙂"},
            "lines": [
                {"sku": "A-1", "quantity": {"value": 2}, "price": 9.95},
                {"sku": "B-2", "quantity": {"value": 1}, "price": 0.00}
            ]
        }"#,
    )
    .unwrap()
}

fn doc() -> Json {
    serde_json::from_str(
        r#"{"qty": "5", "n": 5, "list": [1, "a"], "empty": [], "nothing": null, "deep": {"a": 1},
            "huge": 12345678901234567890123456789, "exp": 12.5e2, "tiny": 1E-3, "negative": -0.0}"#,
    )
    .unwrap()
}

fn with_vars<T>(run: impl FnOnce(&Vars<'_>) -> T) -> T {
    let (order, doc) = (order(), doc());
    let countries = json!({"DE": "Germany", "1": "one"});
    let Json::Object(countries) = &countries else {
        unreachable!()
    };
    run(&Vars::new()
        .with("order", &order)
        .with("doc", &doc)
        .table("countries", countries))
}

#[track_caller]
fn check(source: &str, expect: &str) {
    let program = compile(source, &scope()).unwrap_or_else(|errors| panic!("{source}: {errors:?}"));
    let got = with_vars(|vars| program.eval(vars).map(Value::into_json));
    let got = got.unwrap_or_else(|error| panic!("{source}: {error}"));
    assert_eq!(got.to_string(), expect, "{source}");
}

#[track_caller]
fn check_fails(source: &str, reason: Reason, message: &str) {
    let program = compile(source, &scope()).unwrap_or_else(|errors| panic!("{source}: {errors:?}"));
    let error = with_vars(|vars| program.eval(vars).map(Value::into_json)).unwrap_err();
    assert_eq!(
        (error.reason, error.message.as_str()),
        (reason, message),
        "{source}"
    );
}

/// Findings as `excerpt: message (help)`.
#[track_caller]
fn check_refused(source: &str, expect: &[&str]) {
    let errors = compile(source, &scope()).expect_err(source);
    let got: Vec<String> = errors.iter().map(|error| told(source, error)).collect();
    assert_eq!(got, expect, "{source}");
}

fn told(source: &str, error: &ExprError) -> String {
    let help = error
        .help
        .as_ref()
        .map(|help| format!(" ({help})"))
        .unwrap_or_default();
    format!("{}: {}{help}", &source[error.span.clone()], error.message)
}

#[test]
fn every_example_of_the_table_holds() {
    for function in functions::all() {
        let (source, expect) = function.example;
        let value = |source: &str| {
            let program = compile(source, &Scope::new())
                .unwrap_or_else(|errors| panic!("{}: {source}: {errors:?}", function.name));
            let value = program.eval(&Vars::new()).map(Value::into_owned);
            value.unwrap_or_else(|error| panic!("{}: {source}: {error}", function.name))
        };
        assert_eq!(
            value(source).into_json(),
            value(expect).into_json(),
            "{source}"
        );
    }
}

#[test]
fn every_function_is_documented_once() {
    let text = functions_markdown();
    for function in functions::all() {
        assert_eq!(
            text.matches(&format!("\n| `{}(", function.name)).count(),
            1,
            "{}",
            function.name
        );
        assert!(function.params.len() <= limits::ARGUMENTS);
        assert!(function.required <= function.params.len());
    }
    assert!(text.contains("`round(x, digits[, mode])`"));
}

#[test]
fn literals_and_precedence() {
    check("1 + 2 * 3", "7");
    check("(1 + 2) * 3", "9");
    check("10 - 2 - 3", "5");
    check("7 % 4 / 2", "1.5");
    check("100 / 4", "25");
    check("-2 * -3", "6");
    check("!true || true && false", "false");
    check("1 < 2 ? 'y' : 'n'", "\"y\"");
    check("true ? false ? 1 : 2 : 3", "2");
    check("[1, 'a', null, true,]", "[1,\"a\",null,true]");
    check("{'b': 1, \"a\": {'c': []}}", "{\"b\":1,\"a\":{\"c\":[]}}");
    check(r#"'it\'s \u00e4 "ok"\n'"#, r#""it's ä \"ok\"\n""#);
    check(r"r'\d+'", r#""\\d+""#);
}

#[test]
fn numbers_are_exact() {
    check("0.1 + 0.2", "0.3");
    check("0.1 + 0.2 == 0.3", "true");
    check("order.total", "19.90");
    check("order.total * 3", "59.70");
    check("1 / 3", "0.3333333333333333333333333333");
    check("doc.exp", "1250");
    check("doc.tiny", "0.001");
    check("doc.negative", "0.0");
    check("90.750", "90.750");
    check_fails(
        "doc.huge * doc.huge",
        Reason::Arithmetic,
        "the result has more than 28 digits before the point",
    );
    check_fails(
        "order.total / (doc.n - 5)",
        Reason::Arithmetic,
        "division by zero",
    );
    check_fails("order.total % 0", Reason::Arithmetic, "division by zero");
}

#[test]
fn a_number_that_does_not_fit_is_refused_not_rounded() {
    let doc: Json = serde_json::from_str("{\"x\": 1234567890123456789012345678901234}").unwrap();
    let program = compile("doc.x", &scope()).unwrap();
    let error = program.eval(&Vars::new().with("doc", &doc)).unwrap_err();
    assert!(error.message.contains("more than 28 digits"), "{error}");
}

#[test]
fn paths() {
    check("order.lines[0].sku", "\"A-1\"");
    check("order['number'].trim()", "\"0017\"");
    check("order.lines[doc.n - 4]['sku']", "\"B-2\"");
    check("doc['deep'].a", "1");
    check("order.tags + ['x']", "[\"web\",\"gift\",\"x\"]");
    check("order.customer", "{\"name\":\"Ada Lovelace 🙂\"}");
    check_fails(
        "order.customer.email",
        Reason::Missing,
        "no field 'email' in order.customer",
    );
    check_fails("doc.deep.x.y", Reason::Missing, "no field 'x' in doc.deep");
    check_fails(
        "doc.nothing.x",
        Reason::Missing,
        "doc.nothing is null, so it has no fields",
    );
    check_fails(
        "order.lines[7].sku",
        Reason::Missing,
        "no element [7] in order.lines, which has 2",
    );
    check_fails(
        "doc.deep[order.number]",
        Reason::Missing,
        "the key is not in doc.deep",
    );
    check_fails("doc.n.x", Reason::Type, "expected a map, found number");
    check_fails(
        "doc.list[doc.n / 2]",
        Reason::Value,
        "a list index must be a whole number from 0",
    );
}

/// Canonical records hold decimals and moments as text; the declared type decides what is read.
#[test]
fn declared_fields_read_text() {
    let money = Type::record([("amount", Type::Number), ("currency", Type::String)]);
    let line = Type::record([("qty", Type::Number), ("price", money)]);
    let of = Type::record([("at", Type::Timestamp), ("lines", Type::list(line))]);
    let scope = Scope::new().root("r", of).root("n", Type::Number);
    let record = json!({
        "at": "2026-11-22T10:00:00Z",
        "lines": [
            {"qty": "2", "price": {"amount": "9.95", "currency": "EUR"}},
            {"qty": "0.5", "price": {"amount": "x", "currency": "EUR"}},
        ],
    });
    let text = json!("1.50");
    let vars = Vars::new().with("r", &record).with("n", &text);
    let eval = |source: &str| {
        let program = compile(source, &scope).unwrap();
        program
            .eval(&vars)
            .map(|value| value.into_json().to_string())
    };
    assert_eq!(
        eval("r.lines[0].qty * r.lines[0].price.amount").unwrap(),
        "19.90"
    );
    assert_eq!(eval("sum(r.lines, 'qty')").unwrap(), "2.5");
    assert_eq!(eval("pluck(r.lines, 'qty')").unwrap(), "[2,0.5]");
    assert_eq!(eval("size(where(r.lines, 'qty', 2.0))").unwrap(), "1");
    assert_eq!(eval("first(r.lines)['qty'] + n").unwrap(), "3.50");
    assert_eq!(
        eval("format_date(r.at, '%d.%m.%Y')").unwrap(),
        "\"22.11.2026\""
    );
    let error = eval("r.lines[1].price.amount").unwrap_err();
    assert_eq!(
        error.message,
        "the field should hold a number, its text is none"
    );
    assert!(compile("sum(r.lines, 'price')", &scope).is_err());
    assert!(compile("where(r.lines, 'qty', '2')", &scope).is_err());
}

#[test]
fn absent_null_and_value_differ() {
    check(
        "[has(order.note), has(order.customer.email), has(order.customer.name)]",
        "[true,false,true]",
    );
    check("has(doc.a.b.c)", "false");
    check("has(order.lines[5])", "false");
    check("order.note == null", "true");
    check("default(order.note, 'none')", "\"none\"");
    check("default(order.customer.email, 'none')", "\"none\"");
    check("order.customer.email.trim().default('none')", "\"none\"");
    check("default(order.number, 'none')", "\" 0017 \"");
    // Only what is missing is replaced, never what is wrong.
    check_fails(
        "default(doc.n.x, 1)",
        Reason::Type,
        "expected a map, found number",
    );
    check_fails(
        "default(number(order.number + 'x'), 1)",
        Reason::Value,
        "the text is not a number; number(x, ',') reads a decimal comma",
    );
    check_fails(
        "order.note.trim()",
        Reason::Missing,
        "argument 'x' of trim() must be string, not null",
    );
    check_fails(
        "doc.nothing + 1",
        Reason::Missing,
        "one side is null; default(x, …) gives a value instead",
    );
}

#[test]
fn comparisons_are_strict() {
    check("order.total >= 19.9 && order.currency == 'EUR'", "true");
    check("'web' in order.tags", "true");
    check("'x' in order.tags", "false");
    check("'currency' in order", "true");
    check("1 in doc.list", "true");
    check("2 in doc.list", "false");
    check("2 in doc.empty", "false");
    check("[1, [2]] == [1.0, [2]]", "true");
    check("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", "true");
    check("doc.deep == {'a': 1}", "true");
    check(
        "timestamp('2026-11-22T01:00:00+01:00') == timestamp('2026-11-22T00:00:00Z')",
        "true",
    );
    check_fails(
        "doc.qty == 5",
        Reason::Type,
        "cannot compare string with number",
    );
    check_fails(
        "doc.qty > doc.n",
        Reason::Type,
        "cannot compare string with number",
    );
    check_fails(
        "doc.nothing > 1",
        Reason::Missing,
        "one side is null; default(x, …) gives a value instead",
    );
    check_fails(
        "5 in [doc.qty]",
        Reason::Type,
        "cannot compare number with string",
    );
}

#[test]
fn short_circuit_evaluates_no_more_than_needed() {
    check("has(doc.x) && doc.x == 1", "false");
    check("true || doc.x", "true");
    check("has(doc.x) ? doc.x : 'none'", "\"none\"");
}

#[test]
fn text_functions() {
    check("order.customer.name.upper()", "\"ADA LOVELACE 🙂\"");
    check("substring(order.customer.name, 13)", "\"🙂\"");
    check("substring('abc', 1, 1)", "\"b\"");
    check("substring('abc', 9)", "\"\"");
    check("size(order.customer.name)", "14");
    check("split('', ',')", "[\"\"]");
    check("join(pluck(order.lines, 'sku'), '; ')", "\"A-1; B-2\"");
    check("matches(order.lines[0].sku, r'^\\w-\\d$')", "true");
    check("urlencode('ä/?')", "\"%C3%A4%2F%3F\"");
    check(
        "json(order.lines[1])",
        r#""{\"sku\":\"B-2\",\"quantity\":{\"value\":1},\"price\":0.00}""#,
    );
    check("string(true) + string(1.50) + 'x'", "\"true1.50x\"");
    check_fails(
        "string(order.lines)",
        Reason::Type,
        "expected text, a number, a bool or a timestamp, found list",
    );
    check_fails(
        "replace('a', '', 'b')",
        Reason::Value,
        "cannot replace an empty text",
    );
    check_fails(
        "join([null], ',')",
        Reason::Value,
        "element [0] is neither text nor a number",
    );
    check_fails(
        "doc.n.trim()",
        Reason::Type,
        "argument 'x' of trim() must be string, not number",
    );
}

/// Story 46 (decimal comma dropped) and 47 (leading zeros).
#[test]
fn texts_become_numbers_only_when_unambiguous() {
    check("number('5,6', ',')", "5.6");
    check("number('173.900,00', ',')", "173900.00");
    check("number('1 234 567,5', ',')", "1234567.5");
    check("number('1,234.5', '.')", "1234.5");
    check("number(' -3 ')", "-3");
    check("number('007')", "7");
    for wrong in [
        "'5,6'",
        "'1,234'",
        "'1,23', '.'",
        "'1.2.3', ','",
        "''",
        "'-'",
        "'.5'",
        "'5.'",
        "'1e5'",
        "'½'",
    ] {
        check_fails(
            &format!("number({wrong})"),
            Reason::Value,
            "the text is not a number; number(x, ',') reads a decimal comma",
        );
    }
}

/// Stories 57 and 59: cents and yen.
#[test]
fn money() {
    check("minor_to_decimal(705, 'JPY')", "705");
    check("minor_to_decimal(705, 'EUR')", "7.05");
    check("minor_to_decimal(1500, 'KWD')", "1.500");
    check("decimal_to_minor(705.00, 'JPY')", "705");
    check("decimal_to_minor(order.total, order.currency)", "1990");
    check("round(2.5, 0)", "3");
    check("round(-2.5, 0)", "-3");
    check("round(2.5, 0, 'half_even')", "2");
    check("round(2.01, 1, 'up')", "2.1");
    check("round(2.09, 1, 'down')", "2.0");
    check("round(1.005, 2)", "1.01");
    check("net_of(19.99, 19).round(2)", "16.80");
    check("percent_of(16.80, 19).round(2)", "3.19");
    check("sum(order.lines, 'price')", "9.95");
    check("sum(pluck(order.lines, 'quantity.value'))", "3");
    check("format_number(1234.5, 2)", "\"1234.50\"");
    check("format_number(0.005, 2)", "\"0.01\"");
    check_fails(
        "decimal_to_minor(7.05, 'JPY')",
        Reason::Value,
        "the amount is finer than the currency's smallest unit; round it",
    );
    check_fails(
        "minor_to_decimal(1.5, 'EUR')",
        Reason::Value,
        "an amount in minor units must be a whole number",
    );
    check_fails(
        "minor_to_decimal(1, 'EURO')",
        Reason::Value,
        "unknown currency; expected an ISO 4217 code such as EUR",
    );
    check_fails("net_of(1, -100)", Reason::Arithmetic, "division by zero");
}

#[test]
fn lists_and_lookups() {
    check("lookup('countries', 'DE')", "\"Germany\"");
    check("lookup('countries', 1.0)", "\"one\"");
    check("lookup('countries', 'XX', 'other')", "\"other\"");
    check("lookup(doc.deep, 'a')", "1");
    check(
        "first(where(order.lines, 'quantity.value', 1)).sku",
        "\"B-2\"",
    );
    check("first(doc.empty)", "null");
    check(
        "default(first(where(order.lines, 'sku', 'X')).sku, '-')",
        "\"-\"",
    );
    check("size(where(order.lines, 'sku', 'A-1'))", "1");
    check("to_list(doc.nothing) + to_list(1) + to_list([2])", "[1,2]");
    check("max(1, 2.5) + min([3, doc.n])", "5.5");
    check_fails(
        "lookup('countries', 'XX')",
        Reason::Unmatched,
        "the key is not in table 'countries'",
    );
    check_fails(
        "sum(doc.list)",
        Reason::Value,
        "element [1] has no number there",
    );
    check_fails("max([])", Reason::Value, "the list is empty");
}

#[test]
fn times() {
    check("timestamp(1795305600.5)", "\"2026-11-22T00:00:00.5Z\"");
    check("date('2026-11-22')", "\"2026-11-22T00:00:00Z\"");
    check(
        "timestamp('2026-11-22 10:00 +0200', '%Y-%m-%d %H:%M %z')",
        "\"2026-11-22T08:00:00Z\"",
    );
    check(
        "format_date(date('2026-02-01'), '%d.%m.%y')",
        "\"01.02.26\"",
    );
    check_fails(
        "date('22.11.2026')",
        Reason::Value,
        "the text is not a date in this format",
    );
    check_fails(
        "timestamp('yesterday')",
        Reason::Value,
        "the text is not a time in this format",
    );
    check_fails(
        "timestamp(99999999999999)",
        Reason::Value,
        "the number of seconds is out of range",
    );
}

/// Stories 13 and 64: a local time is no UTC, and on two days a year it is no moment or two. The hour that does
/// not exist counts from before the change, the one that comes twice is the first.
#[test]
fn story_13_local_times_on_the_days_of_23_and_25_hours() {
    let berlin = [
        ("2026-11-22 08:30", "2026-11-22T07:30:00Z"),
        ("2026-03-29 01:59", "2026-03-29T00:59:00Z"),
        ("2026-03-29 02:30", "2026-03-29T01:30:00Z"),
        ("2026-03-29 03:00", "2026-03-29T01:00:00Z"),
        ("2026-10-25 01:59", "2026-10-24T23:59:00Z"),
        ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
        ("2026-10-25 03:00", "2026-10-25T02:00:00Z"),
    ];
    for (local, utc) in berlin {
        check(
            &format!("timestamp('{local}', '%Y-%m-%d %H:%M', 'Europe/Berlin')"),
            &format!("\"{utc}\""),
        );
    }
}

#[test]
fn sizes_are_bounded() {
    let long = "x".repeat(60_000);
    let list: Vec<i32> = (0..9_000).collect();
    let doc = json!({"long": long, "list": list});
    let fails = |source: &str| {
        let program = compile(source, &scope()).unwrap();
        let error = program.eval(&Vars::new().with("doc", &doc)).unwrap_err();
        assert_eq!(error.reason, Reason::Limit, "{source}");
    };
    fails("doc.long + doc.long");
    fails("replace(doc.long, 'x', doc.long)");
    fails("doc.list + doc.list");
    fails("urlencode(replace(doc.long, 'x', 'ä'))");
    fails("json([doc.long, doc.long])");
    fails("json({'a': doc})");
    fails("base64(doc.long)");
    fails("split(doc.long, 'x')");
    fails("join([doc.long, doc.long], '')");
}

#[test]
fn mistakes_are_all_reported_at_load() {
    check_refused(
        "order.totl + ordr.total + trm('x') + order.customer.nam",
        &[
            "totl: unknown field 'totl' (did you mean 'total'?)",
            "ordr: unknown name 'ordr' (did you mean 'order'?)",
            "trm: unknown function 'trm' (did you mean 'trim'?)",
            "nam: unknown field 'nam' (did you mean 'name'?)",
        ],
    );
    check_refused(
        "order.total + ' EUR'",
        &[
            "order.total + ' EUR': cannot add a number and a string (string(x) makes text of a number)",
        ],
    );
    check_refused(
        "order.total == '5'",
        &[
            "order.total == '5': a number never equals a string (number(x) reads text, string(x) makes text)",
        ],
    );
    check_refused(
        "order.tags.sku",
        &["sku: a list of string has no fields (take an element, as in lines[0].sku)"],
    );
    check_refused(
        "order.number.trim",
        &["trim: a string has no fields ('trim' is a function: write trim(…))"],
    );
    check_refused(
        "pluck(order.lines, 'quantity.valu')",
        &["'quantity.valu': unknown field 'valu' (did you mean 'value'?)"],
    );
    check_refused(
        "sum(order.lines, order.number)",
        &["order.number: argument 'path' of sum() must be a field path in quotes, written out"],
    );
    check_refused(
        "matches('a', '(')",
        &["'(': not a regular expression: unclosed group"],
    );
    check_refused(
        "matches('a', '(?=x)')",
        &[
            "'(?=x)': not a regular expression: look-around, including look-ahead and look-behind, is not supported (look-ahead, look-behind and back-references are not linear in time)",
        ],
    );
    check_refused(
        "matches('a', r'\\w{500}')",
        &["r'\\w{500}': the regular expression is too large"],
    );
    check_refused(
        "round(1, 2, 'halfup')",
        &["'halfup': unknown rounding mode 'halfup' (did you mean 'half_up'?)"],
    );
    check_refused(
        "lookup('country', 'x')",
        &["'country': unknown table 'country' (did you mean 'countries'?)"],
    );
    check_refused(
        "round(1)",
        &["round(1): wrong number of arguments: 1 (it is round(x, digits[, mode]))"],
    );
    check_refused(
        "now()",
        &[
            "now: unknown function 'now' (an expression has no clock: the same record gives the same result)",
        ],
    );
    check_refused(
        "order.test ? 1 : 'x' && true",
        &["'x': '&&' needs a bool, this is a string"],
    );
    check_refused(
        "order.total ? 1 : 2",
        &["order.total: '?' needs a bool, this is a number"],
    );
    check_refused(
        "'a' in 'abc'",
        &[
            "'abc': 'in' needs a list or a map, this is a string (contains(text, part) looks into text)",
        ],
    );
    check_refused(
        "date('x', 'Y-m-d')",
        &["'Y-m-d': 'Y-m-d' is not a date format (as in '%Y-%m-%d %H:%M:%S' or '%d.%m.%Y')"],
    );
    check_refused(
        "format_date(order.number, '%Y')",
        &[
            "order.number: argument 'x' of format_date() must be timestamp, this is a string (timestamp(x) reads text)",
        ],
    );
    check_refused(
        "has('x')",
        &["'x': has() asks for a field (as in has(order.customer.email))"],
    );
}

#[test]
fn syntax_errors_say_what_to_write() {
    check_refused("", &[": the expression ends where a value should stand"]);
    check_refused("1 +", &[": the expression ends where a value should stand"]);
    check_refused(
        "a = b",
        &["=: unexpected character '=' ('==' compares two values)"],
    );
    check_refused("true and false", &["and: unexpected 'and' (write '&&')"]);
    check_refused("'abc", &["'abc: a text without an end (close it with ')"]);
    check_refused(
        "007",
        &["007: a number with leading zeros (a code with leading zeros is text: put it in quotes)"],
    );
    check_refused(
        "12ab",
        &["12: a number runs into letters (a code with letters is text: put it in quotes)"],
    );
    check_refused(
        "1 < 2 < 3",
        &["<: comparisons do not chain (write 'a < b && b < c')"],
    );
    check_refused(
        "{a: 1}",
        &["a: expected a key, found 'a' (keys are texts in quotes: {'sku': order.sku})"],
    );
    check_refused(
        "{'a': 1, 'a': 2}",
        &["'a': key 'a' stands twice in the map"],
    );
    check_refused("f(1, 2", &[": expected ',', found the end"]);
    check_refused(
        "“x”",
        &["“: unexpected character '“' (text stands in straight quotes: 'text')"],
    );
    check_refused(
        "'\\x'",
        &["\\x: an unknown escape in a text (known are \\n \\r \\t \\\\ \\' \\\" and \\u00e4)"],
    );
}

#[test]
fn a_source_is_bounded() {
    let refused = |source: &str| {
        let errors = compile(source, &Scope::new()).unwrap_err();
        assert_eq!(errors.len(), 1);
        errors[0].message.clone()
    };
    assert!(refused(&"(".repeat(500)).contains("nested deeper"));
    assert!(refused(&"-".repeat(500)).contains("nested deeper"));
    assert!(refused(&format!("1{}", "+1".repeat(500))).contains("nested deeper"));
    assert!(refused(&format!("[{}]", "1,".repeat(1500))).contains("parts"));
    assert!(refused(&" ".repeat(5000)).contains("longer than"));
    assert!(compile(&format!("1{}", "+1".repeat(60)), &Scope::new()).is_ok());
}

#[test]
fn types_are_known_at_load() {
    let of = |source: &str| compile(source, &scope()).unwrap().result_type().to_string();
    assert_eq!(of("order.lines"), "list of record");
    assert_eq!(of("pluck(order.lines, 'sku')"), "list of string");
    assert_eq!(of("first(order.lines).price"), "number");
    assert_eq!(of("order.test ? 1 : null"), "number");
    assert_eq!(of("doc.x"), "any value");
    assert_eq!(of("default(order.note, '')"), "string");
}

#[test]
fn templates() {
    let check = |source: &str, expect: &str| {
        let template = Template::parse(source, &scope()).unwrap();
        let got = with_vars(|vars| template.eval(vars).map(Value::into_json)).unwrap();
        assert_eq!(got.to_string(), expect, "{source}");
    };
    check(
        "/orders/{order.number.trim()}/lines",
        "\"/orders/0017/lines\"",
    );
    check("{order.total}", "19.90");
    check("{order.total} {order.currency}", "\"19.90 EUR\"");
    check("{{literal}} {order.test}", "\"{literal} false\"");
    check("{order.tags}", "[\"web\",\"gift\"]");
    check("{ {'a': '}'} }", "{\"a\":\"}\"}");
    check("", "\"\"");
    check("é{doc.n}🙂", "\"é5🙂\"");

    let fails = |source: &str| {
        let template = Template::parse(source, &scope()).unwrap();
        with_vars(|vars| template.eval(vars).map(Value::into_json)).unwrap_err()
    };
    assert_eq!(fails("/x/{order.note}").reason, Reason::Missing);
    let absent = fails("/x/{order.customer.email}");
    assert_eq!(absent.message, "no field 'email' in order.customer");
    assert_eq!(absent.span, 4..24);
    assert_eq!(fails("/x/{order.tags}").reason, Reason::Type);
}

#[test]
fn template_mistakes_are_all_reported() {
    let source = "a}b {} {order.totl} {order.} {doc.n";
    let errors = Template::parse(source, &scope()).unwrap_err();
    let got: Vec<String> = errors.iter().map(|error| told(source, error)).collect();
    assert_eq!(
        got,
        [
            "}: a '}' without its '{' (a brace in text is written twice: '}}')",
            "{}: an empty placeholder (a brace in text is written twice: '{{')",
            "totl: unknown field 'totl' (did you mean 'total'?)",
            "}: expected a field name, found '}'",
            ": expected '}', found the end",
        ]
    );
}

/// Law D5: messages name fields, kinds and lengths, never what is in the record.
#[test]
fn no_message_contains_a_value() {
    let doc = json!({"secret": "Ada Lovelace", "n": 424_242});
    let program = |source: &str| compile(source, &scope()).unwrap();
    for source in [
        "number(doc.secret)",
        "doc.secret + doc.n",
        "doc.secret == doc.n",
        "lookup('countries', doc.secret)",
        "doc[doc.secret]",
        "date(doc.secret)",
        "bool(doc.secret)",
        "doc.n.trim()",
        "{'a': 1}[doc.secret]",
        "minor_to_decimal(doc.n, doc.secret)",
        "[1][doc.n]",
        "where([doc], 'secret', 1)",
    ] {
        let error = program(source)
            .eval(&Vars::new().with("doc", &doc))
            .map(Value::into_json)
            .unwrap_err();
        assert!(
            !error.message.contains("Ada") && !error.message.contains("4242"),
            "{error}"
        );
    }
}
