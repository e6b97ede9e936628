//! Conversions between the types of the SDK and those generated from the contract.

use courtyard_plugin_sdk as sdk;
use courtyard_plugin_sdk::hook::PackedMessage;

use super::bindings::courtyard::plugin::types;
use super::bindings::exports::courtyard::plugin as exports;
use super::bindings::exports::courtyard::plugin::message as wit;
use crate::hooks::{Call, PluginError, Verdict};

pub(super) fn verdict(verdict: wit::Verdict) -> Verdict {
    match verdict {
        wit::Verdict::Accept => Verdict::Accept,
        wit::Verdict::Replace(content) => Verdict::Replace(content),
        wit::Verdict::Reject(error) => Verdict::Reject(plugin_error(error)),
    }
}

pub(super) fn wit_caller(call: &Call) -> types::Caller {
    let sdk::Caller {
        app,
        actor,
        device,
        credential,
        plugin,
    } = call.caller();
    types::Caller {
        app,
        actor,
        device,
        credential,
        plugin,
    }
}

pub(super) fn plugin_error(error: types::Error) -> PluginError {
    PluginError {
        code: error.code,
        message: error.message,
        retry: error.retry,
    }
}

pub(super) fn wit_blob(blob: sdk::Blob) -> types::Blob {
    types::Blob {
        app: blob.app,
        id: blob.id,
        name: blob.name,
        media_type: blob.media_type,
        length: blob.length,
        uploader: blob.uploader,
        conversation: blob.conversation,
        created_ms: blob.created_ms,
    }
}

pub(super) fn wit_act(act: sdk::Act) -> wit::Act {
    wit::Act {
        name: act.name,
        app: act.app,
        conversation: act.conversation,
        conversation_kind: act.conversation_kind,
        actor: act.actor,
        target: act.target,
        target_sender: act.target_sender,
        target_kind: act.target_kind,
        value: act.value,
        time_ms: act.time_ms,
    }
}

pub(super) fn wit_change(change: sdk::Change) -> exports::conversation::Change {
    exports::conversation::Change {
        app: change.app,
        conversation: change.conversation,
        kind: change.kind,
        owner: change.owner,
        actor: change.actor,
        created: change.created,
        joined: change.joined,
        left: change.left,
    }
}

pub(super) fn wit_message(message: PackedMessage) -> wit::Message {
    let ends = message.ends;
    wit::Message {
        bytes: message.bytes,
        app_end: ends[0],
        conversation_end: ends[1],
        conversation_kind_end: ends[2],
        sender_end: ends[3],
        receiver_end: ends[4],
        kind_end: ends[5],
        client_id_end: ends[6],
        content_end: ends[7],
        seq: message.seq,
        edits: message.edits,
        time_ms: message.time_ms,
    }
}

pub(super) fn wit_error(error: sdk::Error) -> types::Error {
    types::Error {
        code: error.code,
        message: error.message,
        retry: error.retry,
    }
}
