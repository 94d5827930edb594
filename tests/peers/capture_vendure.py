"""What a connector may meet at Vendure: reading, writing, errors and repeated calls."""

import shopper
import vendure_shop
from recorder import Recorder

LOGIN = """mutation($u: String!, $p: String!) { login(username: $u, password: $p) {
  __typename ... on CurrentUser { id } ... on ErrorResult { errorCode message } } }"""
ORDER_FIELDS = """id code state orderPlacedAt updatedAt currencyCode couponCodes
  customer { id firstName lastName emailAddress phoneNumber }
  shippingAddress { fullName company streetLine1 streetLine2
    city province postalCode countryCode phoneNumber }
  billingAddress { fullName company streetLine1 streetLine2
    city province postalCode countryCode phoneNumber }
  lines { id quantity orderPlacedQuantity taxRate productVariant { id sku name }
    linePrice linePriceWithTax proratedLinePrice proratedLinePriceWithTax
    discounts { description amount amountWithTax } }
  shippingLines { shippingMethod { code name } discountedPrice discountedPriceWithTax }
  surcharges { description price priceWithTax taxRate }
  discounts { description amount amountWithTax } taxSummary { taxRate taxBase taxTotal }
  total totalWithTax payments { method amount state transactionId }
  fulfillments { id state method trackingCode lines { orderLineId quantity } }"""
ORDERS = (
    "query($o: OrderListOptions) { orders(options: $o) { totalItems items { "
    + ORDER_FIELDS
    + " } } }"
)
STOCK = """query($o: ProductVariantListOptions) { productVariants(options: $o) { totalItems items {
  id sku enabled trackInventory updatedAt
  stockLevels { stockLocationId stockOnHand stockAllocated } } } }"""
SET_STOCK = """mutation($i: [UpdateProductVariantInput!]!) { updateProductVariants(input: $i) {
  id sku stockLevels { stockLocationId stockOnHand stockAllocated } } }"""
FULFIL = """mutation($i: FulfillOrderInput!) { addFulfillmentToOrder(input: $i) {
  __typename ... on Fulfillment { id state method trackingCode }
  ... on ErrorResult { errorCode message } } }"""
ADD_OPTION_GROUP = """mutation($p: ID!, $g: ID!) {
  addOptionGroupToProduct(productId: $p, optionGroupId: $g) { id } }"""
TRANSITION = """mutation($i: ID!, $s: String!) { transitionFulfillmentToState(id: $i, state: $s) {
  __typename ... on Fulfillment { id state trackingCode } ... on FulfillmentStateTransitionError {
  errorCode message transitionError fromState toState } } }"""


def capture(folder, base):
    recorder = Recorder(folder, base)
    token = _login(recorder)

    def ask(name, query, variables=None):
        answer, _ = recorder.record(
            name,
            "/admin-api",
            {"query": query, "variables": variables or {}},
            {"authorization": f"Bearer {token}"},
        )
        return answer.get("data")

    _orders(ask, vendure_shop.Storefront(base))
    variants = _stock(ask)
    _fulfilment(ask, variants)
    _items(ask, variants)


def _login(recorder):
    recorder.record(
        "login_wrong",
        "/admin-api",
        {"query": LOGIN, "variables": {"u": "superadmin", "p": "wrong"}},
    )
    _, headers = recorder.record(
        "login",
        "/admin-api",
        {"query": LOGIN, "variables": {"u": "superadmin", "p": "superadmin"}},
        secrets=lambda _, got: {got["vendure-auth-token"]: "SESSION-TOKEN"},
    )
    token = headers["vendure-auth-token"]
    recorder.record("no_token", "/admin-api", {"query": "{ orders { totalItems } }"})
    recorder.record(
        "expired_token",
        "/admin-api",
        {"query": "{ orders { totalItems } }"},
        {"authorization": "Bearer gone"},
    )
    recorder.record(
        "invalid_query", "/admin-api", {"query": "{ nope }"}, {"authorization": f"Bearer {token}"}
    )
    recorder.record("not_json", "/admin-api", "{", {"authorization": f"Bearer {token}"})
    return token


def _orders(ask, storefront):
    placed = {"orderPlacedAt": {"after": "2020-01-01T00:00:00.000Z"}}
    by_time = {"orderPlacedAt": "ASC", "id": "ASC"}
    ask("orders_empty", ORDERS, {"o": {"take": 100, "skip": 0, "sort": by_time, "filter": placed}})
    for basket in shopper.STORIES:
        storefront.place(basket)
    orders = ask(
        "orders_since", ORDERS, {"o": {"take": 100, "skip": 0, "sort": by_time, "filter": placed}}
    )["orders"]["items"]
    ask("orders_page_1", ORDERS, {"o": {"take": 2, "skip": 0, "sort": by_time, "filter": placed}})
    ask(
        "orders_page_beyond_the_end",
        ORDERS,
        {"o": {"take": 2, "skip": 6, "sort": by_time, "filter": placed}},
    )
    third = orders[2]["orderPlacedAt"]
    ask(
        "orders_after_is_exclusive",
        ORDERS,
        {"o": {"take": 100, "sort": by_time, "filter": {"orderPlacedAt": {"after": third}}}},
    )
    ask(
        "orders_between_is_inclusive",
        ORDERS,
        {
            "o": {
                "take": 100,
                "sort": by_time,
                "filter": {
                    "orderPlacedAt": {
                        "between": {"start": third, "end": orders[3]["orderPlacedAt"]}
                    }
                },
            }
        },
    )
    ask(
        "orders_by_id",
        ORDERS,
        {"o": {"take": 100, "filter": {"id": {"in": [orders[0]["id"], orders[1]["id"], "9999"]}}}},
    )
    ask("orders_take_too_many", ORDERS, {"o": {"take": 101}})
    ask(
        "order", "query($i: ID!) { order(id: $i) { " + ORDER_FIELDS + " } }", {"i": orders[0]["id"]}
    )
    ask("order_unknown", "query($i: ID!) { order(id: $i) { id } }", {"i": "9999"})


def _stock(ask):
    ask("stock_locations", "{ stockLocations { items { id name } } }")
    ask("stock_empty", STOCK, {"o": {"filter": {"sku": {"in": ["NO-SUCH-SKU"]}}}})
    page = ask("stock", STOCK, {"o": {"take": 100, "sort": {"id": "ASC"}}})["productVariants"][
        "items"
    ]
    variants = {v["sku"]: v["id"] for v in page}
    location = page[0]["stockLevels"][0]["stockLocationId"]

    def at(sku, on_hand):
        return {
            "id": variants[sku],
            "stockLevels": [{"stockLocationId": location, "stockOnHand": on_hand}],
        }

    ask("stock_set", SET_STOCK, {"i": [at("CD-001", 37), at("0017", 200)]})
    ask("stock_set_again", SET_STOCK, {"i": [at("CD-001", 37)]})
    ask(
        "stock_set_one_unknown",
        SET_STOCK,
        {"i": [at("CD-001", 36), {"id": "9999", "stockOnHand": 1}]},
    )
    ask("stock_set_negative", SET_STOCK, {"i": [at("CD-001", -1)]})
    ask("stock_set_below_allocated", SET_STOCK, {"i": [at("CD-001", 1)]})
    ask(
        "stock_of_skus",
        STOCK,
        {"o": {"take": 100, "filter": {"sku": {"in": ["CD-001", "0017", "CAFÉ-250"]}}}},
    )
    ask(
        "stock_movements",
        """query($i: ID!) { productVariant(id: $i) { stockMovements(options: { take: 10 }) {
        items { ... on StockAdjustment { id createdAt type quantity }
                ... on Allocation { id createdAt type quantity } } } } }""",
        {"i": variants["CD-001"]},
    )
    return variants


def _fulfilment(ask, variants):
    orders = ask(
        "open_orders",
        ORDERS,
        {"o": {"take": 100, "filter": {"state": {"in": ["PaymentSettled", "PartiallyShipped"]}}}},
    )
    first, second = orders["orders"]["items"][:2]

    def parcel(order, lines, tracking):
        return {
            "i": {
                "lines": [
                    {"orderLineId": line["id"], "quantity": line["quantity"]} for line in lines
                ],
                "handler": {
                    "code": "manual-fulfillment",
                    "arguments": [
                        {"name": "method", "value": "DHL"},
                        {"name": "trackingCode", "value": tracking},
                    ],
                },
            }
        }

    ask(
        "fulfil_more_than_on_hand", FULFIL, parcel(first, first["lines"][:1], "X")
    )  # 1 on hand since the stock calls
    ask("stock_restored", SET_STOCK, {"i": [{"id": variants["CD-001"], "stockOnHand": 100}]})
    made = ask("fulfil_part", FULFIL, parcel(first, first["lines"][:1], "00340434161094021501"))[
        "addFulfillmentToOrder"
    ]
    ask("fulfil_part_again", FULFIL, parcel(first, first["lines"][:1], "00340434161094021501"))
    ask("fulfilment_shipped", TRANSITION, {"i": made["id"], "s": "Shipped"})
    ask("fulfilment_shipped_again", TRANSITION, {"i": made["id"], "s": "Shipped"})
    made = ask("fulfil_rest", FULFIL, parcel(first, first["lines"][1:], "00340434161094021502"))[
        "addFulfillmentToOrder"
    ]
    ask("fulfilment_rest_shipped", TRANSITION, {"i": made["id"], "s": "Shipped"})
    ask("fulfilment_delivered", TRANSITION, {"i": made["id"], "s": "Delivered"})
    ask(
        "order_two_parcels",
        "query($i: ID!) { order(id: $i) { " + ORDER_FIELDS + " } }",
        {"i": first["id"]},
    )
    ask(
        "fulfil_unknown_line",
        FULFIL,
        {
            "i": {
                "lines": [{"orderLineId": "9999", "quantity": 1}],
                "handler": {
                    "code": "manual-fulfillment",
                    "arguments": [
                        {"name": "method", "value": "DHL"},
                        {"name": "trackingCode", "value": "X"},
                    ],
                },
            }
        },
    )
    ask("fulfil_too_many", FULFIL, parcel(second, [{**second["lines"][0], "quantity": 99}], "X"))
    ask("fulfil_nothing", FULFIL, parcel(second, [], "X"))
    ask("fulfilment_unknown", TRANSITION, {"i": "9999", "s": "Shipped"})


def _items(ask, variants):
    ask("tax_categories", "{ taxCategories { items { id name isDefault } } }")
    ask(
        "option_groups",
        """query($o: ProductOptionGroupListOptions) { productOptionGroups(options: $o) { items {
        id code options { id code name } } } }""",
        {"o": {"take": 100}},
    )
    created = ask(
        "product_create",
        "mutation($i: CreateProductInput!) { createProduct(input: $i) { id slug } }",
        {
            "i": {
                "enabled": False,
                "translations": [
                    {"languageCode": "en", "name": "Hoodie", "slug": "hoodie", "description": ""}
                ],
            }
        },
    )
    product = created["createProduct"]["id"]
    ask(
        "product_create_same_slug",
        "mutation($i: CreateProductInput!) { createProduct(input: $i) { id slug } }",
        {
            "i": {
                "enabled": False,
                "translations": [
                    {"languageCode": "en", "name": "Hoodie", "slug": "hoodie", "description": ""}
                ],
            }
        },
    )
    group = ask(
        "option_group_create",
        """mutation($i: CreateProductOptionGroupInput!) { createProductOptionGroup(input: $i) {
        id code options { id code } } }""",
        {
            "i": {
                "code": "hoodie-size",
                "translations": [{"languageCode": "en", "name": "Size"}],
                "options": [
                    {"code": c, "translations": [{"languageCode": "en", "name": c.upper()}]}
                    for c in "sm"
                ],
            }
        },
    )["createProductOptionGroup"]
    ask("option_group_add", ADD_OPTION_GROUP, {"p": product, "g": group["id"]})
    ask("option_group_add_again", ADD_OPTION_GROUP, {"p": product, "g": group["id"]})
    create = """mutation($i: [CreateProductVariantInput!]!) {
        createProductVariants(input: $i) { id sku priceWithTax options { code } } }"""
    small = {
        "productId": product,
        "sku": "HOOD-S",
        "price": 4990,
        "stockOnHand": 0,
        "trackInventory": "TRUE",
        "optionIds": [group["options"][0]["id"]],
        "translations": [{"languageCode": "en", "name": "Hoodie S"}],
    }
    ask("variants_create", create, {"i": [small]})
    ask("variants_create_same_option", create, {"i": [small]})
    option = ask(
        "option_create",
        "mutation($i: CreateProductOptionInput!) { createProductOption(input: $i) { id code } }",
        {
            "i": {
                "productOptionGroupId": group["id"],
                "code": "xl",
                "translations": [{"languageCode": "en", "name": "XL"}],
            }
        },
    )
    ask(
        "variants_create_duplicate_sku",
        create,
        {"i": [{**small, "optionIds": [option["createProductOption"]["id"]]}]},
    )
    ask("variants_by_sku", STOCK, {"o": {"filter": {"sku": {"eq": "HOOD-S"}}}})
    ask(
        "variant_update",
        """mutation($i: [UpdateProductVariantInput!]!) {
        updateProductVariants(input: $i) { id priceWithTax updatedAt } }""",
        {"i": [{"id": variants["CD-002"], "price": 777, "enabled": True}]},
    )
    ask(
        "product_update",
        """mutation($i: UpdateProductInput!) {
        updateProduct(input: $i) { id name enabled updatedAt } }""",
        {
            "i": {
                "id": product,
                "enabled": True,
                "translations": [{"languageCode": "en", "name": "Hoodie renamed"}],
            }
        },
    )
    ask(
        "variants_changed_since",
        """query($o: ProductVariantListOptions) { productVariants(options: $o) { totalItems items {
        id sku name enabled priceWithTax currencyCode updatedAt options { code group { code } }
        product { id name enabled updatedAt } } } }""",
        {
            "o": {
                "take": 100,
                "sort": {"updatedAt": "ASC"},
                "filter": {
                    "updatedAt": {"after": "2020-01-01T00:00:00Z"},
                    "sku": {"contains": "HOOD"},
                },
            }
        },
    )
    ask(
        "variant_delete",
        "mutation($i: ID!) { deleteProductVariant(id: $i) { result message } }",
        {"i": variants["CD-003"]},
    )
    ask(
        "variant_delete_again",
        "mutation($i: ID!) { deleteProductVariant(id: $i) { result message } }",
        {"i": variants["CD-003"]},
    )
