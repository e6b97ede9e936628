//! Collects what is wrong with a file while its values are checked.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::mistake::Mistake;
use crate::bundle::Bundle;

/// Collects mistakes while values are checked.
pub(super) struct Checker<'a> {
    pub(super) text: &'a str,
    pub(super) folder: &'a Path,
    pub(super) bundle: &'a Bundle,
    /// Whether the file is to run elsewhere, so that secrets need not be there now.
    pub(super) elsewhere: bool,
    pub(super) mistakes: Vec<Mistake>,
}

impl Checker<'_> {
    pub(super) fn wrong(&mut self, span: Range<usize>, message: String, hint: Option<String>) {
        self.mistakes.push(Mistake::at(self.text, span, message, hint));
    }

    pub(super) fn not_inside(&mut self, span: Range<usize>, name: &str) {
        let bundle = self.bundle;
        let closest = bundle.parts().flat_map(|(part, _)| {
            let folders = part.match_indices('/').map(|(end, _)| &part[..end]);
            folders.chain([part])
        });
        let hint = match closest.min_by_key(|inside| distance(name, inside)) {
            None => "this executable was made without parts; `courtyard bundle` makes one with parts".to_owned(),
            Some(closest) if distance(name, closest) <= 3 => format!("did you mean `{}`?", Bundle::path_of(closest)),
            Some(_) => "`courtyard serve --print-config` shows what is inside".to_owned(),
        };
        self.wrong(span, format!("there is no {name:?} inside this executable"), Some(hint));
    }
}

/// Counts the edits between two words (Levenshtein).
pub(super) fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, r) in right.iter().enumerate() {
            let changed = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

pub(super) fn ms(value: Option<u64>, default: Duration) -> Duration {
    value.map_or(default, Duration::from_millis)
}

/// A limit that 0 would make no sense for.
#[derive(Clone, Copy)]
pub(super) struct AtLeastOne<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default + PartialEq> Deserialize<'de> for AtLeastOne<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        if value == T::default() {
            return Err(serde::de::Error::custom("this must be 1 at least"));
        }
        Ok(Self(value))
    }
}

/// Returns the value, or the default.
pub(super) fn or<T>(value: Option<AtLeastOne<T>>, default: T) -> T {
    value.map_or(default, |AtLeastOne(value)| value)
}

pub(super) fn ms_or(value: Option<AtLeastOne<u64>>, default: Duration) -> Duration {
    ms(value.map(|AtLeastOne(value)| value), default)
}
