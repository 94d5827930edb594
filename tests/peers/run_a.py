#!/usr/bin/env python3
"""Orders from two webstores reach the ERP exactly once, though the daemon is killed at random.

    CROSSDOCK_BIN=target/release/crossdock ./run_a.py [--long] [--seed N]

Both shops take orders while the daemon is ended with SIGKILL again and again and all peers are
restarted once. When everything is quiet, every placed order must be in the ERP exactly once and
equal to the cent.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import compare
import shopper
from setup import settings, stack

SHOPS = ("north", "south")
QUIET_FOR_SECS = 15  # nothing may appear twice in this time after the last order arrived
SECS_PER_ORDER = (
    12  # a quiet order takes 2 s; a killed daemon starts again and waits for its own retries
)
STOP_SECS = 30

CONFIG = """\
version = 1

[store]
path = "@FOLDER@/state"

[server]
listen = "127.0.0.1:9465"

[connection.north]
connector = "vendure"
settings = { url = "@NORTH@", username = "superadmin", password = "superadmin" }

[connection.south]
connector = "vendure"
settings = { url = "@SOUTH@", username = "superadmin", password = "superadmin" }

[connection.erp]
connector = "tryton"
settings = { url = "@TRYTON@", database = "tryton", user = "admin", password = "admin", web_shops = { north = "north", south = "south" } }

[route.north_orders]
from = "north.orders"
to = "erp.orders"
mode = "apply"
start_from = "2020-01-01T00:00:00Z"

[route.south_orders]
from = "south.orders"
to = "erp.orders"
mode = "apply"
start_from = "2020-01-01T00:00:00Z"
"""


class Daemon:
    """The program under test: started, killed and stopped, one process at a time."""

    def __init__(self, program, config, log):
        self._command = [program, "run", "--config", str(config)]
        self._log, self._process = log, None
        self._lock = threading.Lock()

    def start(self):
        with self._lock, open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def runs(self):
        return self._process.poll() is None

    def kill(self):
        """SIGKILL, as the kernel would when memory ends; answers whether it still ran."""
        with self._lock:
            ran = self.runs()
            self._process.kill()
            self._process.wait(timeout=STOP_SECS)
            return ran

    def stop(self):
        """SIGTERM; answers the exit code, or None when it had to be killed."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=STOP_SECS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Killer(threading.Thread):
    """Kills the daemon `times` times at random moments and starts it again at once."""

    def __init__(self, daemon, dice, times):
        super().__init__(daemon=True)
        self._daemon, self._dice, self._left = daemon, dice, times
        self.kills, self.found_dead = 0, 0

    def run(self):
        while self._left:
            time.sleep(self._dice.uniform(0.2, 5))
            self.found_dead += not self._daemon.kill()
            self._daemon.start()
            self.kills, self._left = self.kills + 1, self._left - 1


def run(program, folder, orders, kills, seed):
    """(text, whether it holds) for every check; the folder keeps configuration, state and log."""
    dice = random.Random(seed)
    stack.reset()
    daemon = Daemon(program, write_config(folder), folder / "daemon.log")
    daemon.start()
    killer = Killer(daemon, random.Random(seed + 1), kills)
    killer.start()
    try:
        place_orders(shopper.baskets(seed, orders), dice)
        killer.join()
        arrived = wait_for_orders(orders)
        yield f"all {orders} orders arrived after {kills} kills", arrived
        time.sleep(QUIET_FOR_SECS)
        total, found = compare.compare_shops(SHOPS)
        for one in found:
            print(f"       {compare.story(one)}", flush=True)
        yield (
            f"each of the {orders} orders exactly once and to the cent",
            (total, found) == (orders, []),
        )
        yield "the daemon never ended by itself", killer.found_dead == 0 and daemon.runs()
        yield f"SIGTERM ends it within {STOP_SECS} s with exit code 0", daemon.stop() == 0
    finally:
        daemon.kill()


def write_config(folder):
    config = CONFIG
    for name, value in (
        ("FOLDER", str(folder)),
        ("NORTH", settings.vendure_url("north")),
        ("SOUTH", settings.vendure_url("south")),
        ("TRYTON", settings.tryton_url()),
    ):
        config = config.replace(f"@{name}@", value)
    path = folder / "crossdock.toml"
    path.write_text(config)
    return path


def place_orders(baskets, dice):
    """Both shops in turn; half-way all servers go away and come back."""
    storefronts = [shopper.Storefront(settings.vendure_url(shop)) for shop in SHOPS]
    for i, basket in enumerate(baskets):
        if i == len(baskets) // 2:
            stack.restart()
        storefronts[i % len(SHOPS)].place(basket)
        time.sleep(dice.uniform(0, 2))


def wait_for_orders(orders):
    """Waits, bounded by what so many orders may take; answers whether nothing differs then."""
    deadline = time.monotonic() + 60 + SECS_PER_ORDER * orders
    while time.monotonic() < deadline:
        if compare.compare_shops(SHOPS) == (orders, []):
            return True
        time.sleep(3)
    return False


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--long", action="store_true", help="40 orders and 20 kills instead of 12 and 6"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    program = os.environ.get("CROSSDOCK_BIN")
    if not program:
        print("skipped: CROSSDOCK_BIN does not name the daemon\n0 passed, 0 failed, 1 skipped")
        return 0
    folder = settings.HOME / "run-a"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    orders, kills = (40, 20) if arguments.long else (12, 6)
    passed = failed = 0
    for text, holds in run(pathlib.Path(program).resolve(), folder, orders, kills, arguments.seed):
        print(f"{'ok    ' if holds else 'FAILED'} {text}", flush=True)
        passed, failed = passed + bool(holds), failed + (not holds)
    if failed:
        print(f"configuration, state and log: {folder}; seed {arguments.seed}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
