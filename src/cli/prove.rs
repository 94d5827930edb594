//! `prove`: both sides of every route of orders and shipments, and what channels show of stock and prices, asked
//! now and compared.

use std::collections::BTreeMap;
use std::io;

use clap::Args;
use jiff::{SignedDuration, Timestamp, Zoned, civil::Date, tz::TimeZone};

use super::ask::ask;
use super::show::{self, table};
use super::{Exit, Global, Shell};
use crate::clock::Clock;
use crate::proof::{Difference, NumbersProof, Proof, RouteProof, Side};
use crate::runtime::SystemClock;
use crate::server::admin::Request;

/// Ask both sides what came of everything in a period and what channels show of stock and prices now, and tell each
/// difference with its reason
#[derive(Debug, Args)]
pub(super) struct Prove {
    /// Placed, or left, at or after: 2026-11-21, or 2026-11-21T08:00:00Z [default: a day before `--to`]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    from: Option<Timestamp>,
    /// Placed, or left, before [default: now]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    to: Option<Timestamp>,
    /// What was found each day, as it was kept
    #[arg(long, conflicts_with_all = ["from", "to", "day"])]
    kept: bool,
    /// What was found on this day, as it was kept
    #[arg(long, value_name = "DATE", conflicts_with_all = ["from", "to"])]
    day: Option<Date>,
}

/// A moment, or midnight of a day in the zone of this machine.
fn moment(text: &str) -> Result<Timestamp, String> {
    let day = |date: Date| -> Result<Timestamp, jiff::Error> {
        let at: Zoned = date.to_zoned(TimeZone::system())?;
        Ok(at.timestamp())
    };
    let found = match text.parse::<Date>() {
        Ok(date) if !text.contains('T') => day(date),
        _ => text.parse::<Timestamp>(),
    };
    found.map_err(|_| "a day such as 2026-11-21, or a moment such as 2026-11-21T08:00:00Z".into())
}

pub(super) fn run(command: &Prove, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    if command.kept || command.day.is_some() {
        return kept(command, global, shell);
    }
    let to = command.to.unwrap_or_else(|| SystemClock::new().now());
    let day_before = to.checked_sub(SignedDuration::from_hours(24)).unwrap_or(to);
    let from = command.from.unwrap_or(day_before);
    if from >= to {
        writeln!(shell.err, "crossdock: --from must be before --to")?;
        return Ok(Exit::Usage);
    }
    ask(
        &Request::Prove { from, to },
        global,
        shell,
        |value, shell| {
            let proof: Result<Proof, _> = serde_json::from_value(value.clone());
            let proof = proof.map_err(io::Error::other)?;
            if global.json {
                show::json(value, shell)?;
            } else {
                text(&proof, shell)?;
            }
            Ok(told(proof.holds()))
        },
    )
}

fn kept(command: &Prove, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    ask(&Request::Proofs, global, shell, |value, shell| {
        let proofs: Result<BTreeMap<String, Proof>, _> = serde_json::from_value(value.clone());
        let proofs = proofs.map_err(io::Error::other)?;
        if let Some(day) = &command.day {
            let Some(proof) = proofs.get(&day.to_string()) else {
                writeln!(shell.err, "crossdock: no proof of {day} was kept")?;
                return Ok(Exit::Findings);
            };
            if global.json {
                show::json(&value[day.to_string()], shell)?;
            } else {
                text(proof, shell)?;
            }
            return Ok(told(proof.holds()));
        }
        if global.json {
            show::json(value, shell)?;
        } else {
            let rows = proofs.iter().map(|(day, proof)| kept_row(day, proof));
            let head = [
                "day",
                "orders",
                "shipments",
                "numbers",
                "same",
                "explained",
                "unexplained",
                "not readable",
                "",
            ];
            table(shell, &head, rows.collect())?;
        }
        Ok(told(proofs.values().all(Proof::holds)))
    })
}

fn kept_row(day: &str, proof: &Proof) -> Vec<String> {
    let sum =
        |of: fn(&RouteProof) -> usize, routes: &[RouteProof]| routes.iter().map(of).sum::<usize>();
    let routes = |of: fn(&RouteProof) -> usize| sum(of, &proof.routes) + sum(of, &proof.shipments);
    let numbers = |of: fn(&NumbersProof) -> usize| proof.numbers.iter().map(of).sum::<usize>();
    let explained =
        routes(|it| it.explained.values().sum()) + numbers(|it| it.explained.values().sum());
    let unexplained =
        routes(|it| it.unexplained.values().sum()) + numbers(|it| it.unexplained.values().sum());
    let holds = if proof.holds() {
        "holds"
    } else {
        "DOES NOT HOLD"
    };
    vec![
        day.to_owned(),
        sum(|it| it.source.count, &proof.routes).to_string(),
        sum(|it| it.source.count, &proof.shipments).to_string(),
        numbers(|it| it.compared).to_string(),
        (routes(|it| it.same) + numbers(|it| it.same)).to_string(),
        explained.to_string(),
        unexplained.to_string(),
        numbers(|it| it.not_readable).to_string(),
        holds.to_owned(),
    ]
}

fn told(holds: bool) -> Exit {
    if holds { Exit::Ok } else { Exit::Findings }
}

fn text(proof: &Proof, shell: &mut Shell<'_>) -> io::Result<()> {
    let (from, to) = (proof.from, proof.to);
    writeln!(shell.out, "Orders placed from {from} to {to}\n")?;
    routes(&proof.routes, "cannot be asked", shell)?;
    if !proof.shipments.is_empty() {
        writeln!(shell.out, "\nShipments that left from {from} to {to}\n")?;
        routes(&proof.shipments, "cannot be asked: as recorded", shell)?;
    }
    if !proof.numbers.is_empty() {
        numbers(proof, shell)?;
    }
    if !proof.left_out.is_empty() {
        let routes = proof.left_out.join(", ");
        writeln!(shell.out, "Not looked at: {routes}")?;
    }
    let told = if proof.holds() {
        "Everything that was asked for is on both sides, or there is a reason why not."
    } else {
        "There are differences without a reason, or a system could not be asked: see above."
    };
    writeln!(shell.out, "{told}")
}

fn routes(all: &[RouteProof], silent: &str, shell: &mut Shell<'_>) -> io::Result<()> {
    let rows = all.iter().map(|route| {
        let sink = route.sink.as_ref();
        vec![
            route.route.clone(),
            route.from.clone(),
            side(&route.source),
            route.to.clone(),
            sink.map_or_else(|| silent.to_owned(), side),
            route.same.to_string(),
            route.explained.values().sum::<usize>().to_string(),
            route.unexplained.values().sum::<usize>().to_string(),
        ]
    });
    let head = [
        "route",
        "from",
        "shows",
        "to",
        "shows",
        "same",
        "explained",
        "unexplained",
    ];
    table(shell, &head, rows.collect())?;
    for route in all {
        let name = &route.route;
        if let Some(trouble) = &route.trouble {
            writeln!(shell.out, "{name}: nothing is proven: {trouble}")?;
        }
        if route.as_recorded > 0 {
            let count = route.as_recorded;
            writeln!(
                shell.out,
                "{name}: {count} of the same only as recorded: the channel shows nothing to compare with"
            )?;
        }
        let sum = route.explained.values().chain(route.unexplained.values());
        differences(name, &route.differences, sum.sum(), shell)?;
    }
    Ok(())
}

fn numbers(proof: &Proof, shell: &mut Shell<'_>) -> io::Result<()> {
    writeln!(
        shell.out,
        "\nNumbers and prices, as the channels show them at {:.0}\n",
        proof.made_at
    )?;
    let rows = proof.numbers.iter().map(|one| {
        vec![
            one.rule.clone(),
            one.to.clone(),
            one.compared.to_string(),
            one.same.to_string(),
            one.explained.values().sum::<usize>().to_string(),
            one.unexplained.values().sum::<usize>().to_string(),
            one.not_readable.to_string(),
        ]
    });
    let head = [
        "rule",
        "to",
        "compared",
        "same",
        "explained",
        "unexplained",
        "not readable",
    ];
    table(shell, &head, rows.collect())?;
    for one in &proof.numbers {
        let rule = &one.rule;
        if let Some(trouble) = &one.trouble {
            writeln!(shell.out, "{rule}: nothing is proven: {trouble}")?;
        }
        if let Some(why) = &one.why_not {
            let (to, count) = (&one.to, one.not_readable);
            writeln!(
                shell.out,
                "{rule}: {to} is not readable, nothing is proven of its {count}: {why}"
            )?;
        }
        let all = one.explained.values().chain(one.unexplained.values());
        differences(rule, &one.differences, all.sum(), shell)?;
    }
    Ok(())
}

fn differences(of: &str, told: &[Difference], all: usize, shell: &mut Shell<'_>) -> io::Result<()> {
    for one in told {
        let mark = if one.explained {
            "explained"
        } else {
            "UNEXPLAINED"
        };
        let (what, why) = (&one.what, &one.why);
        let name = if one.name == one.id {
            one.name.clone()
        } else {
            format!("{} ({})", one.name, one.id)
        };
        writeln!(shell.out, "{of}: {name}: {mark}, {what}: {why}")?;
        if !one.explained {
            for line in &one.story {
                writeln!(shell.out, "    {line}")?;
            }
        }
    }
    let more = all.saturating_sub(told.len());
    if more > 0 {
        writeln!(shell.out, "{of}: and {more} more")?;
    }
    Ok(())
}

fn side(side: &Side) -> String {
    let sums = side
        .sums
        .iter()
        .map(|(currency, sum)| format!(", {sum} {currency}"));
    let off = match side.called_off {
        0 => String::new(),
        off => format!(", {off} called off"),
    };
    format!("{}{off}{}", side.count, sums.collect::<String>())
}
