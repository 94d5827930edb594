//! A practice till system: sales with sequence numbers, some of them late.
//!
//! A till that loses its line goes on selling; its sales get their numbers when it is back, and then
//! carry the earlier moment at which they were made. So a reader must follow `seq`, never `sold_at`.
//!
//! ```text
//! every request: X-Api-Key
//! GET /sales ?since_seq&limit      {sales, last_seq, server_time}; seq above since_seq, at most 100
//! GET /sales ?ids=T1-000001        {sales, …}
//! PUT /articles [{sku, title, price, tax_rate}]   200 {results: [{sku, ok}]}; upsert by SKU
//! ```
//!
//! Money in cents with tax. The goods leave with the buyer, so the sale is complete when it is made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::{Value, json};

use super::audit::{AuditLog, Fact, Units, lock};
use super::basket::{CURRENCY, PricedLine};
use super::catalog::Article;
use super::serve::{Call, Reply, System};
use crate::clock::Timestamp;

/// The largest page of sales.
const PAGE: usize = 100;

/// One sale at the till.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// What the reader follows.
    pub seq: u64,
    /// The till's id of it.
    pub id: String,
    /// By the system's clock.
    pub sold_at: Timestamp,
    /// When its system learnt of it, by the same clock.
    pub uploaded_at: Timestamp,
    /// What.
    pub lines: Vec<PricedLine>,
}

impl Sale {
    /// What the buyer paid, in cents.
    pub fn total(&self) -> i64 {
        self.lines.iter().map(|line| line.gross).sum()
    }
}

/// A practice till system with one till.
#[derive(Debug)]
pub struct Pos {
    name: String,
    audit: Arc<AuditLog>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// SKU to title, price and tax rate.
    articles: BTreeMap<String, (String, i64, i64)>,
    sales: Vec<Sale>,
    /// Made while the line was down.
    kept: Vec<Sale>,
    offline: bool,
    last_sale: u64,
}

impl Pos {
    /// A till that knows all `articles`.
    pub fn new(name: &str, audit: Arc<AuditLog>, articles: &[Article]) -> Self {
        let mut state = State::default();
        for article in articles {
            let known = (article.title.clone(), article.price, article.tax_rate);
            state.articles.insert(article.sku.clone(), known);
        }
        Self {
            name: name.to_owned(),
            audit,
            state: Mutex::new(state),
        }
    }

    /// Takes the till off the line, or back on it: then what it kept is uploaded.
    pub fn set_offline(&self, offline: bool, now: Timestamp) {
        let mut state = lock(&self.state);
        state.offline = offline;
        if offline {
            return;
        }
        let kept = std::mem::take(&mut state.kept);
        for mut sale in kept {
            sale.seq = state.sales.len() as u64 + 1;
            sale.uploaded_at = now;
            let order = sale.id.clone();
            self.audit.record(&self.name, Fact::Uploaded { order });
            state.sales.push(sale);
        }
    }

    /// Whether the till is off the line.
    pub fn is_offline(&self) -> bool {
        lock(&self.state).offline
    }

    /// Somebody pays at the till; returns the sale's id. `now` is the system's clock. Unknown articles
    /// are left out; nothing happens when none is known.
    pub fn sell(&self, lines: &[(String, i64)], now: Timestamp) -> Option<String> {
        let mut state = lock(&self.state);
        let id = format!("T1-{:06}", state.last_sale + 1);
        let known = lines.iter().enumerate().filter_map(|(n, (sku, quantity))| {
            let (title, price, tax_rate) = state.articles.get(sku)?;
            let line_id = format!("{id}-{}", n + 1);
            let priced = (*price, *tax_rate);
            Some(PricedLine::new(line_id, (sku, title), *quantity, priced, 0))
        });
        let lines: Vec<PricedLine> = known.collect();
        if lines.is_empty() {
            return None;
        }
        state.last_sale += 1;
        let offline = state.offline;
        let sale = Sale {
            seq: if offline {
                0
            } else {
                state.sales.len() as u64 + 1
            },
            id: id.clone(),
            sold_at: now,
            uploaded_at: now,
            lines,
        };
        let units = sale
            .lines
            .iter()
            .map(|line| Units::new(&line.sku, line.quantity));
        let placed = Fact::Placed {
            order: id.clone(),
            units: units.collect(),
            total: sale.total(),
        };
        self.audit.record(&self.name, placed);
        if offline {
            state.kept.push(sale);
        } else {
            let order = id.clone();
            self.audit.record(&self.name, Fact::Uploaded { order });
            state.sales.push(sale);
        }
        Some(id)
    }

    /// The sales that the till's system knows, in the order of `seq`.
    pub fn sales(&self) -> Vec<Sale> {
        lock(&self.state).sales.clone()
    }

    fn route(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        if call.headers.get("x-api-key").map(String::as_str) != Some("practice") {
            return Err(Reply::error(401, "bad_key", "wrong X-Api-Key"));
        }
        match (call.method.as_str(), call.path.as_str()) {
            ("GET", "/sales") => self.list(call, now),
            ("PUT", "/articles") => self.set_articles(call),
            _ => Err(Reply::no_route()),
        }
    }

    fn list(&self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        let state = lock(&self.state);
        let since = call.number("since_seq")?.unwrap_or(0);
        let limit = call.limit(PAGE)?;
        let ids = call.list("ids");
        let wanted = state.sales.iter().filter(|sale| match &ids {
            Some(ids) => ids.contains(&sale.id),
            None => sale.seq > since,
        });
        let sales: Vec<Value> = wanted.take(limit).map(sale_json).collect();
        Ok(Reply::ok(&json!({
            "sales": sales,
            "last_seq": state.sales.len(),
            "server_time": now,
        })))
    }

    fn set_articles(&self, call: &Call) -> Result<Reply, Reply> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Row {
            sku: String,
            title: String,
            price: i64,
            tax_rate: i64,
        }
        let rows: Vec<Row> = call.parse()?;
        let mut state = lock(&self.state);
        let results = rows.into_iter().map(|row| {
            let sku = row.sku.clone();
            let known = (row.title, row.price, row.tax_rate);
            let created = state.articles.insert(row.sku, known).is_none();
            let result = json!({ "sku": sku, "ok": true });
            self.audit
                .record(&self.name, Fact::ItemTold { sku, created });
            result
        });
        let results: Vec<Value> = results.collect();
        Ok(Reply::ok(&json!({ "results": results })))
    }
}

impl System for Pos {
    fn name(&self) -> &str {
        &self.name
    }

    fn answer(&self, call: &Call, now: Timestamp) -> Reply {
        self.route(call, now).unwrap_or_else(|refusal| refusal)
    }
}

fn sale_json(sale: &Sale) -> Value {
    let net: i64 = sale.lines.iter().map(|line| line.net).sum();
    json!({
        "seq": sale.seq,
        "id": sale.id,
        "till": "T1",
        "sold_at": sale.sold_at,
        "uploaded_at": sale.uploaded_at,
        "currency": CURRENCY,
        "lines": sale.lines,
        "payment": { "method": "cash", "amount": sale.total() },
        "net": net,
        "tax": sale.total() - net,
        "total": sale.total(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::sandbox::catalog::articles;

    fn list(pos: &Pos, since: u64, now: Timestamp) -> Value {
        let call = Call::new("GET", &format!("/sales?since_seq={since}"), "");
        pos.answer(&call.with_header("x-api-key", "practice"), now)
            .value()
    }

    /// A till that was offline: its sales come late, with a higher number and an earlier moment.
    #[test]
    fn late_sales_keep_their_moment_and_get_a_new_number() {
        let start: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let clock = ManualClock::at(start);
        let pos = Pos::new("pos", AuditLog::new(Arc::new(clock)), &articles(1, 8));
        let at = |secs| crate::clock::later(start, Duration::from_secs(secs));
        let basket = [("0017".to_owned(), 2)];
        pos.sell(&basket, at(0)).unwrap();
        pos.set_offline(true, at(1));
        pos.sell(&basket, at(2)).unwrap();
        assert_eq!(list(&pos, 1, at(3))["sales"], json!([]));
        pos.set_offline(false, at(60));
        pos.sell(&basket, at(61)).unwrap();
        let sales = list(&pos, 1, at(62))["sales"].clone();
        assert_eq!(sales[0]["id"], "T1-000002");
        assert_eq!(sales[0]["seq"], 2);
        assert_eq!(sales[0]["sold_at"], json!(at(2)));
        assert_eq!(sales[1]["seq"], 3);
    }

    #[test]
    fn without_the_key_nothing_is_told() {
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
        let pos = Pos::new("pos", AuditLog::new(Arc::new(clock)), &articles(1, 8));
        assert_eq!(
            pos.answer(&Call::new("GET", "/sales", ""), Timestamp::MIN)
                .status,
            401
        );
    }
}
