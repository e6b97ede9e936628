//! People by the words of their names.

use std::collections::BTreeSet;

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::account::{self, Account};
use crate::person::{Person, page_size};

/// Words of one name that are looked for.
const WORDS: usize = 8;
const WORD_CHARS: usize = 32;

/// That somebody has a word in their name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Word {
    word: String,
    actor: String,
}

impl Row for Word {
    const TABLE: &'static str = "words";
    type Key = (String, String);
    type Indexes = ();

    fn key(&self) -> Self::Key {
        (self.word.clone(), self.actor.clone())
    }
}

record! {
    /// Beginnings of words, in any order.
    pub(crate) struct Search { query: String, after: Option<Cursor>, limit: Option<u32> }
}
record! {
    /// Some people, and where the next ones begin.
    pub(crate) struct Found { people: Vec<Person>, next: Option<Cursor> }
}

/// Splits a text into words, the same for upper and lower case.
fn words(text: &str) -> BTreeSet<String> {
    let parts = text
        .split(|char: char| !char.is_alphanumeric())
        .filter(|part| !part.is_empty());
    let words = parts.map(|part| part.to_lowercase().chars().take(WORD_CHARS).collect());
    words.take(WORDS).collect()
}

fn words_of(account: &Account) -> BTreeSet<String> {
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

impl Users {
    pub(crate) fn search(&self, cx: &Context, params: Search) -> Result<Found, Error> {
        let wanted = words(&params.query);
        // The longest one is the rarest.
        let Some(longest) = wanted.iter().max_by_key(|word| word.len()) else {
            return Err(Error::new("bad_query", "There is no word to look for."));
        };
        let scan = cx.table::<Word>().scan((Begins(longest),)).after(params.after);
        let page = scan.page(page_size(params.limit))?;
        let mut people = Vec::new();
        for Word { word, actor } in page.rows {
            let Some(account) = account::of_actor(cx, &actor)? else {
                continue;
            };
            let has = words_of(&account);
            let fits = wanted.iter().all(|wish| has.iter().any(|word| word.starts_with(wish)));
            // Somebody with several such words comes with the first of them only.
            let first = has.iter().find(|word| word.starts_with(longest));
            if fits && first == Some(&word) {
                people.push(account.into());
            }
        }
        Ok(Found {
            people,
            next: page.next,
        })
    }
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
