//! The index of people by the words of their names, for the search.

use std::collections::BTreeSet;

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::accounts::account::Account;

/// Maximum number of words that are indexed of one name.
const WORDS: usize = 8;
/// Maximum number of characters that are indexed of one word.
const WORD_CHARS: usize = 32;

/// A word in the name of a person.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NameWord {
    pub(crate) word: String,
    pub(crate) actor: String,
}

table! {
    NameWord in "words", key (word: String, actor: String);
}

/// Splits a text into words in lower case.
pub(crate) fn words(text: &str) -> BTreeSet<String> {
    let parts = text
        .split(|char: char| !char.is_alphanumeric())
        .filter(|part| !part.is_empty());
    let words = parts.map(|part| part.to_lowercase().chars().take(WORD_CHARS).collect());
    words.take(WORDS).collect()
}

/// Returns the words of the name and the display name of an account.
pub(crate) fn words_of(account: &Account) -> BTreeSet<String> {
    let mut all = words(&account.display_name);
    all.extend(words(&account.name));
    all
}

/// Replaces the words of an account's old names by those of its new ones. `None` stands for an account without names.
pub(crate) fn update(cx: &Context, before: Option<&Account>, now: Option<&Account>) -> Result<(), Error> {
    let table = cx.table::<NameWord>();
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
        table.put(&NameWord {
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
    fn texts_are_split_into_lower_case_words() {
        let of = |text: &str| words(text).into_iter().collect::<Vec<_>>();
        assert_eq!(
            of("Ann-Marie  O'Neil (Äpfel) 王小明"),
            ["ann", "marie", "neil", "o", "äpfel", "王小明"]
        );
        assert!(of(" - ").is_empty());
        assert_eq!(of(&"x".repeat(40)), ["x".repeat(32)]);
    }
}
