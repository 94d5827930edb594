"""What each shop may sell when there are tills too, and how long a sold piece was still on offer.

Computed from the peers alone. A till of the ERP's own database takes its pieces from the ERP's
number when it posts, often at the day's end: until then they are taken off here. A branch's till is
a Tryton of its own, and the ERP's number falls when what was sold there has been booked out of the
ERP's warehouse.
"""

import collections
import threading
import time

import clerk
import tryton
from goods import SHOPS, Books
from setup import catalog


class TillBooks(Books):
    """`own` are tills of the ERP's database, `branch` tills whose sales are carried to it."""

    def __init__(self, erp, own, branch):
        super().__init__(erp)
        self.own, self.branch = own, branch

    def sold(self, till, *states):
        """SKU -> pieces that went over the counter and did not come back."""
        pieces = collections.Counter()
        for row in till.rows():
            for sku, count in row["pieces"]:
                if row["state"] in states and count > 0:
                    pieces[sku] += count
        return pieces

    def expected(self):
        """(shop, SKU) -> what it should be."""
        taken = self.ordered() + self.sold(self.branch, "done", "posted")
        taken.subtract(self._left())
        taken.update(self.sold(self.own, "done"))
        return {
            (shop, sku): max(0, on_hand - taken[sku])
            for sku, (on_hand, _) in clerk.stock(self.erp).items()
            if sku in catalog.SKUS
            for shop in SHOPS
        }

    def _left(self):
        """SKU -> pieces that left for an order; what a till posted has left without one."""
        left = collections.Counter()
        for move in self._moves_to_customers():
            if move["sale"]:
                left[move["product."]["code"]] += int(move["quantity"])
        return left

    def oversold(self, stock):
        """SKU -> pieces that were sold, in a shop or over a counter, and nobody had."""
        sold = self.ordered()
        for till in (self.own, self.branch):
            sold.update(self.sold(till, "done", "posted"))
        return {sku: count - stock for sku, count in sold.items() if count > stock}


def carried(till, erp, channel):
    """(sale, what is wrong) of each sale that is not exactly once an order of this web shop, with
    its own day, its pieces and its amount; and how many there are.
    """
    orders = collections.defaultdict(list)
    for order in tryton.sales(erp, channel):
        orders[order["web_id"]].append(order)
    days = {
        row["id"]: row["sale_date"]
        for row in erp.rows("sale.sale", [["web_shop.name", "=", channel]], ["sale_date"])
    }
    wrong, count = [], 0
    for row in till.rows():
        pieces = collections.Counter()
        for sku, number in row["pieces"]:
            pieces[sku] += max(0, number)
        if row["state"] == "open" or not +pieces:
            continue
        name = f"{row['number']}/{row['id']}"
        found, count = orders.pop(name, []), count + 1
        if len(found) != 1:
            wrong.append((name, f"{len(found)} times"))
        for order in found:
            goods = collections.Counter()
            for line in order["lines"]:
                if line["code"] in pieces:
                    goods[line["code"]] += int(line["quantity"])
            told = (+goods, order["total_amount"], days[order["id"]])
            if told != (+pieces, row["total"], row["date"]):
                wrong.append((name, f"{told}, sold {(+pieces, row['total'], row['date'])}"))
    wrong += [(name, "nobody sold it") for name in orders]
    return wrong, count


class Timeline:
    """When pieces went and came, as those who did it know."""

    def __init__(self, stock):
        self._stock, self._events, self._lock = stock, [], threading.Lock()

    def note(self, lines, sign=-1):
        """These pieces are sold now; `sign` 1: they are there again. Answers when."""
        now = time.monotonic()
        with self._lock:
            self._events += [(now, sku, sign * pieces) for sku, pieces in lines]
        return now

    def longest(self, looks, skus):
        """(seconds, shop, SKU): the longest time for which sold pieces were still on offer."""
        longest = (0.0, "", "")
        for begun, ended, told in looks:
            for (shop, sku), number in told.items():
                if sku in skus:
                    late = begun - self._offered_since(begun, ended, sku, number)
                    longest = max(longest, (late, shop, sku))
        return longest

    def story(self, looks, shop, sku):
        """What went and came of a SKU, and what the shop said of it whenever that was something else."""
        with self._lock:
            found = [(when, f"{count:+d}") for when, name, count in self._events if name == sku]
        before = None
        for begun, ended, told in looks:
            if (number := told.get((shop, sku), before)) != before:
                found.append((ended, f"{number} on offer, in a look of {ended - begun:.1f} s"))
                before = number
        found.sort()
        return [f"{when - found[0][0]:6.1f} s  {text}" for when, text in found]

    def _offered_since(self, begun, ended, sku, number):
        """Since when so many have been too many; the look's begin when they are not.

        Pieces are noted before they can be on offer again, so what came while it was looked may
        be in what is seen, however long the look took; what was sold meanwhile may not be.
        """
        with self._lock:
            mine = [event for event in self._events if event[1] == sku]
        came = sum(count for when, _, count in mine if count > 0 and when <= ended)
        room = self._stock + came - number
        for when, _, count in mine:
            if count < 0 and when <= begun:
                room += count
                if room < 0:
                    return when
        return begun
