"""What both shops and the ERP sell: one list, so that every SKU means the same thing everywhere."""

from dataclasses import dataclass, field

STOCK = 100
STANDARD, REDUCED = 19, 7
SHIPPING, DISCOUNT, ROUNDING = "SHIPPING", "DISCOUNT", "ROUNDING"
COUNTRIES = (("DE", "Germany"), ("AT", "Austria"), ("FR", "France"), ("US", "United States"))


@dataclass(frozen=True)
class Variant:
    """One sellable SKU; `size` is empty for a product without options."""

    sku: str
    name: str
    gross: int  # cents, tax included
    size: str = ""


@dataclass(frozen=True)
class Product:
    """A product with one variant, or several that differ in size."""

    name: str
    rate: int
    variants: tuple = field(default_factory=tuple)


def _simple(sku, name, gross, rate=STANDARD):
    return Product(name, rate, (Variant(sku, name, gross),))


def _items():
    """Plain products, every fourth at the reduced rate, with prices that give awkward nets."""
    for i in range(1, 23):
        reduced = i % 4 == 0
        name = f"Field guide {i}" if reduced else f"Workshop tool {i}"
        yield _simple(f"CD-{i:03d}", name, 399 + 137 * i, REDUCED if reduced else STANDARD)


PRODUCTS = (
    *_items(),
    _simple("0017", "Hexagon bolt M8", 17),
    _simple("CAFÉ-250", "Café crème – Röstkaffee 250 g", 899, REDUCED),
    _simple("TEA-JP", "煎茶 Sencha", 1249, REDUCED),
    _simple("BIG-1", "Workbench", 49999),
    Product(
        "Crossdock tee",
        STANDARD,
        tuple(
            Variant(f"TEE-{size}", f"Crossdock tee {size}", gross, size)
            for size, gross in (("S", 1990), ("M", 1990), ("L", 2190), ("XL", 2390))
        ),
    ),
)

SKUS = tuple(variant.sku for product in PRODUCTS for variant in product.variants)
