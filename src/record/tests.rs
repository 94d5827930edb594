//! What records promise: exact money, three states of a field, no personal data in messages.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::*;

fn order(total: &str, currency: &str) -> Value {
    json!({
        "id": "17", "placed_at": "2026-11-22T10:00:00Z", "currency": currency,
        "customer": {"name": "Zoë Łukasiewicz", "email": "zoe@example.test"},
        "ship_to": {"name": "Zoë Łukasiewicz", "line1": "1 Main St 🏠", "country": "DE"},
        "lines": [{
            "line_id": "1", "sku": "0017", "quantity": "2",
            "unit_price": {"amount": total, "currency": currency}, "prices_include_tax": true,
            "line_net": {"amount": total, "currency": currency},
            "line_gross": {"amount": total, "currency": currency}
        }],
        "totals": {
            "lines_net": {"amount": total, "currency": currency},
            "charges_net": {"amount": "0", "currency": currency},
            "taxes": {"amount": "0", "currency": currency},
            "grand_total": {"amount": total, "currency": currency}
        }
    })
}

fn code(result: Result<Record, Fault>) -> String {
    result
        .err()
        .map(|fault| fault.code.into_owned())
        .unwrap_or_default()
}

#[test]
fn an_order_survives_its_json_form() {
    let record = Record::from_json(Stream::Orders, order("19.90", "EUR")).unwrap();
    let again = Record::from_json(Stream::Orders, record.to_json()).unwrap();
    assert_eq!(record, again);
    assert_eq!(record.fingerprint(), again.fingerprint());
    let Record::Order(order) = record else {
        unreachable!()
    };
    assert_eq!(order.lines[0].sku.as_str(), "0017");
}

/// Story 59: yen have no cents; dinars have a thousand fils.
#[test]
fn minor_units_follow_the_currency() {
    assert_eq!(
        code(Record::from_json(Stream::Orders, order("705.50", "JPY"))),
        "finer_than_minor_unit"
    );
    assert_eq!(
        code(Record::from_json(Stream::Orders, order("705", "JPY"))),
        ""
    );
    assert_eq!(
        code(Record::from_json(Stream::Orders, order("7.055", "KWD"))),
        ""
    );
    let yen = Currency::from_code("jpy").unwrap();
    assert_eq!(Money::from_minor(705, yen).to_string(), "705 JPY");
    let dinar = Currency::from_code("KWD").unwrap();
    assert_eq!(Money::from_minor(705, dinar).to_string(), "0.705 KWD");
}

/// Story 58: two currencies are never added.
#[test]
fn two_currencies_do_not_mix() {
    let mut mixed = order("19.90", "EUR");
    mixed["lines"][0]["line_gross"]["currency"] = "GBP".into();
    assert_eq!(
        code(Record::from_json(Stream::Orders, mixed)),
        "mixed_currencies"
    );
}

/// Story 57: a cent is rounding, ten euros are a missing line.
#[test]
fn a_total_that_does_not_add_up_is_held() {
    let mut cent = order("19.90", "EUR");
    cent["totals"]["grand_total"]["amount"] = "19.91".into();
    let Record::Order(near) = Record::from_json(Stream::Orders, cent).unwrap() else {
        unreachable!()
    };
    assert_eq!(near.rounding().unwrap().to_string(), "0.01 EUR");
    let mut far = order("19.90", "EUR");
    far["totals"]["grand_total"]["amount"] = "29.90".into();
    assert_eq!(
        code(Record::from_json(Stream::Orders, far)),
        "total_mismatch"
    );
}

#[test]
fn an_order_without_lines_or_with_a_negative_quantity_is_held() {
    let mut empty = order("1", "EUR");
    empty["lines"] = json!([]);
    assert_eq!(
        code(Record::from_json(Stream::Orders, empty)),
        "order_without_lines"
    );
    let mut negative = order("1", "EUR");
    negative["lines"][0]["quantity"] = "-1".into();
    assert_eq!(
        code(Record::from_json(Stream::Orders, negative)),
        "bad_quantity"
    );
}

/// Story 47: a SKU that arrives as a number has already lost its zeros.
#[test]
fn a_sku_is_text() {
    assert_eq!(
        code(Record::from_json(
            Stream::Stock,
            json!({"sku": 17, "on_hand": "1"})
        )),
        "bad_record"
    );
    let level = Record::from_json(Stream::Stock, json!({"sku": " 1E5 ", "on_hand": "1"})).unwrap();
    assert_eq!(level.sku().unwrap().as_str(), "1E5");
}

/// Story 39: absent, null and zero are three things.
#[test]
fn unknown_stock_is_not_zero() {
    assert_eq!(
        code(Record::from_json(Stream::Stock, json!({"sku": "A"}))),
        "unknown_quantity"
    );
    assert_eq!(
        code(Record::from_json(
            Stream::Stock,
            json!({"sku": "A", "on_hand": null})
        )),
        "unknown_quantity"
    );
    assert_eq!(
        code(Record::from_json(
            Stream::Stock,
            json!({"sku": "A", "on_hand": "0"})
        )),
        ""
    );
}

#[test]
fn absent_and_null_survive_the_json_form() {
    let item = json!({"sku": "A", "name": null});
    let record = Record::from_json(Stream::Items, item).unwrap();
    let Record::Item(item) = &record else {
        unreachable!()
    };
    assert_eq!(item.name, Presence::Null);
    assert_eq!(item.brand, Presence::Absent);
    let json = record.to_json();
    assert!(json.as_object().unwrap().contains_key("name"));
    assert!(!json.as_object().unwrap().contains_key("brand"));
}

/// Law D5: a message names the field and never shows what was in it.
#[test]
fn a_bad_record_does_not_leak_its_content() {
    let mut bad = order("1", "EUR");
    bad["placed_at"] = "Ann Buyer, 1 Main St".into();
    let fault = Record::from_json(Stream::Orders, bad).unwrap_err();
    assert!(fault.message.contains("placed_at"), "{}", fault.message);
    assert!(!fault.message.contains("Ann"), "{}", fault.message);
}

#[test]
fn equal_amounts_have_equal_fingerprints() {
    let one = json!({"sku": "A", "price": {"amount": "12.30", "currency": "EUR"}});
    let two = json!({"price": {"currency": "eur", "amount": "12.3"}, "sku": "A"});
    let one = Record::from_json(Stream::Prices, one).unwrap();
    let two = Record::from_json(Stream::Prices, two).unwrap();
    assert_eq!(one.fingerprint(), two.fingerprint());
}

#[test]
fn decimals_never_pass_through_a_float() {
    let text = r#"{"sku":"A","on_hand":0.1000000000000000055511151231}"#;
    let json: Value = serde_json::from_str(text).unwrap();
    let Record::Stock(level) = Record::from_json(Stream::Stock, json).unwrap() else {
        unreachable!()
    };
    let exact: Decimal = "0.1000000000000000055511151231".parse().unwrap();
    assert_eq!(level.on_hand.value().unwrap().0, exact);
}

#[test]
fn trade_item_numbers_are_checked() {
    assert_eq!(gtin14("4006381333931").as_deref(), Some("04006381333931"));
    assert_eq!(gtin14("4006381333932"), None);
    assert_eq!(gtin14("12345"), None);
}

/// Made while the record is serialised, and the same as that of its document.
#[test]
fn a_fingerprint_needs_no_document() {
    let mut json = order("19.90", "EUR");
    json["lines"][0]["personalisation"] = json!({"z": "1", "a": "2"});
    let record = Record::from_json(Stream::Orders, json).unwrap();
    let document = Fingerprint::of_json(&record.to_json());
    assert_eq!(record.fingerprint(), document);
    let (one, two) = (json!([[1], 2]), json!([[1, 2]]));
    assert_ne!(Fingerprint::of_json(&one), Fingerprint::of_json(&two));
}

#[test]
fn a_written_record_reads_like_its_document() {
    let json = order("19.90", "EUR");
    let record = Record::from_json(Stream::Orders, json.clone()).unwrap();
    let written = Written::of_record(&record);
    assert_eq!(written.read(Stream::Orders).unwrap(), record);
    assert_eq!(written.value(), record.to_json());
    let mut bad = json;
    bad["lines"][0]["quantity"] = json!("Ann");
    let of_text = Written::of(&bad).read(Stream::Orders).unwrap_err();
    let of_document = Record::from_json(Stream::Orders, bad).unwrap_err();
    assert_eq!(of_text, of_document);
    assert!(of_text.message.contains("lines[0].quantity"), "{of_text}");
}

/// Exact however they come: as text, as a number in a text, as a number in a document.
#[test]
fn decimals_are_read_from_any_form() {
    for (written, expect) in [
        ("\"12.30\"", "12.3"),
        ("12.30", "12.3"),
        ("7.0", "7"),
        ("4.5042", "4.5042"),
        ("-3", "-3"),
        ("1e3", "1000"),
        ("18446744073709551616", "18446744073709551616"),
    ] {
        let text = format!(r#"{{"sku":"A","on_hand":{written}}}"#);
        let of_text = Record::read_text(Stream::Stock, &text).unwrap();
        let of_document = serde_json::from_str(&text).unwrap();
        let of_document = Record::from_json(Stream::Stock, of_document).unwrap();
        assert_eq!(of_text, of_document, "{written}");
        assert_eq!(of_text.to_json()["on_hand"], expect, "{written}");
    }
}
