//! People, as others see them.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account::{self, Account};

/// Most people in one answer.
pub(crate) const PAGE: u32 = 100;

record! {
    /// Nothing.
    pub(crate) struct Nothing {}
}
record! {
    /// Someone.
    pub(crate) struct Person {
        pub(crate) actor: String,
        pub(crate) name: String,
        pub(crate) display_name: String,
        pub(crate) avatar: Option<String>,
    }
}
record! {
    /// Who is looked for: names that begin so, behind the name of an earlier answer's `next`.
    pub(crate) struct Query { query: Option<String>, after: Option<String>, limit: Option<u32> }
}
record! {
    /// Some people, and where the next ones begin.
    pub(crate) struct People { pub(crate) people: Vec<Person>, pub(crate) next: Option<String> }
}
record! {
    /// Who is asked about.
    pub(crate) struct Actors { pub(crate) actors: Vec<String> }
}
record! {
    /// Someone's id.
    pub(crate) struct Whom { pub(crate) actor: String }
}
record! {
    /// Where a list goes on, and how much of it is wanted.
    pub(crate) struct Paging { pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
}

impl From<Account> for Person {
    fn from(account: Account) -> Self {
        Self {
            actor: account.actor,
            name: account.name,
            display_name: account.display_name,
            avatar: account.avatar,
        }
    }
}

/// Says how many entries a page has.
pub(crate) fn page_size(limit: Option<u32>) -> usize {
    limit.unwrap_or(50).clamp(1, PAGE) as usize
}

/// Says that there is no such person.
pub(crate) fn unknown() -> Error {
    Error::new("unknown_person", "There is no such person.")
}

/// Refuses questions about too many people at once.
pub(crate) fn check_count(actors: &[String]) -> Result<(), Error> {
    if actors.len() > PAGE as usize {
        return Err(Error::new("too_many", "Ask about 100 people at most."));
    }
    Ok(())
}

/// Returns the account of somebody else that is there and open.
pub(crate) fn other(cx: &Context, actor: &str) -> Result<Account, Error> {
    if actor == cx.caller.actor {
        return Err(Error::new("not_with_yourself", "That takes two."));
    }
    let account = account::of_actor(cx, actor)?.ok_or_else(unknown)?;
    if account::is_closed(cx, actor)? {
        return Err(Error::new("account_closed", "This account was closed."));
    }
    Ok(account)
}

impl Users {
    pub(crate) fn whoami(&self, cx: &Context, _params: Nothing) -> Result<Person, Error> {
        let account = account::of_actor(cx, &cx.caller.actor)?;
        account.map(Person::from).ok_or_else(unknown)
    }

    pub(crate) fn people(&self, cx: &Context, params: Query) -> Result<People, Error> {
        let prefix = params.query.unwrap_or_default().to_lowercase();
        let limit = page_size(params.limit);
        let wanted = u32::try_from(limit + 1).unwrap_or(PAGE);
        let mut found = account::list(cx, &prefix, params.after.as_deref(), wanted)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        let next = last.map(|account| account.name.to_lowercase());
        let mut people = Vec::new();
        for account in found {
            if !account::is_closed(cx, &account.actor)? {
                people.push(account.into());
            }
        }
        Ok(People { people, next })
    }

    pub(crate) fn profiles(&self, cx: &Context, params: Actors) -> Result<People, Error> {
        check_count(&params.actors)?;
        let mut people = Vec::new();
        for actor in &params.actors {
            people.extend(account::of_actor(cx, actor)?.map(Person::from));
        }
        Ok(People { people, next: None })
    }
}
