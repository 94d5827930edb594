#!/usr/bin/env python3
"""Compares what was ordered in the shops with the sales in Tryton and prints every difference.

./compare.py north south        exit code 1 when anything differs
"""

import collections
import decimal
import sys
from decimal import Decimal

import shops
import tryton
from setup import catalog, settings
from shops import CENT

ACCEPTED_STATES = ("processing", "done")
MADE = ("party.party", "party.contact_mechanism", "party.address", "sale.sale")
MADE += ("stock.shipment.out", "account.invoice")
ADDRESS_FIELDS = ("fullName", "company", "streetLine1", "streetLine2", "postalCode", "city")
ADDRESS_FIELDS += ("countryCode",)

Difference = collections.namedtuple("Difference", "shop order what expected found")


def differences(shop, orders, sales):
    """Every way in which the sales of one web shop are not exactly its placed orders, once each."""
    found = []
    by_order = collections.defaultdict(list)
    for sale in sales:
        by_order[sale["web_id"]].append(sale)
    for order in orders:
        matching = by_order.pop(order.code, [])
        if len(matching) != 1:
            found.append(Difference(shop, order.code, "number of sales", 1, len(matching)))
        for sale in matching:
            found += [
                Difference(shop, order.code, *entry) for entry in _differences_of(order, sale)
            ]
    for web_id, extra in by_order.items():
        found.append(
            Difference(
                shop, web_id, "sales without an order", 0, [sale["number"] for sale in extra]
            )
        )
    return found


def _differences_of(order, sale):
    """(what, expected, found) for one order and its sale."""
    checks = [
        ("currency", order.currency, sale["currency."]["code"]),
        ("customer name", order.customer.name, sale["party"]["name"]),
        ("quantities", order.pieces, _sold(sale)),
        ("untaxed amount", order.net, sale["untaxed_amount"]),
        ("tax amount", order.gross - order.net, sale["tax_amount"]),
        ("total amount", order.gross, sale["total_amount"]),
        ("tax per rate", order.taxes, _sale_taxes(sale)),
    ]
    for what, expected, found in checks:
        if expected != found:
            yield what, expected, found
    if sale["state"] not in ACCEPTED_STATES:
        yield "state", ACCEPTED_STATES, sale["state"]
    email = order.customer.email.lower()
    if email not in (value.lower() for value in sale["party"]["emails"]):
        yield "e-mail", email, sale["party"]["emails"]
    yield from _address_differences("shipping address", order.ship_to, sale["shipment_address"])
    yield from _address_differences("billing address", order.bill_to, sale["invoice_address"])


def _sold(sale):
    counts = collections.Counter()
    for line in sale["lines"]:
        if line["type"] == "line" and line["code"] not in (
            catalog.SHIPPING,
            catalog.DISCOUNT,
            catalog.ROUNDING,
        ):
            counts[line["code"]] += int(line["quantity"])
    return dict(counts)


def _sale_taxes(sale):
    """Percentage -> tax, rounded for each line as Tryton is configured in the test bed."""
    taxes = collections.Counter()
    for line in sale["lines"]:
        for rate in line["rates"]:
            exact = Decimal(str(line["quantity"])) * line["unit_price"] * rate
            taxes[int(rate * 100)] += exact.quantize(CENT, decimal.ROUND_HALF_EVEN)
    return {rate: tax for rate, tax in taxes.items() if tax}


def _address_differences(what, expected, found):
    """Name, company and street may be laid out freely; the other parts have their own fields."""
    if not found:
        yield what, expected["streetLine1"], None
        return
    label = f"{found['party_name'] or ''}\n{found['street'] or ''}"
    for part in ("fullName", "company", "streetLine1", "streetLine2"):
        if expected.get(part) and expected[part] not in label:
            yield f"{what}, {part}", expected[part], label
    for part, field in (("postalCode", "postal_code"), ("city", "city")):
        if (expected.get(part) or None) != found[field]:
            yield f"{what}, {part}", expected.get(part), found[field]
    country = (found["country."] or {}).get("code")
    if expected["countryCode"] != country:
        yield f"{what}, country", expected["countryCode"], country


def made(erp):
    """How many there are in the ERP of everything that an order makes there."""
    return {model: len(erp.ids(model, [])) for model in MADE}


def should_make(names):
    """How many of each the placed orders of these shops must have made, if nothing was made twice:
    one party for each customer, one address for each that a customer used, one sale, shipment and
    invoice for each order.
    """
    wanted = collections.Counter()
    for shop in names:
        customers, addresses = {}, set()
        orders = shops.shop(shop).orders()
        for order in orders:
            customers[order.customer.id] = 1 + bool(order.customer.phone)
            for address in (order.ship_to, order.bill_to):
                fields = (address.get(name) or "" for name in ADDRESS_FIELDS)
                addresses.add((order.customer.id, *fields))
        wanted["party.party"] += len(customers)
        wanted["party.contact_mechanism"] += sum(customers.values())
        wanted["party.address"] += len(addresses)
        for model in ("sale.sale", "stock.shipment.out", "account.invoice"):
            wanted[model] += len(orders)
    return dict(wanted)


def story(one):
    return (
        f"{one.shop} order {one.order}: {one.what}: expected {one.expected!r}, found {one.found!r}"
    )


def compare_shops(names):
    """Reads both sides of these shops; answers (number of orders, differences)."""
    erp = tryton.Client(settings.tryton_url())
    total, found = 0, []
    for shop in names:
        orders = shops.shop(shop).orders()
        total += len(orders)
        found += differences(shop, orders, tryton.sales(erp, shop))
    return total, found


def main():
    total, found = compare_shops(sys.argv[1:] or sorted(settings.SHOPS))
    for one in found:
        print(story(one))
    print(f"{total} orders compared, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
