"""What people do in the ERP by hand: ship parcels, count stock, change and archive items."""

import datetime

from decimal import Decimal

SHIPMENT = "stock.shipment.out"


def ship(erp, sale, tracking, carrier=None):
    """Ships all that is open of a sale in one parcel; the shipment has the tracking number."""
    shipment = open_shipment(erp, sale)
    _pick(erp, shipment, carrier)
    erp.call(SHIPMENT, "write", [shipment], {"shipping_reference": tracking})
    _send(erp, shipment)
    return shipment


def ship_in_two_packages(erp, sale, trackings, carrier=None):
    """One shipment in two parcels with a tracking number each: the first line, the other lines."""
    shipment = open_shipment(erp, sale)
    _pick(erp, shipment, carrier)
    moves = outgoing_moves(erp, shipment)
    if len(moves) < 2:
        raise ValueError(f"sale {sale} has one line only: nothing to put into a second parcel")
    box = erp.ids("stock.package.type", [])[0]
    for tracking, part in zip(trackings, (moves[:1], moves[1:]), strict=True):
        erp.call(
            "stock.package",
            "create",
            [
                {
                    "type": box,
                    "shipment": f"{SHIPMENT},{shipment}",
                    "shipping_reference": tracking,
                    "moves": [["add", [move["id"] for move in part]]],
                }
            ],
        )
    _send(erp, shipment)
    return shipment


def ship_in_two_shipments(erp, sale, trackings, carrier=None):
    """Sends half of the pieces, then the rest, of which Tryton makes a second shipment."""
    first = open_shipment(erp, sale)
    erp.call(SHIPMENT, "draft", [first])
    moves = outgoing_moves(erp, first)
    if sum(move["quantity"] for move in moves) < 2:
        raise ValueError(f"sale {sale} is a single piece: it cannot be shipped in halves")
    for move in moves[1:] or moves:
        erp.call("stock.move", "write", [move["id"]], {"quantity": float(move["quantity"] // 2)})
    erp.call(SHIPMENT, "wait", [first])
    _pick(erp, first, carrier)
    erp.call(SHIPMENT, "write", [first], {"shipping_reference": trackings[0]})
    _send(erp, first)
    return first, ship(erp, sale, trackings[1], carrier)


def open_shipment(erp, sale):
    """The one shipment of a sale that has not left yet."""
    return erp.only(
        SHIPMENT,
        [
            ["moves.sale", "=", sale],
            ["state", "in", ["draft", "waiting", "assigned", "picked", "packed"]],
        ],
    )


def outgoing_moves(erp, shipment):
    """The moves to the customer, in the order of the sale's lines."""
    return erp.rows(
        "stock.move",
        [["shipment", "=", f"{SHIPMENT},{shipment}"], ["to_location.type", "=", "customer"]],
        ["product.code", "quantity", "state", "origin"],
        [["id", "ASC"]],
    )


def _pick(erp, shipment, carrier):
    if carrier:
        carrier_id = erp.only("carrier", [["party.name", "=", carrier]])
        erp.call(SHIPMENT, "write", [shipment], {"carrier": carrier_id})
    erp.call(SHIPMENT, "assign_try", [shipment])
    erp.call(SHIPMENT, "pick", [shipment])


def _send(erp, shipment):
    """Without a carrier Tryton warns at `pack`; `call` answers yes."""
    erp.call(SHIPMENT, "pack", [shipment])
    erp.call(SHIPMENT, "do", [shipment])


def stock(erp):
    """SKU -> (on hand, forecast) in the warehouse. Without `locations` Tryton answers 0 for all."""
    warehouse = erp.only("stock.location", [["type", "=", "warehouse"]])
    rows = erp.rows(
        "product.product",
        [["type", "=", "goods"]],
        ["code", "quantity", "forecast_quantity"],
        locations=[warehouse],
        stock_date_end=datetime.date.today(),
    )
    return {row["code"]: (int(row["quantity"]), int(row["forecast_quantity"])) for row in rows}


def count_stock(erp, counted):
    """Sets the stock of these SKUs in the storage zone by an inventory: SKU -> quantity."""
    storage = erp.only("stock.location", [["code", "=", "STO"]])
    products = {
        row["code"]: row["id"]
        for row in erp.rows("product.product", [["code", "in", list(counted)]], ["code"])
    }
    inventory = erp.call(
        "stock.inventory",
        "create",
        [
            {
                "location": storage,
                "date": datetime.date.today(),
                "lines": [
                    [
                        "create",
                        [
                            {"product": products[sku], "quantity": float(q)}
                            for sku, q in counted.items()
                        ],
                    ]
                ],
            }
        ],
    )
    erp.call("stock.inventory", "confirm", inventory)


def rename_item(erp, sku, name):
    """Renames all variants: the name is the template's, and their own write_date does not move."""
    erp.call("product.template", "write", [_template_of(erp, sku)], {"name": name})


def price_item(erp, sku, net):
    """Gives one variant a list price of its own, excluding tax."""
    erp.call("product.product", "write", [_product(erp, sku)], {"list_price": Decimal(net)})


def recode_item(erp, sku, article):
    """Sells an item under another number from now on."""
    erp.call("product.product", "write", [_product(erp, sku)], {"suffix_code": article})


def archive_item(erp, sku):
    """Out of the web shops, then archived. Tryton warns when there is stock left; `call` answers yes."""
    product = _product(erp, sku)
    shops = erp.ids("web.shop", [["products", "=", product]])
    if shops:
        erp.call("web.shop", "write", shops, {"products": [["remove", [product]]]})
    erp.call("product.product", "write", [product], {"active": False})


def restore_item(erp, sku):
    """On sale again."""
    domain = [["code", "=", sku], ["active", "=", False]]
    erp.call("product.product", "write", [erp.only("product.product", domain)], {"active": True})


def add_item(erp, name, variants, net, rate):
    """A new template; `variants` is SKU -> size, which is empty for a plain item."""
    category = erp.only("product.category", [["name", "=", f"Goods {rate}%"]])
    sized = any(variants.values())
    return erp.call(
        "product.template",
        "create",
        [
            {
                "name": name,
                "type": "goods",
                "salable": True,
                "account_category": category,
                "default_uom": erp.only("product.uom", [["name", "=", "Unit"]]),
                "sale_uom": erp.only("product.uom", [["name", "=", "Unit"]]),
                "list_price": Decimal(net),
                "cost_price_method": "fixed",
                "attribute_set": erp.only("product.attribute.set", [["name", "=", "Clothes"]])
                if sized
                else None,
                "products": [
                    ["create", [_variant_fields(sku, size) for sku, size in variants.items()]]
                ],
            }
        ],
    )[0]


def add_variant(erp, beside, sku, size):
    """One more size beside an existing SKU."""
    return erp.call(
        "product.product",
        "create",
        [{"template": _template_of(erp, beside), **_variant_fields(sku, size)}],
    )[0]


def _variant_fields(sku, size):
    return {
        "suffix_code": sku,
        "cost_price": Decimal(0),
        **({"attributes": {"size": size.lower()}} if size else {}),
    }


def _product(erp, sku):
    return erp.only("product.product", [["code", "=", sku]])


def _template_of(erp, sku):
    return erp.rows("product.product", [["code", "=", sku]], ["template"])[0]["template"]
