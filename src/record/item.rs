//! Items: one record per sellable or stockable unit. A variant is an item with a `group_id`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Money, Percent, Presence, Quantity, Sku, gtin14};
use crate::fault::Fault;

/// What kind of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// An article of its own.
    #[default]
    Simple,
    /// Made of components; has no stock of its own.
    Bundle,
    /// Work, shipping, insurance: never in stock.
    Service,
    /// A voucher.
    GiftCard,
    /// A download or licence.
    Digital,
}

/// Whether it can be sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// On sale.
    #[default]
    Active,
    /// Not yet on sale.
    Draft,
    /// No longer on sale.
    Archived,
    /// Gone at the source.
    Deleted,
}

/// How single pieces are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackingPolicy {
    /// They are not.
    #[default]
    None,
    /// By lot.
    Lot,
    /// By serial number.
    Serial,
}

/// Another name for the same item.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Alias {
    /// Where it is called so; everywhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// `sku`, `asin`, `supplier`, `mpn`, `old`.
    pub kind: String,
    /// The name.
    pub value: String,
}

/// One part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Component {
    /// Of which item.
    pub sku: Sku,
    /// How many in one bundle.
    pub quantity: Quantity,
}

/// Outer sizes in millimetres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dimensions {
    /// Longest side.
    pub length_mm: u32,
    /// Middle side.
    pub width_mm: u32,
    /// Height.
    pub height_mm: u32,
}

/// A sellable or stockable unit. Natural key: `sku`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its stock keeping unit.
    pub sku: Sku,
    /// Other names it goes by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Alias>,
    /// Its trade item number as the source wrote it; see [`gtin14`].
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub gtin: Presence<String>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub name: Presence<String>,
    /// Text or HTML, as the source has it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub description: Presence<String>,
    /// Who makes it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub brand: Presence<String>,
    /// What its variants have in common: the id of the product or template at the source.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub group_id: Presence<String>,
    /// What the group is called, where it differs from `name`.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub group_name: Presence<String>,
    /// What tells it from its siblings: `{"size": "M"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// What kind of thing it is.
    #[serde(default)]
    pub kind: ItemKind,
    /// The parts of a bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    /// UN/ECE Recommendation 20 code; `C62` is one piece.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub stock_unit: Presence<String>,
    /// How many stock units are sold as one.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub pack_size: Presence<Quantity>,
    /// Ordered from a supplier only in multiples of this.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub order_multiple: Presence<Quantity>,
    /// The price that a source carries on the item itself; lists are in the stream `prices`.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub price: Presence<Money>,
    /// Whether `price` includes tax.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub price_includes_tax: Presence<bool>,
    /// What it costs us.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub cost: Presence<Money>,
    /// `S`, `Z`, `E`, `AE` … (UNCL 5305), or what the source calls it.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub tax_category: Presence<String>,
    /// Percent: 19 is 19 %.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub tax_rate: Presence<Percent>,
    /// Grams.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub weight_g: Presence<u32>,
    /// Outer sizes.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub dims_mm: Presence<Dimensions>,
    /// Customs tariff number.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub hs_code: Presence<String>,
    /// ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Presence::is_absent")]
    pub origin_country: Presence<String>,
    /// How single pieces are told apart.
    #[serde(default)]
    pub tracking_policy: TrackingPolicy,
    /// Whether it can be sold.
    #[serde(default)]
    pub status: ItemStatus,
    /// Addresses of pictures, main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Anything else that is carried as it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, serde_json::Value>,
}

impl Item {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.kind == ItemKind::Bundle && self.components.is_empty() {
            let message = "a bundle has no components: its stock cannot be known";
            return Err(Fault::reject("bundle_without_components", message));
        }
        if self
            .components
            .iter()
            .any(|part| !part.quantity.is_positive())
        {
            return Err(Fault::reject(
                "bad_component",
                "a component's quantity must be above zero",
            ));
        }
        Ok(())
    }

    /// The trade item number as GTIN-14, if it is one.
    pub fn gtin14(&self) -> Option<String> {
        self.gtin.value().and_then(|text| gtin14(text))
    }
}
