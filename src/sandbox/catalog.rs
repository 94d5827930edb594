//! What is sold in the practice world: made from a seed, the same for every system.

use super::faults::rng_for;

/// One article, and where it is when the day begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// Its SKU. Some have leading zeros, some look like a number in scientific notation (story 47).
    pub sku: String,
    /// As a buyer reads it; not only ASCII.
    pub title: String,
    /// What one costs with tax, in cents.
    pub price: i64,
    /// Percent of tax in it.
    pub tax_rate: i64,
    /// Grams.
    pub weight_g: i64,
    /// Pieces in the ERP's warehouse.
    pub in_warehouse: i64,
    /// Pieces at the supplier.
    pub at_supplier: i64,
    /// The shops have it already, so it must be adopted, not created.
    pub in_shops: bool,
}

const THINGS: [&str; 16] = [
    "Teapot",
    "Bücherstütze",
    "Żyrandol",
    "Notizbuch",
    "Crème brûlée dish",
    "Stół kuchenny",
    "Lámpara",
    "Raincoat",
    "Kaffeemühle",
    "Smörkniv",
    "Wool blanket",
    "Świecznik",
    "Umbrella",
    "Brotdose",
    "Œuf de table",
    "Garden chair",
];
const KINDS: [&str; 6] = ["small", "large", "blue", "oak", "linen", "N° 5"];

/// Makes `count` articles (at least 8). The first ones are the awkward ones.
pub fn articles(seed: u64, count: usize) -> Vec<Article> {
    let mut rng = rng_for(seed, "catalog", 0);
    let articles = (0..count.max(8)).map(|n| {
        let thing = THINGS[n % THINGS.len()];
        let kind = KINDS[(n / THINGS.len() + n) % KINDS.len()];
        let (sku, in_warehouse, at_supplier) = match n {
            0 => ("0017".to_owned(), 40, 0),
            1 => ("1E5".to_owned(), 30, 0),
            // Two that everybody wants and of which there is hardly one.
            2 => ("LAST-1".to_owned(), 1, 0),
            3 => ("LAST-2".to_owned(), 2, 0),
            n if n % 7 == 0 => (format!("ACM-{n:03}"), 0, rng.i64(5..60)),
            n if n % 7 == 1 => (format!("MIX-{n:03}"), rng.i64(2..20), rng.i64(2..20)),
            n if n % 7 == 2 => (format!("FEW-{n:03}"), rng.i64(1..5), 0),
            n => (format!("WAR-{n:03}"), rng.i64(20..90), 0),
        };
        Article {
            sku,
            title: format!("{thing}, {kind}"),
            price: rng.i64(3..120) * 100 + [0, 49, 90, 95, 99][rng.usize(0..5)],
            tax_rate: if n % 5 == 4 { 7 } else { 19 },
            weight_g: rng.i64(80..6000),
            in_warehouse,
            at_supplier,
            in_shops: n % 3 != 2,
        }
    });
    articles.collect()
}

/// Who buys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buyer {
    /// The shop's id of the account; none for a guest.
    pub account: Option<String>,
    /// Full name.
    pub name: String,
    /// Company, sometimes.
    pub company: Option<String>,
    /// E-mail.
    pub email: String,
    /// Phone, sometimes.
    pub phone: Option<String>,
    /// Street and number.
    pub street: String,
    /// Town.
    pub city: String,
    /// Postal code; a text, since `01067` is one.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

const NAMES: [&str; 14] = [
    "Zoë Brontë",
    "Jürgen Weiß",
    "Łukasz Żółć",
    "Siân O'Neill",
    "José Ñúñez",
    "Anna Müller",
    "王小明",
    "Ægir Þórsson",
    "Mary Smith",
    "Dvořák Šimon",
    "Ελένη Παππά",
    "Mary Smith",
    "Nguyễn Thị Hòa",
    "Jean-Luc d'Été",
];
const PLACES: [(&str, &str, &str, &str); 7] = [
    ("Prager Straße 7", "Dresden", "01067", "DE"),
    ("ul. Świętojańska 3/12", "Gdynia", "81-372", "PL"),
    ("Rue de l'Église 4 bis", "Liège", "4000", "BE"),
    ("12 Station Road", "Carmarthen", "SA31 1AA", "GB"),
    ("Nygade 9", "Ærøskøbing", "5970", "DK"),
    ("Am Graben 21", "Wien", "1010", "AT"),
    ("Náměstí Míru 2", "České Budějovice", "370 01", "CZ"),
];

/// Makes a buyer. The same person comes back now and then; a third of them are guests.
pub fn buyer(rng: &mut fastrand::Rng) -> Buyer {
    let who = rng.usize(0..NAMES.len());
    let (street, city, postal_code, country) = PLACES[who % PLACES.len()];
    let guest = rng.u8(0..3) == 0;
    Buyer {
        account: (!guest).then(|| format!("c{}", 100 + who)),
        name: NAMES[who].to_owned(),
        company: (who % 5 == 3).then(|| "Brontë & Söhne GmbH".to_owned()),
        // Each visit of a guest has the same address book entry: merging is the merchant's decision.
        email: format!("buyer{who}@example.com"),
        phone: who.is_multiple_of(2).then(|| format!("+4930555{who:04}")),
        street: street.to_owned(),
        city: city.to_owned(),
        postal_code: postal_code.to_owned(),
        country: country.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_articles_with_distinct_skus() {
        let all = articles(3, 60);
        assert_eq!(all, articles(3, 60));
        let mut skus: Vec<_> = all.iter().map(|article| article.sku.as_str()).collect();
        skus.sort_unstable();
        skus.dedup();
        assert_eq!(skus.len(), 60);
        assert!(all.iter().any(|article| article.at_supplier > 0));
    }
}
