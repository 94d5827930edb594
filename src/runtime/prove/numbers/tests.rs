use async_trait::async_trait;

use super::*;
use crate::connector::{Cursor, Page};
use crate::proof::Told;
use crate::record::{Sku, StockLevel};

/// A channel whose stock is read page by page, one level a page.
#[derive(Debug, Default)]
struct Shelf {
    levels: Vec<(&'static str, &'static str, i64)>,
    by_id: bool,
    takes_away: bool,
}

impl Shelf {
    fn change(&self, n: usize) -> Change {
        let (sku, location, pieces) = self.levels[n];
        let sku = Sku::new(sku).unwrap();
        let mut level = StockLevel::on_hand(sku, Quantity::pieces(pieces));
        level.location = location.to_owned();
        Change::present(format!("{n}@{location}").as_str(), Record::Stock(level))
    }
}

#[async_trait]
impl Source for Shelf {
    async fn pull(&self, _: Option<&Cursor>) -> Result<Page, Fault> {
        Err(Fault::bug("hurry", "a proof goes behind everything else"))
    }

    async fn sweep(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        let n = match after {
            Some(Cursor::Sequence { last }) => usize::try_from(*last).unwrap(),
            _ => 0,
        };
        Ok(Page {
            changes: vec![self.change(n)],
            cursor: Cursor::Sequence { last: n as u64 + 1 },
            more: n + 1 < self.levels.len(),
            read_at: Timestamp::UNIX_EPOCH,
            as_of: None,
            complete: false,
        })
    }

    async fn peek(&self) -> Result<Option<Page>, Fault> {
        if self.takes_away {
            return Ok(None);
        }
        self.sweep(None).await.map(Some)
    }

    async fn fetch(&self, ids: &[RemoteId]) -> Result<Vec<Change>, Fault> {
        let all = (0..self.levels.len()).map(|n| self.change(n));
        Ok(all.filter(|change| ids.contains(&change.id)).collect())
    }

    fn can_fetch(&self) -> bool {
        self.by_id
    }
}

fn told(sku: &str) -> Told {
    let number = pieces(1);
    Told {
        key: Key::new(sku),
        place: Place::stock(sku),
        wanted: number,
        told: None,
        held: None,
        story: Vec::new(),
    }
}

fn pieces(amount: i64) -> Number {
    Number {
        amount: amount.into(),
        compare_at: None,
    }
}

#[tokio::test]
async fn a_channel_is_read_as_a_whole_and_looked_at_again_by_id() {
    let both = [told("A"), told("B"), told("C")];
    let mut shelf = Shelf {
        levels: vec![("A", "main", 5), ("B", "main", 3)],
        ..Shelf::default()
    };
    let whole = read_whole(&shelf, Stream::Stock).await.unwrap().unwrap();
    let shown = of_whole(&whole, &both);
    assert_eq!(shown[&Place::stock("A")], Shown::Number(pieces(5)));
    assert_eq!(shown[&Place::stock("B")], Shown::Number(pieces(3)));
    assert_eq!(shown.get(&Place::stock("C")), None);
    for by_id in [false, true] {
        shelf.by_id = by_id;
        shelf.levels[1].2 = 2;
        let shown = again(&shelf, Stream::Stock, &whole, &both[1..])
            .await
            .unwrap();
        let expect = BTreeMap::from([(Place::stock("B"), Shown::Number(pieces(2)))]);
        assert_eq!(shown, expect, "{by_id}");
    }
}

/// What cannot say what it shows is not readable, and is no zero and no difference (law S9).
#[tokio::test]
async fn several_locations_and_what_takes_away_are_not_readable() {
    let parted = Shelf {
        levels: vec![("A", "main", 5), ("A", "shop", 1)],
        ..Shelf::default()
    };
    let why = read_whole(&parted, Stream::Stock).await.unwrap().err();
    assert!(why.unwrap().contains("several locations"));
    let taking = Shelf {
        levels: vec![("A", "main", 5)],
        takes_away: true,
        ..Shelf::default()
    };
    let why = read_whole(&taking, Stream::Stock).await.unwrap().err();
    assert!(why.unwrap().contains("takes away"));
}

#[test]
fn a_sku_that_is_there_twice_is_told_unless_both_say_the_same() {
    let mut shown = BTreeMap::new();
    let place = Place::stock("A");
    add(&mut shown, place.clone(), pieces(5));
    add(&mut shown, place.clone(), pieces(5));
    assert_eq!(shown[&place], Shown::Number(pieces(5)));
    add(&mut shown, place.clone(), pieces(4));
    add(&mut shown, place.clone(), pieces(5));
    let why = Shown::Refused("is there twice, as 5 and as 4".to_owned());
    assert_eq!(shown[&place], why);
}
