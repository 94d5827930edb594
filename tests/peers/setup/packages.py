"""Installs what is missing, from apt, npm and pip only; it stays in PEERS_HOME between runs."""

import glob
import os
import pathlib
import shutil
import sys

from . import settings
from .processes import Failed, run, say

MIN_NODE = 20
MIN_PYTHON = (3, 10)


def install_system_packages():
    """What comes from the operating system; asks for it when not root."""
    if sys.version_info < MIN_PYTHON:
        raise Failed(f"Tryton 8 needs Python {'.'.join(map(str, MIN_PYTHON))} or newer")
    missing = [
        package
        for package, present in (
            ("postgresql", postgres_bin()),
            ("nodejs", shutil.which("node")),
            ("npm", shutil.which("npm")),
            ("g++", shutil.which("g++")),
            ("make", shutil.which("make")),
            ("python3-venv", _has_venv()),
        )
        if not present
    ]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed("please install: " + " ".join(missing))
    say(f"installing {' '.join(missing)} (apt)")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt update", ["apt-get", "update", "-qq"], 180, env=quiet)
    run(
        "apt install",
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
        400,
        env=quiet,
    )


def postgres_bin():
    """The newest PostgreSQL server on this machine, or None."""
    found = sorted(
        glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4])
    )
    return pathlib.Path(found[-1]).parent if found else None


def _has_venv():
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return False
    return True


def install_vendure():
    """Vendure from npm, with its SQLite driver compiled here."""
    home = settings.VENDURE_HOME
    wanted = (settings.HERE / "vendure-package.json").read_text()
    stamp = home / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _check_node()
    home.mkdir(parents=True, exist_ok=True)
    (home / "package.json").write_text(wanted)
    say("installing Vendure (npm, about 1 minute)")
    run(
        "npm install",
        ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        900,
        cwd=home,
    )
    say("compiling better-sqlite3 (1 to 2 minutes)")
    run(
        "build better-sqlite3",
        _node_gyp_command(),
        900,
        cwd=home / "node_modules" / "better-sqlite3",
        env={**os.environ, "CFLAGS": "-O1", "CXXFLAGS": "-O1"},  # half the time of -O3
    )
    stamp.write_text(wanted)


def _check_node():
    version = os.popen("node --version").read().strip()
    if not version or int(version.lstrip("v").split(".")[0]) < MIN_NODE:
        raise Failed(
            f"the webstores need Node.js {MIN_NODE} or newer; this one is {version or 'absent'}"
        )


def _node_gyp_command():
    """Compiles against the headers of the installed node: no prebuilt binary from elsewhere."""
    npm = pathlib.Path(shutil.which("npm")).resolve()
    candidates = [
        npm.parent.parent / "node_modules/node-gyp/bin/node-gyp.js",
        pathlib.Path("/usr/share/nodejs/node-gyp/bin/node-gyp.js"),
    ]
    gyp = next((path for path in candidates if path.exists()), None)
    prefix = pathlib.Path(shutil.which("node")).resolve().parent.parent
    if not gyp:
        raise Failed("node-gyp is not part of this npm: install the package node-gyp")
    if not (prefix / "include/node/node.h").exists():
        raise Failed(
            f"no Node.js headers in {prefix}/include/node: install the package libnode-dev"
        )
    return ["node", str(gyp), "rebuild", "--release", "-j", "2", f"--nodedir={prefix}"]


def install_medusa():
    """Medusa from npm. Its peer dependencies are admin pages, which this server does not load."""
    home = settings.MEDUSA_HOME
    wanted = (settings.HERE / "medusa-package.json").read_text()
    stamp = home / ".installed"
    if not (stamp.exists() and stamp.read_text() == wanted):
        _check_node()
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text(wanted)
        say("installing Medusa (npm, 2 to 4 minutes)")
        options = ("--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund")
        run("npm install Medusa", ["npm", "install", *options, "--loglevel=error"], 900, cwd=home)
        stamp.write_text(wanted)
    shutil.copyfile(settings.HERE / "medusa-config.js", home / "medusa-config.js")


def install_tryton():
    """Tryton and its modules from pip, in a virtual environment."""
    venv, wanted = settings.TRYTON_VENV, (settings.HERE / "tryton-requirements.txt").read_text()
    stamp = venv / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("installing Tryton (pip, about 1 minute)")
    run("create venv", [sys.executable, "-m", "venv", str(venv)], 120)
    run(
        "pip install",
        [
            str(venv / "bin/pip"),
            "install",
            "-q",
            "--disable-pip-version-check",
            "-r",
            str(settings.HERE / "tryton-requirements.txt"),
        ],
        900,
    )
    stamp.write_text(wanted)
