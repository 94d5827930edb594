#!/usr/bin/env python3
"""The recipe: writes placed Vendure orders into Tryton so that every amount agrees to the cent.

Every step first looks for what it is about to create, so the program may be ended and started again
anywhere. selftest.py proves that it works.

    ./write_orders.py north south
"""

import datetime
import decimal
import sys
import time
from decimal import Decimal

import tryton
import vendure
import vendure_shop
from setup import catalog, settings

CENT, PRICE_STEP = (
    Decimal("0.01"),
    Decimal("0.0001"),
)  # Tryton's [product] price_decimal is 4 unless configured


class Writer:
    """Writes the orders of one shop; looks up the ids of everything that a sale refers to once."""

    def __init__(self, erp, shop):
        self._erp, self._shop = erp, shop
        self._web_shop = erp.only("web.shop", [["name", "=", shop]])
        self._products = {
            row["code"]: row["id"] for row in erp.rows("product.product", [], ["code"])
        }
        self._taxes = {
            int(row["rate"] * 100): row["id"] for row in erp.rows("account.tax", [], ["rate"])
        }
        self._countries = {
            row["code"]: row["id"] for row in erp.rows("country.country", [], ["code"])
        }
        self._header = {
            "web_shop": self._web_shop,
            "currency": erp.only("currency.currency", [["code", "=", "EUR"]]),
            "warehouse": erp.only("stock.location", [["type", "=", "warehouse"]]),
            "payment_term": erp.only(
                "account.invoice.payment_term", [["name", "=", "Paid in the web shop"]]
            ),
            "invoice_method": "order",
            "shipment_method": "order",
            # Otherwise quote wants a carrier and adds a cost line of its own.
            "shipment_cost_method": None,
        }
        self._unit = erp.only("product.uom", [["name", "=", "Unit"]])

    def write(self, order):
        """Brings one order to `processing`, from wherever it stands; answers the id of the sale."""
        sale = self._find(order["code"])
        if not sale:
            self._create(order)
            sale = self._find(order["code"])
        # A button pressed in the wrong state is a UserError, so the state decides where to go on.
        while sale["state"] in ("draft", "quotation", "confirmed"):
            button = {"draft": "quote", "quotation": "confirm", "confirmed": "process"}[
                sale["state"]
            ]
            self._erp.call("sale.sale", button, [sale["id"]])
            sale = self._find(order["code"])
        return sale["id"]

    def _find(self, code):
        rows = self._erp.rows(
            "sale.sale", [["web_shop", "=", self._web_shop], ["web_id", "=", code]], ["state"]
        )
        return rows[0] if rows else None

    def _create(self, order):
        party = self._party(order)
        self._erp.call(
            "sale.sale",
            "create",
            [
                {
                    **self._header,
                    "web_id": order["code"],
                    "reference": order["code"],
                    "party": party,
                    "sale_date": datetime.date.fromisoformat(order["orderPlacedAt"][:10]),
                    "shipment_address": self._address(party, order["shippingAddress"]),
                    "invoice_address": self._address(party, vendure_shop.billing_address(order)),
                    "comment": "\n".join(
                        f"{d['description']}: {vendure_shop.cents(d['amountWithTax'])}"
                        for d in order["discounts"]
                    ),
                    "lines": [["create", self._lines(order)]],
                }
            ],
        )

    def _party(self, order):
        """Party codes are unique: a repeated create cannot make a second customer."""
        customer = order["customer"]
        code = f"{self._shop}-{customer['id']}"
        found = self._erp.ids("party.party", [["code", "=", code]])
        if found:
            return found[0]
        contacts = [{"type": "email", "value": customer["emailAddress"]}]
        if customer["phoneNumber"]:
            contacts.append({"type": "phone", "value": customer["phoneNumber"]})
        return self._erp.call(
            "party.party",
            "create",
            [
                {
                    "code": code,
                    "name": f"{customer['firstName']} {customer['lastName']}".strip(),
                    "addresses": [["create", [self._address_fields(order["shippingAddress"])]]],
                    "contact_mechanisms": [["create", contacts]],
                }
            ],
        )[0]

    def _address(self, party, shop_address):
        """The party's address with exactly these fields; an address in use is never changed."""
        fields = self._address_fields(shop_address)
        found = self._erp.ids(
            "party.address", [["party", "=", party], *([k, "=", v] for k, v in fields.items())]
        )
        return (
            found[0]
            if found
            else self._erp.call("party.address", "create", [{"party": party, **fields}])[0]
        )

    def _address_fields(self, address):
        company, name = address.get("company") or "", address["fullName"]
        street = [name if company else "", address["streetLine1"], address.get("streetLine2") or ""]
        return {
            "party_name": company or name,
            "street_unstructured": "\n".join(part for part in street if part),
            "postal_code": address["postalCode"] or None,
            "city": address["city"] or None,
            "country": self._countries[address["countryCode"]],
        }

    def _lines(self, order):
        """Goods, shipping and surcharges as paid, and a rounding line if a cent is left."""
        lines, left = [], vendure_shop.cents(order["total"])
        for code, quantity, net, gross, rate, text in _paid_positions(order):
            price = unit_price(net, gross - net, quantity, rate)
            left -= _to_cents(price * quantity)
            lines.append(self._line(code, quantity, price, rate, text))
        if left:
            lines.append(self._line(catalog.ROUNDING, 1, left, 0, "Rounding"))
        return lines

    def _line(self, code, quantity, price, rate, text):
        return {
            "type": "line",
            "product": self._products[code],
            "quantity": float(quantity),
            "unit": self._unit,
            "unit_price": price,
            "taxes": [["add", [self._taxes[rate]] if rate else []]],
            "description": text,
        }


def _paid_positions(order):
    """(product code, quantity, net, gross, percent, text) of all that was paid for.

    Discounts on the order are already in the lines.
    """
    for line in order["lines"]:
        yield (
            line["productVariant"]["sku"],
            line["quantity"],
            vendure_shop.cents(line["proratedLinePrice"]),
            vendure_shop.cents(line["proratedLinePriceWithTax"]),
            int(line["taxRate"]),
            line["productVariant"]["name"],
        )
    for line in order["shippingLines"]:
        yield (
            catalog.SHIPPING,
            1,
            vendure_shop.cents(line["discountedPrice"]),
            vendure_shop.cents(line["discountedPriceWithTax"]),
            catalog.STANDARD,
            line["shippingMethod"]["name"],
        )
    for line in order["surcharges"]:
        yield (
            catalog.SHIPPING,
            1,
            vendure_shop.cents(line["price"]),
            vendure_shop.cents(line["priceWithTax"]),
            int(line["taxRate"]),
            line["description"],
        )


def unit_price(net, tax, quantity, rate):
    """The unit price for which Tryton's line has this tax, and this net amount if one gives both.

    The net amount is off by a cent in fewer than one of a hundred lines; the tax is not, up to 250
    pieces.
    """
    percent = Decimal(rate) / 100
    exact = (net + tax) / (1 + percent) / quantity
    nearest = exact.quantize(PRICE_STEP, decimal.ROUND_HALF_EVEN)
    right_tax = [
        price
        for price in (nearest, nearest + PRICE_STEP, nearest - PRICE_STEP)
        if _to_cents(price * quantity * percent) == tax
    ]
    if not right_tax:
        raise ValueError(f"no unit price for {net} + {tax} at {rate} %, {quantity} pieces")
    return next((price for price in right_tax if _to_cents(price * quantity) == net), right_tax[0])


def _to_cents(amount):
    """As Tryton rounds: half to even."""
    return amount.quantize(CENT, decimal.ROUND_HALF_EVEN)


def main():
    erp = tryton.Client(settings.tryton_url())
    shops = sys.argv[1:] or sorted(settings.SHOPS)
    for shop in shops:
        writer = Writer(erp, shop)
        for order in vendure.Admin(settings.shop_url(shop)).orders():
            started = time.monotonic()
            sale = writer.write(order)
            print(
                f"{shop} order {order['code']} is sale {sale} ({time.monotonic() - started:.1f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
