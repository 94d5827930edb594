"""The daemon under test: its configuration, and starting, killing, stopping and asking it.

config = write_config(folder, 9465, shop("north"), tryton(), orders_route("north"))
daemon = Daemon(program, config, folder / "daemon.log")
daemon.start(); daemon.kill(); daemon.start(); daemon.ask("queue"); daemon.stop()
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

from setup import settings, stack

STOP_SECS = 30
ASK_SECS = 30
ATTACH_SECS = 10
# No shop or ERP on this machine takes longer to carry out what a killed daemon had sent.
LATE_SECS = 5


class Daemon:
    """One process at a time. Every method may be called from any thread."""

    def __init__(self, program, config, log):
        self._program, self._config, self._log = str(program), str(config), log
        self._process, self._ended, self._lock = None, False, threading.RLock()
        self._born = 0  # where the log of this life begins
        self._length = 0  # of the store's file when a death in a commit was armed

    def configure(self, config):
        """The next start reads this file."""
        self._config = str(config)

    def start(self):
        with self._lock, open(self._log, "ab") as log:
            if self._ended or self.runs():
                return
            self._born = log.tell()
            self._process = subprocess.Popen(
                [self._program, "run", "--config", self._config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def last_commit(self):
        """The names of the units that this life wrote last, or was about to write; at level "debug"."""
        with open(self._log, errors="replace") as log:
            log.seek(self._born)
            found = re.findall(r' commit rows=\d+ units="?([^"\n]*)', log.read())
        return found[-1].split() if found else []

    def _store_length(self):
        data = os.path.join(os.path.dirname(self._config), "state", "redb", "data")
        return os.path.getsize(data) if os.path.exists(data) else 0

    def store_has_grown(self):
        """Whether the store's file was made longer since a death in a commit was armed: redb syncs that by itself, with an
        fdatasync of its own before the one that ends the commit.
        """
        return self._store_length() > self._length

    def runs(self):
        with self._lock:
            return self._process is not None and self._process.poll() is None

    def kill(self):
        """SIGKILL, as the kernel would when memory ends; answers whether it still ran."""
        with self._lock:
            ran = self.runs()
            if self._process:
                self._process.kill()
                self._process.wait(timeout=STOP_SECS)
            return ran

    def end(self):
        """Kills it for good: a thread that would start it again finds that it is over."""
        with self._lock:
            self._ended = True
            self.kill()

    def stop(self):
        """SIGTERM; answers the exit code, or None when it had to be killed."""
        with self._lock:
            self._process.send_signal(signal.SIGTERM)
            try:
                return self._process.wait(timeout=STOP_SECS)
            except subprocess.TimeoutExpired:
                self.kill()
                return None

    def died_within(self, seconds):
        """Waits for a death that somebody else has arranged."""
        try:
            self._process.wait(timeout=seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def ask(self, *command):
        """The answer of `crossdock COMMAND --json`; a daemon that does not run is not needed."""
        return json.loads(self.do(*command, "--json"))

    def retry_held(self):
        """Tries again what is held. What is gone by then was read again and is right now."""
        for row in self.ask("quarantine", "list", "--all"):
            try:
                self.do("quarantine", "retry", str(row["number"]))
            except RuntimeError as error:
                if "[not_in_quarantine]" not in str(error):
                    raise

    def do(self, *command):
        """What `crossdock COMMAND` prints."""
        done = subprocess.run(
            [self._program, *command, "--config", self._config],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_SECS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"crossdock {' '.join(command)}: {done.stderr.decode()}")
        return done.stdout

    def written(self):
        """How many bytes of files the process has changed so far; not what it tells its own threads."""
        with open(f"/proc/{self._process.pid}/io") as counters:
            return next(int(line.split()[1]) for line in counters if line.startswith("write_bytes"))

    def kill_in_next(self, calls, nth=1):
        """Lets the kernel kill the daemon when a thread enters its nth of these system calls, which
        is then not carried out. Returns once that is armed; answers None where it cannot be done.
        """
        self._length = self._store_length()
        command = ["strace", "-f", "-p", str(self._process.pid), "-o", os.devnull]
        command += ["-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={nth}"]
        try:
            tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except FileNotFoundError:
            return None
        said = tracer.stderr.readline().decode()  # it speaks when it has attached, or cannot
        if "attached" in said:
            return tracer
        end(tracer)
        return None


def end(process):
    process.kill()
    process.wait(timeout=STOP_SECS)


def why_not_traced():
    """Why no daemon of this machine can be killed inside a system call; empty when it can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    sleeper = subprocess.Popen(["sleep", str(ATTACH_SECS)])
    try:
        found = subprocess.run(
            ["timeout", "1", "strace", "-p", str(sleeper.pid), "-o", os.devnull],
            capture_output=True,
            timeout=ATTACH_SECS,
            check=False,
        ).stderr.decode()
    finally:
        end(sleeper)
    return "" if "attached" in found else f"strace may not trace here: {found.strip()}"


class Killer(threading.Thread):
    """Kills the daemon `times` times at random moments and starts it again at once."""

    def __init__(self, daemon, seed, times):
        super().__init__(daemon=True)
        self._daemon, self._dice, self._left = daemon, random.Random(seed), times
        self.kills, self.found_dead = 0, 0

    def run(self):
        while self._left:
            time.sleep(self._dice.uniform(0.2, 5))
            self.found_dead += not self._daemon.kill()
            self._daemon.start()
            self.kills, self._left = self.kills + 1, self._left - 1


# --- configuration -------------------------------------------------------------------------------


def write_config(folder, listen, *parts, name="crossdock.toml"):
    """A configuration of these parts, whose state is in `folder`; answers the file."""
    head = (
        f'version = 1\n{_own_connectors()}\n[store]\n{_engine()}path = "{folder}/state"\n\n'
        f'[server]\nlisten = "{settings.HOST}:{listen}"\n'
    )
    path = folder / name
    path.write_text("\n".join((head, *parts)))
    return path


def _engine():
    """STORE_ENGINE=redb runs everything on that engine; else on the daemon's own choice."""
    chosen = os.environ.get("STORE_ENGINE")
    return f'engine = "{chosen}"\n' if chosen else ""


def shop(name, url="", more="", tax_classes=None):
    """A connection to a webstore, whatever it is; `more` is further TOML of its table.

    `tax_classes` is what a new item gets by its rate: percentage -> name in the shop. Only here do
    the configurations of two kinds of shop differ.
    """
    software, url = settings.SOFTWARE[name], url or settings.shop_url(name)
    if software == "medusa":
        own = {"api_key": stack.medusa_keys()["secret"], "product_types": tax_classes}
    else:
        own = {**_login("username", settings.VENDURE_LOGIN), "tax_categories": tax_classes}
    own = {key: value for key, value in own.items() if value}
    return _connection(name, software, more, url=url, **own)


def tryton(name="erp", url="", more="", database="", channels=settings.SHOPS, **own):
    """A connection to the ERP, which has a web shop for each of these connections."""
    return _connection(
        name,
        "tryton",
        more,
        url=url or settings.tryton_url(),
        database=database or settings.TRYTON_DATABASE,
        web_shops={channel: channel for channel in channels},
        **own,
        **_login("user", settings.TRYTON_LOGIN),
    )


def tills(name, database, url="", more=""):
    """A connection to the points of sale of a Tryton."""
    login = _login("user", settings.TRYTON_LOGIN)
    url = url or settings.tryton_url()
    return _connection(name, "tryton_pos", more, url=url, database=database, **login)


def _own_connectors():
    """`CROSSDOCK_CONNECTORS=FOLDER` tries manifests that are not part of the program."""
    folder = os.environ.get("CROSSDOCK_CONNECTORS")
    return f"connectors = {json.dumps([os.path.abspath(folder)])}\n" if folder else ""


def orders_route(shop, erp="erp"):
    return (
        f'[route.{shop}_orders]\nfrom = "{shop}.orders"\nto = "{erp}.orders"\n'
        'mode = "apply"\nstart_from = "2020-01-01T00:00:00Z"\n'
    )


def _login(user, login):
    return {user: login[0], "password": login[1]}


def _connection(name, connector, more, **values):
    # JSON strings and keys are TOML too; only `:` becomes ` =`.
    head = f'connector = "{connector}"\nhttp.late_secs = {LATE_SECS}'
    return f"[connection.{name}]\n{head}\nsettings = {_inline(values)}\n{more}\n"


def _inline(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
