"""Where the test bed lives, its ports and credentials. Loopback and test use only."""

import os
import pathlib

HOST = "127.0.0.1"
HOME = pathlib.Path(os.environ.get("PEERS_HOME", "/var/tmp/crossdock-peers"))
HERE = pathlib.Path(__file__).resolve().parent
RUN, LOGS = HOME / "run", HOME / "log"

VENDURE_PORTS = {
    "north": int(os.environ.get("NORTH_PORT", "3101")),
    "south": int(os.environ.get("SOUTH_PORT", "3102")),
}
VENDURE_LOGIN = ("superadmin", "superadmin")
VENDURE_HOME = HOME / "vendure"

TRYTON_PORT = int(os.environ.get("TRYTON_PORT", "8101"))
TRYTON_LOGIN = ("admin", "admin")
TRYTON_DATABASE, TRYTON_SEED, TRYTON_SCHEMA = "tryton", "tryton_seed", "tryton_schema"
TRYTON_VENV, TRYTON_CONFIG = HOME / "tryton", HOME / "trytond.conf"

POSTGRES_PORT = int(os.environ.get("PEERS_POSTGRES_PORT", "5645"))
POSTGRES_HOME = HOME / "postgres"


def vendure_url(shop):
    return f"http://{HOST}:{VENDURE_PORTS[shop]}"


def tryton_url():
    return f"http://{HOST}:{TRYTON_PORT}"
