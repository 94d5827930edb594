//! What the daemon is configured to do: a few variants, each planned once for a thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crossdock::config::{self, Credentials};
use crossdock::connector::Connector;
use crossdock::topology::{self, Plan};

use super::systems::Scripted;
use super::wire::LATE_SECS;
use super::world::SYSTEMS;

/// How many variants there are.
pub const VARIANTS: usize = 6;

/// Whether a marketplace is among the shops.
pub fn has_market(variant: usize) -> bool {
    variant == 1
}

/// Whether the third system is a till: it sells off the shelf, and nobody tells it numbers.
pub fn has_till(variant: usize) -> bool {
    variant == 5
}

/// How many systems sell.
pub fn sellers(variant: usize) -> usize {
    if has_market(variant) || has_till(variant) {
        3
    } else {
        2
    }
}

/// How many systems are told numbers.
pub fn shops(variant: usize) -> usize {
    if has_market(variant) { 3 } else { 2 }
}

/// Whether nothing reads whole lists again: what was overlooked once is then never found.
pub fn never_sweeps(variant: usize) -> bool {
    variant == 3
}

/// Whether the shops are told prices too.
pub fn has_prices(variant: usize) -> bool {
    variant == 0 || has_items(variant)
}

/// Whether the shops have nothing before they are told what there is.
pub fn has_items(variant: usize) -> bool {
    variant == 4
}

/// What is kept back from a shop.
pub fn buffer(variant: usize, shop: usize) -> i64 {
    if variant == 2 && shop == 1 { 2 } else { 0 }
}

/// How many orders may stand in memory before those behind them are parked, where that is fewer than usual.
pub fn in_memory(variant: usize) -> Option<usize> {
    match variant {
        1 | 5 => Some(1),
        3 => Some(2),
        _ => None,
    }
}

thread_local! {
    static PLANS: RefCell<BTreeMap<usize, Arc<Plan>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The plan of a variant.
pub fn of(variant: usize) -> Arc<Plan> {
    PLANS.with(|plans| {
        let mut plans = plans.borrow_mut();
        Arc::clone(
            plans
                .entry(variant)
                .or_insert_with(|| Arc::new(make(variant))),
        )
    })
}

fn make(variant: usize) -> Plan {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crossdock.toml");
    std::fs::write(&path, toml_of(variant)).unwrap();
    let kinds = Scripted::all();
    let registry: Vec<&dyn Connector> = kinds.iter().map(|it| it as &dyn Connector).collect();
    let loaded = config::load(&path, &config::System, Credentials::Needed);
    let loaded = loaded.unwrap_or_else(|findings| panic!("{findings}"));
    topology::plan(&loaded, &registry).unwrap_or_else(|findings| panic!("{findings}"))
}

fn toml_of(variant: usize) -> String {
    let mut text = String::from(
        "version = 1\n[store]\nengine = \"memory\"\n[limits]\nretry_max_secs = 20\n\
         overtake_after_secs = 15\nsubmission_max_secs = 60\nnot_listed_retry_secs = 60\n",
    );
    if let Some(most) = in_memory(variant) {
        writeln!(text, "outbox_max_in_memory = {most}").unwrap();
    }
    for (system, name) in SYSTEMS.iter().enumerate() {
        if system == 2 && sellers(variant) == 2 {
            continue;
        }
        write!(
            text,
            "[connection.{name}]\nconnector = \"sim_{name}\"\nhttp.late_secs = {LATE_SECS}\n"
        )
        .unwrap();
        if system < sellers(variant) && !never_sweeps(variant) {
            writeln!(text, "stream.orders.sweep_secs = 60").unwrap();
        }
    }
    for name in SYSTEMS.iter().take(sellers(variant)) {
        write!(
            text,
            "[route.{name}_orders]\nfrom = \"{name}.orders\"\nto = \"erp.orders\"\nmode = \"apply\"\n\
             start_from = \"2026-01-01T00:00:00Z\"\n"
        )
        .unwrap();
    }
    for (shop, name) in SYSTEMS.iter().enumerate().take(shops(variant)) {
        let buffer = buffer(variant, shop);
        write!(
            text,
            "[route.{name}_parcels]\nfrom = \"erp.shipments\"\nto = \"{name}.shipments\"\nmode = \"apply\"\n\
             start_from = \"2026-01-01T00:00:00Z\"\n\
             [publish.{name}]\npool = \"main\"\nto = \"{name}.stock\"\nmode = \"apply\"\nbuffer = {buffer}\n"
        )
        .unwrap();
        let is_carried = [has_prices(variant), has_items(variant)];
        for (stream, _) in ["prices", "items"].iter().zip(is_carried).filter(|it| it.1) {
            write!(
                text,
                "[route.{name}_{stream}]\nfrom = \"erp.{stream}\"\nto = \"{name}.{stream}\"\nmode = \"apply\"\n"
            )
            .unwrap();
        }
    }
    text.push_str(
        "[pool.main]\nmembers = [\"erp.stock\", \"acme.stock\"]\nfulfilled_by = \"erp\"\n",
    );
    if has_till(variant) {
        writeln!(text, "tills = [\"{}\"]", SYSTEMS[2]).unwrap();
    }
    text
}
