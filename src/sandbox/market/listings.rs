//! Listings: what the merchant offers, read and patched.
//!
//! A patch is checked at once (`INVALID` names what is wrong), accepted, and applied later, those of one
//! SKU in their order. Whether there is such a listing is no reason to refuse it.

use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Market, State, api, order_json, whole_second};
use crate::clock::{Timestamp, later};
use crate::sandbox::audit::{Fact, lock};
use crate::sandbox::basket::CURRENCY;
use crate::sandbox::serve::{Call, Reply};

/// What is offered under one SKU.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) title: String,
    /// With tax, in cents.
    pub(super) price: i64,
    /// How many it still sells.
    pub(super) quantity: i64,
    /// It is whole: not only a number and a price that somebody wrote to an unknown SKU.
    pub(super) buyable: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Listing {
    pub(super) fn new(title: &str, price: i64, now: Timestamp) -> Self {
        Self {
            title: title.to_owned(),
            price,
            quantity: 0,
            buyable: true,
            created_at: whole_second(now),
            updated_at: whole_second(now),
        }
    }

    fn unfinished(now: Timestamp) -> Self {
        Self {
            buyable: false,
            ..Self::new("", 0, now)
        }
    }
}

/// A write that was accepted.
#[derive(Debug)]
pub(super) struct Submission {
    due: Timestamp,
    sku: String,
    changes: Vec<Change>,
}

/// What a write does to a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// So many are for sale.
    Quantity(i64),
    /// With tax, in cents.
    Price(i64),
    /// Nothing is for sale any more.
    Delete,
}

/// What is wrong with a write.
#[derive(Debug)]
pub(super) struct Issue {
    code: &'static str,
    message: String,
    attribute: String,
    category: &'static str,
}

impl Issue {
    fn new(code: &'static str, attribute: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            attribute: attribute.to_owned(),
            category: "INVALID_ATTRIBUTE",
        }
    }

    /// Wrong with a message of a feed as a whole.
    pub(super) fn about_message(message: &str) -> Self {
        Self::new("90220", "", message)
    }

    /// As a reply to a patch shows it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "code": self.code,
            "message": self.message,
            "severity": "ERROR",
            "attributeNames": [self.attribute],
            "categories": [self.category],
        })
    }

    /// As the report of a feed shows it.
    pub(super) fn in_report(&self, message: u64, sku: &str) -> Value {
        json!({
            "messageId": message,
            "sku": sku,
            "code": self.code,
            "severity": "ERROR",
            "message": self.message,
            "attributeName": self.attribute,
        })
    }
}

/// One JSON Patch operation.
#[derive(Debug, Deserialize)]
pub(super) struct Patch {
    op: String,
    path: String,
    #[serde(default)]
    value: Vec<Value>,
}

/// What patches do, or all that is wrong with them.
pub(super) fn changes_of(patches: &[Patch]) -> Result<Vec<Change>, Vec<Issue>> {
    let mut changes = Vec::new();
    let mut issues = Vec::new();
    for patch in patches {
        let attribute = patch.path.strip_prefix("/attributes/");
        let known = ["add", "replace", "merge", "delete"].contains(&patch.op.as_str());
        let change = match (known, attribute) {
            (true, Some(attribute)) => change_of(attribute, &patch.value, patch.op == "delete"),
            _ => Err(Issue::new(
                "90000900",
                &patch.path,
                "The attributes are invalid.",
            )),
        };
        match change {
            Ok(change) => changes.push(change),
            Err(issue) => issues.push(issue),
        }
    }
    if issues.is_empty() {
        Ok(changes)
    } else {
        Err(issues)
    }
}

/// What one attribute does.
pub(super) fn change_of(attribute: &str, value: &[Value], delete: bool) -> Result<Change, Issue> {
    match attribute {
        "fulfillment_availability" if delete => Ok(Change::Quantity(0)),
        "fulfillment_availability" => quantity_of(value),
        "purchasable_offer" if !delete => price_of(value),
        _ => Err(Issue::new(
            "90000900",
            attribute,
            format!("The attribute '{attribute}' is not valid for the product type."),
        )),
    }
}

fn quantity_of(value: &[Value]) -> Result<Change, Issue> {
    const NAME: &str = "fulfillment_availability";
    let wrong = |message: &str| Err(Issue::new("99022", NAME, message));
    let [channel] = value else {
        return wrong("The attribute 'fulfillment_availability' needs one value.");
    };
    if channel["fulfillment_channel_code"] != "DEFAULT" {
        return wrong("The 'fulfillment_channel_code' is not valid for this merchant.");
    }
    match channel["quantity"].as_i64() {
        Some(quantity) if quantity >= 0 => Ok(Change::Quantity(quantity)),
        _ => wrong("The 'quantity' must be a whole number of at least '0'."),
    }
}

fn price_of(value: &[Value]) -> Result<Change, Issue> {
    const NAME: &str = "purchasable_offer.our_price";
    let wrong = |message: &str| Err(Issue::new("99022", NAME, message));
    let Some(offer) = value.first() else {
        return wrong("The attribute 'purchasable_offer' needs a value.");
    };
    if offer["currency"] != CURRENCY {
        return wrong("The 'currency' is not that of the store.");
    }
    let amount = &offer["our_price"][0]["schedule"][0]["value_with_tax"];
    let cents = match amount {
        Value::Number(number) => Decimal::from_str(&number.to_string()).ok(),
        _ => None,
    };
    let cents = cents.map(|amount| amount * Decimal::ONE_HUNDRED);
    match cents.filter(|cents| cents.fract().is_zero() && !cents.is_sign_negative()) {
        Some(cents) => match cents.to_i64() {
            Some(cents) => Ok(Change::Price(cents)),
            None => wrong("The 'value_with_tax' is too large."),
        },
        None => wrong("The 'value_with_tax' must be a number with at most '2' decimals."),
    }
}

impl Market {
    pub(super) fn get_listing(
        &self,
        state: &State,
        segments: &[&str],
        call: &Call,
    ) -> Result<Reply, Reply> {
        let sku = self.own_listing(segments, call)?;
        let Some(listing) = state.listings.get(sku) else {
            let store = &self.options.marketplace_id;
            let text = format!("SKU '{sku}' not found in marketplace {store}");
            return Err(api::error(404, "NOT_FOUND", &text));
        };
        Ok(Reply::ok(&self.item(sku, listing, call)))
    }

    /// `searchListingsItems`: by SKU, at most 20; what is not there is left out.
    pub(super) fn search_listings(
        &self,
        state: &State,
        seller: &str,
        call: &Call,
    ) -> Result<Reply, Reply> {
        self.check_owner(seller, call)?;
        let skus = call.list("identifiers").unwrap_or_default();
        let kind = call.query.get("identifiersType").map(String::as_str);
        if kind != Some("SKU") || skus.is_empty() || skus.len() > 20 {
            let text = "The parameters 'identifiers' and 'identifiersType' are missing or invalid.";
            return Err(api::invalid_input(text));
        }
        let size = call
            .query
            .get("pageSize")
            .map_or(Ok(10), |text| text.parse());
        let Ok(size @ 1..=20) = size else {
            return Err(api::invalid_input("The parameter 'pageSize' is invalid."));
        };
        let found = skus.iter().filter_map(|sku| {
            let listing = state.listings.get(sku)?;
            Some(self.item(sku, listing, call))
        });
        let mut items: Vec<Value> = found.collect();
        let all = items.len();
        items.truncate(size);
        Ok(Reply::ok(
            &json!({ "numberOfResults": all, "items": items }),
        ))
    }

    fn item(&self, sku: &str, listing: &Listing, call: &Call) -> Value {
        let wanted = call.list("includedData");
        let wants = |name: &str| match &wanted {
            Some(names) => names.iter().any(|wanted| wanted == name),
            None => name == "summaries",
        };
        let mut body = json!({ "sku": sku });
        if wants("summaries") {
            body["summaries"] = self.summaries(sku, listing);
        }
        if wants("attributes") {
            body["attributes"] = self.attributes(listing);
        }
        if wants("issues") {
            body["issues"] = json!([]);
        }
        if wants("offers") && listing.price > 0 {
            body["offers"] = json!([{
                "marketplaceId": self.options.marketplace_id,
                "offerType": "B2C",
                "price": order_json::money(listing.price),
            }]);
        }
        if wants("fulfillmentAvailability") {
            let quantity = listing.quantity;
            body["fulfillmentAvailability"] =
                json!([{ "fulfillmentChannelCode": "DEFAULT", "quantity": quantity }]);
        }
        body
    }

    fn summaries(&self, sku: &str, listing: &Listing) -> Value {
        let status = match (listing.buyable, listing.quantity > 0) {
            (true, true) => json!(["BUYABLE", "DISCOVERABLE"]),
            (true, false) => json!(["DISCOVERABLE"]),
            (false, _) => json!([]),
        };
        json!([{
            "marketplaceId": self.options.marketplace_id,
            "asin": order_json::asin(sku),
            "productType": "PRODUCT",
            "conditionType": "new_new",
            "status": status,
            "itemName": listing.title,
            "createdDate": listing.created_at,
            "lastUpdatedDate": listing.updated_at,
        }])
    }

    fn attributes(&self, listing: &Listing) -> Value {
        let price = order_json::number(listing.price);
        json!({
            "fulfillment_availability": [
                { "fulfillment_channel_code": "DEFAULT", "quantity": listing.quantity },
            ],
            "purchasable_offer": [{
                "marketplace_id": self.options.marketplace_id,
                "currency": CURRENCY,
                "our_price": [{ "schedule": [{ "value_with_tax": price }] }],
            }],
        })
    }

    pub(super) fn patch_listing(
        &self,
        state: &mut State,
        segments: &[&str],
        call: &Call,
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wanted {
            product_type: String,
            patches: Vec<Patch>,
        }
        let sku = self.own_listing(segments, call)?;
        let wanted: Wanted = api::body(call)?;
        if wanted.product_type.is_empty() || wanted.patches.is_empty() {
            let text = "Request has missing or invalid parameters and cannot be parsed.";
            return Err(api::invalid_input(text));
        }
        let is_preview = call.query.get("mode").map(String::as_str) == Some("VALIDATION_PREVIEW");
        let changes = changes_of(&wanted.patches);
        let status = match &changes {
            Ok(_) if is_preview => "VALID",
            Ok(_) => "ACCEPTED",
            Err(_) => "INVALID",
        };
        let issues: Vec<Value> = match &changes {
            Ok(_) => Vec::new(),
            Err(issues) => issues.iter().map(Issue::to_json).collect(),
        };
        if let Ok(changes) = changes
            && !is_preview
        {
            let forgets = std::mem::take(&mut state.forgets_next);
            if !forgets {
                self.submit(state, sku, changes, now);
            }
        }
        state.last_submission += 1;
        let submission = format!("{:032x}", state.last_submission);
        Ok(Reply::ok(&json!({
            "sku": sku,
            "status": status,
            "submissionId": submission,
            "issues": issues,
        })))
    }

    /// The SKU of a request that is about our merchant's listing in our store.
    fn own_listing<'a>(&self, segments: &[&'a str], call: &Call) -> Result<&'a str, Reply> {
        let [.., seller, sku] = segments else {
            return Err(api::invalid_input("Invalid input"));
        };
        self.check_owner(seller, call)?;
        Ok(*sku)
    }

    fn check_owner(&self, seller: &str, call: &Call) -> Result<(), Reply> {
        if seller != self.options.seller_id {
            let text = "Access to requested resource is denied.";
            return Err(api::error(403, "Unauthorized", text));
        }
        let stores = call.list("marketplaceIds").unwrap_or_default();
        if stores != [self.options.marketplace_id.clone()] {
            let text = "The parameter 'marketplaceIds' is missing or invalid.";
            return Err(api::invalid_input(text));
        }
        Ok(())
    }

    /// Takes a write on, to be applied after those of the same SKU that came before.
    pub(super) fn submit(
        &self,
        state: &mut State,
        sku: &str,
        changes: Vec<Change>,
        now: Timestamp,
    ) {
        state.submissions.push(Submission {
            due: later(now, self.options.apply_lag),
            sku: sku.to_owned(),
            changes,
        });
    }

    pub(super) fn apply_submissions(&self, state: &mut State, now: Timestamp) {
        let (due, waiting) = std::mem::take(&mut state.submissions)
            .into_iter()
            .partition(|one: &Submission| one.due <= now);
        state.submissions = waiting;
        for submission in due {
            let Submission { due, sku, changes } = submission;
            let listing = state
                .listings
                .entry(sku.clone())
                .or_insert_with(|| Listing::unfinished(due));
            listing.updated_at = whole_second(due);
            for change in changes {
                self.apply(&sku, listing, change);
            }
        }
    }

    fn apply(&self, sku: &str, listing: &mut Listing, change: Change) {
        let name = &self.options.name;
        let sku = sku.to_owned();
        let quantity = match change {
            Change::Quantity(quantity) => quantity,
            Change::Delete => 0,
            Change::Price(price) => {
                listing.price = price;
                if listing.buyable {
                    let told = Fact::ItemTold {
                        sku: sku.clone(),
                        created: false,
                    };
                    self.audit.record(name, told);
                    self.audit.record(name, Fact::Priced { sku, price });
                }
                return;
            }
        };
        listing.quantity = quantity;
        listing.buyable &= change != Change::Delete;
        // Nobody can buy of an unfinished one, whatever it says.
        let on_hand = if listing.buyable { quantity } else { 0 };
        let told = Fact::StockTold {
            sku,
            on_hand,
            allocated: 0,
        };
        self.audit.record(name, told);
    }

    /// Everything for sale, and how many.
    pub fn quantities(&self) -> std::collections::BTreeMap<String, i64> {
        let state = lock(&self.state);
        let listings = state.listings.iter();
        listings
            .filter(|(_, listing)| listing.buyable)
            .map(|(sku, listing)| (sku.clone(), listing.quantity))
            .collect()
    }
}
