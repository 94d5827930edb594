//! What a canonical record of each stream looks like to an expression: its fields and their types.
//!
//! The structs in [`crate::record`] are the truth; a test compares the field names of every struct
//! with the ones here. Decimals and moments stand in JSON as text, and are declared as what they
//! mean, so that rules calculate with them. Dates without a time stay text.

use crate::expr::Type;
use crate::record::Stream;

/// The name under which an expression finds the record: `order`, `purchase_order`.
pub fn root_name(stream: Stream) -> &'static str {
    stream.name().trim_end_matches('s')
}

/// The type of a stream's records.
pub fn record_type(stream: Stream) -> Type {
    match stream {
        Stream::Items => item(),
        Stream::Prices => price(),
        Stream::Stock => stock_level(),
        Stream::Orders => order(),
        Stream::Shipments => shipment(),
        Stream::Returns => goods_return(),
        Stream::Refunds => refund(),
        Stream::Customers => customer(),
        Stream::Promotions => promotion(),
        Stream::PurchaseOrders => purchase_order(),
        Stream::Receipts => receipt(),
        Stream::Invoices => invoice(),
    }
}

/// Fields that are all of one type.
fn all(of: &Type, names: &[&'static str]) -> Vec<(&'static str, Type)> {
    names.iter().map(|name| (*name, of.clone())).collect()
}

fn record(groups: Vec<Vec<(&'static str, Type)>>) -> Type {
    Type::record(groups.into_iter().flatten())
}

fn texts(names: &[&'static str]) -> Vec<(&'static str, Type)> {
    all(&Type::String, names)
}

fn numbers(names: &[&'static str]) -> Vec<(&'static str, Type)> {
    all(&Type::Number, names)
}

fn moments(names: &[&'static str]) -> Vec<(&'static str, Type)> {
    all(&Type::Timestamp, names)
}

fn flags(names: &[&'static str]) -> Vec<(&'static str, Type)> {
    all(&Type::Bool, names)
}

fn amounts(names: &[&'static str]) -> Vec<(&'static str, Type)> {
    all(&money(), names)
}

fn one(name: &'static str, of: Type) -> Vec<(&'static str, Type)> {
    vec![(name, of)]
}

fn list(name: &'static str, of: Type) -> Vec<(&'static str, Type)> {
    vec![(name, Type::list(of))]
}

pub(super) fn money() -> Type {
    record(vec![numbers(&["amount"]), texts(&["currency"])])
}

fn window() -> Type {
    record(vec![moments(&["from", "to"])])
}

fn ext_ref() -> Type {
    record(vec![texts(&["connection", "kind", "id", "number", "url"])])
}

fn address() -> Type {
    record(vec![texts(&[
        "name",
        "company",
        "line1",
        "line2",
        "line3",
        "city",
        "region",
        "postal_code",
        "country",
        "phone",
        "email",
        "tax_id",
        "kind",
        "pickup_point_id",
    ])])
}

fn dimensions() -> Type {
    record(vec![numbers(&["length_mm", "width_mm", "height_mm"])])
}

fn item() -> Type {
    let alias = record(vec![texts(&["connection", "kind", "value"])]);
    let component = record(vec![texts(&["sku"]), numbers(&["quantity"])]);
    record(vec![
        texts(&[
            "sku",
            "gtin",
            "name",
            "description",
            "brand",
            "group_id",
            "group_name",
            "kind",
        ]),
        texts(&["stock_unit", "tax_category", "hs_code", "origin_country"]),
        texts(&["tracking_policy", "status"]),
        numbers(&["pack_size", "order_multiple", "tax_rate", "weight_g"]),
        amounts(&["price", "cost"]),
        flags(&["price_includes_tax"]),
        list("aliases", alias),
        list("components", component),
        list("images", Type::String),
        one("options", Type::map(Type::String)),
        one("dims_mm", dimensions()),
        one("attributes", Type::map(Type::Dyn)),
    ])
}

fn price() -> Type {
    record(vec![
        texts(&["sku", "list"]),
        amounts(&["price", "compare_at"]),
        numbers(&["min_qty", "tax_rate"]),
        flags(&["tax_included"]),
        moments(&["valid_from", "valid_to"]),
    ])
}

fn stock_level() -> Type {
    let unavailable = record(vec![numbers(&["damaged", "quality", "other"])]);
    record(vec![
        texts(&["sku", "location"]),
        numbers(&[
            "on_hand",
            "reserved",
            "available",
            "incoming",
            "backordered",
        ]),
        one("unavailable", unavailable),
        moments(&["expected_at"]),
        flags(&["is_estimated"]),
    ])
}

fn discount() -> Type {
    record(vec![
        texts(&["code", "reason", "funded_by"]),
        amounts(&["amount"]),
    ])
}

fn tax() -> Type {
    record(vec![
        texts(&["category", "jurisdiction", "collected_by"]),
        numbers(&["rate"]),
        amounts(&["taxable", "amount"]),
    ])
}

fn charge() -> Type {
    record(vec![
        texts(&["kind", "title"]),
        amounts(&["net", "gross"]),
        list("taxes", tax()),
    ])
}

fn order_line() -> Type {
    record(vec![
        texts(&["line_id", "sku", "title", "gift", "bundle_parent"]),
        numbers(&[
            "quantity",
            "qty_cancelled",
            "qty_shipped",
            "qty_returned",
            "qty_backordered",
        ]),
        amounts(&["unit_price", "line_net", "line_gross"]),
        flags(&["prices_include_tax"]),
        list("discounts", discount()),
        list("charges", charge()),
        list("taxes", tax()),
        one("personalisation", Type::map(Type::String)),
    ])
}

fn payment() -> Type {
    record(vec![
        texts(&[
            "id",
            "method",
            "kind",
            "status",
            "processor_ref",
            "settlement_ref",
        ]),
        amounts(&["amount"]),
        moments(&["at"]),
    ])
}

fn order() -> Type {
    let axes = texts(&["payment", "fulfilment", "cancellation", "return", "invoice"]);
    let totals = [
        "lines_net",
        "charges_net",
        "taxes",
        "prepaid",
        "rounding",
        "grand_total",
    ];
    record(vec![
        texts(&[
            "id",
            "number",
            "channel",
            "currency",
            "presentment_currency",
        ]),
        texts(&["buyer_po_number", "service_level", "fulfilled_by", "notes"]),
        moments(&["placed_at", "updated_at"]),
        flags(&["test"]),
        list("refs", ext_ref()),
        one("customer", customer()),
        all(&address(), &["ship_to", "bill_to"]),
        all(&window(), &["ship_by", "deliver_by"]),
        list("lines", order_line()),
        list("charges", charge()),
        list("discounts", discount()),
        list("taxes", tax()),
        list("payments", payment()),
        one("totals", record(vec![amounts(&totals)])),
        one("axes", record(vec![axes])),
        list("tags", Type::String),
    ])
}

fn shipment_line() -> Type {
    record(vec![
        texts(&["order_line", "sku", "lot"]),
        numbers(&["quantity"]),
        list("serials", Type::String),
    ])
}

fn shipment() -> Type {
    let parcel = record(vec![
        texts(&["tracking_number", "tracking_url", "sscc"]),
        numbers(&["weight_g"]),
        one("dims_mm", dimensions()),
        list("contents", shipment_line()),
    ]);
    let event = record(vec![
        moments(&["at"]),
        texts(&["status", "reason", "description", "location"]),
    ]);
    record(vec![
        texts(&[
            "id",
            "number",
            "order",
            "order_reference",
            "ship_from",
            "service",
            "status",
        ]),
        list("refs", ext_ref()),
        one("ship_to", address()),
        one("carrier", record(vec![texts(&["scac", "code", "name"])])),
        moments(&["shipped_at"]),
        one("expected_delivery", window()),
        list("parcels", parcel),
        list("lines", shipment_line()),
        amounts(&["cost"]),
        list("events", event),
    ])
}

fn goods_return() -> Type {
    let line = record(vec![
        texts(&["order_line", "sku", "disposition", "exchange_sku"]),
        numbers(&["quantity_requested", "quantity_received"]),
    ]);
    record(vec![
        texts(&[
            "id",
            "order",
            "rma_number",
            "status",
            "reason",
            "return_to",
            "tracking_number",
        ]),
        list("refs", ext_ref()),
        moments(&["requested_at"]),
        list("lines", line),
    ])
}

fn refund() -> Type {
    let line = record(vec![
        texts(&["order_line"]),
        numbers(&["quantity"]),
        amounts(&["amount"]),
    ]);
    record(vec![
        texts(&["id", "order", "payment_ref"]),
        moments(&["at"]),
        amounts(&["amount", "charges_refunded"]),
        list("lines", line),
    ])
}

fn customer() -> Type {
    let tax_id = record(vec![texts(&["scheme", "value"]), flags(&["verified"])]);
    let consent = record(vec![
        flags(&["given"]),
        moments(&["at"]),
        texts(&["source"]),
    ]);
    record(vec![
        texts(&["id", "kind", "name", "company", "email", "phone"]),
        texts(&["price_list", "payment_terms", "language"]),
        flags(&["email_masked"]),
        list("refs", ext_ref()),
        list("tax_ids", tax_id),
        list("addresses", address()),
        one("marketing_consent", consent),
        moments(&["pii_expires_at"]),
    ])
}

fn promotion() -> Type {
    record(vec![
        texts(&["id", "code", "name"]),
        numbers(&["percent"]),
        amounts(&["amount"]),
        moments(&["valid_from", "valid_to"]),
        list("skus", Type::String),
    ])
}

fn purchase_order() -> Type {
    let ack = record(vec![
        texts(&["code", "date", "reason", "substitute"]),
        numbers(&["quantity"]),
    ]);
    let line = record(vec![
        texts(&["sku", "supplier_sku", "requested_date"]),
        numbers(&["line_no", "quantity"]),
        numbers(&[
            "qty_acknowledged",
            "qty_shipped",
            "qty_received",
            "qty_invoiced",
        ]),
        amounts(&["unit_cost"]),
        list("acks", ack),
    ]);
    record(vec![
        texts(&[
            "id",
            "number",
            "kind",
            "currency",
            "supplier",
            "status",
            "dropship_order",
        ]),
        list("refs", ext_ref()),
        moments(&["issued_at"]),
        one("ship_to", address()),
        numbers(&["change_seq"]),
        list("lines", line),
    ])
}

fn receipt() -> Type {
    let line = record(vec![
        texts(&["id", "sku", "reason"]),
        numbers(&["po_line", "qty_received", "qty_rejected"]),
    ]);
    record(vec![
        texts(&["id", "purchase_order", "location"]),
        moments(&["received_at"]),
        list("lines", line),
    ])
}

fn invoice() -> Type {
    let line = record(vec![
        texts(&["order_line", "sku", "description"]),
        numbers(&["line_no", "quantity", "tax_rate"]),
        amounts(&["unit_price", "line_net"]),
    ]);
    let summary = record(vec![
        texts(&["category"]),
        numbers(&["rate"]),
        amounts(&["taxable", "amount"]),
    ]);
    let totals = [
        "lines_net",
        "tax_exclusive",
        "tax",
        "tax_inclusive",
        "prepaid",
        "rounding",
        "payable",
    ];
    record(vec![
        texts(&[
            "id",
            "number",
            "kind",
            "direction",
            "issue_date",
            "due_date",
            "currency",
        ]),
        list("refs", ext_ref()),
        list("lines", line),
        list("tax_summary", summary),
        one("totals", record(vec![amounts(&totals)])),
    ])
}

#[cfg(test)]
mod tests {
    use serde::Deserializer;
    use serde::de::{DeserializeOwned, Visitor, value::Error};

    use super::*;
    use crate::record;

    /// Catches the names that a derived `Deserialize` asks for.
    struct Names<'n>(&'n mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(serde::de::Error::custom("only structs have fields"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields);
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    #[track_caller]
    fn check<T: DeserializeOwned>(declared: &Type) {
        let mut names = Vec::new();
        let _ = T::deserialize(Names(&mut names));
        names.sort_unstable();
        let mut fields: Vec<&str> = declared.fields().map(|(name, _)| name).collect();
        fields.sort_unstable();
        assert_eq!(fields, names);
    }

    /// The type at a path of field names; lists are entered.
    fn at(of: &Type, path: &str) -> Type {
        path.split('.').fold(of.clone(), |of, name| {
            let of = of.element_type().cloned().unwrap_or(of);
            let found = of.fields().find(|(known, _)| *known == name);
            let of = found.map(|(_, of)| of.clone()).unwrap();
            of.element_type().cloned().unwrap_or(of)
        })
    }

    #[test]
    fn every_field_of_every_record_is_declared() {
        let of = |stream| record_type(stream);
        let (item, order, shipment) =
            (of(Stream::Items), of(Stream::Orders), of(Stream::Shipments));
        let (bought, invoice) = (of(Stream::PurchaseOrders), of(Stream::Invoices));
        check::<record::Item>(&item);
        check::<record::Alias>(&at(&item, "aliases"));
        check::<record::Component>(&at(&item, "components"));
        check::<record::Dimensions>(&at(&item, "dims_mm"));
        check::<record::Price>(&of(Stream::Prices));
        check::<record::StockLevel>(&of(Stream::Stock));
        check::<record::Unavailable>(&at(&of(Stream::Stock), "unavailable"));
        check::<record::Order>(&order);
        check::<record::Line>(&at(&order, "lines"));
        check::<record::Discount>(&at(&order, "lines.discounts"));
        check::<record::Charge>(&at(&order, "charges"));
        check::<record::Tax>(&at(&order, "charges.taxes"));
        check::<record::Payment>(&at(&order, "payments"));
        check::<record::Totals>(&at(&order, "totals"));
        check::<record::Axes>(&at(&order, "axes"));
        check::<record::Address>(&at(&order, "ship_to"));
        check::<record::Window>(&at(&order, "ship_by"));
        check::<record::ExtRef>(&at(&order, "refs"));
        check::<record::Money>(&at(&order, "totals.grand_total"));
        check::<record::Shipment>(&shipment);
        check::<record::Parcel>(&at(&shipment, "parcels"));
        check::<record::ShipmentLine>(&at(&shipment, "parcels.contents"));
        check::<record::TrackingEvent>(&at(&shipment, "events"));
        check::<record::Carrier>(&at(&shipment, "carrier"));
        check::<record::Return>(&of(Stream::Returns));
        check::<record::ReturnLine>(&at(&of(Stream::Returns), "lines"));
        check::<record::Refund>(&of(Stream::Refunds));
        check::<record::RefundLine>(&at(&of(Stream::Refunds), "lines"));
        check::<record::Customer>(&of(Stream::Customers));
        check::<record::TaxId>(&at(&of(Stream::Customers), "tax_ids"));
        check::<record::Consent>(&at(&of(Stream::Customers), "marketing_consent"));
        check::<record::Promotion>(&of(Stream::Promotions));
        check::<record::PurchaseOrder>(&bought);
        check::<record::PurchaseLine>(&at(&bought, "lines"));
        check::<record::Acknowledgement>(&at(&bought, "lines.acks"));
        check::<record::Receipt>(&of(Stream::Receipts));
        check::<record::ReceiptLine>(&at(&of(Stream::Receipts), "lines"));
        check::<record::Invoice>(&invoice);
        check::<record::InvoiceLine>(&at(&invoice, "lines"));
        check::<record::TaxSummary>(&at(&invoice, "tax_summary"));
        check::<record::InvoiceTotals>(&at(&invoice, "totals"));
    }
}
