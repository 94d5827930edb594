//! What a basket costs: whole cents, tax inside the price, a coupon spread over the lines.

use serde::Serialize;

use super::catalog::Buyer;

/// The currency of the practice world.
pub const CURRENCY: &str = "EUR";
/// The tax on shipping, in percent.
const SHIPPING_TAX_RATE: i64 = 19;

/// What somebody wants to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basket {
    /// Who.
    pub buyer: Buyer,
    /// SKU and pieces.
    pub lines: Vec<(String, i64)>,
    /// Code and percent off.
    pub coupon: Option<(String, i64)>,
    /// What shipping costs with tax, in cents.
    pub shipping: i64,
    /// What the buyer wrote.
    pub note: Option<String>,
}

/// One line with its amounts, in cents, for all its pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PricedLine {
    /// The line's id at the channel.
    pub id: String,
    /// Of which item.
    pub sku: String,
    /// What the buyer saw.
    pub title: String,
    /// How many.
    pub quantity: i64,
    /// What one costs with tax before the discount.
    pub unit_price: i64,
    /// Off, with tax.
    pub discount: i64,
    /// Percent.
    pub tax_rate: i64,
    /// After the discount, without tax.
    pub net: i64,
    /// The tax.
    pub tax: i64,
    /// After the discount, with tax.
    pub gross: i64,
}

/// Shipping with its amounts, in cents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PricedShipping {
    /// As a buyer reads it.
    pub title: String,
    /// Percent.
    pub tax_rate: i64,
    /// Without tax.
    pub net: i64,
    /// The tax.
    pub tax: i64,
    /// With tax.
    pub gross: i64,
}

impl PricedLine {
    /// A line of `quantity` pieces at `unit_price`, `percent` off.
    pub fn new(
        id: String,
        (sku, title): (&str, &str),
        quantity: i64,
        (unit_price, tax_rate): (i64, i64),
        percent: i64,
    ) -> Self {
        let full = unit_price * quantity;
        let discount = part(full, percent, 100);
        let gross = full - discount;
        let tax = part(gross, tax_rate, 100 + tax_rate);
        Self {
            id,
            sku: sku.to_owned(),
            title: title.to_owned(),
            quantity,
            unit_price,
            discount,
            tax_rate,
            net: gross - tax,
            tax,
            gross,
        }
    }
}

impl PricedShipping {
    /// Shipping at that price.
    pub fn new(gross: i64) -> Self {
        let tax = part(gross, SHIPPING_TAX_RATE, 100 + SHIPPING_TAX_RATE);
        Self {
            title: "Standard".to_owned(),
            tax_rate: SHIPPING_TAX_RATE,
            net: gross - tax,
            tax,
            gross,
        }
    }
}

/// `amount * share / of` of an amount that is not negative, halves rounded up.
fn part(amount: i64, share: i64, of: i64) -> i64 {
    (2 * amount * share + of) / (2 * of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net_and_tax_add_up_to_the_gross() {
        let line = PricedLine::new("1".into(), ("0017", "Teapot"), 3, (1999, 19), 10);
        assert_eq!((line.discount, line.gross), (600, 5397));
        assert_eq!(line.net + line.tax, line.gross);
        assert_eq!(line.tax, 862); // 5397 * 19 / 119 = 861.7
    }
}
