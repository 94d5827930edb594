#!/usr/bin/env python3
"""Records real requests and answers as numbered JSON files: fixtures for the connectors.

It changes stock, items and orders, so run it on a freshly reset test bed:

    ./reset && ./capture.py FOLDER
"""

import argparse
import base64
import datetime
import json
import pathlib
import urllib.error
import urllib.request
from decimal import Decimal

import shopper
import tryton
from setup import settings

SEEN_HEADERS = ("content-type", "date", "retry-after", "vendure-auth-token", "www-authenticate")


class Recorder:
    """Sends requests and writes each with its answer; session tokens are replaced by placeholders."""

    def __init__(self, folder, base):
        self._folder, self._base, self._count = folder, base, 0
        self._secrets = {}
        folder.mkdir(parents=True, exist_ok=True)

    def record(self, name, path, body, headers=None, secrets=None):
        """POSTs `body` as JSON; answers the decoded body and the headers.

        `secrets(answer, headers)` names what must not be written: secret -> placeholder.
        """
        sent = {"content-type": "application/json", **(headers or {})}
        data = body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self._base + path, data, sent), timeout=60) as response:
                status, text, got = response.status, response.read().decode(), response.headers
        except urllib.error.HTTPError as error:
            status, text, got = error.code, error.read().decode(), error.headers
        received = {key: got[key] for key in SEEN_HEADERS if got.get(key)}
        try:
            answer = json.loads(text)
        except ValueError:
            answer = text
        self._secrets.update(secrets(answer, got) if secrets else {})
        self._count += 1
        self._write(f"{self._count:02d}_{name}", {
            "request": {"method": "POST", "path": path, "headers": sent, "body": body},
            "response": {"status": status, "headers": received, "body": answer}})
        return answer, got

    def _write(self, name, pair):
        text = json.dumps(pair, ensure_ascii=False, indent=1)
        for secret, placeholder in self._secrets.items():
            text = text.replace(secret, placeholder)
        (self._folder / f"{name}.json").write_text(text + "\n")


# --- Vendure -------------------------------------------------------------------------------------

LOGIN = """mutation($u: String!, $p: String!) { login(username: $u, password: $p) {
  __typename ... on CurrentUser { id } ... on ErrorResult { errorCode message } } }"""
ORDER_FIELDS = """id code state orderPlacedAt updatedAt currencyCode couponCodes
  customer { id firstName lastName emailAddress phoneNumber }
  shippingAddress { fullName company streetLine1 streetLine2 city province postalCode countryCode phoneNumber }
  billingAddress { fullName company streetLine1 streetLine2 city province postalCode countryCode phoneNumber }
  lines { id quantity orderPlacedQuantity taxRate productVariant { id sku name }
    linePrice linePriceWithTax proratedLinePrice proratedLinePriceWithTax discounts { description amount amountWithTax } }
  shippingLines { shippingMethod { code name } discountedPrice discountedPriceWithTax }
  surcharges { description price priceWithTax taxRate }
  discounts { description amount amountWithTax } taxSummary { taxRate taxBase taxTotal }
  total totalWithTax payments { method amount state transactionId }
  fulfillments { id state method trackingCode lines { orderLineId quantity } }"""
ORDERS = "query($o: OrderListOptions) { orders(options: $o) { totalItems items { " + ORDER_FIELDS + " } } }"
STOCK = """query($o: ProductVariantListOptions) { productVariants(options: $o) { totalItems items {
  id sku enabled trackInventory updatedAt stockLevels { stockLocationId stockOnHand stockAllocated } } } }"""
SET_STOCK = """mutation($i: [UpdateProductVariantInput!]!) { updateProductVariants(input: $i) {
  id sku stockLevels { stockLocationId stockOnHand stockAllocated } } }"""
FULFIL = """mutation($i: FulfillOrderInput!) { addFulfillmentToOrder(input: $i) {
  __typename ... on Fulfillment { id state method trackingCode } ... on ErrorResult { errorCode message } } }"""
TRANSITION = """mutation($i: ID!, $s: String!) { transitionFulfillmentToState(id: $i, state: $s) {
  __typename ... on Fulfillment { id state trackingCode } ... on FulfillmentStateTransitionError {
  errorCode message transitionError fromState toState } } }"""


def capture_vendure(folder, base):
    recorder = Recorder(folder, base)
    token = _vendure_login(recorder)

    def ask(name, query, variables=None):
        answer, _ = recorder.record(name, "/admin-api", {"query": query, "variables": variables or {}},
                                    {"authorization": f"Bearer {token}"})
        return answer.get("data")

    _vendure_orders(ask, shopper.Storefront(base))
    variants = _vendure_stock(ask)
    _vendure_fulfilment(ask, variants)
    _vendure_items(ask, variants)


def _vendure_login(recorder):
    recorder.record("login_wrong", "/admin-api", {"query": LOGIN, "variables": {"u": "superadmin", "p": "wrong"}})
    _, headers = recorder.record(
        "login", "/admin-api", {"query": LOGIN, "variables": {"u": "superadmin", "p": "superadmin"}},
        secrets=lambda _, got: {got["vendure-auth-token"]: "SESSION-TOKEN"})
    token = headers["vendure-auth-token"]
    recorder.record("no_token", "/admin-api", {"query": "{ orders { totalItems } }"})
    recorder.record("expired_token", "/admin-api", {"query": "{ orders { totalItems } }"}, {"authorization": "Bearer gone"})
    recorder.record("invalid_query", "/admin-api", {"query": "{ nope }"}, {"authorization": f"Bearer {token}"})
    recorder.record("not_json", "/admin-api", "{", {"authorization": f"Bearer {token}"})
    return token


def _vendure_orders(ask, storefront):
    placed = {"orderPlacedAt": {"after": "2020-01-01T00:00:00.000Z"}}
    by_time = {"orderPlacedAt": "ASC", "id": "ASC"}
    ask("orders_empty", ORDERS, {"o": {"take": 100, "skip": 0, "sort": by_time, "filter": placed}})
    for basket in shopper.STORIES:
        storefront.place(basket)
    orders = ask("orders_since", ORDERS, {"o": {"take": 100, "skip": 0, "sort": by_time, "filter": placed}})["orders"]["items"]
    ask("orders_page_1", ORDERS, {"o": {"take": 2, "skip": 0, "sort": by_time, "filter": placed}})
    ask("orders_page_beyond_the_end", ORDERS, {"o": {"take": 2, "skip": 6, "sort": by_time, "filter": placed}})
    third = orders[2]["orderPlacedAt"]
    ask("orders_after_is_exclusive", ORDERS, {"o": {"take": 100, "sort": by_time, "filter": {"orderPlacedAt": {"after": third}}}})
    ask("orders_between_is_inclusive", ORDERS, {"o": {"take": 100, "sort": by_time, "filter": {
        "orderPlacedAt": {"between": {"start": third, "end": orders[3]["orderPlacedAt"]}}}}})
    ask("orders_by_id", ORDERS, {"o": {"take": 100, "filter": {"id": {"in": [orders[0]["id"], orders[1]["id"], "9999"]}}}})
    ask("orders_take_too_many", ORDERS, {"o": {"take": 101}})
    ask("order", "query($i: ID!) { order(id: $i) { " + ORDER_FIELDS + " } }", {"i": orders[0]["id"]})
    ask("order_unknown", "query($i: ID!) { order(id: $i) { id } }", {"i": "9999"})


def _vendure_stock(ask):
    ask("stock_locations", "{ stockLocations { items { id name } } }")
    ask("stock_empty", STOCK, {"o": {"filter": {"sku": {"in": ["NO-SUCH-SKU"]}}}})
    page = ask("stock", STOCK, {"o": {"take": 100, "sort": {"id": "ASC"}}})["productVariants"]["items"]
    variants = {v["sku"]: v["id"] for v in page}
    location = page[0]["stockLevels"][0]["stockLocationId"]

    def at(sku, on_hand):
        return {"id": variants[sku], "stockLevels": [{"stockLocationId": location, "stockOnHand": on_hand}]}

    ask("stock_set", SET_STOCK, {"i": [at("CD-001", 37), at("0017", 200)]})
    ask("stock_set_again", SET_STOCK, {"i": [at("CD-001", 37)]})
    ask("stock_set_one_unknown", SET_STOCK, {"i": [at("CD-001", 36), {"id": "9999", "stockOnHand": 1}]})
    ask("stock_set_negative", SET_STOCK, {"i": [at("CD-001", -1)]})
    ask("stock_set_below_allocated", SET_STOCK, {"i": [at("CD-001", 1)]})
    ask("stock_of_skus", STOCK, {"o": {"take": 100, "filter": {"sku": {"in": ["CD-001", "0017", "CAFÉ-250"]}}}})
    ask("stock_movements", """query($i: ID!) { productVariant(id: $i) { stockMovements(options: { take: 10 }) {
        items { ... on StockAdjustment { id createdAt type quantity } ... on Allocation { id createdAt type quantity } } } } }""",
        {"i": variants["CD-001"]})
    return variants


def _vendure_fulfilment(ask, variants):
    orders = ask("open_orders", ORDERS, {"o": {"take": 100, "filter": {"state": {"in": ["PaymentSettled", "PartiallyShipped"]}}}})
    first, second = orders["orders"]["items"][:2]

    def parcel(order, lines, tracking):
        return {"i": {"lines": [{"orderLineId": line["id"], "quantity": line["quantity"]} for line in lines],
                      "handler": {"code": "manual-fulfillment", "arguments": [
                          {"name": "method", "value": "DHL"}, {"name": "trackingCode", "value": tracking}]}}}

    ask("fulfil_more_than_on_hand", FULFIL, parcel(first, first["lines"][:1], "X"))  # 1 on hand since the stock calls
    ask("stock_restored", SET_STOCK, {"i": [{"id": variants["CD-001"], "stockOnHand": 100}]})
    made = ask("fulfil_part", FULFIL, parcel(first, first["lines"][:1], "00340434161094021501"))["addFulfillmentToOrder"]
    ask("fulfil_part_again", FULFIL, parcel(first, first["lines"][:1], "00340434161094021501"))
    ask("fulfilment_shipped", TRANSITION, {"i": made["id"], "s": "Shipped"})
    ask("fulfilment_shipped_again", TRANSITION, {"i": made["id"], "s": "Shipped"})
    made = ask("fulfil_rest", FULFIL, parcel(first, first["lines"][1:], "00340434161094021502"))["addFulfillmentToOrder"]
    ask("fulfilment_rest_shipped", TRANSITION, {"i": made["id"], "s": "Shipped"})
    ask("fulfilment_delivered", TRANSITION, {"i": made["id"], "s": "Delivered"})
    ask("order_two_parcels", "query($i: ID!) { order(id: $i) { " + ORDER_FIELDS + " } }", {"i": first["id"]})
    ask("fulfil_unknown_line", FULFIL, {"i": {"lines": [{"orderLineId": "9999", "quantity": 1}], "handler": {
        "code": "manual-fulfillment", "arguments": [{"name": "method", "value": "DHL"}, {"name": "trackingCode", "value": "X"}]}}})
    ask("fulfil_too_many", FULFIL, parcel(second, [{**second["lines"][0], "quantity": 99}], "X"))
    ask("fulfil_nothing", FULFIL, parcel(second, [], "X"))
    ask("fulfilment_unknown", TRANSITION, {"i": "9999", "s": "Shipped"})


def _vendure_items(ask, variants):
    ask("tax_categories", "{ taxCategories { items { id name isDefault } } }")
    ask("option_groups", """query($o: ProductOptionGroupListOptions) { productOptionGroups(options: $o) { items {
        id code options { id code name } } } }""", {"o": {"take": 100}})
    created = ask("product_create", "mutation($i: CreateProductInput!) { createProduct(input: $i) { id slug } }", {
        "i": {"enabled": False, "translations": [{"languageCode": "en", "name": "Hoodie", "slug": "hoodie", "description": ""}]}})
    product = created["createProduct"]["id"]
    ask("product_create_same_slug", "mutation($i: CreateProductInput!) { createProduct(input: $i) { id slug } }", {
        "i": {"enabled": False, "translations": [{"languageCode": "en", "name": "Hoodie", "slug": "hoodie", "description": ""}]}})
    group = ask("option_group_create", """mutation($i: CreateProductOptionGroupInput!) { createProductOptionGroup(input: $i) {
        id code options { id code } } }""", {"i": {"code": "hoodie-size", "translations": [{"languageCode": "en", "name": "Size"}],
        "options": [{"code": c, "translations": [{"languageCode": "en", "name": c.upper()}]} for c in "sm"]}})["createProductOptionGroup"]
    ask("option_group_add", "mutation($p: ID!, $g: ID!) { addOptionGroupToProduct(productId: $p, optionGroupId: $g) { id } }",
        {"p": product, "g": group["id"]})
    ask("option_group_add_again", "mutation($p: ID!, $g: ID!) { addOptionGroupToProduct(productId: $p, optionGroupId: $g) { id } }",
        {"p": product, "g": group["id"]})
    create = "mutation($i: [CreateProductVariantInput!]!) { createProductVariants(input: $i) { id sku priceWithTax options { code } } }"
    small = {"productId": product, "sku": "HOOD-S", "price": 4990, "stockOnHand": 0, "trackInventory": "TRUE",
             "optionIds": [group["options"][0]["id"]], "translations": [{"languageCode": "en", "name": "Hoodie S"}]}
    ask("variants_create", create, {"i": [small]})
    ask("variants_create_same_option", create, {"i": [small]})
    option = ask("option_create", "mutation($i: CreateProductOptionInput!) { createProductOption(input: $i) { id code } }", {
        "i": {"productOptionGroupId": group["id"], "code": "xl", "translations": [{"languageCode": "en", "name": "XL"}]}})
    ask("variants_create_duplicate_sku", create, {"i": [{**small, "optionIds": [option["createProductOption"]["id"]]}]})
    ask("variants_by_sku", STOCK, {"o": {"filter": {"sku": {"eq": "HOOD-S"}}}})
    ask("variant_update", "mutation($i: [UpdateProductVariantInput!]!) { updateProductVariants(input: $i) { id priceWithTax updatedAt } }", {
        "i": [{"id": variants["CD-002"], "price": 777, "enabled": True}]})
    ask("product_update", "mutation($i: UpdateProductInput!) { updateProduct(input: $i) { id name enabled updatedAt } }", {
        "i": {"id": product, "enabled": True, "translations": [{"languageCode": "en", "name": "Hoodie renamed"}]}})
    ask("variants_changed_since", """query($o: ProductVariantListOptions) { productVariants(options: $o) { totalItems items {
        id sku name enabled priceWithTax currencyCode updatedAt options { code group { code } } product { id name enabled updatedAt } } } }""",
        {"o": {"take": 100, "sort": {"updatedAt": "ASC"}, "filter": {"updatedAt": {"after": "2020-01-01T00:00:00Z"}, "sku": {"contains": "HOOD"}}}})
    ask("variant_delete", "mutation($i: ID!) { deleteProductVariant(id: $i) { result message } }", {"i": variants["CD-003"]})
    ask("variant_delete_again", "mutation($i: ID!) { deleteProductVariant(id: $i) { result message } }", {"i": variants["CD-003"]})


# --- Tryton --------------------------------------------------------------------------------------


class TrytonSession:
    """Numbered JSON-RPC calls, each recorded; the context goes last."""

    def __init__(self, recorder, database):
        self._recorder, self._path = recorder, f"/{database}/rpc/"
        self._headers, self._context = {}, {}

    def raw(self, name, method, *parameters, headers=None):
        body = {"id": 1, "method": method, "params": tryton.encode(parameters)}
        answer, _ = self._recorder.record(name, self._path, body, self._headers if headers is None else headers)
        return tryton.decode(answer.get("result")) if isinstance(answer, dict) else None

    def call(self, name, method, *parameters, **context):
        return self.raw(name, f"model.{method}", *parameters, {**self._context, **context})

    def sign_in(self):
        self.raw("login_wrong", "common.db.login", "admin", {"password": "wrong"}, "en")
        answer, _ = self._recorder.record("login", self._path, {
            "id": 1, "method": "common.db.login", "params": ["admin", {"password": "admin"}, "en"]},
            secrets=lambda answer, _: {answer["result"][1]: "SESSION-TOKEN", _credentials(*answer["result"][:2]):
                                       "BASE64-OF-LOGIN-UID-TOKEN"})
        user, token = answer["result"][:2]
        self._headers = {"authorization": f"Session {_credentials(user, token)}"}
        self.raw("preferences", "model.res.user.get_preferences", True, {})
        self._context = {"company": 1, "language": "en"}
        self.raw("expired_session", "model.sale.sale.search", [], 0, 1, None, {}, headers={"authorization": f"Session {_credentials(user, 'gone')}"})
        self.raw("no_session", "model.sale.sale.search", [], 0, 1, None, {}, headers={})


def _credentials(user, token):
    return base64.b64encode(f"admin:{user}:{token}".encode()).decode()


def capture_tryton(folder, base, database):
    session = TrytonSession(Recorder(folder, base), database)
    session.sign_in()
    ids = _tryton_lookups(session)
    party, address = _tryton_party(session)
    sale = _tryton_sale(session, ids, party, address)
    _tryton_stock(session)
    _tryton_shipping(session, ids, party, address, sale)
    _tryton_items(session, ids)
    _tryton_errors(session, ids, party, address)


def _tryton_lookups(session):
    read = session.call
    products = read("products_by_code", "product.product.search_read", [["code", "in", ["CD-001", "CD-005", "TEE-M", "SHIPPING", "ROUNDING"]]],
                    0, 100, None, ["code"])
    read("products_none", "product.product.search_read", [["code", "in", ["NO-SUCH-SKU"]]], 0, 100, None, ["code"])
    shop = read("web_shop", "web.shop.search_read", [["name", "=", "north"]], 0, 1, None, ["name", "currency", "warehouses"])
    taxes = read("taxes", "account.tax.search_read", [], 0, 100, None, ["name", "rate"])
    read("carriers", "carrier.search_read", [], 0, 100, None, ["party.name"])
    read("countries", "country.country.search_read", [], 0, 300, None, ["code"])
    warehouse = read("warehouse", "stock.location.search_read", [["type", "=", "warehouse"]], 0, 10, None, ["code", "storage_location"])
    read("tax_rounding", "account.configuration.search_read", [], 0, 1, None, ["tax_rounding"])
    term = read("payment_term", "account.invoice.payment_term.search_read", [["name", "=", "Paid in the web shop"]], 0, 1, None, ["name"])
    return {"products": {row["code"]: row["id"] for row in products}, "shop": shop[0]["id"], "term": term[0]["id"],
            "taxes": {row["rate"]: row["id"] for row in taxes}, "warehouse": warehouse[0]["id"]}


ADDRESS = {"party_name": "Zoë Łukasiewicz", "street_unstructured": "Invalidenstraße 7\nHinterhaus", "postal_code": "10115",
           "city": "Berlin", "country": 1}


def _tryton_party(session):
    values = {"code": "north-77", "name": "Zoë Łukasiewicz 🚲", "addresses": [["create", [ADDRESS]]], "contact_mechanisms": [
        ["create", [{"type": "email", "value": "zoe@example.com"}, {"type": "phone", "value": "+49 30 901820"}]]]}
    session.call("party_search_none", "party.party.search", [["code", "=", "north-77"]], 0, 1, None)
    party, = session.call("party_create", "party.party.create", [values])
    session.call("party_create_again", "party.party.create", [values])
    session.call("party_search", "party.party.search", [["code", "=", "north-77"]], 0, 1, None)
    domain = [["party", "=", party], *([key, "=", value] for key, value in ADDRESS.items())]
    address, = session.call("address_search", "party.address.search", domain, 0, 1, None)
    session.call("address_create", "party.address.create", [{**ADDRESS, "party": party, "street_unstructured": "Postfach 1"}])
    return party, address


def _sale_values(ids, party, address, web_id, lines, **more):
    return {"web_shop": ids["shop"], "web_id": web_id, "reference": web_id, "party": party, "invoice_address": address,
            "shipment_address": address, "currency": 1, "warehouse": ids["warehouse"], "payment_term": ids["term"],
            "sale_date": datetime.date.today(), "invoice_method": "order", "shipment_method": "order",
            "shipment_cost_method": None, "comment": "10% off the order: -4.01", "lines": [["create", lines]], **more}


def _line(ids, code, quantity, price, rate="0.19"):
    return {"type": "line", "product": ids["products"][code], "quantity": float(quantity), "unit": 1,
            "unit_price": Decimal(price), "taxes": [["add", [ids["taxes"][Decimal(rate)]] if rate else []]], "description": code}


def _tryton_sale(session, ids, party, address):
    lines = [_line(ids, "CD-001", 2, "4.0546"), _line(ids, "CD-005", 3, "9.1092"), _line(ids, "SHIPPING", 1, "4.1176"),
             _line(ids, "ROUNDING", 1, "-0.01", rate="")]
    values = _sale_values(ids, party, address, "MV254J6HXF4TN76B", lines, carrier=1)
    find = ("sale.sale.search_read", [["web_shop", "=", ids["shop"]], ["web_id", "=", "MV254J6HXF4TN76B"]], 0, 1, None,
            ["number", "state", "untaxed_amount", "tax_amount", "total_amount"])
    session.call("sale_find_none", *find)
    sale = session.call("sale_create", "sale.sale.create", [values])
    session.call("sale_create_again", "sale.sale.create", [values])
    session.call("sale_find_draft", *find)
    session.call("sale_confirm_too_early", "sale.sale.confirm", sale)
    session.call("sale_quote", "sale.sale.quote", sale)
    session.call("sale_quote_again", "sale.sale.quote", sale)
    session.call("sale_find_quotation", *find)
    session.call("sale_confirm", "sale.sale.confirm", sale)
    session.call("sale_confirm_again", "sale.sale.confirm", sale)
    session.call("sale_process", "sale.sale.process", sale)
    session.call("sale_process_again", "sale.sale.process", sale)
    session.call("sale_find_processing", *find)
    session.call("sale_read", "sale.sale.read", sale, ["number", "state", "web_id", "lines", "shipments", "invoices",
                                                       "shipment_state", "invoice_state", "write_date"])
    return sale[0]


def _tryton_stock(session):
    fields = ["code", "quantity", "forecast_quantity"]
    session.call("stock_all", "product.product.search_read", [["type", "=", "goods"]], 0, 1000, [["id", "ASC"]], fields,
                 locations=[5], stock_date_end=datetime.date.today())
    session.call("stock_without_location_is_zero", "product.product.search_read", [["code", "=", "CD-001"]], 0, 10, None, fields)
    session.call("stock_of_nothing", "product.product.search_read", [["code", "in", []]], 0, 10, None, fields, locations=[5])


def _tryton_shipping(session, ids, party, address, sale):
    model = "stock.shipment.out"
    shipment, = session.call("shipments_of_sale", f"{model}.search", [["moves.sale", "=", sale]], 0, 10, None)
    session.call("shipments_since_none", f"{model}.search_read", [["state", "in", ["shipped", "done"]]], 0, 100, None, ["number"])
    for step in ("assign_try", "pick"):
        session.call(f"shipment_{step}", f"{model}.{step}", [shipment])
    session.call("shipment_pick_again", f"{model}.pick", [shipment])
    moves = session.call("shipment_moves", "stock.move.search_read", [
        ["shipment", "=", f"{model},{shipment}"], ["to_location.type", "=", "customer"]], 0, 100, [["id", "ASC"]],
        ["product.code", "quantity", "origin", "state", "package"])
    session.call("packages_create", "stock.package.create", [
        {"type": 1, "shipment": f"{model},{shipment}", "shipping_reference": f"0034043416109402150{n}",
         "moves": [["add", [move["id"]]]]} for n, move in enumerate(moves, 1)])
    for step in ("pack", "do"):
        session.call(f"shipment_{step}", f"{model}.{step}", [shipment])
    session.call("shipment_do_again", f"{model}.do", [shipment])
    since = datetime.datetime(2020, 1, 1)
    session.call("shipments_since", f"{model}.search_read", [
        ["state", "in", ["shipped", "done"]], ["OR", ["last_modified_at", ">=", since], ["packages.last_modified_at", ">=", since]]],
        0, 100, [["id", "ASC"]], ["number", "state", "reference", "shipping_reference", "carrier.party.name", "effective_date",
                                  "last_modified_at", "packages", "outgoing_moves", "origins"])
    session.call("packages", "stock.package.search_read", [["shipment", "in", [f"{model},{shipment}"]]], 0, 100, [["id", "ASC"]],
                 ["number", "shipping_reference", "shipping_tracking_url", "moves", "shipment", "last_modified_at"])
    session.call("moves_shipped", "stock.move.search_read", [["id", "in", [move["id"] for move in moves]]], 0, 100, [["id", "ASC"]],
                 ["product.code", "quantity", "origin", "package", "state", "shipment", "effective_date"])
    session.call("sale_lines", "sale.line.search_read", [["sale", "=", sale]], 0, 100, None, [
        "product.code", "quantity", "sale.web_id", "sale.web_shop.name"])
    _tryton_warning(session, ids, party, address)


def _tryton_warning(session, ids, party, address):
    """A shipment without a carrier: `pack` stops with a warning until somebody says yes."""
    model = "stock.shipment.out"
    sale = session.call("sale_without_carrier", "sale.sale.create", [
        _sale_values(ids, party, address, "NO-CARRIER", [_line(ids, "CD-005", 1, "9.1092")])])
    for step in ("quote", "confirm"):
        session.call(f"sale_without_carrier_{step}", f"sale.sale.{step}", sale)
    shipment = session.call("shipment_without_carrier", f"{model}.search", [["moves.sale", "=", sale[0]]], 0, 10, None)
    for step in ("assign_try", "pick", "pack"):
        answer, _ = session._recorder.record(f"no_carrier_{step}", session._path, {
            "id": 1, "method": f"model.{model}.{step}", "params": [shipment, session._context]}, session._headers)
    session.call("warning_accept", "res.user.warning.create", [{"user": 1, "name": answer["error"][1][0], "always": False}])
    session.call("no_carrier_pack_after_warning", f"{model}.pack", shipment)


def _tryton_items(session, ids):
    fields = ["code", "name", "active", "list_price_used", "gross_price_used", "attributes", "type", "template", "template.active",
              "template.attribute_set", "template.account_category.name", "last_modified_at", "template.last_modified_at"]
    since = datetime.datetime(2020, 1, 1)
    changed = [["active", "in", [True, False]], ["OR", ["last_modified_at", ">=", since], ["template.last_modified_at", ">=", since]]]
    order = [["last_modified_at", "ASC"], ["id", "ASC"]]
    session.call("items_since_page_1", "product.product.search_read", changed, 0, 3, order, fields)
    session.call("items_since_variants", "product.product.search_read", [["code", "like", "TEE-%"]], 0, 10, order, fields)
    tee = ids["products"]["TEE-M"]
    session.call("item_price", "product.product.write", [tee], {"list_price": Decimal("17.5000")})
    session.call("item_archive_with_stock", "product.product.write", [tee], {"active": False})
    session.call("item_changed", "product.product.search_read", [["code", "=", "TEE-M"]], 0, 10, None, fields)
    recent = datetime.datetime.utcnow() + datetime.timedelta(days=1)
    session.call("items_since_none", "product.product.search_read", [["last_modified_at", ">=", recent]], 0, 3, order, fields)


def _tryton_errors(session, ids, party, address):
    create = "sale.sale.create"
    good = _line(ids, "CD-001", 1, "4.5")
    session.call("error_five_decimals", create, [_sale_values(ids, party, address, "E1", [{**good, "unit_price": Decimal("4.50421")}])])
    session.call("error_half_a_piece", create, [_sale_values(ids, party, address, "E2", [{**good, "quantity": 1.5}])])
    session.call("error_unknown_product", create, [_sale_values(ids, party, address, "E3", [{**good, "product": 99999}])])
    session.call("error_unknown_field", create, [{"no_such_field": 1}])
    session.call("error_required", create, [{"party": party, "web_shop": ids["shop"]}])
    sale = session.call("sale_without_address", create, [{**_sale_values(ids, party, address, "E4", [good]),
                                                          "invoice_address": None, "shipment_address": None}])
    session.call("error_quote_without_address", "sale.sale.quote", sale)
    session.call("error_unknown_id", "sale.sale.read", [99999], ["state"])
    session.call("error_forbidden_method", "sale.sale.no_such_method", [1])
    session.call("error_nul_byte", "party.party.create", [{"name": "a\u0000b", "code": "nul"}])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--vendure", default=settings.vendure_url("north"))
    parser.add_argument("--tryton", default=settings.tryton_url())
    parser.add_argument("--database", default=settings.TRYTON_DATABASE)
    arguments = parser.parse_args()
    capture_vendure(arguments.folder / "vendure", arguments.vendure)
    capture_tryton(arguments.folder / "tryton", arguments.tryton, arguments.database)


if __name__ == "__main__":
    main()
