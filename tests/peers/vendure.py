"""A small independent client of Vendure's admin API, to see from outside what the daemon did."""

import json
import urllib.error
import urllib.request

from shops import ShopError

TIMEOUT = 60
PAGE = 100
ORDER = """
  id code state active orderPlacedAt updatedAt currencyCode couponCodes
  customer { id firstName lastName emailAddress phoneNumber user { id } }
  shippingAddress { fullName company streetLine1 streetLine2
    city province postalCode countryCode phoneNumber }
  billingAddress { fullName company streetLine1 streetLine2
    city province postalCode countryCode phoneNumber }
  lines { id quantity orderPlacedQuantity productVariant { id sku name } taxRate
    unitPrice unitPriceWithTax linePrice linePriceWithTax proratedUnitPrice proratedUnitPriceWithTax
    proratedLinePrice proratedLinePriceWithTax discounts { description amount amountWithTax } }
  shippingLines { shippingMethod { code name }
    price priceWithTax discountedPrice discountedPriceWithTax
    discounts { description amount amountWithTax } }
  surcharges { id description sku price priceWithTax taxRate }
  discounts { adjustmentSource description amount amountWithTax }
  taxSummary { description taxRate taxBase taxTotal }
  subTotal subTotalWithTax shipping shippingWithTax total totalWithTax
  payments { id method amount state transactionId }
  fulfillments { id state method trackingCode lines { orderLineId quantity } }
"""


class VendureError(ShopError):
    """What Vendure refused, in its own words."""


class Admin:
    """Logs in on the first call, and again when the session is gone as after a reset."""

    def __init__(self, base, username="superadmin", password="superadmin"):
        self.base, self._login = base, (username, password)
        self._token = None

    def ask(self, query, variables=None):
        """The `data` of one request; raises VendureError on any error."""
        for _ in range(2):
            if not self._token:
                self._sign_in()
            answer, _ = post(self.base + "/admin-api", query, variables, self._token)
            errors = answer.get("errors")
            if not errors:
                return answer["data"]
            if errors[0].get("extensions", {}).get("code") != "FORBIDDEN":
                break
            self._token = None
        raise VendureError(f"{errors[0]['message']} in {query.strip()[:120]}")

    def every(self, field, list_type, selection, filter_by=None):
        """All items of a list query, page by page, ordered by id."""
        items, total = [], None
        query = f"""query($o: {list_type}) {{
            {field}(options: $o) {{ totalItems items {{ {selection} }} }} }}"""
        while total is None or len(items) < total:
            options = {
                "take": PAGE,
                "skip": len(items),
                "sort": {"id": "ASC"},
                "filter": filter_by or {},
            }
            page = self.ask(query, {"o": options})[field]
            total = page["totalItems"]
            if not page["items"]:
                break
            items += page["items"]
        return items

    def orders(self):
        """Every placed order with lines, discounts, taxes, shipping, payments and fulfilments."""
        return self.every("orders", "OrderListOptions", ORDER, {"orderPlacedAt": {"isNull": False}})

    def order(self, order_id):
        return self.ask("query($i: ID!) { order(id: $i) { " + ORDER + " } }", {"i": order_id})[
            "order"
        ]

    def stock(self):
        """SKU -> (on hand, allocated), summed over the stock locations."""
        variants = self.every(
            "productVariants",
            "ProductVariantListOptions",
            "id sku stockLevels { stockOnHand stockAllocated }",
        )
        return {
            v["sku"]: (
                sum(level["stockOnHand"] for level in v["stockLevels"]),
                sum(level["stockAllocated"] for level in v["stockLevels"]),
            )
            for v in variants
        }

    def products(self):
        """Every variant with its product, price, options and switches, by SKU."""
        variants = self.every(
            "productVariants",
            "ProductVariantListOptions",
            """
            id sku name enabled priceWithTax currencyCode options { code name group { code } }
            product { id name slug enabled } updatedAt""",
        )
        return {v["sku"]: v for v in variants}

    def set_stock(self, sku, on_hand):
        """Sets the stock on hand of one SKU at the default location."""
        variant = self.products()[sku]["id"]
        self.ask(
            """mutation($i: [UpdateProductVariantInput!]!) {
            updateProductVariants(input: $i) { id } }""",
            {"i": [{"id": variant, "stockOnHand": on_hand}]},
        )

    def recode(self, sku, article):
        """Sells a variant under another SKU from now on."""
        variant = self.products()[sku]["id"]
        self.ask(
            """mutation($i: [UpdateProductVariantInput!]!) {
            updateProductVariants(input: $i) { id } }""",
            {"i": [{"id": variant, "sku": article}]},
        )

    def _sign_in(self):
        answer, headers = post(
            self.base + "/admin-api",
            """mutation($u: String!, $p: String!) {
            login(username: $u, password: $p) { __typename ... on ErrorResult { message } } }""",
            dict(zip("up", self._login, strict=True)),
        )
        if answer["data"]["login"]["__typename"] != "CurrentUser":
            raise VendureError(f"login at {self.base}: {answer['data']['login'].get('message')}")
        self._token = headers["vendure-auth-token"]


def post(url, query, variables=None, token=None):
    """One GraphQL request; answers (body, headers), also for the HTTP 400 of an invalid query."""
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return json.load(response), response.headers
    except urllib.error.HTTPError as error:
        return json.load(error), error.headers
