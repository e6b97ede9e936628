//! The macro that declares tables.

/// Declares a table: implements [`Row`](crate::table::Row) for a type, and creates its indexes.
///
/// A key in parentheses names fields of the row with their types. Its values are copies of the fields: a tuple in the
/// order of the fields, or the value itself for one field. Any other key is its type, or its types, followed by a
/// computation: for the table the key, for an index the keys as [`Index::keys`](crate::table::Index::keys) returns them.
/// `many` allows several rows under one key of the index, `unique` allows one.
///
/// ```
/// use courtyard_plugin_sdk::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Book {
///     shelf: String,
///     place: u32,
///     isbn: Option<String>,
///     added_ms: u64,
/// }
///
/// table! {
///     Book in "books", key (shelf: String, place: u32);
///
///     /// Books of a shelf, oldest first.
///     many ByTime in "time", key (shelf: String, added_ms: u64);
///
///     /// A book by its ISBN, if it has one.
///     pub(crate) unique ByIsbn in "isbn", key (String) = |book| book.isbn.clone();
/// }
///
/// let book = Book { shelf: "a".into(), place: 7, isbn: None, added_ms: 1 };
/// assert_eq!(book.key(), ("a".to_owned(), 7));
/// assert_eq!(ByTime::keys(&book).into_iter().collect::<Vec<_>>(), [("a".to_owned(), 1)]);
/// assert_eq!(ByIsbn::keys(&book).into_iter().count(), 0);
/// ```
///
/// A field that doesn't exist, or has another type, does not compile:
///
/// ```compile_fail,E0308
/// # use courtyard_plugin_sdk::prelude::*;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Book { shelf: String, place: u32 }
/// table! { Book in "books", key (shelf: String, place: u64); }
/// ```
#[macro_export]
macro_rules! table {
    (
        $row:ident in $table:literal, key $key:tt $(= |$of:ident| $made:expr)?;
        $(
            $(#[$meta:meta])*
            $visibility:vis $kind:ident $index:ident in $name:literal, key $index_key:tt $(= |$of_index:ident| $keys:expr)?;
        )*
    ) => {
        impl $crate::table::Row for $row {
            const TABLE: &'static str = $table;
            type Key = $crate::__key_type!($key);
            type Indexes = ($($index,)*);

            fn key(&self) -> Self::Key {
                $crate::__key!(self $key $(= |$of| $made)?)
            }
        }

        $(
            $(#[$meta])*
            $visibility struct $index;

            impl $crate::table::Index for $index {
                const NAME: &'static str = $name;
                type Row = $row;
                type Key = $crate::__key_type!($index_key);
                type Kind = $crate::__index_kind!($kind);

                fn keys(row: &Self::Row) -> impl ::core::iter::IntoIterator<Item = Self::Key> {
                    $crate::__keys!(row $index_key $(= |$of_index| $keys)?)
                }
            }
        )*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __key_type {
    (($field:ident : $type:ty $(,)?)) => { $type };
    (($($field:ident : $type:ty),+ $(,)?)) => { ($($type,)+) };
    (($type:ty $(,)?)) => { $type };
    (($($type:ty),+ $(,)?)) => { ($($type,)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __key {
    ($row:ident $key:tt = |$of:ident| $made:expr) => {{
        let $of = $row;
        $made
    }};
    ($row:ident ($field:ident : $type:ty $(,)?)) => {
        ::core::clone::Clone::clone(&$row.$field)
    };
    ($row:ident ($($field:ident : $type:ty),+ $(,)?)) => {
        ($(::core::clone::Clone::clone(&$row.$field),)+)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __keys {
    ($row:ident $key:tt = |$of:ident| $keys:expr) => {{
        let $of = $row;
        $keys
    }};
    ($row:ident $key:tt) => {
        [$crate::__key!($row $key)]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __index_kind {
    (many) => {
        $crate::table::Many
    };
    (unique) => {
        $crate::table::Unique
    };
}
