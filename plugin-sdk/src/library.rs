//! A plugin in a native library: a C interface of five functions, whose arguments and results are postcard.
//!
//! Both sides of the interface are here. A library is compiled apart from the host, maybe by another compiler, so only
//! plain C crosses: no layout of Rust, and no panic. Bytes belong to the side that allocated them, which also frees them.

#![allow(unsafe_code, reason = "a C interface is unsafe by nature; see SAFETY at each place")]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use serde::Serialize;

use crate::hook::{Reply, Request};
use crate::native::{self, Native, PluginPanic, Services, Started};
use crate::request::{ServiceRequest, ServiceResult};
use crate::{Caller, Context, Error, Registered, ServiceError};

/// The version of the C interface.
pub const ABI: u32 = 3;
/// The function that a library exports: it returns a [`Library`] that lives as long as the process.
pub const ENTRY: &[u8] = b"courtyard_plugin_library\0";

/// Bytes that the other side may read during a call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    start: *const u8,
    length: usize,
}

/// Bytes that the side that allocated them must free.
#[repr(C)]
#[derive(Debug)]
pub struct Buffer {
    start: *mut u8,
    length: usize,
    capacity: usize,
}

/// The functions of the host that a library may call during a call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    abi: u32,
    size: u32,
    serve: extern "C" fn(Slice) -> Buffer,
    free: extern "C" fn(Buffer),
}

/// The functions of a library.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Library {
    abi: u32,
    size: u32,
    manifest: extern "C" fn() -> Slice,
    start: extern "C" fn(Host, Slice) -> Buffer,
    call: extern "C" fn(u64, Host, Slice) -> Buffer,
    stop: extern "C" fn(u64),
    free: extern "C" fn(Buffer),
}

// SAFETY: it consists of numbers and of functions that may be called from any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

/// Returns the size of a table in bytes.
#[expect(clippy::cast_possible_truncation, reason = "a table has some dozens of bytes")]
const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

impl Slice {
    fn of(bytes: &[u8]) -> Self {
        Self {
            start: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    /// # Safety
    /// It must have come from the other side, which keeps the bytes until the end of the call.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.start.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: the caller vouches for the pointer and the length.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Buffer {
    fn of(value: &impl Serialize) -> Self {
        // Serialization into a vector doesn't fail.
        let mut bytes = std::mem::ManuallyDrop::new(postcard::to_stdvec(value).unwrap_or_default());
        Self {
            start: bytes.as_mut_ptr(),
            length: bytes.len(),
            capacity: bytes.capacity(),
        }
    }

    /// Reads the value, and frees the bytes on the side that allocated them.
    ///
    /// # Safety
    /// The buffer must be from the side that `free` belongs to.
    unsafe fn read<T: serde::de::DeserializeOwned>(self, free: extern "C" fn(Self)) -> Result<T, postcard::Error> {
        let slice = Slice {
            start: self.start,
            length: self.length,
        };
        // SAFETY: the bytes live until they are freed below.
        let value = postcard::from_bytes(unsafe { slice.bytes() });
        free(self);
        value
    }
}

/// Frees a buffer of this side.
extern "C" fn free(buffer: Buffer) {
    // SAFETY: the other side returns each buffer of `Buffer::of` once.
    drop(unsafe { Vec::from_raw_parts(buffer.start, buffer.length, buffer.capacity) });
}

/// The reply of a plugin, or the message of its panic.
type CallResult = Result<Reply, String>;

// --- The library's side.

/// The services of a host on the other side of the interface.
struct RemoteServices(Host);

impl Services for RemoteServices {
    fn handle(&mut self, request: ServiceRequest) -> ServiceResult {
        // Serialization into a vector doesn't fail.
        let bytes = postcard::to_stdvec(&request).unwrap_or_default();
        let answer = (self.0.serve)(Slice::of(&bytes));
        // SAFETY: the host made it, and gave its own `free`.
        unsafe { answer.read(self.0.free) }.unwrap_or(Err(ServiceError::Unavailable))
    }
}

/// Returns the library of a plugin, which [`export_library!`](crate::export_library!) exports.
#[must_use]
pub const fn library<P: Registered>() -> Library {
    Library {
        abi: ABI,
        size: size::<Library>(),
        manifest: manifest::<P>,
        start: start::<P>,
        call,
        stop,
        free,
    }
}

extern "C" fn manifest<P: Registered>() -> Slice {
    Slice::of(P::MANIFEST.as_bytes())
}

/// A handle is the address of a started plugin.
type Handle = Box<dyn Started>;

extern "C" fn start<P: Registered>(host: Host, configuration: Slice) -> Buffer {
    // SAFETY: it comes from the host, for this call.
    let configuration = String::from_utf8_lossy(unsafe { configuration.bytes() }).into_owned();
    let started = native::enter(RemoteServices(host), || native::of::<P>().start(&configuration)).1;
    let started: Result<Result<u64, Error>, String> = match started {
        Ok(Ok(plugin)) => Ok(Ok(Box::into_raw(Box::new(plugin)) as u64)),
        Ok(Err(error)) => Ok(Err(error)),
        Err(PluginPanic(text)) => Err(text),
    };
    Buffer::of(&started)
}

extern "C" fn call(handle: u64, host: Host, request: Slice) -> Buffer {
    // SAFETY: the host passes a handle that `start` made and `stop` has not had yet.
    let plugin = unsafe { &*(handle as *const Handle) };
    // SAFETY: it comes from the host, for this call.
    let asked = postcard::from_bytes::<(Caller, Request)>(unsafe { request.bytes() });
    let reply: CallResult = match asked {
        Ok((caller, request)) => {
            let serve = || plugin.serve(&Context { caller }, &request);
            native::enter(RemoteServices(host), serve)
                .1
                .map_err(|PluginPanic(text)| text)
        }
        Err(error) => Err(format!("the host's request can't be read: {error}")),
    };
    Buffer::of(&reply)
}

extern "C" fn stop(handle: u64) {
    // SAFETY: the host passes each handle once, when nothing uses it any more.
    let plugin = unsafe { Box::from_raw(handle as *mut Handle) };
    // A panic of its destructor must not cross the interface, and this call returns no error.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(plugin)));
}

/// Exports a registered plugin as a native library: a crate of type `cdylib`, built for the system of the host.
///
/// It runs without a sandbox, so a host loads it only if the operator sets `trusted = true`.
#[macro_export]
macro_rules! export_library {
    ($plugin:ty) => {
        #[allow(unsafe_code, missing_docs, reason = "an exported name is unsafe by nature")]
        #[unsafe(no_mangle)]
        pub extern "C" fn courtyard_plugin_library() -> *const $crate::library::Library {
            static LIBRARY: $crate::library::Library = $crate::library::library::<$plugin>();
            &LIBRARY
        }
    };
}

// --- The host's side.

/// Why a library can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Its entry returned null.
    #[error("it exports no plugin")]
    Nothing,
    /// It was built for another C interface.
    #[error("it speaks version {0} of the native interface, and this host version {ABI}")]
    Abi(u32),
    /// Its table is smaller than that of this version.
    #[error("its table has {0} bytes, which is too few")]
    Size(u32),
    /// Its manifest is not UTF-8.
    #[error("its manifest is not UTF-8")]
    Manifest,
}

/// A plugin of a library.
struct LibraryPlugin {
    library: Library,
    manifest: String,
}

/// Returns the plugin of a library.
///
/// # Safety
/// `library` must be what the library's entry returned, and the library must stay loaded for as long as the process
/// lives. Nothing checks the behaviour of the library.
///
/// # Errors
/// If it was built for another version of the interface, or its manifest is not UTF-8.
pub unsafe fn import(library: *const Library) -> Result<Arc<dyn Native>, ImportError> {
    if library.is_null() {
        return Err(ImportError::Nothing);
    }
    // SAFETY: the two numbers come first in every version of the interface, so they can be read before the rest.
    let (abi, size) = unsafe { ((*library).abi, (*library).size) };
    if abi != ABI {
        return Err(ImportError::Abi(abi));
    }
    if (size as usize) < size_of::<Library>() {
        return Err(ImportError::Size(size));
    }
    // SAFETY: the caller vouches for it, and it is as large as it has to be.
    let library = unsafe { *library };
    // SAFETY: the manifest is a constant of the library, which stays loaded.
    let manifest = unsafe { (library.manifest)().bytes() };
    let manifest = std::str::from_utf8(manifest)
        .map_err(|_| ImportError::Manifest)?
        .to_owned();
    Ok(Arc::new(LibraryPlugin { library, manifest }))
}

const HOST: Host = Host {
    abi: ABI,
    size: size::<Host>(),
    serve,
    free,
};

/// Runs a service of the host that entered the plugin on this thread.
extern "C" fn serve(request: Slice) -> Buffer {
    // SAFETY: it comes from the library, for this call.
    let request = postcard::from_bytes::<ServiceRequest>(unsafe { request.bytes() });
    let answered = catch_unwind(|| request.map_err(|_| ServiceError::Unavailable).and_then(native::send));
    let answered: ServiceResult = answered.unwrap_or(Err(ServiceError::Unavailable));
    Buffer::of(&answered)
}

impl Native for LibraryPlugin {
    fn manifest(&self) -> &str {
        &self.manifest
    }

    fn start(&self, configuration: &str) -> Result<Box<dyn Started>, Error> {
        let started = (self.library.start)(HOST, Slice::of(configuration.as_bytes()));
        // SAFETY: the library made it.
        let started = unsafe { started.read::<Result<Result<u64, Error>, String>>(self.library.free) };
        match started {
            Ok(Ok(handle)) => Ok(Box::new(LibraryInstance {
                library: self.library,
                handle: handle?,
            })),
            // Resumed, as a panic on this side of the interface.
            Ok(Err(panicked)) => resume_unwind(Box::new(panicked)),
            Err(error) => resume_unwind(Box::new(format!("the library's answer can't be read: {error}"))),
        }
    }
}

impl fmt::Debug for LibraryPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LibraryPlugin").finish_non_exhaustive()
    }
}

/// A started plugin of a library.
struct LibraryInstance {
    library: Library,
    handle: u64,
}

impl Started for LibraryInstance {
    fn serve(&self, cx: &Context, request: &Request) -> Reply {
        // Serialization into a vector doesn't fail.
        let bytes = postcard::to_stdvec(&(&cx.caller, request)).unwrap_or_default();
        let reply = (self.library.call)(self.handle, HOST, Slice::of(&bytes));
        // SAFETY: the library made it.
        match unsafe { reply.read::<CallResult>(self.library.free) } {
            Ok(Ok(reply)) => reply,
            // Resumed, as a panic on this side of the interface.
            Ok(Err(panicked)) => resume_unwind(Box::new(panicked)),
            Err(error) => resume_unwind(Box::new(format!("the library's answer can't be read: {error}"))),
        }
    }
}

impl Drop for LibraryInstance {
    fn drop(&mut self) {
        (self.library.stop)(self.handle);
    }
}
