//! Orders: searched, read, and told that packages left.
//!
//! A search is by `createdAfter` or `lastUpdatedAfter` (both inclusive) in the order of that moment. What
//! changed a moment ago is not found yet, however honest its `lastUpdatedTime` is. The token of the next
//! page is good for the same search only, and not for ever.
//!
//! A package has a number that the merchant chose. Telling it again edits it; another number for goods
//! that are no longer open is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Market, MarketOrder, MarketStatus, Package, State, api, order_json};
use crate::clock::{Timestamp, earlier, later};
use crate::sandbox::audit::{Fact, Units};
use crate::sandbox::serve::{Call, Reply};

/// The largest page.
const PAGE: usize = 100;
/// An end of a search must be so long ago.
const SETTLED: Duration = Duration::from_mins(2);

/// What a search asks for.
struct Search {
    by_update: bool,
    after: Timestamp,
    before: Timestamp,
    statuses: Option<Vec<String>>,
    size: usize,
    datasets: Vec<String>,
    /// Behind which row of an earlier page.
    behind: Option<(Timestamp, String)>,
    /// What must stay the same from page to page.
    print: String,
}

impl Search {
    fn read(call: &Call, now: Timestamp) -> Result<Self, Reply> {
        let created = api::moment(call, "createdAfter")?;
        let updated = api::moment(call, "lastUpdatedAfter")?;
        let (by_update, after) = match (created, updated) {
            (Some(after), None) => (false, after),
            (None, Some(after)) => (true, after),
            _ => {
                let text = "Exactly one of 'createdAfter' and 'lastUpdatedAfter' must be provided.";
                return Err(api::invalid_input(text));
            }
        };
        let (own, other) = if by_update {
            ("lastUpdatedBefore", "createdBefore")
        } else {
            ("createdBefore", "lastUpdatedBefore")
        };
        if call.query.contains_key(other) {
            let text = format!("'{other}' does not go with the other parameters.");
            return Err(api::invalid_input(text));
        }
        let before = api::moment(call, own)?;
        if before.is_some_and(|before| before < after || before > earlier(now, SETTLED)) {
            let text = format!("'{own}' must be after the beginning and two minutes ago.");
            return Err(api::invalid_input(text));
        }
        let size = call.query.get("maxResultsPerPage");
        let Ok(size @ 1..=PAGE) = size.map_or(Ok(PAGE), |text| text.parse()) else {
            let text = "'maxResultsPerPage' must be between 1 and 100.";
            return Err(api::invalid_input(text));
        };
        let print = print_of(call);
        Ok(Self {
            by_update,
            after,
            before: before.unwrap_or(now),
            statuses: call.list("fulfillmentStatuses"),
            size,
            datasets: datasets(call)?,
            behind: behind(call, &print, now)?,
            print,
        })
    }

    fn moment(&self, order: &MarketOrder) -> Timestamp {
        if self.by_update {
            order.updated_at
        } else {
            order.created_at
        }
    }

    fn finds(&self, order: &MarketOrder) -> bool {
        let moment = self.moment(order);
        let key = (moment, order.id.clone());
        let is_behind = self.behind.as_ref().is_none_or(|behind| key > *behind);
        let has_status = self.statuses.as_ref().is_none_or(|statuses| {
            let status = json!(order.status);
            statuses.iter().any(|wanted| status == *wanted.as_str())
        });
        is_behind && has_status && moment >= self.after && moment <= self.before
    }
}

/// Everything that must stay the same from page to page.
fn print_of(call: &Call) -> String {
    let free = ["paginationToken", "maxResultsPerPage", "includedData"];
    let fixed = call
        .query
        .iter()
        .filter(|(name, _)| !free.contains(&name.as_str()));
    let text: Vec<String> = fixed
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let bytes = super::first_bytes(&text.join("&"));
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// Where an earlier page ended: a token is `EXPIRES~PRINT~MOMENT~ID`.
fn behind(call: &Call, print: &str, now: Timestamp) -> Result<Option<(Timestamp, String)>, Reply> {
    let Some(token) = call.query.get("paginationToken") else {
        return Ok(None);
    };
    let parts: Vec<&str> = token.split('~').collect();
    let read = match parts.as_slice() {
        [expires, of, at, id] if *of == print => {
            let expires: Option<Timestamp> = expires.parse().ok();
            let is_good = expires.is_some_and(|expires| expires > now);
            at.parse()
                .ok()
                .filter(|_| is_good)
                .map(|at| (at, (*id).to_owned()))
        }
        _ => None,
    };
    let refusal = || api::invalid_input("The 'paginationToken' is invalid or has expired.");
    read.map(Some).ok_or_else(refusal)
}

fn datasets(call: &Call) -> Result<Vec<String>, Reply> {
    let wanted = call.list("includedData").unwrap_or_default();
    let is_known = |name: &String| order_json::DATASETS.contains(&name.as_str());
    if wanted.iter().all(is_known) {
        Ok(wanted)
    } else {
        let text = "The parameter 'includedData' has a value that is not known.";
        Err(api::invalid_input(text))
    }
}

impl Market {
    pub(super) fn search_orders(
        &self,
        state: &State,
        call: &Call,
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        let search = Search::read(call, now)?;
        let stores = call.list("marketplaceIds");
        let is_ours = stores.is_none_or(|stores| stores.contains(&self.options.marketplace_id));
        let merchants = call.list("fulfilledBy");
        let is_ours = is_ours && merchants.is_none_or(|by| by.iter().any(|by| by == "MERCHANT"));
        let orders = state.orders.values();
        let mut found: Vec<&MarketOrder> = orders
            .filter(|order| is_ours && order.visible_at <= now && search.finds(order))
            .collect();
        found.sort_by_key(|order| (search.moment(order), order.id.clone()));
        let more = found.len() > search.size;
        found.truncate(search.size);
        let rows = found
            .iter()
            .map(|order| order_json::order(order, &search.datasets, &self.options));
        let mut body = json!({ "orders": rows.collect::<Vec<Value>>() });
        if let Some(last) = found.last().filter(|_| more) {
            let expires = later(now, self.options.page_token_life);
            let (print, at, id) = (&search.print, search.moment(last), &last.id);
            let token = format!("{expires}~{print}~{at}~{id}");
            body["pagination"] = json!({ "nextToken": token });
        }
        let name = if search.by_update {
            "lastUpdatedBefore"
        } else {
            "createdBefore"
        };
        body[name] = json!(super::whole_second(search.before));
        Ok(Reply::ok(&body))
    }

    pub(super) fn get_order(&self, state: &State, id: &str, call: &Call) -> Result<Reply, Reply> {
        let datasets = datasets(call)?;
        let order = wanted(state, id)?;
        let order = order_json::order(order, &datasets, &self.options);
        Ok(Reply::ok(&json!({ "order": order })))
    }

    pub(super) fn confirm_shipment(
        &self,
        state: &mut State,
        id: &str,
        call: &Call,
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        let told: Told = api::body(call)?;
        if told.marketplace_id != self.options.marketplace_id {
            return Err(api::invalid_input("The 'marketplaceId' is invalid."));
        }
        wanted(state, id)?;
        let Some(order) = state.orders.get_mut(id) else {
            return Err(api::invalid_input("Invalid order"));
        };
        let package = told.package_detail.read(order, now)?;
        let units = package.units(order);
        match order
            .packages
            .iter_mut()
            .find(|known| known.reference == package.reference)
        {
            Some(known) if known.is_same(&package) => return Ok(no_content()),
            Some(known) => *known = package.clone(),
            None => order.packages.push(package.clone()),
        }
        let is_whole = order
            .lines
            .iter()
            .all(|line| order.shipped(&line.id) >= line.quantity);
        order.status = if is_whole {
            MarketStatus::Shipped
        } else {
            MarketStatus::PartiallyShipped
        };
        self.touch(order, now);
        let fact = Fact::TrackingTold {
            order: id.to_owned(),
            reference: package.reference,
            tracking: vec![package.tracking],
            units,
        };
        self.audit.record(&self.options.name, fact);
        Ok(no_content())
    }
}

/// The restricted one of version 0.
pub(super) fn get_address(state: &State, id: &str) -> Result<Reply, Reply> {
    let order = wanted(state, id)?;
    let mut payload = json!({ "AmazonOrderId": order.id });
    if order.status != MarketStatus::Pending {
        let buyer = &order.buyer;
        payload["ShippingAddress"] = json!({
            "Name": buyer.name,
            "AddressLine1": buyer.street,
            "City": buyer.city,
            "PostalCode": buyer.postal_code,
            "CountryCode": buyer.country,
        });
    }
    Ok(Reply::ok(&json!({ "payload": payload })))
}

fn no_content() -> Reply {
    Reply {
        status: 204,
        headers: Vec::new(),
        body: bytes::Bytes::new(),
    }
}

fn wanted<'a>(state: &'a State, id: &str) -> Result<&'a MarketOrder, Reply> {
    let shape: Vec<usize> = id.split('-').map(str::len).collect();
    if shape != [3, 7, 7] {
        return Err(api::invalid_input("The order id is invalid."));
    }
    let missing = || api::error(404, "NotFound", "The requested order does not exist.");
    state.orders.get(id).ok_or_else(missing)
}

/// The body of a confirmation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    marketplace_id: String,
    package_detail: PackageDetail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PackageDetail {
    package_reference_id: String,
    carrier_code: String,
    #[serde(default)]
    carrier_name: String,
    tracking_number: String,
    ship_date: Timestamp,
    order_items: Vec<ToldItem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldItem {
    order_item_id: String,
    quantity: i64,
}

impl PackageDetail {
    fn read(self, order: &MarketOrder, now: Timestamp) -> Result<Package, Reply> {
        let reference = self.package_reference_id;
        let is_number = reference.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || reference.trim_start_matches('0').is_empty() {
            let text = "PackageReferenceId: is invalid, must be a positive numeric value.";
            return Err(api::invalid_input(text));
        }
        if self.carrier_code.is_empty() || self.tracking_number.is_empty() {
            let text = "The carrier code and the tracking number must not be empty.";
            return Err(api::invalid_input(text));
        }
        if self.carrier_code == "Other" && self.carrier_name.is_empty() {
            let text = "CarrierName is required when the carrier code is Other.";
            return Err(api::invalid_input(text));
        }
        let mut items: BTreeMap<String, i64> = BTreeMap::new();
        for item in self.order_items {
            let is_known = order.lines.iter().any(|line| line.id == item.order_item_id);
            if !is_known || item.quantity < 1 {
                return Err(api::invalid_input("The order items are invalid."));
            }
            *items.entry(item.order_item_id).or_default() += item.quantity;
        }
        if items.is_empty() {
            return Err(api::invalid_input("The order items are missing."));
        }
        let others = order.packages.iter();
        let others = others.filter(|package| package.reference != reference);
        let mut left: BTreeMap<&str, i64> = BTreeMap::new();
        for line in &order.lines {
            left.insert(&line.id, line.quantity);
        }
        for (item, pieces) in others.flat_map(|package| &package.items) {
            *left.entry(item).or_default() -= pieces;
        }
        let is_open = items
            .iter()
            .all(|(item, pieces)| left.get(item.as_str()).is_some_and(|left| pieces <= left));
        let may_ship = !matches!(
            order.status,
            MarketStatus::Pending | MarketStatus::Cancelled
        );
        if !is_open || !may_ship {
            return Err(nothing_to_update(&order.id));
        }
        Ok(Package {
            reference,
            carrier: self.carrier_code,
            tracking: self.tracking_number,
            shipped_at: self.ship_date,
            told_at: now,
            items,
        })
    }
}

fn nothing_to_update(order: &str) -> Reply {
    api::invalid_input(format!(
        "Failed to create package due to not finding a matching package or order already fulfilled. \
         ErrorMessage(errorCode=GeneralError, errorDescription=Unable to find package to update for \
         order ({order}), errorMetric=PackageToUpdateNotFound, packageIndex=null)"
    ))
}

impl Package {
    /// Whether nothing new is told.
    fn is_same(&self, other: &Self) -> bool {
        self.tracking == other.tracking
            && self.carrier == other.carrier
            && self.items == other.items
    }

    fn units(&self, order: &MarketOrder) -> Vec<Units> {
        let lines = order.lines.iter();
        let units = lines.filter_map(|line| {
            let pieces = self.items.get(&line.id)?;
            Some(Units::new(&line.sku, *pieces))
        });
        units.collect()
    }
}
