"""What a connector may meet at Tryton: reading, writing, errors and repeated calls."""

import base64
import datetime
from decimal import Decimal
import tryton
from recorder import Recorder


class Session:
    """Numbered JSON-RPC calls, each recorded; the context goes last."""

    def __init__(self, recorder, database):
        self._recorder, self._path = (recorder, f"/{database}/rpc/")
        self._headers, self._context = ({}, {})
        self.error = None

    def raw(self, name, method, *parameters, headers=None):
        """One call; answers its result, and keeps what was refused in `error`."""
        body = {"id": 1, "method": method, "params": tryton.encode(parameters)}
        answer, _ = self._recorder.record(
            name, self._path, body, self._headers if headers is None else headers
        )
        answer = answer if isinstance(answer, dict) else {}
        self.error = answer.get("error")
        return tryton.decode(answer.get("result"))

    def call(self, name, method, *parameters, **context):
        return self.raw(name, f"model.{method}", *parameters, {**self._context, **context})

    def find(self, name, model, domain, fields, order=None, limit=100, **context):
        """search_read, the call that reads nearly everything."""
        method = f"{model}.search_read"
        return self.call(name, method, domain, 0, limit, order, fields, **context)

    def sign_in(self):
        self.raw("login_wrong", "common.db.login", "admin", {"password": "wrong"}, "en")
        answer, _ = self._recorder.record(
            "login",
            self._path,
            {
                "id": 1,
                "method": "common.db.login",
                "params": ["admin", {"password": "admin"}, "en"],
            },
            secrets=lambda answer, _: {
                answer["result"][1]: "SESSION-TOKEN",
                _credentials(*answer["result"][:2]): "BASE64-OF-LOGIN-UID-TOKEN",
            },
        )
        user, token = answer["result"][:2]
        self._headers = {"authorization": f"Session {_credentials(user, token)}"}
        self.raw("preferences", "model.res.user.get_preferences", True, {})
        self._context = {"company": 1, "language": "en"}
        self.raw(
            "expired_session",
            "model.sale.sale.search",
            [],
            0,
            1,
            None,
            {},
            headers={"authorization": f"Session {_credentials(user, 'gone')}"},
        )
        self.raw("no_session", "model.sale.sale.search", [], 0, 1, None, {}, headers={})


def _credentials(user, token):
    return base64.b64encode(f"admin:{user}:{token}".encode()).decode()


def capture(folder, base, database):
    session = Session(Recorder(folder, base), database)
    session.sign_in()
    ids = _lookups(session)
    party, address = _party(session)
    sale = _sale(session, ids, party, address)
    _stock(session)
    _shipping(session, ids, party, address, sale)
    _items(session, ids)
    _errors(session, ids, party, address)


def _lookups(session):
    products = session.find(
        "products_by_code",
        "product.product",
        [["code", "in", ["CD-001", "CD-005", "TEE-M", "SHIPPING", "ROUNDING"]]],
        ["code"],
    )
    session.find("products_none", "product.product", [["code", "in", ["NO-SUCH-SKU"]]], ["code"])
    shop = session.find(
        "web_shop", "web.shop", [["name", "=", "north"]], ["name", "currency", "warehouses"]
    )
    taxes = session.find("taxes", "account.tax", [], ["name", "rate"])
    session.find("carriers", "carrier", [], ["party.name"])
    session.find("countries", "country.country", [], ["code"])
    warehouse = session.find(
        "warehouse", "stock.location", [["type", "=", "warehouse"]], ["code", "storage_location"]
    )
    session.find("tax_rounding", "account.configuration", [], ["tax_rounding"])
    term = session.find(
        "payment_term",
        "account.invoice.payment_term",
        [["name", "=", "Paid in the web shop"]],
        ["name"],
    )
    return {
        "products": {row["code"]: row["id"] for row in products},
        "shop": shop[0]["id"],
        "term": term[0]["id"],
        "taxes": {row["rate"]: row["id"] for row in taxes},
        "warehouse": warehouse[0]["id"],
    }


ADDRESS = {
    "party_name": "Zoë Łukasiewicz",
    "street_unstructured": "Invalidenstraße 7\nHinterhaus",
    "postal_code": "10115",
    "city": "Berlin",
    "country": 1,
}


def _party(session):
    values = {
        "code": "north-77",
        "name": "Zoë Łukasiewicz 🚲",
        "addresses": [["create", [ADDRESS]]],
        "contact_mechanisms": [
            [
                "create",
                [
                    {"type": "email", "value": "zoe@example.com"},
                    {"type": "phone", "value": "+49 30 901820"},
                ],
            ]
        ],
    }
    session.call("party_search_none", "party.party.search", [["code", "=", "north-77"]], 0, 1, None)
    (party,) = session.call("party_create", "party.party.create", [values])
    session.call("party_create_again", "party.party.create", [values])
    session.call("party_search", "party.party.search", [["code", "=", "north-77"]], 0, 1, None)
    domain = [["party", "=", party], *([key, "=", value] for key, value in ADDRESS.items())]
    (address,) = session.call("address_search", "party.address.search", domain, 0, 1, None)
    session.call(
        "address_create",
        "party.address.create",
        [{**ADDRESS, "party": party, "street_unstructured": "Postfach 1"}],
    )
    return (party, address)


def _sale_values(ids, party, address, web_id, lines, **more):
    return {
        "web_shop": ids["shop"],
        "web_id": web_id,
        "reference": web_id,
        "party": party,
        "invoice_address": address,
        "shipment_address": address,
        "currency": 1,
        "warehouse": ids["warehouse"],
        "payment_term": ids["term"],
        "sale_date": datetime.date.today(),
        "invoice_method": "order",
        "shipment_method": "order",
        "shipment_cost_method": None,
        "comment": "10% off the order: -4.01",
        "lines": [["create", lines]],
        **more,
    }


def _line(ids, code, quantity, price, rate="0.19"):
    return {
        "type": "line",
        "product": ids["products"][code],
        "quantity": float(quantity),
        "unit": 1,
        "unit_price": Decimal(price),
        "taxes": [["add", [ids["taxes"][Decimal(rate)]] if rate else []]],
        "description": code,
    }


def _sale(session, ids, party, address):
    lines = [
        _line(ids, "CD-001", 2, "4.0546"),
        _line(ids, "CD-005", 3, "9.1092"),
        _line(ids, "SHIPPING", 1, "4.1176"),
        _line(ids, "ROUNDING", 1, "-0.01", rate=""),
    ]
    values = _sale_values(ids, party, address, "MV254J6HXF4TN76B", lines, carrier=1)
    find = (
        "sale.sale.search_read",
        [["web_shop", "=", ids["shop"]], ["web_id", "=", "MV254J6HXF4TN76B"]],
        0,
        1,
        None,
        ["number", "state", "untaxed_amount", "tax_amount", "total_amount"],
    )
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
    session.call(
        "sale_read",
        "sale.sale.read",
        sale,
        [
            "number",
            "state",
            "web_id",
            "lines",
            "shipments",
            "invoices",
            "shipment_state",
            "invoice_state",
            "write_date",
        ],
    )
    return sale[0]


def _stock(session):
    fields = ["code", "quantity", "forecast_quantity"]
    session.find(
        "stock_all",
        "product.product",
        [["type", "=", "goods"]],
        fields,
        order=[["id", "ASC"]],
        locations=[5],
        stock_date_end=datetime.date.today(),
    )
    session.find(
        "stock_without_location_is_zero", "product.product", [["code", "=", "CD-001"]], fields
    )
    session.find("stock_of_nothing", "product.product", [["code", "in", []]], fields, locations=[5])


def _shipping(session, ids, party, address, sale):
    model = "stock.shipment.out"
    (shipment,) = session.call(
        "shipments_of_sale", f"{model}.search", [["moves.sale", "=", sale]], 0, 10, None
    )
    session.find("shipments_since_none", model, [["state", "in", ["shipped", "done"]]], ["number"])
    for step in ("assign_try", "pick"):
        session.call(f"shipment_{step}", f"{model}.{step}", [shipment])
    session.call("shipment_pick_again", f"{model}.pick", [shipment])
    moves = session.find(
        "shipment_moves",
        "stock.move",
        [["shipment", "=", f"{model},{shipment}"], ["to_location.type", "=", "customer"]],
        ["product.code", "quantity", "origin", "state", "package"],
        order=[["id", "ASC"]],
    )
    session.call(
        "packages_create",
        "stock.package.create",
        [
            {
                "type": 1,
                "shipment": f"{model},{shipment}",
                "shipping_reference": f"0034043416109402150{n}",
                "moves": [["add", [move["id"]]]],
            }
            for n, move in enumerate(moves, 1)
        ],
    )
    for step in ("pack", "do"):
        session.call(f"shipment_{step}", f"{model}.{step}", [shipment])
    session.call("shipment_do_again", f"{model}.do", [shipment])
    since = datetime.datetime(2020, 1, 1)
    session.find(
        "shipments_since",
        model,
        [
            ["state", "in", ["shipped", "done"]],
            ["OR", ["last_modified_at", ">=", since], ["packages.last_modified_at", ">=", since]],
        ],
        [
            "number",
            "state",
            "reference",
            "shipping_reference",
            "carrier.party.name",
            "effective_date",
            "last_modified_at",
            "packages",
            "outgoing_moves",
            "origins",
        ],
        order=[["id", "ASC"]],
    )
    session.find(
        "packages",
        "stock.package",
        [["shipment", "in", [f"{model},{shipment}"]]],
        [
            "number",
            "shipping_reference",
            "shipping_tracking_url",
            "moves",
            "shipment",
            "last_modified_at",
        ],
        order=[["id", "ASC"]],
    )
    session.find(
        "moves_shipped",
        "stock.move",
        [["id", "in", [move["id"] for move in moves]]],
        ["product.code", "quantity", "origin", "package", "state", "shipment", "effective_date"],
        order=[["id", "ASC"]],
    )
    session.find(
        "sale_lines",
        "sale.line",
        [["sale", "=", sale]],
        ["product.code", "quantity", "sale.web_id", "sale.web_shop.name"],
    )
    _warning(session, ids, party, address)


def _warning(session, ids, party, address):
    """A shipment without a carrier: `pack` stops with a warning until somebody says yes."""
    model = "stock.shipment.out"
    sale = session.call(
        "sale_without_carrier",
        "sale.sale.create",
        [_sale_values(ids, party, address, "NO-CARRIER", [_line(ids, "CD-005", 1, "9.1092")])],
    )
    for step in ("quote", "confirm"):
        session.call(f"sale_without_carrier_{step}", f"sale.sale.{step}", sale)
    shipment = session.call(
        "shipment_without_carrier", f"{model}.search", [["moves.sale", "=", sale[0]]], 0, 10, None
    )
    for step in ("assign_try", "pick", "pack"):
        session.call(f"no_carrier_{step}", f"{model}.{step}", shipment)
    session.call(
        "warning_accept",
        "res.user.warning.create",
        [{"user": 1, "name": session.error[1][0], "always": False}],
    )
    session.call("no_carrier_pack_after_warning", f"{model}.pack", shipment)


def _items(session, ids):
    fields = [
        "code",
        "name",
        "active",
        "list_price_used",
        "gross_price_used",
        "attributes",
        "type",
        "template",
        "template.active",
        "template.attribute_set",
        "template.account_category.name",
        "last_modified_at",
        "template.last_modified_at",
    ]
    since = datetime.datetime(2020, 1, 1)
    changed = [
        ["active", "in", [True, False]],
        ["OR", ["last_modified_at", ">=", since], ["template.last_modified_at", ">=", since]],
    ]
    order = [["last_modified_at", "ASC"], ["id", "ASC"]]
    session.find("items_since_page_1", "product.product", changed, fields, limit=3, order=order)
    session.find(
        "items_since_variants", "product.product", [["code", "like", "TEE-%"]], fields, order=order
    )
    tee = ids["products"]["TEE-M"]
    session.call("item_price", "product.product.write", [tee], {"list_price": Decimal("17.5000")})
    session.call("item_archive_with_stock", "product.product.write", [tee], {"active": False})
    session.find("item_changed", "product.product", [["code", "=", "TEE-M"]], fields)
    recent = datetime.datetime.utcnow() + datetime.timedelta(days=1)
    session.find(
        "items_since_none",
        "product.product",
        [["last_modified_at", ">=", recent]],
        fields,
        limit=3,
        order=order,
    )


def _errors(session, ids, party, address):
    create = "sale.sale.create"
    good = _line(ids, "CD-001", 1, "4.5")
    session.call(
        "error_five_decimals",
        create,
        [_sale_values(ids, party, address, "E1", [{**good, "unit_price": Decimal("4.50421")}])],
    )
    session.call(
        "error_half_a_piece",
        create,
        [_sale_values(ids, party, address, "E2", [{**good, "quantity": 1.5}])],
    )
    session.call(
        "error_unknown_product",
        create,
        [_sale_values(ids, party, address, "E3", [{**good, "product": 99999}])],
    )
    session.call("error_unknown_field", create, [{"no_such_field": 1}])
    session.call("error_required", create, [{"party": party, "web_shop": ids["shop"]}])
    sale = session.call(
        "sale_without_address",
        create,
        [
            {
                **_sale_values(ids, party, address, "E4", [good]),
                "invoice_address": None,
                "shipment_address": None,
            }
        ],
    )
    session.call("error_quote_without_address", "sale.sale.quote", sale)
    session.call("error_unknown_id", "sale.sale.read", [99999], ["state"])
    session.call("error_forbidden_method", "sale.sale.no_such_method", [1])
    session.call("error_nul_byte", "party.party.create", [{"name": "a\x00b", "code": "nul"}])
