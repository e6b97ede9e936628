//! The asynchronous services, which only jobs can use.

use courtyard_plugin_sdk as sdk;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::bindings::courtyard::plugin as wit;
use super::convert::wit_error;
use super::state::InstanceState;
use crate::plugin::contract::interface;

/// Links `transactions`, the transactions of jobs.
pub(super) fn link_transactions(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    type Params = (String, Vec<u8>);
    type Results = (Result<Vec<u8>, wit::types::Error>,);
    let name = interface("transactions");
    let run = |mut store: StoreContextMut<'_, InstanceState>, (name, payload): Params| {
        let within_limit = store.data_mut().count_host_call();
        let transact = store.data().transact.clone();
        async move {
            within_limit?;
            let Some(transact) = transact else {
                return Ok::<Results, wasmtime::Error>((Err(no_job()),));
            };
            let result = tokio::task::spawn_blocking(move || transact.transact(&name, &payload)).await;
            let result = result.unwrap_or_else(|_| Err(sdk::Error::new("failed", "The transaction panicked.")));
            Ok((result.map_err(wit_error),))
        }
    };
    linker
        .instance(&name)?
        .func_wrap_async("run", move |store, params| Box::new(run(store, params)))
}

/// Links `fetch`, the requests to other servers.
pub(super) fn link_fetch(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    type Params = (wit::fetch::Request,);
    type Results = (Result<wit::fetch::Response, wit::types::Error>,);
    let name = interface("fetch");
    let send = |mut store: StoreContextMut<'_, InstanceState>, (request,): Params| {
        let within_limit = store.data_mut().count_host_call();
        let context = store.data().context.clone();
        async move {
            within_limit?;
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

/// Links `contents`, the bytes of blobs.
pub(super) fn link_contents(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    type ReadResults = (Result<Vec<u8>, wit::types::Error>,);
    type WriteResults = (Result<String, wit::types::Error>,);
    let name = interface("contents");
    let read = |mut store: StoreContextMut<'_, InstanceState>, (id, offset, length): (String, u64, u32)| {
        let within_limit = store.data_mut().count_host_call();
        let (context, transact) = (store.data().context.clone(), store.data().transact.clone());
        async move {
            within_limit?;
            let Some(transact) = transact else {
                return Ok::<ReadResults, wasmtime::Error>((Err(no_job()),));
            };
            let read = context.services.read_blob(transact.app(), &id, offset, length).await;
            Ok((read.map_err(wit_error),))
        }
    };
    type WriteParams = (String, String, String, Vec<u8>);
    let write = |mut store: StoreContextMut<'_, InstanceState>,
                 (file, media_type, conversation, bytes): WriteParams| {
        let within_limit = store.data_mut().count_host_call();
        let (context, transact) = (store.data().context.clone(), store.data().transact.clone());
        async move {
            within_limit?;
            let Some(transact) = transact else {
                return Ok::<WriteResults, wasmtime::Error>((Err(no_job()),));
            };
            let services = &context.services;
            let written = services.write_blob(transact.app(), file, media_type, &conversation, bytes);
            Ok((written.await.map_err(wit_error),))
        }
    };
    let mut instance = linker.instance(&name)?;
    instance.func_wrap_async("read", move |store, params| Box::new(read(store, params)))?;
    instance.func_wrap_async("write", move |store, params| Box::new(write(store, params)))
}

fn no_job() -> wit::types::Error {
    wit::types::Error {
        code: "unavailable".to_owned(),
        message: "Only a job can use this service.".to_owned(),
        retry: false,
    }
}
