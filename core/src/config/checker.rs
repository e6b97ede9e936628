//! Collects diagnostics while the values of a file are checked.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::diagnostic::Diagnostic;
use crate::bundle::Bundle;

/// Collects diagnostics while values are checked. Paths count from `folder`.
pub(super) struct Checker<'a> {
    pub(super) text: &'a str,
    pub(super) folder: &'a Path,
    pub(super) bundle: &'a Bundle,
    pub(super) secret_lookup: SecretLookup,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Whether secrets are read from the environment and from files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretLookup {
    /// A secret that can't be read is a diagnostic.
    Resolve,
    /// The file is checked for another machine, which has the secrets.
    Skip,
}

impl Checker<'_> {
    pub(super) fn wrong(&mut self, span: Range<usize>, message: String, hint: Option<String>) {
        self.diagnostics.push(Diagnostic::at(self.text, span, message, hint));
    }

    pub(super) fn not_bundled(&mut self, span: Range<usize>, name: &str) {
        let bundle = self.bundle;
        let closest = bundle.parts().flat_map(|(part, _)| {
            let folders = part.match_indices('/').map(|(end, _)| &part[..end]);
            folders.chain([part])
        });
        let hint = match closest.min_by_key(|candidate| distance(name, candidate)) {
            None => "this executable has no bundle; `courtyard bundle` makes one that has".to_owned(),
            Some(closest) if distance(name, closest) <= 3 => format!("did you mean `{}`?", Bundle::path_of(closest)),
            Some(_) => "`courtyard serve --print-config` shows the names in the bundle".to_owned(),
        };
        self.wrong(
            span,
            format!("the bundle in this executable does not have {name:?}"),
            Some(hint),
        );
    }
}

/// Returns the edit distance between two words (Levenshtein).
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

/// A limit for which 0 makes no sense.
#[derive(Clone, Copy)]
pub(super) struct AtLeastOne<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default + PartialEq> Deserialize<'de> for AtLeastOne<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        if value == T::default() {
            return Err(serde::de::Error::custom("must be at least 1"));
        }
        Ok(Self(value))
    }
}

/// Returns the value, or `default` if there is none.
pub(super) fn or<T>(value: Option<AtLeastOne<T>>, default: T) -> T {
    value.map_or(default, |AtLeastOne(value)| value)
}

pub(super) fn ms_or(value: Option<AtLeastOne<u64>>, default: Duration) -> Duration {
    ms(value.map(|AtLeastOne(value)| value), default)
}
