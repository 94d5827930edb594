#!/usr/bin/env python3
"""Tills beside two webstores and an ERP: what is sold over a counter lowers both shops.

    CROSSDOCK_BIN=target/release/crossdock ./run_d.py [--long] [--seed N]

The counter's till stands in the ERP's own database and is in the ERP's number as soon as it posts.
The branch's till is a Tryton of its own whose sales are carried to the ERP. Sales, late ones that
were made offline, returns, cancelled sales, products nobody else knows, two closed days; the daemon
is killed in the gaps and at random. Each sale is carried once, with its own day, and in the end
every number is right.
"""

import datetime
import http.client
import random
import sys
import threading
import time

import clerk
import compare
import harness
import shopper
import till_books
import tryton
from daemon import Daemon, Killer, orders_route, tills, why_not_traced, write_config
from daemon import shop as shop_connection
from daemon import tryton as erp_connection
from gate import AFTER, BEFORE, FLUSH, UNANSWERED, Gate
from goods import SHOPS, Watch
from harness import SECONDS, until
from setup import catalog, settings, stack
from till import Till, add_web_shop

LISTEN = settings.run_port(30)
GATES = {name: settings.run_port(31 + n) for n, name in enumerate((*SHOPS, "erp", "tills"))}
COUNTER, BRANCH, BOOKS = "counter", "branch", "books"
# Seconds after a sale in which its pieces may still be on offer, restarts of all peers included.
BOUND = 60
SECS_PER_ORDER = 12
STOCK_OF_ALL = '"locations"'
CREATE, CONFIRM = '"model.sale.sale.create"', '"model.sale.sale.confirm"'
# What the random part sells and what nothing else touches.
COMMON = tuple(f"CD-{n:03d}" for n in range(10, 23))

CONFIG = """\
[limits]
retry_max_secs = 5

[pool.all]
members = ["erp.stock"]
fulfilled_by = "erp"
tills = ["branch"]
"""


def run(program, folder, arguments):
    """(text, whether it holds) for every check; the folder keeps configuration, state and logs."""
    world = World(program, folder)
    try:
        yield from world.begin()
        yield from over_the_counter(world)
        yield from in_the_branch(world)
        yield from late(world)
        yield from back(world)
        yield from unknown(world)
        yield from deaths(world)
        yield from at_random(world, arguments)
        yield from at_the_end(world)
    finally:
        world.daemon.end()


class World:
    """The peers, the tills, the daemon between them, and what was sold when."""

    def __init__(self, program, folder):
        stack.reset(branch=True)
        self.folder, self.daemon = folder, Daemon(program, None, folder / "daemon.log")
        self.erp = tryton.Client(settings.tryton_url())
        self.other = tryton.Client(settings.tryton_url(), settings.BRANCH_DATABASE)
        add_web_shop(self.erp, BRANCH)
        add_web_shop(self.other, COUNTER)
        self.counter, self.branch = Till(self.erp, "Counter"), Till(self.other, "Branch")
        self.books = till_books.TillBooks(self.erp, self.counter, self.branch)
        self.gates = {
            name: Gate(port, _address(name), folder / f"{name}.log") for name, port in GATES.items()
        }
        self.watch, self.times = Watch(self.books), till_books.Timeline(catalog.STOCK)
        self.placed = 0

    def begin(self):
        self.daemon.configure(self.configuration())
        self.daemon.start()
        self.watch.start()
        # A new store tells nobody a number before all tills and shops were read to their settle lag, a
        # minute for the tills: what is sold in that minute is late by it, and is not what BOUND is about.
        yield (
            "the ERP's stock is told to both shops",
            until(lambda: self.daemon_told() and not self.books.wrong()),
        )

    def daemon_told(self):
        """Whether the daemon has told each shop its stock, be it the number that stood there."""
        log = (self.folder / "daemon.log").read_text()
        return all(f"sent connection={shop} stream=stock" in log for shop in SHOPS)

    def configuration(self):
        """The counter's sales are in the ERP's number and go to somebody else's books only."""
        url = {name: gate.url for name, gate in self.gates.items()}
        orders = "[connection.{}.stream.orders]\npoll_secs = {}\n"
        often = "".join(
            f"[connection.erp.stream.{stream}]\npoll_secs = 3\n"
            for stream in ("stock", "shipments")
        )
        parts = [CONFIG]
        parts.append(
            erp_connection("erp", url["erp"], often, channels=(*SHOPS, BRANCH), tills=True)
        )
        parts.append(erp_connection(BOOKS, database=settings.BRANCH_DATABASE, channels=(COUNTER,)))
        for name, database in (
            (COUNTER, settings.TRYTON_DATABASE),
            (BRANCH, settings.BRANCH_DATABASE),
        ):
            parts.append(tills(name, database, url["tills"], orders.format(name, 2)))
        parts += [orders_route(BRANCH), orders_route(COUNTER, BOOKS)]
        for shop in SHOPS:
            parts.append(shop_connection(shop, url[shop], orders.format(shop, 1)))
            parts += [orders_route(shop), _publish(shop)]
        return write_config(self.folder, LISTEN, *parts)

    def sell(self, till, *lines, **more):
        """A sale of a moment ago; answers its id. What comes back counts when it is posted."""
        sale = till.sell(*lines, **more)
        self.times.note([line for line in lines if line[1] > 0])
        return sale

    def place(self, shop, *lines):
        """An order of a guest."""
        basket = shopper.Basket(shopper.PEOPLE[self.placed % len(shopper.PEOPLE)], lines)
        self.placed += 1
        self.books.shops[shop].place(basket)
        self.times.note(lines)

    def order_of(self, sale):
        """Waits until a sale of the branch can be booked out of the ERP; answers its order there."""
        domain = [
            ["web_shop.name", "=", BRANCH],
            ["web_id", "=", self.branch.number(sale)],
            ["state", "=", "processing"],
        ]
        found = until(lambda: self.erp.ids("sale.sale", domain))
        if not found:
            raise RuntimeError(f"sale {sale} of the branch did not arrive")
        return found[0]

    def book_out(self, sale):
        clerk.ship(self.erp, self.order_of(sale), f"branch {sale}")

    def told(self, sku):
        told = self.books.told()
        return [told[shop, sku] for shop in SHOPS]

    def taken(self, sku):
        """Order -> pieces that it takes in the daemon's own words."""
        (reason,) = self.daemon.ask("explain", "stock", sku, SHOPS[0])
        rows = reason["derivation"]["reservations"]
        return {row["order_number"]: int(row["quantity"]) for row in rows}

    def becomes_right(self, seconds=SECONDS):
        """Waits until every number in both shops is what it should be; says what is not."""
        ended = until(lambda: not self.books.wrong() or not self.daemon.runs(), seconds)
        if ended and self.daemon.runs():
            return True
        for one in self.books.wrong():
            print("        {} {}: expected {}, told {}".format(*one), flush=True)
        return False

    def all_carried(self):
        """Waits until each sale is carried once; answers how many of the counter and the branch."""
        counts, wrong = [], []

        def holds():
            both = (
                till_books.carried(self.counter, self.other, COUNTER),
                till_books.carried(self.branch, self.erp, BRANCH),
            )
            counts[:], wrong[:] = [count for _, count in both], [*both[0][0], *both[1][0]]
            return not wrong

        until(holds, SECONDS + SECS_PER_ORDER * len(self.branch.rows()))
        for one in wrong:
            print("        sale {}: {}".format(*one), flush=True)
        return not wrong and counts

    def quarantined(self):
        return sorted(one["fault"]["code"] for one in self.daemon.ask("quarantine", "list", "--all"))

    def retry(self):
        """Somebody tries again what is held."""
        self.daemon.retry_held()
        return True

    def says(self, condition, skus, seconds=8):
        """Whether it stays so for a while, for these SKUs in both shops."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = {sku: self.told(sku) for sku in skus}
            if not all(condition(sku, number) for sku in skus for number in found[sku]):
                print(f"        {found}", flush=True)
                return False
            time.sleep(1)
        return True


def _publish(shop):
    return f'[publish.{shop}]\npool = "all"\nto = "{shop}.stock"\nmode = "apply"\n'


def _address(name):
    return settings.tryton_url() if name in ("erp", "tills") else settings.shop_url(name)


def days_ago(days):
    return datetime.date.today() - datetime.timedelta(days=days)


# --- one thing after the other --------------------------------------------------------------------


def over_the_counter(world):
    """The till of the ERP's own database: nothing is posted before the day's end."""
    counter = world.counter
    world.sell(counter, ("CD-001", 2), ("CAFÉ-250", 1))
    on_hand = clerk.stock(world.erp)["CD-001"][0]
    yield (
        "a sale at the counter lowers both shops although the ERP's number has not fallen",
        world.becomes_right() and (on_hand, world.told("CD-001")) == (100, [98, 98]),
    )
    counter.post()
    on_hand = clerk.stock(world.erp)["CD-001"][0]
    yield (
        "posted, it is in the ERP's number and is not taken off twice",
        until(lambda: world.told("CD-001") == [98, 98], 30)
        and world.says(lambda sku, number: number == 98, ["CD-001"])
        and (on_hand, world.taken("CD-001")) == (98, {}),
    )


def in_the_branch(world):
    """The till of another Tryton: the ERP hears of it, and books it out later."""
    sale = world.sell(world.branch, ("CD-002", 3), ("TEE-M", 1))
    yield "a sale in the branch lowers both shops", world.becomes_right()
    order = {world.branch.number(sale): 3}
    yield "explain: the sale takes its pieces", world.taken("CD-002") == order
    world.order_of(sale)
    yield (
        "and goes on to when it is an order in the ERP, whose number has not fallen",
        world.says(lambda sku, number: number == 97, ["CD-002"])
        and clerk.stock(world.erp)["CD-002"][0] == 100,
    )
    world.book_out(sale)
    yield (
        "booked out there, it is never more for a moment and taken off once in the end",
        world.says(lambda sku, number: number <= 97, ["CD-002"])
        and until(lambda: not world.taken("CD-002"))
        and world.becomes_right()
        and world.told("CD-002") == [97, 97],
    )


def late(world):
    """Sales of other days, written today."""
    made = [
        (till, days, world.sell(till, ("CD-003", pieces), day=days_ago(days)))
        for till, days, pieces in (
            (world.branch, 3, 2),
            (world.counter, 2, 1),
            (world.branch, 1, 1),
            (world.counter, 0, 1),
        )
    ]
    yield "late sales of both tills lower both shops", world.becomes_right()
    found = []
    for till, days, sale in made:
        number = till.number(sale)

        def seen(number=number):
            lives = world.daemon.ask("explain", "order", number)
            return [one["record"]["placed_at"] for one in lives if one["record"]]

        placed = [moment[:10] for moment in until(seen)]
        # Both tills count from one: a number of one may be one of the other too.
        found.append(days_ago(days).isoformat() in placed)
    yield "each has the day on which it was made", all(found)
    yield "each is carried once, with its day, pieces and amount", world.all_carried()


def back(world):
    """Goods that come back, and sales that are called off."""
    counter, branch = world.counter, world.branch
    counter.sell(("CD-001", -1))
    branch.sell(("CD-002", -1))
    exchange = world.sell(branch, ("CD-004", 2), ("CD-005", -1))
    basket = branch.sell(("CD-006", 9), paid=False)
    branch.cancel(basket)
    yield "an exchange takes what was sold", world.becomes_right()
    yield (
        "what comes back raises nothing before it is posted, an empty basket nothing at all",
        world.says(
            lambda sku, number: number == {"CD-001": 98, "CD-002": 97}.get(sku, 100),
            ["CD-001", "CD-002", "CD-005", "CD-006"],
            6,
        ),
    )
    world.times.note([("CD-001", 1)], sign=1)
    counter.post()
    yield (
        "what came back at the counter is for sale when it is posted",
        world.becomes_right() and world.told("CD-001") == [99, 99],
    )
    called_off = world.sell(branch, ("CD-006", 4))
    world.order_of(called_off)
    lowered = world.becomes_right() and world.told("CD-006") == [96, 96]
    world.times.note([("CD-006", 4)], sign=1)
    branch.cancel(called_off)
    yield (
        "a paid sale that is called off is called off in the ERP, and its pieces are for sale again",
        lowered and world.becomes_right() and world.told("CD-006") == [100, 100],
    )
    world.book_out(exchange)
    yield "each is carried once, an exchange to the cent", world.all_carried()


def unknown(world):
    """A product without a SKU, and one that the ERP does not know."""
    branch = world.branch
    nameless = branch.add_product("Gift wrap", "1.50")
    branch.add_product("Local honey", "6.90", code="HONEY-1")
    branch.sell(("Gift wrap", 1))
    branch.sell(("Local honey", 1))
    world.sell(branch, ("CD-007", 1))
    yield (
        "a product without a code and one that the ERP does not know are held",
        until(lambda: world.quarantined() == ["no_sku", "unknown_sku"]),
    )
    yield "and the sales behind them go on", world.becomes_right() and world.told("CD-007")[0] == 99
    world.other.call("product.product", "write", [nameless], {"suffix_code": "WRAP-1"})
    for code, name in (("WRAP-1", "Gift wrap"), ("HONEY-1", "Local honey")):
        clerk.add_item(world.erp, name, {code: ""}, "1.00", 19)

    until(lambda: world.retry() and not till_books.carried(branch, world.erp, BRANCH)[0])
    yield "mended by people, both are carried", world.all_carried()


# --- deaths --------------------------------------------------------------------------------------


def deaths(world):
    """In the gaps between reading a sale, accepting it, carrying it, and telling the shops."""
    reads = _all("/branch/", "point.sale.search_read")
    own = _all("/tryton/", "point.sale.search_read")
    planned = [
        ("tills", reads, UNANSWERED, world.branch),
        ("tills", reads, AFTER, world.branch),
        ("tills", reads, FLUSH, world.branch),
        ("tills", own, UNANSWERED, world.counter),
        ("erp", STOCK_OF_ALL, UNANSWERED, world.counter),
        ("erp", CREATE, UNANSWERED, world.branch),
        ("erp", CONFIRM, UNANSWERED, world.branch),
        ("north", world.books.shops["north"].count, UNANSWERED, world.branch),
        ("south", world.books.shops["south"].count, BEFORE, world.counter),
    ]
    untraced, sold = why_not_traced(), 0
    for gate, match, when, till in planned:
        name = getattr(match, "name", match)
        if when == FLUSH and untraced:
            yield f"killed at {name}: {untraced}", None
            continue
        sold += 1
        # A read is to bring the sale: it is made just before the read is sent on.
        if gate == "tills":
            world.gates[gate].do_at(match, lambda till=till: world.sell(till, ("CD-008", 1)))
        # Two tills, two shops and the ERP are read all the time: on a busy machine it never rests.
        kill = world.gates[gate].kill_at(match, when, world.daemon, alone=False)
        if gate != "tills":
            world.sell(till, ("CD-008", 1))
        hit = kill.wait(SECONDS)
        time.sleep(1)  # what the dead one had sent arrives still, and must not set off the next death
        world.gates[gate].disarm_kills()
        world.daemon.start()
        yield f"killed at {name}, {when}{kill.problem and ': '}{kill.problem}", hit
    yield "each sale is carried once", world.all_carried()
    yield "each number is right", world.becomes_right() and world.told("CD-008") == [100 - sold] * 2


def _all(*pieces):
    """Recognises a call by all of these."""

    def match(text):
        return all(piece in text for piece in pieces)

    match.name = " ".join(pieces)
    return match


def at_random(world, arguments):
    """Two tills and two shops sell while the daemon dies at random and all servers go away once."""
    rounds, kills = (30, 20) if arguments.long else (4, 6)
    killer = Killer(world.daemon, arguments.seed + 1, kills)
    killer.start()
    sellers = [
        threading.Thread(target=_sell_all_day, args=(world, till, arguments.seed + n, rounds))
        for n, till in enumerate((world.counter, world.branch))
    ]
    dice = random.Random(arguments.seed)
    for n in range(rounds):
        world.place(SHOPS[n % 2], *((sku, 1) for sku in dice.sample(COMMON, 2)))
        if n == rounds // 2:
            stack.restart()
        if n == 0:
            for seller in sellers:
                seller.start()
    for thread in (*sellers, killer):
        thread.join()
    yield (
        f"{killer.kills} kills at random moments, none after it had ended by itself",
        killer.found_dead == 0,
    )
    yield "each sale is carried once", world.all_carried()
    yield "each number is right", world.becomes_right()


def _sell_all_day(world, till, seed, rounds):
    """Some are paid today, some were made offline; a server that restarts is waited for."""
    dice = random.Random(seed)
    for _ in range(rounds + 2):
        lines = [(sku, dice.randint(1, 3)) for sku in dice.sample(COMMON, 2)]
        day = days_ago(dice.choice((0, 0, 1, 2)))
        while not _sold(world, till, lines, day):
            time.sleep(1)
        time.sleep(dice.uniform(0, 1))


def _sold(world, till, lines, day):
    """Whether it could be: a basket that a restart cut off is never paid and counts for nothing."""
    try:
        return world.sell(till, *lines, day=day)
    except (OSError, http.client.HTTPException, tryton.TrytonError, ValueError):
        return None


# --- the end -------------------------------------------------------------------------------------


def at_the_end(world):
    """The last piece of something, two closed days, and everything counted once more."""
    counter, branch, books = world.counter, world.branch, world.books
    world.sell(counter, ("BIG-1", 60))
    world.sell(branch, ("BIG-1", 40))
    yield (
        "sold out over the counters: nobody can buy it in a shop any more",
        until(lambda: world.told("BIG-1") == [0, 0])
        and not any(shop.can_buy("BIG-1") for shop in books.shops.values()),
    )
    for till in (counter, branch):
        till.post()
        till.close()
    yield "both days are closed, and each number is right", world.becomes_right()
    time.sleep(10)  # nothing may appear twice in this time
    counts = world.all_carried()
    yield f"each of the {counts} sales once: day, pieces and amount", counts
    total, found = compare.compare_shops(SHOPS)
    for one in found:
        print(f"        {compare.story(one)}", flush=True)
    yield (
        f"each of the {world.placed} orders of the shops once in Tryton, to the cent",
        (total, found) == (world.placed, []),
    )
    yield f"each of the {len(books.expected())} numbers is what it should be", not books.wrong()
    yield "nothing is oversold", not books.oversold(catalog.STOCK)
    looks = world.watch.seen()
    seconds, shop, sku = world.times.longest(looks, catalog.SKUS)
    if seconds > BOUND:
        print("        " + "\n        ".join(world.times.story(looks, shop, sku)), flush=True)
    slowest = max(ended - begun for begun, ended, _ in looks)
    yield (
        f"no sold piece was on offer for more than {BOUND} s; the longest was {seconds:.0f} s ({shop} {sku})",
        seconds <= BOUND,
    )
    yield "nothing is in quarantine", not world.quarantined()
    yield "SIGTERM ends the daemon with exit code 0", world.daemon.stop() == 0
    print(
        f"        both shops were looked at {world.watch.looks} times, for {slowest:.1f} s at most",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(harness.main("run-d", __doc__, run))
