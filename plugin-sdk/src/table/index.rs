//! Indexes of tables.

use std::marker::PhantomData;
use std::ops::RangeBounds;

use super::key::{AsKey, AsPrefix, Key};
use super::scan::{RowSource, Scan};
use super::{Row, TableError, encoded, read, space};
use crate::Kv;

/// An index of a table, listed in [`Row::Indexes`]. Every write of a row updates it.
///
/// [`table!`](crate::table!) implements it. By hand:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use courtyard_plugin_sdk::table::{Index, Many, Row, Unique};
///
/// #[derive(Serialize, Deserialize)]
/// struct Group {
///     id: u64,
///     code: Option<String>,
///     topics: Vec<String>,
/// }
///
/// impl Row for Group {
///     const TABLE: &'static str = "groups";
///     type Key = u64;
///     type Indexes = (ByCode, ByTopic);
///
///     fn key(&self) -> u64 {
///         self.id
///     }
/// }
///
/// /// A group by its code; those that have none are not in it.
/// struct ByCode;
///
/// impl Index for ByCode {
///     const NAME: &'static str = "code";
///     type Row = Group;
///     type Key = String;
///     type Kind = Unique;
///
///     fn keys(group: &Group) -> impl IntoIterator<Item = String> {
///         group.code.clone()
///     }
/// }
///
/// /// Groups by each of their topics.
/// struct ByTopic;
///
/// impl Index for ByTopic {
///     const NAME: &'static str = "topic";
///     type Row = Group;
///     type Key = String;
///     type Kind = Many;
///
///     fn keys(group: &Group) -> impl IntoIterator<Item = String> {
///         group.topics.clone()
///     }
/// }
/// ```
pub trait Index {
    /// Its name, unique in the table: 1 to 32 lower-case letters, digits and `_`.
    const NAME: &'static str;
    /// The rows.
    type Row: Row;
    /// The type of its keys.
    type Key: Key;
    /// [`Unique`] if at most one row may have a key, else [`Many`].
    type Kind: IndexKind;

    /// Returns the keys of a row: none, one as `[key]`, or several. They must depend only on the row.
    fn keys(row: &Self::Row) -> impl IntoIterator<Item = Self::Key>;
}

/// How many rows an index allows for one key: [`Unique`] or [`Many`].
pub trait IndexKind: sealed::IndexKind {
    #[doc(hidden)]
    const UNIQUE: bool;
}

/// No two rows have the same key in the index.
#[derive(Debug)]
pub enum Unique {}

/// Several rows may have the same key in the index. They sort by the keys of the table.
#[derive(Debug)]
pub enum Many {}

impl IndexKind for Unique {
    const UNIQUE: bool = true;
}

impl IndexKind for Many {
    const UNIQUE: bool = false;
}

mod sealed {
    pub trait IndexKind {}
    impl IndexKind for super::Unique {}
    impl IndexKind for super::Many {}

    pub trait Indexes {}
}

/// The indexes of a table: a tuple of up to six, `()` for none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are not the indexes of `{R}`",
    note = "write a tuple of indexes whose `Row` this is: `()`, `(ByName,)`, `(ByName, ByAge)`"
)]
pub trait Indexes<R>: sealed::Indexes {
    #[doc(hidden)]
    const NAMES: &'static [&'static str];

    /// Passes each entry of a row to `add`; `key` is the encoded key of the row.
    #[doc(hidden)]
    fn entries(row: &R, key: &[u8], add: &mut dyn FnMut(IndexEntry));
}

/// The entry of a row in an index. In an index of [`Many`] its key is the key of the index followed by that of the row. In a
/// [`Unique`] one its value is the key of the row.
#[doc(hidden)]
#[derive(Debug)]
pub struct IndexEntry {
    pub(super) index: &'static str,
    pub(super) unique: bool,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// Implemented by the indexes of a table for each of them.
#[diagnostic::on_unimplemented(
    message = "`{I}` is not an index of this table",
    note = "list it in `table!`, or in `type Indexes` of the row"
)]
pub trait HasIndex<I, P> {}

/// The position of an index in a tuple.
#[derive(Debug)]
pub enum IndexAt<const N: usize> {}

macro_rules! indexes {
    ($($all:tt: $($index:ident $at:literal),*;)*) => {
        $(
            impl<$($index),*> sealed::Indexes for ($($index,)*) {}

            #[allow(unused_variables, reason = "there may be no indexes")]
            impl<R: Row, $($index: Index<Row = R>),*> Indexes<R> for ($($index,)*) {
                const NAMES: &'static [&'static str] = &[$($index::NAME),*];

                fn entries(row: &R, key: &[u8], add: &mut dyn FnMut(IndexEntry)) {
                    $(add_entries::<$index>(row, key, add);)*
                }
            }

            $(has!($index $at $all);)*
        )*
    };
}

macro_rules! has {
    ($index:ident $at:literal ($($all:ident)*)) => {
        impl<$($all),*> HasIndex<$index, IndexAt<$at>> for ($($all,)*) {}
    };
}

indexes! {
    ():;
    (A): A 0;
    (A B): A 0, B 1;
    (A B C): A 0, B 1, C 2;
    (A B C D): A 0, B 1, C 2, D 3;
    (A B C D E): A 0, B 1, C 2, D 3, E 4;
    (A B C D E F): A 0, B 1, C 2, D 3, E 4, F 5;
}

fn add_entries<I: Index>(row: &I::Row, key: &[u8], add: &mut dyn FnMut(IndexEntry)) {
    for of_index in I::keys(row) {
        let mut entry = IndexEntry {
            index: I::NAME,
            unique: I::Kind::UNIQUE,
            key: encoded(space_of::<I>(), &of_index),
            value: Vec::new(),
        };
        let behind = if entry.unique { &mut entry.value } else { &mut entry.key };
        behind.extend_from_slice(key);
        add(entry);
    }
}

fn space_of<I: Index>() -> Vec<u8> {
    space(I::Row::TABLE, I::NAME)
}

/// The rows of a table by an index; see [`Table::by`](super::Table::by).
#[derive(Debug)]
pub struct By<I> {
    kv: Kv,
    index: PhantomData<I>,
}

impl<I: Index> By<I> {
    pub(super) fn new(kv: Kv) -> Self {
        Self { kv, index: PhantomData }
    }

    /// Returns the row of a key, if it exists.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn get(&self, key: impl AsKey<I::Key>) -> Result<Option<I::Row>, TableError>
    where
        I: Index<Kind = Unique>,
    {
        let Some(of_row) = self.kv.get(encoded(space_of::<I>(), &key))? else {
            return Ok(None);
        };
        read(self.kv, &of_row)?.ok_or_else(corrupt::<I>).map(Some)
    }

    /// Returns all rows of the index, in its order.
    #[must_use]
    pub fn all(&self) -> Scan<I::Row> {
        Scan::all(self.kv, view::<I>())
    }

    /// Returns the rows whose keys in the index start with a prefix, in its order.
    pub fn scan(&self, prefix: impl AsPrefix<I::Key>) -> Scan<I::Row> {
        Scan::prefix(self.kv, view::<I>(), &prefix)
    }

    /// Returns the rows whose keys in the index are inside bounds, in its order. A bound may be a prefix, which means all keys
    /// that start with it.
    pub fn range<P: AsPrefix<I::Key>>(&self, bounds: impl RangeBounds<P>) -> Scan<I::Row> {
        Scan::range(self.kv, view::<I>(), &bounds)
    }
}

fn view<I: Index>() -> RowSource<I::Row> {
    RowSource {
        space: space_of::<I>(),
        row: row_of::<I>,
        key: |key, value| {
            let (_, mut of_row) = split::<I>(key, value)?;
            Key::decode(&mut of_row).ok_or_else(corrupt::<I>)
        },
    }
}

/// Splits an entry, without the prefix of its space, into the keys of the index and of the row.
fn split<'a, I: Index>(key: &'a [u8], value: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), TableError> {
    let mut rest = key;
    I::Key::decode(&mut rest).ok_or_else(corrupt::<I>)?;
    let of_index = &key[..key.len() - rest.len()];
    Ok((of_index, if I::Kind::UNIQUE { value } else { rest }))
}

/// Reads the row of an entry; none if the row or the entry has changed since the entry was read.
fn row_of<I: Index>(kv: Kv, key: &[u8], value: &[u8]) -> Result<Option<I::Row>, TableError> {
    let (of_index, of_row) = split::<I>(key, value)?;
    let row = read(kv, of_row)?;
    let belongs = |row: &I::Row| {
        let mut keys = I::keys(row).into_iter();
        keys.any(|key| encoded(Vec::new(), &key) == of_index)
    };
    if let Some(row) = row.filter(belongs) {
        return Ok(Some(row));
    }
    match kv.get([&*space_of::<I>(), key].concat())? {
        Some(_) => Err(corrupt::<I>()),
        None => Ok(None),
    }
}

fn corrupt<I: Index>() -> TableError {
    TableError::Corrupt {
        table: I::Row::TABLE,
        index: I::NAME,
    }
}
