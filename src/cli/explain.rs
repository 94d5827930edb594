//! `explain`: the life of a thing, why a channel is told its number or price, and what a finding means.

use std::io;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ask::ask;
use super::show::{self, text};
use super::{Exit, Global, Shell};
use crate::id::ConnectionName;
use crate::record::Stream;
use crate::server::admin::Request;

/// What each finding means: a section each, whose heading is its code and title.
const PAGES: &str = include_str!("../docs/codes.md");

/// Tell why a thing is as it is
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_precedence_over_arg = true,
    arg_required_else_help = true
)]
pub(super) struct Explain {
    #[command(subcommand)]
    command: Option<ExplainCommand>,
    /// What a finding of `crossdock check` means, by its code: X0203
    code: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ExplainCommand {
    /// The life of an order: its number, our id, or CONNECTION:ID
    Order {
        /// Which
        name: String,
    },
    /// The life of a shipment: our id, or CONNECTION:ID
    Shipment {
        /// Which
        name: String,
    },
    /// The life of an item: its SKU, our id, or CONNECTION:ID
    Item {
        /// Which
        name: String,
    },
    /// Why a channel is told its price of a SKU
    Price {
        /// Which SKU
        sku: String,
        /// Only this channel
        connection: Option<String>,
    },
    /// Why a channel is told its number of a SKU
    Stock {
        /// Which SKU
        sku: String,
        /// Only this channel
        connection: Option<String>,
    },
}

pub(super) fn run(command: &Explain, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let Some(about) = &command.command else {
        let code = command.code.as_deref().unwrap_or_default();
        return finding(code, global, shell);
    };
    let life = |stream, name: &String| Request::Explain {
        stream,
        name: name.clone(),
    };
    let request = match about {
        ExplainCommand::Order { name } => life(Stream::Orders, name),
        ExplainCommand::Shipment { name } => life(Stream::Shipments, name),
        ExplainCommand::Item { name } => life(Stream::Items, name),
        ExplainCommand::Price { sku, connection } => Request::ExplainPrice {
            sku: sku.clone(),
            connection: connection.as_deref().map(ConnectionName::from),
        },
        ExplainCommand::Stock { sku, connection } => Request::ExplainStock {
            sku: sku.clone(),
            connection: connection.as_deref().map(ConnectionName::from),
        },
    };
    ask(&request, global, shell, |value, shell| match &request {
        _ if global.json => show::json(value, shell),
        Request::ExplainStock { .. } => stock(value, shell),
        Request::ExplainPrice { .. } => price(value, shell),
        _ => lives(value, shell),
    })
}

fn lives(value: &Value, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let lives = value.as_array().cloned().unwrap_or_default();
    if lives.is_empty() {
        writeln!(shell.err, "crossdock: nothing of that name is known")?;
        return Ok(Exit::Findings);
    }
    for life in lives {
        let entity = &life["entity"];
        writeln!(
            shell.out,
            "{} {}, from {}",
            text(&entity["id"]),
            text(&entity["key"]),
            text(&entity["origin"])
        )?;
        for (connection, link) in entity["links"].as_object().into_iter().flatten() {
            writeln!(
                shell.out,
                "  on {connection}: {} {}",
                text(&link["remote_id"]),
                text(&link["number"])
            )?;
        }
        for entry in life["entries"].as_array().into_iter().flatten() {
            let (at, what, detail) = (&entry[0], &entry[1]["what"], &entry[1]["detail"]);
            writeln!(
                shell.out,
                "  {}  {:<12} {}",
                text(at),
                text(what),
                text(detail)
            )?;
        }
    }
    Ok(Exit::Ok)
}

fn stock(value: &Value, shell: &mut Shell<'_>) -> io::Result<Exit> {
    for reason in value.as_array().into_iter().flatten() {
        let derivation = &reason["derivation"];
        writeln!(shell.out, "{}", text(&reason["connection"]))?;
        for member in derivation["members"].as_array().into_iter().flatten() {
            let position = &member["position"];
            let stale = if member["stale"] == true {
                ", too old"
            } else {
                ""
            };
            writeln!(
                shell.out,
                "  + {:>8}  on hand at {} {} (read {}{stale})",
                text(&position["on_hand"]),
                text(&member["connection"]),
                text(&member["location"]),
                text(&position["read_at"]),
            )?;
        }
        for taken in derivation["reservations"].as_array().into_iter().flatten() {
            let (number, channel) = (text(&taken["order_number"]), text(&taken["channel"]));
            let quantity = text(&taken["quantity"]);
            writeln!(
                shell.out,
                "  - {quantity:>8}  ordered: {number} on {channel}"
            )?;
        }
        writeln!(
            shell.out,
            "  = {:>8}  available",
            text(&derivation["available"])
        )?;
        writeln!(
            shell.out,
            "    {:>8}  {}",
            text(&derivation["published"]),
            if derivation["withdrawn"] == true {
                "because it is off sale at its owner"
            } else {
                "by the publish rule"
            }
        )?;
        writeln!(
            shell.out,
            "  + {:>8}  the channel's own open orders",
            text(&derivation["own_open"])
        )?;
        writeln!(
            shell.out,
            "  = {:>8}  to be told",
            text(&derivation["to_write"])
        )?;
        let told = &reason["published"];
        writeln!(
            shell.out,
            "    {:>8}  told last, {}",
            text(&told[0]),
            text(&told[1])
        )?;
        history(reason, shell)?;
    }
    Ok(Exit::Ok)
}

/// The page about a finding.
fn finding(code: &str, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
    let wanted = code.to_uppercase();
    let Some((title, text)) = page(&wanted) else {
        writeln!(
            shell.err,
            "crossdock: there is nothing to explain about `{code}`: name a code of `crossdock check` such as X0203, \
             or an order, shipment, item, price or stock (`crossdock explain --help`)"
        )?;
        return Ok(Exit::Usage);
    };
    if global.json {
        let page = json!({ "code": wanted, "title": title, "text": text });
        writeln!(shell.out, "{page:#}")?;
    } else {
        writeln!(shell.out, "{wanted}: {title}\n\n{text}")?;
    }
    Ok(Exit::Ok)
}

/// Title and text of a page.
fn page(code: &str) -> Option<(&'static str, &'static str)> {
    let section = PAGES
        .split("\n## ")
        .skip(1)
        .find(|it| it.starts_with(code))?;
    let (heading, text) = section.split_once('\n')?;
    let title = heading.strip_prefix(code)?.strip_prefix(' ')?;
    Some((title, text.trim()))
}

fn price(value: &Value, shell: &mut Shell<'_>) -> io::Result<Exit> {
    for reason in value.as_array().into_iter().flatten() {
        let price = &reason["price"];
        let (list, currency) = (text(&price["list"]), text(&price["currency"]));
        let from = match text(&price["from_pieces"]) {
            from if from.is_empty() => from,
            from => format!(", from {from} pieces on"),
        };
        let connection = text(&reason["connection"]);
        writeln!(shell.out, "{connection}, list {list}, {currency}{from}")?;
        for said in reason["said"].as_array().into_iter().flatten() {
            let (owner, record, read_at) = (text(&said[0]), &said[1], text(&said[2]));
            let (amount, currency) = (&record["price"]["amount"], &record["price"]["currency"]);
            let tax = match record["tax_included"].as_bool() {
                Some(true) => " with tax",
                Some(false) => " without tax",
                None => "",
            };
            writeln!(
                shell.out,
                "    {:>8}  {} in list {}{tax}, says {owner} (read {read_at})",
                text(amount),
                text(currency),
                text(&record["list"]),
            )?;
        }
        let (desired, route) = (text(&reason["to_be_told"]), text(&reason["route"]));
        writeln!(shell.out, "  = {desired:>8}  to be told, by route {route}")?;
        let told = &reason["told"];
        let (told, at) = (text(&told[0]), text(&told[1]));
        writeln!(shell.out, "    {told:>8}  told last, {at}")?;
        history(reason, shell)?;
    }
    Ok(Exit::Ok)
}

/// Why a value is not told yet, and what changed it lately.
fn history(reason: &Value, shell: &mut Shell<'_>) -> io::Result<()> {
    if reason["applies"] == false {
        writeln!(shell.out, "  not told: it is only observed")?;
    }
    if let Some(why) = reason["held_back"].as_str() {
        writeln!(shell.out, "  not told yet: {why}")?;
    }
    for entry in reason["entries"].as_array().into_iter().flatten() {
        let (before, after) = (text(&entry[1]["before"]), text(&entry[1]["after"]));
        let (at, what) = (text(&entry[0]), text(&entry[1]["what"]));
        let detail = text(&entry[1]["detail"]);
        if what == "desired" {
            writeln!(shell.out, "  {at}  {before} -> {after}: {detail}")?;
        } else {
            writeln!(shell.out, "  {at}  {what}: {detail}")?;
        }
    }
    Ok(())
}
