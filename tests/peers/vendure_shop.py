"""A Vendure as the runs see it: the interface of `shops.py`."""

import collections
from decimal import Decimal

import vendure
from setup import settings
from shops import CENT, Call, Customer, Item, Order, Parcel, ShopError, Sold

RESULT = """__typename ... on Order { id code state totalWithTax total }
  ... on ErrorResult { errorCode message }"""


def _names(call):
    return Call(call.rstrip("("), lambda text: call in text)


def _variants_with(name, field):
    """A change of variants that carries this."""
    return Call(name, lambda text: "updateProductVariants" in text and f'"{field}":' in text)


class Shop:
    """See `shops.py`."""

    software = "vendure"
    orders_page = Call("orders page", lambda text: "orderPlacedAt" in text and '"after"' in text)
    fulfil = _names("addFulfillmentToOrder")
    ship = _names("transitionFulfillmentToState")
    count = _variants_with("stock of variants", "stockLevels")
    # What a daemon sends for a new product with options, for one more variant of a product that the
    # shop had before, for other content, another price: in this order.
    gaps = {
        "product": tuple(
            map(
                _names,
                (
                    "createProduct(",
                    "createProductOptionGroup(",
                    "addOptionGroupToProduct(",
                    "createProductOption(",
                    "createProductVariants(",
                ),
            )
        ),
        "variant": (_names("createProductOption("), _names("createProductVariants(")),
        "content": (
            _variants_with("content of a variant", "enabled"),
            _names("updateProduct("),
        ),
        "price": (_variants_with("prices of variants", "prices"),),
        "stock": (count,),
    }

    def __init__(self, name):
        self.name, self.url = name, settings.shop_url(name)
        self.admin = vendure.Admin(self.url)
        self._storefront = Storefront(self.url)

    def place(self, basket):
        return self._storefront.place(basket)["code"]

    def orders(self):
        return [neutral(order) for order in self.admin.orders()]

    def ordered(self):
        pieces = collections.Counter()
        lines = "lines { quantity productVariant { sku } }"
        placed = {"active": {"eq": False}}
        for order in self.admin.every("orders", "OrderListOptions", lines, placed):
            for line in order["lines"]:
                pieces[line["productVariant"]["sku"]] += line["quantity"]
        return pieces

    def stock(self):
        return self.admin.stock()

    def recode(self, sku, article):
        self.admin.recode(sku, article)

    def sold(self):
        variants = self.admin.every(
            "productVariants",
            "ProductVariantListOptions",
            """id sku name enabled priceWithTax currencyCode stockLevels { stockOnHand }
            options { code group { code name } } product { id name enabled }""",
        )
        found = collections.defaultdict(list)
        for variant in variants:
            found[variant["sku"]].append(Sold(_item(variant), variant["product"]["id"]))
        return found

    def made(self):
        admin = self.admin
        groups = admin.every(
            "productOptionGroups", "ProductOptionGroupListOptions", "id code options { id }"
        )
        return {
            "products": len(admin.every("products", "ProductListOptions", "id")),
            "variants": len(admin.every("productVariants", "ProductVariantListOptions", "id")),
            "option groups": len(groups),
            "options": sum(len(group["options"]) for group in groups),
        }

    @staticmethod
    def should_make(plain, sized, variants, sizes):
        """Of so many new plain products and sized ones, their variants and sizes."""
        return {
            "products": plain + sized,
            "variants": variants,
            "option groups": sized,
            "options": sizes,
        }

    def can_buy(self, sku):
        return self._storefront.can_buy(sku)

    def put_twice(self, sku):
        """A second variant with a SKU, made by hand; answers its id and that of the first."""
        first = self.admin.products()[sku]["id"]
        text = [{"languageCode": "en", "name": "By hand", "slug": "by-hand", "description": ""}]
        product = self.admin.ask(
            """mutation($i: CreateProductInput!) { createProduct(input: $i) { id } }""",
            {"i": {"translations": text}},
        )["createProduct"]["id"]
        variant = {
            "productId": product,
            "sku": sku,
            "price": 100,
            "stockOnHand": 1,
            "translations": [{"languageCode": "en", "name": "By hand"}],
        }
        copy = self.admin.ask(
            """mutation($i: [CreateProductVariantInput!]!) {
            createProductVariants(input: $i) { id } }""",
            {"i": [variant]},
        )["createProductVariants"][0]["id"]
        return copy, first

    def remove(self, variant):
        """The variant only; its product stays."""
        query = "mutation($i: ID!) { deleteProductVariant(id: $i) { result } }"
        self.admin.ask(query, {"i": variant})


def neutral(order):
    """An order as Vendure tells it, in the form of `shops.py`. Amounts are whole cents there."""
    customer, taxes = order["customer"], collections.Counter()
    for row in order["taxSummary"]:
        taxes[int(row["taxRate"])] += cents(row["taxTotal"])
    pieces, skus = collections.Counter(), {}
    for line in order["lines"]:
        skus[line["id"]] = line["productVariant"]["sku"]
        pieces[skus[line["id"]]] += line["quantity"]
    return Order(
        code=order["code"],
        currency=order["currencyCode"],
        customer=Customer(
            id=customer["id"],
            name=f"{customer['firstName']} {customer['lastName']}".strip(),
            email=customer["emailAddress"],
            phone=customer["phoneNumber"] or "",
        ),
        ship_to=order["shippingAddress"],
        bill_to=billing_address(order),
        pieces=dict(pieces),
        net=cents(order["total"]),
        gross=cents(order["totalWithTax"]),
        taxes={rate: tax for rate, tax in taxes.items() if tax},
        parcels=tuple(_parcel(one, skus) for one in order["fulfillments"]),
    )


def billing_address(order):
    """The shop leaves it empty when it is the same as the shipping address."""
    billing = order["billingAddress"] or {}
    return billing if billing.get("streetLine1") else order["shippingAddress"]


def _parcel(fulfilment, skus):
    pieces = collections.Counter()
    for line in fulfilment["lines"]:
        pieces[skus[line["orderLineId"]]] += line["quantity"]
    return Parcel(fulfilment["trackingCode"], dict(pieces), fulfilment["state"] == "Shipped")


def _item(variant):
    return Item(
        name=variant["name"],
        group=variant["product"]["name"],
        options=sorted((o["group"]["name"].lower(), o["code"]) for o in variant["options"]),
        price=Decimal(variant["priceWithTax"]) / 100,
        currency=variant["currencyCode"],
        enabled=variant["enabled"] and variant["product"]["enabled"],
        stock=sum(level["stockOnHand"] for level in variant["stockLevels"]),
    )


def cents(amount):
    return (Decimal(amount) / 100).quantize(CENT)


class Storefront:
    """One shop's storefront; every order is placed in a session of its own."""

    def __init__(self, base):
        self._url = base + "/shop-api"
        self._variants = {}

    def place(self, basket):
        """Checks out and pays; answers id, code and totals of the placed order."""
        session = _Session(self._url)
        for sku, quantity in basket.lines:
            session.change(
                "addItemToOrder(productVariantId: $v, quantity: $q)",
                "$v: ID!, $q: Int!",
                v=self._variant(sku),
                q=quantity,
            )
        person = basket.person
        session.change(
            "setCustomerForOrder(input: $i)",
            "$i: CreateCustomerInput!",
            i={
                "firstName": person.first,
                "lastName": person.last,
                "emailAddress": person.email,
                "phoneNumber": person.phone,
            },
        )
        session.change(
            "setOrderShippingAddress(input: $i)", "$i: CreateAddressInput!", i=person.address
        )
        if basket.billing:
            session.change(
                "setOrderBillingAddress(input: $i)", "$i: CreateAddressInput!", i=basket.billing
            )
        if basket.coupon:
            session.change("applyCouponCode(couponCode: $c)", "$c: String!", c=basket.coupon)
        session.change(
            "setOrderShippingMethod(shippingMethodId: $m)",
            "$m: [ID!]!",
            m=[self._shipping_method(session, basket.shipping)],
        )
        session.change('transitionOrderToState(state: "ArrangingPayment")', "")
        return session.change(
            "addPaymentToOrder(input: $i)",
            "$i: PaymentInput!",
            i={"method": "dummy", "metadata": {}},
        )

    def can_buy(self, sku):
        """Whether a customer gets one piece into the basket."""
        try:
            _Session(self._url).change(
                "addItemToOrder(productVariantId: $v, quantity: $q)",
                "$v: ID!, $q: Int!",
                v=self._variant(sku),
                q=1,
            )
        except (ShopError, KeyError):
            return False
        return True

    def _variant(self, sku):
        if sku not in self._variants:
            answer = _Session(self._url).ask(
                "{ products(options: { take: 100 }) { items { variants { id sku } } } }"
            )
            self._variants = {
                v["sku"]: v["id"] for p in answer["products"]["items"] for v in p["variants"]
            }
        return self._variants[sku]

    @staticmethod
    def _shipping_method(session, wanted):
        offered = {
            m["code"]: m["id"]
            for m in session.ask("{ eligibleShippingMethods { id code } }")[
                "eligibleShippingMethods"
            ]
        }
        return offered.get(wanted, offered["flat"])


class _Session:
    """An anonymous visitor: keeps the token of the first answer."""

    def __init__(self, url):
        self._url, self._token = url, None

    def ask(self, query, variables=None):
        answer, headers = vendure.post(self._url, query, variables, self._token)
        self._token = self._token or headers.get("vendure-auth-token")
        if answer.get("errors"):
            raise ShopError(answer["errors"][0]["message"])
        return answer["data"]

    def change(self, call, parameters, **variables):
        """One mutation that answers an order or an error."""
        head = f"mutation({parameters})" if parameters else "mutation"
        (result,) = self.ask(f"{head} {{ {call} {{ {RESULT} }} }}", variables).values()
        if result["__typename"] != "Order":
            raise ShopError(f"{call.partition('(')[0]}: {result.get('message')}")
        return result
