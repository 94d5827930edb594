#!/usr/bin/env python3
"""Items and prices from the ERP reach both webstores exactly once, though the daemon is killed.

    CROSSDOCK_BIN=target/release/crossdock ./run_c.py [--long] [--seed N]

What both shops have is adopted by its SKU; two copies of one SKU are held with both ids. A clerk adds
items, variants and prices, renames and archives in Tryton while the daemon is killed before, during and
after each step of writing a product, and at random; all peers are restarted once. When everything is
quiet, each shop must sell what Tryton says, field by field, each SKU once and each template as one
product. A price that jumps is held; the stock of an item that cannot be created yet waits for it.
"""

import contextlib
import random
import sys
import time

import clerk
import harness
import items
import shops as shops_of
import tryton as tryton_client
from daemon import Daemon, Killer, shop, tryton, write_config
from gate import AFTER, BEFORE, UNANSWERED, Gate
from setup import settings, stack

SHOPS = settings.SHOPS
LISTEN = settings.run_port(7)
GATES = {name: settings.run_port(21 + n) for n, name in enumerate(SHOPS)}
SETTLE_SECS, HIT_SECS, STOP_SECS = 300, 60, 30
TWICE, GONE = "CD-005", ("CD-016", "TEE-XL")  # has two copies; archived in the end

FAST = "stream.items.poll_secs = 2\nstream.prices.poll_secs = 2\nstream.stock.poll_secs = 2\n"
QUICK = "limits = { requests_per_second = 60.0, burst = 60, concurrency = 4 }\n"
# A shop may be away for a minute and more; what waits for it then need not wait as long again.
OWNED = """\
[limits]
retry_max_secs = 5

[owner]
items = "erp"
prices = "erp"

[pool.main]
members = ["erp.stock"]
fulfilled_by = "erp"
"""

REDUCED = {"7": "Reduced"}  # what a new item at 7 % gets in a shop


class Shops:
    """The daemon between the ERP and both shops, and what is known from outside."""

    def __init__(self, program, folder):
        self.erp = tryton_client.Client(settings.tryton_url())
        self.each = shops_of.all_shops()
        self.gates = {
            name: Gate(port, settings.shop_url(name), folder / f"{name}.calls")
            for name, port in GATES.items()
        }
        connections = [shop(name, self.gates[name].url, QUICK, REDUCED) for name in SHOPS]
        self.daemon = Daemon(
            program,
            write_config(
                folder,
                LISTEN,
                *connections,
                tryton(more=FAST + QUICK),
                *(items.routes(name) for name in SHOPS),
                OWNED,
                items.MAPPINGS,
            ),
            folder / "daemon.log",
        )

    def differences(self, without=()):
        """`without`: (shop, SKU) that are held."""
        return [
            text
            for name, shop in self.each.items()
            for text in items.differences(
                shop, self.erp, [sku for at, sku in without if at == name]
            )
        ]

    def settle(self, without=(), seconds=SETTLE_SECS):
        """Waits until nothing differs and nothing is on its way; what differs in the end."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.differences(without)
            if not found and not self.under_way():
                return []
            if time.monotonic() > deadline:
                for text in found or self.under_way():
                    print(f"        {text}", flush=True)
                return found or ["something is still under way"]
            time.sleep(1)

    def under_way(self):
        with contextlib.suppress(RuntimeError, OSError):
            status = self.daemon.ask("status")
            queue = [row for row in status["queue"] if row["state"] != "quarantined"]
            return queue
        return ["the daemon does not answer"]

    def held(self, code):
        """The rows of the quarantine with this code."""
        return [row for row in self.daemon.ask("quarantine", "list", "--all") if row["fault"]["code"] == code]

    def wait_for(self, holds, seconds=HIT_SECS):
        """Whether something became true in time; the daemon may be starting just now."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeError, OSError):
                if holds():
                    return True
            time.sleep(0.5)
        return False

    def retry(self, rows):
        for row in rows:
            self.daemon.do("quarantine", "retry", str(row["number"]))


def run(program, folder, arguments):
    """(text, whether it holds) for every check; the folder keeps configuration, state and log."""
    kills = 20 if arguments.long else 6
    stack.reset()
    shops = Shops(program, folder)
    begun = {name: shop.made() for name, shop in shops.each.items()}
    try:
        yield from adopt(shops, begun)
        yield from every_gap(shops)
        yield from at_random(shops, arguments.seed, kills)
        yield from jumps(shops)
        yield from waits(shops)
        yield from withdrawn(shops)
        yield from nothing_twice(shops, begun)
    finally:
        shops.daemon.kill()
        for gate in shops.gates.values():
            gate.close()


# --- what is there already -----------------------------------------------------------------------


def adopt(shops, begun):
    south = shops.each["south"]  # a Vendure: other software refuses a second copy
    copy, original = south.put_twice(TWICE)
    clerk.add_item(shops.erp, "Never on the web", {"GONE-1": ""}, "5.0000", 19)
    clerk.archive_item(shops.erp, "GONE-1")
    shops.daemon.start()
    found = shops.settle(without=[("south", TWICE)])
    adopted = sum(item.enabled for item in items.wanted(shops.erp).values())
    yield f"{adopted} items are adopted by SKU in both shops, and equal field by field", not found
    held = shops.held("ambiguous_sku")
    both = (f"{original} and {copy}", f"{copy} and {original}")
    told_ids = [row for row in held if any(ids in row["fault"]["message"] for ids in both)]
    text = f"two copies of {TWICE} in south are held with both ids ({original}, {copy})"
    yield text, bool(held) and len(told_ids) == len(held)
    copies = [one.item.stock for one in south.sold()[TWICE]]
    yield "neither copy was changed", sorted(copies) == [1, 100]
    south.remove(copy)
    shops.retry(held)
    yield "with the copy gone and a retry, it is adopted too", not shops.settle()
    now = {name: shop.made() for name, shop in shops.each.items()}
    now["south"]["products"] -= 1  # the copy's own, which is empty now
    yield "nothing was created for any of them", now == begun
    begun["south"]["products"] += 1


# --- every gap of writing a product --------------------------------------------------------------


def every_gap(shops):
    """The daemon dies at each planned call of the north shop, once each."""
    erp, hits, missed = shops.erp, [], []
    gaps = shops.each["north"].gaps

    def around(what):
        return [(call, when) for call in gaps[what] for when in (BEFORE, UNANSWERED)]

    stories = (
        (lambda: clerk.add_item(erp, "Gap hoodie", {"GAP-S": "S"}, "33.6134", 19), around("product")),
        (
            lambda: clerk.add_item(erp, "Gap jumper", {"GAQ-S": "S", "GAQ-M": "M"}, "25.2101", 19),
            [(call, AFTER) for call in gaps["product"]],
        ),
        (lambda: clerk.add_variant(erp, "TEE-S", "TEE-XXL", "XXL"), around("variant")),
        (lambda: clerk.rename_item(erp, "CD-001", "Renamed tool"), around("content")),
        (lambda: clerk.price_item(erp, "CD-002", "6.1234"), around("price")),
        (lambda: clerk.count_stock(erp, {"CD-003": 41}), around("stock")),
    )
    for begin, points in stories:
        shops.daemon.kill()
        begin()
        for call, when in points:
            text = f"{call.name} {when}"
            kill = shops.gates["north"].kill_at(call, when, shops.daemon)
            shops.daemon.start()
            died = kill.wait(HIT_SECS)
            shops.daemon.kill()
            shops.gates["north"].disarm_kills()
            (hits if died else missed).append(text)
            if not died:
                print(f"        {text}: {kill.problem or 'never came up'}", flush=True)
        shops.daemon.start()
        if shops.settle():
            missed.append(f"not settled after {points[-1]}")
    planned = sum(len(points) for _, points in stories)
    yield f"{len(hits)} of {planned} planned deaths in the gaps of a product write", not missed


# --- at random -----------------------------------------------------------------------------------


def at_random(shops, seed, kills):
    dice, erp = random.Random(seed), shops.erp
    changes = (
        lambda: clerk.add_item(erp, "Plain café", {"NEW-1": ""}, "9.3458", 7),
        lambda: clerk.add_item(erp, "Shirt Ünï", {"SH-S": "S", "SH-M": "M", "SH-L": "L"}, "16.7227", 19),
        lambda: clerk.rename_item(erp, "TEE-M", "Crossdock tee, second print"),
        lambda: clerk.price_item(erp, "CD-004", "9.0001"),
        lambda: clerk.archive_item(erp, "CD-006"),
        lambda: clerk.count_stock(erp, {"CD-007": 3, "NEW-1": 12}),
        stack.restart,
        lambda: clerk.add_variant(erp, "SH-S", "SH-XL", "XL"),
        lambda: clerk.archive_item(erp, "TEE-XL"),
        lambda: clerk.price_item(erp, "SH-L", "17.9999"),
        lambda: clerk.restore_item(erp, "CD-006"),
    )
    killer = Killer(shops.daemon, seed + 1, kills)
    killer.start()
    for change in changes:
        change()
        time.sleep(dice.uniform(0, 2))
    killer.join()
    text = f"{len(changes) - 1} changes arrived after {kills} kills at random and a restart of all"
    yield text, not shops.settle()
    yield "the daemon never ended by itself", killer.found_dead == 0 and shops.daemon.runs()


# --- what is held --------------------------------------------------------------------------------


def jumps(shops):
    before = {name: price_at(shop, "CD-010") for name, shop in shops.each.items()}
    clerk.price_item(shops.erp, "CD-010", "99.9999")
    held = shops.wait_for(lambda: len(shops.held("price_jump")) == len(SHOPS))
    now = {name: price_at(shop, "CD-010") for name, shop in shops.each.items()}
    yield "a price that jumps is held in both shops, and not told", held and now == before
    why = shops.daemon.ask("explain", "price", "CD-010", "north")
    told_why = why[0]["to_be_told"] == "119" and "price_jump" in why[0]["held_back"]
    yield "`explain price` says what would be told, and why it is not", told_why
    shops.retry(shops.held("price_jump"))
    yield "a retry tells it", not shops.settle()


def price_at(shop, sku):
    return shop.sold()[sku][0].item.price


def waits(shops):
    """An item without a price cannot be created; its stock waits, and comes after it."""
    clerk.add_item(shops.erp, "Not yet", {"LATE-1": ""}, "0", 19)
    clerk.count_stock(shops.erp, {"LATE-1": 7})
    held = shops.wait_for(lambda: len(shops.held("no_price")) == len(SHOPS))
    waiting = shops.wait_for(
        lambda: {(w["sink"], w["stream"]) for w in shops.daemon.ask("status")["waiting"]}
        >= {(shop, "stock") for shop in SHOPS}
    )
    absent = all("LATE-1" not in shop.sold() for shop in shops.each.values())
    if not (held and waiting and absent):
        print(f"        held {held}, waiting {waiting}, absent {absent}", flush=True)
        for row in shops.daemon.ask("quarantine", "list", "--all") + shops.daemon.ask("status")["waiting"]:
            print(f"        {row}", flush=True)
    yield "an item without a price is not given away, and its stock waits for it", (
        held and waiting and absent
    )
    clerk.price_item(shops.erp, "LATE-1", "12.0000")
    yield "with a price it is created by itself, and its stock arrives after it", not shops.settle()


def withdrawn(shops):
    """A whole product, and one variant of a product whose others are sold: asked as a customer."""
    clerk.archive_item(shops.erp, "CD-016")
    settled = not shops.settle()
    each = shops.each.values()
    bought = [f"{one.name} {sku}" for one in each for sku in GONE if one.can_buy(sku)]
    siblings = all(one.can_buy("TEE-L") for one in each)
    if bought or not siblings:
        print(f"        bought: {bought}, siblings: {siblings}", flush=True)
    text = f"no customer gets {' or '.join(GONE)} into a basket, a sibling still can be bought"
    yield text, settled and siblings and not bought


def nothing_twice(shops, begun):
    for name, one in shops.each.items():
        now, added = one.made(), one.should_make(plain=2, sized=3, variants=10, sizes=8)
        wanted = {what: count + added[what] for what, count in begun[name].items()}
        text = f"{name} has {', '.join(f'{count} {what}' for what, count in now.items())}"
        yield f"{text}: nothing twice" + ("" if now == wanted else f" (wanted: {wanted})"), (
            now == wanted
        )
    held = shops.daemon.ask("quarantine", "list", "--all")
    for row in held:
        print(f"        {row['thing']}: {row['fault']['message']}", flush=True)
    yield f"nothing is held ({len(held)})", not held
    yield f"SIGTERM ends it within {STOP_SECS} s with exit code 0", shops.daemon.stop() == 0


if __name__ == "__main__":
    sys.exit(harness.main("run-c", __doc__, run))
