//! `prove`: both sides of every route of orders, asked now and compared.

use std::collections::BTreeMap;
use std::io;

use clap::Args;
use jiff::{SignedDuration, Timestamp, Zoned, civil::Date, tz::TimeZone};

use super::ask::ask;
use super::show::{self, table};
use super::{Exit, Global, Shell};
use crate::clock::Clock;
use crate::proof::{Proof, RouteProof, Side};
use crate::runtime::SystemClock;
use crate::server::admin::Request;

/// Ask both sides what came of everything in a period, and tell each difference with its reason
#[derive(Debug, Args)]
pub(super) struct Prove {
    /// Placed at or after: 2026-11-21, or 2026-11-21T08:00:00Z [default: a day before `--to`]
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    from: Option<Timestamp>,
    /// Placed before [default: now]
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
            let sum = |proof: &Proof, of: fn(&RouteProof) -> usize| -> String {
                proof.routes.iter().map(of).sum::<usize>().to_string()
            };
            let rows = proofs.iter().map(|(day, proof)| {
                vec![
                    day.clone(),
                    sum(proof, |route| route.source.count),
                    sum(proof, |route| route.same),
                    sum(proof, |route| route.explained.values().sum()),
                    sum(proof, |route| route.unexplained.values().sum()),
                    if proof.holds() {
                        "holds"
                    } else {
                        "DOES NOT HOLD"
                    }
                    .to_owned(),
                ]
            });
            let head = ["day", "orders", "same", "explained", "unexplained", ""];
            table(shell, &head, rows.collect())?;
        }
        Ok(told(proofs.values().all(Proof::holds)))
    })
}

fn told(holds: bool) -> Exit {
    if holds { Exit::Ok } else { Exit::Findings }
}

fn text(proof: &Proof, shell: &mut Shell<'_>) -> io::Result<()> {
    writeln!(
        shell.out,
        "Orders placed from {} to {}\n",
        proof.from, proof.to
    )?;
    let rows = proof.routes.iter().map(|route| {
        let sink = route.sink.as_ref();
        vec![
            route.route.clone(),
            route.from.clone(),
            side(&route.source),
            route.to.clone(),
            sink.map_or_else(|| "cannot be asked".to_owned(), side),
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
    for route in &proof.routes {
        differences(route, shell)?;
    }
    if !proof.left_out.is_empty() {
        let routes = proof.left_out.join(", ");
        writeln!(shell.out, "Not orders, and not looked at: {routes}")?;
    }
    let told = if proof.holds() {
        "Every order is on both sides, or there is a reason why not."
    } else {
        "There are differences without a reason: see above."
    };
    writeln!(shell.out, "{told}")
}

fn differences(route: &RouteProof, shell: &mut Shell<'_>) -> io::Result<()> {
    if let Some(trouble) = &route.trouble {
        writeln!(shell.out, "{}: nothing is proven: {trouble}", route.route)?;
    }
    for one in &route.differences {
        let mark = if one.explained {
            "explained"
        } else {
            "UNEXPLAINED"
        };
        let (name, what, why) = (&one.name, &one.what, &one.why);
        writeln!(
            shell.out,
            "{}: {name} ({}): {mark}, {what}: {why}",
            route.route, one.id
        )?;
        if !one.explained {
            for line in &one.story {
                writeln!(shell.out, "    {line}")?;
            }
        }
    }
    let all = route.explained.values().chain(route.unexplained.values());
    let more = all.sum::<usize>().saturating_sub(route.differences.len());
    if more > 0 {
        writeln!(shell.out, "{}: and {more} more", route.route)?;
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
