"""How many pieces each shop may sell, and what left for whom: computed from the peers alone.

Nothing here knows the daemon: `expected` is Tryton's stock and the suppliers' files less what was
ordered and has not left, through the publish rules below; `told` is what the shops show.
"""

import collections
import math
import threading
import time
from dataclasses import dataclass
from decimal import Decimal

import clerk
import shops
from setup import settings

SHOPS = settings.SHOPS


@dataclass(frozen=True)
class Rule:
    """What a shop is told of what is there; without a maximum there is none."""

    buffer: int = 0
    percent: int = 100
    maximum: int | None = None

    def number(self, available):
        share = math.floor((available - self.buffer) * self.percent / Decimal(100))
        return max(0, share if self.maximum is None else min(share, self.maximum))

    def toml(self):
        parts = [f"buffer = {self.buffer}", f"percent = {self.percent}"]
        return parts + ([] if self.maximum is None else [f"max = {self.maximum}"])


RULES = {"north": Rule(buffer=3, maximum=150), "south": Rule()}
ITEM_RULES = {
    "north": {"BIG-1": Rule(buffer=3, maximum=5), "0017": Rule(buffer=20, maximum=150)},
    "south": {"TEE-L": Rule(percent=50)},
}


class Books:
    """The peers' own books. `files` is what each supplier's last good file says: SKU -> pieces."""

    def __init__(self, erp):
        self.erp, self.files = erp, {}
        self.shops = shops.all_shops()

    def orders(self):
        """((shop, code), order) of all that were placed."""
        for name, shop in self.shops.items():
            for order in shop.orders():
                yield (name, order.code), order

    def ordered(self):
        """SKU -> pieces of all orders."""
        return sum((shop.ordered() for shop in self.shops.values()), collections.Counter())

    def sent(self):
        """(shop, code) -> tracking number -> SKU -> pieces, of all that has left the warehouse."""
        sales = {
            row["id"]: (row["web_shop."]["name"], row["web_id"])
            for row in self.erp.rows(
                "sale.sale", [["web_id", "!=", None]], ["web_shop.name", "web_id"]
            )
        }
        numbers = {
            f"{model},{row['id']}": row["shipping_reference"]
            for model in ("stock.package", clerk.SHIPMENT)
            for row in self.erp.rows(model, [], ["shipping_reference"])
        }
        sent = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
        for move in self._moves_to_customers():
            package = move["package"] and f"stock.package,{move['package']}"
            number = numbers[package or move["shipment"]]
            sent[sales[move["sale"]]][number][move["product."]["code"]] += int(move["quantity"])
        return plain(sent)

    def fulfilled(self):
        """The same, as the shops tell their customers, and those told twice or not as shipped."""
        found, odd = {}, []
        for name, order in self.orders():
            for parcel in order.parcels:
                parcels = found.setdefault(name, {})
                if parcel.number in parcels or not parcel.sent:
                    odd.append((name, parcel))
                parcels[parcel.number] = parcel.pieces
        return found, odd

    def told(self):
        """(shop, SKU) -> what a customer may still buy there."""
        return {
            (name, sku): on_hand - reserved
            for name, shop in self.shops.items()
            for sku, (on_hand, reserved) in shop.stock().items()
        }

    def expected(self):
        """(shop, SKU) -> what it should be. Pieces that left are no longer in Tryton's number."""
        ordered, left = self.ordered(), collections.Counter()
        for move in self._moves_to_customers():
            left[move["product."]["code"]] += int(move["quantity"])
        expected = {}
        for sku, (on_hand, _) in clerk.stock(self.erp).items():
            there = on_hand + sum(file.get(sku, Decimal(0)) for file in self.files.values())
            available = there - (ordered[sku] - left[sku])
            for shop in SHOPS:
                expected[shop, sku] = ITEM_RULES[shop].get(sku, RULES[shop]).number(available)
        return expected

    def wrong(self):
        """(shop, SKU, expected, told) of each number that is not what it should be."""
        expected, told = self.expected(), self.told()
        return [
            (shop, sku, number, told.get((shop, sku)))
            for (shop, sku), number in sorted(expected.items())
            if told.get((shop, sku)) != number
        ]

    def oversold(self):
        """SKU -> pieces that were ordered and nobody has."""
        ordered, stock = self.ordered(), clerk.stock(self.erp)
        left = collections.Counter()
        for move in self._moves_to_customers():
            left[move["product."]["code"]] += int(move["quantity"])
        there = {
            sku: on_hand + left[sku] + sum(int(file.get(sku, 0)) for file in self.files.values())
            for sku, (on_hand, _) in stock.items()
        }
        return {sku: count - there[sku] for sku, count in ordered.items() if count > there[sku]}

    def _moves_to_customers(self):
        return self.erp.rows(
            "stock.move",
            [["state", "=", "done"], ["to_location.type", "=", "customer"]],
            ["product.code", "quantity", "sale", "shipment", "package"],
        )


def plain(nested):
    return (
        {key: plain(value) for key, value in nested.items()} if isinstance(nested, dict) else nested
    )


class Watch(threading.Thread):
    """Looks at both shops all the time: what is too high for a moment sells what nobody has."""

    def __init__(self, books):
        super().__init__(daemon=True)
        self._books, self._seen, self._lock = books, [], threading.Lock()
        self.looks = 0

    def run(self):
        while True:
            begun = time.monotonic()
            try:
                told = self._books.told()
            except (OSError, ValueError, shops.ShopError):
                told = {}  # the shops are being restarted
            with self._lock:
                self._seen.append((begun, time.monotonic(), told))
                self.looks += bool(told)
            time.sleep(0.5)

    def seen(self):
        """(when it began, when it ended, (shop, SKU) -> number) of every look so far."""
        with self._lock:
            return list(self._seen)

    def highest(self, since, shop, sku):
        """The highest number that was seen in a look that began then or later."""
        with self._lock:
            return max(
                (told[shop, sku] for at, _, told in self._seen if at >= since and (shop, sku) in told),
                default=None,
            )


def recode(books, articles):
    """Both shops and the ERP sell these items under a supplier's numbers: SKU -> article."""
    for sku, article in articles.items():
        clerk.recode_item(books.erp, sku, article)
        for shop in books.shops.values():
            shop.recode(sku, article)
