"""What all runs share: options, where things are kept, and how results are told.

A run is a generator of (text, holds): True, False, or None for what could not be tried here.
"""

import argparse
import os
import pathlib
import shutil
import signal
import sys
import time

from setup import settings


SECONDS = 180  # for anything to happen that is waited for; a quiet machine needs 20 at most


def until(holds, seconds=SECONDS):
    """What `holds` answers as soon as it is true, or at the end of the time."""
    deadline = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.7)
    return found


def main(name, description, run):
    """Calls `run(program, folder, arguments)` and prints what it yields; the exit code."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help="more orders and more kills")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    program = os.environ.get("CROSSDOCK_BIN")
    if not program:
        print("SKIPPED: CROSSDOCK_BIN does not name the daemon\n0 passed, 0 failed, 1 skipped")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    folder = settings.HOME / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    counts = {True: 0, False: 0, None: 0}
    for text, holds in run(pathlib.Path(program).resolve(), folder, arguments):
        holds = None if holds is None else bool(holds)
        print(f"{({True: 'ok     ', False: 'FAILED ', None: 'SKIPPED'})[holds]} {text}", flush=True)
        counts[holds] += 1
    if counts[False]:
        print(f"configuration, state and log: {folder}; seed {arguments.seed}")
    print(f"{counts[True]} passed, {counts[False]} failed, {counts[None]} skipped")
    return 1 if counts[False] else 0
