//! Friend requests.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Nothing, Person, PersonParams, find_other, page_size};
use crate::error;
use crate::social::{direct, friend};

/// Maximum length of the text of a request, in characters.
const TEXT_CHARS: usize = 200;

/// A pending friend request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FriendRequest {
    from: String,
    to: String,
    at_ms: u64,
    #[serde(default)]
    text: String,
}

table! {
    FriendRequest in "requests", key (from: String, to: String);

    /// Requests by receiver, the oldest first.
    pub(crate) many ByReceiver in "receiver", key (to: String, at_ms: u64);
}

record! {
    /// Parameters of `request_friend`: the person, and a text for them.
    pub(crate) struct FriendRequestParams { actor: String, text: Option<String> }
}
record! {
    /// Result of `request_friend`: `requested`, or `friends` if the other person had sent a request.
    pub(crate) struct FriendRequestResult { state: String }
}
record! {
    /// Parameters of `friend_requests`: `in` (the default) or `out`.
    pub(crate) struct FriendRequestQuery { direction: Option<String>, after: Option<Cursor>, limit: Option<u32> }
}
record! {
    /// A request with the other person.
    pub(crate) struct FriendRequestInfo { person: Person, at_ms: u64, text: String }
}
record! {
    /// A page of requests.
    pub(crate) struct FriendRequestList { requests: Vec<FriendRequestInfo>, next: Option<Cursor> }
}

/// Deletes a request. Returns false if it doesn't exist.
pub(crate) fn delete(cx: &Context, from: &str, to: &str) -> Result<bool, Error> {
    Ok(cx.table::<FriendRequest>().remove((from, to))?.is_some())
}

/// Returns up to `limit` people with pending requests from or to an actor.
pub(crate) fn list_pending(cx: &Context, actor: &str, limit: usize) -> Result<Vec<String>, Error> {
    let table = cx.table::<FriendRequest>();
    let mut others = Vec::new();
    for key in table.scan((actor,)).keys().take(limit) {
        others.push(key?.1);
    }
    for key in table.by(ByReceiver).scan((actor,)).keys().take(limit - others.len()) {
        others.push(key?.0);
    }
    Ok(others)
}

/// Returns the key of the cooldown after a refused or withdrawn request.
fn cooldown_key(from: &str, to: &str) -> String {
    format!("again/{from}/{to}")
}

fn unknown_request() -> Error {
    Error::new(error::UNKNOWN_REQUEST, "There is no pending request with this person.")
}

impl Users {
    pub(crate) fn request_friend(
        &self,
        cx: &Context,
        params: FriendRequestParams,
    ) -> Result<FriendRequestResult, Error> {
        let text = params.text.unwrap_or_default().trim().to_owned();
        if text.chars().count() > TEXT_CHARS || text.chars().any(|char| char.is_control() && char != '\n') {
            return Err(Error::new(
                error::INVALID_TEXT,
                "A request has up to 200 printable characters.",
            ));
        }
        let own = cx.caller.actor.as_str();
        let to = find_other(cx, &params.actor)?.actor;
        direct::check_reachable(cx, own, &to)?;
        if friend::are_friends(cx, own, &to)? {
            return Err(Error::new(error::CONFLICT, "You are friends already."));
        }
        self.check_friends(cx, own)?;
        if cx.table::<FriendRequest>().contains((to.as_str(), own))? {
            self.check_friends(cx, &to)?;
            delete(cx, &to, own)?;
            delete(cx, own, &to)?;
            friend::befriend(cx, own, &to)?;
            return Ok(FriendRequestResult {
                state: "friends".to_owned(),
            });
        }
        let table = cx.table::<FriendRequest>();
        let state = "requested".to_owned();
        if table.contains((own, to.as_str()))? {
            return Ok(FriendRequestResult { state });
        }
        if cx.kv().get(cooldown_key(own, &to))?.is_some() {
            return Err(Error::new(
                error::RATE_LIMITED,
                "You sent a request to this person a short time ago. Try again later.",
            )
            .retryable());
        }
        let most = self.settings.friend_requests;
        if table.scan((own,)).count(most)? >= most || table.by(ByReceiver).scan((to.as_str(),)).count(most)? >= most {
            return Err(Error::new(
                error::LIMIT_REQUESTS,
                "Too many friend requests are pending. Try again later.",
            )
            .retryable());
        }
        table.insert(&FriendRequest {
            from: own.to_owned(),
            to: to.clone(),
            at_ms: cx.now_ms(),
            text,
        })?;
        friend::signal_change(cx, own, &to, "requested")?;
        Ok(FriendRequestResult { state })
    }

    pub(crate) fn accept_friend(&self, cx: &Context, params: PersonParams) -> Result<Nothing, Error> {
        let own = cx.caller.actor.as_str();
        if !delete(cx, &params.actor, own)? {
            return Err(unknown_request());
        }
        let from = find_other(cx, &params.actor)?.actor;
        direct::check_reachable(cx, own, &from)?;
        self.check_friends(cx, own)?;
        self.check_friends(cx, &from)?;
        delete(cx, own, &from)?;
        friend::befriend(cx, own, &from)?;
        Ok(Nothing {})
    }

    pub(crate) fn refuse_friend(&self, cx: &Context, params: PersonParams) -> Result<Nothing, Error> {
        let own = cx.caller.actor.as_str();
        if !delete(cx, &params.actor, own)? {
            return Err(unknown_request());
        }
        self.start_cooldown(cx, &params.actor, own)?;
        friend::signal_change(cx, own, &params.actor, "refused")?;
        Ok(Nothing {})
    }

    pub(crate) fn withdraw_friend(&self, cx: &Context, params: PersonParams) -> Result<Nothing, Error> {
        let own = cx.caller.actor.as_str();
        if !delete(cx, own, &params.actor)? {
            return Err(unknown_request());
        }
        self.start_cooldown(cx, own, &params.actor)?;
        friend::signal_change(cx, own, &params.actor, "withdrawn")?;
        Ok(Nothing {})
    }

    /// Starts the cooldown of requests from one person to another.
    fn start_cooldown(&self, cx: &Context, from: &str, to: &str) -> Result<(), Error> {
        let until_ms = cx
            .now_ms()
            .saturating_add(self.settings.request_again_s.saturating_mul(1_000));
        Ok(cx.kv().set_until(cooldown_key(from, to), "", until_ms)?)
    }

    pub(crate) fn friend_requests(&self, cx: &Context, params: FriendRequestQuery) -> Result<FriendRequestList, Error> {
        let own = cx.caller.actor.as_str();
        let table = cx.table::<FriendRequest>();
        let (scan, is_in) = match params.direction.as_deref() {
            None | Some("in") => (table.by(ByReceiver).scan((own,)), true),
            Some("out") => (table.scan((own,)), false),
            Some(_) => return Err(Error::new(error::INVALID_DIRECTION, "A direction is `in` or `out`.")),
        };
        let page = scan.after(params.after).page(page_size(params.limit))?;
        let mut requests = Vec::new();
        for request in page.rows {
            let other = if is_in { &request.from } else { &request.to };
            let person = account::find_by_actor(cx, other)?.map(Person::from);
            requests.extend(person.map(|person| FriendRequestInfo {
                person,
                at_ms: request.at_ms,
                text: request.text,
            }));
        }
        Ok(FriendRequestList {
            requests,
            next: page.next,
        })
    }
}
