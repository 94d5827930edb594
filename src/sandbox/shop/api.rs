//! The webstore's HTTP dialect: JSON, money in cents, moments in RFC 3339.
//!
//! ```text
//! POST /login {user, password}              200 {token, expires_in_secs}; then Authorization: Bearer
//! GET  /orders ?placed_after&after_id&limit placed_at inclusive, by (placed_at, id), at most 50;
//!                                           {orders, next: {placed_after, after_id} or null, server_time}
//! GET  /orders ?ids=17,18                   those that are there, whatever their age
//! GET  /orders/17                           one order, parcels among it
//! POST /orders/17/fulfilments               {reference, carrier, tracking_numbers, lines: [{line_id or sku,
//!                                           quantity}]}; no lines: all that is open. 201 the parcel
//! GET  /orders/17/fulfilments               {fulfilments}
//! GET  /products ?skus= or ?updated_after&after_id&limit        {products, next, server_time}
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

use super::{OrderStatus, Parcel, ParcelLine, Product, Shop, ShopOrder, State};
use crate::clock::{Timestamp, later};
use crate::sandbox::audit::{Fact, Units, lock};
use crate::sandbox::basket::CURRENCY;
use crate::sandbox::serve::{Call, Reply, System};

/// The largest page of a list.
const PAGE: usize = 50;
/// The most rows of a batch.
const BATCH: usize = 200;

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
        let from = call.moment("placed_after")?.unwrap_or(Timestamp::MIN);
        let after_id = call.number("after_id")?;
        let limit = call.limit(PAGE)?;
        let is_after = |order: &ShopOrder| match after_id {
            Some(after_id) => (order.placed_at, order.id) > (from, after_id),
            None => order.placed_at >= from,
        };
        let visible = state
            .orders
            .values()
            .filter(|order| order.visible_at <= now);
        let mut rows: Vec<&ShopOrder> = visible.filter(|order| is_after(order)).collect();
        rows.sort_by_key(|order| (order.placed_at, order.id));
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|last| json!({ "placed_after": last.placed_at, "after_id": last.id.to_string() }));
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

    fn list_products(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        let state = lock(&self.state);
        if let Some(skus) = call.list("skus") {
            let products = skus.iter().filter_map(|sku| state.products.get(sku));
            let products: Vec<Value> = products.map(product_json).collect();
            return Ok(Reply::ok(
                &json!({ "products": products, "next": null, "server_time": now }),
            ));
        }
        let from = call.moment("updated_after")?.unwrap_or(Timestamp::MIN);
        let after_id = call.number("after_id")?;
        let limit = call.limit(PAGE)?;
        let is_after = |product: &Product| match after_id {
            Some(after_id) => (product.updated_at, product.id) > (from, after_id),
            None => product.updated_at >= from,
        };
        let mut rows: Vec<&Product> = state.products.values().filter(|p| is_after(p)).collect();
        rows.sort_by_key(|product| (product.updated_at, product.id));
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(
            |last| json!({ "updated_after": last.updated_at, "after_id": last.id.to_string() }),
        );
        let products: Vec<Value> = rows.into_iter().map(product_json).collect();
        Ok(Reply::ok(
            &json!({ "products": products, "next": next, "server_time": now }),
        ))
    }

    fn add(&self, state: &mut State, call: &Call, now: Timestamp) -> Result<(u16, Value), Reply> {
        let wanted: ProductFields = call.parse()?;
        let (Some(sku), Some(title), Some(price)) =
            (wanted.sku.clone(), wanted.title.clone(), wanted.price)
        else {
            return Err(Reply::error(
                422,
                "missing_field",
                "sku, title and price are needed",
            ));
        };
        if let Some(there) = state.products.get(&sku) {
            let body = json!({
                "error": { "code": "sku_taken", "message": "there is a product with this SKU" },
                "id": there.id.to_string(),
            });
            return Err(Reply::json(409, &body));
        }
        check_price(price)?;
        state.add_product(sku.clone(), now, |product| {
            product.title = title;
            wanted.apply(product);
        });
        self.audit.record(
            &self.options.name,
            Fact::ItemTold {
                sku: sku.clone(),
                created: true,
            },
        );
        let body = state.products.get(&sku).map_or(Value::Null, product_json);
        Ok((201, body))
    }

    fn change(&self, id: &str, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        let wanted: ProductFields = call.parse()?;
        if let Some(price) = wanted.price {
            check_price(price)?;
        }
        let mut state = lock(&self.state);
        let product = state
            .products
            .values_mut()
            .find(|product| product.id.to_string() == id);
        let Some(product) = product else {
            return Err(Reply::error(
                404,
                "no_such_product",
                format!("there is no product {id}"),
            ));
        };
        if wanted.sku.as_ref().is_some_and(|sku| *sku != product.sku) {
            return Err(Reply::error(422, "sku_is_fixed", "a SKU never changes"));
        }
        wanted.apply(product);
        product.updated_at = now;
        let (sku, created) = (product.sku.clone(), false);
        self.audit
            .record(&self.options.name, Fact::ItemTold { sku, created });
        Ok(Reply::ok(&product_json(product)))
    }

    fn set_prices(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Row {
            sku: String,
            price: i64,
        }
        let rows: Vec<Row> = batch(call)?;
        let mut state = lock(&self.state);
        let results = rows.iter().map(|row| {
            let Some(product) = state.products.get_mut(&row.sku) else {
                return refused(&row.sku, "unknown_sku", "no product has this SKU");
            };
            if row.price < 0 {
                return refused(&row.sku, "bad_price", "a price is not negative");
            }
            product.price = row.price;
            product.updated_at = now;
            let sku = row.sku.clone();
            self.audit.record(
                &self.options.name,
                Fact::ItemTold {
                    sku,
                    created: false,
                },
            );
            json!({ "sku": row.sku, "ok": true })
        });
        let results: Vec<Value> = results.collect();
        Ok(Reply::ok(&json!({ "results": results })))
    }

    fn set_stock(&self, call: &Call) -> Result<Reply, Reply> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Row {
            sku: String,
            on_hand: i64,
        }
        let rows: Vec<Row> = batch(call)?;
        let mut state = lock(&self.state);
        let results = rows.iter().map(|row| {
            let Some(product) = state.products.get_mut(&row.sku) else {
                return refused(&row.sku, "unknown_sku", "no product has this SKU");
            };
            if row.on_hand < 0 {
                return refused(&row.sku, "bad_quantity", "stock is not negative");
            }
            product.on_hand = row.on_hand;
            self.audit.record(
                &self.options.name,
                Fact::StockTold {
                    sku: row.sku.clone(),
                    on_hand: row.on_hand,
                    allocated: product.allocated,
                },
            );
            let mut result = stock_json(product);
            result["ok"] = json!(true);
            result
        });
        let results: Vec<Value> = results.collect();
        Ok(Reply::ok(&json!({ "results": results })))
    }

    fn list_stock(&self, call: &Call) -> Result<Reply, Reply> {
        let skus = call
            .list("skus")
            .ok_or_else(|| Reply::error(400, "missing_parameter", "`skus` is needed"))?;
        let state = lock(&self.state);
        let rows = skus.iter().filter_map(|sku| state.products.get(sku));
        let rows: Vec<Value> = rows.map(stock_json).collect();
        Ok(Reply::ok(&json!({ "stock": rows })))
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProductFields {
    sku: Option<String>,
    title: Option<String>,
    price: Option<i64>,
    tax_rate: Option<i64>,
    weight_g: Option<i64>,
    active: Option<bool>,
}

impl ProductFields {
    fn apply(self, product: &mut Product) {
        product.title = self
            .title
            .unwrap_or_else(|| std::mem::take(&mut product.title));
        product.price = self.price.unwrap_or(product.price);
        product.tax_rate = self.tax_rate.unwrap_or(product.tax_rate);
        product.weight_g = self.weight_g.or(product.weight_g);
        product.active = self.active.unwrap_or(product.active);
    }
}

fn check_price(price: i64) -> Result<(), Reply> {
    if price < 0 {
        return Err(Reply::error(422, "bad_price", "a price is not negative"));
    }
    Ok(())
}

fn batch<T: serde::de::DeserializeOwned>(call: &Call) -> Result<Vec<T>, Reply> {
    let rows: Vec<T> = call.parse()?;
    if rows.is_empty() || rows.len() > BATCH {
        return Err(Reply::error(422, "bad_batch", "a batch has 1 to 200 rows"));
    }
    Ok(rows)
}

fn refused(sku: &str, code: &str, message: &str) -> Value {
    json!({ "sku": sku, "ok": false, "code": code, "message": message })
}

fn stock_json(product: &Product) -> Value {
    json!({
        "sku": product.sku,
        "on_hand": product.on_hand,
        "allocated": product.allocated,
        "available": product.available(),
    })
}

fn product_json(product: &Product) -> Value {
    json!({
        "id": product.id.to_string(),
        "sku": product.sku,
        "title": product.title,
        "price": product.price,
        "currency": CURRENCY,
        "tax_rate": product.tax_rate,
        "weight_g": product.weight_g,
        "active": product.active,
        "updated_at": product.updated_at,
    })
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
