//! Keys as bytes that sort like the values.

/// The key of a row or an index: `String`, `Vec<u8>`, `[u8; N]`, `bool`, `u8` to `u64`, `i64`, an `Option` of these, or a
/// tuple of two to four of these.
///
/// The bytes of two keys of one type sort like the keys. The bytes of one key are never a prefix of those of another, so
/// keys can be concatenated. Texts sort by their bytes, and `None` sorts before `Some`.
///
/// An id with a type of its own is a key if it delegates to its contents:
///
/// ```
/// use courtyard_plugin_sdk::table::{AsKey, Key};
///
/// #[derive(PartialEq, Eq, PartialOrd, Ord)]
/// struct GroupId(u64);
///
/// impl AsKey<GroupId> for GroupId {
///     fn encode(&self, bytes: &mut Vec<u8>) {
///         self.0.encode(bytes);
///     }
/// }
///
/// impl Key for GroupId {
///     fn decode(bytes: &mut &[u8]) -> Option<Self> {
///         u64::decode(bytes).map(Self)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a key of a table",
    note = "keys are `String`, `Vec<u8>`, `[u8; N]`, `bool`, `u8` to `u64`, `i64`, `Option`s and tuples of two to four of these"
)]
pub trait Key: AsKey<Self> + Sized {
    /// Removes a key from the start of the bytes and returns it; none if they don't start with a key.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
}

/// A value in place of a key of type `K`: the key itself, a reference to it, or its borrowed form (`&str` for `String`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key of this table or index",
    note = "its keys are of type `{K}`; `&str` may replace `String`"
)]
pub trait AsKey<K> {
    /// Appends the bytes of the key.
    fn encode(&self, bytes: &mut Vec<u8>);
}

/// A prefix of keys of type `K`: a whole key, or the first parts of a tuple, as in `("ann",)`. The last part may be a
/// [`KeyPrefix`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a prefix of keys of this table or index",
    note = "its keys are of type `{K}`; one part of a tuple is written `(part,)`"
)]
pub trait AsPrefix<K> {
    /// Appends the bytes with which all of these keys start.
    fn encode_prefix(&self, bytes: &mut Vec<u8>);
}

/// All texts that start with this one, as the last part of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPrefix<'a>(pub &'a str);

/// Ends a text or a list of bytes. It sorts before each byte with which a longer one continues.
const END: u8 = 0;
/// Precedes a byte of the value that equals `END` or `ESCAPE`, which is written one higher.
const ESCAPE: u8 = 1;

fn escape(plain: &[u8], bytes: &mut Vec<u8>) {
    for &byte in plain {
        match byte {
            END | ESCAPE => bytes.extend_from_slice(&[ESCAPE, byte + 1]),
            _ => bytes.push(byte),
        }
    }
}

fn split_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

impl<K, T: AsKey<K> + ?Sized> AsKey<K> for &T {
    fn encode(&self, bytes: &mut Vec<u8>) {
        (**self).encode(bytes);
    }
}

impl AsKey<Vec<u8>> for [u8] {
    fn encode(&self, bytes: &mut Vec<u8>) {
        escape(self, bytes);
        bytes.push(END);
    }
}

impl<const N: usize> AsKey<Vec<u8>> for [u8; N] {
    fn encode(&self, bytes: &mut Vec<u8>) {
        AsKey::<Vec<u8>>::encode(self.as_slice(), bytes);
    }
}

impl AsKey<Vec<u8>> for Vec<u8> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.as_slice().encode(bytes);
    }
}

impl Key for Vec<u8> {
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut plain = Self::new();
        loop {
            plain.push(match split_byte(bytes)? {
                END => return Some(plain),
                ESCAPE => match split_byte(bytes)? {
                    byte @ (1 | 2) => byte - 1,
                    _ => return None,
                },
                byte => byte,
            });
        }
    }
}

impl AsKey<String> for str {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.as_bytes().encode(bytes);
    }
}

impl AsKey<String> for String {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.as_bytes().encode(bytes);
    }
}

impl Key for String {
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Vec::decode(bytes)?).ok()
    }
}

impl<const N: usize> AsKey<[u8; N]> for [u8; N] {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self);
    }
}

impl<const N: usize> Key for [u8; N] {
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(*head)
    }
}

macro_rules! unsigned {
    ($($type:ty)*) => {
        $(
            impl AsKey<$type> for $type {
                fn encode(&self, bytes: &mut Vec<u8>) {
                    bytes.extend_from_slice(&self.to_be_bytes());
                }
            }

            impl Key for $type {
                fn decode(bytes: &mut &[u8]) -> Option<Self> {
                    Key::decode(bytes).map(Self::from_be_bytes)
                }
            }
        )*
    };
}

unsigned!(u8 u16 u32 u64);

/// The bit to invert, so that negative numbers sort before the others.
const SIGN: u64 = 1 << 63;

impl AsKey<i64> for i64 {
    fn encode(&self, bytes: &mut Vec<u8>) {
        (self.cast_unsigned() ^ SIGN).encode(bytes);
    }
}

impl Key for i64 {
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        u64::decode(bytes).map(|bits| (bits ^ SIGN).cast_signed())
    }
}

impl AsKey<bool> for bool {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }
}

impl Key for bool {
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        match split_byte(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<K, T: AsKey<K>> AsKey<Option<K>> for Option<T> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.is_some().encode(bytes);
        if let Some(key) = self {
            key.encode(bytes);
        }
    }
}

impl<K: Key> Key for Option<K> {
    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(if bool::decode(bytes)? {
            Some(K::decode(bytes)?)
        } else {
            None
        })
    }
}

macro_rules! tuples {
    ($(($($key:ident $part:ident $at:tt),*))*) => {
        $(
            impl<$($key, $part: AsKey<$key>),*> AsKey<($($key,)*)> for ($($part,)*) {
                fn encode(&self, bytes: &mut Vec<u8>) {
                    $(self.$at.encode(bytes);)*
                }
            }

            impl<$($key: Key),*> Key for ($($key,)*) {
                fn decode(bytes: &mut &[u8]) -> Option<Self> {
                    Some(($($key::decode(bytes)?,)*))
                }
            }
        )*
    };
}

tuples! {
    (X A 0, Y B 1)
    (X A 0, Y B 1, Z C 2)
    (X A 0, Y B 1, Z C 2, W D 3)
}

impl<K, T: AsKey<K>> AsPrefix<K> for T {
    fn encode_prefix(&self, bytes: &mut Vec<u8>) {
        self.encode(bytes);
    }
}

impl AsPrefix<String> for KeyPrefix<'_> {
    fn encode_prefix(&self, bytes: &mut Vec<u8>) {
        escape(self.0.as_bytes(), bytes);
    }
}

/// The first parts of a longer tuple, the last of them again a prefix.
macro_rules! prefixes {
    ($(($($key:ident $part:ident $at:tt),*; $last_key:ident $last:ident $last_at:tt; $($rest:ident)*))*) => {
        $(
            impl<$($key, $part: AsKey<$key>,)* $last_key, $last: AsPrefix<$last_key>, $($rest),*>
                AsPrefix<($($key,)* $last_key, $($rest),*)> for ($($part,)* $last,)
            {
                fn encode_prefix(&self, bytes: &mut Vec<u8>) {
                    $(self.$at.encode(bytes);)*
                    self.$last_at.encode_prefix(bytes);
                }
            }
        )*
    };
}

prefixes! {
    (; X A 0; Y)
    (; X A 0; Y Z)
    (; X A 0; Y Z W)
    (X A 0; Y B 1; Z)
    (X A 0; Y B 1; Z W)
    (X A 0, Y B 1; Z C 2; W)
}

/// All parts of a tuple, the last of them only its beginning.
macro_rules! beginnings {
    ($(($($key:ident $part:ident $at:tt),*; $last_at:tt))*) => {
        $(
            impl<$($key, $part: AsKey<$key>),*> AsPrefix<($($key,)* String)> for ($($part,)* KeyPrefix<'_>) {
                fn encode_prefix(&self, bytes: &mut Vec<u8>) {
                    $(self.$at.encode(bytes);)*
                    self.$last_at.encode_prefix(bytes);
                }
            }
        )*
    };
}

beginnings! {
    (X A 0; 1)
    (X A 0, Y B 1; 2)
    (X A 0, Y B 1, Z C 2; 3)
}

/// Returns the first bytes after all that start with `prefix`; empty, which ends the key space, if its bytes are all 255.
pub(super) fn behind(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            break;
        }
    }
    prefix
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn bytes<K>(key: &impl AsKey<K>) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        bytes
    }

    /// Holds for all pairs: bytes are ordered as values are, and none begin with those of another value. Each comes back
    /// from its bytes, also with others after them.
    fn check<K: Key + Ord + Debug>(keys: &[K]) {
        for key in keys {
            let own = bytes(key);
            let longer = [&*own, &[0, 1, 255]].concat();
            let mut rest = &*longer;
            assert_eq!(K::decode(&mut rest).as_ref(), Some(key));
            assert_eq!(rest, [0, 1, 255], "{key:?}");
            for short in 0..own.len() {
                assert_eq!(K::decode(&mut &own[..short]), None, "a part of {key:?}");
            }
            for other in keys {
                assert_eq!(own.cmp(&bytes(other)), key.cmp(other), "{key:?} and {other:?}");
                assert!(key == other || !own.starts_with(&bytes(other)), "{key:?} and {other:?}");
            }
        }
    }

    /// All lists of up to three of the bytes that matter.
    fn lists() -> Vec<Vec<u8>> {
        let mut lists = vec![Vec::new()];
        for at in 0..3 {
            let longest: Vec<Vec<u8>> = lists.iter().filter(|list| list.len() == at).cloned().collect();
            for list in longest {
                lists.extend([0, 1, 2, 3, 127, 254, 255].map(|byte| [&*list, &[byte]].concat()));
            }
        }
        lists
    }

    fn texts() -> Vec<String> {
        let texts = [
            "", "\0", "\0\0", "\0\u{1}", "\u{1}", "\u{1}\0", "\u{2}", "a", "a\0", "a\u{1}", "a\u{2}", "ab", "b", "é",
            "😀",
        ];
        texts.map(str::to_owned).to_vec()
    }

    #[test]
    fn bytes_are_ordered_as_single_values_are() {
        check(&lists());
        check(&texts());
        check(&[false, true]);
        check(&(0..=u8::MAX).collect::<Vec<u8>>());
        check(&(0..=u16::MAX).step_by(257).collect::<Vec<u16>>());
        check(&[0, 1, 255, 256, 65_535, 65_536, u32::MAX - 1, u32::MAX]);
        check(&[0, 1, 255, 256, 1 << 32, u64::MAX >> 1, (u64::MAX >> 1) + 1, u64::MAX]);
        check(&[
            i64::MIN,
            i64::MIN + 1,
            -256,
            -255,
            -1,
            0,
            1,
            255,
            256,
            i64::MAX - 1,
            i64::MAX,
        ]);
        check(&[[0, 0], [0, 1], [0, 255], [1, 0], [255, 0], [255, 255]]);
        check(&[[(); 0].map(|()| 0_u8)]);
        check(&[None, Some(0), Some(1), Some(u64::MAX)]);
        check(&lists().into_iter().map(Some).chain([None]).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_are_ordered_as_tuples_are() {
        let mut pairs = Vec::new();
        let mut threes = Vec::new();
        let mut fours = Vec::new();
        for one in texts() {
            for other in texts() {
                pairs.push((one.clone(), other.clone()));
            }
            for number in [0, 1, 255, u64::MAX] {
                for list in [vec![], vec![0], vec![0, 255], vec![1], vec![255]] {
                    threes.push((one.clone(), number, list.clone()));
                    for last in [None, Some(false), Some(true)] {
                        fours.push((list.clone(), one.clone(), last, number.cast_signed()));
                    }
                }
            }
        }
        check(&pairs);
        check(&threes);
        check(&fours);
    }

    #[test]
    fn bytes_of_random_values_are_ordered() {
        let mut state = 42_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let keys: Vec<_> = (0..400)
            .map(|_| {
                let length = random() % 5;
                let list: Vec<u8> = (0..length).map(|_| (random() % 4).to_le_bytes()[0]).collect();
                let signed = (random() << 33 ^ random()).cast_signed();
                (
                    list,
                    signed,
                    (random() % 2 == 0).then(|| random() % 3),
                    random() % 2 == 0,
                )
            })
            .collect();
        check(&keys);
    }

    #[test]
    fn keys_begin_with_the_bytes_of_their_prefixes_and_no_others_do() {
        fn prefix<K>(prefix: &impl AsPrefix<K>) -> Vec<u8> {
            let mut bytes = Vec::new();
            prefix.encode_prefix(&mut bytes);
            bytes
        }
        for one in texts() {
            for other in texts() {
                for number in [0, 1, u64::MAX] {
                    let key = bytes(&(one.clone(), other.clone(), number));
                    for text in texts() {
                        let begins = |bytes: Vec<u8>| key.starts_with(&bytes);
                        type K = (String, String, u64);
                        assert_eq!(begins(prefix::<K>(&(&text,))), one == text);
                        assert_eq!(begins(prefix::<K>(&(KeyPrefix(&text),))), one.starts_with(&text));
                        assert_eq!(begins(prefix::<K>(&(&one, &text))), other == text);
                        assert_eq!(begins(prefix::<K>(&(&one, KeyPrefix(&text)))), other.starts_with(&text));
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_behind_a_prefix_is_behind_all_that_begins_so() {
        for prefix in lists() {
            let behind = behind(prefix.clone());
            for list in lists() {
                let is_behind = list > prefix && !list.starts_with(&prefix);
                assert_eq!(
                    !behind.is_empty() && list >= behind,
                    is_behind,
                    "{list:?} and {prefix:?}"
                );
            }
        }
    }

    #[test]
    fn bytes_that_nothing_encodes_to_are_no_key() {
        assert_eq!(Vec::<u8>::decode(&mut &[1, 3, 0][..]), None);
        assert_eq!(String::decode(&mut &[255, 0][..]), None);
        assert_eq!(bool::decode(&mut &[2][..]), None);
        assert_eq!(Option::<u8>::decode(&mut &[2, 0][..]), None);
    }
}
