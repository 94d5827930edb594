#!/usr/bin/env python3
"""Records real requests and answers as numbered JSON files: fixtures for the connectors.

It changes stock, items and orders, so run it on a freshly reset test bed:

    ./reset && ./capture.py FOLDER
"""

import argparse
import pathlib

import capture_tryton
import capture_vendure
from setup import settings


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--vendure", default=settings.shop_url("north"))
    parser.add_argument("--tryton", default=settings.tryton_url())
    parser.add_argument("--database", default=settings.TRYTON_DATABASE)
    arguments = parser.parse_args()
    capture_vendure.capture(arguments.folder / "vendure", arguments.vendure)
    capture_tryton.capture(arguments.folder / "tryton", arguments.tryton, arguments.database)


if __name__ == "__main__":
    main()
