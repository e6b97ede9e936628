//! Converts a plugin's reply to the kind that the request asks for. Any other kind breaks the contract.

use bytes::Bytes;
use courtyard_plugin_sdk as sdk;
use courtyard_plugin_sdk::hook::Reply;

use super::{Failure, PluginError, Verdict};
use crate::wire::ActorId;

/// The content of a reply, or how the reply breaks the contract.
pub(crate) type ReplyResult<T> = Result<T, Failure>;

/// The actor that a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The actor.
    pub actor: ActorId,
    /// Identifies the credential, to end its sessions; may be empty.
    pub credential: String,
    /// When the token expires, in milliseconds since 1970; 0 for never.
    pub expires_at_ms: u64,
}

fn mismatch<T>() -> ReplyResult<T> {
    Err(Failure::Contract("its reply doesn't fit the request".to_owned()))
}

/// Returns the result of a hook without a value.
pub(crate) fn done(reply: Reply) -> ReplyResult<Result<(), PluginError>> {
    match reply {
        Reply::Done(done) => Ok(done),
        _ => mismatch(),
    }
}

/// Returns the result of `authenticate`; none for an unknown token.
pub(super) fn identity(reply: Reply) -> ReplyResult<Result<Option<Identity>, PluginError>> {
    let Reply::Identity(result) = reply else {
        return mismatch();
    };
    let checked = |identity: sdk::Identity| {
        let actor = identity.actor.parse();
        let actor = actor.map_err(|error: crate::wire::InvalidId| Failure::Contract(error.to_string()))?;
        Ok(Identity {
            actor,
            credential: identity.credential,
            expires_at_ms: identity.expires_at_ms,
        })
    };
    match result {
        Ok(found) => Ok(Ok(found.map(checked).transpose()?)),
        Err(error) => Ok(Err(error)),
    }
}

/// Returns the verdict of `before_send`.
pub(super) fn verdict(reply: Reply) -> ReplyResult<Verdict> {
    match reply {
        Reply::Verdict(verdict) => Ok(verdict),
        _ => mismatch(),
    }
}

/// Returns the contents of `render`, one for each message; none leaves the message as it is.
pub(super) fn contents(reply: Reply) -> ReplyResult<Result<Vec<Option<Vec<u8>>>, PluginError>> {
    match reply {
        Reply::Contents(contents) => Ok(contents),
        _ => mismatch(),
    }
}

/// Returns the value of a method.
pub(super) fn value(reply: Reply) -> ReplyResult<Result<Bytes, PluginError>> {
    match reply {
        Reply::Value(value) => Ok(value.map(Bytes::from)),
        _ => mismatch(),
    }
}

/// Returns the bytes of a job's transaction.
pub(crate) fn bytes(reply: Reply) -> ReplyResult<Result<Vec<u8>, PluginError>> {
    match reply {
        Reply::Bytes(bytes) => Ok(bytes),
        _ => mismatch(),
    }
}

/// Returns the response to an HTTP request.
pub(super) fn response(reply: Reply) -> ReplyResult<Result<sdk::HttpResponse, PluginError>> {
    match reply {
        Reply::Response(response) => Ok(response),
        _ => mismatch(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_actor_id_breaks_the_contract() {
        let found = |actor: &str| {
            let identity = sdk::Identity {
                actor: actor.to_owned(),
                credential: String::new(),
                expires_at_ms: 0,
            };
            super::identity(Reply::Identity(Ok(Some(identity))))
        };
        assert!(matches!(found("ann"), Ok(Ok(Some(_)))));
        assert!(matches!(found(""), Err(Failure::Contract(_))));
    }

    #[test]
    fn a_reply_of_another_kind_breaks_the_contract() {
        assert!(matches!(verdict(Reply::Done(Ok(()))), Err(Failure::Contract(_))));
    }
}
