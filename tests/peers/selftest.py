#!/usr/bin/env python3
"""Shows that the recipe of write_orders.py is exact and that compare.py notices what is wrong.

./reset && ./selftest.py
"""

import sys

import clerk
import compare
import shopper
import shops
import till_books
import tryton
import vendure
import write_orders
from setup import settings

COUNTS = {"north": 6, "south": 3}


def checks():
    """(text, whether it holds) for every claim."""
    yield from _lateness_checks()
    erp = tryton.Client(settings.tryton_url())
    seeded = compare.made(erp)
    for shop, count in COUNTS.items():
        storefront = shops.shop(shop)
        for basket in shopper.baskets(seed=1, count=count):
            storefront.place(basket)
    for _ in ("first", "again"):
        for shop in COUNTS:
            writer = write_orders.Writer(erp, shop)
            for order in vendure.Admin(settings.shop_url(shop)).orders():
                writer.write(order)
    total, found = compare.compare_shops(COUNTS)
    yield (
        "every order was written once, to the cent, though it was written twice",
        (total, found) == (sum(COUNTS.values()), []),
    )
    yield (
        "a missing sale is a difference",
        _kinds(lambda orders, sales: (orders, sales[1:])) == {"number of sales"},
    )
    yield (
        "a second sale is a difference",
        _kinds(lambda orders, sales: (orders, sales + sales[:1])) == {"number of sales"},
    )
    yield (
        "a sale without an order is a difference",
        _kinds(lambda orders, sales: (orders[1:], sales)) == {"sales without an order"},
    )
    yield "a cent is a difference", _kinds(_one_cent) == {"total amount", "tax amount"}
    yield "a wrong address is a difference", _kinds(_moved_house) == {"shipping address, city"}
    yield "nothing was made twice in the ERP", _made(erp, seeded) == compare.should_make(COUNTS)
    yield "a second address or party is noticed", all(_twins_are_noticed(erp, seeded))
    yield from _shipping_checks(erp)


def _lateness_checks():
    """What run D says of sold pieces that were still on offer, of looks as they may be."""
    times = till_books.Timeline(10)
    sold_at = times.note([("A", 2)])
    back_at = times.note([("A", 1)], sign=1)
    late = {
        text: times.longest([(begun, ended, {("north", "A"): number})], ["A"])[0]
        for text, begun, ended, number in (
            ("right", sold_at + 60, sold_at + 61, 8),
            ("raised in the look", back_at - 1e-9, back_at + 30, 9),
            ("raised before", sold_at + 60, sold_at + 61, 10),
            ("sold in the look", sold_at - 1, sold_at + 30, 10),
        )
    }
    yield "a number that nobody lowered for 60 s is late", round(late.pop("raised before")) == 60
    yield "a look that takes long is not a late number", set(late.values()) == {0}


def _made(erp, seeded):
    return {model: count - seeded[model] for model, count in compare.made(erp).items()}


def _twins_are_noticed(erp, seeded):
    """What a daemon could do wrong after a crash: the same address or party again."""
    for model, code in (("party.address", "party.code"), ("party.party", "code")):
        twin = erp.call(model, "copy", erp.ids(model, [[code, "=", "north-1"]])[:1])
        yield _made(erp, seeded) != compare.should_make(COUNTS)
        erp.call(model, "delete", twin)
    yield _made(erp, seeded) == compare.should_make(COUNTS)


def _kinds(spoil):
    orders = shops.shop("north").orders()
    sales = tryton.sales(tryton.Client(settings.tryton_url()), "north")
    return {one.what for one in compare.differences("north", *spoil(orders, sales))}


def _one_cent(orders, sales):
    first = dict(
        sales[0],
        tax_amount=sales[0]["tax_amount"] + shops.CENT,
        total_amount=sales[0]["total_amount"] + shops.CENT,
    )
    return orders, [first, *sales[1:]]


def _moved_house(orders, sales):
    first = dict(sales[0], shipment_address=dict(sales[0]["shipment_address"], city="Elsewhere"))
    return orders, [first, *sales[1:]]


def _shipping_checks(erp):
    north = tryton.sales(erp, "north")
    before = clerk.stock(erp)["CD-001"][0]
    clerk.ship(erp, north[0]["id"], "1Z999AA10123456784", "UPS")
    yield "a shipped sale lowers the stock on hand", clerk.stock(erp)["CD-001"][0] == before - 2
    clerk.ship_in_two_packages(erp, north[1]["id"], ("T-1", "T-2"), "DHL")
    yield "two parcels of one shipment", _parcels(erp, north[1]["id"]) == [None, "T-1", "T-2"]
    clerk.ship_in_two_shipments(erp, north[2]["id"], ("T-3", "T-4"))
    yield "two shipments of one sale", _parcels(erp, north[2]["id"]) == ["T-3", "T-4"]
    states = {sale["id"]: sale["shipment_state"] for sale in tryton.sales(erp, "north")}
    yield "all three are sent", [states[sale["id"]] for sale in north[:3]] == ["sent"] * 3


def _parcels(erp, sale):
    """The tracking numbers of a sale's shipments and packages."""
    shipments = erp.rows(
        "stock.shipment.out",
        [["moves.sale", "=", sale]],
        ["shipping_reference", "packages.shipping_reference"],
        [["id", "ASC"]],
    )
    packages = [
        package["shipping_reference"] for shipment in shipments for package in shipment["packages."]
    ]
    return [shipment["shipping_reference"] for shipment in shipments] + sorted(packages)


def main():
    failed = passed = 0
    for text, holds in checks():
        print(f"{'ok    ' if holds else 'FAILED'} {text}", flush=True)
        passed, failed = passed + bool(holds), failed + (not holds)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
