#!/usr/bin/env python3
"""Records the fixtures of the connector `medusa`: what it asks, and what a real Medusa answers.

    NORTH=medusa ./reset && CROSSDOCK_BIN=... NORTH=medusa ./capture_medusa.py [CASE ...]

The requests stand here, written by hand, and are sent to the real server; the contract suite of
the program then compares them with what the connector sends, and says what it makes of the answers,
which becomes what is expected: read it before you keep it. This changes orders, stock and items, so
it wants a fresh test bed.
"""

import base64
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.parse
import urllib.request

import medusa
import shopper
import shops
from setup import settings, stack

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "connectors" / "medusa" / "fixtures"
SHOP = "north"
MANIFEST = (FIXTURES.parent / "connector.toml").read_text()
TEXTS = tomllib.loads(MANIFEST[MANIFEST.index("[text]") :].partition("\n# ")[0])["text"]
FOUND = re.compile(r" is (.*) instead of \"[?0]+\"$")
COUNT = re.compile(r"^(\d+) changes instead of")
CHANGED = re.compile(r"^change (\S+) instead of")
UNKNOWN, NO_PRINT = "?", "0" * 32  # to be filled in
PAYMENTS = "id,display_id,created_at,*payment_collections.payments"
MAX_BLANKS = 200
WIDTH = 120
HEADERS = ("content-type", "date", "retry-after")


class Capture:
    """A Medusa, and what a case of the fixtures needs of it."""

    def __init__(self, url):
        self.url, keys = url, stack.medusa_keys()
        self.program, self.key = os.environ["CROSSDOCK_BIN"], keys["secret"]
        self.shop = shops.shop(SHOP)
        self.shop.url = url
        self.api = self.shop.admin = medusa.Api.admin(url, keys["secret"])
        self.shop._store = medusa.Api.store(url, keys["publishable"])
        self.location = keys["location"]

    def record(self, name, case, exchanges, again=None, looks=()):
        """Writes the fixture `name`. `again`: when everything was forgotten; the same when absent.
        `looks`: numbers of those that only look although they are not asked again.
        """
        case = {**case, "exchanges": exchanges}
        if looks:
            case["looks"] = list(looks)
        self._complete(case, "exchanges")
        if "deliver" in case["request"]:
            case["again"] = exchanges if again is None else again
            self._complete(case, "again")
        (FIXTURES / f"{name}.json").write_text(_pretty(case))
        print(f"{name}: {len(exchanges)} exchanges", flush=True)

    def _complete(self, case, which):
        for _ in range(MAX_BLANKS):
            failure = self._failure(case, which)
            if failure is None:
                return
            if not self._fill(case, failure):
                raise SystemExit(f"{_pretty(case)}\n{failure}")
        raise SystemExit(f"more than {MAX_BLANKS} blanks: {failure}")

    def get(self, path, **query):
        """One exchange. A list is a parameter that is repeated, `sku__in` is `sku[]`."""
        names = {key: key.replace("__in", "[]").replace("__gte", "[$gte]") for key in query}
        pairs = [
            (names[key], one)
            for key, value in sorted(query.items())
            for one in (value if isinstance(value, list) else [value])
        ]
        query = urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote)
        return self._exchange("GET", f"/admin{path}?{query}", None)

    def post(self, path, body, fields="id"):
        query = f"?fields={urllib.parse.quote(fields)}" if fields else ""
        return self._exchange("POST", f"/admin{path}{query}", body)

    def _failure(self, case, which):
        """What does not hold of a case that is not complete yet, or None."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "settings.toml").write_text((FIXTURES / "settings.toml").read_text())
            (folder / "case.json").write_text(json.dumps(case))
            done = subprocess.run(
                [self.program, "connector", "test", "medusa", "--fixtures", str(folder), "--json"],
                capture_output=True,
                timeout=120,
                check=False,
            )
        try:
            checks = json.loads(done.stdout)["checks"]
        except (ValueError, KeyError):
            raise SystemExit(done.stdout.decode() + done.stderr.decode()) from None
        for check in checks:
            if check.get("failure") and _is_plain(check, which):
                return check["failure"]
        return None

    def _exchange(self, method, path, body):
        data = None if body is None else json.dumps(body).encode()
        token = base64.b64encode(f"{self.key}:".encode()).decode()
        headers = {"authorization": f"Basic {token}", "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status, text, got = response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            status, text, got = error.code, error.read(), error.headers
        asked = {"method": method, "path": path}
        if body is not None:
            asked["body"] = body
        kept = {name: got[name] for name in HEADERS if got.get(name)}
        return {
            "request": asked,
            "response": {"status": status, "headers": kept, "body": json.loads(text)},
        }

    def _fill(self, case, failure):
        """Puts what was found where the case has a placeholder; whether it was such a failure."""
        count = COUNT.search(failure)
        if count:
            case["changes"] = [{"id": UNKNOWN, "record": UNKNOWN} for _ in range(int(count[1]))]
            return True
        changed = CHANGED.search(failure)
        found = changed or FOUND.search(failure)
        if not found:
            return False
        value = changed[1] if changed else json.loads(found[1])
        places = case.get("changes", []) + [
            outcome["delivered"] for outcome in case.get("outcomes", []) if "delivered" in outcome
        ]
        for place in places:
            for key in place:
                if place[key] in (UNKNOWN, NO_PRINT):
                    place[key] = value
                    return True
        return False


def _is_plain(check, which):
    """Only what is played unspoiled tells what comes next."""
    law, name = check["law"], check["name"].strip()
    if which == "again":
        return law == "D2" and name == "case again, everything forgotten"
    plain = ("case", "case each delivery has its outcome")
    return law in ("decodes", "writes", "settings") or (law == "D1" and name in plain)


def _pretty(value, indent=""):
    """JSON with what fits into a line on one line."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    inner = indent + " "
    if len(indent) + len(line) <= WIDTH or not isinstance(value, (dict, list)):
        return line + ("" if indent else "\n")
    if isinstance(value, list):
        return (
            f"[\n{inner}"
            + f",\n{inner}".join(_pretty(one, inner) for one in value)
            + f"\n{indent}]"
        )
    pairs = (f"{json.dumps(key)}: {_pretty(one, inner)}" for key, one in value.items())
    return f"{{\n{inner}" + f",\n{inner}".join(pairs) + f"\n{indent}}}" + ("" if indent else "\n")


# --- the cases -----------------------------------------------------------------------------------


def orders(capture):
    """A discount in fractions of a cent, a currency without cents, an invoice elsewhere, one called
    off, one whose payment was taken."""
    api, shop = capture.api, capture.shop
    _sell_in_yen(capture)
    placed = [shop.place(shopper.STORIES[n]) for n in (0, 3, 4)]
    placed.append(_place_in_yen(capture))
    rows = api.get("/admin/orders", limit=10, order="-updated_at", fields=PAYMENTS)["orders"]
    ids = {str(row["display_id"]): row for row in rows}
    payment = ids[placed[0]]["payment_collections"][0]["payments"][0]["id"]
    api.post(f"/admin/payments/{payment}/capture", {})
    api.post(f"/admin/orders/{ids[placed[2]]['id']}/cancel", {})
    at = datetime.datetime.fromisoformat(ids[placed[0]]["created_at"]).replace(microsecond=0)
    after = {"kind": "watermark", "at": _moment(at), "tie": ""}
    page = capture.get(
        "/orders",
        limit=50,
        offset=0,
        order="updated_at",
        fields=TEXTS["order_fields"],
        updated_at__gte=_moment(at - datetime.timedelta(seconds=300)),
    )
    case = {"stream": "orders", "request": {"pull": {"after": after}}}
    capture.record("orders_pull", case, [page])
    first = ids[placed[0]]["id"]
    changes = [{"id": first, "record": UNKNOWN}, {"id": "order_gone"}]
    request = {"fetch": {"ids": [first, "order_gone"]}}
    case = {"stream": "orders", "request": request, "changes": changes}
    page = capture.get(
        "/orders", limit=50, fields=TEXTS["order_fields"], id__in=[first, "order_gone"]
    )
    capture.record("orders_fetch", case, [page])


def _moment(at):
    return at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sell_in_yen(capture):
    api = capture.api
    store = api.get("/admin/stores", fields="id,*supported_currencies")["stores"][0]
    codes = {one["currency_code"]: one["is_default"] for one in store["supported_currencies"]}
    if "jpy" in codes:
        return
    eur = {"currency_code": "eur", "is_default": True, "is_tax_inclusive": True}
    usd = {"currency_code": "usd", "is_tax_inclusive": True}
    jpy = {"currency_code": "jpy", "is_tax_inclusive": True}
    api.post(f"/admin/stores/{store['id']}", {"supported_currencies": [eur, usd, jpy]})
    region = {"name": "Japan", "currency_code": "jpy", "countries": ["jp"]}
    region |= {"payment_providers": ["pp_system_default"], "is_tax_inclusive": True}
    api.post("/admin/regions", region)
    rate = {"rate": 10, "name": "Standard", "code": "standard"}
    tax = {"country_code": "jp", "provider_id": "tp_system", "default_tax_rate": rate}
    api.post("/admin/tax-regions", tax)
    fields = "id,service_zone.id,service_zone.fulfillment_set_id,type.code"
    options = api.get("/admin/shipping-options", fields=fields)["shipping_options"]
    flat = next(option for option in options if option["type"]["code"] == "flat")
    zone = flat["service_zone"]
    codes = ["de", "at", "fr", "us", "jp"]
    zones = {"geo_zones": [{"type": "country", "country_code": code} for code in codes]}
    path = f"/admin/fulfillment-sets/{zone['fulfillment_set_id']}/service-zones/{zone['id']}"
    api.post(path, zones)
    prices = [{"currency_code": "eur", "amount": 4.9}, {"currency_code": "jpy", "amount": 800}]
    api.post(f"/admin/shipping-options/{flat['id']}", {"prices": prices})
    _price(capture, "TEA-JP", [("eur", 12.49), ("jpy", 1999), ("usd", 14.5)])


def _price(capture, sku, prices):
    row = capture.api.get("/admin/product-variants", sku=sku, fields="id,product_id")["variants"][0]
    prices = [{"currency_code": code, "amount": amount} for code, amount in prices]
    path = f"/admin/products/{row['product_id']}/variants/{row['id']}"
    capture.api.post(path, {"prices": prices})


def _place_in_yen(capture):
    """10 % off 3 at 1999 yen is 5397.3 yen."""
    shop = capture.shop
    regions = capture.api.get("/admin/regions", fields="id,currency_code")["regions"]
    usual = shop._region
    shop._region = next(one["id"] for one in regions if one["currency_code"] == "jpy")
    address = {
        "fullName": "花子 山田",
        "company": "",
        "streetLine1": "丸の内1-9-1",
        "streetLine2": "",
        "city": "東京",
        "province": "",
        "postalCode": "100-0005",
        "countryCode": "JP",
        "phoneNumber": "+81 3 12345678",
    }
    person = shopper.Person("花子", "山田", "hanako@example.com", "+81 3 12345678", address)
    code = shop.place(shopper.Basket(person, (("TEA-JP", 3),), coupon="WELCOME10"))
    shop._region = usual
    return code


def stock(capture):
    """Written: one more, an unknown SKU, a fraction, what manages no inventory, a first level."""
    _add(capture, "Service", "NO-STOCK", manage_inventory=False)
    _add(capture, "Fresh", "FRESH-1")
    page = capture.get(
        "/product-variants",
        limit=100,
        offset=0,
        order="created_at",
        fields="created_at," + TEXTS["stock_fields"],
        created_at__gte="1970-01-01T00:00:00Z",
    )
    case = {"stream": "stock", "request": {"pull": {"after": None}}}
    capture.record("stock_pull", case, [page])
    wanted = (("CD-001", "90"), ("NO-SUCH-SKU", "1"), ("CD-002", "1.5"), ("NO-STOCK", "3"))
    wanted += (("FRESH-1", "7"),)
    batch = [
        {
            "operation": "update",
            "origin": "tryton",
            "reference": f"tryton:{n}",
            "target": None,
            "record": {"sku": sku, "location": "default", "on_hand": quantity},
        }
        for n, (sku, quantity) in enumerate(wanted, 1)
    ]
    here = {"remote_id": UNKNOWN, "stored": NO_PRINT}
    outcomes = [
        {"delivered": dict(here)},
        *(
            {"failed": {"class": "reject", "code": code}}
            for code in ("unknown_sku", "bad_quantity", "not_managed")
        ),
        {"delivered": dict(here)},
    ]
    first, fresh = _inventory_item(capture, "CD-001"), _inventory_item(capture, "FRESH-1")
    at = {"location_id": capture.location}
    known = {"inventory_item_id": first, **at, "stocked_quantity": 90}
    new = {"inventory_item_id": fresh, **at, "stocked_quantity": 7}
    case = {"stream": "stock", "request": {"deliver": {"batch": batch}}, "outcomes": outcomes}
    skus = [sku for sku, _ in wanted]
    path = "/inventory-items/location-levels/batch"

    def looked():
        fields = {"limit": 200, "fields": TEXTS["stock_fields"], "sku__in": skus}
        return [_locations(capture), capture.get("/product-variants", **fields)]

    body = {"update": [known], "create": [new]}
    exchanges = [*looked(), capture.post(path, body, fields="")]
    body = {"update": [known, new], "create": []}
    capture.record("stock_write", case, exchanges, [*looked(), capture.post(path, body, fields="")])


def _locations(capture):
    return capture.get("/stock-locations", limit=100, fields="id,name")


def _add(capture, title, sku, **more):
    api = capture.api
    profile = api.get("/admin/shipping-profiles")["shipping_profiles"][0]["id"]
    channel = api.get("/admin/stores")["stores"][0]["default_sales_channel_id"]
    option = "Default option"
    variant = {"title": title, "sku": sku, "options": {option: "one"}, **more}
    variant["prices"] = [{"currency_code": "eur", "amount": 5}]
    fields = {"title": title, "status": "published", "shipping_profile_id": profile}
    fields |= {"options": [{"title": option, "values": ["one"]}], "variants": [variant]}
    fields["sales_channels"] = [{"id": channel}]
    return api.post("/admin/products", fields)["product"]


def _variant(capture, sku, fields="id,product_id,*inventory_items,*prices"):
    return capture.api.get("/admin/product-variants", sku=sku, fields=fields)["variants"][0]


def _inventory_item(capture, sku):
    return _variant(capture, sku)["inventory_items"][0]["inventory_item_id"]


def shipments(capture):
    """One order in two parcels."""
    code = capture.shop.place(shopper.STORIES[2])
    rows = capture.api.get(
        "/admin/orders", limit=5, order="-created_at", fields="id,display_id,*items"
    )
    order = next(row for row in rows["orders"] if str(row["display_id"]) == code)
    lines = {line["variant_sku"]: line["id"] for line in order["items"]}
    numbers = ("00340434161094021501", "00340434161094021502")
    contents = ([("TEE-S", 1)], [("TEE-XL", 2), ("CD-008", 3)])
    parcels = [
        {
            "tracking_number": number,
            "tracking_url": None,
            "contents": [
                {"order_line": lines[sku], "sku": sku, "quantity": str(quantity)}
                for sku, quantity in some
            ],
        }
        for number, some in zip(numbers, contents, strict=True)
    ]
    record = {
        "id": "13",
        "number": "13",
        "order": order["id"],
        "carrier": {"name": "DHL"},
        "shipped_at": "2026-11-22T00:00:00Z",
        "parcels": parcels,
        "lines": [line for parcel in parcels for line in parcel["contents"]],
        "status": "unknown",
    }
    path = f"/orders/{order['id']}"

    def look():
        return capture.get(path, fields=TEXTS["fulfilment_fields"])

    exchanges = [look(), _locations(capture)]
    for number, some in zip(numbers, contents, strict=True):
        items = [{"id": lines[sku], "quantity": quantity} for sku, quantity in some]
        label = {"tracking_number": number, "label_url": ""}
        label["tracking_url"] = f"https://track.example.test/?n={number}"
        metadata = {"crossdock_parcel": number, "carrier": "DHL"}
        body = {"location_id": capture.location, "items": items, "metadata": metadata}
        exchanges += [look(), capture.post(f"{path}/fulfillments", body, "id,*fulfillments")]
        made = exchanges[-1]["response"]["body"]["order"]["fulfillments"]
        made = next(one["id"] for one in made if one["metadata"]["crossdock_parcel"] == number)
        body = {"items": items, "labels": [label]}
        exchanges.append(capture.post(f"{path}/fulfillments/{made}/shipments", body))
    case = _one("shipments", record)
    capture.record("shipments_create", case, exchanges, [look()] * 3, looks=[2])


def _one(stream, record, operation="create", target=None, group=None):
    """A case of one delivery."""
    delivery = {"operation": operation, "origin": "tryton", "reference": "tryton:1"}
    delivery |= {"target": target, "record": record}
    if group:
        delivery["group"] = group
    delivered = {"remote_id": UNKNOWN}
    if stream == "items" and operation == "create":
        delivered["group"] = UNKNOWN
    return {
        "stream": stream,
        "request": {"deliver": {"batch": [delivery]}},
        "outcomes": [{"delivered": delivered}],
    }


def items(capture):
    """A new product, one more variant of it, another name, and its end."""
    api = capture.api
    profile = api.get("/admin/shipping-profiles")["shipping_profiles"][0]["id"]
    channel = api.get("/admin/stores")["stores"][0]["default_sales_channel_id"]
    kinds = api.get("/admin/product-types")["product_types"]
    reduced = next(kind["id"] for kind in kinds if kind["value"] == "Reduced")

    def record(sku, size, **more):
        price = {"amount": "19.99", "currency": "EUR"}
        fields = {"sku": sku, "name": f"Hoodie {size}", "group_id": "77", "group_name": "Hoodie"}
        fields |= {"options": {"size": size}, "price": price, "price_includes_tax": True}
        return fields | {"tax_rate": "7", "status": "active", **more}

    def variant(sku, size):
        return {
            "title": f"Hoodie {size}",
            "sku": sku,
            "manage_inventory": True,
            "allow_backorder": False,
            "metadata": {"crossdock_status": "active"},
            "options": {"size": size},
            "prices": [{"currency_code": "eur", "amount": 19.99}],
        }

    product = {
        "title": "Hoodie",
        "handle": "tryton-77",
        "status": "published",
        "type_id": reduced,
        "shipping_profile_id": profile,
        "sales_channels": [{"id": channel}],
        "options": [{"title": "size", "values": ["s"]}],
    }

    def known(sku):
        return capture.get("/product-variants", fields="id,sku,product_id", sku__in=[sku])

    def found(sku):
        return capture.get("/product-variants", fields="id,sku", sku__in=[sku])

    def begun(sku):
        currency = {"attribute": "currency_code", "value": "eur"}
        store = "id,default_sales_channel_id,*supported_currencies"
        return [
            known(sku),
            capture.get("/stores", fields=store),
            capture.get("/price-preferences", limit=100, **currency),
            capture.get("/shipping-profiles", limit=100, fields="id,name"),
            capture.get("/product-types", limit=1000, fields="id,value"),
        ]

    options = "id,status,metadata,*options,*options.values"
    exchanges = begun("HOOD-S")
    exchanges.append(capture.get("/products", fields="id,handle", handle="tryton-77"))
    exchanges.append(capture.post("/products", product))
    path = f"/products/{exchanges[-1]['response']['body']['product']['id']}"
    exchanges += [capture.get(path, fields=options), found("HOOD-S")]
    exchanges.append(capture.post(f"{path}/variants", variant("HOOD-S", "s"), "id,*variants"))
    case, again = _one("items", record("HOOD-S", "s")), [known("HOOD-S"), found("HOOD-S")]
    capture.record("items_create", case, exchanges, again, looks=[2, 3, 4, 5, 6, 8])

    made = _variant(capture, "HOOD-S")
    option = exchanges[7]["response"]["body"]["product"]["options"][0]["id"]
    values = {"add": [], "update": [{"product_option_id": option, "add": [{"value": "m"}]}]}
    exchanges = [*begun("HOOD-M"), capture.get(path, fields=options)]
    exchanges.append(capture.get(path, fields="id,*options,*options.values"))
    exchanges += [capture.post(f"{path}/options/batch", values), found("HOOD-M")]
    exchanges.append(capture.post(f"{path}/variants", variant("HOOD-M", "m"), "id,*variants"))
    case = _one("items", record("HOOD-M", "m"), group=made["product_id"])
    again = [known("HOOD-M"), found("HOOD-M")]
    capture.record("items_create_variant", case, exchanges, again, looks=[2, 3, 4, 5, 6, 7])

    changed = record("HOOD-S", "s", name="Hoodie small", group_name="Hoodie, new")
    title = {"title": "Hoodie small", "sku": "HOOD-S", "metadata": {"crossdock_status": "active"}}
    exchanges = [
        capture.get("/product-variants", fields="id,product_id", id__in=[made["id"]]),
        capture.post(f"{path}/variants/{made['id']}", title),
        capture.get(path, fields="id,status,metadata,*variants"),
        capture.post(path, {"title": "Hoodie, new"}),
    ]
    capture.record("items_update", _one("items", changed, "update", made["id"]), exchanges)

    plain = _variant(capture, "CD-021")
    path, plain = f"/products/{plain['product_id']}", plain["id"]
    gone = {"sku": "CD-021", "name": "Workshop tool 21", "status": "archived"}
    mark = {"metadata": {"crossdock_status": "archived"}}
    exchanges = [
        capture.get("/product-variants", fields="id,product_id", id__in=[plain]),
        capture.post(f"{path}/variants/{plain}", mark),
        capture.get(path, fields="id,status,*variants"),
        capture.post(path, {"status": "draft", **mark}),
    ]
    capture.record("items_archive", _one("items", gone, "cancel", plain), exchanges)


def prices(capture):
    """A price in euro; the one in dollars stays."""
    _sell_in_yen(capture)
    _price(capture, "CD-004", [("eur", 9.47), ("usd", 11)])
    record = {"sku": "CD-004", "price": {"amount": "8.5", "currency": "EUR"}}
    record |= {"list": "default", "tax_included": True}
    now = {price["currency_code"]: price for price in _variant(capture, "CD-004")["prices"]}
    usd = {"id": now["usd"]["id"], "currency_code": "usd", "amount": 11}
    usd |= {"min_quantity": None, "max_quantity": None, "rules": {}}
    eur = {"id": now["eur"]["id"], "currency_code": "eur", "amount": 8.5}
    row, currency = _variant(capture, "CD-004"), {"attribute": "currency_code", "value": "eur"}
    fields = "id,sku,product_id,*prices,*prices.price_rules"
    exchanges = [
        capture.get("/stores", fields="id,*supported_currencies"),
        capture.get("/price-preferences", limit=100, **currency),
        capture.get("/product-variants", limit=10, fields=fields, sku__in=["CD-004"]),
        capture.post(f"/products/{row['product_id']}/variants/{row['id']}", {"prices": [usd, eur]}),
    ]
    capture.record("prices_write", _one("prices", record, "update", row["id"]), exchanges)


CASES = {"orders": orders, "stock": stock, "shipments": shipments, "items": items, "prices": prices}


def main():
    url = os.environ.get("MEDUSA_URL") or settings.shop_url(SHOP)
    capture = Capture(url)
    for name in sys.argv[1:] or CASES:
        CASES[name](capture)


if __name__ == "__main__":
    main()
