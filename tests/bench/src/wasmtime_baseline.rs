//! Time of a call with wasmtime alone, without Courtyard: it distinguishes a slow machine from a slow host.

use courtyard::internals::plugin::WasmEngine;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

/// Accepts bytes without reading any.
const COMPONENT: &str = r#"(component
    (core module $module
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "accept") (param i32 i32) (result i32) (i32.const 0)))
    (core instance $instance (instantiate $module))
    (func (export "accept") (param "message" (list u8)) (result u32)
        (canon lift (core func $instance "accept")
            (memory (core memory $instance "memory")) (realloc (core func $instance "realloc")))))"#;

/// Returns a call with `bytes` bytes.
pub(crate) fn call(engine: &WasmEngine, bytes: usize) -> impl FnMut() + use<> {
    let engine: &Engine = engine.get();
    let component = Component::new(engine, wat::parse_str(COMPONENT).unwrap()).unwrap();
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(1_000_000);
    let instance = Linker::new(engine).instantiate(&mut store, &component).unwrap();
    let accept = instance
        .get_typed_func::<(Vec<u8>,), (u32,)>(&mut store, "accept")
        .unwrap();
    move || {
        // Allocates the bytes for each call, as the host does for a message.
        let (verdict,) = accept.call(&mut store, (vec![b'x'; bytes],)).unwrap();
        assert_eq!(verdict, 0);
    }
}
