"""What suppliers drop into their folders: windows-1250 written by hand, and a real file."""

import csv
import os
import pathlib
import time
from decimal import Decimal

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = pathlib.Path(
    os.environ.get("CROSSDOCK_SAMPLES", HERE.parents[1] / ".." / "shared" / "samples")
)
REAL_FILE = SAMPLES / "csv" / "shopware_instock.csv"
# Items of the test bed that are sold under the real supplier's numbers: enough, plenty, none.
REAL_ARTICLES = {"CD-019": "SW10003", "CD-020": "SW10021", "CD-021": "SW10023", "CD-022": "SW10208"}

HEADER = ("Numer katalogowy", "Nazwa", "Stan magazynowy", "Cena netto")
WORDS = {">100": 100, "brak": 0}
NAMES = ("Żółta łódź, mała", "Šroub příruba č. 8", "Gęś „Łucja” 2,5 m", "Kůň ťukal; žlutý")

CONFIG = """\
[connection.{name}]
connector = "feed"

[connection.{name}.settings]
path = "{path}"
kind = "full"
location = "{name}"
delimiter = ";"
stable_looks = 3
stable_apart_secs = 1
{more}

[connection.{name}.stream.stock]
poll_secs = 1
"""
POLISH = """\
encoding = "windows-1250"
decimal_mark = ","
words = { ">100" = 100, "brak" = 0 }
columns = { sku = "Numer katalogowy", on_hand = "Stan magazynowy" }"""
REAL = 'columns = { sku = "ordernumber", on_hand = "instock" }'


class Folder:
    """One supplier's drop folder, as the supplier sees it."""

    def __init__(self, root, name, more):
        self.root, self.name, self._more = root / name, name, more
        (self.root / "in").mkdir(parents=True)

    def config(self):
        return CONFIG.format(name=self.name, path=self.root, more=self._more)

    def drop(self, name, content):
        """Writes it where the daemon looks; it is complete at once, but nobody says so."""
        (self.root / "in" / name).write_bytes(content)

    def drop_slowly(self, name, content, portions, pause):
        """As a slow line does: the file stands there and grows."""
        size = -(-len(content) // portions)
        with open(self.root / "in" / name, "wb") as file:
            for at in range(0, len(content), size):
                file.write(content[at : at + size])
                file.flush()
                time.sleep(pause)

    def reply(self, name):
        """What the supplier was told about a file: (facts, rows of bad rows), or None so far."""
        answers = sorted((self.root / "reply").glob(f"{name}.*.reply.csv"))
        if not answers:
            return None
        with open(answers[-1], newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        end = rows.index([""]) if [""] in rows else len(rows)
        return {row[0]: row[1] for row in rows[:end] if row}, rows[end + 2 :]

    def files(self, folder):
        """What the suppliers called the files that ended there: `STAMP-HASH-NAME` on disk."""
        return sorted(path.name for path in (self.root / folder).iterdir())


def polish_file(stock, extra=()):
    """Bytes of a list: SKU -> text of the quantity; `extra` are whole rows."""
    rows = [HEADER]
    rows += [
        (sku, NAMES[n % len(NAMES)], text, f"{n + 1},9{n % 10}")
        for n, (sku, text) in enumerate(stock.items())
    ]
    lines = (";".join(_cell(cell) for cell in row) for row in (*rows, *extra))
    return ("\r\n".join(lines) + "\r\n").encode("cp1250")


def _cell(text):
    return '"' + text.replace('"', '""') + '"' if ";" in text or '"' in text else text


def pieces(stock):
    """What such a list means: SKU -> exact number."""
    return {sku: Decimal(WORDS.get(text, text.replace(",", "."))) for sku, text in stock.items()}


def real_pieces():
    """What the real file says, read by another reader."""
    with open(REAL_FILE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    stock = {row["ordernumber"]: Decimal(row["instock"]) for row in rows}
    contradicting = {
        row["ordernumber"] for row in rows if Decimal(row["instock"]) != stock[row["ordernumber"]]
    }
    assert not contradicting, contradicting
    return stock, len(rows)
