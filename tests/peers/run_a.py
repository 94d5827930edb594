#!/usr/bin/env python3
"""Orders from two webstores reach the ERP exactly once, though the daemon is killed all the time.

    CROSSDOCK_BIN=target/release/crossdock ./run_a.py [--long] [--seed N]

First the daemon speaks through gates, which kill it before, during and after each step of writing
an order, and in each row of the table of crashes. Then the gates spoil some of the calls (faults.py),
the daemon is killed at random, and all peers are restarted once. When everything is quiet, every
placed order must be in the ERP exactly once and equal to the cent.
"""

import collections
import random
import sys
import time

import compare
import crashes
import harness
import shopper
import shops
import tryton as tryton_client
from crashes import SHOP_GATE, TRYTON_GATE
from daemon import Daemon, Killer, orders_route, shop, tryton, write_config
from faults import Faults
from gate import Gate
from setup import settings, stack

SHOPS = settings.SHOPS
GATES = {"erp": TRYTON_GATE, SHOPS[0]: SHOP_GATE, SHOPS[1]: settings.run_port(8)}
LISTEN = settings.run_port(5)
QUIET_FOR_SECS = 15  # nothing may appear twice in this time after the last order arrived
SECS_PER_ORDER = 12  # a quiet order takes 2 s; a killed daemon waits for its own retries
STOP_SECS = 30


def run(program, folder, arguments):
    """(text, whether it holds) for every check; the folder keeps configuration, state and log."""
    orders, kills = (40, 60) if arguments.long else (12, 20)
    stack.reset()
    erp = tryton_client.Client(settings.tryton_url())
    seeded = compare.made(erp)
    daemon = Daemon(program, None, folder / "daemon.log")
    try:
        yield from crashes.every_row(daemon, folder, LISTEN)
        gates = faulty_gates(folder, arguments.seed)
        daemon.configure(faulty_config(folder, gates))
        daemon.start()
        killer = Killer(daemon, arguments.seed + 1, kills)
        killer.start()
        place_orders(other_baskets(arguments.seed, orders), random.Random(arguments.seed))
        killer.join()
        arrived = wait_for_orders(orders)
        spoiled = sum((gate.faults.counts for gate in gates.values()), collections.Counter())
        for gate in gates.values():
            gate.faults.calm()
        yield (
            f"all {orders} orders arrived after {kills} more kills at random moments and "
            f"{spoiled.total()} spoiled calls ({told(spoiled)})",
            arrived and spoiled.total() > 0,
        )
        time.sleep(QUIET_FOR_SECS)
        total, found = compare.compare_shops(SHOPS)
        for one in found:
            print(f"        {compare.story(one)}", flush=True)
        exact = (total, found) == (orders, [])
        yield f"each of the {orders} orders exactly once, to the cent", exact
        made = {model: count - seeded[model] for model, count in compare.made(erp).items()}
        wanted = compare.should_make(SHOPS)
        yield f"the ERP has {told(made)}: nothing twice" + differs(made, wanted), made == wanted
        yield proven(daemon, orders)
        held = daemon.ask("quarantine", "list", "--all") + daemon.ask("queue")
        yield f"nothing waits or is held ({len(held)})", not held
        yield "the daemon never ended by itself", killer.found_dead == 0 and daemon.runs()
        yield f"SIGTERM ends it within {STOP_SECS} s with exit code 0", daemon.stop() == 0
    finally:
        daemon.end()


def proven(daemon, orders):
    """What `crossdock prove` says of the last 24 hours; the stores were empty before."""
    try:
        routes = daemon.ask("prove")["routes"]
    except RuntimeError as error:
        return f"prove: {error}", False
    same = sum(route["same"] for route in routes)
    sums = [(route["source"], route["sink"]) for route in routes]
    for route in routes:
        for one in route["differences"]:
            print(f"        {one}", flush=True)
    equal = all(shows == there for shows, there in sums)
    return f"prove: {same} of {orders} orders the same on both sides, with equal sums", (
        same == orders and equal
    )


def told(counts):
    return ", ".join(f"{count} {model}" for model, count in counts.items())


def differs(made, wanted):
    return "" if made == wanted else f" (wanted: {told(wanted)})"


def faulty_gates(folder, seed):
    """Where the planned deaths were, after them."""
    upstream = {"erp": settings.tryton_url(), **{name: settings.shop_url(name) for name in SHOPS}}
    return {
        name: Gate(port, upstream[name], folder / f"{name}.faulty.calls", Faults(seed + n))
        for n, (name, port) in enumerate(GATES.items())
    }


def faulty_config(folder, gates):
    shops_there = [shop(name, gates[name].url) for name in SHOPS]
    routes = [orders_route(name) for name in SHOPS]
    impatient = "[limits]\nretry_max_secs = 5\n"
    return write_config(
        folder, LISTEN, *shops_there, tryton("erp", gates["erp"].url), *routes, impatient
    )


def other_baskets(seed, orders):
    """Those that no planned death needed."""
    told = len(crashes.NEW_CUSTOMER)
    return shopper.baskets(seed, told + orders - crashes.ORDERS)[told:]


def place_orders(baskets, dice):
    """Both shops in turn; half-way all servers go away and come back."""
    storefronts = list(shops.all_shops().values())
    for i, basket in enumerate(baskets):
        if i == len(baskets) // 2:
            stack.restart()
        storefronts[i % len(SHOPS)].place(basket)
        time.sleep(dice.uniform(0, 2))


def wait_for_orders(orders):
    """Waits, bounded by what so many orders may take; answers whether nothing differs then."""
    deadline = time.monotonic() + 60 + SECS_PER_ORDER * orders
    while time.monotonic() < deadline:
        if compare.compare_shops(SHOPS) == (orders, []):
            return True
        time.sleep(3)
    return False


if __name__ == "__main__":
    sys.exit(harness.main("run-a", __doc__, run))
