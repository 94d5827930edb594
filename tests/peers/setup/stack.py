"""The test bed as a whole: create the seeds once, give every run a fresh copy, start, stop."""

import concurrent.futures
import hashlib
import json
import os
import shutil

from . import packages, postgres, settings
from .processes import Failed, run, say, start, stop, wait_until_ready

START_SECS = 240  # 5 s on a quiet machine, Medusa 10 s


def up(only=""):
    """Installs, seeds and starts; what is already there is left as it is."""
    packages.install_system_packages()
    _at_once(only, vendure=_vendure_up, medusa=_medusa_up, tryton=_tryton_up)


def down():
    _stop_vendure()
    _stop_medusa()
    _stop_tryton()
    postgres.stop()


def reset(only="", branch=False):
    """Fresh seeded data in both shops and the ERP, and all three running; `branch`: a second Tryton too."""
    _at_once(
        only,
        vendure=_vendure_reset,
        medusa=_medusa_reset,
        tryton=lambda: _tryton_reset(branch),
    )


def restart(only=""):
    """The same data, new processes."""
    _at_once(
        only,
        vendure=lambda: (_stop_vendure(), _start_vendure()),
        medusa=lambda: (_stop_medusa(), _start_medusa()),
        tryton=lambda: (_stop_tryton(), _start_tryton()),
    )


def _at_once(only, **steps):
    """The steps of the software that is used, or of the one named, at the same time."""
    used = {
        name: step for name, step in steps.items() if name == "tryton" or settings.shops_of(name)
    }
    unknown = {only, *settings.SOFTWARE.values()} - {"", *steps}
    if unknown or (only and only not in used):
        raise Failed(f"{unknown or only}: there are {', '.join(steps)}; used are {', '.join(used)}")
    _make_way()
    postgres.start()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        wanted = [only] if only else used
        for done in [pool.submit(used[name]) for name in wanted]:
            done.result()


def _make_way():
    """Whatever else was north before this goes from its port."""
    if not settings.shops_of("medusa"):
        _stop_medusa()
    for shop in settings.SHOPS:
        if settings.SOFTWARE[shop] != "vendure":
            stop(f"vendure-{shop}")


# --- Vendure -------------------------------------------------------------------------------------


def _vendure_up():
    packages.install_vendure()
    seed = _Stamp("vendure-seed", "catalog.py", "seed_vendure.py", "vendure-package.json")
    if not seed.is_current():
        _stop_vendure()
        for shop in settings.SHOPS:
            _seed_vendure(shop)
        seed.renew()
    for shop in settings.SHOPS:
        if not _database(shop).exists():
            _copy_seed(shop)
    _start_vendure()


def _vendure_reset():
    _stop_vendure()
    for shop in settings.shops_of("vendure"):
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
        ["python3", str(settings.HERE / "seed_vendure.py"), shop, settings.shop_url(shop)],
        400,
    )
    stop(f"vendure-{shop}")
    seeded = _seeded(shop)
    seeded.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_database(shop), seeded)


def _start_vendure():
    for shop in settings.shops_of("vendure"):
        _launch_vendure(shop)
    for shop in settings.shops_of("vendure"):
        _wait_for_vendure(shop)


def _launch_vendure(shop, create_schema=False):
    start(
        f"vendure-{shop}",
        ["node", str(settings.HERE / "vendure-server.js")],
        cwd=settings.VENDURE_HOME,
        env={
            "NODE_PATH": str(settings.VENDURE_HOME / "node_modules"),
            "PORT": str(settings.SHOP_PORTS[shop]),
            "VENDURE_DATA": str(_database(shop).parent),
            "VENDURE_CREATE_SCHEMA": "1" if create_schema else "0",
        },
    )


def _wait_for_vendure(shop):
    wait_until_ready(f"vendure-{shop}", settings.shop_url(shop) + "/health", START_SECS)


def _stop_vendure():
    for shop in settings.SHOPS:
        stop(f"vendure-{shop}")


def _copy_seed(shop):
    for leftover in _database(shop).parent.glob("vendure.sqlite-*"):
        leftover.unlink()
    shutil.copyfile(_seeded(shop), _database(shop))


def _database(shop):
    return settings.VENDURE_HOME / shop / "vendure.sqlite"


def _seeded(shop):
    return settings.VENDURE_HOME / "seeded" / f"{shop}.sqlite"


# --- Medusa --------------------------------------------------------------------------------------


def _medusa_up():
    packages.install_medusa()
    schema = _Stamp("medusa-schema", "medusa-package.json", "medusa-config.js")
    files = ("medusa-package.json", "medusa-config.js", "catalog.py", "seed_medusa.py")
    seed = _Stamp("medusa-seed", *files)
    if not (schema.is_current() and postgres.exists(settings.MEDUSA_SCHEMA)):
        _create_medusa_schema()
        schema.renew()
    kept = settings.MEDUSA_KEYS.exists() and postgres.exists(settings.MEDUSA_SEED)
    if not (seed.is_current() and kept):
        _stop_medusa()
        _seed_medusa()
        seed.renew()
        postgres.copy_database(settings.MEDUSA_SEED, settings.MEDUSA_DATABASE)
    if not postgres.exists(settings.MEDUSA_DATABASE):
        postgres.copy_database(settings.MEDUSA_SEED, settings.MEDUSA_DATABASE)
    _start_medusa()


def _medusa_reset():
    _stop_medusa()
    postgres.copy_database(settings.MEDUSA_SEED, settings.MEDUSA_DATABASE)
    _start_medusa()


def _create_medusa_schema():
    say("creating the Medusa schema (1 to 2 minutes)")
    postgres.sql(f"drop database if exists {settings.MEDUSA_SCHEMA} with (force)")
    postgres.sql(f"create database {settings.MEDUSA_SCHEMA}")
    _medusa("create the Medusa schema", settings.MEDUSA_SCHEMA, "db:migrate")
    user, password = settings.MEDUSA_LOGIN
    _medusa("create the Medusa user", settings.MEDUSA_SCHEMA, "user", "-e", user, "-p", password)


def _seed_medusa():
    """The keys that it makes are kept beside the database, not in it: they are shown once."""
    (shop,) = settings.shops_of("medusa")
    say("seeding Medusa (about 30 s)")
    postgres.copy_database(settings.MEDUSA_SCHEMA, settings.MEDUSA_SEED)
    _launch_medusa(settings.MEDUSA_SEED)
    script = str(settings.HERE / "seed_medusa.py")
    run("seed Medusa", ["python3", script, settings.shop_url(shop), str(settings.MEDUSA_KEYS)], 600)
    _stop_medusa()


def medusa_keys():
    """`secret` for the admin API, `publishable` for the storefront, and ids of the seed."""
    return json.loads(settings.MEDUSA_KEYS.read_text())


def _medusa(title, database, *arguments):
    program = "node_modules/.bin/medusa"
    home, env = settings.MEDUSA_HOME, {**os.environ, **_medusa_env(database)}
    run(title, ["node", program, *arguments], 900, cwd=home, env=env)


def _medusa_env(database):
    return {
        "DATABASE_URL": f"postgres://postgres@{settings.HOST}:{settings.POSTGRES_PORT}/{database}",
        "MEDUSA_DISABLE_TELEMETRY": "true",
        "NODE_ENV": "production",
    }


def _start_medusa():
    _launch_medusa(settings.MEDUSA_DATABASE)


def _launch_medusa(database):
    (shop,) = settings.shops_of("medusa")
    port = str(settings.SHOP_PORTS[shop])
    command = ["node", "node_modules/.bin/medusa", "start", "-H", settings.HOST, "-p", port]
    start("medusa", command, cwd=settings.MEDUSA_HOME, env=_medusa_env(database))
    wait_until_ready("medusa", settings.shop_url(shop) + "/health", START_SECS)


def _stop_medusa():
    stop("medusa")


# --- Tryton --------------------------------------------------------------------------------------


def _tryton_up():
    packages.install_tryton()
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


def _tryton_reset(branch):
    _stop_tryton()
    postgres.copy_database(settings.TRYTON_SEED, settings.TRYTON_DATABASE)
    if branch:
        postgres.copy_database(settings.TRYTON_SEED, settings.BRANCH_DATABASE)
    else:
        postgres.sql(f"drop database if exists {settings.BRANCH_DATABASE} with (force)")
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
    """It knows the databases that it is told at the start, and no others."""
    databases = [settings.TRYTON_DATABASE]
    if postgres.exists(settings.BRANCH_DATABASE):
        databases.append(settings.BRANCH_DATABASE)
    start(
        "tryton",
        [
            str(settings.TRYTON_VENV / "bin/trytond"),
            "-c",
            str(settings.TRYTON_CONFIG),
            "-d",
            *databases,
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
