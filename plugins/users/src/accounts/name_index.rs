//! People by the words of their names.

use std::collections::BTreeSet;

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::accounts::account::Account;

/// Words of one name that are looked for.
const WORDS: usize = 8;
const WORD_CHARS: usize = 32;

/// That somebody has a word in their name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Word {
    pub(crate) word: String,
    pub(crate) actor: String,
}

table! {
    Word in "words", key (word: String, actor: String);
}

/// Splits a text into words, the same for upper and lower case.
pub(crate) fn words(text: &str) -> BTreeSet<String> {
    let parts = text
        .split(|char: char| !char.is_alphanumeric())
        .filter(|part| !part.is_empty());
    let words = parts.map(|part| part.to_lowercase().chars().take(WORD_CHARS).collect());
    words.take(WORDS).collect()
}

pub(crate) fn words_of(account: &Account) -> BTreeSet<String> {
    let mut all = words(&account.display_name);
    all.extend(words(&account.name));
    all
}

/// Lets somebody be found by what they are called now, and not by what they were called before.
pub(crate) fn rename(cx: &Context, before: Option<&Account>, now: Option<&Account>) -> Result<(), Error> {
    let table = cx.table::<Word>();
    let (old, new) = (
        before.map(words_of).unwrap_or_default(),
        now.map(words_of).unwrap_or_default(),
    );
    let Some(actor) = now.or(before).map(|account| account.actor.as_str()) else {
        return Ok(());
    };
    for word in old.difference(&new) {
        table.remove((word.as_str(), actor))?;
    }
    for word in new.difference(&old) {
        table.put(&Word {
            word: word.clone(),
            actor: actor.to_owned(),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_people_type() {
        let of = |text: &str| words(text).into_iter().collect::<Vec<_>>();
        assert_eq!(
            of("Ann-Marie  O'Neil (Äpfel) 王小明"),
            ["ann", "marie", "neil", "o", "äpfel", "王小明"]
        );
        assert!(of(" - ").is_empty());
        assert_eq!(of(&"x".repeat(40)), ["x".repeat(32)]);
    }
}
