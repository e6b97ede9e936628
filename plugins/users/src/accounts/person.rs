//! People: the public part of accounts, and parameters that several methods share.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account::{self, Account};
use crate::error;

/// Maximum number of people in one answer.
pub(crate) const PAGE: u32 = 100;

record! {
    /// No parameters, or no result.
    pub(crate) struct Nothing {}
}
record! {
    /// The public part of an account.
    pub(crate) struct Person {
        pub(crate) actor: String,
        pub(crate) name: String,
        pub(crate) display_name: String,
        pub(crate) avatar: Option<String>,
    }
}
record! {
    /// Parameters of `people`: the beginning of a name, and `next` of an earlier answer.
    pub(crate) struct PeopleQuery { query: Option<String>, after: Option<String>, limit: Option<u32> }
}
record! {
    /// A page of people. `next` is `None` on the last page.
    pub(crate) struct People { pub(crate) people: Vec<Person>, pub(crate) next: Option<String> }
}
record! {
    /// Several actors.
    pub(crate) struct Actors { pub(crate) actors: Vec<String> }
}
record! {
    /// One actor.
    pub(crate) struct PersonParams { pub(crate) actor: String }
}
record! {
    /// A cursor and the size of the page.
    pub(crate) struct PageParams { pub(crate) after: Option<Cursor>, pub(crate) limit: Option<u32> }
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

/// Returns the size of a page: 50 by default, 1 to 100.
pub(crate) fn page_size(limit: Option<u32>) -> usize {
    limit.unwrap_or(50).clamp(1, PAGE) as usize
}

/// The error for an actor without an account.
pub(crate) fn unknown_person() -> Error {
    Error::new(error::UNKNOWN_PERSON, "No account has this actor id.")
}

/// Rejects more than [`PAGE`] actors.
pub(crate) fn check_count(actors: &[String]) -> Result<(), Error> {
    if actors.len() > PAGE as usize {
        return Err(Error::new(
            error::INVALID_ACTORS,
            "Too many actors: one call takes 100 at most.",
        ));
    }
    Ok(())
}

/// Returns the open account of another person than the caller.
pub(crate) fn find_other(cx: &Context, actor: &str) -> Result<Account, Error> {
    if actor == cx.caller.actor {
        return Err(Error::new(
            error::INVALID_ACTOR,
            "This needs another person than yourself.",
        ));
    }
    let account = account::find_by_actor(cx, actor)?.ok_or_else(unknown_person)?;
    if account::is_closed(cx, actor)? {
        return Err(Error::new(error::CONFLICT_CLOSED, "This account is closed."));
    }
    Ok(account)
}

impl Users {
    pub(crate) fn whoami(&self, cx: &Context, _params: Nothing) -> Result<Person, Error> {
        let account = account::find_by_actor(cx, &cx.caller.actor)?;
        account.map(Person::from).ok_or_else(unknown_person)
    }

    pub(crate) fn people(&self, cx: &Context, params: PeopleQuery) -> Result<People, Error> {
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
            people.extend(account::find_by_actor(cx, actor)?.map(Person::from));
        }
        Ok(People { people, next: None })
    }
}
