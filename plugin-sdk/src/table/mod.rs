//! Typed tables with indexes over the plugin's key space.
//!
//! A table is a type of rows. [`table!`](crate::table!) declares its name, its key and its indexes, and implements [`Row`]
//! and [`Index`]. [`Context::table`] then reads and writes it inside the transaction of the call. Every write updates the
//! indexes, and the compiler rejects keys of the wrong type and indexes of other tables.
//!
//! ```
//! use courtyard_plugin_sdk::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Friend {
//!     owner: String,
//!     other: String,
//!     since_ms: u64,
//! }
//!
//! table! {
//!     Friend in "friends", key (owner: String, other: String);
//!
//!     /// Friends of someone, the oldest first.
//!     many ByTime in "time", key (owner: String, since_ms: u64);
//! }
//!
//! # struct Friends;
//! # impl Plugin for Friends {
//! #     fn start(_configuration: &str) -> Result<Self, Error> {
//! #         Ok(Friends)
//! #     }
//! # }
//! # register! { plugin: Friends, id: "friends", description: "", capabilities: [kv], hooks: [], methods: [] }
//! # fn main() -> Result<(), Error> {
//! # let host = courtyard_plugin_sdk::testing::TestHost::<Friends>::start("{}")?;
//! # host.run(|cx| {
//! let friends = cx.table::<Friend>();
//! for (other, since_ms) in [("bob", 20), ("cleo", 10)] {
//!     friends.insert(&Friend { owner: "ann".into(), other: other.into(), since_ms })?;
//! }
//! assert!(friends.contains(("ann", "bob"))?);
//! assert_eq!(friends.scan(("ann",)).count(100)?, 2);
//!
//! let oldest = friends.by(ByTime).scan(("ann",)).first()?;
//! assert_eq!(oldest.map(|friend| friend.other).as_deref(), Some("cleo"));
//!
//! let page = friends.by(ByTime).range(("ann", 5)..("ann", 100)).descending().page(1)?;
//! assert_eq!(page.rows[0].other, "bob");
//! assert!(page.next.is_some());
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # When rows change
//! Rows are JSON objects: a plugin has the code for it anyway, operators can read them, and a row names its fields. So a new
//! version of a plugin reads old rows if new fields have `#[serde(default)]`. A roll-back reads new rows: it ignores unknown
//! fields, and loses them when it writes the row. (Types of `record!` reject unknown fields.)
//!
//! All other changes need [`Plugin::migrate`](crate::Plugin::migrate). If a type, a key or a meaning changes, keep the old
//! type beside the new one, give the new table another name, and move row by row: [`Table::remove`] through the old type,
//! [`Table::insert`] through the new one. If an index is added or removed, or its keys change, call
//! [`Table::rebuild_indexes`] for any previous version: a new index is empty, and after a roll-back an index that the other
//! version didn't have is stale.
//!
//! # The layout of the key space
//! Keys of tables start with a zero byte, so don't start your own keys with one. The key of a row is a zero, the name of the
//! table, two zeros and the encoded [`Key`]. In an entry of an index the name of the index is between these two zeros. Names
//! contain no zeros, so tables and indexes can't overlap. Two types with the same [`Row::TABLE`] are the same table: use that
//! only in `migrate`.
//!
//! One row and each of its entries in indexes must fit the host's limits `key_bytes` and `value_bytes`. A scan uses one call
//! of the host for some hundred rows, and by an index one more for each row. A write uses two, and one or two more for each
//! key of an index that is added or removed.

mod index;
mod key;
mod macros;
mod name;
mod scan;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::RangeBounds;

pub use index::{By, HasIndex, Index, IndexAt, IndexKind, Indexes, Many, Unique};
pub use key::{AsKey, AsPrefix, Key, KeyPrefix};
pub use scan::{Cursor, Page, Rows, Scan};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Context, Error, Kv, ServiceError};
use index::IndexEntry;
use scan::{EntryScan, RowSource};

/// A row of a table. See [the module](self) for an example.
pub trait Row: Serialize + DeserializeOwned {
    /// The name of the table, unique in the plugin: 1 to 32 lower-case letters, digits and `_`.
    const TABLE: &'static str;
    /// The type of the key of a row.
    type Key: Key;
    /// The indexes of the table: `()`, `(ByName,)`, `(ByName, ByAge)`.
    type Indexes: Indexes<Self>;

    /// Returns the key of the row.
    fn key(&self) -> Self::Key;
}

/// Why an operation on a table fails. It has then written nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The table has a row with this key.
    #[error("table `{table}` has a row with this key")]
    Exists {
        /// The table.
        table: &'static str,
    },
    /// Another row has this key in a unique index.
    #[error("another row of table `{table}` has this key in the index `{index}`")]
    NotUnique {
        /// The table.
        table: &'static str,
        /// The index.
        index: &'static str,
    },
    /// The key of a row differs from the key under which it is stored: an update changed it, or another version of the plugin
    /// computes keys differently.
    #[error("a row of table `{table}` has another key than before")]
    KeyChanged {
        /// The table.
        table: &'static str,
    },
    /// A row can't be written as JSON, or a stored value is not a row of this type.
    #[error("a row of table `{table}` does not fit its type")]
    Json {
        /// The table.
        table: &'static str,
        /// What does not fit.
        #[source]
        cause: serde_json::Error,
    },
    /// An index doesn't match its rows, or a key its type; [`Table::rebuild_indexes`] may help.
    #[error("the index `{index}` of table `{table}` does not fit the rows")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The index; empty for the table itself.
        index: &'static str,
    },
    /// An operation on the key space failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Has the code `conflict` where the row or its key in an index exists, `internal` for a fault, or that of the error of the
/// key space. A method that expects a conflict should return an error with its own meaning instead.
impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        let code = match &error {
            TableError::Service(service) => return service.clone().into(),
            TableError::Json { cause, .. } => return Self::new("internal", format!("{error}: {cause}")),
            TableError::Exists { .. } | TableError::NotUnique { .. } => "conflict",
            TableError::KeyChanged { .. } | TableError::Corrupt { .. } => "internal",
        };
        Self::new(code, error.to_string())
    }
}

impl Context {
    /// Returns a table of the plugin. Capability `kv`.
    ///
    /// Invalid names don't compile:
    ///
    /// ```compile_fail,E0080
    /// # use courtyard_plugin_sdk::{Context, table::Row};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Group { id: u64 }
    /// impl Row for Group {
    ///     const TABLE: &'static str = "";
    /// #   type Key = u64;
    /// #   type Indexes = ();
    /// #   fn key(&self) -> u64 { self.id }
    /// }
    /// # fn main() { Context::default().table::<Group>(); }
    /// ```
    #[must_use]
    pub fn table<R: Row>(&self) -> Table<R> {
        const { name::check(R::TABLE, R::Indexes::NAMES) };
        Table {
            kv: self.kv(),
            row: PhantomData,
        }
    }
}

/// A table of the plugin in the app of the call; see [`Context::table`].
#[derive(Debug)]
pub struct Table<R> {
    kv: Kv,
    row: PhantomData<R>,
}

impl<R: Row> Table<R> {
    /// Returns the row of a key, if it exists.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn get(&self, key: impl AsKey<R::Key>) -> Result<Option<R>, TableError> {
        read(self.kv, &encoded(Vec::new(), &key))
    }

    /// Returns whether a row of a key exists.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn contains(&self, key: impl AsKey<R::Key>) -> Result<bool, TableError> {
        let found = self.kv.get(encoded(space(R::TABLE, ROWS), &key))?;
        Ok(found.is_some())
    }

    /// Inserts a new row.
    ///
    /// # Errors
    /// [`TableError::Exists`] if the table has a row of its key, [`TableError::NotUnique`] if another row has its key in a
    /// unique index; see [`TableError`].
    pub fn insert(&self, row: &R) -> Result<(), TableError> {
        let key = row.key();
        if self.contains(&key)? {
            return Err(TableError::Exists { table: R::TABLE });
        }
        self.write(&encoded(Vec::new(), &key), None, row)
    }

    /// Inserts a row, or replaces the row of its key. Returns the replaced row.
    ///
    /// # Errors
    /// [`TableError::NotUnique`] if another row has its key in a unique index; see [`TableError`].
    pub fn put(&self, row: &R) -> Result<Option<R>, TableError> {
        let key = encoded(Vec::new(), &row.key());
        let old = read(self.kv, &key)?;
        self.write(&key, old.as_ref(), row)?;
        Ok(old)
    }

    /// Changes the row of a key, but not the key. Returns the changed row; none if it doesn't exist.
    ///
    /// # Errors
    /// [`TableError::KeyChanged`]; [`TableError::NotUnique`] if another row has its key in a unique index; see [`TableError`].
    pub fn update(&self, key: impl AsKey<R::Key>, change: impl FnOnce(&mut R)) -> Result<Option<R>, TableError> {
        let key = encoded(Vec::new(), &key);
        let Some(mut row) = read::<R>(self.kv, &key)? else {
            return Ok(None);
        };
        let before = entries(&row, &key);
        change(&mut row);
        if encoded(Vec::new(), &row.key()) != key {
            return Err(TableError::KeyChanged { table: R::TABLE });
        }
        self.replace(&key, before, &row)?;
        Ok(Some(row))
    }

    /// Removes the row of a key. Returns it if it existed.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn remove(&self, key: impl AsKey<R::Key>) -> Result<Option<R>, TableError> {
        let key = encoded(Vec::new(), &key);
        let row = read::<R>(self.kv, &key)?;
        if let Some(row) = &row {
            self.kv.delete(row_key::<R>(&key))?;
            for entry in entries(row, &key).into_keys() {
                self.kv.delete(entry)?;
            }
        }
        Ok(row)
    }

    /// Returns all rows, in the order of their keys.
    #[must_use]
    pub fn all(&self) -> Scan<R> {
        Scan::all(self.kv, view())
    }

    /// Returns the rows whose keys start with a prefix, in the order of the keys: `("ann",)` for all keys of two texts of which the first is
    /// `ann`, `KeyPrefix("an")` for all texts that start with `an`.
    pub fn scan(&self, prefix: impl AsPrefix<R::Key>) -> Scan<R> {
        Scan::prefix(self.kv, view(), &prefix)
    }

    /// Returns the rows whose keys are inside bounds, in the order of the keys. A bound may be a prefix, which means all keys
    /// that start with it: `("ann",)..=("bob",)` has all of both and of everyone between them.
    pub fn range<P: AsPrefix<R::Key>>(&self, bounds: impl RangeBounds<P>) -> Scan<R> {
        Scan::range(self.kv, view(), &bounds)
    }

    /// Returns the rows by one of the table's indexes.
    ///
    /// An index of another table doesn't compile:
    ///
    /// ```compile_fail,E0277
    /// # use courtyard_plugin_sdk::{Context, table::{Index, Many, Row}};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Group { id: u64 }
    /// impl Row for Group {
    /// #   const TABLE: &'static str = "groups";
    /// #   type Key = u64;
    ///     type Indexes = ();
    /// #   fn key(&self) -> u64 { self.id }
    /// }
    /// # struct ById;
    /// impl Index for ById {
    /// #   const NAME: &'static str = "id";
    ///     type Row = Group;
    /// #   type Key = u64;
    /// #   type Kind = Many;
    /// #   fn keys(group: &Group) -> impl IntoIterator<Item = u64> { [group.id] }
    /// }
    /// # let cx = Context::default();
    /// cx.table::<Group>().by(ById);
    /// ```
    pub fn by<I: Index<Row = R>, P>(&self, _index: I) -> By<I>
    where
        R::Indexes: HasIndex<I, P>,
    {
        By::new(self.kv)
    }

    /// Rebuilds all indexes of the table, and removes those that it no longer has. For
    /// [`Plugin::migrate`](crate::Plugin::migrate), which must return the error if this fails: it may have written a part.
    ///
    /// # Errors
    /// [`TableError::NotUnique`] if several rows have the same key in a unique index, [`TableError::KeyChanged`] if the key of a
    /// row differs from the one under which it is stored; see [`TableError`].
    pub fn rebuild_indexes(&self) -> Result<(), TableError> {
        // Indexes sort after the rows: the name of an index is not empty.
        let start = key::behind(space(R::TABLE, ROWS));
        let mut end = start.clone();
        end.pop();
        for entry in EntryScan::new(self.kv, start, key::behind(end), false, usize::MAX) {
            self.kv.delete(entry?.0)?;
        }
        let rows = space(R::TABLE, ROWS);
        for entry in EntryScan::new(self.kv, rows.clone(), key::behind(rows.clone()), false, usize::MAX) {
            let (key, json) = entry?;
            let (key, row) = (&key[rows.len()..], parse::<R>(&json)?);
            if encoded(Vec::new(), &row.key()) != key {
                return Err(TableError::KeyChanged { table: R::TABLE });
            }
            self.write(key, None, &row)?;
        }
        Ok(())
    }

    fn write(&self, key: &[u8], old: Option<&R>, row: &R) -> Result<(), TableError> {
        let before = old.map(|old| entries(old, key)).unwrap_or_default();
        self.replace(key, before, row)
    }

    /// Writes a row whose entries were `before`. An error leaves all keys unchanged, so indexes stay consistent if the plugin
    /// continues after it.
    fn replace(&self, key: &[u8], mut before: BTreeMap<Vec<u8>, IndexEntry>, row: &R) -> Result<(), TableError> {
        let table = R::TABLE;
        let json = serde_json::to_vec(row).map_err(|cause| TableError::Json { table, cause })?;
        let mut added = entries(row, key);
        added.retain(|entry, _| before.remove(entry).is_none());
        for (entry, IndexEntry { index, .. }) in added.iter().filter(|(_, entry)| entry.unique) {
            if self.kv.get(entry)?.is_some() {
                return Err(TableError::NotUnique { table, index });
            }
        }
        // Only writes that add bytes can fail. They come first, and the write that replaces the row is the last of them: so
        // a rollback only deletes new keys.
        let mut set = Vec::new();
        let mut add = |entry: Vec<u8>, value: &[u8]| {
            let done = self.kv.set(&entry, value);
            set.push(entry);
            done
        };
        let mut all = added.into_iter();
        let done = all.try_for_each(|(entry, IndexEntry { value, .. })| add(entry, &value));
        if let Err(error) = done.and_then(|()| self.kv.set(row_key::<R>(key), json)) {
            for entry in &set {
                // The write that failed left no key: deleting it has no effect, or fails as well.
                let _ = self.kv.delete(entry);
            }
            return Err(error.into());
        }
        for stale in before.into_keys() {
            self.kv.delete(stale)?;
        }
        Ok(())
    }
}

/// The name of the rows in the place of an index's name.
const ROWS: &str = "";

/// Returns the prefix of all keys of the rows, or of an index, of a table.
fn space(table: &str, index: &str) -> Vec<u8> {
    [b"\0", table.as_bytes(), b"\0", index.as_bytes(), b"\0"].concat()
}

fn encoded<K>(mut bytes: Vec<u8>, key: &impl AsKey<K>) -> Vec<u8> {
    key.encode(&mut bytes);
    bytes
}

fn row_key<R: Row>(key: &[u8]) -> Vec<u8> {
    [&*space(R::TABLE, ROWS), key].concat()
}

fn read<R: Row>(kv: Kv, key: &[u8]) -> Result<Option<R>, TableError> {
    let row = kv.get(row_key::<R>(key))?;
    row.map(|json| parse(&json)).transpose()
}

fn parse<R: Row>(json: &[u8]) -> Result<R, TableError> {
    let table = R::TABLE;
    serde_json::from_slice(json).map_err(|cause| TableError::Json { table, cause })
}

/// Returns the entries of a row in all indexes, by their full keys.
fn entries<R: Row>(row: &R, key: &[u8]) -> BTreeMap<Vec<u8>, IndexEntry> {
    let mut entries = BTreeMap::new();
    R::Indexes::entries(row, key, &mut |mut entry| {
        entries.insert(std::mem::take(&mut entry.key), entry);
    });
    entries
}

fn view<R: Row>() -> RowSource<R> {
    RowSource {
        space: space(R::TABLE, ROWS),
        row: |_, _, json| parse(json).map(Some),
        key: |mut key, _| {
            Key::decode(&mut key).ok_or(TableError::Corrupt {
                table: R::TABLE,
                index: ROWS,
            })
        },
    }
}
