//! The search for people by the words of their names.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account;
use crate::accounts::name_index::{Word, words, words_of};
use crate::accounts::person::{Person, page_size};

record! {
    /// Beginnings of words, in any order.
    pub(crate) struct Search { query: String, after: Option<Cursor>, limit: Option<u32> }
}
record! {
    /// Some people, and where the next ones begin.
    pub(crate) struct Found { people: Vec<Person>, next: Option<Cursor> }
}

impl Users {
    pub(crate) fn search(&self, cx: &Context, params: Search) -> Result<Found, Error> {
        let wanted = words(&params.query);
        // The longest one is the rarest.
        let Some(longest) = wanted.iter().max_by_key(|word| word.len()) else {
            return Err(Error::new("bad_query", "There is no word to look for."));
        };
        let scan = cx.table::<Word>().scan((KeyPrefix(longest),)).after(params.after);
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
