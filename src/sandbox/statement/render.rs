//! The statement as a person reads it.

use std::fmt::Write as _;

use super::{Oversold, Statement};

/// The most examples of one finding.
const SHOWN: usize = 5;

pub(super) fn text(statement: &Statement) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write_all(&mut out, statement);
    out
}

fn write_all(out: &mut String, s: &Statement) -> std::fmt::Result {
    writeln!(out, "Statement, from the practice systems' own log")?;
    writeln!(out)?;
    orders(out, s)?;
    let (returned, parcels) = (s.tracking_returned, s.parcels);
    writeln!(
        out,
        "tracking returned        {returned:>6}   of {parcels} parcels sent"
    )?;
    rare(out, "tracking missing", &s.tracking_missing)?;
    rare(out, "tracking doubled", &s.tracking_doubled)?;
    rare(out, "tracking invented", &s.tracking_invented)?;
    let differences = s.stock_differences.iter().map(|one| {
        let (shop, sku, expected, offered) = (&one.shop, &one.sku, one.expected, one.offered);
        format!("{sku}: {shop} offers {offered}, should {expected}")
    });
    finding(out, "stock differences", &differences.collect::<Vec<_>>())?;
    writeln!(out, "numbers compared         {:>6}", s.stock_compared)?;
    if s.prices_compared > 0 {
        finding(out, "price differences", &s.price_differences)?;
        writeln!(out, "prices compared          {:>6}", s.prices_compared)?;
    }
    oversold(out, "avoidable oversell", &s.oversold_avoidable)?;
    oversold(out, "unavoidable oversell", &s.oversold_unavoidable)?;
    writeln!(out)?;
    surroundings(out, s)?;
    writeln!(out)?;
    if s.oversold_avoidable.is_empty() && s.oversold_unavoidable.is_empty() {
        writeln!(out, "Nothing was sold that was not there.")?;
    } else {
        let reach = s.reach.settle + s.reach.orders + s.reach.write;
        writeln!(
            out,
            "An oversell is unavoidable when both orders were placed within {:.1} s, before any\n\
             channel could have been told; faults at the systems concerned lengthen that, and so does\n\
             a marketplace, which tells of an order when it is paid and applies a number late.",
            reach.as_secs_f64()
        )?;
    }
    let verdict = if s.holds() {
        "The statement holds."
    } else {
        "It does NOT hold."
    };
    writeln!(out, "{verdict}")
}

fn orders(out: &mut String, s: &Statement) -> std::fmt::Result {
    let channels = s
        .placed
        .iter()
        .map(|(channel, count)| format!("{channel} {count}"));
    let channels: Vec<String> = channels.collect();
    writeln!(
        out,
        "orders placed            {:>6}   {}",
        s.placed_in_all(),
        channels.join(", ")
    )?;
    let in_time = s.called_off_in_time;
    writeln!(
        out,
        "orders in the ERP        {:>6}   and {in_time} called off before they were booked",
        s.in_erp
    )?;
    let (all, after) = (s.called_off, s.called_off - in_time);
    writeln!(
        out,
        "called off by buyers     {all:>6}   {after} after they were booked"
    )?;
    finding(out, "lost", &s.lost)?;
    let doubled = s
        .doubled
        .iter()
        .map(|(order, times)| format!("{order} ({times} times)"));
    finding(out, "doubled", &doubled.collect::<Vec<_>>())?;
    rare(out, "booked, never placed", &s.invented)?;
    rare(out, "booked differently", &s.differing)?;
    rare(out, "left as a draft", &s.drafts_left)?;
    rare(out, "not called off", &s.not_called_off)?;
    rare(out, "sent all the same", &s.sent_although_called_off)
}

fn surroundings(out: &mut String, s: &Statement) -> std::fmt::Result {
    let faults: u64 = s.faults.values().sum();
    let requests: u64 = s.requests.values().sum();
    writeln!(
        out,
        "faults injected          {faults:>6}   in {requests} requests"
    )?;
    for (kind, count) in &s.faults {
        writeln!(out, "  {:<22} {count:>6}", kind.title())?;
    }
    let (files, answers) = (s.files, s.answers);
    writeln!(
        out,
        "supplier files           {files:>6}   {answers} answered"
    )
}

/// A finding that is always shown, with a zero when there is none.
fn finding(out: &mut String, title: &str, found: &[String]) -> std::fmt::Result {
    writeln!(out, "{title:<24} {:>6}   {}", found.len(), examples(found))
}

/// A finding that is shown only when there is one.
fn rare(out: &mut String, title: &str, found: &[String]) -> std::fmt::Result {
    if found.is_empty() {
        return Ok(());
    }
    finding(out, title, found)
}

fn oversold(out: &mut String, title: &str, found: &[Oversold]) -> std::fmt::Result {
    let pieces: i64 = found.iter().map(|one| one.pieces).sum();
    let found: Vec<String> = found
        .iter()
        .map(|one| format!("{} by {} ({})", one.sku, one.order, one.after))
        .collect();
    writeln!(out, "{title:<24} {pieces:>6}   {}", examples(&found))
}

fn examples(found: &[String]) -> String {
    let mut shown = found
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if found.len() > SHOWN {
        let _ = write!(shown, ", and {} more", found.len() - SHOWN);
    }
    shown
}
