//! The contract for modules: its types in the canonical ABI, and the services as a module imports them.

use wasmtime::{Linker, Result, ValRaw, ValType};

use super::abi::record::{fields, records, variants};
use super::abi::value::{Flatten, Layout, Lift, LiftParams, Lower, LowerParams, larger, unknown_case};
use super::abi::{Flat, GuestState, HasGuest, Lifting, Lowering, aligned, import};
use super::bindings::courtyard::plugin as wit;
use super::bindings::courtyard::plugin::types::{Blob, Caller as Requester, Error};
use super::bindings::exports::courtyard::plugin as hooks;
use super::state::InstanceState;
use crate::plugin::contract::interface;

records! {
    Error { code: String, message: String, retry: bool }
    Requester { app: String, actor: String, device: String, credential: String, plugin: String }
    Blob {
        app: String, id: String, name: String, media_type: String, length: u64, uploader: String, conversation: String,
        created_ms: u64
    }
    hooks::auth::Identity { actor: String, credential: String, expires_at_ms: u64 }
    hooks::message::Message {
        bytes: Vec<u8>, app_end: u32, conversation_end: u32, conversation_kind_end: u32, sender_end: u32,
        receiver_end: u32, kind_end: u32, client_id_end: u32, content_end: u32, seq: u64, edits: u64, time_ms: u64
    }
    hooks::message::Act {
        name: String, app: String, conversation: String, conversation_kind: String, actor: String, target: u64,
        target_sender: String, target_kind: String, value: String, time_ms: u64
    }
    hooks::conversation::Change {
        app: String, conversation: String, kind: String, owner: String, actor: String, created: bool,
        joined: Vec<String>, left: Vec<String>
    }
    hooks::event::Event { app: String, plugin: String, name: String, actor: String, payload: Vec<u8>, time_ms: u64 }
    hooks::action::Job { app: String, id: String, name: String, payload: Vec<u8>, attempt: u32 }
    hooks::http::Header { name: String, value: Vec<u8> }
    hooks::http::Request {
        method: String, path: String, query: String, headers: Vec<hooks::http::Header>, body: Vec<u8>
    }
    hooks::http::Response { status: u16, headers: Vec<hooks::http::Header>, body: Vec<u8> }
    wit::kv::Entry { key: Vec<u8>, value: Vec<u8> }
    wit::conversations::Conversation { id: String, kind: String, members: Vec<String> }
    wit::conversations::Stored { seq: u64, time_ms: u64, sender: String, kind: String, content: Vec<u8> }
    wit::fetch::Header { name: String, value: Vec<u8> }
    wit::fetch::Request {
        method: String, url: String, headers: Vec<wit::fetch::Header>, body: Vec<u8>, follow: bool
    }
    wit::fetch::Response { status: u16, headers: Vec<wit::fetch::Header>, body: Vec<u8> }
}

variants! {
    hooks::message::Verdict { 0 Accept, 1 Replace(content: Vec<u8>), 2 Reject(error: Error) }
    wit::kv::Failure { 0 TooLarge, 1 Quota, 2 Unavailable }
    wit::conversations::Failure { 0 NotFound, 1 Invalid(reason: String), 2 Refused(error: Error), 3 Unavailable }
    wit::memberships::Failure { 0 Unavailable }
    wit::annotations::Failure { 0 NotFound, 1 Invalid(reason: String), 2 Unavailable }
    wit::watches::Failure { 0 Invalid(reason: String), 1 Unavailable }
    wit::events::Failure { 0 Invalid(reason: String), 1 Unavailable }
    wit::timers::Failure { 0 TooLarge, 1 Unavailable }
    wit::jobs::Failure { 0 TooLarge, 1 Quota, 2 Unavailable }
    wit::blobs::Failure { 0 NotFound, 1 Unavailable }
    wit::log::Level { 0 Error, 1 Warn, 2 Info, 3 Debug }
}

impl Flatten for wit::log::Level {
    fn flatten(types: &mut Vec<ValType>) {
        types.push(ValType::I32);
    }
}

impl LiftParams for wit::log::Level {
    fn lift(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        match u32::lift(cx, flat)? {
            0 => Ok(Self::Error),
            1 => Ok(Self::Warn),
            2 => Ok(Self::Info),
            3 => Ok(Self::Debug),
            case => unknown_case(case),
        }
    }
}

/// Lists the functions of the services: required capability, interface, name and types.
macro_rules! services {
    ($($capability:literal $interface:ident {
        $($name:literal $function:ident($($param:ident: $type:ty),*) -> $result:ty;)*
    })*) => {
        /// Links the granted services. The others are not linked, so importing one fails.
        pub(super) fn link(linker: &mut Linker<InstanceState>, granted: impl Fn(&str) -> bool) -> Result<()> {
            $(if granted($capability) {
                let interface = interface(stringify!($interface));
                $(import(linker, &interface, $name, |state, ($($param,)*): ($($type,)*)| -> Result<$result> {
                    wit::$interface::Host::$function(state, $($param),*)
                })?;)*
            })*
            Ok(())
        }
    };
}

services! {
    "kv" kv {
        "get" get(key: Vec<u8>) -> Result<Option<Vec<u8>>, wit::kv::Failure>;
        "set" set(key: Vec<u8>, value: Vec<u8>) -> Result<(), wit::kv::Failure>;
        "set-until" set_until(key: Vec<u8>, value: Vec<u8>, until_ms: u64) -> Result<(), wit::kv::Failure>;
        "delete" delete(key: Vec<u8>) -> Result<(), wit::kv::Failure>;
        "scan" scan(start: Vec<u8>, end: Vec<u8>, limit: u32, reverse: bool) -> Result<Vec<wit::kv::Entry>, wit::kv::Failure>;
    }
    "conversations" conversations {
        "open" open(address: String, kind: String, members: Vec<String>)
            -> Result<wit::conversations::Conversation, wit::conversations::Failure>;
        "find" find(address: String) -> Result<wit::conversations::Conversation, wit::conversations::Failure>;
        "get" get(id: String) -> Result<wit::conversations::Conversation, wit::conversations::Failure>;
        "add-members" add_members(id: String, members: Vec<String>) -> Result<(), wit::conversations::Failure>;
        "remove-members" remove_members(id: String, members: Vec<String>) -> Result<(), wit::conversations::Failure>;
        "recall" recall(id: String, seq: u64, actor: String) -> Result<(), wit::conversations::Failure>;
        "append" append(id: String, sender: String, kind: String, content: Vec<u8>)
            -> Result<(), wit::conversations::Failure>;
        "read" read(id: String, after: u64, limit: u32)
            -> Result<Vec<wit::conversations::Stored>, wit::conversations::Failure>;
    }
    "memberships" memberships {
        "is-member" is_member(conversation: String, actor: String) -> Result<bool, wit::memberships::Failure>;
    }
    "annotations" annotations {
        "set" set(conversation: String, seq: u64, name: String, value: Vec<u8>) -> Result<(), wit::annotations::Failure>;
    }
    "watches" watches {
        "conversation" conversation(id: String, on: bool) -> Result<(), wit::watches::Failure>;
        "actor" actor(actor: String, on: bool) -> Result<(), wit::watches::Failure>;
    }
    "events" events {
        "publish" publish(name: String, payload: Vec<u8>) -> Result<(), wit::events::Failure>;
    }
    "sessions" sessions {
        "end" end(actor: String, credential: Option<String>) -> ();
        "online" online(actors: Vec<String>) -> Vec<bool>;
        "signal" signal(actors: Vec<String>, name: String, payload: Vec<u8>) -> bool;
    }
    "timers" timers {
        "set" set(name: String, at_ms: u64, payload: Vec<u8>) -> Result<(), wit::timers::Failure>;
        "cancel" cancel(name: String) -> Result<bool, wit::timers::Failure>;
    }
    "methods" methods {
        "call" call(method: String, params: Vec<u8>) -> Result<Vec<u8>, Error>;
    }
    "jobs" jobs {
        "add" add(name: String, at_ms: u64, payload: Vec<u8>) -> Result<(), wit::jobs::Failure>;
    }
    "jobs" transactions {
        "run" run(name: String, payload: Vec<u8>) -> Result<Vec<u8>, Error>;
    }
    "fetch" fetch {
        "send" send(request: wit::fetch::Request) -> Result<wit::fetch::Response, Error>;
    }
    "clock" clock {
        "now-ms" now_ms() -> u64;
    }
    "random" random {
        "bytes" bytes(count: u32) -> Vec<u8>;
    }
    "log" log {
        "write" write(level: wit::log::Level, text: String) -> ();
    }
    "secrets" secrets {
        "get" get(name: String) -> Option<String>;
    }
    "metrics" metrics {
        "count" count(name: String, more: u64) -> ();
        "observe" observe(name: String, value: f64) -> ();
    }
    "blobs" blobs {
        "get" get(id: String) -> Result<Blob, wit::blobs::Failure>;
        "list" list(after: String, limit: u32) -> Result<Vec<Blob>, wit::blobs::Failure>;
        "keep" keep(id: String) -> Result<(), wit::blobs::Failure>;
        "remove" remove(id: String) -> Result<(), wit::blobs::Failure>;
    }
    "blobs" contents {
        "read" read(id: String, offset: u64, length: u32) -> Result<Vec<u8>, Error>;
        "write" write(name: String, media_type: String, conversation: String, bytes: Vec<u8>) -> Result<String, Error>;
    }
}

impl HasGuest for InstanceState {
    fn guest(&mut self) -> &mut GuestState {
        &mut self.guest
    }
}
