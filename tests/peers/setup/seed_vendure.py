"""Fills an empty Vendure with the catalogue, taxes, countries, shipping methods and coupons."""

import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

import vendure  # noqa: E402
from setup import catalog  # noqa: E402

LOCALE = "en"


def text(name, **more):
    """The translations argument that most of Vendure's inputs want."""
    return [{"languageCode": LOCALE, "name": name, **more}]


def config(code, **arguments):
    """A configurable operation: its code and its arguments as strings."""
    return {"code": code, "arguments": [{"name": k, "value": v} for k, v in arguments.items()]}


def seed(admin, shop):
    """Everything, in the order in which Vendure needs it. `shop` is north or south."""
    zone = _region(admin)
    categories = _taxes(admin, zone)
    _payment_and_shipping(admin)
    _promotions(admin)
    if shop == "south":
        # Ids must never agree between the shops by accident.
        for name in ("South only sample", "South only leaflet", "South only catalogue"):
            _product(
                admin,
                catalog.Product(
                    name,
                    catalog.STANDARD,
                    (catalog.Variant(name.replace(" ", "-").upper(), name, 100),),
                ),
                categories,
            )
    for product in reversed(catalog.PRODUCTS) if shop == "south" else catalog.PRODUCTS:
        _product(admin, product, categories)


def _region(admin):
    members = [
        admin.ask(
            "mutation($i: CreateCountryInput!) { createCountry(input: $i) { id } }",
            {"i": {"code": code, "enabled": True, "translations": text(name)}},
        )["createCountry"]["id"]
        for code, name in catalog.COUNTRIES
    ]
    zone = admin.ask(
        "mutation($i: CreateZoneInput!) { createZone(input: $i) { id } }",
        {"i": {"name": "Served countries", "memberIds": members}},
    )["createZone"]["id"]
    admin.ask(
        "mutation($i: UpdateChannelInput!) { updateChannel(input: $i) { __typename } }",
        {
            "i": {
                "id": "1",
                "defaultTaxZoneId": zone,
                "defaultShippingZoneId": zone,
                "pricesIncludeTax": True,
                "defaultCurrencyCode": "EUR",
                "availableCurrencyCodes": ["EUR"],
            }
        },
    )
    return zone


def _taxes(admin, zone):
    categories = {}
    for rate, name in ((catalog.STANDARD, "Standard"), (catalog.REDUCED, "Reduced")):
        category = admin.ask(
            "mutation($i: CreateTaxCategoryInput!) { createTaxCategory(input: $i) { id } }",
            {"i": {"name": name, "isDefault": rate == catalog.STANDARD}},
        )["createTaxCategory"]["id"]
        admin.ask(
            "mutation($i: CreateTaxRateInput!) { createTaxRate(input: $i) { id } }",
            {
                "i": {
                    "name": f"VAT {rate}%",
                    "enabled": True,
                    "value": rate,
                    "categoryId": category,
                    "zoneId": zone,
                }
            },
        )
        categories[rate] = category
    return categories


def _payment_and_shipping(admin):
    admin.ask(
        "mutation($i: CreatePaymentMethodInput!) { createPaymentMethod(input: $i) { id } }",
        {
            "i": {
                "code": "dummy",
                "enabled": True,
                "translations": text("Dummy", description=""),
                "handler": config("dummy-payment-handler", automaticSettle="true"),
            }
        },
    )
    for code, name, minimum, gross in (
        ("flat", "DHL parcel", 0, 490),
        ("express", "UPS express", 0, 1290),
        ("free", "Free over 100", 10000, 0),
    ):
        admin.ask(
            "mutation($i: CreateShippingMethodInput!) { createShippingMethod(input: $i) { id } }",
            {
                "i": {
                    "code": code,
                    "fulfillmentHandler": "manual-fulfillment",
                    "checker": config(
                        "default-shipping-eligibility-checker", orderMinimum=str(minimum)
                    ),
                    "calculator": config(
                        "default-shipping-calculator",
                        rate=str(gross),
                        includesTax="include",
                        taxRate=str(catalog.STANDARD),
                    ),
                    "translations": text(name, description=""),
                }
            },
        )


def _promotions(admin):
    for code, name, action in (
        ("WELCOME10", "10% off the order", config("order_percentage_discount", discount="10")),
        ("FIVEOFF", "5 EUR off the order", config("order_fixed_discount", discount="500")),
        ("FREESHIP", "Free shipping", config("free_shipping")),
    ):
        answer = admin.ask(
            """mutation($i: CreatePromotionInput!) { createPromotion(input: $i) {
            __typename ... on ErrorResult { message } } }""",
            {
                "i": {
                    "enabled": True,
                    "couponCode": code,
                    "conditions": [],
                    "actions": [action],
                    "translations": text(name, description=""),
                }
            },
        )["createPromotion"]
        assert answer["__typename"] == "Promotion", answer


def _product(admin, product, categories):
    slug = product.variants[0].sku.lower()
    created = admin.ask(
        "mutation($i: CreateProductInput!) { createProduct(input: $i) { id } }",
        {"i": {"enabled": True, "translations": text(product.name, slug=slug, description="")}},
    )["createProduct"]["id"]
    options = _size_options(admin, created, product)
    admin.ask(
        "mutation($i: [CreateProductVariantInput!]!) { createProductVariants(input: $i) { id } }",
        {
            "i": [
                {
                    "productId": created,
                    "sku": v.sku,
                    "price": v.gross,
                    "stockOnHand": catalog.STOCK,
                    "trackInventory": "TRUE",
                    "taxCategoryId": categories[product.rate],
                    "optionIds": [options[v.size]] if v.size else [],
                    "translations": text(v.name),
                }
                for v in product.variants
            ]
        },
    )


def _size_options(admin, product_id, product):
    sizes = [v.size for v in product.variants if v.size]
    if not sizes:
        return {}
    group = admin.ask(
        """mutation($i: CreateProductOptionGroupInput!) {
        createProductOptionGroup(input: $i) { id options { id code } } }""",
        {
            "i": {
                "code": "size",
                "translations": text("Size"),
                "options": [{"code": s.lower(), "translations": text(s)} for s in sizes],
            }
        },
    )["createProductOptionGroup"]
    admin.ask(
        """mutation($p: ID!, $g: ID!) {
        addOptionGroupToProduct(productId: $p, optionGroupId: $g) { id } }""",
        {"p": product_id, "g": group["id"]},
    )
    return {option["code"].upper(): option["id"] for option in group["options"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shop", choices=("north", "south"))
    parser.add_argument("base", help="for example http://127.0.0.1:3101")
    arguments = parser.parse_args()
    seed(vendure.Admin(arguments.base), arguments.shop)
