//! The webstore's HTTP dialect: JSON, money in cents, moments in RFC 3339.
//!
//! ```text
//! POST /login {user, password}              200 {token, expires_in_secs}; then Authorization: Bearer
//! GET  /orders ?placed_after&page&limit     placed_at inclusive, by (placed_at, id), at most 50;
//!                                           {orders, next: token or null, server_time}
//! GET  /orders ?ids=17,18                   those that are there, whatever their age
//! GET  /orders/17                           one order, parcels among it
//! POST /orders/17/fulfilments               {reference, carrier, tracking_numbers, lines: [{line_id or sku,
//!                                           quantity}]}; no lines: all that is open. 201 the parcel
//! GET  /orders/17/fulfilments               {fulfilments}
//! GET  /products ?skus= or ?updated_after&page&limit            {products, next, server_time}
//! POST /products {sku, title, price, tax_rate, weight_g?, active?}  201; 409 sku_taken with the id
//! PUT  /products/5                          any of those fields but sku; 200
//! PUT  /prices   [{sku, price}]             200 {results: [{sku, ok, code?, message?}]}
//! PUT  /stock    [{sku, on_hand}]           at most 200; 200 {results: […, on_hand, allocated, available]}
//! GET  /stock    ?skus=                     {stock: [{sku, on_hand, allocated, available}]}
//! ```
//!
//! A batch is partial: 200 with one result per row, in order. `Idempotency-Key` on a POST is honoured or
//! ignored, as the shop's options say. An order never changes its `placed_at`; whether it was called off
//! since is seen only by asking for it by id.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{OrderStatus, Parcel, ParcelLine, Shop, ShopOrder, State};
use crate::clock::{Timestamp, later};
use crate::sandbox::audit::{Fact, Units, lock};
use crate::sandbox::basket::CURRENCY;
use crate::sandbox::paging::page;
use crate::sandbox::serve::{Call, Reply, System};

/// The largest page of a list.
const PAGE: usize = 50;
impl System for Shop {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn answer(&self, call: &Call, now: Timestamp) -> Reply {
        self.route(call, now).unwrap_or_else(|refusal| refusal)
    }

    fn expire_tokens(&self) -> bool {
        let mut state = lock(&self.state);
        let any = !state.tokens.is_empty();
        state.tokens.clear();
        any
    }

    fn shift_rows(&self, now: Timestamp) -> bool {
        self.touch_orders(now)
    }
}

impl Shop {
    fn route(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        let segments = call.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        if (call.method.as_str(), segments.as_slice()) == ("POST", &["login"]) {
            return self.login(call, now);
        }
        self.check_token(call, now)?;
        match (call.method.as_str(), segments.as_slice()) {
            ("GET", ["orders"]) => self.list_orders(call, now),
            ("GET", ["orders", id]) => Ok(Reply::ok(&order_json(&self.wanted(id)?))),
            ("GET", ["orders", id, "fulfilments"]) => {
                let parcels = self.wanted(id)?.parcels;
                Ok(Reply::ok(&json!({ "fulfilments": parcels })))
            }
            ("POST", ["orders", id, "fulfilments"]) => {
                self.once(call, |state| self.fulfil(state, id, call, now))
            }
            ("GET", ["products"]) => self.list_products(call, now),
            ("POST", ["products"]) => self.once(call, |state| self.add(state, call, now)),
            ("PUT", ["products", id]) => self.change(id, call, now),
            ("PUT", ["prices"]) => self.set_prices(call, now),
            ("PUT", ["stock"]) => self.set_stock(call),
            ("GET", ["stock"]) => self.list_stock(call),
            _ => Err(Reply::no_route()),
        }
    }

    fn login(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Login {
            user: String,
            password: String,
        }
        let login: Login = call.parse()?;
        if login.user != "crossdock" || login.password != "practice" {
            return Err(Reply::error(401, "bad_login", "wrong user or password"));
        }
        let mut state = lock(&self.state);
        state.last_token += 1;
        let token = format!("{}-{}", self.options.name, state.last_token);
        let life = self.options.token_life;
        state.tokens.insert(token.clone(), later(now, life));
        Ok(Reply::ok(
            &json!({ "token": token, "expires_in_secs": life.as_secs() }),
        ))
    }

    fn check_token(&self, call: &Call, now: Timestamp) -> Result<(), Reply> {
        let mut state = lock(&self.state);
        state.tokens.retain(|_, expires| *expires > now);
        let token = call.headers.get("authorization");
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some_and(|token| state.tokens.contains_key(token)) {
            return Ok(());
        }
        Err(Reply::error(401, "token_expired", "log in again"))
    }

    /// Acts once per idempotency key, in a shop that honours them.
    fn once(
        &self,
        call: &Call,
        act: impl FnOnce(&mut State) -> Result<(u16, Value), Reply>,
    ) -> Result<Reply, Reply> {
        let mut state = lock(&self.state);
        let key = call
            .headers
            .get("idempotency-key")
            .filter(|_| self.options.idempotency);
        let key = key.map(|key| format!("{} {key}", call.path));
        if let Some((status, body)) = key.as_ref().and_then(|key| state.replies.get(key)) {
            return Ok(Reply::json(*status, body).header("idempotent-replayed", "true"));
        }
        let (status, body) = act(&mut state)?;
        let reply = Reply::json(status, &body);
        if let Some(key) = key {
            state.replies.insert(key, (status, body));
        }
        Ok(reply)
    }

    fn wanted(&self, id: &str) -> Result<ShopOrder, Reply> {
        let missing = || Reply::error(404, "no_such_order", format!("there is no order {id}"));
        self.order(id).ok_or_else(missing)
    }

    fn list_orders(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        let state = lock(&self.state);
        if let Some(ids) = call.list("ids") {
            if ids.len() > PAGE {
                return Err(Reply::error(400, "too_many_ids", "at most 50 ids"));
            }
            let orders = ids
                .iter()
                .filter_map(|id| state.orders.get(&id.parse().ok()?));
            let orders: Vec<Value> = orders.map(order_json).collect();
            return Ok(Reply::ok(
                &json!({ "orders": orders, "next": null, "server_time": now }),
            ));
        }
        let visible = state
            .orders
            .values()
            .filter(|order| order.visible_at <= now);
        let key = |order: &ShopOrder| (order.placed_at, order.id);
        let (rows, next) = page(call, "placed_after", PAGE, visible, key)?;
        let orders: Vec<Value> = rows.into_iter().map(order_json).collect();
        Ok(Reply::ok(
            &json!({ "orders": orders, "next": next, "server_time": now }),
        ))
    }

    fn fulfil(
        &self,
        state: &mut State,
        id: &str,
        call: &Call,
        now: Timestamp,
    ) -> Result<(u16, Value), Reply> {
        let wanted: NewParcel = call.parse()?;
        let order = id
            .parse()
            .ok()
            .and_then(|id: u64| state.orders.get_mut(&id));
        let Some(order) = order else {
            return Err(Reply::error(
                404,
                "no_such_order",
                format!("there is no order {id}"),
            ));
        };
        if order.status == OrderStatus::Cancelled {
            return Err(Reply::error(
                409,
                "order_cancelled",
                "the buyer called it off",
            ));
        }
        let lines = wanted.lines_of(order)?;
        state.last_parcel += 1;
        let parcel = Parcel {
            id: format!("F{}", state.last_parcel),
            reference: wanted.reference,
            carrier: wanted.carrier,
            tracking_numbers: wanted.tracking_numbers,
            lines,
        };
        let mut units = Vec::new();
        for part in &parcel.lines {
            *order.shipped.entry(part.line_id.clone()).or_default() += part.quantity;
            let Some(line) = order.lines.iter().find(|line| line.id == part.line_id) else {
                continue;
            };
            units.push(Units::new(&line.sku, part.quantity));
            if let Some(product) = state.products.get_mut(&line.sku) {
                product.on_hand -= part.quantity;
                product.allocated -= part.quantity;
            }
        }
        let is_whole = order.lines.iter().all(|line| order.open(line) == 0);
        order.status = if is_whole {
            OrderStatus::Shipped
        } else {
            OrderStatus::PartiallyShipped
        };
        order.updated_at = now;
        order.parcels.push(parcel.clone());
        self.audit.record(
            &self.options.name,
            Fact::TrackingTold {
                order: id.to_owned(),
                reference: parcel.reference.clone(),
                tracking: parcel.tracking_numbers.clone(),
                units,
            },
        );
        Ok((201, json!(parcel)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewParcel {
    reference: String,
    carrier: String,
    #[serde(default)]
    tracking_numbers: Vec<String>,
    #[serde(default)]
    lines: Vec<NewParcelLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewParcelLine {
    line_id: Option<String>,
    sku: Option<String>,
    quantity: i64,
}

impl NewParcel {
    /// Which pieces of which lines of the order are meant.
    fn lines_of(&self, order: &ShopOrder) -> Result<Vec<ParcelLine>, Reply> {
        let refuse = |message: String| Reply::error(422, "nothing_to_ship", message);
        let mut open: Vec<(String, String, i64)> = order
            .lines
            .iter()
            .map(|line| (line.id.clone(), line.sku.clone(), order.open(line)))
            .collect();
        if self.lines.is_empty() {
            let rest = open.into_iter().filter(|(_, _, open)| *open > 0);
            let rest: Vec<ParcelLine> = rest
                .map(|(line_id, _, quantity)| ParcelLine { line_id, quantity })
                .collect();
            if rest.is_empty() {
                return Err(refuse("everything has left already".to_owned()));
            }
            return Ok(rest);
        }
        let mut lines = Vec::new();
        for part in &self.lines {
            let mut left = part.quantity;
            for (id, sku, open) in &mut open {
                let is_meant = match (&part.line_id, &part.sku) {
                    (Some(wanted), _) => wanted == id,
                    (None, Some(wanted)) => wanted == sku,
                    (None, None) => false,
                };
                let quantity = left.min(*open);
                if is_meant && quantity > 0 {
                    *open -= quantity;
                    left -= quantity;
                    lines.push(ParcelLine {
                        line_id: id.clone(),
                        quantity,
                    });
                }
            }
            if left > 0 || part.quantity < 1 {
                return Err(refuse("more than is open, or no such line".to_owned()));
            }
        }
        Ok(lines)
    }
}

fn order_json(order: &ShopOrder) -> Value {
    let buyer = &order.buyer;
    let address = json!({
        "name": buyer.name,
        "company": buyer.company,
        "street": buyer.street,
        "city": buyer.city,
        "postal_code": buyer.postal_code,
        "country": buyer.country,
        "phone": buyer.phone,
    });
    let lines = order.lines.iter().map(|line| {
        let mut json = json!(line);
        json["shipped"] = json!(order.shipped.get(&line.id).copied().unwrap_or(0));
        json
    });
    let lines: Vec<Value> = lines.collect();
    let sum = |of: fn(&crate::sandbox::basket::PricedLine) -> i64| {
        order.lines.iter().map(of).sum::<i64>()
    };
    json!({
        "id": order.id.to_string(),
        "number": order.number,
        "placed_at": order.placed_at,
        "updated_at": order.updated_at,
        "status": order.status,
        "currency": CURRENCY,
        "prices_include_tax": true,
        "customer": {
            "id": buyer.account,
            "name": buyer.name,
            "company": buyer.company,
            "email": buyer.email,
            "phone": buyer.phone,
        },
        "shipping_address": address,
        "billing_address": null,
        "lines": lines,
        "shipping": order.shipping,
        "coupon": order.coupon.as_ref().map(|(code, percent)| {
            json!({ "code": code, "percent": percent, "amount": sum(|line| line.discount) })
        }),
        "payments": [{ "id": format!("p{}", order.id), "method": "card", "amount": order.total() }],
        "totals": {
            "lines_net": sum(|line| line.net),
            "shipping_net": order.shipping.net,
            "tax": sum(|line| line.tax) + order.shipping.tax,
            "grand_total": order.total(),
        },
        "note": order.note,
        "fulfilments": order.parcels,
    })
}
