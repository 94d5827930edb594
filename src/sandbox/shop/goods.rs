//! The part of the webstore's dialect that is about goods: products, prices, stock.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Product, Shop, State};
use crate::clock::Timestamp;
use crate::sandbox::audit::{Fact, lock};
use crate::sandbox::basket::CURRENCY;
use crate::sandbox::paging::page;
use crate::sandbox::serve::{Call, Reply};

/// The largest page of a list.
const PAGE: usize = 50;
/// The most rows of a batch.
const BATCH: usize = 200;

impl Shop {
    pub(super) fn list_products(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        let state = lock(&self.state);
        if let Some(skus) = call.list("skus") {
            let products = skus.iter().filter_map(|sku| state.products.get(sku));
            let products: Vec<Value> = products.map(product_json).collect();
            return Ok(Reply::ok(
                &json!({ "products": products, "next": null, "server_time": now }),
            ));
        }
        let key = |product: &Product| (product.updated_at, product.id);
        let (rows, next) = page(call, "updated_after", PAGE, state.products.values(), key)?;
        let products: Vec<Value> = rows.into_iter().map(product_json).collect();
        Ok(Reply::ok(
            &json!({ "products": products, "next": next, "server_time": now }),
        ))
    }

    pub(super) fn add(
        &self,
        state: &mut State,
        call: &Call,
        now: Timestamp,
    ) -> Result<(u16, Value), Reply> {
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
        self.audit
            .record(&self.options.name, Fact::Priced { sku, price });
        Ok((201, body))
    }

    pub(super) fn change(&self, id: &str, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
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
        let (sku, price) = (product.sku.clone(), product.price);
        self.audit
            .record(&self.options.name, Fact::Priced { sku, price });
        let (sku, created) = (product.sku.clone(), false);
        self.audit
            .record(&self.options.name, Fact::ItemTold { sku, created });
        Ok(Reply::ok(&product_json(product)))
    }

    pub(super) fn set_prices(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
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
            let (sku, price) = (row.sku.clone(), row.price);
            self.audit
                .record(&self.options.name, Fact::Priced { sku, price });
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

    pub(super) fn set_stock(&self, call: &Call) -> Result<Reply, Reply> {
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

    pub(super) fn list_stock(&self, call: &Call) -> Result<Reply, Reply> {
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
