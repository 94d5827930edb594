"""Starts and stops the servers: one pid file and one log file each, every wait bounded."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from . import settings


class Failed(Exception):
    """A step that did not work; the text is for the person at the terminal."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(title, command, seconds, **options):
    """One bounded command with its output in a log file named after the title."""
    settings.LOGS.mkdir(parents=True, exist_ok=True)
    log = settings.LOGS / f"{title.replace(' ', '-')}.log"
    with open(log, "wb") as out:
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                **options,
            ).returncode
        except subprocess.TimeoutExpired:
            raise Failed(f"{title}: not done after {seconds} s, see {log}") from None
        except FileNotFoundError as error:
            raise Failed(f"{title}: {error}") from None
    if code:
        raise Failed(f"{title}: exit code {code}, see {log}\n{_tail(log)}")


def start(name, command, env=None, cwd=None):
    """Starts a server that outlives the caller, unless it runs already."""
    if is_running(name):
        return
    for folder in (settings.RUN, settings.LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    with open(settings.LOGS / f"{name}.log", "wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )
    _pid_file(name).write_text(f"{process.pid} {_started_at(process.pid)}")


def wait_until_ready(name, url, seconds):
    """Waits for an HTTP answer below 500; fails early when the process has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_running(name):
            log = settings.LOGS / f"{name}.log"
            raise Failed(f"{name}: ended while starting, see {log}\n{_tail(log)}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise Failed(f"{name}: no answer from {url} after {seconds} s")


def stop(name, seconds=20):
    """Ends a server that `start` started: SIGTERM, and SIGKILL when the time is over."""
    pid = running_pid(name)
    if pid:
        for sign, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5)):
            os.kill(pid, sign)
            if _ended_within(pid, limit):
                break
    _pid_file(name).unlink(missing_ok=True)


def is_running(name):
    return running_pid(name) is not None


def running_pid(name):
    """The pid, if the process that wrote the file is still the one that has it."""
    try:
        pid, started_at = _pid_file(name).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if _started_at(int(pid)) == started_at else None


def _pid_file(name):
    return settings.RUN / f"{name}.pid"


def _started_at(pid):
    """The kernel's start time of a process, or None when it is gone; tells a pid used again."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _ended_within(pid, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):  # collects a child of this very process
            os.waitpid(pid, os.WNOHANG)
        if _started_at(pid) is None:
            return True
        time.sleep(0.1)
    return False


def _tail(path, lines=15):
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
