//! Errors that several requests share.

use crate::wire::{ErrorCode, RequestError};

pub(super) fn storage_failed(error: &dyn std::error::Error) -> RequestError {
    tracing::error!(%error, cause = error.source().map(tracing::field::display), "reading failed");
    RequestError::new(ErrorCode::Unavailable, "The server can't read its data.")
}

pub(super) fn unknown_conversation() -> RequestError {
    RequestError::new(
        ErrorCode::UnknownConversation,
        "The conversation does not exist, or you are not a member.",
    )
}
