//! Scans of rows: iterated, by pages, or counted.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::vec;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::key::{AsPrefix, behind};
use super::{Row, TableError};
use crate::{Kv, Schema};

/// The entries that one call of the host reads. The host may return fewer.
const BATCH: u32 = 200;

/// Returns the row of an entry: its key, without the prefix of the space, and its value. None if the row was removed since.
pub(super) type ToRow<R> = fn(Kv, &[u8], &[u8]) -> Result<Option<R>, TableError>;
/// Returns the key of the row of an entry: its key, without the prefix of the space, and its value.
pub(super) type ToKey<K> = fn(&[u8], &[u8]) -> Result<K, TableError>;

/// The entries of a table or an index, and how to convert them to rows.
pub(super) struct RowSource<R: Row> {
    /// The prefix of all keys.
    pub(super) space: Vec<u8>,
    pub(super) row: ToRow<R>,
    pub(super) key: ToKey<R::Key>,
}

/// Rows in the order of a table or an index. Reads nothing until it is used, and then some hundred entries at a time.
///
/// In a `for` loop it yields rows or errors. The loop may write to the table: it doesn't yield rows that it has removed, and
/// may yield rows that it has added.
pub struct Scan<R: Row> {
    kv: Kv,
    view: RowSource<R>,
    start: Vec<u8>,
    end: Vec<u8>,
    descending: bool,
    after: Option<Cursor>,
}

impl<R: Row> Scan<R> {
    pub(super) fn all(kv: Kv, view: RowSource<R>) -> Self {
        let start = view.space.clone();
        let end = behind(view.space.clone());
        Self::between(kv, view, start, end)
    }

    pub(super) fn prefix<K>(kv: Kv, view: RowSource<R>, prefix: &impl AsPrefix<K>) -> Self {
        let start = position(&view, prefix);
        let end = behind(start.clone());
        Self::between(kv, view, start, end)
    }

    pub(super) fn range<K, P: AsPrefix<K>>(kv: Kv, view: RowSource<R>, bounds: &impl RangeBounds<P>) -> Self {
        let start = match bounds.start_bound() {
            Bound::Included(first) => position(&view, first),
            Bound::Excluded(before) => behind(position(&view, before)),
            Bound::Unbounded => view.space.clone(),
        };
        let end = match bounds.end_bound() {
            Bound::Included(last) => behind(position(&view, last)),
            Bound::Excluded(end) => position(&view, end),
            Bound::Unbounded => behind(view.space.clone()),
        };
        Self::between(kv, view, start, end)
    }

    fn between(kv: Kv, view: RowSource<R>, start: Vec<u8>, end: Vec<u8>) -> Self {
        Self {
            kv,
            view,
            start,
            end,
            descending: false,
            after: None,
        }
    }

    /// Reverses the order.
    #[must_use]
    pub fn descending(self) -> Self {
        Self {
            descending: true,
            ..self
        }
    }

    /// Continues after the last row of an earlier page, also if that row was removed. A foreign cursor, such as a forged one of
    /// a client, never leads outside the scanned range.
    #[must_use]
    pub fn after(self, cursor: Option<Cursor>) -> Self {
        Self { after: cursor, ..self }
    }

    /// Returns the first row, if any.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn first(self) -> Result<Option<R>, TableError> {
        self.rows(1).next().transpose()
    }

    /// Returns up to `limit` rows (at least one), and the cursor of the next page if more rows exist.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn page(self, limit: usize) -> Result<Page<R>, TableError> {
        let limit = limit.max(1);
        let mut scanned = self.rows(limit.saturating_add(1));
        let mut rows = Vec::new();
        while rows.len() < limit {
            match scanned.next() {
                Some(row) => rows.push(row?),
                None => return Ok(Page { rows, next: None }),
            }
        }
        let last = scanned.last.take();
        let more = scanned.next().transpose()?.is_some();
        Ok(Page {
            rows,
            next: last.filter(|_| more),
        })
    }

    /// Counts the rows up to `bound`.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn count(self, bound: usize) -> Result<usize, TableError> {
        let mut entries = self.entries(bound);
        let mut count = 0;
        while count < bound && entries.next().transpose()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Returns only the keys of the rows. By an index that costs much less than to read the rows.
    pub fn keys(self) -> impl Iterator<Item = Result<R::Key, TableError>> {
        let (space, key) = (self.view.space.len(), self.view.key);
        self.entries(usize::MAX).map(move |entry| {
            let (found, value) = entry?;
            key(&found[space..], &value)
        })
    }

    fn rows(self, wanted: usize) -> Rows<R> {
        Rows {
            kv: self.kv,
            space: self.view.space.len(),
            row: self.view.row,
            entries: self.entries(wanted),
            last: None,
        }
    }

    fn entries(self, wanted: usize) -> EntryScan {
        let (mut start, mut end) = (self.start, self.end);
        if let Some(Cursor(last)) = self.after {
            let last = [self.view.space, last].concat();
            // No key is a prefix of another, so the end of that prefix is the position after the key.
            if self.descending {
                end = end.min(last);
            } else {
                start = start.max(behind(last));
            }
        }
        EntryScan::new(self.kv, start, end, self.descending, wanted)
    }
}

impl<R: Row> IntoIterator for Scan<R> {
    type Item = Result<R, TableError>;
    type IntoIter = Rows<R>;

    fn into_iter(self) -> Rows<R> {
        self.rows(usize::MAX)
    }
}

impl<R: Row> fmt::Debug for Scan<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("table", &R::TABLE)
            .field("start", &self.start.escape_ascii().to_string())
            .field("end", &self.end.escape_ascii().to_string())
            .field("descending", &self.descending)
            .finish_non_exhaustive()
    }
}

fn position<R: Row, K>(view: &RowSource<R>, prefix: &impl AsPrefix<K>) -> Vec<u8> {
    let mut bytes = view.space.clone();
    prefix.encode_prefix(&mut bytes);
    bytes
}

/// Iterates over the rows of a [`Scan`]. An error of the host ends the iteration.
#[derive(Debug)]
pub struct Rows<R> {
    kv: Kv,
    space: usize,
    row: ToRow<R>,
    entries: EntryScan,
    last: Option<Cursor>,
}

impl<R> Iterator for Rows<R> {
    type Item = Result<R, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, value) = match self.entries.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let key = &key[self.space..];
            let row = (self.row)(self.kv, key, &value);
            self.last = Some(Cursor(key.to_vec()));
            if let Some(row) = row.transpose() {
                return Some(row);
            }
        }
    }
}

/// Iterates over entries of the key space. Reads some hundred at a time.
#[derive(Debug)]
pub(super) struct EntryScan {
    kv: Kv,
    start: Vec<u8>,
    end: Vec<u8>,
    descending: bool,
    batch: u32,
    read: vec::IntoIter<(Vec<u8>, Vec<u8>)>,
}

impl EntryScan {
    /// Takes `start` and `end` as [`Kv::scan`] does; no key between them may be a prefix of another. Reads at most `wanted`
    /// entries at a time.
    pub(super) fn new(kv: Kv, start: Vec<u8>, end: Vec<u8>, descending: bool, wanted: usize) -> Self {
        Self {
            kv,
            start,
            end,
            descending,
            batch: u32::try_from(wanted).unwrap_or(BATCH).clamp(1, BATCH),
            read: Vec::new().into_iter(),
        }
    }

    /// Reads the next entries. Only an empty result proves the end, since the operator sets the limit of one call.
    fn read_on(&mut self) -> Result<(), TableError> {
        if self.start >= self.end {
            return Ok(());
        }
        let read = if self.descending {
            self.kv.scan_descending(&self.start, &self.end, self.batch)?
        } else {
            self.kv.scan(&self.start, &self.end, self.batch)?
        };
        match read.last() {
            None => self.start.clone_from(&self.end),
            Some((last, _)) if self.descending => self.end.clone_from(last),
            Some((last, _)) => self.start = behind(last.clone()),
        }
        self.read = read.into_iter();
        Ok(())
    }
}

impl Iterator for EntryScan {
    type Item = Result<(Vec<u8>, Vec<u8>), TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.len() == 0
            && let Err(error) = self.read_on()
        {
            self.start.clone_from(&self.end);
            return Some(Err(error));
        }
        self.read.next().map(Ok)
    }
}

/// Some rows, and the cursor of the next page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R> {
    /// The rows.
    pub rows: Vec<R>,
    /// The argument of [`Scan::after`] for the next page; none if this is the last one.
    pub next: Option<Cursor>,
}

/// A position in a scan. In JSON and in `record!` it is a text, which can go to clients and return. It contains the key of
/// the last row in hex digits, readable for everybody who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl Schema for Cursor {
    const JSON: &'static str = String::JSON;
    const LIST: &'static str = String::LIST;
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        let digits = self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        serializer.serialize_str(&digits.collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nibble = |digit: &u8| {
            char::from(*digit)
                .to_digit(16)
                .and_then(|nibble| u8::try_from(nibble).ok())
        };
        let byte = |digits: &[u8]| match digits {
            [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.map(Self).ok_or_else(|| de::Error::custom("not a cursor"))
    }
}
