//! Errors that several requests share.

use crate::wire::{ErrorCode, RequestError};

pub(super) fn storage_failed(error: &dyn std::error::Error) -> RequestError {
    tracing::error!(%error, cause = error.source().map(tracing::field::display), "reading failed");
    RequestError::new(ErrorCode::Unavailable, "The server can't read its data.")
}

pub(super) fn unknown_conversation() -> RequestError {
    RequestError::new(
        ErrorCode::UnknownConversation,
        "There is no such conversation, or you are no member.",
    )
}
