//! The configuration that lets a daemon meet a world.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::World;
use super::inside::Inside;
use crate::clock::earlier;

/// Where the password of the practice systems stands, below the daemon's folder.
const PASSWORD_FILE: &str = "practice-password";

impl World {
    /// Writes the configuration and the password that it names into `state`; returns its path.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write_config(&self, state: &Path) -> io::Result<PathBuf> {
        std::fs::create_dir_all(state)?;
        std::fs::write(state.join(PASSWORD_FILE), "practice")?;
        let path = state.join("crossdock.toml");
        std::fs::write(&path, self.config_toml(state))?;
        Ok(path)
    }

    /// A configuration for a daemon whose state goes to `state`: all systems of this world through their
    /// practice manifests, everything on, polled as [`Reach`](super::Reach) promises. The password stands
    /// in a file beside it, see [`World::write_config`].
    pub fn config_toml(&self, state: &Path) -> String {
        let mut text = String::from("version = 1\n");
        // Writing into a String cannot fail.
        let _ = write_process(&mut text, state);
        if self.options.market {
            text.push_str(MARKET_LIMITS);
        }
        let _ = write_connections(&mut text, self, state);
        let _ = write_routes(&mut text, self);
        text
    }
}

/// A path or address as a TOML text.
fn quoted(text: impl std::fmt::Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn write_process(out: &mut String, state: &Path) -> std::fmt::Result {
    let store = quoted(state.join("store").display());
    let socket = quoted(state.join("admin.sock").display());
    write!(
        out,
        "
[store]
path = {store}
min_free_bytes = 1048576
ballast_bytes = 0

[server]
listen = \"127.0.0.1:0\"
admin_socket = {socket}
"
    )
}

/// No practice system is slower than this to carry out what nobody waits for any more.
const LATE_SECS: u64 = 3;

/// What a marketplace took in and forgot is told again before the day is over.
const MARKET_LIMITS: &str = "
[limits]
overtake_after_secs = 15
submission_max_secs = 60
";

fn write_connections(out: &mut String, world: &World, state: &Path) -> std::fmt::Result {
    let reach = world.options().reach;
    let (orders, stock) = (reach.orders.as_secs().max(1), reach.stock.as_secs().max(1));
    let password = quoted(format!("${{file:{}}}", state.join(PASSWORD_FILE).display()));
    let kinds = [
        ("north", "sandbox_store", "password"),
        ("south", "sandbox_store", "password"),
        ("pos", "sandbox_pos", "key"),
        ("erp", "sandbox_erp", "password"),
    ];
    for (name, connector, secret) in kinds {
        // In a world without a network, stations are reached by name.
        let inside = Inside::url(name);
        let url = world.url(name).unwrap_or(&inside);
        write!(
            out,
            "
[connection.{name}]
connector = \"{connector}\"
settings = {{ url = {}, {secret} = {password} }}
http.late_secs = {LATE_SECS}
",
            quoted(url)
        )?;
        if let Some(limit) = world.options().limit {
            // A little below what the system takes: a careful guest does not live on refusals.
            let (per_second, burst) = (limit.per_second * 0.8, (limit.burst * 0.8).floor());
            writeln!(
                out,
                "limits = {{ requests_per_second = {per_second:.2}, burst = {burst} }}"
            )?;
        }
        match name {
            "erp" => {
                writeln!(out, "stream.stock.poll_secs = {stock}")?;
                writeln!(out, "stream.shipments.poll_secs = {stock}")?;
                if world.options().carry_items {
                    out.push_str("stream.items.poll_secs = 3\nstream.prices.poll_secs = 3\n");
                }
            }
            _ => writeln!(out, "stream.orders.poll_secs = {orders}")?,
        }
    }
    if world.options().market {
        write_market(out, world, orders, &password)?;
    }
    write_supplier(out, world)
}

fn write_market(out: &mut String, world: &World, orders: u64, password: &str) -> std::fmt::Result {
    let name = "market";
    let inside = Inside::url(name);
    let url = world.url(name).unwrap_or(&inside);
    let (base, token_url) = (quoted(url), quoted(format!("{url}/auth/o2/token")));
    let options = world.market.options();
    let (seller, store) = (quoted(&options.seller_id), quoted(&options.marketplace_id));
    write!(
        out,
        "
[connection.{name}]
connector = \"amazon\"
stream.orders.poll_secs = {orders}
# Unlike the real one it shows an order at once, also one that changed just now.
stream.orders.settle_lag_secs = 1
http.late_secs = {LATE_SECS}

[connection.{name}.settings]
url = {base}
token_url = {token_url}
client_id = \"crossdock\"
client_secret = {password}
refresh_token = {password}
seller_id = {seller}
marketplace = {store}
# This one is in a hurry.
feed_from = 20
feed_after_secs = 3
verify_after_secs = 2
"
    )
}

fn write_supplier(out: &mut String, world: &World) -> std::fmt::Result {
    let folder = quoted(world.acme.folder().display());
    let files = world.options().reach.files.as_secs().max(1);
    write!(
        out,
        "
[connection.acme]
connector = \"feed\"
stream.stock.poll_secs = {files}

[connection.acme.settings]
path = {folder}
kind = \"full\"
complete = \"renamed\"
streams = [\"stock\"]
location = \"acme\"
encoding = \"windows-1250\"
delimiter = \";\"
decimal_mark = \",\"
skip_lines = 1
snapshot_age_secs = 0
columns = {{ sku = \"kod\", on_hand = \"stan\" }}
# One bad row in a dozen is what this supplier is like.
guard = {{ bad_rows = 0.3 }}
"
    )
}

fn write_routes(out: &mut String, world: &World) -> std::fmt::Result {
    let day = std::time::Duration::from_hours(24);
    let start = earlier(world.audit.clock().now(), day);
    let from_day = format!("\nstart_from = \"{start}\"");
    let mut route = |name: &str, from: &str, to: &str, more: &str| {
        write!(
            out,
            "
[route.{name}]
from = \"{from}\"
to = \"{to}\"
mode = \"apply\"{more}
"
        )
    };
    let shops = &["north", "south", "market"][..if world.options().market { 3 } else { 2 }];
    for channel in shops.iter().chain(&["pos"]) {
        let (name, from) = (format!("{channel}-orders"), format!("{channel}.orders"));
        route(&name, &from, "erp.orders", &from_day)?;
    }
    for shop in shops {
        let (name, to) = (format!("{shop}-tracking"), format!("{shop}.shipments"));
        route(&name, "erp.shipments", &to, &from_day)?;
    }
    if world.options().carry_items {
        for channel in ["north", "south", "pos"] {
            let (name, to) = (format!("{channel}-items"), format!("{channel}.items"));
            route(&name, "erp.items", &to, "")?;
        }
        for shop in shops {
            let (name, to) = (format!("{shop}-prices"), format!("{shop}.prices"));
            route(&name, "erp.prices", &to, "")?;
        }
    }
    write_stock(out, shops)
}

fn write_stock(out: &mut String, shops: &[&str]) -> std::fmt::Result {
    write!(
        out,
        "
[pool.main]
members = [\"erp.stock\", \"acme.stock\"]
fulfilled_by = \"erp\"
tills = [\"pos\"]
"
    )?;
    for shop in shops {
        write!(
            out,
            "
[publish.{shop}]
pool = \"main\"
to = \"{shop}.stock\"
mode = \"apply\"
"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::clock::{Clock, ManualClock};
    use crate::config::{self, Credentials};
    use crate::connector::Connector;
    use crate::connectors::built_in;
    use crate::sandbox::{World, WorldOptions};
    use crate::topology;

    /// What a world says about itself is a configuration without a single finding.
    #[test]
    fn a_world_tells_a_configuration_that_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap());
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let mut options = WorldOptions::new(folder.path().join("acme"));
        options.carry_items = true;
        options.market = true;
        std::fs::create_dir_all(folder.path().join("acme/in")).unwrap();
        let world = World::new(&clock, options);
        let path = world.write_config(folder.path()).unwrap();
        let connectors = built_in();
        let registry: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
        let loaded = config::load(&path, &config::System, Credentials::Needed);
        let loaded = loaded.unwrap_or_else(|findings| panic!("{findings}"));
        let plan = topology::plan(&loaded, &registry);
        let plan = plan.unwrap_or_else(|findings| panic!("{findings}"));
        assert_eq!(plan.warnings.to_string(), "");
        assert_eq!((plan.connections.len(), plan.routes.len()), (6, 13));
    }
}
