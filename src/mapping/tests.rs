//! Mappings by example: what stands in the file, what goes in, what comes out.

use std::ffi::OsString;
use std::io;
use std::path::{Path as File, PathBuf};

use serde_json::json;

use super::*;
use crate::config::{Credentials, Surroundings};
use crate::record::Record;

/// One file, nothing else.
#[derive(Debug)]
struct OneFile(String);

impl Surroundings for OneFile {
    fn var(&self, _: &str) -> Option<OsString> {
        None
    }

    fn read(&self, _: &File, _: u64) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn list(&self, _: &File) -> io::Result<Option<Vec<PathBuf>>> {
        Ok(None)
    }
}

fn try_compile(text: &str, from: Stream, to: Stream) -> Result<Mapping, Diagnostics> {
    let file = OneFile(format!("version = 1\n{text}"));
    let loaded = crate::config::load(File::new("a.toml"), &file, Credentials::Needed)?;
    compile("m", &loaded.config.mapping["m"], from, to)
}

#[track_caller]
pub(super) fn mapping(text: &str) -> Mapping {
    try_compile(text, Stream::Orders, Stream::Orders)
        .unwrap_or_else(|findings| panic!("{findings}"))
}

/// A mapping of orders with these fields.
#[track_caller]
fn fields(text: &str) -> Mapping {
    mapping(&format!(
        "[mapping.m]\nrest = \"drop\"\n[mapping.m.field]\n{text}"
    ))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "records are written in place"
)]
#[track_caller]
fn check(rules: &str, input: Json, expect: &str) {
    match fields(rules).apply(&input) {
        Ok(Mapped::Kept(made)) => assert_eq!(made.to_string(), expect, "{rules}"),
        other => panic!("{rules}: {other:?}"),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "records are written in place"
)]
#[track_caller]
fn check_fault(rules: &str, input: Json, code: &str, message: &str) {
    let fault = fields(rules).apply(&input).expect_err(rules);
    assert_eq!(
        (&*fault.code, fault.message.as_str()),
        (code, message),
        "{rules}"
    );
    assert_eq!(fault.class, crate::fault::Class::Reject);
}

/// Findings as `excerpt: message (help)`.
#[track_caller]
fn check_refused(text: &str, expect: &[&str]) {
    let findings = try_compile(text, Stream::Orders, Stream::Orders).expect_err(text);
    let got: Vec<String> = findings
        .0
        .iter()
        .map(|finding| {
            let excerpt = finding
                .place
                .as_ref()
                .map_or("", |(text, span)| &text.text[span.clone()]);
            let help = finding
                .help
                .as_ref()
                .map(|help| format!(" ({help})"))
                .unwrap_or_default();
            format!("{} {excerpt}: {}{help}", finding.code, finding.message)
        })
        .collect();
    assert_eq!(got, expect, "{text}");
}

fn line(sku: &str, quantity: &str, net: &str) -> Json {
    json!({"sku": sku, "quantity": quantity, "line_net": {"amount": net, "currency": "EUR"}})
}

#[test]
fn the_record_goes_through_except_for_what_is_said() {
    let text = r#"
        [mapping.m]
        drop = ["notes", "lines[].gift", "bill_to.phone"]
        [mapping.m.field]
        buyer_po_number = "number"
        "customer.name" = { expr = "order.customer.name.trim().upper()" }
    "#;
    let order = json!({
        "id": "7", "number": "17", "notes": "ring twice",
        "customer": {"name": " Ada 🙂 ", "email": "a@b.c"},
        "lines": [{"sku": "A", "gift": "x"}, {"sku": "B"}],
    });
    let expect = r#"{"id":"7","number":"17","customer":{"name":"ADA 🙂","email":"a@b.c"},"lines":[{"sku":"A"},{"sku":"B"}],"buyer_po_number":"17"}"#;
    match mapping(text).apply(&order) {
        Ok(Mapped::Kept(made)) => assert_eq!(made.to_string(), expect),
        other => panic!("{other:?}"),
    }
}

#[test]
fn absent_null_and_value_differ() {
    let copy = r#"buyer_po_number = "number""#;
    check(copy, json!({"number": "17"}), r#"{"buyer_po_number":"17"}"#);
    check(copy, json!({"number": null}), r#"{"buyer_po_number":null}"#);
    check(copy, json!({}), "{}");
    let default = r#"buyer_po_number = { from = "number", default = "none", case = "upper" }"#;
    check(
        default,
        json!({"number": "a"}),
        r#"{"buyer_po_number":"A"}"#,
    );
    check(
        default,
        json!({"number": null}),
        r#"{"buyer_po_number":"NONE"}"#,
    );
    check(default, json!({}), r#"{"buyer_po_number":"NONE"}"#);
    // Null is told to be empty: nothing is done to it.
    let trim = r#"buyer_po_number = { from = "number", trim = true }"#;
    check(trim, json!({"number": null}), r#"{"buyer_po_number":null}"#);
    // A copy replaces: what the source does not tell is not what the target had.
    let kept = mapping("[mapping.m.field]\nbuyer_po_number = \"number\"");
    let made = kept.apply(&json!({"buyer_po_number": "old"})).unwrap();
    assert_eq!(made, Mapped::Kept(json!({})));
}

#[test]
fn rules_of_one_value() {
    check(
        "tags = { value = [\"web\"] }",
        json!({}),
        r#"{"tags":["web"]}"#,
    );
    check(
        "tags = { expr = \"order.tags + ['web']\" }",
        json!({"tags": ["b2b"]}),
        r#"{"tags":["b2b","web"]}"#,
    );
    check(
        r#"notes = { from = "tags", join = ", " }"#,
        json!({"tags": ["a", "b"]}),
        r#"{"notes":"a, b"}"#,
    );
    check(
        r#"test = { from = "channel", type = "bool" }"#,
        json!({"channel": "Yes"}),
        r#"{"test":true}"#,
    );
    check(
        r#"updated_at = { from = "number", type = "timestamp" }"#,
        json!({"number": "2026-11-22T01:00:00+01:00"}),
        r#"{"updated_at":"2026-11-22T00:00:00Z"}"#,
    );
    check(
        r#"notes = { from = "test", type = "text" }"#,
        json!({"test": false}),
        r#"{"notes":"false"}"#,
    );
    check(
        r#"notes = { from = "number", when = "order.test" }"#,
        json!({"test": false, "number": "1"}),
        "{}",
    );
    check(
        r#"channel = { from = "number", case = "lower" }"#,
        json!({"number": "ÄB"}),
        r#"{"channel":"äb"}"#,
    );
    check(
        r#"channel = { from = "lines[0].sku" }"#,
        json!({"lines": [{"sku": "A"}]}),
        r#"{"channel":"A"}"#,
    );
    check(
        r#""ship_to.country" = { value = "DE" }"#,
        json!({}),
        r#"{"ship_to":{"country":"DE"}}"#,
    );
    check_fault(
        r#"test = { from = "channel", type = "bool" }"#,
        json!({"channel": "maybe"}),
        "mapping_value",
        "mapping `m`, field `test`: rule `type` needs yes or no, and found text",
    );
    check_fault(
        r#"notes = { expr = "order.customer.email.trim()" }"#,
        json!({"customer": {}}),
        "mapping_missing",
        "mapping `m`, field `notes`: rule `expr`: no field 'email' in order.customer; `default(…)` or has(…) allows for it",
    );
}

#[test]
fn lengths_count_characters() {
    let reject = r#"notes = { from = "number", max_length = 3 }"#;
    check(reject, json!({"number": "äö🙂"}), r#"{"notes":"äö🙂"}"#);
    check_fault(
        reject,
        json!({"number": "äö🙂x"}),
        "mapping_too_long",
        "mapping `m`, field `notes`: the text has 4 characters, the target takes 3",
    );
    let cut = r#"notes = { from = "number", max_length = 3, on_too_long = "truncate" }"#;
    check(cut, json!({"number": "🙂🙂🙂🙂"}), r#"{"notes":"🙂🙂🙂"}"#);
    let long = "x".repeat(1_000_000);
    check(cut, json!({"number": long}), r#"{"notes":"xxx"}"#);
    check(
        "notes = \"number\"",
        json!({"number": long}),
        &format!("{{\"notes\":\"{long}\"}}"),
    );
}

/// Stories 57 to 59: cents, currencies, yen.
#[test]
fn money_stays_exact() {
    let order = |amount: &str, currency: &str| json!({"currency": currency, "totals": {"grand_total": {"amount": amount, "currency": currency}}});
    let round = r#""totals.grand_total" = { from = "totals.grand_total", scale = 1.19, round = "currency" }"#;
    let made = |amount: &str, currency: &str| {
        format!(r#"{{"totals":{{"grand_total":{{"amount":"{amount}","currency":"{currency}"}}}}}}"#)
    };
    check(round, order("16.80", "EUR"), &made("19.99", "EUR"));
    check(round, order("1000", "JPY"), &made("1190", "JPY"));
    check(round, order("1.0005", "KWD"), &made("1.191", "KWD"));
    check(round, order("0.45", "EUR"), &made("0.54", "EUR"));
    let even = r#""totals.grand_total" = { from = "totals.grand_total", round = 1, rounding = "half_even" }"#;
    check(even, order("0.25", "EUR"), &made("0.2", "EUR"));
    let of_text = r#""totals.grand_total" = { from = "number", type = "money", currency = "EUR" }"#;
    check(of_text, json!({"number": "19.90"}), &made("19.9", "EUR"));
    let of_order = r#""totals.grand_total" = { from = "number", type = "money" }"#;
    check(
        of_order,
        json!({"number": "705", "currency": "JPY"}),
        &made("705", "JPY"),
    );
    let other = r#""totals.grand_total" = { from = "totals.grand_total", type = "money", currency = "GBP" }"#;
    check_fault(
        other,
        order("4400", "ISK"),
        "mapping_value",
        "mapping `m`, field `totals.grand_total`: the amount is in another currency than `currency` says",
    );
    check_fault(
        of_order,
        json!({"number": "4,50", "currency": "EUR"}),
        "mapping_value",
        "mapping `m`, field `totals.grand_total`: rule `type` needs an amount, and found text",
    );
}

#[test]
fn quantities_are_numbers_however_they_are_written() {
    let rule = r#""lines[].quantity" = { from = "lines[].quantity", scale = 12 }"#;
    check(
        rule,
        json!({"lines": [{"quantity": "0.25"}, {"quantity": 2}]}),
        r#"{"lines":[{"quantity":3},{"quantity":24}]}"#,
    );
    let sum = r#""totals.lines_net" = { expr = "{'amount': sum(order.lines, 'line_net.amount'), 'currency': order.currency}" }"#;
    let order =
        json!({"currency": "EUR", "lines": [line("A", "1", "0.10"), line("B", "2", "0.20")]});
    check(
        sum,
        order,
        r#"{"totals":{"lines_net":{"amount":0.30,"currency":"EUR"}}}"#,
    );
}

#[test]
fn lists_are_mapped_element_by_element() {
    let order = json!({"lines": [line("a", "1", "5"), line("b", "2", "6")], "number": "9"});
    check(
        r#""lines[].sku" = { from = "lines[].sku", case = "upper" }"#,
        order.clone(),
        r#"{"lines":[{"sku":"A"},{"sku":"B"}]}"#,
    );
    check(
        r#""lines[].line_id" = { expr = "order.number + '-' + it.sku" }"#,
        order.clone(),
        r#"{"lines":[{"line_id":"9-a"},{"line_id":"9-b"}]}"#,
    );
    check(
        r#""tags[]" = "lines[].sku""#,
        order.clone(),
        r#"{"tags":["a","b"]}"#,
    );
    check(
        r#""tags[]" = { each = "lines", expr = "it.sku + '!'" }"#,
        order.clone(),
        r#"{"tags":["a!","b!"]}"#,
    );
    check(
        r#""lines[].taxes[].category" = { value = "S" }"#,
        json!({"lines": [{"taxes": [{}, {}]}, {}, {"taxes": []}]}),
        r#"{"lines":[{"taxes":[{"category":"S"},{"category":"S"}]},{},{"taxes":[]}]}"#,
    );
    check(r#""lines[].sku" = "lines[].sku""#, json!({}), "{}");
    check(
        r#""lines[].sku" = "lines[].sku""#,
        json!({"lines": null}),
        "{}",
    );
    check_fault(
        r#""lines[].sku" = { from = "lines[].sku", max_length = 1 }"#,
        json!({"lines": [line("a", "1", "1"), line("bb", "1", "1")]}),
        "mapping_too_long",
        "mapping `m`, field `lines[1].sku`: the text has 2 characters, the target takes 1",
    );
    let kept =
        mapping("[mapping.m.field]\n\"lines[].sku\" = { each = \"charges\", expr = \"it.title\" }");
    let fault = kept
        .apply(&json!({"lines": [{}], "charges": [{"title": "a"}, {"title": "b"}]}))
        .unwrap_err();
    assert_eq!(fault.code, "mapping_lists_differ");
}

#[test]
fn lookups() {
    let with = |rule: &str| {
        mapping(&format!(
            "[mapping.m]\nrest = \"drop\"\n[mapping.m.field]\n{rule}\n[mapping.m.table.alias]\n\"A-1\" = \"10001\"\n\"7\" = \"seven\""
        ))
    };
    let apply = |rule: &str, input: Json| with(rule).apply(&input);
    let kept = |rule: &str, input: Json, expect: Json| {
        assert_eq!(apply(rule, input), Ok(Mapped::Kept(expect)), "{rule}");
    };
    let sku = |sku: &str| json!({"lines": [{"sku": sku}]});
    kept(
        r#""lines[].sku" = { from = "lines[].sku", lookup = "alias" }"#,
        sku("A-1"),
        sku("10001"),
    );
    kept(
        r#""lines[].sku" = { from = "lines[].sku", lookup = "alias", unmatched = "keep" }"#,
        sku("B"),
        sku("B"),
    );
    kept(
        r#""lines[].sku" = { from = "lines[].sku", lookup = "alias", unmatched = "default", default = "?" }"#,
        sku("B"),
        sku("?"),
    );
    kept(
        r#"tags = { expr = "[lookup('alias', 7)]" }"#,
        json!({}),
        json!({"tags": ["seven"]}),
    );
    let fault = apply(
        r#""lines[].sku" = { from = "lines[].sku", lookup = "alias" }"#,
        sku("B-9"),
    )
    .unwrap_err();
    assert_eq!(fault.code, "lookup_unmatched");
    assert_eq!(
        fault.message,
        "mapping `m`, field `lines[0].sku`: `B-9` is not in table `alias`; add it there, or say what to do with `unmatched`"
    );
    // Law D5: a name is personal data, and is not told.
    let fault = apply(
        r#"channel = { from = "customer.name", lookup = "alias" }"#,
        json!({"customer": {"name": "Ada"}}),
    )
    .unwrap_err();
    assert_eq!(
        fault.message,
        "mapping `m`, field `channel`: the value (3 characters) is not in table `alias`; add it there, or say what to do with `unmatched`"
    );
}

#[test]
fn records_are_filtered_and_rejected() {
    let text = r#"
        [[mapping.m.filter]]
        name = "test_orders"
        when = "default(order.test, false)"
        [[mapping.m.reject]]
        when = "size(order.lines) == 0"
        message = "an order without lines"
        [mapping.m.field]
        "lines[].quantity" = { from = "lines[].quantity", reject_if = "value > 100", reject_message = "more than a pallet" }
        channel = { from = "channel", reject_if = "value == 'x'" }
    "#;
    let mapping = mapping(text);
    let filtered = mapping.apply(&json!({"test": true}));
    assert_eq!(
        filtered,
        Ok(Mapped::Filtered {
            rule: "test_orders".into()
        })
    );
    let told = |input: Json| mapping.apply(&input).unwrap_err().to_string();
    assert_eq!(
        told(json!({"lines": []})),
        "mapping `m`: an order without lines [mapping_rejected]"
    );
    assert_eq!(
        told(json!({"lines": [{"quantity": "101"}]})),
        "mapping `m`, field `lines[0].quantity`: more than a pallet [mapping_rejected]"
    );
    assert_eq!(
        told(json!({"lines": [{}], "channel": "x"})),
        "mapping `m`, field `channel`: `value == 'x'` is true [mapping_rejected]"
    );
    assert_eq!(
        told(json!({})),
        "mapping `m`: rule `reject`: no field 'lines' in order; `default(…)` or has(…) allows for it [mapping_missing]"
    );
}

#[test]
fn one_stream_becomes_another_from_nothing() {
    let text = r#"
        [mapping.m.field]
        sku = "sku"
        price = { from = "price", type = "money" }
        tax_rate = "tax_rate"
    "#;
    let mapping = try_compile(text, Stream::Items, Stream::Prices).unwrap();
    let item = json!({"sku": "A", "name": "Chair", "price": {"amount": "9.90", "currency": "EUR"}, "tax_rate": "19"});
    let Ok(Mapped::Kept(made)) = mapping.apply(&item) else {
        panic!()
    };
    let record = Record::from_json(Stream::Prices, made).unwrap();
    assert_eq!(record.sku().unwrap().as_str(), "A");
}

#[test]
fn mistakes_are_all_found_at_their_place() {
    check_refused(
        r#"
        [mapping.m]
        drop = ["note"]
        [mapping.m.field]
        buyer_po_nr = "number"
        notes = "nmber"
        channel = { from = "number", expr = "1" }
        number = { from = "number", trimm = true }
        tags = { expr = "order.tgs + [1]" }
        "#,
        &[
            "X0301 trimm: there is no setting `trimm` in `mapping.m.field.number` (did you mean `trim`?)",
        ],
    );
    check_refused(
        r#"
        [mapping.m]
        drop = ["note"]
        [mapping.m.field]
        buyer_po_nr = "number"
        notes = "nmber"
        channel = { from = "number", expr = "1" }
        tags = { expr = 'order.tgs + ["x"]' }
        test = "number"
        "lines[].sku" = "number"
        "customer.name" = { from = "customer.name", lookup = "names", on_too_long = "truncate" }
        "totals.grand_total" = { from = "number", scale = "x" }
        service_level = { expr = "order.test ? 1 : 'a'", when = "order.number" }
        "#,
        &[
            "X0502 \"note\": `note`: there is no field `note` (did you mean `notes`?)",
            "X0502 \"number\": `buyer_po_nr`: there is no field `buyer_po_nr` (did you mean `buyer_po_number`?)",
            "X0503 channel: a rule takes its value from one of `from`, `expr` and `value` (as in { from = \"number\" } or { value = \"web\" }; a path with dots stands in quotes: \"customer.name\" = …)",
            "X0503 \"customer.name\": `on_too_long` says nothing without `max_length`",
            "X0505 \"names\": there is no table `names` (add [mapping.m.table.names])",
            "X0503 \"number\": the target has 1 `[]`, the source 0 (each `[]` of the target needs a list to take its elements from: \"lines[].sku\" = \"lines[].sku\")",
            "X0502 \"nmber\": `nmber`: there is no field `nmber` (did you mean `number`?)",
            "X0501 \"order.number\": a condition is true or false, this is a string (compare it with something, as in order.currency == 'EUR')",
            "X0501 tgs: unknown field 'tgs' (did you mean 'tags'?)",
            "X0504 \"number\": the field holds a bool, and the rule makes a string (type = \"bool\" converts it)",
            "X0504 \"x\": `scale` needs a number or money, and finds a string (add type = \"number\")",
            "X0503 \"x\": `scale` is a number (as in scale = 0.01)",
        ],
    );
    check_refused(
        "[mapping.m.field]\ncustomer.name = \"x\"",
        &[
            "X0301 name: there is no setting `name` in `mapping.m.field.customer` (write the path in quotes: `\"customer.name\" = …`)",
        ],
    );
}

#[test]
fn types_are_checked_against_the_target() {
    let refused = |rule: &str| {
        let text = format!("[mapping.m.field]\n{rule}");
        let findings = try_compile(&text, Stream::Orders, Stream::Orders).expect_err(rule);
        findings.0[0].message.clone()
    };
    assert_eq!(
        refused("notes = { value = 1 }"),
        "the field holds a string, and the rule makes a number"
    );
    assert_eq!(
        refused("tags = { value = [1] }"),
        "the field holds a list of string, and the rule makes a list of number"
    );
    assert_eq!(
        refused("\"totals.taxes\" = { from = \"number\" }"),
        "the field holds a record, and the rule makes a string"
    );
    assert_eq!(
        refused("notes = { from = \"test\", default = \"x\" }"),
        "the value is a bool, its default a string"
    );
    assert_eq!(
        refused("notes = { from = \"test\", trim = true }"),
        "`trim` needs a string, and finds a bool"
    );
    assert_eq!(
        refused("customer = { value = { nam = \"x\" } }"),
        "the field holds a record, and the rule makes a record"
    );
    assert_eq!(
        refused("tags = { value = 0.12345678901234567 }"),
        "`value`: a number with more than 15 digits would not stay exact"
    );
    // Decimals and moments may be written as records hold them.
    fields(
        "\"totals.taxes\" = { value = { amount = \"1.50\", currency = \"EUR\" } }\nplaced_at = { value = \"2026-11-22T00:00:00Z\" }",
    );
}

#[test]
fn the_merchants_tests_run() {
    let text = r#"
        [mapping.m.field]
        notes = { from = "number", case = "upper", max_length = 3 }
        [[mapping.m.filter]]
        name = "tests"
        when = "default(order.test, false)"
        [[mapping.m.test]]
        name = "good"
        input = { number = "ab", lines = [{ sku = "A", quantity = "2.0" }] }
        expect = { notes = "AB", lines = [{ quantity = 2 }] }
        absent = ["channel"]
        [[mapping.m.test]]
        name = "filtered"
        input = { test = true }
        filtered = "tests"
        [[mapping.m.test]]
        name = "rejected"
        input = { number = "abcd" }
        rejected = "mapping_too_long"
        [[mapping.m.test]]
        name = "wrong"
        input = { number = "ab", tags = ["x"] }
        expect = { notes = "ab", tags = ["y"], channel = "web" }
        absent = ["number"]
        [[mapping.m.test]]
        name = "not filtered"
        input = {}
        filtered = "tests"
    "#;
    let failures = mapping(text).run_tests();
    let told: Vec<&str> = failures
        .iter()
        .map(|failure| failure.finding.message.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "test `wrong`: `channel` should be \"web\", and is no such field",
            "test `wrong`: `notes` should be \"ab\", and is \"AB\"",
            "test `wrong`: `tags[0]` should be \"y\", and is \"x\"",
            "test `wrong`: `number` should be no such field, and is \"ab\"",
            "test `not filtered`: should be filtered by `tests`, and is a record",
        ]
    );
    assert_eq!(failures[0].finding.line(), Some(21));
    check_refused(
        "[[mapping.m.test]]\nname = \"x\"\ninput = { id = \"1\" }",
        &[
            "X0506 [[mapping.m.test]]: a test says what the record becomes, or that it is filtered or rejected (write one of `expect` (perhaps with `absent`), `filtered` and `rejected`)",
        ],
    );
}

#[test]
fn the_version_changes_with_what_changes_results() {
    let version = |text: &str| mapping(text).version().to_owned();
    let one = version("[mapping.m.field]\nnotes = \"number\"");
    assert_eq!(one.len(), 16);
    assert_eq!(
        one,
        version("# why\n[mapping.m.field]\nnotes   =   'number'")
    );
    let test = "[[mapping.m.test]]\nname = \"t\"\ninput = {}\nabsent = [\"notes\"]";
    assert_eq!(
        one,
        version(&format!("[mapping.m.field]\nnotes = \"number\"\n{test}"))
    );
    assert_ne!(one, version("[mapping.m.field]\nnotes = \"id\""));
    let other = try_compile(
        "[mapping.m.field]\nid = \"id\"",
        Stream::Orders,
        Stream::Refunds,
    )
    .unwrap();
    assert_ne!(other.version(), version("[mapping.m.field]\nid = \"id\""));
}

/// Expressions of every kind of string literal point at their exact bytes where that is possible.
#[test]
fn findings_point_into_expressions() {
    for (quoted, expect) in [
        ("\"order.tgs\"", "tgs"),
        ("'order.tgs'", "tgs"),
        ("'''order.tgs'''", "tgs"),
        ("\"\"\"\norder.tgs\"\"\"", "tgs"),
        // With an escape the file's bytes are not the expression's: the whole text is underlined.
        ("\"'\\\"' + order.tgs\"", "\"'\\\"' + order.tgs\""),
    ] {
        let text = format!("[mapping.m.field]\nnotes = {{ expr = {quoted} }}");
        let text = if quoted.contains('\n') {
            format!("[mapping.m.field.notes]\nexpr = {quoted}")
        } else {
            text
        };
        let findings = try_compile(&text, Stream::Orders, Stream::Orders).unwrap_err();
        let (source, span) = findings.0[0].place.clone().unwrap();
        assert_eq!(&source.text[span], expect, "{quoted}");
    }
}
