#![allow(clippy::unwrap_used, reason = "tests")]

use courtyard_plugin_sdk::manifest::Manifest;
use courtyard_plugin_sdk::testing::{TestHost, TestMessage};
use courtyard_plugin_sdk::{Caller, Registered};
use serde_json::{Value, json};

use super::*;

fn host(settings: Value) -> TestHost<Stickers> {
    TestHost::start(&settings.to_string()).unwrap()
}

fn caller(actor: &str) -> Caller {
    Caller {
        actor: actor.to_owned(),
        ..Caller::default()
    }
}

fn call(host: &TestHost<Stickers>, actor: &str, method: &str, params: Value) -> Result<Value, Error> {
    host.call(&caller(actor), method, &params)
}

fn code(outcome: Result<Value, Error>) -> String {
    outcome.unwrap_err().code
}

fn pack(host: &TestHost<Stickers>, actor: &str, title: &str) -> String {
    let created = call(
        host,
        actor,
        "create_pack",
        json!({"title": title, "author": "Ann", "licence": "CC0-1.0"}),
    );
    created.unwrap()["pack"].as_str().unwrap().to_owned()
}

fn upload(host: &TestHost<Stickers>, actor: &str) -> String {
    let blob = host
        .upload(&caller(actor), "a.png", "image/png", None, &samples::png(8, 8))
        .unwrap();
    host.run_jobs().unwrap();
    blob
}

fn add(host: &TestHost<Stickers>, actor: &str, pack: &str, id: &str, emoji: &str, keywords: &[&str]) -> Value {
    let blob = upload(host, actor);
    let params = json!({"pack": pack, "blob": blob, "sticker": id, "emoji": [emoji], "keywords": keywords});
    call(host, actor, "add_sticker", params).unwrap()
}

fn show(host: &TestHost<Stickers>, actor: &str, pack: &str, visibility: &str) {
    call(host, actor, "publish", json!({"pack": pack, "visibility": visibility})).unwrap();
    host.run_jobs().unwrap();
}

fn send(host: &TestHost<Stickers>, actor: &str, pack: &str, sticker: &str) -> String {
    let message = TestMessage {
        kind: "sticker".to_owned(),
        content: json!({"pack": pack, "sticker": sticker}),
        ..TestMessage::direct(actor, "other", "")
    };
    match host.before_send(&message) {
        Verdict::Accept => {
            host.after_send(&message).unwrap();
            "sent".to_owned()
        }
        Verdict::Reject(error) => error.code,
        Verdict::Replace(_) => "replaced".to_owned(),
    }
}

fn found(host: &TestHost<Stickers>, query: &str) -> Vec<String> {
    let answer = call(host, "eve", "search", json!({"query": query})).unwrap();
    ids(&answer)
}

fn ids(answer: &Value) -> Vec<String> {
    let stickers = answer["stickers"].as_array().unwrap();
    stickers
        .iter()
        .map(|sticker| sticker["sticker"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_manifest_can_be_parsed() {
    let manifest = Manifest::parse(Stickers::MANIFEST.as_bytes()).unwrap();
    assert_eq!((manifest.methods.len(), manifest.hooks.len()), (22, 7));
}

#[test]
fn an_invalid_configuration_is_rejected() {
    for bad in [
        json!({"admin": []}),
        json!({"sticker_bytes": 0}),
        json!({"publishers": "some"}),
        json!({"recent": 201}),
    ] {
        let error = TestHost::<Stickers>::start(&bad.to_string()).err().unwrap();
        assert_eq!(error.code, "invalid_configuration", "{bad}");
    }
}

#[test]
fn the_built_in_pack_needs_no_set_up() {
    let host = host(json!({}));
    assert_eq!(send(&host, "ann", "pip", "hello"), "sent");
    assert_eq!(send(&host, "ann", "pip", "nothing"), "unknown_sticker");
    assert_eq!(ids(&call(&host, "ann", "recent", json!({})).unwrap()), ["hello"]);
    assert_eq!(found(&host, "👋🏽"), ["hello"]);
    assert_eq!(found(&host, "birth"), ["party"]);
    let request = HttpRequest {
        method: "GET".to_owned(),
        path: "/first/hello.json".to_owned(),
        ..HttpRequest::default()
    };
    let response = host.http(&caller(""), &request).unwrap();
    assert_eq!(response.body, first::find("hello").unwrap().json.as_bytes());
    let off = TestHost::<Stickers>::start("{\"first_pack\":false}").unwrap();
    assert_eq!(send(&off, "ann", "pip", "hello"), "unknown_pack");
    assert_eq!(off.http(&caller(""), &request).unwrap().status, 404);
}

#[test]
fn visibility_decides_who_sends_sees_and_finds_a_pack() {
    let host = host(json!({"admins": ["root"]}));
    let pack = pack(&host, "ann", "Happy cats");
    assert_eq!(
        code(call(
            &host,
            "ann",
            "publish",
            json!({"pack": pack, "visibility": "public"})
        )),
        "invalid_pack"
    );
    let made = add(&host, "ann", &pack, "cat", "😺", &["Happy cat", "smile"]);
    assert_eq!((&made["format"], &made["width"]), (&json!("png"), &json!(8)));
    let blob = made["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let can_download = |actor: &str| host.download(&caller(actor), &blob, false).is_ok();

    assert_eq!(send(&host, "ann", &pack, "cat"), "unknown_pack");
    assert_eq!(code(call(&host, "bob", "pack", json!({"pack": pack}))), "unknown_pack");
    assert_eq!(
        code(call(&host, "bob", "update_pack", json!({"pack": pack}))),
        "unknown_pack"
    );
    assert_eq!(
        (can_download("ann"), can_download("bob"), can_download("")),
        (true, false, false)
    );
    show(&host, "ann", &pack, "private");
    assert_eq!(send(&host, "ann", &pack, "cat"), "sent");
    assert_eq!(send(&host, "bob", &pack, "cat"), "unknown_pack");
    assert_eq!((can_download("bob"), can_download("")), (true, false));
    assert_eq!(
        code(call(&host, "bob", "delete_pack", json!({"pack": pack}))),
        "forbidden"
    );
    assert_eq!(found(&host, "cat"), [] as [&str; 0]);
    show(&host, "ann", &pack, "public");
    assert_eq!(send(&host, "bob", &pack, "cat"), "sent");
    assert!(can_download(""));
    assert_eq!(
        (found(&host, "cat"), found(&host, "😺")),
        (vec!["cat".to_owned()], vec!["cat".to_owned()])
    );
    let packs = call(&host, "bob", "packs", json!({"query": "cats"})).unwrap();
    assert_eq!(packs["packs"][0]["title"], "Happy cats");

    assert_eq!(
        code(call(&host, "ann", "withdraw", json!({"pack": pack, "on": true}))),
        "forbidden"
    );
    call(&host, "root", "withdraw", json!({"pack": pack, "on": true})).unwrap();
    host.run_jobs().unwrap();
    assert_eq!(send(&host, "ann", &pack, "cat"), "unknown_pack");
    assert!(!can_download("bob") && found(&host, "cat").is_empty());
    call(&host, "ann", "delete_pack", json!({"pack": pack})).unwrap();
    host.run_jobs().unwrap();
    assert!(host.blobs().is_empty());
    assert_eq!(call(&host, "ann", "usage", json!({})).unwrap()["bytes"], 0);
}

#[test]
fn rejected_uploads_are_removed_at_once() {
    let host = host(json!({"user_uploads": 2}));
    let pack = pack(&host, "ann", "Cats");
    let bad = host
        .upload(&caller("ann"), "a.png", "image/png", None, b"<svg/>")
        .unwrap();
    let early = json!({"pack": pack, "blob": bad});
    assert_eq!(code(call(&host, "ann", "add_sticker", early.clone())), "busy");
    host.run_jobs().unwrap();
    let signals = host.take_signals();
    assert_eq!(
        signals[0].payload,
        json!({"blob": bad, "state": "refused", "flaw": "unknown_format"})
    );
    assert_eq!(code(call(&host, "ann", "add_sticker", early)), "invalid_upload");
    assert!(host.blobs().is_empty());
    // The format must match the declared type, because the bytes are served with it.
    let misdeclared = host
        .upload(&caller("ann"), "a.webp", "image/webp", None, &samples::png(8, 8))
        .unwrap();
    host.run_jobs().unwrap();
    let state = call(&host, "ann", "upload", json!({"blob": misdeclared})).unwrap();
    assert_eq!(state["flaw"], "bad_media_type");
    let page = host.upload(&caller("ann"), "a.html", "text/html", None, b"<html>");
    assert_eq!(page.unwrap_err().code, "invalid_media_type");
    let large = host.upload(&caller("ann"), "a.png", "image/png", None, &vec![0; 600_000]);
    assert_eq!(large.unwrap_err().code, "limit_sticker_bytes");

    let blob = upload(&host, "ann");
    assert_eq!(
        code(call(&host, "bob", "add_sticker", json!({"pack": pack, "blob": blob}))),
        "unknown_pack"
    );
    let bobs = self::pack(&host, "bob", "Thieves");
    assert_eq!(
        code(call(&host, "bob", "add_sticker", json!({"pack": bobs, "blob": blob}))),
        "unknown_upload"
    );
    upload(&host, "ann");
    let third = host.upload(&caller("ann"), "a.png", "image/png", None, &samples::png(8, 8));
    assert_eq!(third.unwrap_err().code, "limit_uploads");
    // Unused uploads are removed after a day.
    host.set_clock(1_000_000 + 25 * 60 * 60 * 1_000);
    host.run_jobs().unwrap();
    assert!(host.blobs().is_empty());
    assert_eq!(
        call(&host, "ann", "usage", json!({})).unwrap(),
        json!({
            "bytes": 0, "bytes_limit": 67_108_864, "uploads": 0, "uploads_limit": 2
        })
    );
}

#[test]
fn search_matches_all_words_and_lists_each_sticker_once() {
    let host = host(json!({"first_pack": false}));
    let pack = pack(&host, "ann", "Cats");
    add(&host, "ann", &pack, "one", "😺", &["happy", "happiness", "cat"]);
    add(&host, "ann", &pack, "two", "😿", &["sad cat"]);
    show(&host, "ann", &pack, "public");
    assert_eq!(found(&host, "happ"), ["one"]);
    assert_eq!(found(&host, "CAT"), ["one", "two"]);
    assert_eq!(found(&host, "cat sad"), ["two"]);
    assert_eq!(found(&host, "cat 😺"), ["one"]);
    assert_eq!(found(&host, "dog"), [] as [&str; 0]);
    assert_eq!(
        code(call(&host, "eve", "search", json!({"query": " \t"}))),
        "invalid_query"
    );
    call(
        &host,
        "ann",
        "update_sticker",
        json!({"pack": pack, "sticker": "two", "emoji": [], "keywords": ["dog"]}),
    )
    .unwrap();
    assert_eq!(
        (found(&host, "cat"), found(&host, "dog")),
        (vec!["one".to_owned()], vec!["two".to_owned()])
    );
    call(&host, "ann", "remove_sticker", json!({"pack": pack, "sticker": "one"})).unwrap();
    assert_eq!(found(&host, "cat"), [] as [&str; 0]);
    let info = call(&host, "eve", "pack", json!({"pack": pack})).unwrap();
    assert_eq!((&info["cover"], &info["count"]), (&json!("two"), &json!(1)));
}

#[test]
fn favourites_and_recent_stickers_are_bounded_and_per_user() {
    let host = host(json!({"favourites": 2, "recent": 2, "kept_packs": 1}));
    let mark = |sticker: &str, on: bool| json!({"pack": "pip", "sticker": sticker, "on": on});
    for (index, sticker) in ["hello", "love", "hello"].into_iter().enumerate() {
        host.set_clock(1_000_000 + index as u64);
        call(&host, "ann", "favourite", mark(sticker, true)).unwrap();
    }
    assert_eq!(
        code(call(&host, "ann", "favourite", mark("sun", true))),
        "limit_favourites"
    );
    assert_eq!(
        ids(&call(&host, "ann", "favourites", json!({})).unwrap()),
        ["love", "hello"]
    );
    call(&host, "ann", "favourite", mark("love", false)).unwrap();
    assert_eq!(
        code(call(&host, "ann", "favourite", mark("moon", true))),
        "unknown_sticker"
    );
    assert_eq!(
        ids(&call(&host, "bob", "favourites", json!({})).unwrap()),
        [] as [&str; 0]
    );
    for sticker in ["sun", "no", "yes", "no"] {
        assert_eq!(send(&host, "ann", "pip", sticker), "sent");
    }
    assert_eq!(ids(&call(&host, "ann", "recent", json!({})).unwrap()), ["no", "yes"]);
    call(&host, "ann", "forget_recent", json!({})).unwrap();
    assert!(ids(&call(&host, "ann", "recent", json!({})).unwrap()).is_empty());
    call(&host, "ann", "keep_pack", json!({"pack": "pip", "on": true})).unwrap();
    let drafts = pack(&host, "bob", "Drafts");
    assert_eq!(
        code(call(&host, "ann", "keep_pack", json!({"pack": drafts, "on": true}))),
        "unknown_pack"
    );
    assert_eq!(
        call(&host, "ann", "kept_packs", json!({})).unwrap()["packs"][0]["title"],
        "Pip"
    );
}

#[test]
fn an_import_is_atomic_and_can_be_continued() {
    let host = host(json!({"admins": ["root"]}));
    let index = |from: u32, to: u32| {
        let images: serde_json::Map<String, Value> = (from..to)
            .map(|number| {
                (
                    format!("cat {number}"),
                    json!({"url": format!("{number}.png"), "body": "a cat 😺"}),
                )
            })
            .collect();
        json!({"pack": {"display_name": "Cats", "attribution": "Ann", "licence": "CC0-1.0"}, "images": images})
            .to_string()
    };
    let files = |from: u32, to: u32| -> Vec<Value> {
        (from..to)
            .map(|number| json!({"file": format!("{number}.png"), "blob": upload(&host, "root")}))
            .collect()
    };
    let import = |actor: &str, index: String, files: &[Value], pack: Option<&str>| {
        call(
            &host,
            actor,
            "import",
            json!({"index": index, "files": files, "pack": pack}),
        )
    };
    let first = files(0, 3);
    assert_eq!(code(import("ann", index(0, 3), &first, None)), "forbidden");
    assert_eq!(code(import("root", index(0, 4), &first, None)), "unknown_file");
    assert!(ids(&call(&host, "ann", "search", json!({"query": "cat"})).unwrap()).is_empty());
    let pack = import("root", index(0, 3), &first, None).unwrap();
    host.run_jobs().unwrap();
    assert_eq!(
        (&pack["count"], &pack["visibility"], &pack["licence"]),
        (&json!(3), &json!("public"), &json!("CC0-1.0"))
    );
    let id = pack["pack"].as_str().unwrap();
    let more = import("root", index(3, 5), &files(3, 5), Some(id)).unwrap();
    assert_eq!(more["count"], 5);
    let again = import("root", index(3, 4), &files(3, 4), Some(id));
    assert_eq!(code(again), "conflict");
    assert_eq!(found(&host, "😺").len(), 5);
}

#[test]
fn limits_and_invalid_texts_are_rejected() {
    let host = host(json!({"pack_stickers": 2, "user_packs": 1}));
    let pack = pack(&host, "ann", "Cats");
    add(&host, "ann", &pack, "one", "😺", &[]);
    add(&host, "ann", &pack, "two", "😺", &[]);
    let third = json!({"pack": pack, "blob": upload(&host, "ann")});
    assert_eq!(code(call(&host, "ann", "add_sticker", third)), "limit_stickers");
    let another = json!({"title": "More", "author": "Ann", "licence": "CC0-1.0"});
    assert_eq!(code(call(&host, "ann", "create_pack", another)), "limit_packs");
    for bad in ["", " ", "a\nb", &"x".repeat(129)] {
        assert_eq!(
            code(call(&host, "ann", "update_pack", json!({"pack": pack, "title": bad}))),
            "invalid_text"
        );
    }
    for (emoji, keywords, wanted) in [
        (json!(["cat"]), json!([]), "invalid_emoji"),
        (json!([]), json!(["x".repeat(33)]), "invalid_keywords"),
        (json!([]), json!(vec!["x"; 11]), "invalid_keywords"),
    ] {
        let params = json!({"pack": pack, "sticker": "one", "emoji": emoji, "keywords": keywords});
        assert_eq!(code(call(&host, "ann", "update_sticker", params)), wanted);
    }
}
