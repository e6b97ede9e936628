//! Conversations that a plugin owns.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use courtyard_plugin_sdk::{Change, StoredMessage};

use crate::hooks::{Call, PluginEvent, StoreAccess};
use crate::log::{Body, ConversationRecord, Conversations, EventType, Log, LogError, Revision};
use crate::store::{LogId, StoredEvent};
use crate::wire::{ActorId, ConversationId, content};

use super::{ServiceLimits, may_read};

/// The most members with which a conversation can be opened.
const MAX_MEMBERS: usize = 1_000;

/// The most members of a conversation.
const MAX_ALL_MEMBERS: usize = 10_000;

/// Why an operation on a conversation fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversationsError {
    /// The plugin has no such conversation or message.
    #[error("the conversation or the message doesn't exist")]
    NotFound,
    /// An argument breaks a limit.
    #[error("{0}")]
    Invalid(String),
    /// The call has no transaction, or a read-only one.
    #[error("the call has no transaction that may do this")]
    Unavailable,
    /// The log failed; the call can't go on.
    #[error("the log failed")]
    Log(#[from] LogError),
}

/// A conversation of a plugin, in the form that the plugin gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedConversation {
    /// The id that clients use.
    pub id: ConversationId,
    /// The kind.
    pub kind: String,
    /// The members.
    pub members: Vec<String>,
}

/// Returns the conversation at an address of the plugin.
///
/// # Errors
/// See [`ConversationsError`].
pub fn find(call: &mut Call, plugin: &str, address: &str) -> Result<OwnedConversation, ConversationsError> {
    if !may_read(call.access) {
        return Err(ConversationsError::Unavailable);
    }
    check_address(address)?;
    match Conversations::at_address(&mut call.draft, &call.app, plugin, address)? {
        Some((id, record)) => Ok(OwnedConversation {
            id,
            kind: record.kind,
            members: record.members,
        }),
        None => Err(ConversationsError::NotFound),
    }
}

/// Returns the conversation at an address of the plugin; creates it if it doesn't exist.
///
/// # Errors
/// See [`ConversationsError`].
pub fn open(
    call: &mut Call,
    plugin: &str,
    address: &str,
    kind: &str,
    members: Vec<String>,
) -> Result<OwnedConversation, ConversationsError> {
    match find(call, plugin, address) {
        Err(ConversationsError::NotFound) => {}
        found => return found,
    }
    if call.access != StoreAccess::Write {
        return Err(ConversationsError::Unavailable);
    }
    check_kind(kind)?;
    check_members(&members)?;
    let id = ConversationId(crate::clock::new_ulid().0);
    let record = ConversationRecord {
        kind: kind.to_owned(),
        owner: plugin.to_owned(),
        members,
    };
    Conversations::create(&mut call.draft, &call.app, id, address, &record);
    record_change(call, id, &record, true, record.members.clone(), Vec::new());
    Ok(OwnedConversation {
        id,
        kind: record.kind,
        members: record.members,
    })
}

/// Returns a conversation of the plugin by its id.
///
/// # Errors
/// See [`ConversationsError`].
pub fn get(call: &mut Call, plugin: &str, id: &str) -> Result<OwnedConversation, ConversationsError> {
    let (id, record) = owned(call, plugin, id)?;
    Ok(OwnedConversation {
        id,
        kind: record.kind,
        members: record.members,
    })
}

/// Returns whether an actor is a member of a conversation of any plugin. The transaction conflicts if that changes.
///
/// # Errors
/// See [`ConversationsError`].
pub fn is_member(call: &mut Call, conversation: &str, actor: &str) -> Result<bool, ConversationsError> {
    if !may_read(call.access) {
        return Err(ConversationsError::Unavailable);
    }
    let (Ok(id), Ok(actor)) = (conversation.parse::<ConversationId>(), actor.parse::<ActorId>()) else {
        return Ok(false);
    };
    Ok(Conversations::is_member(&mut call.draft, &call.app, id, &actor)?)
}

/// Adds members to a conversation of the plugin, and removes others.
///
/// # Errors
/// See [`ConversationsError`].
pub fn change_members(
    call: &mut Call,
    plugin: &str,
    id: &str,
    add: &[String],
    remove: &[String],
) -> Result<(), ConversationsError> {
    let (id, mut record) = owned(call, plugin, id)?;
    if call.access != StoreAccess::Write {
        return Err(ConversationsError::Unavailable);
    }
    let known: HashSet<&String> = record.members.iter().collect();
    let (mut joined, mut seen) = (Vec::new(), HashSet::new());
    for member in add.iter().filter(|member| !known.contains(member)) {
        let actor: ActorId = parsed(member)?;
        if seen.insert(member) {
            joined.push((member.clone(), actor));
        }
    }
    let leaving: HashSet<&String> = remove.iter().collect();
    let left: Vec<ActorId> = record
        .members
        .iter()
        .filter(|member| leaving.contains(member))
        .filter_map(|member| member.parse().ok())
        .collect();
    if joined.is_empty() && left.is_empty() {
        return Ok(());
    }
    record.members.retain(|member| !leaving.contains(member));
    let (names, joined): (Vec<String>, Vec<ActorId>) = joined.into_iter().unzip();
    record.members.extend(names.iter().cloned());
    if record.members.len() > MAX_ALL_MEMBERS {
        let reason = format!("a conversation can have at most {MAX_ALL_MEMBERS} members");
        return Err(ConversationsError::Invalid(reason));
    }
    Conversations::change_members(&mut call.draft, &call.app, id, &record, &joined, &left);
    let gone: Vec<String> = left.iter().map(ToString::to_string).collect();
    let content = serde_json::json!({ "joined": &names, "left": &gone }).to_string();
    // Removed members get the event as well.
    let recipients = record
        .members
        .iter()
        .chain(&gone)
        .filter_map(|member| member.parse().ok());
    let event = PluginEvent {
        log: log_of(call, id),
        conversation_kind: record.kind.clone(),
        members: recipients.collect(),
        event: EventType::Members,
        target: 0,
        sender: acting_as(call, plugin)?,
        kind: String::new(),
        filtered_kind: String::new(),
        content: content.into(),
    };
    call.effects.appends.push(event);
    record_change(call, id, &record, false, names, gone);
    Ok(())
}

/// Records a change for observers.
fn record_change(
    call: &mut Call,
    id: ConversationId,
    record: &ConversationRecord,
    created: bool,
    joined: Vec<String>,
    left: Vec<String>,
) {
    let change = Change {
        app: call.app.as_str().to_owned(),
        conversation: id.to_string(),
        kind: record.kind.clone(),
        owner: record.owner.clone(),
        actor: call.caller.actor.as_ref().map(ToString::to_string).unwrap_or_default(),
        created,
        joined,
        left,
    };
    let log = log_of(call, id);
    call.effects.changes.push((log, change));
}

fn log_of(call: &Call, id: ConversationId) -> LogId {
    LogId {
        app: call.app.clone(),
        conversation: id,
    }
}

/// Returns the actor in whose name a plugin acts: the caller, or the plugin itself.
fn acting_as(call: &Call, plugin: &str) -> Result<ActorId, ConversationsError> {
    match &call.caller.actor {
        Some(actor) => Ok(actor.clone()),
        None => parsed(plugin),
    }
}

/// Recalls a message of a conversation of the plugin with the call's commit, in the name of an actor.
///
/// # Errors
/// See [`ConversationsError`].
pub fn recall(call: &mut Call, plugin: &str, id: &str, seq: u64, actor: &str) -> Result<(), ConversationsError> {
    let (id, record) = owned(call, plugin, id)?;
    if call.access != StoreAccess::Write {
        return Err(ConversationsError::Unavailable);
    }
    let sender = parsed(actor)?;
    let log = log_of(call, id);
    let (mut revision, filtered_kind) = revisable(call, &log, seq)?;
    revision.recall();
    Log::revise(&mut call.draft, &log, seq, &revision);
    let members = record.members.iter().filter_map(|member| member.parse().ok());
    call.effects.appends.push(PluginEvent {
        log,
        conversation_kind: record.kind,
        members: members.collect(),
        event: EventType::Recall,
        target: seq,
        sender,
        kind: String::new(),
        filtered_kind,
        content: Bytes::from_static(b"{}"),
    });
    Ok(())
}

/// Annotates a message of any conversation of the app, with the call's commit.
///
/// # Errors
/// See [`ConversationsError`].
pub fn annotate(
    call: &mut Call,
    plugin: &str,
    limits: &ServiceLimits,
    (conversation, seq): (&str, u64),
    name: &str,
    value: &[u8],
) -> Result<(), ConversationsError> {
    if call.access != StoreAccess::Write {
        return Err(ConversationsError::Unavailable);
    }
    let well_formed = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'));
    let value = std::str::from_utf8(value)
        .ok()
        .filter(|value| value.len() <= limits.value_bytes)
        .and_then(|text| serde_json::from_str::<&serde_json::value::RawValue>(text).ok());
    let (Some(value), true) = (value, well_formed) else {
        let reason = "an annotation has a name of 1 to 64 of a-z 0-9 _ . -, and a JSON value within `value_bytes`";
        return Err(ConversationsError::Invalid(reason.to_owned()));
    };
    let id: ConversationId = conversation.parse().map_err(|_| ConversationsError::NotFound)?;
    let record = Conversations::record(&mut call.draft, &call.app, id)?.ok_or(ConversationsError::NotFound)?;
    let log = log_of(call, id);
    let (mut revision, filtered_kind) = revisable(call, &log, seq)?;
    revision
        .annotate(plugin, name, value)
        .map_err(|full| ConversationsError::Invalid(full.to_string()))?;
    Log::revise(&mut call.draft, &log, seq, &revision);
    let members = record.members.iter().filter_map(|member| member.parse().ok());
    call.effects.appends.push(PluginEvent {
        log,
        conversation_kind: record.kind,
        members: members.collect(),
        event: EventType::Annotation,
        target: seq,
        sender: parsed(plugin)?,
        kind: name.to_owned(),
        filtered_kind,
        content: format!("{{\"value\":{}}}", value.get()).into(),
    });
    Ok(())
}

/// Returns the revision of a message that exists and was not recalled, and the kind of its content.
fn revisable(call: &mut Call, log: &LogId, seq: u64) -> Result<(Revision, String), ConversationsError> {
    let found = match seq {
        0 => None,
        seq => call
            .draft
            .store()
            .events(log, seq..=seq, 1, false)
            .map_err(LogError::from)?
            .pop(),
    };
    let kind_of = |event: StoredEvent| {
        let body = Body::decode(&event.body)
            .ok()
            .filter(|body| body.event == EventType::Message)?;
        Some(body.kind.to_owned())
    };
    let kind = found.and_then(kind_of).ok_or(ConversationsError::NotFound)?;
    let revision = Log::revision(&mut call.draft, log, seq)?;
    if revision.recalled {
        return Err(ConversationsError::NotFound);
    }
    Ok((revision, kind))
}

/// Appends a message to a conversation of the plugin with the call's commit.
///
/// # Errors
/// See [`ConversationsError`].
pub fn append(
    call: &mut Call,
    plugin: &str,
    id: &str,
    limits: &ServiceLimits,
    sender: &str,
    (kind, json): (&str, Bytes),
) -> Result<(), ConversationsError> {
    let (id, record) = owned(call, plugin, id)?;
    if call.access != StoreAccess::Write {
        return Err(ConversationsError::Unavailable);
    }
    if json.len() > limits.value_bytes {
        return Err(ConversationsError::Invalid(
            "the content is over `value_bytes`".to_owned(),
        ));
    }
    let sender = parsed(sender)?;
    let invalid = |error: &dyn std::fmt::Display| ConversationsError::Invalid(format!("the content: {error}"));
    let text = std::str::from_utf8(&json).map_err(|error| invalid(&error))?;
    serde_json::from_str::<&serde_json::value::RawValue>(text).map_err(|error| invalid(&error))?;
    content::check(kind, text.trim_start()).map_err(|error| invalid(&error))?;
    let members = record.members.iter().filter_map(|member| member.parse().ok());
    call.effects.appends.push(PluginEvent {
        log: log_of(call, id),
        conversation_kind: record.kind,
        members: members.collect(),
        event: EventType::Message,
        target: 0,
        sender,
        kind: kind.to_owned(),
        filtered_kind: kind.to_owned(),
        content: json,
    });
    Ok(())
}

/// Lists messages of a conversation of the plugin after a number, in order, with their current contents and without
/// recalled messages.
///
/// # Errors
/// See [`ConversationsError`].
pub fn read(
    call: &mut Call,
    plugin: &str,
    id: &str,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredMessage>, ConversationsError> {
    let (id, _) = owned(call, plugin, id)?;
    let log = LogId {
        app: call.app.clone(),
        conversation: id,
    };
    let store = call.draft.store();
    let head = store.head(&log).map_err(LogError::from)?;
    if after >= head.seq {
        return Ok(Vec::new());
    }
    let events = store
        .events(&log, after + 1..=head.seq, limit, false)
        .map_err(LogError::from)?;
    let revisions = |call: &Call| -> Result<HashMap<u64, Revision>, LogError> {
        match (events.first(), events.last()) {
            (Some(first), Some(last)) => Log::revisions(&**call.draft.store(), &log, first.seq, last.seq),
            _ => Ok(HashMap::new()),
        }
    };
    let revisions = revisions(call)?;
    let is_message = |event: &&StoredEvent| {
        Body::decode(&event.body).map_or(true, |body| body.event == EventType::Message)
            && !revisions.get(&event.seq).is_some_and(|revision| revision.recalled)
    };
    let message = |event: &StoredEvent| {
        let damaged = |_| LogError::Message {
            conversation: id,
            seq: event.seq,
        };
        let body = Body::decode(&event.body).map_err(damaged)?;
        let edit = revisions.get(&event.seq).and_then(|revision| revision.edit.as_ref());
        Ok(StoredMessage {
            seq: event.seq,
            time_ms: event.time_ms,
            sender: body.sender.to_owned(),
            kind: body.kind.to_owned(),
            content: edit.map_or(body.content, |edit| &edit.content).to_vec(),
        })
    };
    events.iter().filter(is_message).map(message).collect()
}

/// Returns the record of a conversation of the plugin.
fn owned(call: &mut Call, plugin: &str, id: &str) -> Result<(ConversationId, ConversationRecord), ConversationsError> {
    if !may_read(call.access) {
        return Err(ConversationsError::Unavailable);
    }
    let id: ConversationId = id.parse().map_err(|_| ConversationsError::NotFound)?;
    let record = Conversations::record(&mut call.draft, &call.app, id)?;
    let record = record.filter(|record| record.owner == plugin);
    record.map(|record| (id, record)).ok_or(ConversationsError::NotFound)
}

fn parsed(actor: &str) -> Result<ActorId, ConversationsError> {
    actor
        .parse()
        .map_err(|error: crate::wire::InvalidId| ConversationsError::Invalid(error.to_string()))
}

fn check_address(address: &str) -> Result<(), ConversationsError> {
    if (1..=256).contains(&address.len()) {
        Ok(())
    } else {
        Err(ConversationsError::Invalid("an address is 1 to 256 bytes".to_owned()))
    }
}

fn check_kind(kind: &str) -> Result<(), ConversationsError> {
    if super::is_name(kind) {
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
            return Err(ConversationsError::Invalid(format!(
                "the member {member:?} is listed twice"
            )));
        }
    }
    Ok(())
}
