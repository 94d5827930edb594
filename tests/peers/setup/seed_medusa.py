"""Fills an empty Medusa with the catalogue, taxes, countries, shipping options and coupons.

The API keys that it makes are written to a file: Medusa shows a secret key once.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

import medusa  # noqa: E402
from setup import catalog, settings  # noqa: E402

CURRENCY = "eur"
REDUCED_TYPE = "Reduced"
# Cents, tax included, and from which goods total on it is offered.
SHIPPING = (("flat", "DHL parcel", 490, 0), ("express", "UPS express", 1290, 0))
SHIPPING += (("free", "Free over 100", 0, 10000),)


def seed(api):
    """Everything, in the order in which Medusa needs it; answers the keys and ids."""
    channel = api.get("/admin/sales-channels")["sales_channels"][0]["id"]
    keys = _keys(api, channel)
    region = _region(api, channel)
    location = _location(api, channel)
    profile = api.get("/admin/shipping-profiles")["shipping_profiles"][0]["id"]
    zone = _service_zone(api, location)
    for code, name, gross, minimum in SHIPPING:
        _shipping_option(api, zone, profile, code, name, gross, minimum)
    reduced = _taxes(api)
    _promotions(api)
    for product in catalog.PRODUCTS:
        _product(api, product, channel, profile, reduced)
    _stock(api, location)
    return {**keys, "region": region, "location": location}


def _keys(api, channel):
    secret = api.post("/admin/api-keys", {"title": "crossdock", "type": "secret"})["api_key"]
    front = api.post("/admin/api-keys", {"title": "storefront", "type": "publishable"})["api_key"]
    api.post(f"/admin/api-keys/{front['id']}/sales-channels", {"add": [channel]})
    return {"secret": secret["token"], "publishable": front["token"]}


def _region(api, channel):
    store = api.get("/admin/stores")["stores"][0]["id"]
    currency = {"currency_code": CURRENCY, "is_default": True, "is_tax_inclusive": True}
    fields = {"supported_currencies": [currency], "default_sales_channel_id": channel}
    api.post(f"/admin/stores/{store}", fields)
    region = {
        "name": "Served countries",
        "currency_code": CURRENCY,
        "countries": [code.lower() for code, _ in catalog.COUNTRIES],
        "payment_providers": ["pp_system_default"],
        "is_tax_inclusive": True,
    }
    return api.post("/admin/regions", region)["region"]["id"]


def _location(api, channel):
    address = {"address_1": "Lagerweg 1", "city": "Berlin", "country_code": "de"}
    fields = {"name": "Warehouse", "address": address}
    location = api.post("/admin/stock-locations", fields)["stock_location"]["id"]
    api.post(f"/admin/stock-locations/{location}/sales-channels", {"add": [channel]})
    providers = {"add": ["manual_manual"]}
    api.post(f"/admin/stock-locations/{location}/fulfillment-providers", providers)
    return location


def _service_zone(api, location):
    made = api.post(
        f"/admin/stock-locations/{location}/fulfillment-sets?fields=*fulfillment_sets",
        {"name": "Shipping", "type": "shipping"},
    )["stock_location"]["fulfillment_sets"][0]["id"]
    zones = [{"type": "country", "country_code": code.lower()} for code, _ in catalog.COUNTRIES]
    fields = {"name": "Served countries", "geo_zones": zones}
    made = api.post(f"/admin/fulfillment-sets/{made}/service-zones", fields)["fulfillment_set"]
    return made["service_zones"][0]["id"]


def _shipping_option(api, zone, profile, code, name, gross, minimum):
    price = {"currency_code": CURRENCY, "amount": gross / 100}
    if minimum:
        rule = {"attribute": "item_total", "operator": "gte", "value": minimum / 100}
        price["rules"] = [rule]
    rules = {"enabled_in_store": "true", "is_return": "false"}
    fields = {
        "name": name,
        "service_zone_id": zone,
        "shipping_profile_id": profile,
        "provider_id": "manual_manual",
        "price_type": "flat",
        "type": {"label": name, "description": name, "code": code},
        "prices": [price],
        "rules": [{"attribute": a, "operator": "eq", "value": v} for a, v in rules.items()],
    }
    api.post("/admin/shipping-options", fields)


def _taxes(api):
    """The same rates in all countries; what has the product type `Reduced` is taxed less."""
    fields = {"value": REDUCED_TYPE}
    reduced = api.post("/admin/product-types", fields)["product_type"]["id"]
    for code, _ in catalog.COUNTRIES:
        standard = _rate(catalog.STANDARD, "Standard")
        region = {
            "country_code": code.lower(),
            "provider_id": "tp_system",
            "default_tax_rate": standard,
        }
        region = api.post("/admin/tax-regions", region)["tax_region"]["id"]
        rules = [{"reference": "product_type", "reference_id": reduced}]
        rate = {"tax_region_id": region, "rules": rules, **_rate(catalog.REDUCED, "Reduced")}
        api.post("/admin/tax-rates", rate)
    return reduced


def _rate(percent, name):
    return {"rate": percent, "name": name, "code": name.lower()}


def _promotions(api):
    percentage = {"type": "percentage", "currency_code": CURRENCY}
    order = {"target_type": "order", "allocation": "across"}
    shipping = {"target_type": "shipping_methods", "allocation": "each", "max_quantity": 1}
    for code, method, inclusive in (
        ("WELCOME10", {**percentage, **order, "value": 10}, False),
        ("FIVEOFF", {"type": "fixed", "currency_code": CURRENCY, **order, "value": 5}, True),
        ("FREESHIP", {**percentage, **shipping, "value": 100}, False),
    ):
        fields = {"code": code, "type": "standard", "status": "active", "is_automatic": False}
        fields |= {"is_tax_inclusive": inclusive, "application_method": method}
        api.post("/admin/promotions", fields)


def _product(api, product, channel, profile, reduced):
    sized = any(v.size for v in product.variants)
    option = "Size" if sized else "Default option"
    values = [v.size or "Default option value" for v in product.variants]
    variants = [
        {
            "title": v.name,
            "sku": v.sku,
            "manage_inventory": True,
            "options": {option: value},
            "prices": [{"currency_code": CURRENCY, "amount": v.gross / 100}],
        }
        for v, value in zip(product.variants, values, strict=True)
    ]
    fields = {
        "title": product.name,
        "status": "published",
        "options": [{"title": option, "values": values}],
        "variants": variants,
        "sales_channels": [{"id": channel}],
        "shipping_profile_id": profile,
    }
    if product.rate == catalog.REDUCED:
        fields["type_id"] = reduced
    api.post("/admin/products", fields)


def _stock(api, location):
    items = api.every("/admin/inventory-items", "inventory_items", "id,sku")
    levels = [
        {
            "inventory_item_id": item["id"],
            "location_id": location,
            "stocked_quantity": catalog.STOCK,
        }
        for item in items
    ]
    api.post("/admin/inventory-items/location-levels/batch", {"create": levels})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="for example http://127.0.0.1:3101")
    parser.add_argument("keys", help="the file for the keys")
    arguments = parser.parse_args()
    made = seed(medusa.Api.signed_in(arguments.base, *settings.MEDUSA_LOGIN))
    with open(arguments.keys, "w") as file:
        json.dump(made, file)
