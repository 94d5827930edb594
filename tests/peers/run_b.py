#!/usr/bin/env python3
"""One stock in two webstores, an ERP and two suppliers' folders; parcels reported back.

    CROSSDOCK_BIN=target/release/crossdock ./run_b.py [--long] [--seed N]

Both shops are told Tryton's stock and the suppliers' files less what was ordered and has not left.
An order in one shop lowers the other before Tryton's next snapshot, and neither is told more until
the goods have left. Files that must not be believed change nothing. What is shipped in Tryton is
fulfilled in the right shop, each parcel once, though the daemon is killed in each gap of that write
and at random, and all peers are restarted. CROSSDOCK_SAMPLES names the folder with real suppliers'
files.
"""

import random
import sys
import time
import urllib.request

import clerk
import compare
import harness
import shopper
import supplier
import tryton
from daemon import Daemon, Killer, orders_route, write_config
from daemon import shop as shop_connection
from daemon import tryton as erp_connection
from gate import AFTER, BEFORE, UNANSWERED, Gate
from goods import ITEM_RULES, RULES, SHOPS, Books, Watch, recode
from harness import SECONDS, until
from setup import settings, stack

LISTEN = settings.run_port(16)
GATES = {name: settings.run_port(17 + n) for n, name in enumerate((*SHOPS, "erp"))}
SECS_PER_ORDER = 12
NEVER = 86_400
CARRIERS = ("DHL", "UPS")
FULFIL, SHIP, COUNT = "fulfil", "ship", "count"  # Calls of each shop
STOCK_OF_ALL = '"locations"'
# Deaths at one call of a shop: an order in the other one brings them about, or a parcel of its own.
COUNT_DEATHS = ((COUNT, BEFORE), (COUNT, UNANSWERED))
PARCEL_DEATHS = (
    (FULFIL, BEFORE),
    (FULFIL, UNANSWERED),
    (FULFIL, AFTER),
    (SHIP, BEFORE),
    (SHIP, UNANSWERED),
    (SHIP, AFTER),
)

FIRST = {
    "CD-001": "40", "CD-002": "7,5", "CD-003": "200", "CD-004": "brak", "CD-005": ">100",
    "CD-006": "12,0", "CD-007": "3", "CD-008": "8", "CD-009": "9", "CD-010": "10", "CD-011": "11",
    "CD-012": "12", "CD-013": "13", "CD-014": "14", "CD-015": "15", "CD-016": "16", "0017": "1700",
    "CAFÉ-250": "25", "TEA-JP": "6", "BIG-1": "1", "TEE-S": "4", "TEE-M": "5", "TEE-L": "6",
    "TEE-XL": "7", "1E5": "5", "ŻÓŁW-1": "21", "LÁTKA-Č": "2,75",
}  # fmt: skip
# The supplier's next list: another number, one article less, one that comes back.
SECOND = {sku: text for sku, text in FIRST.items() if sku != "CD-016"} | {
    "CD-001": "44",
    "CD-004": "4",
}
FORMULA = ('=HYPERLINK("http://example.com")', "Złośliwy", "5", "1,00")


def run(program, folder, arguments):
    """(text, whether it holds) for every check; the folder keeps configuration, state and logs."""
    world = World(program, folder)
    try:
        yield from world.begin()
        yield from one_order(world)
        yield from files(world)
        yield from deaths(world, arguments.seed)
        yield from at_random(world, arguments)
        yield from at_the_end(world)
    finally:
        world.daemon.end()


class World:
    """The peers, the folders, the daemon between them, and what was ordered."""

    def __init__(self, program, folder):
        stack.reset()
        self.folder, self.daemon = folder, Daemon(program, None, folder / "daemon.log")
        self.books = Books(tryton.Client(settings.tryton_url()))
        self.polish = supplier.Folder(folder, "hurtownia", supplier.POLISH)
        self.real = supplier.Folder(folder, "warehouse", supplier.REAL)
        self.gates = {
            name: Gate(port, _address(name), folder / f"{name}.log") for name, port in GATES.items()
        }
        self.watch, self.placed, self.parcels = Watch(self.books), 0, 0

    def begin(self):
        """The suppliers drop their first lists, then the daemon starts."""
        recode(self.books, supplier.REAL_ARTICLES)
        self.polish.drop("stan.csv", supplier.polish_file(FIRST, [FORMULA]))
        self.books.files["hurtownia"] = supplier.pieces(FIRST)
        rows = None
        if supplier.REAL_FILE.is_file():
            self.real.drop("instock.csv", supplier.REAL_FILE.read_bytes())
            self.books.files["warehouse"], rows = supplier.real_pieces()
        self.configure(stock_secs=NEVER)
        self.daemon.start()
        self.watch.start()
        yield "Tryton's stock and the files are told to both shops, exactly", self.becomes_right()
        yield "the windows-1250 list is answered: 28 rows, the formula named", self._polish_reply()
        if rows is None:
            yield (
                f"no {supplier.REAL_FILE.name}: neither CROSSDOCK_SAMPLES nor ../shared/samples",
                None,
            )
        else:
            facts, bad = self.real.reply("instock.csv")
            told = (facts["result"], facts["rows"], facts["bad_rows"], bad)
            yield (
                f"the real list is answered: {rows} rows, none bad",
                told == ("accepted", str(rows), "0", []),
            )
        unknown = len(
            set().union(*self.books.files.values()) - {sku for _, sku in self.books.told()}
        )
        rows = self.daemon.ask("status")["differences"]
        unlisted = {one["sink"]: (one["count"], one["unlisted"]) for one in rows}
        yield (
            f"{unknown} articles that no shop has are counted and break nothing",
            unlisted == {shop: (0, unknown) for shop in SHOPS},
        )

    def _polish_reply(self):
        facts, bad = self.polish.reply("stan.csv")
        rows = str(len(FIRST) + 1)
        return (facts["result"], facts["rows"], facts["bad_rows"]) == ("accepted", rows, "1") and [
            (row[1], row[2], row[3]) for row in bad
        ] == [("Numer katalogowy", "'" + FORMULA[0], "formula_in_sku")]

    def configure(self, stock_secs):
        """What the next start reads; `stock_secs` is how often Tryton's stock is asked for."""
        often = "\n".join(
            f"[connection.{{name}}.stream.{stream}]\npoll_secs = {secs}\n"
            for stream, secs in (("shipments", 3), ("stock", stock_secs))
        )
        parts = [erp_connection(url=self.gates["erp"].url, more=often.format(name="erp"))]
        for shop in SHOPS:
            more = f"[connection.{shop}.stream.orders]\npoll_secs = 1\n"
            parts += [shop_connection(shop, self.gates[shop].url, more), orders_route(shop)]
            parts += [_publish(shop), _shipments_route(shop)]
        parts += [self.polish.config(), self.real.config(), POOL]
        self.daemon.configure(write_config(self.folder, LISTEN, *parts))

    def restart(self, **settings_of):
        self.daemon.stop()
        self.configure(**settings_of)
        self.daemon.start()
        until(ready)

    def place(self, shop, *lines):
        """An order of a guest; answers (shop, code)."""
        basket = shopper.Basket(shopper.PEOPLE[self.placed % len(shopper.PEOPLE)], lines)
        self.placed += 1
        return shop, self.books.shops[shop].place(basket)

    def sale(self, order):
        """Waits until the order can be shipped in Tryton; answers the sale."""
        domain = [
            ["web_shop.name", "=", order[0]],
            ["web_id", "=", order[1]],
            ["state", "=", "processing"],
        ]
        found = until(lambda: self.books.erp.ids("sale.sale", domain))
        if not found:
            raise RuntimeError(f"order {order} did not arrive")
        return found[0]

    def tracking(self):
        """A number that no parcel had before."""
        self.parcels += 1
        return f"0034043416109402{self.parcels:04d}"

    def ship(self, order):
        sale = self.sale(order)
        clerk.ship(self.books.erp, sale, self.tracking(), CARRIERS[self.parcels % len(CARRIERS)])

    def snapshots(self):
        """How often Tryton's stock was asked for."""
        return sum(STOCK_OF_ALL in text for text in self.gates["erp"].sent_on)

    def explained(self, sku, shop):
        """(the derivation, its reservations as order and pieces)."""
        (reason,) = self.daemon.ask("explain", "stock", sku, shop)
        derivation = reason["derivation"]
        taken = {one["order_number"]: int(one["quantity"]) for one in derivation["reservations"]}
        return derivation, taken

    def becomes_right(self, seconds=SECONDS):
        """Waits until every number in both shops is what it should be; says what is not."""
        if (
            until(lambda: not self.books.wrong() or not self.daemon.runs(), seconds)
            and self.daemon.runs()
        ):
            return True
        for one in self.books.wrong():
            print("        {} {}: expected {}, told {}".format(*one), flush=True)
        return False

    def never_more(self, since, shop, skus):
        """Whether no look at the shop since then showed more than is right now."""
        expected = self.books.expected()
        found = {sku: self.watch.highest(since, shop, sku) for sku in skus}
        over = {
            sku: number
            for sku, number in found.items()
            if number is None or number > expected[shop, sku]
        }
        for sku, number in over.items():
            print(
                f"        {shop} {sku}: {number} for a moment, expected {expected[shop, sku]}",
                flush=True,
            )
        return not over


POOL = """\
[limits]
retry_max_secs = 5

[pool.all]
members = ["erp.stock", "hurtownia.stock", "warehouse.stock"]
fulfilled_by = "erp"
"""


def _publish(shop):
    lines = [
        f"[publish.{shop}]",
        'pool = "all"',
        f'to = "{shop}.stock"',
        'mode = "apply"',
        *RULES[shop].toml(),
    ]
    for sku, rule in ITEM_RULES[shop].items():
        lines += [f'[publish.{shop}.item."{sku}"]', *rule.toml()]
    return "\n".join(lines) + "\n"


def _shipments_route(shop):
    return (
        f'[route.{shop}_parcels]\nfrom = "erp.shipments"\nto = "{shop}.shipments"\n'
        'mode = "apply"\nstart_from = "2020-01-01T00:00:00Z"\n'
    )


def _address(name):
    return settings.tryton_url() if name == "erp" else settings.shop_url(name)


# --- an order, from the shop to the parcel ------------------------------------------------------


def one_order(world):
    """Tryton's stock is read at the start and then no more, until the daemon is started anew."""
    books, before = world.books, world.snapshots()
    skus = ("CD-001", "CD-002", "CD-003", "0017")
    north = world.place("north", ("CD-001", 2), ("CD-002", 5), ("CD-003", 30), ("0017", 7))
    south = world.place("south", ("CD-005", 2), ("CD-006", 1))
    lowered = world.becomes_right()
    since = time.monotonic()
    yield "an order in one shop lowers the other, to the piece", lowered
    derivation, taken = world.explained("CD-001", "south")
    yield (
        "explain: no new snapshot, the order takes its pieces",
        (
            world.snapshots() == before
            and taken == {north[1]: 2}
            and [
                (one["connection"], float(one["position"]["on_hand"]))
                for one in derivation["members"]
            ]
            == [("erp", 100), ("hurtownia", 40)]
            and float(derivation["to_write"]) == books.expected()["south", "CD-001"] == 138
        ),
    )
    sale, second = world.sale(north), world.sale(south)
    (life,) = world.daemon.ask("explain", "order", north[1])
    yield "explain: the order is in Tryton", "erp" in life["entity"]["links"] and {
        "seen", "queued", "delivered"
    } <= {entry[1]["what"] for entry in life["entries"]}  # fmt: skip
    world.restart(stock_secs=3)
    again = until(lambda: world.snapshots() >= before + 3)
    yield "and stays lowered in Tryton's next snapshots", again and not books.wrong()
    _, taken = world.explained("CD-001", "south")
    yield "explain: the order still takes its pieces", taken == {north[1]: 2}
    world.restart(stock_secs=NEVER)
    clerk.ship_in_two_packages(books.erp, sale, (world.tracking(), world.tracking()), CARRIERS[0])
    clerk.ship_in_two_shipments(
        books.erp, second, (world.tracking(), world.tracking()), CARRIERS[1]
    )
    yield (
        "two parcels of one order, and two shipments of another, are told once each",
        told_once(world),
    )
    yield (
        "the goods have left: no number rises before Tryton says so",
        all([world.never_more(since, shop, skus) for shop in SHOPS]),
    )
    world.restart(stock_secs=3)
    yield "and every number is right after Tryton's next snapshot", world.becomes_right()
    yield (
        "explain: nothing is taken any more",
        until(lambda: not world.explained("CD-001", "south")[1], 20),
    )
    yield (
        "no number was too high for a moment",
        all([world.never_more(since, shop, skus) for shop in SHOPS]),
    )


def told_once(world, seconds=SECONDS):
    """Whether what left is what the shops tell, parcel by parcel, each once, and nothing else."""
    until(lambda: world.books.fulfilled() == (world.books.sent(), []), seconds)
    (told, odd), sent = world.books.fulfilled(), world.books.sent()
    for name in sorted({*told, *sent}):
        if told.get(name) != sent.get(name):
            print(f"        {name}: left {sent.get(name)}, told {told.get(name)}", flush=True)
    for one in odd:
        print(f"        twice, or not as shipped: {one}", flush=True)
    return told == sent and not odd


# --- files ---------------------------------------------------------------------------------------


def files(world):
    """What must not be believed changes nothing, and is shown."""
    polish, books = world.polish, world.books
    few = dict(list(FIRST.items())[: len(FIRST) // 10])
    polish.drop("malo.csv", supplier.polish_file(few))
    held = until(lambda: polish.files("held") and polish.reply("malo.csv"))
    yield (
        "a list that lost 90 % of its rows is held and answered",
        held and held[0]["result"] == "held",
    )
    until(lambda: len(world.daemon.ask("quarantine", "list", "--all")) > 1)
    desk = sorted(one["fault"]["code"] for one in world.daemon.ask("quarantine", "list", "--all"))
    counted = (
        metric("crossdock_quarantined"),
        metric('crossdock_reads_failed_total{connection="hurtownia",stream="stock"}'),
    )
    yield "it stands in quarantine and in the metrics", (desk, counted) == (
        ["feed_held", "formula_in_sku"], (2, 1)
    )  # fmt: skip
    yield "nothing is zeroed", not books.wrong()
    polish.drop("bez_stanu.csv", supplier.polish_file(FIRST).replace(b"Stan magazynowy", b"Stan"))
    polish.drop("a..%2F..\\etc\\passwd;$(reboot)\n.csv", supplier.polish_file(few))
    until(lambda: polish.files("failed") and len(polish.files("held")) == 2)
    yield (
        "nor by a list without the stock column, or with tricks in its name",
        (
            len(polish.files("failed")) == 1
            and [name.split("-", 2)[2] for name in polish.files("held")]
            == ["malo.csv", "a._2F._etc_passwd___reboot__.csv"]
            and not books.wrong()
        ),
    )
    polish.drop_slowly("stan2.csv", supplier.polish_file(SECOND), portions=8, pause=0.6)
    books.files["hurtownia"] = supplier.pieces(SECOND)
    yield "a list that was written slowly is read when it is whole, and told", world.becomes_right()
    facts, _ = polish.reply("stan2.csv")
    yield (
        "nothing of it was missing, and the quarantine is empty",
        (
            (facts["result"], facts["rows"]) == ("accepted", str(len(SECOND)))
            and not world.daemon.ask("quarantine", "list", "--all")
        ),
    )


def page(path):
    with urllib.request.urlopen(f"http://{settings.HOST}:{LISTEN}{path}", timeout=10) as answer:
        return answer.read().decode()


def ready():
    """Whether the daemon has read every stream once."""
    try:
        return page("/readyz")
    except OSError:
        return ""


def metric(name):
    """One number of the daemon's own page."""
    lines = [line.rsplit(" ", 1) for line in page("/metrics").splitlines()]
    return next(
        (float(number) for start, *number in lines if start == name for number in number), None
    )


# --- deaths --------------------------------------------------------------------------------------


def deaths(world, seed):
    """At each call of a shop that writes: before it, after its effect, after its answer.

    The shops take turns; an even seed gives each the deaths that an odd one gives the other.
    """
    orders, shops = [], SHOPS if seed % 2 else SHOPS[::-1]
    for n, (call, when) in enumerate(COUNT_DEATHS):
        shop, other = shops[n % 2], shops[1 - n % 2]
        kill, called = plan(world, shop, call, when)
        orders.append(world.place(other, ("CD-009", 1), ("CD-010", 2)))
        yield died(world, shop, called, kill)
    for n in range(len(COUNT_DEATHS), len(PARCEL_DEATHS)):
        orders.append(world.place(shops[1 - n % 2], ("CD-009", 2), ("CD-010", 1)))
    yield "each number is right after that", world.becomes_right()
    since = time.monotonic()
    for order, (call, when) in zip(orders, PARCEL_DEATHS, strict=True):
        world.sale(order)
        kill, called = plan(world, order[0], call, when)
        world.ship(order)
        yield died(world, order[0], called, kill)
    yield "each parcel is told once", told_once(world)
    yield "each number is right", world.becomes_right()
    yield (
        "no number was too high for a moment",
        all([world.never_more(since, shop, ("CD-009", "CD-010")) for shop in SHOPS]),
    )


def plan(world, shop, call, when):
    """Arms a death at a call, which each kind of shop has its own requests for; (it, what it is)."""
    match = getattr(world.books.shops[shop], call)
    return world.gates[shop].kill_at(match, when, world.daemon), f"{match.name} of {shop}"


def died(world, shop, call, kill):
    """Waits for a planned death, and starts the daemon anew."""
    hit = kill.wait(SECONDS)
    world.gates[shop].disarm_kills()
    world.daemon.start()
    return f"killed at {call}, {kill.when}{kill.problem and ': '}{kill.problem}", hit


def at_random(world, arguments):
    """Orders and parcels while the daemon dies at random, and all servers go away once."""
    dice = random.Random(arguments.seed)
    count, kills = (30, 20) if arguments.long else (3, 6)
    killer = Killer(world.daemon, arguments.seed + 1, kills)
    killer.start()
    orders = []
    for n in range(count):
        skus = dice.sample([sku for sku in FIRST if sku.startswith(("CD-", "TE"))], 3)
        orders.append(world.place(SHOPS[n % 2], *((sku, dice.randint(1, 2)) for sku in skus)))
        if n == count // 2:
            stack.restart()
    for n, order in enumerate(orders[:-1]):
        sale = world.sale(order)
        numbers = (world.tracking(), world.tracking())
        ship = clerk.ship_in_two_packages if n % 2 else clerk.ship_in_two_shipments
        ship(world.books.erp, sale, numbers, dice.choice(CARRIERS))
    killer.join()
    yield (
        f"{killer.kills} kills at random moments, none after it had ended by itself",
        killer.found_dead == 0,
    )
    yield "each parcel is told once", told_once(world, SECONDS + SECS_PER_ORDER * count)
    yield "each number is right", world.becomes_right(SECONDS + SECS_PER_ORDER * count)


def at_the_end(world):
    time.sleep(15)  # nothing may appear twice in this time
    books, orders = world.books, list(world.books.orders())
    total, found = compare.compare_shops(SHOPS)
    for one in found:
        print(f"        {compare.story(one)}", flush=True)
    yield (
        f"each of the {world.placed} orders exactly once in Tryton, to the cent",
        ((total, found) == (world.placed, [])),
    )
    sent = books.sent()
    parcels = sum(len(parcels) for parcels in sent.values())
    yield (
        f"each of the {parcels} parcels of {len(sent)} orders told once, other orders untouched",
        (told_once(world, 1) and parcels == world.parcels and len(sent) < len(orders)),
    )
    yield f"each of the {len(books.expected())} numbers is what it should be", not books.wrong()
    yield "nothing is oversold", not books.oversold()
    yield "nothing is in quarantine", not world.daemon.ask("quarantine", "list", "--all")
    yield "SIGTERM ends the daemon with exit code 0", world.daemon.stop() == 0
    print(f"        both shops were looked at {world.watch.looks} times", flush=True)


if __name__ == "__main__":
    sys.exit(harness.main("run-b", __doc__, run))
