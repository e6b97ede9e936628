//! The configuration of the plugin.

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;

use crate::error;

/// How invited people become members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InviteMode {
    /// They are members at once. Other plugins can reject this.
    Add,
    /// They get an invitation that they have to accept.
    Ask,
}

/// The configuration; docs/plugins/groups.md describes every key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) capacity: u32,
    pub(crate) max_capacity: u32,
    pub(crate) discussion_capacity: u32,
    pub(crate) groups_per_actor: u32,
    pub(crate) group_invites: InviteMode,
    pub(crate) discussion_invites: InviteMode,
    pub(crate) invitation_days: u64,
    pub(crate) link_days: u64,
    pub(crate) links: u32,
    pub(crate) waiting: u32,
    pub(crate) bans: u32,
    pub(crate) roles: u32,
    pub(crate) pins: u32,
    pub(crate) announcements: u32,
    pub(crate) announcement_characters: u32,
    pub(crate) mentions: u32,
    pub(crate) unread_mentions: u32,
    pub(crate) name_characters: u32,
    pub(crate) description_characters: u32,
    /// The method that returns the people whom the caller can reach; empty for none.
    pub(crate) directory: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            capacity: 500,
            max_capacity: 10_000,
            discussion_capacity: 100,
            groups_per_actor: 1_000,
            group_invites: InviteMode::Ask,
            discussion_invites: InviteMode::Add,
            invitation_days: 30,
            link_days: 7,
            links: 50,
            waiting: 1_000,
            bans: 10_000,
            roles: 20,
            pins: 50,
            announcements: 100,
            announcement_characters: 4_000,
            mentions: 50,
            unread_mentions: 200,
            name_characters: 64,
            description_characters: 1_000,
            directory: "users.reachable".to_owned(),
        }
    }
}

impl Settings {
    /// Parses and checks the configuration.
    pub(crate) fn parse(json: &str) -> Result<Self, Error> {
        let invalid = |reason: String| Error::new(error::INVALID_CONFIGURATION, reason);
        let settings: Self = serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        // One call may touch all of these, so the bounds keep it within the host's limits of a call.
        let bounds = [
            ("capacity", settings.capacity, 1, settings.max_capacity),
            ("max_capacity", settings.max_capacity, 1, 1_000_000),
            (
                "discussion_capacity",
                settings.discussion_capacity,
                1,
                settings.max_capacity,
            ),
            ("groups_per_actor", settings.groups_per_actor, 1, 100_000),
            ("links", settings.links, 0, 500),
            ("waiting", settings.waiting, 0, 100_000),
            ("bans", settings.bans, 0, 1_000_000),
            ("roles", settings.roles, 0, 50),
            ("pins", settings.pins, 0, 500),
            ("announcements", settings.announcements, 0, 10_000),
            ("announcement_characters", settings.announcement_characters, 1, 50_000),
            ("mentions", settings.mentions, 0, 500),
            ("unread_mentions", settings.unread_mentions, 1, 1_000),
            ("name_characters", settings.name_characters, 1, 256),
            ("description_characters", settings.description_characters, 0, 10_000),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(invalid(format!(
                    "{name}: {value} is out of range; use {least} to {most}"
                )));
            }
        }
        if !settings.directory.is_empty() && !settings.directory.contains('.') {
            return Err(invalid(
                "directory: use a method as PLUGIN.NAME, or an empty text".to_owned(),
            ));
        }
        Ok(settings)
    }
}
