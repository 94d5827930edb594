"""A small independent client of Tryton's JSON-RPC, to see from outside what the daemon did."""

import base64
import datetime
import json
import urllib.error
import urllib.request
from decimal import Decimal

TIMEOUT = 120
ALL = 100_000


class TrytonError(Exception):
    """What Tryton refused: the kind (UserError, UserWarning, HTTP 403 ...) and its words."""

    def __init__(self, kind, details):
        super().__init__(f"{kind}: {details}")
        self.kind, self.details = kind, details


class Client:
    """One session. `call` answers warnings with yes, as a person who reads and confirms would."""

    def __init__(self, base, database="tryton", login="admin", password="admin"):
        self._url = f"{base}/{database}/rpc/"
        self._login, self._password = login, password
        self._session, self.context = None, {}

    def call(self, model, method, *parameters, **context):
        """`model.<model>.<method>`; accepts every warning once and tries again."""
        while True:
            try:
                return self.call_once(model, method, *parameters, **context)
            except TrytonError as error:
                if error.kind != "UserWarning":
                    raise
                self.accept(error)

    def call_once(self, model, method, *parameters, **context):
        """The same without answering warnings: they arrive as TrytonError."""
        self._sign_in()
        try:
            return self._post(f"model.{model}.{method}", [*parameters, {**self.context, **context}])
        except TrytonError as error:
            if error.kind != "HTTP 401":
                raise
        self._session = None  # expired, or the database is a fresh copy
        self._sign_in()
        return self._post(f"model.{model}.{method}", [*parameters, {**self.context, **context}])

    def accept(self, warning):
        """Says yes to one warning, for this user, once."""
        self.call_once(
            "res.user.warning",
            "create",
            [{"user": self._user, "name": warning.details[0], "always": False}],
        )

    def rows(self, model, domain, fields, order=None, **context):
        """search_read of everything that matches."""
        return self.call(model, "search_read", domain, 0, ALL, order, fields, **context)

    def ids(self, model, domain):
        return self.call(model, "search", domain, 0, ALL, None)

    def only(self, model, domain):
        """The id of the one record that matches."""
        found = self.ids(model, domain)
        if len(found) != 1:
            raise TrytonError("not one", f"{len(found)} of {model} match {domain}")
        return found[0]

    def _sign_in(self):
        if self._session:
            return
        answer = self._post("common.db.login", [self._login, {"password": self._password}, "en"])
        self._user, token = answer[:2]
        credentials = f"{self._login}:{self._user}:{token}"
        self._session = "Session " + base64.b64encode(credentials.encode()).decode()
        preferences = self._post("model.res.user.get_preferences", [True, {}])
        self.context = {
            key: preferences[key] for key in ("company", "language") if key in preferences
        }

    def _post(self, method, parameters):
        headers = {"content-type": "application/json"}
        if self._session:
            headers["authorization"] = self._session
        body = json.dumps({"id": 1, "method": method, "params": encode(parameters)}).encode()
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self._url, body, headers), timeout=TIMEOUT
            ) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise TrytonError(
                f"HTTP {error.code}", error.read().decode(errors="replace")[:200]
            ) from None
        if answer.get("error"):
            raise TrytonError(answer["error"][0], answer["error"][1])
        return decode(answer.get("result"))


def sales(erp, shop):
    """Every sale of one web shop with party, addresses, lines, taxes and totals."""
    rows = erp.rows(
        "sale.sale",
        [["web_shop.name", "=", shop]],
        [
            "number",
            "web_id",
            "reference",
            "state",
            "party",
            "invoice_address",
            "shipment_address",
            "lines",
            "untaxed_amount",
            "tax_amount",
            "total_amount",
            "currency.code",
            "shipment_state",
            "invoice_state",
        ],
        [["id", "ASC"]],
    )
    parties = _by_id(
        erp, "party.party", {row["party"] for row in rows}, ["code", "name", "contact_mechanisms"]
    )
    contacts = _by_id(
        erp,
        "party.contact_mechanism",
        {i for p in parties.values() for i in p["contact_mechanisms"]},
        ["type", "value"],
    )
    for party in parties.values():
        party["emails"] = [
            contacts[i]["value"]
            for i in party["contact_mechanisms"]
            if contacts[i]["type"] == "email"
        ]
    addresses = _by_id(
        erp,
        "party.address",
        {row[kind] for row in rows for kind in ("invoice_address", "shipment_address")},
        ["party", "party_name", "street", "postal_code", "city", "country.code"],
    )
    lines = _by_id(
        erp,
        "sale.line",
        {i for row in rows for i in row["lines"]},
        ["type", "product.code", "quantity", "unit_price", "amount", "taxes", "description"],
    )
    rates = {tax["id"]: tax["rate"] for tax in erp.rows("account.tax", [], ["rate"])}
    for row in rows:
        row["party"] = parties[row["party"]]
        for kind in ("invoice_address", "shipment_address"):
            row[kind] = addresses.get(row[kind])
        row["lines"] = [_line(lines[i], rates) for i in row["lines"]]
    return rows


def _line(row, rates):
    """A sale line with the code of its product and the percentages of its taxes."""
    return {
        "code": (row["product."] or {}).get("code"),
        "type": row["type"],
        "quantity": row["quantity"],
        "unit_price": row["unit_price"],
        "amount": row["amount"],
        "description": row["description"],
        "rates": [rates[tax] for tax in row["taxes"]],
    }


def _by_id(erp, model, ids, fields):
    wanted = sorted(i for i in ids if i is not None)
    return {row["id"]: row for row in erp.call(model, "read", wanted, fields)} if wanted else {}


def encode(value):
    """Python -> Tryton's JSON: decimals, dates and times are objects with a `__class__`."""
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    if isinstance(value, datetime.datetime):
        return {
            "__class__": "datetime",
            **_parts(value, "year month day hour minute second microsecond"),
        }
    if isinstance(value, datetime.date):
        return {"__class__": "date", **_parts(value, "year month day")}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(value):
    """The reverse of `encode`; times are UTC without a zone."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("__class__")
    parts = {key: item for key, item in value.items() if key != "__class__"}
    if kind == "Decimal":
        return Decimal(value["decimal"])
    if kind in ("date", "datetime"):
        return getattr(datetime, kind)(**parts)
    return {key: decode(item) for key, item in value.items()}


def _parts(value, names):
    return {name: getattr(value, name) for name in names.split()}
