//! Whatever a record looks like: no panic, and no text of it in a message.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::tests::mapping;
use super::*;

const MAPPING: &str = r#"
    [mapping.m]
    drop = ["tags", "lines[].gift", "customer.phone"]
    [[mapping.m.filter]]
    name = "tests"
    when = "default(order.test, false)"
    [mapping.m.field]
    number = { from = "number", trim = true, case = "upper", max_length = 5, on_too_long = "truncate" }
    notes = { from = "tags", join = "," }
    channel = { from = "channel", lookup = "channels", unmatched = "default", default = "none" }
    test = { from = "number", type = "bool", when = "has(order.number)" }
    "customer.name" = { expr = "order.customer.name + ' ' + order.number", when = "has(order.customer)" }
    "lines[].quantity" = { from = "lines[].quantity", scale = 3, round = 1, reject_if = "value < 0" }
    "lines[].line_net" = { from = "lines[].line_net", round = "currency" }
    "lines[].taxes[].rate" = { from = "lines[].taxes[].rate", type = "number", default = 19 }
    "lines[].sku" = { expr = "substring(it.sku, 1, 2)", when = "has(it.sku)" }
    updated_at = { from = "placed_at", type = "timestamp" }
    [mapping.m.table.channels]
    web = "WEB"
"#;

static COMPILED: LazyLock<Mapping> = LazyLock::new(|| mapping(MAPPING));

/// Any JSON with the names of an order in it; every text carries a mark.
fn json() -> impl Strategy<Value = Json> {
    let name = prop_oneof![
        Just("number"),
        Just("tags"),
        Just("channel"),
        Just("test"),
        Just("customer"),
        Just("name"),
        Just("lines"),
        Just("quantity"),
        Just("line_net"),
        Just("amount"),
        Just("currency"),
        Just("taxes"),
        Just("rate"),
        Just("sku"),
        Just("placed_at"),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        Just(serde_json::from_str("1e999").unwrap()),
        "[ -~é🙂]{0,8}".prop_map(|text| json!(format!("\u{1}{text}"))),
        "[0-9]{1,3}[.]?[0-9]{1,3}".prop_map(|text| json!(text)),
        Just(json!("EUR")),
    ];
    leaf.prop_recursive(5, 80, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            proptest::collection::vec((name.clone(), inner), 0..9).prop_map(|entries| {
                entries
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn is_mapped_or_refused(record in json()) {
        let before = record.clone();
        if let Err(fault) = COMPILED.apply(&record) {
            prop_assert!(!fault.message.contains('\u{1}'), "{}", fault);
            prop_assert_eq!(fault.class, crate::fault::Class::Reject);
        }
        prop_assert_eq!(record, before);
    }
}
