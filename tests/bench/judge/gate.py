#!/usr/bin/env python3
"""A gate before the referee whose quota changes while it works, and that says so in each reply.

  gate.py --listen PORT --to PORT --rate R --burst B --step SECONDS:RATE ... --report FILE

It counts as the referee does: R tokens a second, at most B; without one it answers 429 with `Retry-After`. The steps count
from the first request. `x-quota` is the rate of the moment. Only POST passes; asked for anything else it passes that on
without counting. The report is written after each second and at the end.
"""
import argparse
import http.client
import http.server
import json
import math
import signal
import sys
import threading
import time


class Quota:
    def __init__(self, args):
        self.lock, self.burst = threading.Lock(), args.burst
        self.steps = [(0.0, args.rate)] + sorted((float(at), float(rate)) for at, rate in (step.split(":") for step in args.step))
        self.tokens, self.begun, self.counted, self.offered = args.burst, None, 0.0, args.burst
        self.accepted, self.refused, self.at_last = 0, [], (args.burst, 0.0)

    def rate(self, at):
        return [rate for since, rate in self.steps if since <= at][-1]

    def between(self, begin, end):
        """How many tokens there were."""
        edges = [begin] + [since for since, _ in self.steps if begin < since < end] + [end]
        return sum((b - a) * self.rate(a) for a, b in zip(edges, edges[1:]))

    def take(self):
        """Whether a request passes: None, or how many seconds it is to wait; and the rate."""
        with self.lock:
            now = time.monotonic()
            self.begun = self.begun or now
            at = now - self.begun
            more = self.between(self.counted, at)
            self.tokens, self.offered, self.counted = min(self.tokens + more, self.burst), self.offered + more, at
            rate = self.rate(at)
            if self.tokens >= 1:
                self.tokens -= 1
                self.accepted += 1
                self.at_last = (self.offered, at)
                return None, rate
            self.refused.append(round(at, 3))
            return max(1, math.ceil((1 - self.tokens) / rate)), rate

    def report(self):
        with self.lock:
            offered, seconds = self.at_last
            return {"accepted": self.accepted, "permitted": offered, "seconds": seconds, "served_429": len(self.refused),
                    "refused_at": self.refused, "utilisation": self.accepted / offered}


def gate(quota, to):
    here = threading.local()

    class Gate(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.command == "POST":
                wait, rate = quota.take()
                if wait is not None:
                    return self.answer(429, b"{}", {"retry-after": str(wait), "x-quota": str(rate)})
            else:
                rate = quota.rate(0)
            there = getattr(here, "connection", None) or http.client.HTTPConnection("127.0.0.1", to, timeout=20)
            here.connection = there
            keep = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "idempotency-key")}
            there.request(self.command, self.path, body, keep)
            reply = there.getresponse()
            self.answer(reply.status, reply.read(), {"x-quota": str(rate), "content-type": "application/json"})

        do_GET = do_POST = pass_on

        def answer(self, status, body, headers):
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Gate


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--burst", type=float, required=True)
    parser.add_argument("--step", action="append", default=[])
    parser.add_argument("--report", required=True)
    args = parser.parse_args()
    quota = Quota(args)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", args.listen), gate(quota, args.to))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            time.sleep(1)
            with open(args.report, "w") as out:
                json.dump(quota.report(), out)
    finally:
        with open(args.report, "w") as out:
            json.dump(quota.report(), out)


if __name__ == "__main__":
    main()
