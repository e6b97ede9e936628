//! Requests to become friends.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Nothing, Person, Whom, other, page_size};
use crate::social::{direct, friend};

const TEXT_CHARS: usize = 200;

/// That somebody wants to become a friend of somebody.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    from: String,
    to: String,
    at_ms: u64,
    #[serde(default)]
    text: String,
}

table! {
    Request in "requests", key (from: String, to: String);

    /// Requests to somebody, the oldest first.
    pub(crate) many ByReceiver in "receiver", key (to: String, at_ms: u64);
}

record! {
    /// Whom the caller wants as a friend, and a sentence for them.
    pub(crate) struct Wish { actor: String, text: Option<String> }
}
record! {
    /// What became of a wish: `requested`, or `friends` if the other side had asked already.
    pub(crate) struct Wished { state: String }
}
record! {
    /// Which requests are wanted: `in` (the default) or `out`.
    pub(crate) struct RequestQuery { direction: Option<String>, after: Option<Cursor>, limit: Option<u32> }
}
record! {
    /// A request, and who is on the other side of it.
    pub(crate) struct Asked { person: Person, at_ms: u64, text: String }
}
record! {
    /// Some requests, and where the next ones begin.
    pub(crate) struct Requests { requests: Vec<Asked>, next: Option<Cursor> }
}

/// Takes a request away; tells whether there was one.
pub(crate) fn take(cx: &Context, from: &str, to: &str) -> Result<bool, Error> {
    Ok(cx.table::<Request>().remove((from, to))?.is_some())
}

/// Lists some people who asked somebody, or whom somebody asked.
pub(crate) fn some(cx: &Context, actor: &str, limit: usize) -> Result<Vec<String>, Error> {
    let table = cx.table::<Request>();
    let mut others = Vec::new();
    for key in table.scan((actor,)).keys().take(limit) {
        others.push(key?.1);
    }
    for key in table.by(ByReceiver).scan((actor,)).keys().take(limit - others.len()) {
        others.push(key?.0);
    }
    Ok(others)
}

/// Says where it stands that a request came to nothing a short time ago.
fn again_key(from: &str, to: &str) -> String {
    format!("again/{from}/{to}")
}

fn unknown_request() -> Error {
    Error::new("unknown_request", "There is no such request.")
}

impl Users {
    pub(crate) fn request_friend(&self, cx: &Context, params: Wish) -> Result<Wished, Error> {
        let text = params.text.unwrap_or_default().trim().to_owned();
        if text.chars().count() > TEXT_CHARS || text.chars().any(|char| char.is_control() && char != '\n') {
            return Err(Error::new("bad_text", "A request has up to 200 printable characters."));
        }
        let own = cx.caller.actor.as_str();
        let to = other(cx, &params.actor)?.actor;
        direct::check(cx, own, &to)?;
        if friend::are(cx, own, &to)? {
            return Err(Error::new("already_friends", "You are friends."));
        }
        self.check_friends(cx, own)?;
        if cx.table::<Request>().contains((to.as_str(), own))? {
            self.check_friends(cx, &to)?;
            take(cx, &to, own)?;
            take(cx, own, &to)?;
            friend::join(cx, own, &to)?;
            return Ok(Wished {
                state: "friends".to_owned(),
            });
        }
        let table = cx.table::<Request>();
        let state = "requested".to_owned();
        if table.contains((own, to.as_str()))? {
            return Ok(Wished { state });
        }
        if cx.kv().get(again_key(own, &to))?.is_some() {
            return Err(Error::new("too_soon", "You asked a short time ago; ask again later.").retryable());
        }
        let most = self.settings.friend_requests;
        if table.scan((own,)).count(most)? >= most || table.by(ByReceiver).scan((to.as_str(),)).count(most)? >= most {
            return Err(Error::new("too_many_requests", "Too many requests wait for an answer.").retryable());
        }
        table.insert(&Request {
            from: own.to_owned(),
            to: to.clone(),
            at_ms: cx.now_ms(),
            text,
        })?;
        friend::tell(cx, own, &to, "requested")?;
        Ok(Wished { state })
    }

    pub(crate) fn accept_friend(&self, cx: &Context, params: Whom) -> Result<Nothing, Error> {
        let own = cx.caller.actor.as_str();
        if !take(cx, &params.actor, own)? {
            return Err(unknown_request());
        }
        let from = other(cx, &params.actor)?.actor;
        direct::check(cx, own, &from)?;
        self.check_friends(cx, own)?;
        self.check_friends(cx, &from)?;
        take(cx, own, &from)?;
        friend::join(cx, own, &from)?;
        Ok(Nothing {})
    }

    pub(crate) fn refuse_friend(&self, cx: &Context, params: Whom) -> Result<Nothing, Error> {
        let own = cx.caller.actor.as_str();
        if !take(cx, &params.actor, own)? {
            return Err(unknown_request());
        }
        self.cool_down(cx, &params.actor, own)?;
        friend::tell(cx, own, &params.actor, "refused")?;
        Ok(Nothing {})
    }

    pub(crate) fn withdraw_friend(&self, cx: &Context, params: Whom) -> Result<Nothing, Error> {
        let own = cx.caller.actor.as_str();
        if !take(cx, own, &params.actor)? {
            return Err(unknown_request());
        }
        self.cool_down(cx, own, &params.actor)?;
        friend::tell(cx, own, &params.actor, "withdrawn")?;
        Ok(Nothing {})
    }

    /// Keeps requests from coming again and again.
    fn cool_down(&self, cx: &Context, from: &str, to: &str) -> Result<(), Error> {
        let until_ms = cx
            .now_ms()
            .saturating_add(self.settings.request_again_s.saturating_mul(1_000));
        Ok(cx.kv().set_until(again_key(from, to), "", until_ms)?)
    }

    pub(crate) fn friend_requests(&self, cx: &Context, params: RequestQuery) -> Result<Requests, Error> {
        let own = cx.caller.actor.as_str();
        let table = cx.table::<Request>();
        let (scan, is_in) = match params.direction.as_deref() {
            None | Some("in") => (table.by(ByReceiver).scan((own,)), true),
            Some("out") => (table.scan((own,)), false),
            Some(_) => return Err(Error::new("bad_direction", "A direction is `in` or `out`.")),
        };
        let page = scan.after(params.after).page(page_size(params.limit))?;
        let mut requests = Vec::new();
        for request in page.rows {
            let other = if is_in { &request.from } else { &request.to };
            let person = account::of_actor(cx, other)?.map(Person::from);
            requests.extend(person.map(|person| Asked {
                person,
                at_ms: request.at_ms,
                text: request.text,
            }));
        }
        Ok(Requests {
            requests,
            next: page.next,
        })
    }
}
