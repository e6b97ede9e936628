//! Plugins written by hand, byte by byte, to break what no SDK lets them break: tables, memories, and the border itself.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use courtyard::plugin::{Artifact, LoadError};
use courtyard_tests::{Client, Site, operate};
use serde_json::{Value, json};
use wit_component::StringEncoding;
use wit_parser::Resolve;

const MANIFEST: &str = r#"{"manifest":1,"id":"forged","version":"1.0.0","contract":"1.0.0",
    "methods":[{"name":"go","params":{},"result":{}}]}"#;

/// A module whose `start` succeeds; what a method does is `call`, and `more` stands beside it.
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
    world forged { export courtyard:plugin/lifecycle@1.0.0; export courtyard:plugin/method@1.0.0; }";

/// Gives a module its place in the contract, and a manifest.
fn plugin(text: &str, manifest: &str) -> Vec<u8> {
    plugin_of(WORLD, text, manifest)
}

fn plugin_of(world: &str, text: &str, manifest: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk/wit");
    resolve.push_dir(wit).unwrap();
    let package = resolve.push_str("forged.wit", world).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut bytes = wat::parse_str(text).unwrap();
    wit_component::embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8).unwrap();
    Artifact::pack(bytes, manifest).unwrap()
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
async fn what_breaks_the_border_is_told_apart_and_ends_nothing_but_the_call() {
    let table = "(table $table 1 funcref)";
    let grow = "(drop (table.grow $table (ref.null func) (i32.const 1000000))) unreachable";
    let hoard = "(drop (memory.grow (i32.const 60000))) unreachable";
    let deep = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let cases = [
        // It asks for more than there is, and gives up.
        (grow, table, "limit"),
        (hoard, "", "limit"),
        ("(call $deep (i32.const 0))", deep, "limit"),
        // Its answer is somewhere outside of its memory.
        ("i32.const 2147483640", "", "contract"),
        // It is at an address that nothing of its type can be at.
        ("i32.const 65", "", "contract"),
        // It is neither a value nor an error.
        (
            "(i32.store8 (i32.const 128) (i32.const 7)) i32.const 128",
            "",
            "contract",
        ),
        // It is a list that begins inside and ends outside.
        (
            "(i32.store (i32.const 132) (i32.const 65000)) (i32.store (i32.const 136) (i32.const 65000)) i32.const 128",
            "",
            "contract",
        ),
        // It is more than may pass.
        (
            "(i32.store (i32.const 136) (i32.const 30000000)) (drop (memory.grow (i32.const 500))) i32.const 128",
            "",
            "limit",
        ),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "", "trap"),
        ("(i32.load (i32.const -4))", "", "trap"),
    ];
    for (call, more, kind) in cases {
        let site = site(&plugin(&module(call, more), MANIFEST));
        let server = site.start().await;
        let mut ann = server.sign_in("ann").await;
        for _ in 0..3 {
            assert_eq!(go(&mut ann).await["code"], "plugin_failed", "{call}");
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
async fn what_can_not_even_begin_is_refused_when_it_is_loaded() {
    let fine = "(i32.store8 (i32.const 128) (i32.const 1)) i32.const 128";
    let module = |more: &str| module(fine, more);
    let with_memory =
        |pages: &str| module("").replace("(export \"memory\") 1", &format!("(export \"memory\") {pages}"));
    let deep = "(func $deep (call $deep)) (start $deep)";
    let forever = "(func $forever (loop br 0)) (start $forever)";
    for (text, code) in [
        // More than the host gives to any instance, from the start.
        (with_memory("65000"), "plugin_breaks_contract"),
        (module("(table 10000000 funcref)"), "plugin_breaks_contract"),
        // Code that runs before `start`.
        (module(deep), "plugin_does_not_start"),
        (module(forever), "plugin_does_not_start"),
        (
            module("(func $trap unreachable) (start $trap)"),
            "plugin_does_not_start",
        ),
        // Functions of another type than the contract's.
        (
            module("").replace("(param i32 i32) (result i32)\n                i32.const 64", ""),
            "plugin_breaks_contract",
        ),
        // Imports of what no host has.
        (
            module("").replace("(module\n", "(module (import \"env\" \"system\" (func))\n"),
            "plugin_breaks_contract",
        ),
    ] {
        let site = site(&plugin(&text, MANIFEST));
        let server = site.start().await;
        let mut ann = server.sign_in("ann").await;
        assert_eq!(go(&mut ann).await["code"], "plugin_unavailable", "{text}");
        let log = server.stop().await;
        assert!(log.contains(code), "{code} is not in\n{log}\n{text}");
    }
}

#[tokio::test]
async fn what_only_a_later_host_has_is_named() {
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
    assert_eq!(problem["code"], "plugin_unknown_import", "{problem}");
    assert!(problem["message"].as_str().unwrap().contains("telepathy"), "{problem}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_declared_and_not_there_is_refused_when_it_is_loaded() {
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
fn a_manifest_is_added_once_to_what_can_have_one() {
    let module = wat::parse_str("(module)").unwrap();
    let packed = Artifact::pack(module.clone(), MANIFEST).unwrap();
    assert_eq!(Artifact::parse(packed.clone()).unwrap().manifest.id, "forged");
    let code = |outcome: Result<Vec<u8>, LoadError>| outcome.unwrap_err().code();
    assert_eq!(code(Artifact::pack(packed, MANIFEST)), "plugin_bad_manifest");
    assert_eq!(code(Artifact::pack(module, "{}")), "plugin_bad_manifest");
    assert_eq!(
        code(Artifact::pack(b"I am no module".to_vec(), MANIFEST)),
        "plugin_not_wasm"
    );
}
