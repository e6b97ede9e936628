//! Presence, as friends and members of direct conversations see it.
//!
//! The host knows who is online. `status/ACTOR` holds the status that a person chose. Connecting and disconnecting
//! don't change it.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::last_seen;
use crate::accounts::person::{Actors, Nothing, check_count};
use crate::error;
use crate::social::{direct, friend};

/// The state that a person chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PresenceChoice {
    #[default]
    Online,
    Busy,
    Invisible,
}

/// The stored status that a person chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StoredStatus {
    state: PresenceChoice,
    #[serde(default)]
    text: String,
    /// Milliseconds since 1970; 0 for no end.
    #[serde(default)]
    until_ms: u64,
}

record! {
    /// Parameters of `set_presence`: `online`, `busy` or `invisible`, a text, and the end. A missing member is the default.
    pub(crate) struct SetPresenceParams { state: Option<String>, text: Option<String>, until_ms: Option<u64> }
}
record! {
    /// Parameters of `set_idle`: true if the person doesn't use the device.
    pub(crate) struct SetIdleParams { idle: bool }
}
record! {
    /// The visible presence of a person.
    pub(crate) struct Presence {
        actor: String,
        state: String,
        text: Option<String>,
        until_ms: Option<u64>,
        last_seen_ms: Option<u64>,
    }
}
record! {
    /// The visible presence of several people.
    pub(crate) struct PresenceList { people: Vec<Presence> }
}

impl StoredStatus {
    /// Returns the presence that others see.
    fn shown(&self, actor: &str, is_online: bool, is_idle: bool) -> Presence {
        let state = match (is_online, self.state) {
            (false, _) | (_, PresenceChoice::Invisible) => "offline",
            (_, PresenceChoice::Busy) => "busy",
            (_, PresenceChoice::Online) if is_idle => "idle",
            (_, PresenceChoice::Online) => "online",
        };
        let has_text = self.state != PresenceChoice::Invisible && !self.text.is_empty();
        Presence {
            actor: actor.to_owned(),
            state: state.to_owned(),
            text: has_text.then(|| self.text.clone()),
            until_ms: Some(self.until_ms).filter(|until| *until > 0 && self.state != PresenceChoice::Invisible),
            last_seen_ms: None,
        }
    }

    /// True for the default, which isn't stored.
    fn is_default(&self) -> bool {
        self.state == PresenceChoice::Online && self.text.is_empty()
    }
}

fn offline(actor: &str) -> Presence {
    StoredStatus::default().shown(actor, false, false)
}

fn key(actor: &str) -> String {
    format!("status/{actor}")
}

fn status(cx: &Context, actor: &str) -> Result<StoredStatus, Error> {
    Ok(cx.kv().get_json(key(actor))?.unwrap_or_default())
}

fn is_online(cx: &Context, actor: &str) -> bool {
    cx.sessions().online(&[actor.to_owned()]).first() == Some(&true)
}

fn signal(cx: &Context, to: &[String], presence: &Presence) -> Result<(), Error> {
    if !to.is_empty() {
        cx.sessions().signal(to, "presence", presence)?;
    }
    Ok(())
}

/// Signals the current presence to friends and to the actor's own devices.
fn announce(cx: &Context, actor: &str, is_idle: bool) -> Result<(), Error> {
    let mut audience = friend::ids(cx, actor)?;
    audience.push(actor.to_owned());
    let shown = status(cx, actor)?.shown(actor, is_online(cx, actor), is_idle);
    signal(cx, &audience, &shown)
}

/// Signals the presence of two new friends to each other.
pub(crate) fn show_each_other(cx: &Context, one: &str, other: &str) -> Result<(), Error> {
    for (actor, to) in [(one, other), (other, one)] {
        if is_online(cx, actor) {
            signal(cx, &[to.to_owned()], &status(cx, actor)?.shown(actor, true, false))?;
        }
    }
    Ok(())
}

/// Signals `offline` to two people who saw each other's presence.
pub(crate) fn hide_from(cx: &Context, one: &str, other: &str) -> Result<(), Error> {
    for (actor, viewer) in [(one, other), (other, one)] {
        if may_see(cx, viewer, actor)? {
            signal(cx, &[viewer.to_owned()], &offline(actor))?;
        }
    }
    Ok(())
}

/// True if `viewer` may see the presence of `actor`.
fn may_see(cx: &Context, viewer: &str, actor: &str) -> Result<bool, Error> {
    let are_close = friend::are_friends(cx, viewer, actor)? || direct::exists(cx, viewer, actor)?;
    Ok(are_close && direct::block_reason(cx, viewer, actor)?.is_none())
}

/// Deletes the chosen status.
pub(crate) fn delete(cx: &Context, actor: &str) -> Result<(), Error> {
    Ok(cx.kv().delete(key(actor))?)
}

impl Users {
    pub(crate) fn set_presence(&self, cx: &Context, params: SetPresenceParams) -> Result<Nothing, Error> {
        let actor = cx.caller.actor.as_str();
        let state = match params.state.as_deref() {
            None | Some("online") => PresenceChoice::Online,
            Some("busy") => PresenceChoice::Busy,
            Some("invisible") => PresenceChoice::Invisible,
            Some(_) => {
                return Err(Error::new(
                    error::INVALID_STATE,
                    "A state is `online`, `busy` or `invisible`.",
                ));
            }
        };
        let text = params.text.unwrap_or_default().trim().to_owned();
        let max_chars = self.settings.presence.text_chars;
        if text.chars().count() > max_chars || text.chars().any(char::is_control) {
            let sentence = format!("A status has up to {max_chars} printable characters.");
            return Err(Error::new(error::INVALID_TEXT, sentence));
        }
        let until_ms = params.until_ms.unwrap_or(0);
        if until_ms > 0 && until_ms <= cx.now_ms() {
            return Err(Error::new(error::INVALID_TIME, "`until_ms` is in the past."));
        }
        let status = StoredStatus { state, text, until_ms };
        self.presence_rate
            .acquire(&format!("{}/{actor}", cx.caller.app), cx.now_ms())?;
        if status.is_default() {
            cx.kv().delete(key(actor))?;
        } else {
            let until_ms = if until_ms > 0 { until_ms } else { u64::MAX };
            cx.kv().set_json_until(key(actor), &status, until_ms)?;
        }
        announce(cx, actor, false)?;
        Ok(Nothing {})
    }

    pub(crate) fn set_idle(&self, cx: &Context, params: SetIdleParams) -> Result<Nothing, Error> {
        let actor = cx.caller.actor.as_str();
        self.presence_rate
            .acquire(&format!("{}/{actor}", cx.caller.app), cx.now_ms())?;
        // `invisible` and `busy` hide idleness.
        if status(cx, actor)?.state == PresenceChoice::Online {
            announce(cx, actor, params.idle)?;
        }
        Ok(Nothing {})
    }

    pub(crate) fn presence(&self, cx: &Context, params: Actors) -> Result<PresenceList, Error> {
        check_count(&params.actors)?;
        let viewer = cx.caller.actor.as_str();
        let online = cx.sessions().online(&params.actors);
        let mut people = Vec::new();
        for (actor, is_online) in params.actors.iter().zip(online) {
            people.push(if actor == viewer {
                own_presence(&status(cx, actor)?, actor)
            } else if may_see(cx, viewer, actor)? {
                self.visible_presence(cx, actor, is_online)?
            } else {
                offline(actor)
            });
        }
        Ok(PresenceList { people })
    }

    /// Returns the presence of a person for somebody who may see it.
    fn visible_presence(&self, cx: &Context, actor: &str, is_online: bool) -> Result<Presence, Error> {
        let status = status(cx, actor)?;
        let mut shown = status.shown(actor, is_online, false);
        if self.settings.presence.last_seen && !is_online && status.state != PresenceChoice::Invisible {
            shown.last_seen_ms = last_seen::last_seen_ms(cx, actor)?;
        }
        Ok(shown)
    }

    /// Signals a new connection to friends, unless the person is invisible.
    pub(crate) fn on_connected(&self, cx: &Context) -> Result<(), Error> {
        let actor = cx.caller.actor.as_str();
        let status = status(cx, actor)?;
        if status.state != PresenceChoice::Invisible {
            signal(cx, &friend::ids(cx, actor)?, &status.shown(actor, true, false))?;
        }
        Ok(())
    }

    /// Signals to friends that the last device disconnected, unless the person is invisible.
    pub(crate) fn on_disconnected(&self, cx: &Context) -> Result<(), Error> {
        let actor = cx.caller.actor.as_str();
        let status = status(cx, actor)?;
        if status.state != PresenceChoice::Invisible && !is_online(cx, actor) {
            signal(cx, &friend::ids(cx, actor)?, &status.shown(actor, false, false))?;
        }
        Ok(())
    }
}

/// Returns the presence that a person sees of themselves: the chosen status.
fn own_presence(status: &StoredStatus, actor: &str) -> Presence {
    let state = match status.state {
        PresenceChoice::Online => "online",
        PresenceChoice::Busy => "busy",
        PresenceChoice::Invisible => "invisible",
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
    fn the_visible_presence_follows_the_chosen_status() {
        let shown = |state, is_online, is_idle| {
            let status = StoredStatus {
                state,
                text: "Lunch".to_owned(),
                until_ms: 7,
            };
            let shown = status.shown("ann", is_online, is_idle);
            (shown.state, shown.text.is_some(), shown.until_ms)
        };
        let expected = |state: &str, has_text, until| (state.to_owned(), has_text, until);
        assert_eq!(
            shown(PresenceChoice::Online, true, false),
            expected("online", true, Some(7))
        );
        assert_eq!(
            shown(PresenceChoice::Online, true, true),
            expected("idle", true, Some(7))
        );
        assert_eq!(shown(PresenceChoice::Busy, true, true), expected("busy", true, Some(7)));
        assert_eq!(
            shown(PresenceChoice::Busy, false, false),
            expected("offline", true, Some(7))
        );
        assert_eq!(
            shown(PresenceChoice::Invisible, true, false),
            expected("offline", false, None)
        );
    }
}
