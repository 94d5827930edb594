#!/usr/bin/env python3
"""Every request of the amazon connector against the vendor's own descriptions of it.

Prism answers from the descriptions and refuses what they do not allow; in front of it stands what it is blind to:
unknown parameters and fields, letter case, a missing token, and the files that Amazon keeps on another host. The
requests are made by the connector itself (`it/conformance.rs`).

    tests/conformance/amazon.py SPECS PRISM COMMAND...

SPECS is the folder with the vendor's files, PRISM that with node_modules, COMMAND runs the connector.
"""

import gzip
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

FILES = ["orders_2026-01-01", "ordersV0", "listingsItems_2021-08-01", "feeds_2021-06-30", "sellers"]
# Which operation each bucket of the connector is for.
BUCKETS = {
    "orders": ("orders_2026-01-01", "searchOrders"), "order": ("orders_2026-01-01", "getOrder"),
    "ship": ("ordersV0", "confirmShipment"), "listing": ("listingsItems_2021-08-01", "getListingsItem"),
    "patch": ("listingsItems_2021-08-01", "patchListingsItem"),
    "search": ("listingsItems_2021-08-01", "searchListingsItems"), "document": ("feeds_2021-06-30", "createFeedDocument"),
    "feed": ("feeds_2021-06-30", "createFeed"), "feed_status": ("feeds_2021-06-30", "getFeed"),
    "report": ("feeds_2021-06-30", "getFeedDocument"), "seller": ("sellers", "getMarketplaceParticipations"),
}
counts = {"validated": 0, "feeds": 0, "files": 0, "operations": set(), "wrong": []}


def merged(specs):
    """One description of all: their definitions get names of their own."""
    whole = {"swagger": "2.0", "info": {"title": "SP-API", "version": "1"}, "paths": {}, "definitions": {},
             "consumes": ["application/json"], "produces": ["application/json"],
             "securityDefinitions": {"lwa": {"type": "apiKey", "in": "header", "name": "x-amz-access-token"}},
             "security": [{"lwa": []}]}
    for number, name in enumerate(FILES):
        text = (specs / f"{name}.json").read_text(encoding="utf-8")
        one = json.loads(text.replace("#/definitions/", f"#/definitions/d{number}_").replace(
            "#/parameters/", f"#/parameters/d{number}_"))
        for path, operations in one["paths"].items():
            known = whole["paths"].setdefault(path, {})
            known.update(operations)
            for operation in operations.values():
                for code, answer in (operation.get("responses", {}) if isinstance(operation, dict) else {}).items():
                    static = answer.pop("x-amzn-api-sandbox", {}).get("static", [])
                    if static and "response" in static[0] and not answer.get("examples"):
                        answer["examples"] = {"application/json": static[0]["response"]}
        for kind in ("definitions", "parameters"):
            for key, value in one.get(kind, {}).items():
                whole.setdefault(kind, {})[f"d{number}_{key}"] = value
    return whole


def resolved(spec, schema):
    while "$ref" in schema:
        kind, name = schema["$ref"].removeprefix("#/").split("/")
        schema = spec[kind][name]
    return schema


def unknown_fields(spec, schema, value, where):
    """Fields that no schema names, letter by letter."""
    schema = resolved(spec, schema)
    if isinstance(value, list):
        return [it for n, one in enumerate(value) for it in
                unknown_fields(spec, schema.get("items", {}), one, f"{where}[{n}]")]
    if not isinstance(value, dict):
        return []
    known = dict(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        known.update(resolved(spec, part).get("properties", {}))
    if not known:
        return []
    found = [f"{where}.{name}" for name in value if name not in known]
    for name, one in value.items():
        found += unknown_fields(spec, known.get(name, {}), one, f"{where}.{name}")
    return found


def invalid(schema, value, root, where="feed"):
    """What is wrong with a value by a JSON Schema (draft 7), in the words that the feed's schema uses."""
    if schema is False:
        return [f"{where} must not be there"]
    if schema is True:
        return []
    wrong = []
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    kind = schema.get("type")
    if isinstance(kind, str) and not isinstance(value, kinds[kind]):
        return [f"{where} is no {kind}"]
    if "const" in schema and value != schema["const"]:
        wrong.append(f"{where} is not {schema['const']}")
    if "enum" in schema and value not in schema["enum"]:
        wrong.append(f"{where} is none of {schema['enum']}")
    if "minimum" in schema and value < schema["minimum"]:
        wrong.append(f"{where} is too small")
    if isinstance(value, (str, list)):
        least, most = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
        if not schema.get(least, 0) <= len(value) <= schema.get(most, len(value)):
            wrong.append(f"{where} is too short or too long")
    if isinstance(value, list) and "items" in schema:
        for n, one in enumerate(value):
            wrong += invalid(schema["items"], one, root, f"{where}[{n}]")
    if isinstance(value, dict):
        wrong += [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
        known = schema.get("properties", {})
        for name, one in value.items():
            if name in known:
                wrong += invalid(known[name], one, root, f"{where}.{name}")
            elif known and "oneOf" in schema or (known and where == "feed"):
                wrong.append(f"{where}.{name} is unknown")
    if "oneOf" in schema and sum(not invalid(one, value, root, where) for one in schema["oneOf"]) != 1:
        wrong.append(f"{where} fits not exactly one of its forms")
    return wrong


def quotas(specs):
    """The connector's defaults are the vendor's."""
    rates = json.loads((specs / "rate-limits.json").read_text(encoding="utf-8"))
    text = pathlib.Path("connectors/amazon/connector.toml").read_text(encoding="utf-8")
    for bucket, (file, operation) in BUCKETS.items():
        found = re.search(rf"^bucket\.{bucket} = {{ per_second = ([0-9.]+), burst = ([0-9]+),", text, re.MULTILINE)
        rate = rates[f"{file}.json"][operation]
        if not found or [float(it) for it in found.groups()] != [rate["rate_per_s"], rate["burst"]]:
            counts["wrong"].append(f"bucket {bucket}: {operation} has {rate['rate_per_s']} a second, {rate['burst']} at once")


def operation_of(spec, method, path):
    parts = path.split("/")
    best = None
    for pattern, operations in spec["paths"].items():
        wanted = pattern.split("/")
        fits = len(wanted) == len(parts) and all(w.startswith("{") or w == p for w, p in zip(wanted, parts))
        if fits and method.lower() in operations:
            exact = sum(not w.startswith("{") for w in wanted)
            if best is None or exact > best[0]:
                best = (exact, pattern, operations[method.lower()], operations.get("parameters", []))
    return best


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", more=()):
        self.send_response(status)
        for name, value in [("content-type", kind), ("content-length", str(len(body))), *more]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def wrong(self, what):
        counts["wrong"].append(f"{self.command} {self.path.split('?')[0]}: {what}")
        self.answer(400, json.dumps({"errors": [{"code": "Harness", "message": what}]}).encode())

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, _, query = self.path.partition("?")
        if path == "/auth/o2/token":
            form = dict(urllib.parse.parse_qsl(body.decode()))
            if set(form) != {"grant_type", "refresh_token", "client_id", "client_secret"}:
                return self.wrong(f"form fields {sorted(form)}")
            return self.answer(200, b'{"access_token":"Atza|t","token_type":"bearer","expires_in":3600}')
        if path.startswith("/files/"):
            return self.file(path, body)
        found = operation_of(self.server.spec, self.command, path)
        if not found:
            return self.wrong("no such operation")
        _, pattern, operation, shared = found
        parameters = [resolved(self.server.spec, it) for it in operation.get("parameters", []) + shared]
        names = {it["name"] for it in parameters if it["in"] == "query"}
        given = [name for name, _ in urllib.parse.parse_qsl(query, keep_blank_values=True)]
        if set(given) - names or len(given) != len(set(given)):
            return self.wrong(f"query parameters {given}")
        if not self.headers.get("x-amz-access-token") or not self.headers.get("user-agent", "").startswith("crossdock/"):
            return self.wrong("no token or no user agent")
        if body:
            schema = next((it["schema"] for it in parameters if it["in"] == "body"), None)
            if schema is None:
                return self.wrong("a body where none is described")
            odd = unknown_fields(self.server.spec, schema, json.loads(body), "body")
            if odd:
                return self.wrong(f"unknown fields {odd}")
        status, answer = self.prism(body)
        refused = [it for it in json.loads(answer["violations"] or "[]")
                   if (it.get("location") or [""])[0] == "request"]
        if refused or status in (401, 422):
            return self.wrong(f"Prism: {status} {refused or answer['body'][:300]}")
        counts["validated"] += 1
        counts["operations"].add(operation["operationId"])
        self.answer(status, self.changed(operation["operationId"], answer["body"]))

    def prism(self, body):
        prism = http.client.HTTPConnection("127.0.0.1", self.server.prism, timeout=60)
        headers = {name: self.headers[name] for name in ("content-type", "x-amz-access-token") if self.headers[name]}
        prism.request(self.command, self.path, body or None, {**headers, "accept": "application/json"})
        reply = prism.getresponse()
        answer = {"body": reply.read(), "violations": reply.headers.get("sl-violations")}
        prism.close()
        return reply.status, answer

    def changed(self, operation, body):
        """Files lie here instead of at Amazon, and a feed is done."""
        here = f"http://127.0.0.1:{self.server.server_address[1]}/files"
        if operation in ("createFeedDocument", "getFeedDocument"):
            json_body = json.loads(body)
            json_body["url"] = here + ("/in" if operation == "createFeedDocument" else "/out") + "?signature=1"
            return json.dumps(json_body).encode()
        if operation == "getFeed":
            return json.dumps({**json.loads(body), "processingStatus": "DONE", "resultFeedDocumentId": "doc-1"}).encode()
        return body

    def file(self, path, body):
        if self.headers.get("x-amz-access-token") or self.headers.get("authorization"):
            return self.wrong("a credential is sent to a foreign host")
        counts["files"] += 1
        if path == "/files/out":
            return self.answer(200, gzip.compress(self.server.report), "application/octet-stream")
        wrong = invalid(self.server.feed_schema, json.loads(body), None)
        for message in json.loads(body).get("messages", []):
            wrong += invalid(self.server.message_schema, message, None, "message")
        if wrong:
            return self.wrong(f"the feed: {wrong[:5]}")
        counts["feeds"] += 1
        return self.answer(200, b"")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one


def harness_sees(url):
    """What must be refused is, or the figures mean nothing."""
    host = url.removeprefix("http://")
    order, listing = "/orders/2026-01-01/orders", "/listings/2021-08-01/items/S/A?marketplaceIds=M"
    patch = {"productType": "PRODUCT", "patches": [{"op": "replace", "path": "/a"}]}
    bad = [("an unknown parameter", "GET", order + "?lastUpdatedSince=1", None, True),
           ("letter case", "GET", order + "?MarketplaceIds=M", None, True),
           ("a value that is none", "GET", order + "?includedData=BUYER%2CNONE", None, True),
           ("a missing token", "GET", order, None, False),
           ("an unknown field", "PATCH", listing, {**patch, "producttype": "X"}, True),
           ("a field within another", "PATCH", listing, {**patch, "patches": [{**patch["patches"][0], "Value": 1}]}, True),
           ("a missing field", "PATCH", listing, {"productType": "PRODUCT"}, True),
           ("a feed without its version", "PUT", "/files/in", {"header": {"sellerId": "S"}, "messages": []}, False),
           ("a token abroad", "PUT", "/files/in", {}, True)]
    for name, method, path, body, token in bad:
        there = http.client.HTTPConnection(host, timeout=60)
        headers = {"user-agent": "crossdock/1", "content-type": "application/json"}
        if token:
            headers["x-amz-access-token"] = "t"
        there.request(method, path, json.dumps(body) if body is not None else None, headers)
        if there.getresponse().status != 400:
            sys.exit(f"conformance: the harness does not see {name}")
        there.close()
    print(f"conformance: the harness refuses {len(bad)} kinds of wrong requests")
    counts.update(validated=0, feeds=0, files=0, operations=set(), wrong=[])


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def main():
    specs, prism, command = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    spec = merged(specs)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "spapi.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        port = free_port()
        binary = prism / "node_modules/.bin/prism"
        mock = subprocess.Popen(["node", binary, "mock", "-h", "127.0.0.1", "-p", str(port), file],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(240):
                with socket.socket() as it:
                    if it.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if mock.poll() is not None:
                    sys.exit("Prism ended")
                time.sleep(0.5)
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
            server.spec, server.prism = spec, port
            schemas = specs / "schemas"
            server.feed_schema = json.loads((schemas / "listings-feed-schema-v2.json").read_text(encoding="utf-8"))
            server.message_schema = json.loads(
                (schemas / "listings-feed-message-schema-v2.json").read_text(encoding="utf-8"))
            server.report = (schemas / "listings-feed-processing-report-schema-v2.example.json").read_bytes()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}"
            harness_sees(url)
            quotas(specs)
            ended = subprocess.run(command, env={**os.environ, "CROSSDOCK_CONFORMANCE": url}, check=False)
        finally:
            mock.terminate()
            mock.wait()
    for one in counts["wrong"]:
        print(f"  not valid: {one}")
    print(f"conformance: amazon: {counts['validated']} requests of {len(counts['operations'])} operations valid, "
          f"{counts['feeds']} feeds valid, {counts['files']} files, {len(counts['wrong'])} refused "
          f"({', '.join(sorted(counts['operations']))})")
    # Each operation that the connector uses was seen.
    sys.exit(ended.returncode or bool(counts["wrong"]) or counts["feeds"] < 2 or len(counts["operations"]) < 11)


if __name__ == "__main__":
    main()
