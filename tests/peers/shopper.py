#!/usr/bin/env python3
"""Places orders through the storefront as a customer would; the same seed places the same baskets.

./shopper.py --shop north --count 6 --seed 1
"""

import argparse
import random
from dataclasses import dataclass, field

import shops
from setup import catalog, settings


@dataclass(frozen=True)
class Person:
    """Who orders. Guests are recognised by their e-mail address."""

    first: str
    last: str
    email: str
    phone: str
    address: dict


@dataclass(frozen=True)
class Basket:
    """One order before it is placed."""

    person: Person
    lines: tuple  # (sku, quantity)
    shipping: str = "flat"
    coupon: str = ""
    billing: dict = field(default_factory=dict)


def _person(
    first,
    last,
    email,
    phone,
    country,
    city,
    postal_code,
    street,
    second="",
    company="",
    province="",
):
    return Person(
        first,
        last,
        email,
        phone,
        {
            "fullName": f"{first} {last}",
            "company": company,
            "streetLine1": street,
            "streetLine2": second,
            "city": city,
            "province": province,
            "postalCode": postal_code,
            "countryCode": country,
            "phoneNumber": phone,
        },
    )


PEOPLE = (
    _person(
        "Zoë",
        "Łukasiewicz",
        "zoe@example.com",
        "+49 30 901820",
        "DE",
        "Berlin",
        "10115",
        "Invalidenstraße 7",
    ),
    _person(
        "太郎",
        "東京",
        "taro@example.com",
        "+33 1 40205050",
        "FR",
        "Paris",
        "75001",
        "12 Rue de l’Échelle",
        "Bât. C",
    ),
    _person(
        "Ada 🚲",
        "Fahrrad",
        "ada.bike@example.com",
        "+43 1 58858",
        "AT",
        "Wien",
        "1040",
        "Karlsplatz 13",
    ),
    _person(
        "Jürgen",
        "O’Neill-Groß",
        "einkauf@example.com",
        "+49 89 2180",
        "DE",
        "München",
        "80539",
        "Geschwister-Scholl-Platz 1",
        "Hinterhaus, 2. OG",
        "Groß & Söhne GmbH",
    ),
    _person(
        "Mary Ann",
        "Smith",
        "mary.smith@example.com",
        "+1 212 555 0100",
        "US",
        "New York",
        "10001",
        "1 Main St",
        "Apt 4B",
        "",
        "NY",
    ),
    _person(
        "Søren",
        "Ærø",
        "Soren.Aero+shop@example.com",
        "",
        "DE",
        "Flensburg",
        "01067",
        "Große Straße 0",
    ),
)
INVOICE_OFFICE = {
    "fullName": "Buchhaltung",
    "company": "Groß & Söhne Holding SE",
    "streetLine1": "Postfach 12 34",
    "streetLine2": "",
    "city": "Köln",
    "province": "",
    "postalCode": "50667",
    "countryCode": "DE",
    "phoneNumber": "",
}

# One of each kind comes first, so that even a short run meets all of them.
STORIES = (
    Basket(PEOPLE[0], (("CD-001", 2), ("CD-004", 1), ("TEE-M", 1)), coupon="WELCOME10"),
    Basket(PEOPLE[1], (("TEA-JP", 3), ("CAFÉ-250", 1), ("0017", 7)), shipping="express"),
    Basket(PEOPLE[2], (("TEE-S", 1), ("TEE-XL", 2), ("CD-008", 3)), coupon="FIVEOFF"),
    Basket(
        PEOPLE[3],
        (("BIG-1", 2), ("CD-003", 10), ("0017", 24)),
        shipping="free",
        billing=INVOICE_OFFICE,
    ),
    Basket(PEOPLE[4], (("CD-005", 1), ("CD-006", 1), ("CD-007", 1)), coupon="FREESHIP"),
    Basket(PEOPLE[0], (("CD-012", 1), ("0017", 3)), shipping="express", coupon="WELCOME10"),
)


def baskets(seed, count):
    """The first `count` baskets of a seed: the stories, then random ones."""
    dice = random.Random(seed)
    return [STORIES[i] if i < len(STORIES) else _random_basket(dice) for i in range(count)]


def _random_basket(dice):
    skus = dice.sample(catalog.SKUS, dice.randint(1, 5))
    person = dice.choice(PEOPLE)
    return Basket(
        person,
        tuple((sku, dice.choice((1, 1, 1, 2, 3, 7))) for sku in skus),
        shipping=dice.choice(("flat", "flat", "express", "free")),
        coupon=dice.choice(("", "", "WELCOME10", "FIVEOFF", "FREESHIP")),
        billing=INVOICE_OFFICE if person.address["company"] or dice.random() < 0.15 else {},
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shop", choices=sorted(settings.SHOPS), default="north")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    shop = shops.shop(arguments.shop)
    for basket in baskets(arguments.seed, arguments.count):
        print(shop.place(basket), flush=True)


if __name__ == "__main__":
    main()
