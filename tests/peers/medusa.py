"""A small independent client of Medusa's admin and store APIs, to see what the daemon did."""

import base64
import decimal
import json
import urllib.error
import urllib.parse
import urllib.request

from shops import ShopError

TIMEOUT = 60
PAGE = 100


class MedusaError(ShopError):
    """What Medusa refused, in its own words."""


class Api:
    """Requests with one set of headers."""

    def __init__(self, base, **headers):
        self.base, self._headers = base, headers

    @classmethod
    def signed_in(cls, base, email, password):
        """As a person, before there is a key."""
        fields = {"email": email, "password": password}
        token = cls(base).post("/auth/user/emailpass", fields)["token"]
        return cls(base, authorization=f"Bearer {token}")

    @classmethod
    def admin(cls, base, key):
        token = base64.b64encode(f"{key}:".encode()).decode()
        return cls(base, authorization=f"Basic {token}")

    @classmethod
    def store(cls, base, key):
        return cls(base, **{"x-publishable-api-key": key})

    def get(self, path, **query):
        if query:
            path += "?" + urllib.parse.urlencode(query, doseq=True)
        return self._ask("GET", path)

    def post(self, path, body):
        return self._ask("POST", path, body)

    def delete(self, path):
        return self._ask("DELETE", path)

    def every(self, path, field, fields, **query):
        """All rows of a list, page by page, ordered by id."""
        rows, count = [], None
        while count is None or len(rows) < count:
            page = self.get(path, limit=PAGE, offset=len(rows), order="id", fields=fields, **query)
            count = page["count"]
            if not page[field]:
                break
            rows += page[field]
        return rows

    def _ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", **self._headers}
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return json.load(response, parse_float=decimal.Decimal)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise MedusaError(f"{method} {path}: {error.code} {text[:800]}") from None
