//! The asynchronous services, which only jobs can use.

use courtyard_plugin_sdk as sdk;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::bindings::courtyard::plugin as wit;
use super::convert::wit_error;
use super::state::InstanceState;
use crate::plugin::contract::interface;

/// Links the transactions of jobs.
pub(super) fn link_transactions(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    type Params = (String, Vec<u8>);
    type Results = (Result<Vec<u8>, wit::types::Error>,);
    let name = interface("transactions");
    let run = |mut store: StoreContextMut<'_, InstanceState>, (name, payload): Params| {
        let counted = store.data_mut().count();
        let transact = store.data().transact.clone();
        async move {
            counted?;
            let Some(transact) = transact else {
                return Ok::<Results, wasmtime::Error>((Err(unavailable("There is no job.")),));
            };
            let done = tokio::task::spawn_blocking(move || transact.transact(&name, &payload)).await;
            let done = done.unwrap_or_else(|_| Err(sdk::Error::new("failed", "The transaction panicked.")));
            Ok((done.map_err(wit_error),))
        }
    };
    linker
        .instance(&name)?
        .func_wrap_async("run", move |store, params| Box::new(run(store, params)))
}

/// Links requests to other servers.
pub(super) fn link_fetch(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    type Params = (wit::fetch::Request,);
    type Results = (Result<wit::fetch::Response, wit::types::Error>,);
    let name = interface("fetch");
    let send = |mut store: StoreContextMut<'_, InstanceState>, (request,): Params| {
        let counted = store.data_mut().count();
        let context = store.data().context.clone();
        async move {
            counted?;
            let request = sdk::FetchRequest {
                method: request.method,
                url: request.url,
                headers: request
                    .headers
                    .into_iter()
                    .map(|header| (header.name, header.value))
                    .collect(),
                body: request.body,
                follow: request.follow,
            };
            let header = |(name, value)| wit::fetch::Header { name, value };
            let response = |response: sdk::HttpResponse| wit::fetch::Response {
                status: response.status,
                headers: response.headers.into_iter().map(header).collect(),
                body: response.body,
            };
            let fetched = context.services.fetch(request).await;
            Ok::<Results, wasmtime::Error>((fetched.map(response).map_err(wit_error),))
        }
    };
    linker
        .instance(&name)?
        .func_wrap_async("send", move |store, params| Box::new(send(store, params)))
}

/// Links the bytes of blobs.
pub(super) fn link_contents(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    type Reads = (Result<Vec<u8>, wit::types::Error>,);
    type Writes = (Result<String, wit::types::Error>,);
    let name = interface("contents");
    let read = |mut store: StoreContextMut<'_, InstanceState>, (id, offset, length): (String, u64, u32)| {
        let counted = store.data_mut().count();
        let (context, transact) = (store.data().context.clone(), store.data().transact.clone());
        async move {
            counted?;
            let Some(transact) = transact else {
                return Ok::<Reads, wasmtime::Error>((Err(unavailable("There is no job.")),));
            };
            let read = context.services.read_blob(transact.app(), &id, offset, length).await;
            Ok((read.map_err(wit_error),))
        }
    };
    type Written = (String, String, String, Vec<u8>);
    let write = |mut store: StoreContextMut<'_, InstanceState>, (file, media_type, conversation, bytes): Written| {
        let counted = store.data_mut().count();
        let (context, transact) = (store.data().context.clone(), store.data().transact.clone());
        async move {
            counted?;
            let Some(transact) = transact else {
                return Ok::<Writes, wasmtime::Error>((Err(unavailable("There is no job.")),));
            };
            let services = &context.services;
            let wrote = services.write_blob(transact.app(), file, media_type, &conversation, bytes);
            Ok((wrote.await.map_err(wit_error),))
        }
    };
    let mut instance = linker.instance(&name)?;
    instance.func_wrap_async("read", move |store, params| Box::new(read(store, params)))?;
    instance.func_wrap_async("write", move |store, params| Box::new(write(store, params)))
}

fn unavailable(message: &str) -> wit::types::Error {
    wit::types::Error {
        code: "unavailable".to_owned(),
        message: message.to_owned(),
        retry: false,
    }
}
