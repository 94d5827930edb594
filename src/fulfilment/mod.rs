//! Which order line a shipped line belongs to. Pure.
//!
//! (Sourcing rules, which decide *who* ships a line, come with the issue that asks for them.)

use std::collections::BTreeMap;

use crate::fault::Fault;
use crate::record::{Line, Presence, Quantity, ShipmentLine};

/// Names the order line of each shipped line in the terms of the order's own connection.
///
/// A shipped line that names no line of the order is matched by SKU, first to the lines that still have
/// something open, in their order; it may be split over several. `shipped` says how much of each line
/// earlier shipments took.
///
/// # Errors
/// `Reject` when more is shipped of a SKU than the order has open: somebody must look, since the channel
/// would refuse it or, worse, take it.
pub fn match_lines(
    lines: &[ShipmentLine],
    order: &[Line],
    shipped: &BTreeMap<String, Quantity>,
) -> Result<Vec<ShipmentLine>, Fault> {
    let mut open: Vec<(&Line, Quantity)> = order
        .iter()
        .map(|line| {
            let before = shipped
                .get(&line.line_id)
                .copied()
                .unwrap_or(Quantity::ZERO);
            let left = line.quantity.0 - line.qty_cancelled.0 - before.0;
            (line, Quantity(left.max(rust_decimal::Decimal::ZERO)))
        })
        .collect();
    let mut matched = Vec::with_capacity(lines.len());
    for shipped_line in lines {
        let mut rest = shipped_line.quantity.0;
        for (line, left) in open
            .iter_mut()
            .filter(|(line, _)| line.sku == shipped_line.sku)
        {
            let take = rest.min(left.0);
            if take > rust_decimal::Decimal::ZERO {
                left.0 -= take;
                rest -= take;
                matched.push(ShipmentLine {
                    order_line: Presence::Value(line.line_id.clone()),
                    quantity: Quantity(take),
                    ..shipped_line.clone()
                });
            }
        }
        if rest > rust_decimal::Decimal::ZERO {
            let sku = &shipped_line.sku;
            let message = format!(
                "{} more of {sku} shipped than the order has open; correct the shipment or dismiss it",
                Quantity(rest)
            );
            return Err(Fault::reject("more_shipped_than_ordered", message));
        }
    }
    Ok(matched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Currency, Money, Sku};

    fn line(id: &str, sku: &str, quantity: i64) -> Line {
        let none = Money::zero(Currency::from_code("EUR").unwrap());
        Line {
            line_id: id.into(),
            sku: Sku::new(sku).unwrap(),
            title: Presence::Absent,
            quantity: Quantity::pieces(quantity),
            unit_price: none,
            prices_include_tax: true,
            discounts: vec![],
            charges: vec![],
            taxes: vec![],
            line_net: none,
            line_gross: none,
            qty_cancelled: Quantity::ZERO,
            qty_shipped: Quantity::ZERO,
            qty_returned: Quantity::ZERO,
            qty_backordered: Quantity::ZERO,
            gift: Presence::Absent,
            personalisation: BTreeMap::new(),
            bundle_parent: Presence::Absent,
        }
    }

    fn shipped(sku: &str, quantity: i64) -> ShipmentLine {
        ShipmentLine {
            order_line: Presence::Absent,
            sku: Sku::new(sku).unwrap(),
            quantity: Quantity::pieces(quantity),
            lot: Presence::Absent,
            serials: vec![],
        }
    }

    fn matched(
        lines: &[ShipmentLine],
        order: &[Line],
        before: &[(&str, i64)],
    ) -> Result<Vec<(String, String)>, String> {
        let before = before
            .iter()
            .map(|(id, n)| ((*id).into(), Quantity::pieces(*n)))
            .collect();
        let lines = match_lines(lines, order, &before).map_err(|fault| fault.code.into_owned())?;
        let of = |line: ShipmentLine| {
            (
                line.order_line.value().unwrap().clone(),
                line.quantity.to_string(),
            )
        };
        Ok(lines.into_iter().map(of).collect())
    }

    #[test]
    fn two_lines_of_one_sku_are_filled_in_order() {
        let order = [line("1", "A", 2), line("2", "B", 1), line("3", "A", 2)];
        let pair = |id: &str, n: &str| (id.to_owned(), n.to_owned());
        assert_eq!(
            matched(&[shipped("A", 3)], &order, &[]).unwrap(),
            [pair("1", "2"), pair("3", "1")]
        );
        assert_eq!(
            matched(&[shipped("A", 1)], &order, &[("1", 2)]).unwrap(),
            [pair("3", "1")]
        );
    }

    #[test]
    fn more_than_ordered_is_held() {
        let order = [line("1", "A", 2)];
        let held = Err("more_shipped_than_ordered".to_owned());
        assert_eq!(matched(&[shipped("A", 3)], &order, &[]), held);
        assert_eq!(matched(&[shipped("A", 1)], &order, &[("1", 2)]), held);
        assert_eq!(matched(&[shipped("X", 1)], &order, &[]), held);
    }
}
