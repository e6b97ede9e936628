//! The error codes of the plugin. docs/plugins/groups.md lists them all with their meaning.

macro_rules! codes {
    ($($name:ident = $code:literal,)*) => {
        $(pub(crate) const $name: &str = $code;)*

        /// All codes, in the order of the documentation.
        #[cfg(test)]
        pub(crate) const ALL: &[&str] = &[$($code),*];
    };
}

codes! {
    CONFLICT = "conflict",
    CONFLICT_DISSOLVED = "conflict_dissolved",
    FORBIDDEN = "forbidden",
    INTERNAL = "internal",
    INVALID_ACTORS = "invalid_actors",
    INVALID_CAPACITY = "invalid_capacity",
    INVALID_CONFIGURATION = "invalid_configuration",
    INVALID_DESCRIPTION = "invalid_description",
    INVALID_FORM = "invalid_form",
    INVALID_JOIN = "invalid_join",
    INVALID_MENTIONS = "invalid_mentions",
    INVALID_NAME = "invalid_name",
    INVALID_NOTE = "invalid_note",
    INVALID_NOTIFY = "invalid_notify",
    INVALID_PICTURE = "invalid_picture",
    INVALID_RANK = "invalid_rank",
    INVALID_REASON = "invalid_reason",
    INVALID_ROLE = "invalid_role",
    INVALID_SECONDS = "invalid_seconds",
    INVALID_TEXT = "invalid_text",
    INVALID_TITLE = "invalid_title",
    INVALID_USES = "invalid_uses",
    LIMIT_BANS = "limit_bans",
    LIMIT_GROUPS = "limit_groups",
    LIMIT_INVITATIONS = "limit_invitations",
    LIMIT_LINKS = "limit_links",
    LIMIT_MEMBERS = "limit_members",
    LIMIT_PINS = "limit_pins",
    LIMIT_REQUESTS = "limit_requests",
    LIMIT_ROLES = "limit_roles",
    RATE_LIMITED = "rate_limited",
    UNKNOWN_ANNOUNCEMENT = "unknown_announcement",
    UNKNOWN_BAN = "unknown_ban",
    UNKNOWN_GROUP = "unknown_group",
    UNKNOWN_INVITATION = "unknown_invitation",
    UNKNOWN_LINK = "unknown_link",
    UNKNOWN_MEMBER = "unknown_member",
    UNKNOWN_MESSAGE = "unknown_message",
    UNKNOWN_PERMISSION = "unknown_permission",
    UNKNOWN_PERSON = "unknown_person",
    UNKNOWN_PIN = "unknown_pin",
    UNKNOWN_REQUEST = "unknown_request",
    UNKNOWN_ROLE = "unknown_role",
}
