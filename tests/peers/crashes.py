"""Every row of the table of crashes, and every gap between two calls of writing an order, once.

The daemon reads the north store and writes the ERP through two gates, one delivery at a time, so
that "the next call" and "the next commit" belong to the order in hand. Each point is proved twice:
by what the dead daemon's store says of the order, and by what the ERP has of it.
"""

import collections
import contextlib
import dataclasses
import os
import signal
import threading
import time

import shopper
import shops
import tryton
from daemon import orders_route, why_not_traced, write_config
from daemon import shop as shop_connection
from daemon import tryton as tryton_connection
from gate import AFTER, BEFORE, FLUSH, TRACED, UNANSWERED, WRITE, Gate
from setup import processes, settings, stack

SHOP = "north"
SHOP_GATE, TRYTON_GATE = settings.run_port(3), settings.run_port(4)
# So many deaths may fall into other commits of a daemon that has something else to write just then, such as an alert,
# or into the growth of its store's file, which is small and so grows a few times in a run, by doubling.
ELSEWHERE = 6
HIT_SECS, SETTLE_SECS = 180, 180  # on a machine that does much else; it takes 2 s on a quiet one
ERP = "erp"

BEFORE_ACCEPT = "before accept"
BEFORE_SENDING = "after accept, before sending"
BETWEEN = "between two steps"
BEFORE_SETTLE = "after sending, before settle"
DURING_FLUSH = "during the flush"
ROWS = (BEFORE_ACCEPT, BEFORE_SENDING, BETWEEN, BEFORE_SETTLE, DURING_FLUSH)

# The calls of writing one order, in their order. Of those that change something: what proves in the
# ERP that it was done, and the name under which the daemon keeps that it was.
LOOKUPS = ("web.shop.search_read", "currency.currency.search_read", "product.product.search_read")
LOOKUPS += ("account.tax.search_read", "country.country.search_read")
PARTY, ADDRESS, SALE = "party.party.create", "party.address.create", "sale.sale.create"
QUOTE, CONFIRM, PROCESS = "sale.sale.quote", "sale.sale.confirm", "sale.sale.process"
FIND, LAST = "sale.sale.search_read", "sale.line.search"
Effect = collections.namedtuple("Effect", "model domain kept_as")
EFFECTS = {
    PARTY: Effect("party.party", [["code", "like", "north-%"]], "party"),
    ADDRESS: Effect("party.address", [], "addresses."),
    SALE: Effect("sale.sale", [], "sale"),
    QUOTE: Effect("sale.sale", [["state", "!=", "draft"]], "quote"),
    CONFIRM: Effect("sale.sale", [["state", "not in", ["draft", "quotation"]]], "confirm"),
    PROCESS: Effect("sale.sale", [["state", "in", ["processing", "done"]]], "process"),
}


ORDERS_PAGE = "orders page"
NAMED = {
    "sale as written": lambda text: '"model.sale.sale.read"' in text and "total_amount" in text,
}
Point = collections.namedtuple("Point", "row call when nth", defaults=(1,))
Hit = collections.namedtuple("Hit", "point store sent_until then")

# Each inner list is one order, in the order in which its points come up. Whatever dies after
# `confirm` was done is settled by `find` alone: an order has one such point at most, its last.
NEW_CUSTOMER = (
    [
        Point(BEFORE_ACCEPT, ORDERS_PAGE, UNANSWERED),
        Point(DURING_FLUSH, ORDERS_PAGE, WRITE),
        Point(DURING_FLUSH, ORDERS_PAGE, FLUSH),
        Point(BEFORE_SENDING, "common.db.login", BEFORE),
        *(Point(BEFORE_SENDING, lookup, BEFORE) for lookup in LOOKUPS),
        Point(BETWEEN, FIND, BEFORE),
        Point(BETWEEN, "party.party.search", BEFORE),
        Point(BETWEEN, PARTY, BEFORE),
        Point(BETWEEN, PARTY, UNANSWERED),
        Point(BETWEEN, "party.address.search", BEFORE),
        Point(BETWEEN, SALE, BEFORE),
        Point(BETWEEN, SALE, UNANSWERED),
        Point(BETWEEN, "sale as written", BEFORE),
        Point(BETWEEN, QUOTE, BEFORE),
        Point(BETWEEN, QUOTE, UNANSWERED),
        Point(BETWEEN, CONFIRM, BEFORE),
        Point(BETWEEN, CONFIRM, UNANSWERED),
        Point(DURING_FLUSH, FIND, WRITE),  # it is found to be done, and that is not settled
        Point(DURING_FLUSH, FIND, FLUSH),
    ],
    [
        Point(DURING_FLUSH, ORDERS_PAGE, FLUSH, 2),  # the commit that claims the delivery
        *(Point(BETWEEN, call, AFTER) for call in (PARTY, SALE, QUOTE, CONFIRM)),
    ],
    [Point(DURING_FLUSH, call, FLUSH) for call in (PARTY, SALE, QUOTE, CONFIRM)],
    [Point(DURING_FLUSH, call, WRITE) for call in (PARTY, SALE, QUOTE, LAST)],
)
# The same customers again, with addresses that the ERP does not have. Where `process` is a call of
# its own, the ERP has died between confirming and processing.
KNOWN_CUSTOMER = (
    [
        Point(BETWEEN, ADDRESS, BEFORE),
        Point(BETWEEN, ADDRESS, UNANSWERED),
        Point(BETWEEN, ADDRESS, AFTER),
        Point(BETWEEN, PROCESS, BEFORE),
        Point(BETWEEN, PROCESS, UNANSWERED),
    ],
    [
        Point(DURING_FLUSH, ADDRESS, FLUSH),
        Point(DURING_FLUSH, ADDRESS, WRITE),
        Point(BETWEEN, PROCESS, AFTER),
    ],
    [Point(BEFORE_SETTLE, LAST, UNANSWERED)],
    [Point(DURING_FLUSH, LAST, FLUSH)],
)
ORDERS = len(NEW_CUSTOMER) + len(KNOWN_CUSTOMER)


def every_row(daemon, folder, listen):
    """Checks as (text, holds) while every point is hit once, and a table of them at the end."""
    shop_gate = Gate(SHOP_GATE, settings.shop_url(SHOP), folder / "shop.calls")
    tryton_gate = Gate(TRYTON_GATE, settings.tryton_url(), folder / "tryton.calls")
    one_at_a_time = "limits = { concurrency = 1 }"
    more = "[limits]\nretry_max_secs = 5\n"  # the ERP is away for a while, twice
    more += '[log]\nlevel = "debug"\n'  # which commit is which
    config = write_config(
        folder,
        listen,
        # Each life looks once: a later look would be a commit of its own, and the planned death in it.
        shop_connection(SHOP, shop_gate.url, "stream.orders.poll_secs = 600\n"),
        tryton_connection(ERP, tryton_gate.url, one_at_a_time),
        orders_route(SHOP),
        more,
        name="gates.toml",
    )
    daemon.configure(config)
    story = Story(daemon, shop_gate, tryton_gate)
    try:
        yield from story.tell()
    finally:
        shop_gate.close()
        tryton_gate.close()


class Story:
    """Order after order, point after point."""

    def __init__(self, daemon, shop_gate, tryton_gate):
        self._daemon = daemon
        self._shop_gate, self._tryton_gate = shop_gate, tryton_gate
        self._erp = tryton.Client(settings.tryton_url())
        self._shop = shops.shop(SHOP)
        self._untraced = why_not_traced()
        self._hits, self._wrong, self._elsewhere, self._erp_deaths = [], [], [], 0
        self._first = 0  # how many calls the ERP had been sent before this order

    def tell(self):
        if self._untraced:
            yield f"deaths inside system calls: {self._untraced}", None
        done = {call: -self._count(call) for call in EFFECTS}
        for basket, points in zip(new_customers(), NEW_CUSTOMER, strict=True):
            self._one_order(basket, points)
        done[ADDRESS] = -self._count(ADDRESS)  # those until now came with their party
        for basket, points in zip(known_customers(), KNOWN_CUSTOMER, strict=True):
            self._one_order(basket, points)
        print_table(self._hits)
        for problem in self._wrong:
            print(f"        {problem}", flush=True)
        yield from self._coverage()
        yield "each death was where it was planned, by the store and by the ERP", not self._wrong
        deaths = self._erp_deaths
        yield f"the ERP itself died {deaths} times between confirming and processing", deaths > 0
        done = {call: done[call] + self._count(call) for call in EFFECTS}
        done[PROCESS] = deaths  # otherwise confirming does it
        sent = {call: self._sent(call) for call in EFFECTS}
        counts = ", ".join(f"{call} {count}" for call, count in sent.items())
        yield f"nothing that was done was sent again: {counts}", sent == done

    def _coverage(self):
        planned = [point for points in NEW_CUSTOMER + KNOWN_CUSTOMER for point in points]
        tried = [point for point in planned if not (self._untraced and point.when in TRACED)]
        rows = collections.Counter(hit.point.row for hit in self._hits)
        counts = ", ".join(f"{row} {rows[row]}" for row in ROWS)
        skipped = len(planned) - len(tried)
        text = f"{len(self._hits)} of {len(planned)} planned deaths, {skipped} skipped: {counts}"
        lost = [point for point in self._elsewhere if not can_repeat(point)]
        yield text, len(self._hits) + len(lost) == len(tried)
        times = len(self._elsewhere)
        yield f"{times} deaths fell into another commit, or before this one, {len(lost)} of them for good", times <= ELSEWHERE

    def _one_order(self, basket, points):
        """Places it, kills the daemon at each point, and waits until it is settled."""
        code = self._shop.place(basket)
        first, self._first = len(self._hits), len(self._tryton_gate.sent_on)
        if any(point.call == PROCESS for point in points):
            self._tryton_gate.do_at(CONFIRM, lambda: self._watch(code))
        for point in points:
            if not (self._untraced and point.when in TRACED):
                while not self._one_death(point, code):
                    pass
        if not self._settled(code):
            self._wrong.append(f"{code}: not settled after {SETTLE_SECS} s")
        self._daemon.kill()
        self._say_what_followed(first)

    def _one_death(self, point, code):
        """The daemon, which does not run, is started and must die at this point. Whether that is over: a death that
        fell into another commit, which the daemon itself names, or before it could end, is judged as one before this commit and tried again.
        """
        gate = self._shop_gate if point.call == ORDERS_PAGE else self._tryton_gate
        before = self._count(point.call)
        named = {ORDERS_PAGE: self._shop.orders_page, **NAMED}
        match = named.get(point.call, point.call)
        kill = gate.kill_at(match, point.when, self._daemon, point.nth)
        self._daemon.start()
        died = kill.wait(HIT_SECS)
        self._daemon.kill()
        gate.disarm_kills()
        if not died:
            self._wrong.append(f"{code}: {say(point)}: {kill.problem or 'never came up'}")
            return True
        units = self._daemon.last_commit() if point.when in TRACED else []
        planned, elsewhere = point, ""
        if point.when in TRACED and unit_of(point) not in units:
            elsewhere = " ".join(units)
        elif point.when == FLUSH and self._daemon.store_has_grown():
            elsewhere = "making the store's file longer"
        if elsewhere:
            print(f"        {say(point)}: it fell into {elsewhere}", flush=True)
            self._elsewhere.append(point)
            point = point._replace(when=WRITE)
        rows = [row for row in self._daemon.ask("queue") if row["record"]["number"] == code]
        row = rows[0] if rows else None
        sent = sum(is_call(point.call, text) for text in self._tryton_gate.sent_on[self._first :])
        problem = judge(point, row, self._count(point.call) - before, sent)
        if problem:
            self._wrong.append(f"{code}: {say(planned)}: {problem}; the store: {brief(row)}")
        if elsewhere:
            return len(self._elsewhere) > ELSEWHERE or not can_repeat(planned)
        self._hits.append(Hit(point, brief(row), len(self._tryton_gate.sent_on), []))
        return True

    def _settled(self, code):
        """Starts the daemon; whether the order is in the ERP and gone from the queue in time."""
        self._daemon.start()
        deadline = time.monotonic() + SETTLE_SECS
        domain = [["web_id", "=", code], ["state", "in", ["processing", "done"]]]
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, RuntimeError):  # either may be starting just now
                if self._erp.ids("sale.sale", domain) and not self._daemon.ask("queue"):
                    return True
            time.sleep(0.3)
        return False

    def _say_what_followed(self, first):
        """What the ERP was sent after each death, until the next one or the end."""
        ends = [hit.sent_until for hit in self._hits[first + 1 :]] + [None]
        for hit, end in zip(self._hits[first:], ends, strict=True):
            calls = self._tryton_gate.sent_on[hit.sent_until : end]
            hit.then.extend(call for text in calls for call in EFFECTS if is_call(call, text))

    def _watch(self, code):
        """Kills the ERP when it has confirmed the sale and is about to process it."""

        def watch():
            deadline = time.monotonic() + HIT_SECS
            while time.monotonic() < deadline:
                row = self._erp.rows("sale.sale", [["web_id", "=", code]], ["state"])[0]
                if row["state"] == "confirmed":
                    os.kill(processes.running_pid("tryton"), signal.SIGKILL)
                    self._erp_deaths += 1
                    return stack.restart("tryton")
                if row["state"] in ("processing", "done"):
                    return None
            return None

        threading.Thread(target=watch, daemon=True).start()

    def _count(self, call):
        """How often the ERP has carried out this call, or nothing for calls that only ask."""
        effect = EFFECTS.get(call)
        return len(self._erp.ids(effect.model, effect.domain)) if effect else 0

    def _sent(self, call):
        return sum(is_call(call, text) for text in self._tryton_gate.sent_on)


def unit_of(point):
    """What the daemon calls the commit in which it is to die."""
    if point.call == ORDERS_PAGE:
        return "accept" if point.nth == 1 else "claim"
    return "settle" if point.call in (FIND, LAST) else "progress"


def can_repeat(point):
    """Whether the call comes up again in the next life: it only asks, and what it brought is not kept."""
    return point.call not in EFFECTS and point.nth == 1


def is_call(call, text):
    return f'{call}"' in text


def judge(point, row, effects, sent):
    """What is wrong with a death; empty when it was as planned. `row` is the order in the dead
    daemon's queue, `effects` how often the ERP carried the call out since the last death, `sent`
    how often it was given the call for this order.
    """
    if point.call == ORDERS_PAGE:
        return judge_accept(point, row)
    if point.call in (FIND, LAST) and point.when == FLUSH:
        return "settled, and still in the queue" if row else ""
    if row is None:
        return "the order is not in the queue"
    if row["state"]["is"] != "in_flight":
        return "no intent"
    kept = row.get("captured", {})
    if point.row == BEFORE_SENDING:
        return "a step is known to be done" if kept else ""
    effect = EFFECTS.get(point.call)
    if not effect:
        return ""
    if effects != (point.when != BEFORE):
        return f"the ERP carried it out {effects} times"
    known = sum(name.startswith(effect.kept_as) for name in kept)
    should = sent - (point.when in (UNANSWERED, WRITE))
    return "" if known == should else f"known to be done {known} times, not {should}"


def judge_accept(point, row):
    """The commit is there as a whole or not at all."""
    state = row and row["state"]["is"]
    if point.when == FLUSH:
        should = "pending" if point.nth == 1 else "in_flight"
    else:
        should = None if point.nth == 1 else "pending"
    return "" if state == should else f"{state}, not {should}"


def brief(row):
    """What the store of the dead daemon says of the order."""
    if row is None:
        return "not in the queue"
    kept = sorted({name.partition(".")[0] for name in row.get("captured", {})})
    return row["state"]["is"] + (f", kept {' '.join(kept)}" if kept else "")


def say(point):
    return f"{point.call} {point.when}" + (f", commit {point.nth}" if point.nth > 1 else "")


def print_table(hits):
    """Each kind of point: how often, what the store said then, what the ERP was sent afterwards."""
    groups = collections.defaultdict(list)
    for hit in hits:
        groups[hit.point.row, say(hit.point)].append(hit)
    for row in ROWS:
        print(f"        {row}")
        for (of, what), found in groups.items():
            if of == row:
                store = " / ".join(sorted({hit.store for hit in found}))
                then = " / ".join(sorted({", ".join(hit.then) or "nothing" for hit in found}))
                print(f"          {len(found)} x {what}: {store}; then sent: {then}", flush=True)


def new_customers():
    return shopper.STORIES[: len(NEW_CUSTOMER)]


def known_customers():
    """The same people have moved, and the bill goes to somebody else."""
    for story, _ in zip(shopper.STORIES, KNOWN_CUSTOMER, strict=False):
        address = {**story.person.address, "streetLine1": "Neuer Weg 5", "streetLine2": ""}
        person = dataclasses.replace(story.person, address=address)
        yield dataclasses.replace(story, person=person, coupon="", billing=shopper.INVOICE_OFFICE)
