//! Presence: who is there, as friends and members of direct conversations see it.
//!
//! Whether somebody is online is what the host says; `status/ACTOR` holds what somebody chose on top of it, and nothing is
//! written when people come and go.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::last_seen;
use crate::accounts::person::{Actors, Nothing, check_count};
use crate::social::{direct, friend};

/// What somebody chose to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Choice {
    #[default]
    Online,
    Busy,
    Invisible,
}

/// What somebody chose, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Status {
    state: Choice,
    #[serde(default)]
    text: String,
    /// 0 for no end.
    #[serde(default)]
    until_ms: u64,
}

record! {
    /// What the caller wants to show: `online`, `busy` or `invisible`, a text, and until when. What is left out is the default.
    pub(crate) struct Show { state: Option<String>, text: Option<String>, until_ms: Option<u64> }
}
record! {
    /// Whether nobody is at the device.
    pub(crate) struct Idle { idle: bool }
}
record! {
    /// How somebody is seen.
    pub(crate) struct Presence {
        actor: String,
        state: String,
        text: Option<String>,
        until_ms: Option<u64>,
        last_seen_ms: Option<u64>,
    }
}
record! {
    /// How people are seen.
    pub(crate) struct Presences { people: Vec<Presence> }
}

impl Status {
    /// Says how others see somebody who chose this.
    fn shown(&self, actor: &str, is_online: bool, is_idle: bool) -> Presence {
        let state = match (is_online, self.state) {
            (false, _) | (_, Choice::Invisible) => "offline",
            (_, Choice::Busy) => "busy",
            (_, Choice::Online) if is_idle => "idle",
            (_, Choice::Online) => "online",
        };
        let has_text = self.state != Choice::Invisible && !self.text.is_empty();
        Presence {
            actor: actor.to_owned(),
            state: state.to_owned(),
            text: has_text.then(|| self.text.clone()),
            until_ms: Some(self.until_ms).filter(|until| *until > 0 && self.state != Choice::Invisible),
            last_seen_ms: None,
        }
    }

    fn is_plain(&self) -> bool {
        self.state == Choice::Online && self.text.is_empty()
    }
}

fn offline(actor: &str) -> Presence {
    Status::default().shown(actor, false, false)
}

fn key(actor: &str) -> String {
    format!("status/{actor}")
}

fn status(cx: &Context, actor: &str) -> Result<Status, Error> {
    Ok(cx.kv().get_json(key(actor))?.unwrap_or_default())
}

fn is_online(cx: &Context, actor: &str) -> bool {
    cx.sessions().online(&[actor.to_owned()]).first() == Some(&true)
}

fn tell(cx: &Context, to: &[String], presence: &Presence) -> Result<(), Error> {
    if !to.is_empty() {
        cx.sessions().signal(to, "presence", presence)?;
    }
    Ok(())
}

/// Shows friends, and the actor's own devices, how somebody is seen now.
fn announce(cx: &Context, actor: &str, is_idle: bool) -> Result<(), Error> {
    let mut audience = friend::ids(cx, actor)?;
    audience.push(actor.to_owned());
    let shown = status(cx, actor)?.shown(actor, is_online(cx, actor), is_idle);
    tell(cx, &audience, &shown)
}

/// Shows two people who became friends each other.
pub(crate) fn show_each_other(cx: &Context, one: &str, other: &str) -> Result<(), Error> {
    for (actor, to) in [(one, other), (other, one)] {
        if is_online(cx, actor) {
            tell(cx, &[to.to_owned()], &status(cx, actor)?.shown(actor, true, false))?;
        }
    }
    Ok(())
}

/// Lets two people who saw each other see nothing more.
pub(crate) fn hide_from(cx: &Context, one: &str, other: &str) -> Result<(), Error> {
    for (actor, viewer) in [(one, other), (other, one)] {
        if may_see(cx, viewer, actor)? {
            tell(cx, &[viewer.to_owned()], &offline(actor))?;
        }
    }
    Ok(())
}

/// Tells whether somebody may see the presence of somebody else.
fn may_see(cx: &Context, viewer: &str, actor: &str) -> Result<bool, Error> {
    let are_close = friend::are(cx, viewer, actor)? || direct::have_one(cx, viewer, actor)?;
    Ok(are_close && direct::shut(cx, viewer, actor)?.is_none())
}

/// Forgets what somebody chose.
pub(crate) fn forget(cx: &Context, actor: &str) -> Result<(), Error> {
    Ok(cx.kv().delete(key(actor))?)
}

impl Users {
    pub(crate) fn set_presence(&self, cx: &Context, params: Show) -> Result<Nothing, Error> {
        let actor = cx.caller.actor.as_str();
        let state = match params.state.as_deref() {
            None | Some("online") => Choice::Online,
            Some("busy") => Choice::Busy,
            Some("invisible") => Choice::Invisible,
            Some(_) => {
                return Err(Error::new("bad_state", "A state is `online`, `busy` or `invisible`."));
            }
        };
        let text = params.text.unwrap_or_default().trim().to_owned();
        let most = self.settings.presence.text_chars;
        if text.chars().count() > most || text.chars().any(char::is_control) {
            let sentence = format!("A status has up to {most} printable characters.");
            return Err(Error::new("bad_text", sentence));
        }
        let until_ms = params.until_ms.unwrap_or(0);
        if until_ms > 0 && until_ms <= cx.now_ms() {
            return Err(Error::new("bad_time", "That time is over."));
        }
        let status = Status { state, text, until_ms };
        self.pace.step(&format!("{}/{actor}", cx.caller.app), cx.now_ms())?;
        if status.is_plain() {
            cx.kv().delete(key(actor))?;
        } else {
            let until_ms = if until_ms > 0 { until_ms } else { u64::MAX };
            cx.kv().set_json_until(key(actor), &status, until_ms)?;
        }
        announce(cx, actor, false)?;
        Ok(Nothing {})
    }

    pub(crate) fn set_idle(&self, cx: &Context, params: Idle) -> Result<Nothing, Error> {
        let actor = cx.caller.actor.as_str();
        self.pace.step(&format!("{}/{actor}", cx.caller.app), cx.now_ms())?;
        // Who is invisible or busy stays so.
        if status(cx, actor)?.state == Choice::Online {
            announce(cx, actor, params.idle)?;
        }
        Ok(Nothing {})
    }

    pub(crate) fn presence(&self, cx: &Context, params: Actors) -> Result<Presences, Error> {
        check_count(&params.actors)?;
        let viewer = cx.caller.actor.as_str();
        let online = cx.sessions().online(&params.actors);
        let mut people = Vec::new();
        for (actor, is_online) in params.actors.iter().zip(online) {
            people.push(if actor == viewer {
                own_presence(&status(cx, actor)?, actor)
            } else if may_see(cx, viewer, actor)? {
                self.seen_presence(cx, actor, is_online)?
            } else {
                offline(actor)
            });
        }
        Ok(Presences { people })
    }

    fn seen_presence(&self, cx: &Context, actor: &str, is_online: bool) -> Result<Presence, Error> {
        let status = status(cx, actor)?;
        let mut shown = status.shown(actor, is_online, false);
        if self.settings.presence.last_seen && !is_online && status.state != Choice::Invisible {
            shown.last_seen_ms = last_seen::last_seen_ms(cx, actor)?;
        }
        Ok(shown)
    }

    /// Tells friends that somebody comes. Nothing is told of who chose to be invisible.
    pub(crate) fn came(&self, cx: &Context) -> Result<(), Error> {
        let actor = cx.caller.actor.as_str();
        let status = status(cx, actor)?;
        if status.state != Choice::Invisible {
            tell(cx, &friend::ids(cx, actor)?, &status.shown(actor, true, false))?;
        }
        Ok(())
    }

    /// Tells friends that somebody went, unless another device is still there.
    pub(crate) fn went(&self, cx: &Context) -> Result<(), Error> {
        let actor = cx.caller.actor.as_str();
        let status = status(cx, actor)?;
        if status.state != Choice::Invisible && !is_online(cx, actor) {
            tell(cx, &friend::ids(cx, actor)?, &status.shown(actor, false, false))?;
        }
        Ok(())
    }
}

/// Says what somebody sees of themselves: what they chose.
fn own_presence(status: &Status, actor: &str) -> Presence {
    let state = match status.state {
        Choice::Online => "online",
        Choice::Busy => "busy",
        Choice::Invisible => "invisible",
    };
    Presence {
        state: state.to_owned(),
        text: Some(status.text.clone()).filter(|text| !text.is_empty()),
        until_ms: Some(status.until_ms).filter(|until| *until > 0),
        ..offline(actor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_follows_what_was_chosen() {
        let shown = |state, is_online, is_idle| {
            let status = Status {
                state,
                text: "Lunch".to_owned(),
                until_ms: 7,
            };
            let shown = status.shown("ann", is_online, is_idle);
            (shown.state, shown.text.is_some(), shown.until_ms)
        };
        let owned = |state: &str, has_text, until| (state.to_owned(), has_text, until);
        assert_eq!(shown(Choice::Online, true, false), owned("online", true, Some(7)));
        assert_eq!(shown(Choice::Online, true, true), owned("idle", true, Some(7)));
        assert_eq!(shown(Choice::Busy, true, true), owned("busy", true, Some(7)));
        assert_eq!(shown(Choice::Busy, false, false), owned("offline", true, Some(7)));
        assert_eq!(shown(Choice::Invisible, true, false), owned("offline", false, None));
    }
}
