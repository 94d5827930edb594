"""A Medusa as the runs see it: the interface of `shops.py`."""

import collections
import re
from decimal import ROUND_HALF_UP, Decimal

import medusa
from setup import settings, stack
from shops import CENT, Call, Customer, Item, Order, Parcel, ShopError, Sold

CURRENCY = "eur"
PLAIN_OPTION = "Default option"  # a variant without options has this one all the same
ORDER = """id,display_id,custom_display_id,status,email,currency_code,customer_id,total,tax_total,
*shipping_address,*billing_address,*items,*items.tax_lines,*shipping_methods,
*shipping_methods.tax_lines,*fulfillments,*fulfillments.items,*fulfillments.labels"""
VARIANT = """id,sku,title,metadata,product.id,product.title,product.status,*prices,*options,
options.option.title,*inventory_items.inventory.location_levels"""


def _sent(name, path, carries=""):
    """A POST to a path, given as pattern, with this in its body."""
    pattern = re.compile(f"POST {path}(\\?\\S*)? ")
    return Call(name, lambda text: bool(pattern.match(text)) and carries in text)


class Shop:
    """See `shops.py`."""

    software = "medusa"
    orders_page = Call(
        "orders page",
        lambda text: text.startswith("GET /admin/orders?") and "updated_at%5B" in text,
    )
    fulfil = _sent("fulfilment", "/admin/orders/[^/ ]+/fulfillments")
    ship = _sent("shipment", "/admin/orders/[^/ ]+/fulfillments/[^/ ]+/shipments")
    count = _sent("stock of variants", "/admin/inventory-items/location-levels/batch")
    gaps = {
        "product": (
            _sent("new product", "/admin/products"),
            _sent("new variant", "/admin/products/[^/ ]+/variants"),
        ),
        "variant": (
            _sent("new value of an option", "/admin/products/[^/ ]+/options/batch"),
            _sent("new variant", "/admin/products/[^/ ]+/variants"),
        ),
        "content": (
            _sent("content of a variant", "/admin/products/[^/ ]+/variants/[^/ ]+", '"title":'),
            _sent("content of a product", "/admin/products/[^/ ]+", '"title":'),
        ),
        "price": (_sent("price", "/admin/products/[^/ ]+/variants/[^/ ]+", '"prices":'),),
        "stock": (count,),
    }

    def __init__(self, name):
        keys = stack.medusa_keys()
        self.name, self.url, self._region = name, settings.shop_url(name), keys["region"]
        self.admin = medusa.Api.admin(self.url, keys["secret"])
        self._store = medusa.Api.store(self.url, keys["publishable"])
        self._ids = {}

    def place(self, basket):
        address = _as_medusa(basket.person.address, basket.person)
        billing = _as_medusa(basket.billing, basket.person) if basket.billing else address
        lines = [{"variant_id": self._variant(sku), "quantity": q} for sku, q in basket.lines]
        cart = {
            "region_id": self._region,
            "email": basket.person.email,
            "shipping_address": address,
            "billing_address": billing,
            "items": lines,
        }
        cart = self._store.post("/store/carts", cart)["cart"]["id"]
        option = self._shipping_option(cart, basket.shipping)
        self._store.post(f"/store/carts/{cart}/shipping-methods", {"option_id": option})
        if basket.coupon:  # one for the shipping has no effect before there is some
            fields = {"promo_codes": [basket.coupon]}
            self._store.post(f"/store/carts/{cart}/promotions", fields)
        fields = {"cart_id": cart}
        payment = self._store.post("/store/payment-collections", fields)["payment_collection"]
        path = f"/store/payment-collections/{payment['id']}/payment-sessions"
        self._store.post(path, {"provider_id": "pp_system_default"})
        done = self._store.post(f"/store/carts/{cart}/complete", {})
        if done["type"] != "order":
            raise ShopError(f"the cart was not completed: {done.get('error')}")
        return str(done["order"]["display_id"])

    def orders(self):
        return [_neutral(order) for order in self._orders(ORDER)]

    def ordered(self):
        pieces = collections.Counter()
        for order in self._orders("id,*items"):
            for line in order["items"]:
                pieces[line["variant_sku"]] += int(line["quantity"])
        return pieces

    def stock(self):
        return {v["sku"]: _stock(v) for v in self._variants("id,sku," + VARIANT.split(",")[-1])}

    def recode(self, sku, article):
        """The variant's inventory item keeps the old SKU."""
        (variant,) = self._variants("id,product_id", sku=sku)
        path = f"/admin/products/{variant['product_id']}/variants/{variant['id']}"
        self.admin.post(path, {"sku": article})

    def sold(self):
        found = collections.defaultdict(list)
        for variant in self._variants(VARIANT):
            found[variant["sku"]].append(Sold(_item(variant), variant["product"]["id"]))
        return found

    def made(self):
        options = self.admin.every("/admin/product-options", "product_options", "id,*values")
        return {
            "products": len(self.admin.every("/admin/products", "products", "id")),
            "variants": len(self._variants("id")),
            "option groups": len(options),
            "options": sum(len(option["values"]) for option in options),
        }

    @staticmethod
    def should_make(plain, sized, variants, sizes):
        """Of so many new plain products and sized ones, their variants and sizes."""
        return {
            "products": plain + sized,
            "variants": variants,
            "option groups": plain + sized,
            "options": plain + sizes,
        }

    def can_buy(self, sku):
        """Whether a customer gets one piece into the basket."""
        try:
            line = {"variant_id": self._variant(sku), "quantity": 1}
            fields = {"region_id": self._region, "items": [line]}
            self._store.post("/store/carts", fields)
        except ShopError:
            return False
        return True

    def _orders(self, fields):
        return self.admin.every("/admin/orders", "orders", fields.replace("\n", ""))

    def _variants(self, fields, **query):
        path = "/admin/product-variants"
        return self.admin.every(path, "variants", fields.replace("\n", ""), **query)

    def _variant(self, sku):
        """What the storefront shows, a product at a time."""
        if sku not in self._ids:
            fields = "id,variants.id,variants.sku"
            for product in self._store.every("/store/products", "products", fields):
                self._ids.update((v["sku"], v["id"]) for v in product["variants"])
        if sku not in self._ids:
            raise ShopError(f"the storefront does not show {sku}")
        return self._ids[sku]

    def _shipping_option(self, cart, wanted):
        offered = self._store.get("/store/shipping-options", cart_id=cart)["shipping_options"]
        # One whose price has conditions that the cart does not meet is listed without an amount.
        priced = [option for option in offered if option.get("amount") is not None]
        offered = {option["type"]["code"]: option["id"] for option in priced}
        return offered.get(wanted, offered["flat"])


def _as_medusa(address, person):
    """An address of a basket; the first name is all but the last word."""
    first, _, last = address["fullName"].rpartition(" ")
    if address["fullName"] == f"{person.first} {person.last}":
        first, last = person.first, person.last
    fields = {
        "first_name": first,
        "last_name": last,
        "company": address["company"],
        "address_1": address["streetLine1"],
        "address_2": address["streetLine2"],
        "city": address["city"],
        "province": address["province"],
        "postal_code": address["postalCode"],
        "country_code": address["countryCode"].lower(),
        "phone": address["phoneNumber"],
    }
    return {name: value for name, value in fields.items() if value}


def _as_basket(address):
    def text(name):
        return address[name] or ""

    return {
        "fullName": f"{text('first_name')} {text('last_name')}".strip(),
        "company": text("company"),
        "streetLine1": text("address_1"),
        "streetLine2": text("address_2"),
        "city": text("city"),
        "province": text("province"),
        "postalCode": text("postal_code"),
        "countryCode": text("country_code").upper(),
        "phoneNumber": text("phone"),
    }


def _neutral(order):
    """An order as Medusa tells it, in the form of `shops.py`.

    Amounts there are exact and may be fractions of a cent. What the buyer pays is the total to the
    cent; what is taxed is each line and each way of shipping as it is charged, to the cent.
    """
    taxes, exact = collections.Counter(), Decimal(0)
    for line in [*order["items"], *order["shipping_methods"]]:
        rate = sum(tax["rate"] for tax in line["tax_lines"])
        gross = _cents(line["total"])
        taxes[int(rate)] += _cents(gross * rate / (100 + rate))
        exact += line["tax_total"]
    count = len(order["items"]) + len(order["shipping_methods"])
    said = order["tax_total"]
    if abs(exact - sum(taxes.values())) > count * CENT or abs(exact - said) > CENT / 1000:
        raise ShopError(f"order {order['display_id']} taxes {exact} and {said}")
    gross, ship_to = _cents(order["total"]), _as_basket(order["shipping_address"])
    billing = order["billing_address"] or {}
    pieces, skus = collections.Counter(), {}
    for line in order["items"]:
        skus[line["id"]] = line["variant_sku"]
        pieces[line["variant_sku"]] += int(line["quantity"])
    return Order(
        code=str(order["custom_display_id"] or order["display_id"]),
        currency=order["currency_code"].upper(),
        # A guest has no name but the one on the parcel.
        customer=Customer(
            id=order["customer_id"],
            name=ship_to["fullName"],
            email=order["email"],
            phone=ship_to["phoneNumber"],
        ),
        ship_to=ship_to,
        bill_to=_as_basket(billing) if billing.get("address_1") else ship_to,
        pieces=dict(pieces),
        net=gross - sum(taxes.values()),
        gross=gross,
        taxes={rate: tax for rate, tax in taxes.items() if tax},
        parcels=tuple(
            _parcel(one, skus) for one in order["fulfillments"] if not one["canceled_at"]
        ),
    )


def _parcel(fulfilment, skus):
    pieces = collections.Counter()
    for line in fulfilment["items"]:
        pieces[skus[line["line_item_id"]]] += int(line["quantity"])
    number = ", ".join(label["tracking_number"] for label in fulfilment["labels"])
    return Parcel(number, dict(pieces), bool(fulfilment["shipped_at"]))


def _item(variant):
    # A variant is there before its prices and its inventory.
    prices = variant.get("prices") or []
    prices = [price for price in prices if price["currency_code"] == CURRENCY]
    archived = (variant["metadata"] or {}).get("crossdock_status") == "archived"
    return Item(
        name=variant["title"],
        group=variant["product"]["title"],
        options=sorted(
            (option["option"]["title"].lower(), option["value"].lower())
            for option in variant.get("options") or []
            if option["option"]["title"] != PLAIN_OPTION
        ),
        price=prices[0]["amount"] if len(prices) == 1 else prices,
        currency=CURRENCY.upper(),
        enabled=variant["product"]["status"] == "published" and not archived,
        stock=_stock(variant)[0],
    )


def _stock(variant):
    """(stocked, reserved) over all locations."""
    levels = [
        level
        for item in variant.get("inventory_items") or []
        for level in item["inventory"]["location_levels"] or []
    ]
    return (
        int(sum(level["stocked_quantity"] for level in levels)),
        int(sum(level["reserved_quantity"] for level in levels)),
    )


def _cents(amount):
    return Decimal(amount).quantize(CENT, ROUND_HALF_UP)
