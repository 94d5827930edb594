"""The test bed as a whole: create the seeds once, give every run a fresh copy, start, stop."""

import concurrent.futures
import hashlib
import os
import shutil

from . import packages, postgres, settings
from .processes import Failed, run, say, start, stop, wait_until_ready

SHOPS = tuple(settings.VENDURE_PORTS)
START_SECS = 240  # 5 s on a quiet machine


def up(only=""):
    """Installs, seeds and starts; what is already there is left as it is."""
    packages.install_system_packages()
    _both(only, _vendure_up, _tryton_up)


def down():
    _stop_vendure()
    _stop_tryton()
    postgres.stop()


def reset(only=""):
    """Fresh seeded data in both shops and the ERP, and all three running."""
    _both(only, _vendure_reset, _tryton_reset)


def restart(only=""):
    """The same data, new processes."""

    def vendure():
        _stop_vendure()
        _start_vendure()

    def tryton():
        _stop_tryton()
        _start_tryton()

    _both(only, vendure, tryton)


def _both(only, vendure, tryton):
    """Runs the steps of both peers at the same time, or of the one named."""
    steps = {"vendure": [vendure], "tryton": [tryton], "": [vendure, tryton]}.get(only)
    if not steps:
        raise Failed(f"{only!r} is neither vendure nor tryton")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in [pool.submit(step) for step in steps]:
            done.result()


# --- Vendure -------------------------------------------------------------------------------------


def _vendure_up():
    packages.install_vendure()
    seed = _Stamp("vendure-seed", "catalog.py", "seed_vendure.py", "vendure-package.json")
    if not seed.is_current():
        _stop_vendure()
        for shop in SHOPS:
            _seed_vendure(shop)
        seed.renew()
    for shop in SHOPS:
        if not _database(shop).exists():
            _copy_seed(shop)
    _start_vendure()


def _vendure_reset():
    _stop_vendure()
    for shop in SHOPS:
        _copy_seed(shop)
    _start_vendure()


def _seed_vendure(shop):
    say(f"seeding Vendure {shop} (about 15 s)")
    folder = _database(shop).parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _launch_vendure(shop, create_schema=True)
    _wait_for_vendure(shop)
    run(
        f"seed vendure {shop}",
        ["python3", str(settings.HERE / "seed_vendure.py"), shop, settings.vendure_url(shop)],
        400,
    )
    stop(f"vendure-{shop}")
    seeded = _seeded(shop)
    seeded.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_database(shop), seeded)


def _start_vendure():
    for shop in SHOPS:
        _launch_vendure(shop)
    for shop in SHOPS:
        _wait_for_vendure(shop)


def _launch_vendure(shop, create_schema=False):
    start(
        f"vendure-{shop}",
        ["node", str(settings.HERE / "vendure-server.js")],
        cwd=settings.VENDURE_HOME,
        env={
            "NODE_PATH": str(settings.VENDURE_HOME / "node_modules"),
            "PORT": str(settings.VENDURE_PORTS[shop]),
            "VENDURE_DATA": str(_database(shop).parent),
            "VENDURE_CREATE_SCHEMA": "1" if create_schema else "0",
        },
    )


def _wait_for_vendure(shop):
    wait_until_ready(f"vendure-{shop}", settings.vendure_url(shop) + "/health", START_SECS)


def _stop_vendure():
    for shop in SHOPS:
        stop(f"vendure-{shop}")


def _copy_seed(shop):
    for leftover in _database(shop).parent.glob("vendure.sqlite-*"):
        leftover.unlink()
    shutil.copyfile(_seeded(shop), _database(shop))


def _database(shop):
    return settings.VENDURE_HOME / shop / "vendure.sqlite"


def _seeded(shop):
    return settings.VENDURE_HOME / "seeded" / f"{shop}.sqlite"


# --- Tryton --------------------------------------------------------------------------------------


def _tryton_up():
    packages.install_tryton()
    postgres.start()
    settings.TRYTON_CONFIG.write_text(_tryton_config())
    schema = _Stamp("tryton-schema", "tryton-requirements.txt", "tryton-modules.txt")
    seed = _Stamp(
        "tryton-seed",
        "tryton-requirements.txt",
        "tryton-modules.txt",
        "catalog.py",
        "seed_tryton.py",
    )
    if not (schema.is_current() and postgres.exists(settings.TRYTON_SCHEMA)):
        _create_tryton_schema()
        schema.renew()
    if not (seed.is_current() and postgres.exists(settings.TRYTON_SEED)):
        _stop_tryton()
        _seed_tryton()
        seed.renew()
        postgres.copy_database(settings.TRYTON_SEED, settings.TRYTON_DATABASE)
    if not postgres.exists(settings.TRYTON_DATABASE):
        postgres.copy_database(settings.TRYTON_SEED, settings.TRYTON_DATABASE)
    _start_tryton()


def _tryton_reset():
    postgres.start()
    _stop_tryton()
    postgres.copy_database(settings.TRYTON_SEED, settings.TRYTON_DATABASE)
    _start_tryton()


def _create_tryton_schema():
    say("creating the Tryton schema (1 to 2 minutes)")
    postgres.sql(f"drop database if exists {settings.TRYTON_SCHEMA} with (force)")
    postgres.sql(f"create database {settings.TRYTON_SCHEMA}")
    password = settings.HOME / "tryton-password"
    password.write_text(settings.TRYTON_LOGIN[1])
    modules = (settings.HERE / "tryton-modules.txt").read_text().split()
    run(
        "create the Tryton schema",
        [
            str(settings.TRYTON_VENV / "bin/trytond-admin"),
            "-c",
            str(settings.TRYTON_CONFIG),
            "-d",
            settings.TRYTON_SCHEMA,
            "--email",
            "admin@example.com",
            "--activate-dependencies",
            "-u",
            "ir",
            "res",
            *modules,
        ],
        900,
        env={**os.environ, "TRYTONPASSFILE": str(password)},
    )


def _seed_tryton():
    say("seeding Tryton (about 20 s)")
    postgres.copy_database(settings.TRYTON_SCHEMA, settings.TRYTON_SEED)
    run(
        "seed Tryton",
        [
            str(settings.TRYTON_VENV / "bin/python"),
            str(settings.HERE / "seed_tryton.py"),
            str(settings.TRYTON_CONFIG),
            settings.TRYTON_SEED,
        ],
        400,
    )


def _tryton_config():
    return f"""[database]
uri = postgresql://postgres@{settings.HOST}:{settings.POSTGRES_PORT}/
[web]
listen = {settings.HOST}:{settings.TRYTON_PORT}
"""


def _start_tryton():
    start(
        "tryton",
        [
            str(settings.TRYTON_VENV / "bin/trytond"),
            "-c",
            str(settings.TRYTON_CONFIG),
            "-d",
            settings.TRYTON_DATABASE,
        ],
    )
    page = f"{settings.tryton_url()}/{settings.TRYTON_DATABASE}/rpc/"
    wait_until_ready("tryton", page, START_SECS)


def _stop_tryton():
    stop("tryton")


# --- what is rebuilt when ------------------------------------------------------------------------


class _Stamp:
    """Says whether something was made from the present version of the files in this folder."""

    def __init__(self, name, *files):
        self._path = settings.HOME / f"{name}.stamp"
        self._digest = hashlib.sha256(
            b"".join((settings.HERE / name).read_bytes() for name in files)
        ).hexdigest()

    def is_current(self):
        return self._path.exists() and self._path.read_text() == self._digest

    def renew(self):
        self._path.write_text(self._digest)
