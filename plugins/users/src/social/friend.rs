//! Friends: both sides of a friendship, each with a remark and tags of its own.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Nothing, Person, Whom, page_size};
use crate::social::friend_request::{self, Request};
use crate::social::presence;

/// Friendships that end in one transaction, when an account is closed.
const BATCH: usize = 100;
const REMARK_CHARS: usize = 64;
const TAG_CHARS: usize = 32;

/// One side of a friendship.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Friend {
    owner: String,
    other: String,
    since_ms: u64,
    #[serde(default)]
    remark: String,
    #[serde(default)]
    tags: Vec<String>,
}

table! {
    Friend in "friends", key (owner: String, other: String);

    /// Friends of someone by each of their tags.
    pub(crate) many ByTag in "tag", key (String, String) = |friend| {
        let owner = friend.owner.clone();
        friend.tags.clone().into_iter().map(move |tag| (owner.clone(), tag))
    };
}

record! {
    /// A friend, as the caller keeps them.
    pub(crate) struct Contact { person: Person, since_ms: u64, remark: String, tags: Vec<String> }
}
record! {
    /// Which friends are wanted: all, or those with a tag.
    pub(crate) struct FriendQuery { tag: Option<String>, after: Option<Cursor>, limit: Option<u32> }
}
record! {
    /// Some friends, and where the next ones begin.
    pub(crate) struct Contacts { friends: Vec<Contact>, next: Option<Cursor> }
}
record! {
    /// What the caller notes about a friend; what is left out stays.
    pub(crate) struct Notes { actor: String, remark: Option<String>, tags: Option<Vec<String>> }
}
record! {
    /// A tag, and how many friends have it.
    pub(crate) struct Tag { tag: String, friends: u32 }
}
record! {
    /// The tags that the caller uses.
    pub(crate) struct Tags { tags: Vec<Tag> }
}

/// Tells whether two people are friends.
pub(crate) fn are(cx: &Context, one: &str, other: &str) -> Result<bool, Error> {
    Ok(cx.table::<Friend>().contains((one, other))?)
}

/// Lists the ids of all friends.
pub(crate) fn ids(cx: &Context, actor: &str) -> Result<Vec<String>, Error> {
    let keys = cx.table::<Friend>().scan((actor,)).keys();
    keys.map(|key| Ok(key?.1)).collect()
}

pub(crate) fn count(cx: &Context, actor: &str, bound: usize) -> Result<usize, Error> {
    Ok(cx.table::<Friend>().scan((actor,)).count(bound)?)
}

/// Makes two people friends, and tells both.
pub(crate) fn join(cx: &Context, own: &str, other: &str) -> Result<(), Error> {
    let since_ms = cx.now_ms();
    for (owner, other) in [(own, other), (other, own)] {
        cx.table::<Friend>().put(&Friend {
            owner: owner.to_owned(),
            other: other.to_owned(),
            since_ms,
            remark: String::new(),
            tags: Vec::new(),
        })?;
    }
    tell(cx, own, other, "accepted")?;
    let payload = json!({ "actors": [own, other] });
    cx.events().publish("friend_added", &payload)?;
    presence::show_each_other(cx, own, other)
}

/// Ends a friendship and what was asked between two people.
pub(crate) fn part(cx: &Context, own: &str, other: &str) -> Result<(), Error> {
    let table = cx.table::<Friend>();
    if table.remove((own, other))?.is_some() {
        table.remove((other, own))?;
        tell(cx, own, other, "removed")?;
        let payload = json!({ "actors": [own, other] });
        cx.events().publish("friend_removed", &payload)?;
    }
    if friend_request::take(cx, own, other)? {
        tell(cx, own, other, "withdrawn")?;
    }
    if friend_request::take(cx, other, own)? {
        tell(cx, own, other, "refused")?;
    }
    Ok(())
}

/// Ends some friendships and requests of an account that was closed; returns whether some are left.
pub(crate) fn part_some(cx: &Context, actor: &str) -> Result<bool, Error> {
    let mut others = Vec::new();
    for key in cx.table::<Friend>().scan((actor,)).keys().take(BATCH) {
        others.push(key?.1);
    }
    if others.is_empty() {
        others = friend_request::some(cx, actor, BATCH)?;
    }
    for other in &others {
        part(cx, actor, other)?;
    }
    Ok(!others.is_empty())
}

/// Tells all devices of both what one of them did.
pub(crate) fn tell(cx: &Context, own: &str, other: &str, change: &str) -> Result<(), Error> {
    for (to, about) in [(own, other), (other, own)] {
        let payload = json!({ "actor": about, "change": change, "by": own });
        cx.sessions().signal(&[to.to_owned()], "friend", &payload)?;
    }
    Ok(())
}

fn not_friends() -> Error {
    Error::new("not_friends", "You are not friends.")
}

fn checked_remark(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.chars().count() > REMARK_CHARS || text.chars().any(char::is_control) {
        return Err(Error::new("bad_remark", "A remark is up to 64 printable characters."));
    }
    Ok(text.to_owned())
}

fn checked_tags(tags: &[String], most: usize) -> Result<Vec<String>, Error> {
    let bad = |sentence: String| Err(Error::new("bad_tag", sentence));
    let mut checked: Vec<String> = Vec::new();
    for tag in tags {
        let tag = tag.trim();
        let fits = (1..=TAG_CHARS).contains(&tag.chars().count()) && !tag.chars().any(char::is_control);
        if !fits {
            return bad("A tag is 1 to 32 printable characters.".to_owned());
        }
        if !checked.iter().any(|known| known == tag) {
            checked.push(tag.to_owned());
        }
    }
    if checked.len() > most {
        return bad(format!("A friend has up to {most} tags."));
    }
    Ok(checked)
}

impl Users {
    pub(crate) fn friends(&self, cx: &Context, params: FriendQuery) -> Result<Contacts, Error> {
        let own = cx.caller.actor.as_str();
        let table = cx.table::<Friend>();
        let scan = match &params.tag {
            Some(tag) => table.by(ByTag).scan((own, tag.trim())),
            None => table.scan((own,)),
        };
        let page = scan.after(params.after).page(page_size(params.limit))?;
        let mut friends = Vec::new();
        for friend in page.rows {
            let person = account::of_actor(cx, &friend.other)?.map(Person::from);
            friends.extend(person.map(|person| Contact {
                person,
                since_ms: friend.since_ms,
                remark: friend.remark,
                tags: friend.tags,
            }));
        }
        Ok(Contacts {
            friends,
            next: page.next,
        })
    }

    pub(crate) fn set_friend(&self, cx: &Context, params: Notes) -> Result<Nothing, Error> {
        let own = cx.caller.actor.as_str();
        let remark = params.remark.as_deref().map(checked_remark).transpose()?;
        let tags = params
            .tags
            .map(|tags| checked_tags(&tags, self.settings.tags))
            .transpose()?;
        let found = cx.table::<Friend>().update((own, params.actor.as_str()), |friend| {
            if let Some(remark) = remark {
                friend.remark = remark;
            }
            if let Some(tags) = tags {
                friend.tags = tags;
            }
        })?;
        found.ok_or_else(not_friends)?;
        // The other side is not told: it is private.
        let payload = json!({ "actor": params.actor, "change": "changed", "by": own });
        cx.sessions().signal(&[own.to_owned()], "friend", &payload)?;
        Ok(Nothing {})
    }

    pub(crate) fn remove_friend(&self, cx: &Context, params: Whom) -> Result<Nothing, Error> {
        let own = cx.caller.actor.as_str();
        let table = cx.table::<Friend>();
        table.remove((own, params.actor.as_str()))?.ok_or_else(not_friends)?;
        table.remove((params.actor.as_str(), own))?;
        tell(cx, own, &params.actor, "removed")?;
        let payload = json!({ "actors": [own, params.actor] });
        cx.events().publish("friend_removed", &payload)?;
        Ok(Nothing {})
    }

    pub(crate) fn friend_tags(&self, cx: &Context, _params: Nothing) -> Result<Tags, Error> {
        let mut tags = BTreeMap::<String, u32>::new();
        for friend in cx.table::<Friend>().scan((cx.caller.actor.as_str(),)) {
            for tag in friend?.tags {
                *tags.entry(tag).or_default() += 1;
            }
        }
        let tags = tags.into_iter().map(|(tag, friends)| Tag { tag, friends });
        Ok(Tags { tags: tags.collect() })
    }

    /// Refuses what would make one friend too many.
    pub(crate) fn check_friends(&self, cx: &Context, actor: &str) -> Result<(), Error> {
        if count(cx, actor, self.settings.friends)? < self.settings.friends {
            return Ok(());
        }
        Err(if actor == cx.caller.actor {
            Error::new("too_many_friends", "You have as many friends as you can have.")
        } else {
            Error::new("too_many_friends", "They have as many friends as they can have.")
        })
    }
}

/// Tells how two people stand to each other, as one of them sees it.
pub(crate) fn relation(cx: &Context, own: &str, other: &str) -> Result<&'static str, Error> {
    Ok(if own == other {
        "self"
    } else if crate::social::block::blocks(cx, own, other)? {
        "blocked"
    } else if are(cx, own, other)? {
        "friend"
    } else if cx.table::<Request>().contains((own, other))? {
        "requested"
    } else if cx.table::<Request>().contains((other, own))? {
        "requests"
    } else {
        "none"
    })
}
