"""A private PostgreSQL on a loopback port: trust authentication, no durability, for tests only."""

import os
import subprocess

from . import settings
from .packages import postgres_bin
from .processes import Failed, run

DATA = settings.POSTGRES_HOME / "data"
OPTIONS = f"""
listen_addresses = '{settings.HOST}'
port = {settings.POSTGRES_PORT}
unix_socket_directories = ''
fsync = off
synchronous_commit = off
full_page_writes = off
"""


def start():
    """Creates the cluster on the first call; nothing to do when it runs."""
    settings.POSTGRES_HOME.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        settings.HOME.chmod(0o755)
        run("own postgres home", ["chown", "postgres", str(settings.POSTGRES_HOME)], 10)
    if not DATA.exists():
        _control(
            "create the database cluster",
            "initdb",
            "-D",
            str(DATA),
            "-U",
            "postgres",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        )
        with open(DATA / "postgresql.conf", "a") as conf:
            conf.write(OPTIONS)
    if not is_running():
        _control(
            "start postgres",
            "pg_ctl",
            "-D",
            str(DATA),
            "-l",
            str(settings.POSTGRES_HOME / "log"),
            "-w",
            "start",
        )


def stop():
    if DATA.exists() and is_running():
        _control("stop postgres", "pg_ctl", "-D", str(DATA), "-m", "fast", "-w", "stop")


def is_running():
    return (
        subprocess.run(
            _as_owner("pg_ctl", "-D", str(DATA), "status"),
            capture_output=True,
            timeout=20,
            check=False,
        ).returncode
        == 0
    )


def exists(database):
    return sql(f"select 1 from pg_database where datname = '{database}'") == "1"


def copy_database(template, database):
    """Replaces `database` by a fresh copy of `template`; nobody may be connected to either."""
    sql(f"drop database if exists {database} with (force)")
    sql(f"create database {database} template {template}")


def sql(statement):
    """One statement on the maintenance database; answers what psql prints."""
    done = subprocess.run(
        [
            str(postgres_bin() / "psql"),
            "-h",
            settings.HOST,
            "-p",
            str(settings.POSTGRES_PORT),
            "-U",
            "postgres",
            "-Atq",
            "-c",
            statement,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise Failed(f"postgres: {done.stderr.strip()}")
    return done.stdout.strip()


def _control(title, program, *arguments):
    run(title, _as_owner(program, *arguments), 60)


def _as_owner(program, *arguments):
    command = [str(postgres_bin() / program), *arguments]
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]
        if os.geteuid() == 0
        else command
    )
