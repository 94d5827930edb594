"""What people do at a till of Tryton (its point of sale): sell, take back, close the day.

till = Till(client, "Counter")
sale = till.sell(("CD-001", 2), ("TEE-M", -1))     # one came back
till.sell(("CD-002", 1), day=yesterday)            # made offline, written now
till.post(); till.close()
"""

import datetime
import math
from decimal import Decimal

from shops import CENT

SALE, POINT = "sale.point.sale", "sale.point"
STEP = Decimal("0.0001")
NOTE = Decimal(10)  # buyers pay with notes of ten
FIELDS = ["number", "date", "state", "total", "point.name", "create_date"]
FIELDS += ["lines.product.code", "lines.quantity"]


class Till:
    """One till of one Tryton. What is sold leaves its storage zone, what comes back goes there.

    A company has one way to pay in cash: `cash`, of the till that made it.
    """

    def __init__(self, client, name, cash=None):
        self.client, self.name = client, name
        place = {
            kind: client.only("stock.location", [["code", "=", code]])
            for kind, code in (("storage", "STO"), ("customer", "CUS"))
        }
        kind = client.only("ir.sequence.type", [["name", "=", "POS"]])
        sequence = self._create(
            "ir.sequence.strict",
            {"name": name, "sequence_type": kind, "company": 1, "prefix": "T", "padding": 5},
        )
        self._point = self._create(
            POINT,
            {
                "name": name,
                "company": 1,
                "tax_included": True,
                "sequence": sequence,
                "storage_location": place["storage"],
                "return_location": place["storage"],
                "customer_location": place["customer"],
                "journal": client.only("account.journal", [["type", "=", "revenue"]]),
            },
        )
        account = client.only("account.account", [["name", "=", "Cash and Cash Equivalents"]])
        method = {"company": 1, "account": account}
        self.cash = cash or self._create(
            "sale.point.payment.method", {"name": "Cash", "cash": True, **method}
        )
        self._products = {row["code"]: row for row in products(client)}

    def add_product(self, name, gross, code=None):
        """Something that is sold here; without a code nobody elsewhere knows what it is."""
        client = self.client
        unit = client.only("product.uom", [["name", "=", "Unit"]])
        template = {
            "name": name,
            "type": "goods",
            "salable": True,
            "account_category": client.only("product.category", [["name", "=", "Goods 19%"]]),
            "default_uom": unit,
            "sale_uom": unit,
            "list_price": net(Decimal(gross), 19),
            "cost_price_method": "fixed",
            "products": [["create", [{"suffix_code": code, "cost_price": Decimal(0)}]]],
        }
        self._create("product.template", template)
        (row,) = [row for row in products(client) if row["template."]["name"] == name]
        self._products[name] = row
        return row["id"]

    def sell(self, *lines, day=None, paid=True):
        """A sale of (SKU, pieces), paid in cash with change; answers its id."""
        values = {
            "company": 1,
            "point": self._point,
            "date": day or datetime.date.today(),
            "lines": [["create", [self._line(sku, pieces) for sku, pieces in lines]]],
        }
        sale = self._create(SALE, values)
        if paid:
            self._pay(sale)
            self.client.call(SALE, "process", [sale])
        return sale

    def cancel(self, sale):
        """Calls a sale off; one that was paid is opened again and the money given back."""
        client = self.client
        if self.row(sale)["state"] == "done":
            client.call(SALE, "open", [sale])
            payments = client.ids("sale.point.payment", [["sale", "=", sale]])
            client.call("sale.point.payment", "delete", payments)
        client.call(SALE, "cancel", [sale])

    def post(self):
        """Moves the goods and books of everything that was paid."""
        done = [["state", "=", "done"], ["point", "=", self._point]]
        self.client.call(SALE, "post", self.client.ids(SALE, done))

    def close(self):
        """Counts the cash and closes the day."""
        session, point = "sale.point.cash.session", ["point", "=", self._point]
        for row in self.client.rows(
            session, [point, ["state", "=", "open"]], ["start_amount", "balance"]
        ):
            counted = {"end_amount": row["start_amount"] + row["balance"]}
            self.client.call(session, "write", [row["id"]], counted)
            self.client.call(session, "close", [row["id"]])
            self.client.call(session, "post", [row["id"]])

    def rows(self):
        """Every sale that ever was paid, with the pieces of each SKU; below zero: came back."""
        rows = self.client.rows(
            SALE,
            [["point", "=", self._point], ["number", "!=", None]],
            FIELDS,
            [["id", "ASC"]],
        )
        for row in rows:
            row["pieces"] = [
                (line["product."]["code"], int(line["quantity"])) for line in row["lines."]
            ]
        return rows

    def row(self, sale):
        return self.client.rows(SALE, [["id", "=", sale]], FIELDS)[0]

    def number(self, sale):
        """As the order of this sale is called elsewhere."""
        return f"{self.row(sale)['number']}/{sale}"

    def _line(self, sku, pieces):
        product = self._products[sku]
        gross = (product["list_price_used"] * (100 + product["rate"]) / 100).quantize(CENT)
        return {
            "product": product["id"],
            "quantity": float(pieces),
            "unit_list_price": net(gross, product["rate"]),
            "unit_gross_price": gross,
        }

    def _pay(self, sale):
        (row,) = self.client.call(SALE, "read", [sale], ["total"])
        total = row["total"]
        notes = math.ceil(total / NOTE) * NOTE if total > 0 else total
        for amount in (notes, total - notes):
            if amount:
                self._create(
                    "sale.point.payment",
                    {"sale": sale, "method": self.cash, "amount": amount},
                )

    def _create(self, model, values):
        return self.client.call(model, "create", [values])[0]


def net(gross, rate):
    return (gross * 100 / (100 + rate)).quantize(STEP)


def products(client):
    """Everything that can be sold, with its tax rate in percent."""
    taxes = "account_category.customer_taxes.rate"
    rows = client.rows(
        "product.product",
        [["salable", "=", True]],
        ["code", "list_price_used", "template.name", taxes],
    )
    for row in rows:
        found = row["account_category."]["customer_taxes."]
        row["rate"] = sum((tax["rate"] for tax in found), Decimal(0)) * 100
    return rows


def add_web_shop(client, name):
    """A web shop in an ERP for what tills sold; the currency and the warehouse of the others."""
    (like,) = client.rows("web.shop", [["name", "=", "north"]], ["currency", "warehouses"])
    values = {
        "name": name,
        "currency": like["currency"],
        "warehouses": [["add", like["warehouses"]]],
    }
    client.call("web.shop", "create", [values])
