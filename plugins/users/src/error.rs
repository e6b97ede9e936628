//! The error codes of the plugin. docs/plugins/users.md lists them all with their meaning.

use courtyard_plugin_sdk::prelude::*;

macro_rules! codes {
    ($($name:ident = $code:literal,)*) => {
        $(pub(crate) const $name: &str = $code;)*

        /// All codes, in the order of the documentation.
        #[cfg(test)]
        pub(crate) const ALL: &[&str] = &[$($code),*];
    };
}

codes! {
    BUSY = "busy",
    CONFLICT = "conflict",
    CONFLICT_ADDRESS = "conflict_address",
    CONFLICT_CLOSED = "conflict_closed",
    CONFLICT_IDENTITY = "conflict_identity",
    CONFLICT_NAME = "conflict_name",
    EXPIRED_LOGIN = "expired_login",
    EXPIRED_TOKEN = "expired_token",
    FORBIDDEN = "forbidden",
    INTERNAL = "internal",
    INVALID_ACTOR = "invalid_actor",
    INVALID_ACTORS = "invalid_actors",
    INVALID_ADDRESS = "invalid_address",
    INVALID_BIO = "invalid_bio",
    INVALID_CODE = "invalid_code",
    INVALID_CONFIGURATION = "invalid_configuration",
    INVALID_CREDENTIALS = "invalid_credentials",
    INVALID_DIRECTION = "invalid_direction",
    INVALID_DISPLAY_NAME = "invalid_display_name",
    INVALID_FIELD = "invalid_field",
    INVALID_ID_TOKEN = "invalid_id_token",
    INVALID_ISSUER = "invalid_issuer",
    INVALID_LOCALE = "invalid_locale",
    INVALID_MEDIA_TYPE = "invalid_media_type",
    INVALID_NAME = "invalid_name",
    INVALID_PASSWORD = "invalid_password",
    INVALID_QUERY = "invalid_query",
    INVALID_REDIRECT = "invalid_redirect",
    INVALID_REMARK = "invalid_remark",
    INVALID_STATE = "invalid_state",
    INVALID_TAG = "invalid_tag",
    INVALID_TEXT = "invalid_text",
    INVALID_TIME = "invalid_time",
    INVALID_TIME_ZONE = "invalid_time_zone",
    LIMIT_ADDRESSES = "limit_addresses",
    LIMIT_BLOCKS = "limit_blocks",
    LIMIT_FRIENDS = "limit_friends",
    LIMIT_IDENTITIES = "limit_identities",
    LIMIT_PICTURE_BYTES = "limit_picture_bytes",
    LIMIT_REQUESTS = "limit_requests",
    RATE_LIMITED = "rate_limited",
    UNAUTHENTICATED = "unauthenticated",
    UNAVAILABLE = "unavailable",
    UNKNOWN_ACCOUNT = "unknown_account",
    UNKNOWN_ADDRESS = "unknown_address",
    UNKNOWN_FIELD = "unknown_field",
    UNKNOWN_FRIEND = "unknown_friend",
    UNKNOWN_IDENTITY = "unknown_identity",
    UNKNOWN_JOB = "unknown_job",
    UNKNOWN_PERSON = "unknown_person",
    UNKNOWN_PICTURE = "unknown_picture",
    UNKNOWN_PROVIDER = "unknown_provider",
    UNKNOWN_REQUEST = "unknown_request",
    UNKNOWN_SECRET = "unknown_secret",
    UNKNOWN_SESSION = "unknown_session",
    UNKNOWN_STATE = "unknown_state",
    UNKNOWN_TRANSACTION = "unknown_transaction",
}

/// The error for a configuration that the plugin can't start with.
pub(crate) fn invalid_configuration(reason: impl Into<String>) -> Error {
    Error::new(INVALID_CONFIGURATION, reason)
}
