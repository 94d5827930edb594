//! The ERP's HTTP dialect: JSON, decimals as text, HTTP Basic, one call per document.
//!
//! ```text
//! GET  /parties ?code=                         {parties: [{id, code, name}]}
//! POST /parties {name, code?, email?, phone?, company?, tax_id?}    201 {id}; twice: two parties
//! GET  /parties/3/addresses                    {addresses: [{id, name, street, …}]}
//! POST /parties/3/addresses {name, company?, street, city, postal_code, country, phone?}   201 {id}
//! POST /orders {reference, channel_number?, party, address, placed_at, currency, shipping, total,
//!               handed_over?, note?}           201 the draft; 409 reference_taken with the id, if it minds
//! PUT  /orders/9/lines [{source_line?, sku, quantity, unit_price, discount?, tax_rate?, amount}]
//!                                              replaces all; 200 the order; 422 unknown_item
//! POST /orders/9/confirm {}                    200 the order; 409 warning with {warnings: [name]} until they
//!                                              are acknowledged; 422 total_mismatch; 409 not_a_draft
//! POST /orders/9/acknowledge {warnings: [..]}  200 the order
//! POST /orders/9/cancel {}                     200; 409 already_shipped
//! GET  /orders/9, GET /orders ?reference= or ?references=A,B  {orders}
//! GET  /shipments ?since&page&limit            by (shipped_at, id), since inclusive, at most 50
//! GET  /shipments ?ids=                        {shipments, next: token or null, as_of}
//! GET  /stock ?changed_since&page&limit        by (changed_at, sku), at most 100
//! GET  /stock ?skus=                           {stock: [{sku, warehouse, on_hand, changed_at}], next, as_of}
//! GET  /items ?changed_since&page&limit or ?skus=               {items, next, as_of}
//! ```
//!
//! Only an order carries a reference, and looking for it is the only way to know whether a create whose
//! reply was lost has happened. The total of the lines and shipping must be the order's.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lists::{list_items, list_shipments, list_stock};
use super::{Carton, Erp, ErpLine, ErpOrder, ErpState, Party, State};
use crate::clock::Timestamp;
use crate::record::Quantity as Number;
use crate::sandbox::audit::{Fact, Units, lock};
use crate::sandbox::basket::CURRENCY;
use crate::sandbox::serve::{Call, Reply, System};

/// The longest name and street: longer ones are refused, as ERPs do (story 63).
const MAX_CHARS: usize = 120;

/// A postal address as it came.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAddress {
    name: String,
    #[serde(default)]
    company: Option<String>,
    street: String,
    city: String,
    postal_code: String,
    country: String,
    #[serde(default)]
    phone: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewParty {
    name: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default, rename = "email")]
    _email: Option<String>,
    #[serde(default, rename = "phone")]
    _phone: Option<String>,
    #[serde(default, rename = "company")]
    _company: Option<String>,
    #[serde(default, rename = "tax_id")]
    _tax_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    reference: String,
    #[serde(default)]
    channel_number: Option<String>,
    party: String,
    address: String,
    #[serde(rename = "placed_at")]
    _placed_at: Timestamp,
    currency: String,
    shipping: Number,
    total: Number,
    #[serde(default)]
    handed_over: bool,
    #[serde(default, rename = "note")]
    _note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLine {
    #[serde(default)]
    source_line: Option<String>,
    sku: String,
    quantity: Number,
    unit_price: Number,
    #[serde(default)]
    discount: Number,
    #[serde(default, rename = "tax_rate")]
    _tax_rate: Option<Number>,
    amount: Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    warnings: Vec<String>,
}

impl System for Erp {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn answer(&self, call: &Call, now: Timestamp) -> Reply {
        self.route(call, now).unwrap_or_else(|refusal| refusal)
    }

    fn shift_rows(&self, now: Timestamp) -> bool {
        self.touch_items(now)
    }
}

impl Erp {
    fn route(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        check_login(call)?;
        let segments = call.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let mut state = lock(&self.state);
        match (call.method.as_str(), segments.as_slice()) {
            ("GET", ["parties"]) => Ok(find_parties(&state, call)),
            ("POST", ["parties"]) => add_party(&mut state, call),
            ("GET", ["parties", id, "addresses"]) => Ok(list_addresses(&state, id)),
            ("POST", ["parties", id, "addresses"]) => add_address(&mut state, id, call),
            ("GET", ["orders"]) => find_orders(&state, call),
            ("POST", ["orders"]) => self.draft(&mut state, call),
            ("GET", ["orders", id]) => {
                let id = wanted(&state, id)?;
                Ok(Reply::ok(
                    &state.orders.get(&id).map_or(Value::Null, order_json),
                ))
            }
            ("PUT", ["orders", id, "lines"]) => set_lines(&mut state, id, call),
            ("POST", ["orders", id, "confirm"]) => self.confirm(&mut state, id, now),
            ("POST", ["orders", id, "acknowledge"]) => acknowledge(&mut state, id, call),
            ("POST", ["orders", id, "cancel"]) => self.cancel(&mut state, id),
            ("GET", ["shipments"]) => list_shipments(&state, call, now),
            ("GET", ["stock"]) => list_stock(&state, call, now),
            ("GET", ["items"]) => list_items(&state, call, now),
            _ => Err(Reply::no_route()),
        }
    }

    fn draft(&self, state: &mut State, call: &Call) -> Result<Reply, Reply> {
        let new: NewOrder = call.parse()?;
        if new.reference.is_empty() {
            return Err(Reply::error(
                422,
                "no_reference",
                "an order needs a reference",
            ));
        }
        if new.currency != CURRENCY {
            return Err(Reply::error(
                422,
                "unknown_currency",
                "this company books in EUR",
            ));
        }
        let there = state
            .orders
            .values()
            .find(|order| order.reference == new.reference);
        if let Some(there) = there.filter(|_| self.options.unique_reference) {
            let body = json!({
                "error": { "code": "reference_taken", "message": "there is such an order" },
                "id": there.id.to_string(),
            });
            return Err(Reply::json(409, &body));
        }
        let party = known(&new.party, "party", |id| state.parties.contains_key(id))?;
        let address = known(&new.address, "address", |id| {
            state.addresses.get(id).is_some_and(|(of, _)| *of == party)
        })?;
        let (shipping, total) = (
            cents(new.shipping.0, "shipping")?,
            cents(new.total.0, "total")?,
        );
        let id = state.next_id();
        let order = ErpOrder {
            id,
            reference: new.reference,
            channel_number: new.channel_number,
            party,
            address,
            lines: Vec::new(),
            shipping,
            total,
            handed_over: new.handed_over,
            acknowledged: Vec::new(),
            state: ErpState::Draft,
            confirmed_at: None,
        };
        self.audit.record(
            &self.options.name,
            Fact::Drafted {
                id: id.to_string(),
                reference: order.reference.clone(),
            },
        );
        let reply = Reply::json(201, &order_json(&order));
        state.orders.insert(id, order);
        Ok(reply)
    }

    fn confirm(&self, state: &mut State, id: &str, now: Timestamp) -> Result<Reply, Reply> {
        let id = wanted(state, id)?;
        let Some(order) = state.orders.get_mut(&id) else {
            return Err(Reply::no_route());
        };
        if order.state != ErpState::Draft {
            return Err(Reply::error(
                409,
                "not_a_draft",
                "it was confirmed or cancelled before",
            ));
        }
        let sum: i64 = order.lines.iter().map(|line| line.amount).sum();
        if order.lines.is_empty() || sum + order.shipping != order.total {
            let message = "lines and shipping do not add up to the total";
            return Err(Reply::error(422, "total_mismatch", message));
        }
        let every = self.options.warn_every;
        let warning = format!("credit-{}", order.id);
        let must_warn = every > 0 && order.id.is_multiple_of(every);
        if must_warn && !order.acknowledged.contains(&warning) {
            let body = json!({
                "error": { "code": "warning", "message": "the credit limit is nearly used up" },
                "warnings": [warning],
            });
            return Err(Reply::json(409, &body));
        }
        order.state = ErpState::Confirmed;
        order.confirmed_at = Some(self.audit.clock().now());
        let boxes = vec![Carton {
            tracking: None,
            lines: order
                .lines
                .iter()
                .map(|line| (line.id.clone(), line.quantity))
                .collect(),
        }];
        let handed_over = order.handed_over;
        self.audit.record(
            &self.options.name,
            Fact::Booked {
                id: id.to_string(),
                reference: order.reference.clone(),
                units: order
                    .lines
                    .iter()
                    .map(|l| Units::new(&l.sku, l.quantity))
                    .collect(),
                total: order.total,
            },
        );
        if handed_over {
            self.ship_unchecked(state, id, ("PICKUP", "Handed over"), boxes, now);
        }
        Ok(Reply::ok(
            &state.orders.get(&id).map_or(Value::Null, order_json),
        ))
    }

    fn cancel(&self, state: &mut State, id: &str) -> Result<Reply, Reply> {
        let id = wanted(state, id)?;
        let Some(order) = state.orders.get_mut(&id) else {
            return Err(Reply::no_route());
        };
        if order.lines.iter().any(|line| line.shipped > 0) {
            return Err(Reply::error(409, "already_shipped", "goods have left"));
        }
        if order.state != ErpState::Cancelled {
            order.state = ErpState::Cancelled;
            let (id, reference) = (id.to_string(), order.reference.clone());
            self.audit
                .record(&self.options.name, Fact::Unbooked { id, reference });
        }
        Ok(Reply::ok(&order_json(order)))
    }
}

fn check_login(call: &Call) -> Result<(), Reply> {
    let right = format!("Basic {}", STANDARD.encode("crossdock:practice"));
    if call.headers.get("authorization") == Some(&right) {
        return Ok(());
    }
    Err(Reply::error(401, "bad_login", "wrong user or password")
        .header("www-authenticate", "Basic realm=\"erp\""))
}

fn find_parties(state: &State, call: &Call) -> Reply {
    let code = call.query.get("code");
    let found = state
        .parties
        .iter()
        .filter(|(_, party)| party.code.as_ref() == code);
    let found = found
        .map(|(id, party)| json!({ "id": id.to_string(), "code": party.code, "name": party.name }));
    Reply::ok(&json!({ "parties": found.collect::<Vec<Value>>() }))
}

fn add_party(state: &mut State, call: &Call) -> Result<Reply, Reply> {
    let new: NewParty = call.parse()?;
    check_length("name", &new.name)?;
    let id = state.next_id();
    state.parties.insert(
        id,
        Party {
            name: new.name,
            code: new.code,
        },
    );
    Ok(Reply::json(201, &json!({ "id": id.to_string() })))
}

fn add_address(state: &mut State, party: &str, call: &Call) -> Result<Reply, Reply> {
    let new: NewAddress = call.parse()?;
    let party = known(party, "party", |id| state.parties.contains_key(id))?;
    check_length("street", &new.street)?;
    if new.country.len() != 2 {
        return Err(Reply::error(
            422,
            "bad_country",
            "a country has two letters",
        ));
    }
    let id = state.next_id();
    state.addresses.insert(id, (party, new));
    Ok(Reply::json(201, &json!({ "id": id.to_string() })))
}

fn list_addresses(state: &State, party: &str) -> Reply {
    let of_it = state
        .addresses
        .iter()
        .filter(|(_, (of, _))| of.to_string() == party);
    let rows = of_it.map(|(id, (_, address))| {
        let mut json = json!(address);
        json["id"] = json!(id.to_string());
        json
    });
    Reply::ok(&json!({ "addresses": rows.collect::<Vec<Value>>() }))
}

fn acknowledge(state: &mut State, id: &str, call: &Call) -> Result<Reply, Reply> {
    let told: Acknowledge = call.parse()?;
    let id = wanted(state, id)?;
    let Some(order) = state.orders.get_mut(&id) else {
        return Err(Reply::no_route());
    };
    order.acknowledged.extend(told.warnings);
    Ok(Reply::ok(&order_json(order)))
}

fn find_orders(state: &State, call: &Call) -> Result<Reply, Reply> {
    let one = call.query.get("reference").map(String::as_str);
    let several = call.query.get("references").map(|all| all.split(','));
    let wanted: BTreeSet<&str> = one
        .into_iter()
        .chain(several.into_iter().flatten())
        .collect();
    if wanted.is_empty() {
        return Err(Reply::error(
            400,
            "missing_parameter",
            "`reference` or `references` is needed",
        ));
    }
    let found = state
        .orders
        .values()
        .filter(|order| wanted.contains(order.reference.as_str()));
    let found: Vec<Value> = found.map(order_json).collect();
    Ok(Reply::ok(&json!({ "orders": found })))
}

fn set_lines(state: &mut State, id: &str, call: &Call) -> Result<Reply, Reply> {
    let new: Vec<NewLine> = call.parse()?;
    let id = wanted(state, id)?;
    let mut lines = Vec::new();
    for (n, line) in new.into_iter().enumerate() {
        if !state.items.contains_key(&line.sku) {
            return Err(Reply::error(
                422,
                "unknown_item",
                format!("no item {}", line.sku),
            ));
        }
        let amount = cents(line.amount.0, "amount")?;
        let full = line.unit_price.0 * line.quantity.0 - line.discount.0;
        let quantity = i64::try_from(line.quantity.0.trunc()).unwrap_or(0);
        if Decimal::from(quantity) != line.quantity.0 || quantity < 1 {
            return Err(Reply::error(
                422,
                "bad_quantity",
                "a quantity is a whole number above 0",
            ));
        }
        if cents(full, "unit_price")? != amount {
            return Err(Reply::error(
                422,
                "bad_amount",
                "price, discount and amount disagree",
            ));
        }
        lines.push(ErpLine {
            id: format!("{id}.{}", n + 1),
            source_line: line.source_line,
            sku: line.sku,
            quantity,
            shipped: 0,
            amount,
        });
    }
    let Some(order) = state.orders.get_mut(&id) else {
        return Err(Reply::no_route());
    };
    if order.state != ErpState::Draft {
        return Err(Reply::error(
            409,
            "not_a_draft",
            "it was confirmed or cancelled before",
        ));
    }
    order.lines = lines;
    Ok(Reply::ok(&order_json(order)))
}

fn wanted(state: &State, id: &str) -> Result<u64, Reply> {
    let id = id.parse().ok().filter(|id| state.orders.contains_key(id));
    id.ok_or_else(|| Reply::error(404, "no_such_order", "there is no such order"))
}

fn known(id: &str, what: &str, is_there: impl Fn(&u64) -> bool) -> Result<u64, Reply> {
    let id = id.parse().ok().filter(|id| is_there(id));
    id.ok_or_else(|| Reply::error(422, "unknown_id", format!("there is no such {what}")))
}

fn check_length(field: &str, text: &str) -> Result<(), Reply> {
    if text.is_empty() || text.chars().count() > MAX_CHARS {
        let message = format!("{field} has 1 to {MAX_CHARS} characters");
        return Err(Reply::error(422, "bad_length", message));
    }
    Ok(())
}

fn cents(amount: Decimal, field: &str) -> Result<i64, Reply> {
    let scaled = amount * Decimal::from(100);
    let whole = i64::try_from(scaled.trunc()).unwrap_or(i64::MAX);
    if Decimal::from(whole) != scaled {
        let message = format!("{field} is finer than a cent");
        return Err(Reply::error(422, "finer_than_a_cent", message));
    }
    Ok(whole)
}

pub(super) fn euros(cents: i64) -> String {
    Decimal::new(cents, 2).to_string()
}

fn order_json(order: &ErpOrder) -> Value {
    let lines = order.lines.iter().map(|line| {
        json!({
            "id": line.id,
            "source_line": line.source_line,
            "sku": line.sku,
            "quantity": line.quantity.to_string(),
            "shipped": line.shipped.to_string(),
            "amount": euros(line.amount),
        })
    });
    json!({
        "id": order.id.to_string(),
        "number": format!("SO{:05}", order.id),
        "reference": order.reference,
        "channel_number": order.channel_number,
        "state": order.state,
        "party": order.party.to_string(),
        "address": order.address.to_string(),
        "lines": lines.collect::<Vec<Value>>(),
        "shipping": euros(order.shipping),
        "total": euros(order.total),
        "currency": CURRENCY,
    })
}
