"""A reverse proxy on loopback before one peer. It kills the daemon at a chosen call.

    gate = Gate(9301, settings.tryton_url())        # the daemon is configured with gate.url
    kill = gate.kill_at("sale.sale.create", UNANSWERED, daemon)
    if kill.wait(60):                               # dead now; what is in its store can be asked
        daemon.start()

A call is recognised by a piece of its text (method, path and body), or by a function of it. Until
`kill_at` names one, everything passes; a peer that is away looks like a connection that was cut.
"""

import contextlib
import http.client
import http.server
import json
import os
import threading
import time
import urllib.parse

import faults

BEFORE = "before it is sent on"
UNANSWERED = "done there, answer not passed on"
AFTER = "answer passed on, at the next call"
FLUSH = "answer passed on, inside the fdatasync of the commit that follows"
WRITE = "answer passed on, inside the first write of the commit that follows"

TRACED = {FLUSH: "fdatasync", WRITE: "pwrite64"}  # the engine itself calls fsync at times
TIMEOUT = 200  # more than the daemon waits
DEATH_SECS = 20
# Longer than the daemon rests between two looks for alerts (5 s): what one of them brings is written by then.
STILL_SECS, STILL_WITHIN_SECS = 6, 25
RECORDED_HEADERS = ("content-type", "date", "retry-after")
NOT_PASSED_ON = ("connection", "content-length", "keep-alive", "transfer-encoding")


def matcher(match):
    return match if callable(match) else lambda text: match in text


class Kill:
    """One planned death: at the first call that matches, or not yet."""

    def __init__(self, match, when, daemon, nth, alone):
        self.match, self.when, self.daemon = matcher(match), when, daemon
        self.nth, self.alone = nth, alone
        self._done, self.problem = threading.Event(), ""

    def wait(self, seconds):
        """Whether the daemon died as planned in this time. `problem` says what else happened."""
        return self._done.wait(seconds) and not self.problem

    def finish(self, problem=""):
        self.problem = problem
        self._done.set()


def _json(data):
    """What JSON says, otherwise the text; nothing for nothing."""
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


class Gate:
    """Listens on `port` from the beginning until `close`; `log` is a file for every call.

    `faults` (faults.py) spoil some of the calls.
    """

    under_way = set()  # the calls in progress at all gates: a peer's answer makes the daemon commit

    def __init__(self, port, upstream, log=None, faults=None):
        self._upstream = urllib.parse.urlsplit(upstream)
        self._log, self._lock, self.faults = log, threading.Lock(), faults
        self._kills, self._next, self._actions = [], None, []
        self.sent_on = []  # the text of every call that the peer was given
        self.url = f"http://127.0.0.1:{port}"
        handler = type("Handler", (_Handler,), {"gate": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def kill_at(self, match, when, daemon, nth=1, alone=True):
        """Arms a death of the daemon at the first call that matches; several may be armed.

        `nth`: with FLUSH, inside the nth commit that follows. It is waited for until nothing else
        makes the daemon commit; not `alone`, it dies in whichever commit comes next.
        """
        kill = Kill(match, when, daemon, nth, alone)
        with self._lock:
            self._kills.append(kill)
        return kill

    def do_at(self, match, action):
        """Calls `action()` once, just before the first call that matches is sent on."""
        with self._lock:
            self._actions.append((matcher(match), action))

    def disarm_kills(self):
        """Forgets the deaths that have not happened."""
        with self._lock:
            self._kills, self._next = [], None

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def take(self, text):
        """(the armed death that this call sets off, once; its moment)."""
        with self._lock:
            if self._next:
                found, when, self._next = self._next, BEFORE, None
            else:
                found = next((kill for kill in self._kills if kill.match(text)), None)
                when = found and found.when
            if found in self._kills:
                self._kills.remove(found)
        self._note(text, when)
        return found, when

    def arm_next(self, kill):
        """Whatever is called next, the daemon dies before it is sent on."""
        with self._lock:
            self._next = kill

    def ask_upstream(self, text, method, path, body, headers):
        """(status, headers, body) of the peer; OSError or HTTPException when it is away."""
        with self._lock:
            self.sent_on.append(text)
            due = [entry for entry in self._actions if entry[0](text)][:1]
            for entry in due:
                self._actions.remove(entry)
        for _, action in due:
            action()
        connection = http.client.HTTPConnection(self._upstream.netloc, timeout=TIMEOUT)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answered = answer.status, answer.getheaders(), answer.read()
            self._record(method, path, body, *answered)
            return answered
        finally:
            connection.close()

    def _record(self, method, path, body, status, headers, answer):
        """`CROSSDOCK_RECORD=FOLDER` keeps every exchange in the form of a connector's fixtures."""
        folder = os.environ.get("CROSSDOCK_RECORD")
        if not folder:
            return
        kept = {key.lower(): value for key, value in headers if key.lower() in RECORDED_HEADERS}
        pair = {
            "request": {"method": method, "path": path, "body": _json(body)},
            "response": {"status": status, "headers": kept, "body": _json(answer)},
        }
        if not body:
            del pair["request"]["body"]
        name = self._upstream.netloc.replace(":", "-")
        with self._lock, open(os.path.join(folder, f"{name}.jsonl"), "a") as file:
            file.write(json.dumps(pair, ensure_ascii=False) + "\n")

    def _note(self, text, when):
        if self._log:
            with self._lock, open(self._log, "a") as log:
                ended = f"   KILL: {when}" if when else ""
                log.write(f"{time.time():.3f} {text[:160]}{ended}\n")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate = None

    def handle(self):
        with contextlib.suppress(ConnectionError):  # the daemon died between two calls
            super().handle()

    def do_POST(self):
        self.gate.under_way.add(self)
        try:
            self._pass_through()
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # the daemon or the peer has gone
        finally:
            self.gate.under_way.discard(self)

    do_GET = do_POST

    def _pass_through(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        text = f"{self.command} {self.path} {body.decode(errors='replace')}"
        kill, when = self.gate.take(text)
        if when == BEFORE:
            return self._die(kill)
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON
        }
        fault = self.gate.faults and self.gate.faults.draw()
        if self._spoiled(fault):
            return None
        answer = self.gate.ask_upstream(text, self.command, self.path, body, headers)
        if fault == faults.DROPPED:
            self.close_connection = True
            return None
        if when == UNANSWERED:
            return self._die(kill)
        if when == AFTER:
            self.gate.arm_next(kill)
        elif when:
            return self._die_in_commit(kill, answer)
        self._answer(*answer)

    def _spoiled(self, fault):
        """Whether the call is not sent on."""
        if fault == faults.LATE:
            self.gate.faults.delay()
        elif fault == faults.CUT:
            self.close_connection = True
        elif fault == faults.REFUSED:
            self._answer(503, [("content-type", "text/html")], b"<h1>Service Unavailable</h1>")
        elif fault == faults.THROTTLED:
            self._answer(429, [("retry-after", "1")], b"slow down")
        return fault in (faults.CUT, faults.REFUSED, faults.THROTTLED)

    def _answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _die(self, kill):
        self.close_connection = True
        kill.finish("" if kill.daemon.kill() else "it was dead already")

    def _die_in_commit(self, kill, answer):
        try:
            rests = not kill.alone or self._alone(kill.daemon)
            why_not = "" if rests else f"it did not come to rest in {STILL_WITHIN_SECS} s"
        except OSError:
            why_not = "it was dead already"
        if why_not:
            kill.finish(why_not)
            return self._answer(*answer)
        tracer = kill.daemon.kill_in_next(TRACED[kill.when], kill.nth)
        if not tracer:
            kill.finish("strace could not attach")
            return self._answer(*answer)
        self._answer(*answer)
        died = kill.daemon.died_within(DEATH_SECS)
        tracer.kill()
        tracer.wait()
        kill.finish("" if died else "nothing was committed")

    def _alone(self, daemon):
        """Waits until nothing but this call can make the daemon commit: no other call is under way,
        and for a while it has written nothing. One that began just now commits what its beginning
        is about, and what the first look at the shop brings; this death is not for that.
        """
        deadline = time.monotonic() + STILL_WITHIN_SECS
        before, since = None, 0
        while time.monotonic() < deadline:
            now = (daemon.written(), self.gate.under_way - {self})
            if now != before or now[1]:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > STILL_SECS:
                return True
            time.sleep(0.05)
        return False

    def log_message(self, *_arguments):
        """Calls are in the gate's own log."""
