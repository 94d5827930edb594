//! `explain price`, what all explanations of a value end with, and the pages about findings.

use std::io;

use serde_json::{Value, json};

use super::show::text;
use super::{Exit, Global, Shell};

/// What each finding means: a section each, whose heading is its code and title.
const PAGES: &str = include_str!("../docs/codes.md");

/// The page about a finding.
pub(super) fn code(code: &str, global: &Global, shell: &mut Shell<'_>) -> io::Result<Exit> {
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

pub(super) fn price(value: &Value, shell: &mut Shell<'_>) -> io::Result<Exit> {
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
pub(super) fn history(reason: &Value, shell: &mut Shell<'_>) -> io::Result<()> {
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
