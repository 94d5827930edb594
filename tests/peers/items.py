"""What a webstore should sell, by the ERP's own word, and every way in which it does not."""

import collections
from decimal import ROUND_HALF_UP

import clerk
from shops import CENT, Item

NOT_CARRIED = ("SHIPPING", "DISCOUNT", "ROUNDING", "CARRIER-DHL", "CARRIER-UPS")

# What the routes of run C make of Tryton's items and prices: gross, to the cent.
MAPPINGS = """\
[[mapping.items.filter]]
name = "services"
when = "item.kind == 'service'"

[mapping.items.field]
"price.amount" = { expr = "item.price.amount * (100 + item.tax_rate) / 100", round = 2 }
price_includes_tax = { value = true }

[[mapping.prices.filter]]
name = "services"
when = "price.sku in ['SHIPPING', 'DISCOUNT', 'ROUNDING', 'CARRIER-DHL', 'CARRIER-UPS']"

[mapping.prices.field]
"price.amount" = { expr = "price.price.amount * (100 + price.tax_rate) / 100", round = 2 }
tax_included = { value = true }
"""


def routes(shop):
    """Items, prices and stock from the ERP to one shop."""
    told = "".join(
        f'[route.{shop}_{stream}]\nfrom = "erp.{stream}"\nto = "{shop}.{stream}"\n'
        f'mapping = "{stream}"\nmode = "apply"\n\n'
        for stream in ("items", "prices")
    )
    return told + f'[publish.{shop}]\npool = "main"\nto = "{shop}.stock"\nmode = "apply"\n'


def wanted(erp):
    """SKU -> Item, of everything that Tryton sells or has sold."""
    rows = erp.rows(
        "product.product",
        [["code", "!=", None], ["salable", "=", True], ["active", "in", [True, False]]],
        ["code", "active", "list_price_used", "attributes", "name", "template.name"]
        + ["account_category.customer_taxes.rate"],
    )
    levels = clerk.stock(erp)
    found = {}
    for row in rows:
        if row["code"] in NOT_CARRIED:
            continue
        taxes = row["account_category."]["customer_taxes."]
        gross = row["list_price_used"] * (1 + sum(tax["rate"] for tax in taxes))
        found[row["code"]] = Item(
            name=row["name"],
            group=row["template."]["name"],
            options=sorted((row["attributes"] or {}).items()),
            price=gross.quantize(CENT, ROUND_HALF_UP),
            currency="EUR",
            enabled=row["active"],
            stock=levels.get(row["code"], (0, 0))[0] if row["active"] else 0,
        )
    return found


def differences(shop, erp, without=()):
    """Texts, one for each field of each item that is not as the ERP says; extra copies too.

    What the ERP never sold is the shop's own. An archived item that the shop never had stays away.
    """
    there, found = shop.sold(), []
    for sku, item in wanted(erp).items():
        copies = there.get(sku, [])
        if sku in without or (not copies and not item.enabled):
            continue
        if len(copies) != 1:
            found.append(f"{shop.name}: {len(copies)} variants have the SKU {sku}")
        for is_so, _ in copies:
            found += [
                f"{shop.name}: {sku}: {field} is {getattr(is_so, field)},"
                f" should be {getattr(item, field)}"
                for field in Item._fields
                if getattr(is_so, field) != getattr(item, field)
            ]
    return found + _groups(shop.name, there, erp, without)


def _groups(shop, there, erp, without):
    """One product for each template: no variant stands apart, no product has two templates."""
    rows = erp.rows(
        "product.product",
        [["code", "!=", None], ["active", "in", [True, False]]],
        ["code", "template"],
    )
    products = collections.defaultdict(set)
    for row in rows:
        for variant in [] if row["code"] in without else there.get(row["code"], []):
            products[row["template"]].add(variant.product)
    return [
        f"{shop}: template {template} is {len(ids)} products: {sorted(ids)}"
        for template, ids in products.items()
        if len(ids) != 1
    ]

