"""Fills a new Tryton database: company, accounts, taxes, catalogue, stock, carriers, web shops.

Runs inside Tryton's virtual environment and talks to the database directly:
    venv/bin/python seed_tryton.py trytond.conf DATABASE
"""

import datetime
import pathlib
import sys
from decimal import Decimal

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from proteus import Model, config as proteus_config  # noqa: E402

from setup import catalog  # noqa: E402

proteus_config.set_trytond(database=sys.argv[2], config_file=sys.argv[1])

from trytond.modules.account.tests.tools import (  # noqa: E402
    create_chart,
    create_fiscalyear,
    create_tax,
    get_accounts,
)
from trytond.modules.account_invoice.tests.tools import set_fiscalyear_invoice_sequences  # noqa: E402
from trytond.modules.company.tests.tools import create_company  # noqa: E402
from trytond.modules.currency.tests.tools import get_currency  # noqa: E402

YEARS_AHEAD = 1  # a test that runs on New Year's Eve needs the next fiscal year


def seed():
    euro, countries = get_currency("EUR"), _countries()
    _company(euro, countries["DE"])
    accounts = _accounting()
    taxes = {rate: _tax(rate) for rate in (catalog.STANDARD, catalog.REDUCED)}
    categories = {rate: _category(f"Goods {rate}%", accounts, tax) for rate, tax in taxes.items()}
    categories[0] = _category("No tax", accounts, None)
    _products(categories)
    _carriers(categories[catalog.STANDARD])
    _selling(euro)
    _stock()


def _countries():
    Country = Model.get("country.country")
    for code, name in catalog.COUNTRIES:
        Country(name=name, code=code).save()
    return {country.code: country for country in Country.find([])}


def _company(currency, country):
    party = Model.get("party.party")(name="Crossdock Test GmbH", code="company")
    (address,) = party.addresses
    address.street, address.postal_code, address.city, address.country = (
        "Lagerstraße 1",
        "10115",
        "Berlin",
        country,
    )
    party.save()
    create_company(party=party, currency=currency)


def _accounting():
    create_chart()
    year = datetime.date.today().year
    for offset in range(YEARS_AHEAD + 1):
        first = datetime.date(year + offset, 1, 1)
        fiscal_year = create_fiscalyear(today=(first, first.replace(month=12, day=31)))
        set_fiscalyear_invoice_sequences(fiscal_year).click("create_period")
    configuration = Model.get("account.configuration")(1)
    configuration.tax_rounding = "line"  # as the shops do it
    configuration.save()
    return get_accounts()


def _tax(rate):
    tax = create_tax(Decimal(rate) / 100)
    tax.name = tax.description = f"VAT {rate}%"
    tax.save()
    return tax


def _category(name, accounts, tax):
    category = Model.get("product.category")(
        name=name,
        accounting=True,
        account_expense=accounts["expense"],
        account_revenue=accounts["revenue"],
    )
    if tax:
        category.customer_taxes.append(tax)
    category.save()
    return category


def _products(categories):
    sizes = _attribute_set()
    for product in catalog.PRODUCTS:
        template = _template(
            product.name, categories[product.rate], _net(product.variants[0], product)
        )
        if len(product.variants) == 1:
            _only_variant(template, product.variants[0].sku)
            continue
        template.attribute_set = sizes
        template.products.pop()
        for variant in product.variants:
            own_price = (
                _net(variant, product) if variant.gross != product.variants[0].gross else None
            )
            template.products.new(
                suffix_code=variant.sku,
                attributes={"size": variant.size.lower()},
                list_price=own_price,
            )
        template.save()
    for code, name, rate in (
        (catalog.SHIPPING, "Shipping", catalog.STANDARD),
        (catalog.DISCOUNT, "Discount", catalog.STANDARD),
        (catalog.ROUNDING, "Rounding", 0),
    ):
        _only_variant(_template(name, categories[rate], Decimal(0), kind="service"), code)


def _template(name, category, net, kind="goods"):
    (unit,) = Model.get("product.uom").find([("name", "=", "Unit")])
    return Model.get("product.template")(
        name=name,
        default_uom=unit,
        type=kind,
        salable=True,
        list_price=net,
        account_category=category,
    )


def _net(variant, product):
    """The list price without tax, with the four decimals that Tryton keeps."""
    return (Decimal(variant.gross) / (100 + product.rate)).quantize(Decimal("0.0001"))


def _only_variant(template, code):
    (product,) = template.products
    product.suffix_code = code
    template.save()
    return template.products[0]


def _attribute_set():
    sizes = {v.size for product in catalog.PRODUCTS for v in product.variants if v.size}
    attribute = Model.get("product.attribute")(name="size", string="Size", type_="selection")
    attribute.selection = "\n".join(f"{size.lower()}: {size}" for size in sorted(sizes))
    attribute.save()
    attribute_set = Model.get("product.attribute.set")(name="Clothes")
    attribute_set.attributes.append(attribute)
    attribute_set.save()
    return attribute_set


def _carriers(category):
    for name, code in (("DHL", "CARRIER-DHL"), ("UPS", "CARRIER-UPS")):
        party = Model.get("party.party")(name=name, code=f"carrier-{name.lower()}")
        party.save()
        template = _template(f"{name} delivery", category, Decimal("4.1176"), kind="service")
        Model.get("carrier")(party=party, carrier_product=_only_variant(template, code)).save()
    Model.get("stock.package.type")(name="Box").save()


def _selling(currency):
    term = Model.get("account.invoice.payment_term")(name="Paid in the web shop")
    term.lines.new(type="remainder")
    term.save()
    for name in ("north", "south"):
        shop = Model.get("web.shop")(name=name, currency=currency)
        (warehouse,) = Model.get("stock.location").find([("type", "=", "warehouse")])
        shop.warehouses.append(warehouse)
        shop.products.extend(Model.get("product.product").find([("code", "in", catalog.SKUS)]))
        shop.save()


def _stock():
    (storage,) = Model.get("stock.location").find([("code", "=", "STO")])
    inventory = Model.get("stock.inventory")(location=storage)
    for product in Model.get("product.product").find([("code", "in", catalog.SKUS)]):
        inventory.lines.new(product=product, quantity=float(catalog.STOCK))
    inventory.save()
    inventory.click("confirm")


if __name__ == "__main__":
    seed()
