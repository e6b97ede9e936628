//! The search for people by the words of their names.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account;
use crate::accounts::name_index::{NameWord, words, words_of};
use crate::accounts::person::{Person, page_size};
use crate::error;

record! {
    /// Parameters of `search`: beginnings of words, in any order.
    pub(crate) struct SearchParams { query: String, after: Option<Cursor>, limit: Option<u32> }
}
record! {
    /// A page of people.
    pub(crate) struct SearchPage { people: Vec<Person>, next: Option<Cursor> }
}

impl Users {
    pub(crate) fn search(&self, cx: &Context, params: SearchParams) -> Result<SearchPage, Error> {
        let query = words(&params.query);
        // The longest word is probably the rarest.
        let Some(longest) = query.iter().max_by_key(|word| word.len()) else {
            return Err(Error::new(error::INVALID_QUERY, "The query has no word."));
        };
        let scan = cx.table::<NameWord>().scan((KeyPrefix(longest),)).after(params.after);
        let page = scan.page(page_size(params.limit))?;
        let mut people = Vec::new();
        for NameWord { word, actor } in page.rows {
            let Some(account) = account::find_by_actor(cx, &actor)? else {
                continue;
            };
            let indexed = words_of(&account);
            let matches = query
                .iter()
                .all(|start| indexed.iter().any(|word| word.starts_with(start)));
            // A person with several matching words is listed with the first one.
            let first = indexed.iter().find(|word| word.starts_with(longest));
            if matches && first == Some(&word) {
                people.push(account.into());
            }
        }
        Ok(SearchPage {
            people,
            next: page.next,
        })
    }
}
