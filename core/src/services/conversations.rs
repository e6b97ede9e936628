//! Conversations that a plugin owns.

use crate::hooks::{Access, Call};
use crate::log::{Conversations, LogError, Record};
use crate::wire::{ActorId, ConversationId};

use super::may_read;

/// How many members a conversation can have that is opened with all of them at once.
const MAX_MEMBERS: usize = 1_000;

/// Why the host does not open or find a conversation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversationsError {
    /// There is none at the address.
    #[error("there is no such conversation")]
    NotFound,
    /// An argument breaks a limit.
    #[error("{0}")]
    Invalid(String),
    /// No transaction, or one that may not write.
    #[error("there is no transaction that may do this")]
    Unavailable,
    /// The log failed; the call can't go on.
    #[error("the log failed")]
    Log(#[from] LogError),
}

/// A conversation as its plugin sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The id that clients use.
    pub id: ConversationId,
    /// The kind.
    pub kind: String,
    /// Who takes part.
    pub members: Vec<String>,
}

/// Returns the conversation at an address of the plugin.
///
/// # Errors
/// See [`ConversationsError`].
pub fn find(call: &mut Call, plugin: &str, address: &str) -> Result<Opened, ConversationsError> {
    if !may_read(call.access) {
        return Err(ConversationsError::Unavailable);
    }
    check_address(address)?;
    match Conversations::at_address(&mut call.draft, &call.app, plugin, address)? {
        Some((id, record)) => Ok(Opened {
            id,
            kind: record.kind,
            members: record.members,
        }),
        None => Err(ConversationsError::NotFound),
    }
}

/// Returns the conversation at an address of the plugin; creates it if there is none.
///
/// # Errors
/// See [`ConversationsError`].
pub fn open(
    call: &mut Call,
    plugin: &str,
    address: &str,
    kind: &str,
    members: Vec<String>,
) -> Result<Opened, ConversationsError> {
    match find(call, plugin, address) {
        Err(ConversationsError::NotFound) => {}
        found => return found,
    }
    if call.access != Access::Write {
        return Err(ConversationsError::Unavailable);
    }
    check_kind(kind)?;
    check_members(&members)?;
    let id = ConversationId(ulid::Ulid::from_parts(super::now_ms(), rand::random()).0);
    let record = Record {
        kind: kind.to_owned(),
        owner: plugin.to_owned(),
        members,
    };
    Conversations::create(&mut call.draft, &call.app, id, address, &record);
    Ok(Opened {
        id,
        kind: record.kind,
        members: record.members,
    })
}

fn check_address(address: &str) -> Result<(), ConversationsError> {
    if (1..=256).contains(&address.len()) {
        Ok(())
    } else {
        Err(ConversationsError::Invalid("an address is 1 to 256 bytes".to_owned()))
    }
}

fn check_kind(kind: &str) -> Result<(), ConversationsError> {
    let well_formed = (1..=32).contains(&kind.len())
        && kind
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if well_formed {
        Ok(())
    } else {
        Err(ConversationsError::Invalid(
            "a kind is 1 to 32 lower-case letters, digits and `_`".to_owned(),
        ))
    }
}

fn check_members(members: &[String]) -> Result<(), ConversationsError> {
    if members.is_empty() || members.len() > MAX_MEMBERS {
        return Err(ConversationsError::Invalid(format!(
            "a conversation has 1 to {MAX_MEMBERS} members"
        )));
    }
    let mut seen = std::collections::HashSet::new();
    for member in members {
        member
            .parse::<ActorId>()
            .map_err(|error| ConversationsError::Invalid(error.to_string()))?;
        if !seen.insert(member) {
            return Err(ConversationsError::Invalid(format!("{member:?} is a member twice")));
        }
    }
    Ok(())
}
