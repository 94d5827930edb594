//! A walk over the rows of one map that reads ahead, and jumps where blocks need not be read.

use std::collections::VecDeque;

use super::Blocks;
use crate::store::{KeyRange, Row, StoreError, Txn};

/// How many rows are read ahead at most: sequential passes gain nothing from more.
const READ_AHEAD: usize = 16;

/// Stands before a block. Rows that are staged behind its back are seen only in front of what it has
/// read ahead, so a pass may write the blocks that it has popped.
#[derive(Debug)]
pub(super) struct Cursor<'m> {
    blocks: &'m Blocks,
    ahead: VecDeque<Row>,
    /// What is behind the rows in `ahead`.
    rest: KeyRange,
    page: usize,
}

impl<'m> Cursor<'m> {
    /// Stands before the first block.
    pub(super) fn new(blocks: &'m Blocks) -> Self {
        let rest = KeyRange::prefix(blocks.prefix.clone());
        Self {
            blocks,
            ahead: VecDeque::new(),
            rest,
            page: 1,
        }
    }

    /// Moves to the block in whose range `key` lies: the one with the greatest first key up to `key`,
    /// or the first of all. Only ever moves forward.
    pub(super) fn seek(&mut self, txn: &Txn<'_>, key: &str) -> Result<(), StoreError> {
        let wanted = self.blocks.row_key(key);
        while self.ahead.get(1).is_some_and(|next| next.key <= wanted) {
            self.ahead.pop_front();
        }
        if self.ahead.len() > 1 || self.ahead.front().is_some_and(|row| row.key > wanted) {
            return Ok(());
        }
        // What was read ahead does not tell where the block of `key` ends: ask the store.
        let unread = self.rest.clone().before(&self.blocks.row_key_behind(key));
        if unread.is_empty() {
            return Ok(());
        }
        if let Some(row) = txn.last(&unread)? {
            self.rest = self.rest.clone().after(&row.key);
            self.ahead.clear();
            self.ahead.push_back(row);
            self.page = 1;
        }
        Ok(())
    }

    /// Takes the block it stands before; `None` behind the last one.
    pub(super) fn pop(&mut self, txn: &Txn<'_>) -> Result<Option<Row>, StoreError> {
        self.read_ahead(txn)?;
        Ok(self.ahead.pop_front())
    }

    /// The first key of the block it stands before.
    pub(super) fn peek_first_key(&mut self, txn: &Txn<'_>) -> Result<Option<String>, StoreError> {
        self.read_ahead(txn)?;
        self.ahead
            .front()
            .map(|row| self.blocks.first_key(row))
            .transpose()
    }

    fn read_ahead(&mut self, txn: &Txn<'_>) -> Result<(), StoreError> {
        if self.ahead.is_empty() && !self.rest.is_empty() {
            let rows = txn.scan(&self.rest, self.page)?;
            self.rest = match rows.last() {
                Some(last) if rows.len() == self.page => self.rest.clone().after(&last.key),
                // Nothing is left: a range without keys.
                _ => KeyRange::between(Vec::new(), Vec::new()),
            };
            self.ahead.extend(rows);
            self.page = (self.page * 2).min(READ_AHEAD);
        }
        Ok(())
    }
}
