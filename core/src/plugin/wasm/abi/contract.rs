//! The types of the contract, and the services as a module imports them.

use wasmtime::{AsContextMut, Caller, FuncType, Linker, Result, Trap, ValRaw, ValType, bail};

use super::record::{lists, parts, records, variants};
use super::value::{Flatten, Layout, Lift, Lower, Pass, Take, greater, unknown_case};
use super::{Flat, Lifting, Lowering, aligned, place};
use crate::plugin::contract::interface;
use crate::plugin::wasm::bindings::courtyard::plugin as wit;
use crate::plugin::wasm::bindings::courtyard::plugin::types::{Blob, Caller as Requester, Error};
use crate::plugin::wasm::bindings::exports::courtyard::plugin as hooks;
use crate::plugin::wasm::state::InstanceState;

lists! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

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

impl Take for wit::log::Level {
    fn take(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        match u32::take(cx, flat)? {
            0 => Ok(Self::Error),
            1 => Ok(Self::Warn),
            2 => Ok(Self::Info),
            3 => Ok(Self::Debug),
            case => unknown_case(case),
        }
    }
}

/// Names the functions of the services: the capability that they need, their interface, their name and their types.
macro_rules! services {
    ($($capability:literal $interface:ident {
        $($name:literal $function:ident($($param:ident: $type:ty),*) -> $result:ty;)*
    })*) => {
        /// Adds the services that are granted to a linker; the others are not even there.
        pub(in crate::plugin::wasm) fn link(linker: &mut Linker<InstanceState>, granted: impl Fn(&str) -> bool) -> Result<()> {
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

/// Adds one function of a service to a linker.
#[expect(unsafe_code, reason = "see `enter`")]
fn import<P: Take + 'static, R: Lower + 'static>(
    linker: &mut Linker<InstanceState>,
    interface: &str,
    name: &str,
    answer: fn(&mut InstanceState, P) -> Result<R>,
) -> Result<()> {
    const { assert!(P::FLAT <= Flat::MOST, "more parameters are handed over in memory") };
    let mut params = Vec::new();
    P::flatten(&mut params);
    // A result of several numbers goes where the guest says.
    let in_memory = R::FLAT > 1;
    if in_memory {
        params.push(ValType::I32);
    }
    let ty = FuncType::new(linker.engine(), params, R::NUMBER);
    let serve = move |mut caller: Caller<'_, InstanceState>, values: &mut [std::mem::MaybeUninit<ValRaw>]| {
        let guest = caller.data().guest()?;
        if !caller.data().may_ask {
            // It makes or gives back room for the host.
            bail!(Trap::CannotLeaveComponent);
        }
        let (memory, state) = guest.memory.data_and_store_mut(&mut caller);
        let size = memory.len();
        // SAFETY: of these values as many are there as the type that was just made has parameters.
        let mut flat = values.iter().map(|value| unsafe { value.assume_init() });
        let params = P::take(&mut Lifting::new(memory, state), &mut flat)?;
        let result_at = if in_memory { flat.next() } else { None };
        let result = answer(state, params)?;
        match (result_at, result.number(), values.first_mut()) {
            (Some(at), _, _) => {
                let at = place(at.get_u32(), R::ALIGN, R::SIZE, size)?;
                let store = caller.as_context_mut();
                result.store(&mut Lowering { store, guest }, at)
            }
            (None, Some(number), Some(place)) => {
                place.write(number);
                Ok(())
            }
            (None, None, _) => Ok(()),
            (None, Some(_), None) => bail!("there is no place for a result"),
        }
    };
    // SAFETY: it writes the one number of the type's result, if it has one, and no reference.
    unsafe { linker.func_new_unchecked(interface, name, ty, serve) }?;
    Ok(())
}
