"""What the runs know of a webstore, whatever software it is: one interface, its neutral forms.

`shop("north")` is a `vendure_shop.Shop` or a `medusa_shop.Shop`, as `setup/settings.py` says. Both
have:

    place(basket)            a customer orders and pays; answers the order's code
    orders()                 every placed order, as an Order
    ordered()                SKU -> pieces of all orders
    stock()                  SKU -> (on hand, reserved)
    recode(sku, article)     sells a variant under another SKU from now on
    sold()                   SKU -> the variants that have it, as Sold: there should be one
    made()                   how many products, variants, option groups and options there are
    should_make(...)         how many more there must be after so many new items
    can_buy(sku)             whether a customer gets one piece into the basket
    orders_page, fulfil, ship, count, gaps
                             Calls of a daemon that a gate can recognise
"""

import collections
import importlib
from dataclasses import dataclass
from decimal import Decimal

from setup import settings

CENT = Decimal("0.01")


class ShopError(Exception):
    """What a shop refused, in its own words."""


@dataclass(frozen=True)
class Call:
    """A request that a connector makes: what it is called here, and how its text is recognised."""

    name: str
    match: object  # of the text: method, path and body

    def __call__(self, text):
        return self.match(text)


@dataclass(frozen=True)
class Customer:
    """Who ordered."""

    id: str
    name: str
    email: str
    phone: str


@dataclass(frozen=True)
class Parcel:
    """What the customer was told has left: number, SKU -> pieces, whether it is on its way."""

    number: str
    pieces: dict
    sent: bool


@dataclass(frozen=True)
class Order:
    """A placed order. Addresses are as in `shopper.Person.address`."""

    code: str
    currency: str
    customer: Customer
    ship_to: dict
    bill_to: dict
    pieces: dict  # SKU -> quantity
    net: Decimal
    gross: Decimal
    taxes: dict  # percentage -> tax, of what has any tax at all
    parcels: tuple


Item = collections.namedtuple("Item", "name group options price currency enabled stock")
Sold = collections.namedtuple("Sold", "item product")


def shop(name):
    """The shop of this name, through its own APIs."""
    return importlib.import_module(f"{settings.SOFTWARE[name]}_shop").Shop(name)


def all_shops():
    """Name -> shop."""
    return {name: shop(name) for name in settings.SHOPS}
