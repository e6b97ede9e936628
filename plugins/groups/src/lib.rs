//! The groups plugin: groups and discussions, members, roles, mutes, mentions, announcements, pins.
//!
//! [`rights`] decides who may do what, as pure values without a host. The other modules read, call it, and write. The id of a
//! group is that of its conversation. docs/plugins/groups.md has the methods, the codes and the data model.

mod announcement;
mod counter;
mod deletion;
mod error;
mod group;
mod invitation;
mod invite_link;
mod join_request;
mod lifecycle;
mod member;
mod membership;
mod mention;
mod moderation;
mod params;
mod pin;
mod profile;
mod removal;
mod rights;
mod roles;
mod settings;
#[cfg(test)]
mod tests;
mod text;

use courtyard_plugin_sdk::prelude::*;

use settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct Groups {
    settings: Settings,
}

impl Plugin for Groups {
    fn start(configuration: &str) -> Result<Self, Error> {
        let settings = Settings::parse(configuration)?;
        Ok(Self { settings })
    }

    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        match moderation::check_message(cx, &self.settings, message) {
            Ok(()) => Verdict::Accept,
            Err(error) => Verdict::Reject(error),
        }
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        mention::record(cx, &self.settings, message)
    }

    fn before_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        moderation::check_act(cx, act)
    }

    fn timer(&self, cx: &Context, name: &str, _payload: &[u8]) -> Result<(), Error> {
        if let Some(group) = name.strip_prefix(deletion::TIMER) {
            deletion::run_step(cx, group)
        } else if let Some(announcement) = name.strip_prefix(announcement::TIMER) {
            announcement::resume_deletion(cx, announcement)
        } else if let Some(member) = name.strip_prefix(moderation::TIMER) {
            moderation::end_mute(cx, member)
        } else {
            Ok(())
        }
    }
}

register! {
    plugin: Groups,
    id: "groups",
    description: "Groups and discussions: members, roles, mutes, mentions, announcements, pins.",
    after: ["users"],
    capabilities: [annotations, conversations, kv, methods, sessions, timers],
    hooks: [
        before_send(guard) { conversations: ["group", "discussion"] },
        after_send { conversations: ["group", "discussion"], contents: ["text"] },
        before_act { conversations: ["group", "discussion"] },
        timer,
    ],
    methods: [
        create, info, membership, members, mine, edit_profile, configure, transfer, dissolve,
        join, withdraw, requests, approve, refuse,
        invite, invitations, accept, decline, uninvite,
        create_link, links, revoke_link, open_link, join_link,
        leave, remove, ban, unban, bans,
        mute, unmute, mute_all, slow_mode, recall,
        roles, add_role, change_role, remove_role, set_role, set_overrides,
        set_notify, notify_rules, mentions, unread_mentions, clear_mentions,
        announce, announcements, mark_seen, seen, unseen, remove_announcement,
        pin, unpin, pins,
    ],
}
