//! What must be true when all troubles are over: by the world itself, and by what the daemon says of it.

use crossdock::engine::Handle;
use crossdock::record::Stream;

use super::wire::Shared;
use super::world::{SYSTEMS, World};
use super::{items, plan, prices};

/// What is wrong out there.
pub fn world(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    let shops = plan::shops(world.case.variant);
    let sellers = plan::sellers(world.case.variant);
    for (shop, name) in SYSTEMS.iter().enumerate().take(sellers) {
        for order in &world.shops[shop].orders {
            let reference = format!("{name}:{}", order.id);
            orders(world, &reference, order.cancelled, &mut wrong);
        }
    }
    for (shop, name) in SYSTEMS.iter().enumerate().take(shops) {
        for sku in 0..world.case.skus {
            let taken = world.erp.open(sku);
            let listed = world.acme.get(&sku).copied().unwrap_or(0);
            let left = world.erp.on_hand[sku] + listed - taken;
            let expected = (left - plan::buffer(world.case.variant, shop)).max(0);
            let offered = world.shops[shop].sellable(sku);
            // What is not there and was sold all the same is owed: nobody can buy it.
            if offered.max(0) != expected {
                wrong.push(format!(
                    "{name} offers {offered} of S{sku}, {expected} is right"
                ));
            }
        }
    }
    parcels(world, &mut wrong);
    if plan::has_items(world.case.variant) {
        wrong.extend(items::wrong(world, shops));
    }
    if plan::has_prices(world.case.variant) {
        wrong.extend(prices::wrong(world, shops));
    }
    wrong
}

fn orders(world: &World, reference: &str, cancelled: bool, wrong: &mut Vec<String>) {
    let at_erp = world.erp.find(reference);
    match (at_erp, cancelled) {
        (None, false) => wrong.push(format!("{reference} never came to the erp")),
        (Some(order), false) if order.is_draft => {
            wrong.push(format!("{reference} is still a draft at the erp"));
        }
        (Some(order), false) if order.cancelled => {
            wrong.push(format!(
                "{reference} is called off at the erp, and not at its shop"
            ));
        }
        (Some(order), true) if !order.cancelled && order.shipped.is_empty() => {
            wrong.push(format!("{reference} was called off, and not at the erp"));
        }
        _ => {}
    }
}

fn parcels(world: &World, wrong: &mut Vec<String>) {
    for parcel in &world.erp.parcels {
        let reference = &world.erp.orders[parcel.order].reference;
        let (name, id) = reference.split_once(':').unwrap();
        let shop = SYSTEMS.iter().position(|it| *it == name).unwrap();
        let order = world.shops[shop].orders.iter().find(|order| order.id == id);
        if order.is_some_and(|order| order.at_till) {
            continue; // the buyer has it
        }
        let told =
            order.is_some_and(|it| it.cancelled || it.fulfilled.contains_key(&parcel.tracking));
        if !told {
            wrong.push(format!(
                "{reference} was never told of parcel {}",
                parcel.tracking
            ));
        }
        let lines = order.and_then(|it| it.fulfilled.get(&parcel.tracking));
        if lines.is_some_and(|lines| *lines != parcel.lines) {
            wrong.push(format!(
                "{reference} was told of {lines:?} in parcel {}",
                parcel.tracking
            ));
        }
    }
}

/// What the daemon says that is not so.
pub async fn daemon(shared: &Shared, engine: &Handle) -> Vec<String> {
    let mut wrong = Vec::new();
    let Ok(status) = engine.status().await else {
        return vec!["the engine does not answer".to_owned()];
    };
    let refused = shared.world().refused_parcels();
    // Parcels of an order that was called off are refused; those behind keep their order and wait.
    let waits_behind = |stream, state: &str| {
        stream == Stream::Shipments && state == "pending" && !refused.is_empty()
    };
    for row in &status.queue {
        if row.state == "quarantined" || waits_behind(row.stream, &row.state) {
            continue;
        }
        wrong.push(format!(
            "{} {} wait for {} as {}",
            row.count, row.stream, row.sink, row.state
        ));
    }
    for row in status
        .differences
        .iter()
        .filter(|row| row.count > 0 || row.unlisted > 0)
    {
        wrong.push(format!(
            "{} {} of {} differ",
            row.count, row.stream, row.sink
        ));
    }
    for (name, why) in &status.paused {
        wrong.push(format!("{name} is paused: {why}"));
    }
    // What was called off at its shop when it had left: the cancellation is refused, and its parcels.
    let most = {
        let world = shared.world();
        let parcels = world.erp.parcels.iter();
        let parcels = parcels.filter(|it| refused.contains(&world.erp.orders[it.order].reference));
        refused.len() + parcels.count()
    };
    if status.quarantined > most {
        let rows = engine.quarantine(0, 20).await.unwrap_or_default();
        wrong.push(format!(
            "{} in quarantine, at most {most} expected: {rows:?}",
            status.quarantined
        ));
    }
    wrong.extend(links(shared, engine).await);
    wrong
}

/// Each order at the ERP is linked to that of its shop.
async fn links(shared: &Shared, engine: &Handle) -> Vec<String> {
    let mut wrong = Vec::new();
    let orders: Vec<(String, String)> = {
        let world = shared.world();
        let orders = world.erp.orders.iter().filter(|order| !order.cancelled);
        let named = orders.map(|order| (order.reference.clone(), order.id.clone()));
        named.collect()
    };
    let erp = "erp".into();
    for (reference, id) in orders {
        let number = reference.split(':').nth(1).unwrap_or_default();
        let lives = engine.explain(Stream::Orders, format!("N{number}")).await;
        let linked = lives.is_ok_and(|lives| {
            let mut links = lives.iter().filter_map(|life| life.entity.links.get(&erp));
            links.any(|link| link.remote_id.as_str() == id)
        });
        if !linked {
            wrong.push(format!(
                "{reference} is {id} at the erp, and not linked to it"
            ));
        }
    }
    wrong
}

/// What the daemon tells of the orders and numbers that are wrong.
pub async fn why(wrong: &[String], engine: &Handle) -> Vec<String> {
    let mut told = Vec::new();
    for what in wrong {
        let mut words = what.split([' ', ',']);
        let first = words.next().unwrap_or_default();
        if let Some((_, number)) = first.split_once(':') {
            let lives = engine.explain(Stream::Orders, format!("N{number}")).await;
            for (at, entry) in lives.iter().flatten().flat_map(|life| &life.entries) {
                told.push(format!("{at} {first}: {} {}", entry.what, entry.detail));
            }
        } else if let Some(sku) = words.find(|word| word.starts_with('S')) {
            let reasons = engine.explain_stock(sku.into(), Some(first.into())).await;
            for reason in reasons.into_iter().flatten() {
                told.push(serde_json::to_string(&reason).unwrap_or_default());
            }
        }
    }
    told
}
