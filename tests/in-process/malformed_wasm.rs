//! Handwritten modules that violate what no SDK lets them violate: tables, memories, and the ABI itself.

use std::path::Path;

use courtyard::LoadError;
use courtyard::internals::plugin::Artifact;
use courtyard_tests::{Client, Site, operate};
use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

const MANIFEST: &str = r#"{"manifest":1,"id":"forged","version":"1.0.0","contract":"1.0.0",
    "methods":[{"name":"go","params":{},"result":{}}]}"#;

/// A module whose `start` succeeds; `call` is the body of a method, and `more` are additional items.
fn module(call: &str, more: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 1024))
            {more}
            (func (export "courtyard:plugin/lifecycle@1.0.0#start") (param i32 i32) (result i32)
                i32.const 64)
            (func (export "courtyard:plugin/method@1.0.0#call")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                {call})
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                global.get $next
                (global.set $next (i32.add (global.get $next) (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8)))))
        )"#
    )
}

/// The world of a plugin with a method.
const WORLD: &str = "package forged:guest;
    world forged {
        import courtyard:plugin/clock@1.0.0;
        export courtyard:plugin/lifecycle@1.0.0;
        export courtyard:plugin/method@1.0.0;
    }";

/// Adds the component type and a manifest to a module.
fn plugin(text: &str, manifest: &str) -> Vec<u8> {
    plugin_of(WORLD, text, manifest)
}

fn plugin_of(world: &str, text: &str, manifest: &str) -> Vec<u8> {
    Artifact::pack(module_of(world, text), manifest).unwrap()
}

/// Wraps a module in a component, which the host enters on another path.
fn component(text: &str, manifest: &str) -> Vec<u8> {
    let mut encoder = ComponentEncoder::default().module(&module_of(WORLD, text)).unwrap();
    Artifact::pack(encoder.encode().unwrap(), manifest).unwrap()
}

fn module_of(world: &str, text: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-sdk/wit");
    resolve.push_dir(wit).unwrap();
    let package = resolve.push_str("forged.wit", world).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut bytes = wat::parse_str(text).unwrap();
    wit_component::embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8).unwrap();
    bytes
}

fn site(bytes: &[u8]) -> Site {
    let site = Site::new("[[plugins]]\nid = \"forged\"\npath = \"forged.wasm\"\nlimits = { strikes = 1000 }\n");
    std::fs::write(site.folder.path().join("forged.wasm"), bytes).unwrap();
    site
}

async fn go(client: &mut Client) -> Value {
    client
        .request(json!({"type": "call", "id": "g", "method": "forged.go", "params": {}}))
        .await
}

#[tokio::test]
async fn abi_violations_of_a_module_are_reported_and_end_only_the_call() {
    violates_the_abi(|text| plugin(text, MANIFEST)).await;
}

#[tokio::test]
async fn abi_violations_of_a_component_are_reported_and_end_only_the_call() {
    violates_the_abi(|text| component(text, MANIFEST)).await;
}

async fn violates_the_abi(form: impl Fn(&str) -> Vec<u8>) {
    let table = "(table $table 1 funcref)";
    let grow = "(drop (table.grow $table (ref.null func) (i32.const 1000000))) unreachable";
    let hoard = "(drop (memory.grow (i32.const 60000))) unreachable";
    let deep = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let cases = [
        // It allocates more than the limit, and traps.
        (grow, table, "limit"),
        (hoard, "", "limit"),
        ("(call $deep (i32.const 0))", deep, "limit"),
        // Its result is outside its memory.
        ("i32.const 2147483640", "", "contract"),
        // Its result is at a misaligned address.
        ("i32.const 65", "", "contract"),
        // Its result is neither a value nor an error.
        (
            "(i32.store8 (i32.const 128) (i32.const 7)) i32.const 128",
            "",
            "contract",
        ),
        // Its result is a list that ends outside its memory.
        (
            "(i32.store (i32.const 132) (i32.const 65000)) (i32.store (i32.const 136) (i32.const 65000)) i32.const 128",
            "",
            "contract",
        ),
        // Its result exceeds the byte limit.
        (
            "(i32.store (i32.const 136) (i32.const 30000000)) (drop (memory.grow (i32.const 500))) i32.const 128",
            "",
            "limit",
        ),
        // Its result is neither JSON nor UTF-8.
        (
            "(i32.store (i32.const 132) (i32.const 200)) (i32.store (i32.const 136) (i32.const 1)) \
             (i32.store8 (i32.const 200) (i32.const 255)) i32.const 128",
            "",
            "contract",
        ),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "", "trap"),
        ("(i32.load (i32.const -4))", "", "trap"),
    ];
    for (call, more, kind) in cases {
        let site = site(&form(&module(call, more)));
        let server = site.start().await;
        let mut ann = server.sign_in("ann").await;
        for _ in 0..3 {
            assert_eq!(go(&mut ann).await["code"], "internal", "{call}");
        }
        let status = site.operate("GET", "/v1/plugins/forged").await.json();
        let hooks = status["plugin"]["hooks"].as_array().unwrap().clone();
        let failures = hooks.iter().find(|hook| hook["hook"] == "method").unwrap()["failures"].clone();
        assert_eq!(failures, json!([[kind, 3]]), "{call}");
        assert_eq!(
            operate(&format!("127.0.0.1:{}", server.port), "GET", "/health", "")
                .await
                .status,
            200
        );
        server.stop().await;
    }
}

#[tokio::test]
async fn guests_cannot_call_services_while_they_allocate_or_free() {
    let one = "(i32.store (i32.const 132) (i32.const 200)) (i32.store (i32.const 136) (i32.const 1)) \
               (i32.store8 (i32.const 200) (i32.const 49)) i32.const 128";
    let ask = "(if (global.get $started) (then (drop (call $now))))";
    let text = module(&format!("{ask} {one}"), "(global $started (mut i32) (i32.const 0))")
        .replacen(
            "(module\n",
            "(module (import \"courtyard:plugin/clock@1.0.0\" \"now-ms\" (func $now (result i64)))\n",
            1,
        )
        .replace("i32.const 64)", "(global.set $started (i32.const 1)) i32.const 64)");
    let making = text.replace("global.get $next\n", &format!("{ask} global.get $next\n"));
    let post = format!("(func (export \"cabi_post_courtyard:plugin/method@1.0.0#call\") (param i32) {ask})");
    let giving = text.replace(
        "(func (export \"cabi_realloc\")",
        &format!("{post} (func (export \"cabi_realloc\")"),
    );
    for (text, failure) in [(&text, None), (&making, Some("trap")), (&giving, Some("trap"))] {
        for bytes in [plugin(text, MANIFEST), component(text, MANIFEST)] {
            let site = site(&bytes);
            let server = site.start().await;
            let mut ann = server.sign_in("ann").await;
            let answer = go(&mut ann).await;
            let status = site.operate("GET", "/v1/plugins/forged").await.json();
            let hooks = status["plugin"]["hooks"].as_array().unwrap().clone();
            let failures = &hooks.iter().find(|hook| hook["hook"] == "method").unwrap()["failures"];
            match failure {
                None => assert_eq!(answer["value"], 1, "{answer} {status}"),
                Some(kind) => assert_eq!(*failures, json!([[kind, 1]]), "{text}"),
            }
            server.stop().await;
        }
    }
}

/// A guard with the in-place entry of the SDK; the entry of the contract rejects everything.
fn guard(room: &str, before_send: &str) -> String {
    module("i32.const 128", "")
        .replacen(
            "(module\n",
            "(module (import \"courtyard:plugin/clock@1.0.0\" \"now-ms\" (func $now (result i64)))\n",
            1,
        )
        .replace(
            "(func (export \"cabi_realloc\")",
            &format!(
                r#"(data (i32.const 512) "no")
                (func $refuse (result i32)
                    (i32.store8 (i32.const 128) (i32.const 2))
                    (i32.store (i32.const 132) (i32.const 512)) (i32.store (i32.const 136) (i32.const 2))
                    i32.const 128)
                (func (export "courtyard:plugin/message@1.0.0#before-send")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i64 i64) (result i32)
                    call $refuse)
                (func (export "cabi_post_courtyard:plugin/message@1.0.0#before-send") (param i32))
                (func (export "courtyard-in-place#room") (param $size i32) (result i32)
                    {room})
                (func (export "courtyard-in-place#before-send")
                    (param i32 i32 i32 i32 i32 i32 i32) (param $end i32) (param i64 i64 i64) (result i32)
                    {before_send})
                (func (export "cabi_realloc")"#
            ),
        )
}

const GUARD: &str = r#"{"manifest":1,"id":"forged","version":"1.0.0","contract":"1.0.0",
    "hooks":[{"hook":"before_send","class":"guard"}]}"#;

#[tokio::test]
async fn the_in_place_entry_is_used_and_its_violations_are_reported() {
    let room = "i32.const 4096";
    // The content ends with a brace at any length.
    let looks = "(if (result i32) (i32.eq (i32.load8_u (i32.add (i32.const 4095) (local.get $end))) (i32.const 125))
                     (then (i32.const 0)) (else (call $refuse)))";
    let outside = "(i32.store8 (i32.const 128) (i32.const 1)) (i32.store (i32.const 132) (i32.const 65000))
                   (i32.store (i32.const 136) (i32.const 65000)) i32.const 128";
    let cases = [
        (room, looks, "", None),
        (room, "call $refuse", "forged.no", None),
        ("i32.const 2147483640", looks, "internal", Some("contract")),
        ("(drop (call $now)) i32.const 4096", looks, "internal", Some("trap")),
        ("unreachable", looks, "internal", Some("trap")),
        (room, "i32.const 65", "internal", Some("contract")),
        (room, outside, "internal", Some("contract")),
        (room, "(loop br 0) unreachable", "internal", Some("timeout")),
        (room, "unreachable", "internal", Some("trap")),
    ];
    for (room, before_send, code, failure) in cases {
        let site = site(&plugin(&guard(room, before_send), GUARD));
        let server = site.start().await;
        let mut ann = server.sign_in("ann").await;
        for (number, length) in [1, 3_000, 200].into_iter().enumerate() {
            ann.text(&format!("m{number}"), &"x".repeat(length)).await;
            let answer = ann.next().await;
            assert_eq!(
                answer["code"].as_str().unwrap_or_default(),
                code,
                "{room} {before_send}: {answer}"
            );
        }
        let status = site.operate("GET", "/v1/plugins/forged").await.json();
        let hooks = status["plugin"]["hooks"].as_array().unwrap().clone();
        let failures = &hooks.iter().find(|hook| hook["hook"] == "before_send").unwrap()["failures"];
        let wanted = failure.map_or(json!([]), |kind| json!([[kind, 3]]));
        assert_eq!(*failures, wanted, "{room} {before_send}");
        server.stop().await;
    }
}

#[tokio::test]
async fn modules_that_cannot_start_are_rejected_at_load() {
    let fine = "(i32.store8 (i32.const 128) (i32.const 1)) i32.const 128";
    let module = |more: &str| module(fine, more);
    let with_memory =
        |pages: &str| module("").replace("(export \"memory\") 1", &format!("(export \"memory\") {pages}"));
    let deep = "(func $deep (call $deep)) (start $deep)";
    let forever = "(func $forever (loop br 0)) (start $forever)";
    for (text, code) in [
        // Initial memory over the limit of an instance.
        (with_memory("65000"), "invalid_plugin"),
        (module("(table 10000000 funcref)"), "invalid_plugin"),
        // Code that runs before `start`.
        (module(deep), "internal"),
        (module(forever), "internal"),
        (module("(func $trap unreachable) (start $trap)"), "internal"),
        // Functions whose type differs from the contract's.
        (
            module("").replace("(param i32 i32) (result i32)\n                i32.const 64", ""),
            "invalid_plugin",
        ),
        // Imports that no host has.
        (
            module("").replace("(module\n", "(module (import \"env\" \"system\" (func))\n"),
            "invalid_plugin",
        ),
    ] {
        let site = site(&plugin(&text, MANIFEST));
        let server = site.start().await;
        let mut ann = server.sign_in("ann").await;
        assert_eq!(go(&mut ann).await["code"], "unavailable", "{text}");
        let log = server.stop().await;
        assert!(log.contains(code), "{code} is not in\n{log}\n{text}");
    }
}

#[tokio::test]
async fn functions_of_later_contracts_are_named() {
    let world = "package courtyard:tomorrow@1.3.0;
        interface telepathy { read: func(); }
        world forged {
            import telepathy;
            export courtyard:plugin/lifecycle@1.0.0;
            export courtyard:plugin/method@1.0.0;
        }";
    let import = "(module (import \"courtyard:tomorrow/telepathy@1.3.0\" \"read\" (func))\n";
    let text = module("i32.const 128", "").replacen("(module\n", import, 1);
    let site = site(&plugin_of(world, &text, MANIFEST));
    let server = site.start().await;
    let status = site.operate("GET", "/v1/plugins/forged").await.json();
    let problem = &status["plugin"]["problem"];
    assert_eq!(problem["code"], "unknown_import", "{problem}");
    assert!(problem["message"].as_str().unwrap().contains("telepathy"), "{problem}");
    server.stop().await;
}

#[tokio::test]
async fn declared_but_missing_hooks_are_rejected_at_load() {
    let hook = r#""hooks":[{"hook":"render"}],"methods""#;
    let site = site(&plugin(
        &module("i32.const 128", ""),
        &MANIFEST.replace(r#""methods""#, hook),
    ));
    let server = site.start().await;
    let log = server.stop().await;
    assert!(log.contains("it declares `render` and does not export it"), "{log}");
}

#[test]
fn a_manifest_is_added_once_and_only_to_wasm() {
    let module = wat::parse_str("(module)").unwrap();
    let packed = Artifact::pack(module.clone(), MANIFEST).unwrap();
    assert_eq!(Artifact::parse(packed.clone()).unwrap().manifest.id, "forged");
    let code = |outcome: Result<Vec<u8>, LoadError>| outcome.unwrap_err().code();
    assert_eq!(code(Artifact::pack(packed, MANIFEST)), "invalid_manifest");
    assert_eq!(code(Artifact::pack(module, "{}")), "invalid_manifest");
    assert_eq!(
        code(Artifact::pack(b"I am no module".to_vec(), MANIFEST)),
        "invalid_wasm"
    );
}
