//! How the world's lists are read: windows that close behind what is visible, ties, numbers, pages, sweeps.

use async_trait::async_trait;
use crossdock::clock::Timestamp;
use crossdock::connector::{Change, Cursor, Page, Source};
use crossdock::fault::Fault;
use crossdock::id::RemoteId;
use crossdock::record::{Lane, Record, Stream};
use serde_json::json;

use super::case::Trouble;
use super::wire::Link;
use super::world::{ACME, ERP, PROMISED, World};

/// How many things stand on a page.
const PAGE: usize = 3;
/// The settle lag that the systems declare, in seconds.
const SETTLE: i64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Orders,
    Parcels,
    Stock,
    Prices,
    Items,
}

#[derive(Debug)]
pub struct Reader {
    link: Link,
    kind: Kind,
}

impl Reader {
    pub fn new(link: Link, kind: Kind) -> Self {
        Self { link, kind }
    }
}

#[async_trait]
impl Source for Reader {
    async fn pull(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        let (system, kind) = (self.link.system, self.kind);
        let after = after.cloned();
        // Also one that is refused begins here: what it shows is no older.
        super::wire::Shared::now()
            .world()
            .asked(system, kind, after.as_ref());
        let op = move |world: &mut World| {
            let page = match kind {
                Kind::Stock => world.stock_page(system, after.as_ref()),
                _ => Ok(world.event_page(system, kind, after.as_ref())),
            };
            if let Ok(page) = &page {
                world.answered(system, kind, page);
            }
            page
        };
        self.link.call(Lane::default(), op).await?
    }

    async fn fetch(&self, ids: &[RemoteId]) -> Result<Vec<Change>, Fault> {
        let (system, kind) = (self.link.system, self.kind);
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let op = move |world: &mut World| {
            let rows = world.rows(system, kind);
            let rows = rows.into_iter().filter(|row| ids.contains(&row.id));
            rows.map(|row| row.change).collect::<Vec<Change>>()
        };
        self.link.call(Lane::default(), op).await
    }

    async fn sweep(&self, after: Option<&Cursor>) -> Result<Page, Fault> {
        let (system, kind) = (self.link.system, self.kind);
        let after = match after {
            Some(Cursor::Token { token, .. }) => token.clone(),
            _ => String::new(),
        };
        let op = move |world: &mut World| world.sweep_page(system, kind, &after);
        self.link.call(Lane::default(), op).await
    }
}

/// A thing in a list.
pub struct Row {
    id: String,
    updated: Timestamp,
    sequence: u64,
    visible: std::time::Duration,
    change: Change,
    /// What was told of it before, if a page may tell that again.
    before: Option<Change>,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Parcels => "shipments",
            Self::Stock => "stock",
            Self::Prices => "prices",
            Self::Items => "items",
        }
    }
}

impl World {
    fn asked(&mut self, system: usize, kind: Kind, after: Option<&Cursor>) {
        let now = self.now;
        self.horizons.asked((system, kind.name()), after, now);
    }

    fn answered(&mut self, system: usize, kind: Kind, page: &Page) {
        let stream = (system, kind.name());
        let reached = (page.cursor.clone(), page.more);
        self.horizons.answered(stream, reached, self.now);
        if !page.changes.is_empty() && kind != Kind::Stock {
            let ids: Vec<String> = page.changes.iter().map(|it| it.id.to_string()).collect();
            let name = super::world::SYSTEMS[system];
            self.tell(format_args!(
                "{name} shows {} {ids:?} to {}",
                kind.name(),
                page.cursor
            ));
        }
    }

    fn rows(&self, system: usize, kind: Kind) -> Vec<Row> {
        let row = |id: &str, sequence, visible, versions: &[Change]| {
            let change = versions.last().unwrap().clone();
            let updated = change.version.updated_at.unwrap();
            let mut before = versions.iter().rev();
            let older = before.find(|it| it.version.updated_at < Some(updated));
            Row {
                id: id.to_owned(),
                updated,
                sequence,
                visible,
                before: older.cloned(),
                change,
            }
        };
        let erp = &self.erp;
        match kind {
            Kind::Stock => Vec::new(), // its pages are made otherwise
            Kind::Parcels => {
                let rows = erp.parcels.iter();
                rows.map(|it| {
                    row(
                        &it.tracking,
                        0,
                        it.visible,
                        std::slice::from_ref(&it.change),
                    )
                })
                .collect()
            }
            Kind::Prices => {
                let rows = erp.prices.iter();
                rows.map(|it| row(it.versions[0].id.as_str(), 0, it.visible(), &it.versions))
                    .collect()
            }
            Kind::Items => {
                let rows = erp.items.iter();
                rows.map(|it| row(it.versions[0].id.as_str(), 0, it.visible, &it.versions))
                    .collect()
            }
            Kind::Orders => {
                let rows = self.shops[system].orders.iter();
                rows.map(|it| row(&it.id, it.sequence, it.visible, &it.versions))
                    .collect()
            }
        }
    }

    fn page(&self, system: usize, changes: Vec<Change>, cursor: Cursor, more: bool) -> Page {
        Page {
            changes,
            cursor,
            more,
            read_at: self.vendor_time(system, self.now),
            as_of: None,
            complete: false,
        }
    }

    fn event_page(&mut self, system: usize, kind: Kind, after: Option<&Cursor>) -> Page {
        let rows = self.rows(system, kind);
        let (mut rows, last) = if kind == Kind::Orders && system == 1 {
            self.after_number(rows, after)
        } else {
            self.after_moment(system, rows, after)
        };
        let more = rows.len() > PAGE;
        rows.truncate(PAGE);
        let cursor = match (rows.last(), last) {
            (Some(row), Cursor::Watermark { .. }) if more => Cursor::Watermark {
                at: row.updated,
                tie: row.id.clone(),
            },
            (Some(row), Cursor::Sequence { .. }) => Cursor::Sequence { last: row.sequence },
            (_, last) => last,
        };
        let old = rows.iter().find_map(|row| row.before.clone());
        let mut changes: Vec<Change> = rows.into_iter().map(|row| row.change).collect();
        if self.unlucky(Trouble::Repeats, 150) {
            let known = self
                .rows(system, kind)
                .into_iter()
                .filter(|row| row.visible <= self.now);
            changes.extend(known.map(|row| row.change).take(1));
            changes.reverse();
        }
        // What was told before is told again behind the new; whoever keeps versions knows better.
        if let Some(old) = old.filter(|_| self.unlucky(Trouble::OldVersion, 300)) {
            changes.push(old);
        }
        self.page(system, changes, cursor, more)
    }

    /// By number: nothing behind a gap that may still be filled.
    fn after_number(&mut self, mut rows: Vec<Row>, after: Option<&Cursor>) -> (Vec<Row>, Cursor) {
        let last = match after {
            Some(Cursor::Sequence { last }) => *last,
            _ => 0,
        };
        rows.retain(|row| row.sequence > last);
        rows.sort_by_key(|row| row.sequence);
        let hidden = |row: &Row| row.visible > self.now;
        let gap = rows
            .iter()
            .position(|row| hidden(row) && row.visible < self.now + PROMISED);
        let behind = rows.split_off(gap.unwrap_or(rows.len()));
        rows.retain(|row| !hidden(row));
        if let [late, behind @ ..] = &behind[..] {
            for row in behind {
                self.hide_behind(&late.id, &row.id);
            }
        }
        (rows, Cursor::Sequence { last })
    }

    /// By moment, ties by id, and never closer to now than the settle lag.
    fn after_moment(
        &self,
        system: usize,
        mut rows: Vec<Row>,
        after: Option<&Cursor>,
    ) -> (Vec<Row>, Cursor) {
        let now = self.vendor_time(system, self.now).as_second();
        let until = Timestamp::from_second(now - SETTLE).unwrap();
        let (from, tie) = match after {
            Some(Cursor::Watermark { at, tie }) => (*at, tie.clone()),
            _ => (Timestamp::MIN, String::new()),
        };
        let is_new = |row: &Row| {
            row.updated > from || (row.updated == from && !tie.is_empty() && row.id > tie)
        };
        rows.retain(|row| row.visible <= self.now && row.updated <= until && is_new(row));
        rows.sort_by(|a, b| (a.updated, &a.id).cmp(&(b.updated, &b.id)));
        (rows, Cursor::watermark(until.max(from)))
    }

    fn sweep_page(&mut self, system: usize, kind: Kind, after: &str) -> Page {
        let mut rows = self.rows(system, kind);
        rows.retain(|row| row.visible <= self.now && row.id.as_str() > after);
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        let more = rows.len() > 2 * PAGE;
        rows.truncate(2 * PAGE);
        let token = rows.last().map_or(String::new(), |row| row.id.clone());
        let changes = rows.into_iter().map(|row| row.change).collect();
        self.page(system, changes, Cursor::Token { token, until: None }, more)
    }

    fn stock_page(&mut self, system: usize, after: Option<&Cursor>) -> Result<Page, Fault> {
        let is_second = matches!(after, Some(Cursor::Token { .. }));
        let half = self.case.skus.div_ceil(2);
        if system == ACME && is_second && self.unlucky(Trouble::BadFeed, 50) {
            return Err(Fault::retry("cut", "the list ends in its middle"));
        }
        let skus = if is_second {
            half..self.case.skus
        } else {
            0..half
        };
        let mut changes = Vec::new();
        for sku in skus {
            let number = match system {
                ERP => Some(self.erp.on_hand[sku]),
                _ if self.unlisted.contains(&sku) => None,
                _ => self.acme.get(&sku).copied(),
            };
            let Some(number) = number else { continue };
            let json = json!({"sku": format!("S{sku}"), "on_hand": number.to_string()});
            let record = Record::from_json(Stream::Stock, json).unwrap();
            changes.push(Change::present(format!("S{sku}").as_str(), record));
        }
        let read_at = self.vendor_time(system, self.now);
        let (cursor, more) = if is_second {
            (Cursor::watermark(read_at), false)
        } else {
            let token = format!("second half, {}", self.number());
            (Cursor::Token { token, until: None }, true)
        };
        let mut page = self.page(system, changes, cursor, more);
        page.complete = system == ACME && !more;
        Ok(page)
    }
}
