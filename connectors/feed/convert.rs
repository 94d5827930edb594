//! One row of a file: what it says about stock, prices and items.
//!
//! A row is read twice, once for judging the whole file and once for handing it over. Reading borrows
//! from the row; only what is handed over is built.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::settings::{Field, Settings};
use crate::connector::Change;
use crate::fault::Fault;
use crate::format::cell::is_formula;
use crate::format::csv::{BadRow, Header, NoColumn, Row};
use crate::format::number::{self, is_scientific, trim};
use crate::id::RemoteId;
use crate::record::{Currency, Money, Presence, Price, Quantity, Record, Sku, StockLevel, Stream};

/// How much of a value is shown.
const VALUE_CHARS: usize = 60;

/// Where each field stands in this file.
#[derive(Debug, Clone)]
pub(super) struct Places([Option<usize>; Field::COUNT]);

impl Places {
    /// # Errors
    /// Every column that cannot be told.
    pub(super) fn find(settings: &Settings, header: &Header) -> Result<Self, Vec<NoColumn>> {
        let mut places = [None; Field::COUNT];
        let mut missing = Vec::new();
        for (field, column) in &settings.columns {
            match header.find(column) {
                Ok(index) => places[*field as usize] = Some(index),
                Err(error) => missing.push(error),
            }
        }
        if missing.is_empty() {
            Ok(Self(places))
        } else {
            Err(missing)
        }
    }

    fn of(&self, field: Field) -> Option<usize> {
        self.0[field as usize]
    }

    /// What stands in the field's column, without spaces around it; `None` without such a column.
    fn cell<'a>(&self, row: &Row<'a>, field: Field) -> Option<&'a str> {
        let index = self.of(field)?;
        Some(row.get(index).map_or("", trim))
    }
}

/// Why a row, or its part for one stream, is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowFault {
    /// The physical line on which the row begins.
    pub(super) line: u64,
    /// The column (from 0) where it goes wrong.
    pub(super) column: Option<usize>,
    /// What stands there, shortened.
    pub(super) value: String,
    /// A stable name.
    pub(super) code: Cow<'static, str>,
    /// What is wrong and how to fix it.
    pub(super) reason: String,
    /// Which article it would have been about, if that is known.
    pub(super) sku: Option<String>,
}

impl RowFault {
    fn new(line: u64, column: Option<usize>, value: &str, code: &'static str) -> Self {
        Self {
            line,
            column,
            value: value.chars().take(VALUE_CHARS).collect(),
            code: Cow::Borrowed(code),
            reason: String::new(),
            sku: None,
        }
    }

    fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// A row that is not even a row.
    pub(super) fn unreadable(bad: &BadRow) -> Self {
        Self::new(bad.line, bad.column, &bad.excerpt, bad.problem.code())
            .because(bad.problem.to_string())
    }

    /// Two rows that say different things about one article.
    pub(super) fn conflict(line: u64, column: Option<usize>, sku: &str, other: u64) -> Self {
        let reason = if other == line {
            "later rows say something else about the same article; none of them is taken".to_owned()
        } else {
            format!("line {other} says something else about the same article; neither is taken")
        };
        let mut fault = Self::new(line, column, sku, "duplicate_sku").because(reason);
        fault.sku = Some(sku.to_owned());
        fault
    }

    /// What the engine is told: a rejected change, under the article's id where that is known.
    pub(super) fn to_change(&self, header: &Header) -> Change {
        let Self {
            line,
            reason,
            value,
            ..
        } = self;
        let place = self.column.map_or_else(
            || format!("line {line}"),
            |column| format!("line {line}, `{}`", header.name_of(column)),
        );
        let message = if value.is_empty() {
            format!("{place}: {reason}")
        } else {
            format!("{place}: `{value}`: {reason}")
        };
        let id = self.sku.clone().unwrap_or_else(|| format!("line {line}"));
        Change::rejected(id, Fault::reject(self.code.clone(), message))
    }
}

/// What a row says for one stream.
pub(super) enum Reading<'a> {
    /// Something.
    Says(Said<'a>),
    /// Nothing: a heading, a blank price.
    Nothing,
    /// Something that cannot be understood.
    Bad(RowFault),
}

/// What one row says for one stream.
pub(super) struct Said<'a> {
    sku: Cow<'a, str>,
    /// The location of stock, the list of a price.
    place: &'a str,
    numbers: Numbers,
}

enum Numbers {
    Stock {
        on_hand: Option<Decimal>,
        available: Option<Decimal>,
        incoming: Option<Decimal>,
        is_estimated: bool,
    },
    Price {
        price: Money,
        compare_at: Option<Decimal>,
        min_qty: Option<Decimal>,
    },
    Item,
}

/// Reads rows of one file for one stream.
#[derive(Debug, Clone)]
pub(super) struct RowReader<'s> {
    settings: &'s Settings,
    places: &'s Places,
    stream: Stream,
}

impl<'s> RowReader<'s> {
    pub(super) fn new(settings: &'s Settings, places: &'s Places, stream: Stream) -> Self {
        Self {
            settings,
            places,
            stream,
        }
    }

    /// Where the article number stands.
    pub(super) fn sku_column(&self) -> Option<usize> {
        self.places.of(Field::Sku)
    }

    /// What the row says.
    pub(super) fn read<'a>(&self, row: &Row<'a>) -> Reading<'a>
    where
        's: 'a,
    {
        let sku = match self.sku(row) {
            Ok(Some(sku)) => sku,
            Ok(None) => return Reading::Nothing,
            Err(fault) => return Reading::Bad(fault),
        };
        let said = match self.stream {
            Stream::Stock => self.stock(row),
            Stream::Prices => self.price(row),
            _ => Ok(Some((Numbers::Item, ""))),
        };
        match said {
            Ok(Some((numbers, place))) => Reading::Says(Said {
                sku,
                place,
                numbers,
            }),
            Ok(None) => Reading::Nothing,
            Err(mut fault) => {
                fault.sku = Some(self.id(&sku, self.place(row)).into_owned());
                Reading::Bad(fault)
            }
        }
    }

    /// The article number; `None` in a heading, which has neither number nor values.
    fn sku<'a>(&self, row: &Row<'a>) -> Result<Option<Cow<'a, str>>, RowFault> {
        let column = self.places.of(Field::Sku);
        // Not trimmed of what makes a formula: a leading tab is one.
        let whole = column.and_then(|index| row.get(index)).unwrap_or_default();
        let text = trim(whole);
        let fault = |code| RowFault::new(row.line(), column, text, code);
        if text.is_empty() {
            if self.says_nothing(row) {
                return Ok(None);
            }
            let reason = "the article number is missing, so nobody knows what the row is about";
            return Err(fault("empty_sku").because(reason));
        }
        if is_formula(text) || is_formula(whole) {
            let reason = "an article number must not look like a formula; write it as plain text";
            return Err(fault("formula_in_sku").because(reason));
        }
        if is_scientific(text) {
            let reason = "a spreadsheet shortened this article number and its digits are lost; \
                          format the column as text before saving";
            return Err(fault("scientific_sku").because(reason));
        }
        let is_ascii = text.is_ascii();
        if text.len() > Sku::MAX_CHARS && (is_ascii || text.chars().count() > Sku::MAX_CHARS) {
            let max = Sku::MAX_CHARS;
            let reason = format!("an article number has at most {max} characters");
            return Err(fault("sku_too_long").because(reason));
        }
        let has_control = if is_ascii {
            text.bytes().any(|byte| byte.is_ascii_control())
        } else {
            text.chars().any(char::is_control)
        };
        if has_control {
            let reason = "an article number must not contain control characters";
            return Err(fault("bad_sku").because(reason));
        }
        if is_ascii || is_nfc_quick(text.chars()) == IsNormalized::Yes {
            return Ok(Some(Cow::Borrowed(text)));
        }
        Ok(Some(Cow::Owned(text.nfc().collect())))
    }

    fn says_nothing(&self, row: &Row<'_>) -> bool {
        let fields: &[Field] = match self.stream {
            Stream::Stock => &[Field::OnHand, Field::Available],
            Stream::Prices => &[Field::Price],
            _ => &[Field::Name, Field::Gtin],
        };
        fields
            .iter()
            .all(|field| self.places.cell(row, *field).is_none_or(str::is_empty))
    }

    fn stock<'a>(&self, row: &Row<'a>) -> Result<Option<(Numbers, &'a str)>, RowFault>
    where
        's: 'a,
    {
        let mut is_estimated = false;
        let mut pieces = |field| -> Result<Option<Decimal>, RowFault> {
            let Some(text) = self.places.cell(row, field).filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            if let Some(value) = self.settings.words.get(text) {
                is_estimated = true;
                return Ok(Some(value));
            }
            self.number(row, field, text).map(Some)
        };
        let on_hand = pieces(Field::OnHand)?;
        let available = pieces(Field::Available)?;
        let incoming = pieces(Field::Incoming)?;
        if on_hand.is_none() && available.is_none() {
            let column = self
                .places
                .of(Field::OnHand)
                .or(self.places.of(Field::Available));
            let reason = "the cell is empty, which is unknown and not zero; write 0 for none";
            return Err(RowFault::new(row.line(), column, "", "unknown_quantity").because(reason));
        }
        let numbers = Numbers::Stock {
            on_hand,
            available,
            incoming,
            is_estimated,
        };
        Ok(Some((numbers, self.place(row))))
    }

    fn price<'a>(&self, row: &Row<'a>) -> Result<Option<(Numbers, &'a str)>, RowFault>
    where
        's: 'a,
    {
        let Some(text) = self
            .places
            .cell(row, Field::Price)
            .filter(|t| !t.is_empty())
        else {
            return Ok(None);
        };
        let currency = self.currency(row)?;
        let fault = |code| RowFault::new(row.line(), self.places.of(Field::Price), text, code);
        let amount = self.number(row, Field::Price, without_currency(text, currency))?;
        if amount.is_sign_negative() && !amount.is_zero() {
            return Err(fault("negative_price").because("a price must not be negative"));
        }
        let optional = |field| match self.places.cell(row, field).filter(|t| !t.is_empty()) {
            Some(text) => self
                .number(row, field, without_currency(text, currency))
                .map(Some),
            None => Ok(None),
        };
        let numbers = Numbers::Price {
            price: Money::new(amount, currency),
            compare_at: optional(Field::CompareAt)?,
            min_qty: optional(Field::MinQty)?,
        };
        Ok(Some((numbers, self.place(row))))
    }

    /// The location of stock, the list of a price.
    fn place<'a>(&self, row: &Row<'a>) -> &'a str
    where
        's: 'a,
    {
        let (field, default) = match self.stream {
            Stream::Stock => (Field::Location, self.settings.location.as_str()),
            Stream::Prices => (Field::PriceList, self.settings.price_list.as_str()),
            _ => return "",
        };
        let told = self.places.cell(row, field).filter(|text| !text.is_empty());
        told.unwrap_or(default)
    }

    fn currency(&self, row: &Row<'_>) -> Result<Currency, RowFault> {
        let told = self.places.cell(row, Field::Currency);
        let fault =
            |text, code| RowFault::new(row.line(), self.places.of(Field::Currency), text, code);
        match (told.filter(|text| !text.is_empty()), self.settings.currency) {
            (Some(code), _) => Currency::from_code(code)
                .map_err(|error| fault(code, "unknown_currency").because(error.message)),
            (None, Some(currency)) => Ok(currency),
            (None, None) => Err(fault("", "unknown_currency").because("the currency is missing")),
        }
    }

    fn number(&self, row: &Row<'_>, field: Field, text: &str) -> Result<Decimal, RowFault> {
        number::parse(text, self.settings.numbers).map_err(|error| {
            let mut reason = error.to_string();
            if error == number::NumberError::NotANumber && self.stream == Stream::Stock {
                reason.push_str("; a word that stands for one belongs into the feed's `words`");
            }
            RowFault::new(row.line(), self.places.of(field), text, error.code()).because(reason)
        })
    }

    /// The source's id of the thing: the article; of a price with its list, where the file tells of
    /// several. Stock goes by the article alone: its location is part of the record.
    fn id<'t>(&self, sku: &'t str, place: &str) -> Cow<'t, str> {
        if self.stream == Stream::Prices && self.places.of(Field::PriceList).is_some() {
            Cow::Owned(format!("{sku}@{place}"))
        } else {
            Cow::Borrowed(sku)
        }
    }

    /// The rejected change for a row that another one contradicts.
    pub(super) fn conflict(&self, row: &Row<'_>, said: &Said<'_>, first: u64) -> RowFault {
        let mut fault = RowFault::conflict(row.line(), self.sku_column(), said.sku(), first);
        fault.sku = Some(self.id(said.sku(), said.place).into_owned());
        fault
    }

    /// The change to hand over.
    ///
    /// # Errors
    /// Where the record's own rules are stricter than reading was.
    pub(super) fn change(&self, row: &Row<'_>, said: &Said<'_>) -> Result<Change, Fault> {
        let sku = Sku::new(&said.sku)?;
        // Of stock the article is the id: shared, not copied.
        let shared = RemoteId::from(sku.shared());
        let mut id = self.id(&said.sku, said.place);
        let record = match &said.numbers {
            Numbers::Stock {
                on_hand,
                available,
                incoming,
                is_estimated,
            } => Record::Stock(StockLevel {
                location: said.place.to_owned(),
                on_hand: quantity(*on_hand),
                available: quantity(*available),
                incoming: quantity(*incoming),
                is_estimated: *is_estimated,
                ..StockLevel::on_hand(sku, Quantity::ZERO)
            }),
            Numbers::Price {
                price,
                compare_at,
                min_qty,
            } => {
                if let Some(from) = min_qty.filter(|from| *from != Decimal::ONE) {
                    id = Cow::Owned(format!("{id}/{}", from.normalize()));
                }
                Record::Price(Price {
                    sku,
                    list: said.place.to_owned(),
                    price: *price,
                    compare_at: compare_at.map_or(Presence::Absent, |amount| {
                        Presence::Value(Money::new(amount, price.currency))
                    }),
                    min_qty: min_qty.map_or_else(|| Quantity::pieces(1), Quantity),
                    tax_included: self
                        .settings
                        .tax_included
                        .map_or(Presence::Absent, Presence::Value),
                    tax_rate: Presence::Absent,
                    valid_from: Presence::Absent,
                    valid_to: Presence::Absent,
                })
            }
            Numbers::Item => Record::from_json(Stream::Items, self.item(row, &sku))?,
        };
        record.check()?;
        let id = if *id == *shared.as_str() {
            shared
        } else {
            RemoteId::from(&*id)
        };
        Ok(Change::present(id, record))
    }

    fn item(&self, row: &Row<'_>, sku: &Sku) -> Value {
        let mut item = Map::new();
        item.insert("sku".to_owned(), json!(sku.as_str()));
        let fields = [
            ("gtin", Field::Gtin),
            ("name", Field::Name),
            ("description", Field::Description),
            ("brand", Field::Brand),
        ];
        for (name, field) in fields {
            // A blank cell tells nothing.
            if let Some(text) = self.places.cell(row, field).filter(|text| !text.is_empty()) {
                item.insert(name.to_owned(), json!(text));
            }
        }
        Value::Object(item)
    }
}

impl Said<'_> {
    /// The article number.
    pub(super) fn sku(&self) -> &str {
        &self.sku
    }

    /// Whether it says that nothing is there.
    pub(super) fn is_zero(&self) -> bool {
        match &self.numbers {
            Numbers::Stock {
                on_hand, available, ..
            } => available
                .or(*on_hand)
                .is_some_and(|pieces| pieces <= Decimal::ZERO),
            _ => false,
        }
    }

    /// The price, if it says one.
    pub(super) fn price(&self) -> Option<Decimal> {
        match &self.numbers {
            Numbers::Price { price, .. } => Some(price.amount),
            _ => None,
        }
    }

    /// What it is about, in 64 bits: equal for rows that speak of the same thing.
    pub(super) fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.sku.hash(&mut hasher);
        self.place.hash(&mut hasher);
        if let Numbers::Price { price, min_qty, .. } = &self.numbers {
            price.currency.code().hash(&mut hasher);
            min_qty.map(|n| n.normalize()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What it says about it, in 64 bits.
    pub(super) fn value(&self, row: &Row<'_>) -> u64 {
        let mut hasher = DefaultHasher::new();
        match &self.numbers {
            Numbers::Stock {
                on_hand,
                available,
                incoming,
                is_estimated,
            } => (on_hand, available, incoming, is_estimated).hash(&mut hasher),
            Numbers::Price {
                price, compare_at, ..
            } => (price, compare_at).hash(&mut hasher),
            Numbers::Item => row.iter().for_each(|cell| cell.hash(&mut hasher)),
        }
        hasher.finish()
    }
}

fn quantity(value: Option<Decimal>) -> Presence<Quantity> {
    value.map_or(Presence::Absent, |value| Presence::Value(Quantity(value)))
}

/// `$74.69` and `12,50 EUR` without the currency, if it is the one that was told. Any other stays and
/// makes the text no number.
fn without_currency(text: &str, currency: Currency) -> &str {
    let symbols: &[&str] = match currency.code() {
        "EUR" => &["\u{20ac}"],
        "USD" => &["US$", "$"],
        "CAD" | "AUD" | "NZD" | "SGD" | "HKD" | "MXN" => &["$"],
        "GBP" => &["\u{a3}"],
        "JPY" => &["\u{a5}", "\u{ffe5}", "\u{5186}"],
        "CNY" => &["\u{a5}", "\u{ffe5}", "\u{5143}"],
        "KRW" => &["\u{20a9}", "\u{c6d0}"],
        "RUB" => &["\u{20bd}", "\u{440}\u{443}\u{431}."],
        "INR" => &["\u{20b9}"],
        "PLN" => &["z\u{142}"],
        "CZK" => &["K\u{10d}"],
        "SEK" | "NOK" | "DKK" => &["kr"],
        "CHF" => &["Fr."],
        "HUF" => &["Ft"],
        _ => &[],
    };
    let known = symbols.iter().copied().chain([currency.code()]);
    for symbol in known {
        if let Some(rest) = text.strip_prefix(symbol).or(text.strip_suffix(symbol)) {
            return trim(rest);
        }
    }
    text
}
