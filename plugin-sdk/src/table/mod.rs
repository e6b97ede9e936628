//! Typed tables with indexes over the plugin's key space.
//!
//! A table is a type of rows. [`Row`] says what it is called, what a row is found by, and which indexes it has;
//! [`Context::table`] then reads and writes it inside the transaction of the call. Every write keeps the indexes right,
//! and the compiler refuses keys of the wrong type and indexes of other tables.
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
//! Rows are JSON objects: a plugin has the code for it anyway, operators can read them, and a row says itself which fields
//! it has. So a new version of a plugin reads old rows if new fields have `#[serde(default)]`, and a roll-back reads new
//! rows, since fields that a type does not have are passed over, and are lost when it writes the row. (Types made with
//! `record!` refuse such fields.)
//!
//! Anything else is done in [`Plugin::migrate`](crate::Plugin::migrate). Where a type, a key or a meaning changes, keep the
//! old type beside the new one, give the new table another name, and move row by row: [`Table::remove`] through the old
//! type, [`Table::insert`] through the new one. Where indexes come, go or get other keys, call
//! [`Table::rebuild_indexes`], whichever version comes before: an index that was added is empty, and one that an earlier
//! version did not know is stale after a roll-back.
//!
//! # What stands in the key space
//! Keys of tables begin with a zero byte, so keep your own keys from doing so. The key of a row is a zero, the name of the
//! table, two zeros and the encoded [`Key`]; in an entry of an index the index's name stands between the two. Names have
//! no zeros, and so no table or index reaches into another. Two types with the same [`Row::TABLE`] are the same table,
//! which nothing but `migrate` should want.
//!
//! One row and each of its entries in indexes must fit the host's limits `key_bytes` and `value_bytes`. Of the host's
//! calls, a scan takes one for some hundred rows, by an index one more for each row; a write takes two, and one or two
//! more for each index key that comes or goes.

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
    /// What a row is found by.
    type Key: Key;
    /// The indexes of the table: `()`, `(ByName,)`, `(ByName, ByAge)`.
    type Indexes: Indexes<Self>;

    /// Returns what the row is found by.
    fn key(&self) -> Self::Key;
}

/// Why a table does not do what it is asked. Nothing was written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// There is a row with this key.
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
    /// A row is not found any more by what it was found by: an update changed its key, or another version of the plugin
    /// made keys in another way.
    #[error("a row of table `{table}` has another key than before")]
    KeyChanged {
        /// The table.
        table: &'static str,
    },
    /// A row can't become JSON, or what is kept is not such a row.
    #[error("a row of table `{table}` does not fit its type")]
    Json {
        /// The table.
        table: &'static str,
        /// What does not fit.
        #[source]
        cause: serde_json::Error,
    },
    /// An index does not fit its rows, or a key its type; [`Table::rebuild_indexes`] may help.
    #[error("the index `{index}` of table `{table}` does not fit the rows")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The index; empty for the table itself.
        index: &'static str,
    },
    /// The key space does not do what it is asked.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Gives the codes `exists`, `not_unique`, `table`, and for the key space its own. A method that foresees one of the first
/// two had better say itself what it means.
impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        let code = match &error {
            TableError::Service(service) => return service.clone().into(),
            TableError::Json { cause, .. } => return Self::new("table", format!("{error}: {cause}")),
            TableError::Exists { .. } => "exists",
            TableError::NotUnique { .. } => "not_unique",
            TableError::KeyChanged { .. } | TableError::Corrupt { .. } => "table",
        };
        Self::new(code, error.to_string())
    }
}

impl Context {
    /// Returns a table of the plugin. Capability `kv`.
    ///
    /// Names that break the rules do not compile:
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
    /// Reads the row of a key.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn get(&self, key: impl AsKey<R::Key>) -> Result<Option<R>, TableError> {
        read(self.kv, &encoded(Vec::new(), &key))
    }

    /// Tells whether there is a row of a key.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn contains(&self, key: impl AsKey<R::Key>) -> Result<bool, TableError> {
        let found = self.kv.get(encoded(space(R::TABLE, ROWS), &key))?;
        Ok(found.is_some())
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`TableError::Exists`] when there is a row of its key, [`TableError::NotUnique`] when a unique index does not take
    /// it; see [`TableError`].
    pub fn insert(&self, row: &R) -> Result<(), TableError> {
        let key = row.key();
        if self.contains(&key)? {
            return Err(TableError::Exists { table: R::TABLE });
        }
        self.write(&encoded(Vec::new(), &key), None, row)
    }

    /// Adds a row, or puts it in the place of the one of its key. Returns that one.
    ///
    /// # Errors
    /// [`TableError::NotUnique`] when a unique index does not take it; see [`TableError`].
    pub fn put(&self, row: &R) -> Result<Option<R>, TableError> {
        let key = encoded(Vec::new(), &row.key());
        let old = read(self.kv, &key)?;
        self.write(&key, old.as_ref(), row)?;
        Ok(old)
    }

    /// Changes the row of a key, but not the key. Returns what it is now; none if there is no such row.
    ///
    /// # Errors
    /// [`TableError::KeyChanged`]; [`TableError::NotUnique`] when a unique index does not take it; see [`TableError`].
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

    /// Removes the row of a key. Returns it if there was one.
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

    /// All rows, in the order of their keys.
    #[must_use]
    pub fn all(&self) -> Scan<R> {
        Scan::all(self.kv, view())
    }

    /// The rows whose keys begin so, in the order of the keys: `("ann",)` for all keys of two texts of which the first is
    /// `ann`, `KeyPrefix("an")` for all texts that begin with `an`.
    pub fn scan(&self, prefix: impl AsPrefix<R::Key>) -> Scan<R> {
        Scan::prefix(self.kv, view(), &prefix)
    }

    /// The rows whose keys are inside bounds, in the order of the keys. A bound may be a prefix and stands for all keys
    /// that begin so: `("ann",)..=("bob",)` has all of both and of everyone between them.
    pub fn range<P: AsPrefix<R::Key>>(&self, bounds: impl RangeBounds<P>) -> Scan<R> {
        Scan::range(self.kv, view(), &bounds)
    }

    /// Looks at the table by one of its indexes.
    ///
    /// Others do not compile:
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

    /// Makes all indexes of the table anew, also removes those that it does not have any more. For
    /// [`Plugin::migrate`](crate::Plugin::migrate), which is to fail if this does: it may have done a part.
    ///
    /// # Errors
    /// [`TableError::NotUnique`] when a unique index does not take all rows, [`TableError::KeyChanged`] when rows make
    /// their keys in another way than before; see [`TableError`].
    pub fn rebuild_indexes(&self) -> Result<(), TableError> {
        // Behind the rows: the name of an index is not empty.
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

    /// Writes a row whose entries were `before`. After an error everything is as it was, so that indexes are right also
    /// where a plugin goes on from an error.
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
        // Only what adds bytes can be refused. That comes first, what replaces a row last among it; so nothing that was
        // there is ever to be written again.
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
                // What was refused is not there, and deleting it does nothing or is refused as well.
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

/// The name that rows have among the indexes.
const ROWS: &str = "";

/// What all keys of the rows or of an index of a table begin with.
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

/// Returns what the indexes keep for a row, by the whole key of each entry.
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
