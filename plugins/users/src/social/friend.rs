//! Friends: a friendship has two rows, one for each side, with its own remark and tags.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Nothing, Person, PersonParams, page_size};
use crate::error;
use crate::social::friend_request::{self, FriendRequest};
use crate::social::{block, presence};

/// Friendships and requests that end in one transaction when an account is closed.
const BATCH: usize = 100;
/// Maximum length of a remark, in characters.
const REMARK_CHARS: usize = 64;
/// Maximum length of a tag, in characters.
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

    /// Friends by owner and tag.
    pub(crate) many ByTag in "tag", key (String, String) = |friend| {
        let owner = friend.owner.clone();
        friend.tags.clone().into_iter().map(move |tag| (owner.clone(), tag))
    };
}

record! {
    /// A friend of the caller, with remark and tags.
    pub(crate) struct FriendInfo { person: Person, since_ms: u64, remark: String, tags: Vec<String> }
}
record! {
    /// Parameters of `friends`: all of them, or those with a tag.
    pub(crate) struct FriendQuery { tag: Option<String>, after: Option<Cursor>, limit: Option<u32> }
}
record! {
    /// A page of friends.
    pub(crate) struct FriendList { friends: Vec<FriendInfo>, next: Option<Cursor> }
}
record! {
    /// Parameters of `set_friend`. A missing member stays.
    pub(crate) struct FriendNotes { actor: String, remark: Option<String>, tags: Option<Vec<String>> }
}
record! {
    /// A tag, and the number of friends with it.
    pub(crate) struct TagCount { tag: String, friends: u32 }
}
record! {
    /// The tags that the caller uses.
    pub(crate) struct TagList { tags: Vec<TagCount> }
}

/// True if two people are friends.
pub(crate) fn are_friends(cx: &Context, one: &str, other: &str) -> Result<bool, Error> {
    Ok(cx.table::<Friend>().contains((one, other))?)
}

/// Returns the ids of all friends.
pub(crate) fn ids(cx: &Context, actor: &str) -> Result<Vec<String>, Error> {
    let keys = cx.table::<Friend>().scan((actor,)).keys();
    keys.map(|key| Ok(key?.1)).collect()
}

/// Counts friends, up to `bound`.
pub(crate) fn count(cx: &Context, actor: &str, bound: usize) -> Result<usize, Error> {
    Ok(cx.table::<Friend>().scan((actor,)).count(bound)?)
}

/// Makes two people friends, and notifies both.
pub(crate) fn befriend(cx: &Context, own: &str, other: &str) -> Result<(), Error> {
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
    signal_change(cx, own, other, "accepted")?;
    let payload = json!({ "actors": [own, other] });
    cx.events().publish("friend_added", &payload)?;
    presence::show_each_other(cx, own, other)
}

/// Ends the friendship of two people, deletes the requests between them, and notifies both.
pub(crate) fn unfriend(cx: &Context, own: &str, other: &str) -> Result<(), Error> {
    let table = cx.table::<Friend>();
    if table.remove((own, other))?.is_some() {
        table.remove((other, own))?;
        signal_change(cx, own, other, "removed")?;
        let payload = json!({ "actors": [own, other] });
        cx.events().publish("friend_removed", &payload)?;
    }
    if friend_request::delete(cx, own, other)? {
        signal_change(cx, own, other, "withdrawn")?;
    }
    if friend_request::delete(cx, other, own)? {
        signal_change(cx, own, other, "refused")?;
    }
    Ok(())
}

/// Ends one batch of friendships and requests of a closed account. Returns false once there are none.
pub(crate) fn unfriend_batch(cx: &Context, actor: &str) -> Result<bool, Error> {
    let mut others = Vec::new();
    for key in cx.table::<Friend>().scan((actor,)).keys().take(BATCH) {
        others.push(key?.1);
    }
    if others.is_empty() {
        others = friend_request::list_pending(cx, actor, BATCH)?;
    }
    for other in &others {
        unfriend(cx, actor, other)?;
    }
    Ok(!others.is_empty())
}

/// Signals a change that `own` made to all devices of both people.
pub(crate) fn signal_change(cx: &Context, own: &str, other: &str, change: &str) -> Result<(), Error> {
    for (to, about) in [(own, other), (other, own)] {
        let payload = json!({ "actor": about, "change": change, "by": own });
        cx.sessions().signal(&[to.to_owned()], "friend", &payload)?;
    }
    Ok(())
}

fn not_friends() -> Error {
    Error::new(error::UNKNOWN_FRIEND, "This person isn't your friend.")
}

fn checked_remark(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.chars().count() > REMARK_CHARS || text.chars().any(char::is_control) {
        return Err(Error::new(
            error::INVALID_REMARK,
            "A remark has up to 64 printable characters.",
        ));
    }
    Ok(text.to_owned())
}

fn checked_tags(tags: &[String], most: usize) -> Result<Vec<String>, Error> {
    let invalid = |sentence: String| Err(Error::new(error::INVALID_TAG, sentence));
    let mut checked: Vec<String> = Vec::new();
    for tag in tags {
        let tag = tag.trim();
        let fits = (1..=TAG_CHARS).contains(&tag.chars().count()) && !tag.chars().any(char::is_control);
        if !fits {
            return invalid("A tag has 1 to 32 printable characters.".to_owned());
        }
        if !checked.iter().any(|earlier| earlier == tag) {
            checked.push(tag.to_owned());
        }
    }
    if checked.len() > most {
        return invalid(format!("A friend has up to {most} tags."));
    }
    Ok(checked)
}

impl Users {
    pub(crate) fn friends(&self, cx: &Context, params: FriendQuery) -> Result<FriendList, Error> {
        let own = cx.caller.actor.as_str();
        let table = cx.table::<Friend>();
        let scan = match &params.tag {
            Some(tag) => table.by(ByTag).scan((own, tag.trim())),
            None => table.scan((own,)),
        };
        let page = scan.after(params.after).page(page_size(params.limit))?;
        let mut friends = Vec::new();
        for friend in page.rows {
            let person = account::find_by_actor(cx, &friend.other)?.map(Person::from);
            friends.extend(person.map(|person| FriendInfo {
                person,
                since_ms: friend.since_ms,
                remark: friend.remark,
                tags: friend.tags,
            }));
        }
        Ok(FriendList {
            friends,
            next: page.next,
        })
    }

    pub(crate) fn set_friend(&self, cx: &Context, params: FriendNotes) -> Result<Nothing, Error> {
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
        // Remark and tags are private, so the other person gets no signal.
        let payload = json!({ "actor": params.actor, "change": "changed", "by": own });
        cx.sessions().signal(&[own.to_owned()], "friend", &payload)?;
        Ok(Nothing {})
    }

    pub(crate) fn remove_friend(&self, cx: &Context, params: PersonParams) -> Result<Nothing, Error> {
        let own = cx.caller.actor.as_str();
        let table = cx.table::<Friend>();
        table.remove((own, params.actor.as_str()))?.ok_or_else(not_friends)?;
        table.remove((params.actor.as_str(), own))?;
        signal_change(cx, own, &params.actor, "removed")?;
        let payload = json!({ "actors": [own, params.actor] });
        cx.events().publish("friend_removed", &payload)?;
        Ok(Nothing {})
    }

    pub(crate) fn friend_tags(&self, cx: &Context, _params: Nothing) -> Result<TagList, Error> {
        let mut tags = BTreeMap::<String, u32>::new();
        for friend in cx.table::<Friend>().scan((cx.caller.actor.as_str(),)) {
            for tag in friend?.tags {
                *tags.entry(tag).or_default() += 1;
            }
        }
        let tags = tags.into_iter().map(|(tag, friends)| TagCount { tag, friends });
        Ok(TagList { tags: tags.collect() })
    }

    /// Rejects a further friend of an account that has reached the limit.
    pub(crate) fn check_friends(&self, cx: &Context, actor: &str) -> Result<(), Error> {
        if count(cx, actor, self.settings.friends)? < self.settings.friends {
            return Ok(());
        }
        Err(if actor == cx.caller.actor {
            Error::new(error::LIMIT_FRIENDS, "You have reached the limit of friends.")
        } else {
            Error::new(error::LIMIT_FRIENDS, "This person has reached the limit of friends.")
        })
    }
}

/// Returns the relation to another person as `own` sees it.
pub(crate) fn relation(cx: &Context, own: &str, other: &str) -> Result<&'static str, Error> {
    Ok(if own == other {
        "self"
    } else if block::has_blocked(cx, own, other)? {
        "blocked"
    } else if are_friends(cx, own, other)? {
        "friend"
    } else if cx.table::<FriendRequest>().contains((own, other))? {
        "requested"
    } else if cx.table::<FriendRequest>().contains((other, own))? {
        "requests"
    } else {
        "none"
    })
}
