"""Where the test bed lives, its ports and credentials. Loopback and test use only."""

import os
import pathlib

HOST = "127.0.0.1"
HOME = pathlib.Path(os.environ.get("PEERS_HOME", "/var/tmp/crossdock-peers"))
HERE = pathlib.Path(__file__).resolve().parent
RUN, LOGS = HOME / "run", HOME / "log"

SHOP_PORTS = {
    "north": int(os.environ.get("NORTH_PORT", "3101")),
    "south": int(os.environ.get("SOUTH_PORT", "3102")),
}
SHOPS = tuple(SHOP_PORTS)
# Which software each shop is. South is always Vendure, so that two kinds stand beside each other.
SOFTWARE = {"north": os.environ.get("NORTH") or "vendure", "south": "vendure"}

VENDURE_LOGIN = ("superadmin", "superadmin")
VENDURE_HOME = HOME / "vendure"

MEDUSA_LOGIN = ("admin@example.com", "supersecret")
MEDUSA_HOME, MEDUSA_KEYS = HOME / "medusa", HOME / "medusa-keys.json"
MEDUSA_DATABASE, MEDUSA_SEED, MEDUSA_SCHEMA = "medusa", "medusa_seed", "medusa_schema"

TRYTON_PORT = int(os.environ.get("TRYTON_PORT", "8101"))
TRYTON_LOGIN = ("admin", "admin")
TRYTON_DATABASE, TRYTON_SEED, TRYTON_SCHEMA = "tryton", "tryton_seed", "tryton_schema"
# A second Tryton, of a branch with a till of its own: another database of the server, in run D.
BRANCH_DATABASE = "branch"
TRYTON_VENV, TRYTON_CONFIG = HOME / "tryton", HOME / "trytond.conf"

POSTGRES_PORT = int(os.environ.get("PEERS_POSTGRES_PORT", "5645"))
POSTGRES_HOME = HOME / "postgres"

# The daemon under test and the gates before the peers listen here and behind it.
PORT_BASE = int(os.environ.get("PORT_BASE", "9460"))


def shop_url(shop):
    return f"http://{HOST}:{SHOP_PORTS[shop]}"


def shops_of(software):
    """The shops that are this software."""
    return tuple(shop for shop in SHOPS if SOFTWARE[shop] == software)


def tryton_url():
    return f"http://{HOST}:{TRYTON_PORT}"


def run_port(n):
    """The nth port of the runs: 0 to 39."""
    return PORT_BASE + n
