//! The stickers plugin in the real server: uploads by tus, packs, and messages that refer to them.

use std::time::{Duration, Instant};

use courtyard_tests::tus::{self, Response, ask};
use courtyard_tests::{CONVERSATION, Client, Server, Site, plugin};
use serde_json::{Value, json};

/// A PNG of one transparent pixel.
const PIXEL: &[u8] =
    b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x01\x00\x00\x00\x01\x08\
    \x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\x0b\x49\x44\x41\x54\x78\xda\x63\x60\x00\x02\x00\x00\x05\
    \x00\x01\xe9\xfa\xdc\xd8\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82";
/// `a.png` of type `image/png`.
const PNG: &str = "filename YS5wbmc=,filetype aW1hZ2UvcG5n";
/// `a.json` of type `application/json`.
const LOTTIE: &str = "filename YS5qc29u,filetype YXBwbGljYXRpb24vanNvbg==";

async fn start(config: &str) -> (Site, Server) {
    let path = plugin("stickers");
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"stickers\"\npath = {path:?}\n\
         grant = [\"kv\", \"jobs\", \"blobs\", \"sessions\", \"http\"]\n[plugins.config]\n{config}\n\
         [plugins.limits]\n"
    ));
    let server = site.start().await;
    (site, server)
}

async fn call(client: &mut Client, method: &str, params: Value) -> Value {
    let id = format!("call {method}");
    client
        .request(json!({"type": "call", "id": id, "method": format!("stickers.{method}"), "params": params}))
        .await
}

/// Calls a method that must succeed.
async fn done(client: &mut Client, method: &str, params: Value) -> Value {
    let answer = call(client, method, params).await;
    assert_eq!(answer["type"], "result", "{answer}");
    answer["value"].clone()
}

async fn try_upload(port: u16, actor: &str, metadata: &str, bytes: &[u8]) -> Response {
    tus::upload(port, "stickers", actor, metadata, bytes).await
}

/// Uploads a file, and returns the id of its blob.
async fn upload(port: u16, actor: &str, metadata: &str, bytes: &[u8]) -> String {
    let answer = try_upload(port, actor, metadata, bytes).await;
    assert_eq!(
        answer.status,
        201,
        "{} {}",
        answer.head,
        String::from_utf8_lossy(&answer.body)
    );
    let location = answer.header("location").unwrap();
    location.rsplit('/').next().unwrap().to_owned()
}

/// Waits for the signal that an upload was inspected.
async fn inspected(client: &mut Client, blob: &str) -> Value {
    loop {
        let frame = client.next().await;
        if frame["type"] == "signal" && frame["payload"]["blob"] == blob {
            return frame["payload"].clone();
        }
    }
}

fn message(id: &str, pack: &str, sticker: &str) -> Value {
    let content = json!({"pack": pack, "sticker": sticker});
    json!({"type": "send", "id": id, "conversation": CONVERSATION, "kind": "sticker", "content": content})
}

#[tokio::test]
async fn the_built_in_pack_can_be_sent_seen_and_found() {
    let (_site, server) = start("").await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let packs = done(&mut ann, "packs", json!({})).await;
    assert_eq!(packs["packs"][0]["pack"], "pip");
    assert_eq!(ann.request(message("m1", "pip", "hello")).await["type"], "ack");
    let content = bob.next().await["event"]["content"].clone();
    let found = done(&mut bob, "resolve", json!({"stickers": [content]})).await["stickers"][0].clone();
    assert_eq!(found["format"], "lottie");
    // Anonymous visitors of a page can see it as well.
    let response = ask(server.port, "", "GET", found["url"].as_str().unwrap(), "", b"").await;
    assert_eq!(response.status, 200);
    let drawing: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(
        (&drawing["w"], response.body.len()),
        (&json!(512), found["bytes"].as_u64().unwrap().try_into().unwrap())
    );
    let cup = done(&mut bob, "search", json!({"query": "☕"})).await;
    assert_eq!(cup["stickers"][0]["sticker"], "coffee");
    for (id, pack, sticker, code) in [
        ("m2", "pip", "goodbye", "stickers.unknown_sticker"),
        ("m3", "pup", "hello", "stickers.unknown_pack"),
    ] {
        assert_eq!(ann.request(message(id, pack, sticker)).await["code"], code);
    }
    // Edits are checked as well.
    let edit = json!({"type": "edit", "id": "e", "conversation": CONVERSATION, "target": 1,
        "content": {"pack": "pup", "sticker": "hello"}});
    assert_eq!(ann.request(edit).await["code"], "stickers.unknown_pack");
    let begun = Instant::now();
    while done(&mut ann, "recent", json!({})).await["stickers"][0]["sticker"] != "hello" {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn an_upload_becomes_a_sticker_that_others_send_and_see() {
    let (site, server) = start("").await;
    let port = server.port;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let blob = upload(port, "ann", PNG, PIXEL).await;
    assert_eq!(inspected(&mut ann, &blob).await["state"], "ready");
    let new = json!({"title": "Dots", "author": "Ann", "licence": "CC0-1.0"});
    let pack = done(&mut ann, "create_pack", new).await["pack"]
        .as_str()
        .unwrap()
        .to_owned();
    let dot = json!({"pack": pack, "blob": blob, "sticker": "dot", "emoji": ["⚫"], "keywords": ["tiny dot"]});
    let made = done(&mut ann, "add_sticker", dot).await;
    let url = made["url"].as_str().unwrap().to_owned();
    assert_eq!((&made["width"], &made["bytes"]), (&json!(1), &json!(PIXEL.len())));
    let status = async |actor: &str| ask(port, actor, "GET", &url, "", b"").await.status;
    assert_eq!(
        (status("ann").await, status("bob").await, status("").await),
        (200, 403, 403)
    );
    assert_eq!(
        bob.request(message("b1", &pack, "dot")).await["code"],
        "stickers.unknown_pack"
    );

    let public = json!({"pack": pack, "visibility": "public"});
    assert_eq!(done(&mut ann, "publish", public).await["visibility"], "public");
    assert_eq!(bob.request(message("b2", &pack, "dot")).await["type"], "ack");
    assert!(ask(port, "", "GET", &url, "", b"").await.body == PIXEL);
    let begun = Instant::now();
    while done(&mut bob, "search", json!({"query": "tin"})).await["stickers"][0]["sticker"] != "dot" {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    done(
        &mut bob,
        "favourite",
        json!({"pack": pack, "sticker": "dot", "on": true}),
    )
    .await;
    done(&mut bob, "keep_pack", json!({"pack": pack, "on": true})).await;
    server.kill().await;
    let server = site.start().await;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    assert_eq!(
        done(&mut bob, "favourites", json!({})).await["stickers"][0]["sticker"],
        "dot"
    );
    assert_eq!(
        done(&mut bob, "kept_packs", json!({})).await["packs"][0]["title"],
        "Dots"
    );

    done(&mut ann, "delete_pack", json!({"pack": pack})).await;
    assert_eq!(
        bob.request(message("b3", &pack, "dot")).await["code"],
        "stickers.unknown_pack"
    );
    assert_eq!(done(&mut bob, "favourites", json!({})).await["stickers"], json!([]));
    let begun = Instant::now();
    while ask(server.port, "ann", "GET", &url, "", b"").await.status != 404 {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn invalid_stickers_are_refused_and_removed() {
    let (site, server) = start("sticker_bytes = 4096").await;
    let port = server.port;
    let mut ann = server.sign_in("ann").await;
    let code = "{\"v\":\"5.7.0\",\"fr\":30,\"ip\":0,\"op\":30,\"w\":64,\"h\":64,\"layers\":[{\"ty\":4,\"ks\":{\"p\":{\"k\":1,\"x\":\"alert()\"}}}]}";
    for (metadata, bytes, flaw) in [
        (PNG, &b"<html><script>alert()</script></html>"[..], "unknown_format"),
        (PNG, &PIXEL[..PIXEL.len() - 1], "damaged"),
        (LOTTIE, PIXEL, "bad_media_type"),
        (LOTTIE, code.as_bytes(), "unsafe"),
    ] {
        let blob = upload(port, "ann", metadata, bytes).await;
        assert_eq!(
            inspected(&mut ann, &blob).await,
            json!({"blob": blob, "state": "refused", "flaw": flaw})
        );
        let path = format!("/v1/blobs/stickers/{blob}");
        assert_eq!(ask(port, "ann", "GET", &path, "", b"").await.status, 404);
    }
    let large = try_upload(port, "ann", PNG, &[0; 4_097]).await;
    assert_eq!(large.status, 403);
    assert!(String::from_utf8_lossy(&large.body).contains("stickers.limit_sticker_bytes"));
    // `text/html`
    assert_eq!(
        try_upload(port, "ann", "filetype dGV4dC9odG1s", PIXEL).await.status,
        403
    );
    assert_eq!(try_upload(port, "", PNG, PIXEL).await.status, 401);
    let status = site.operate("GET", "/v1/plugins/stickers").await.json()["plugin"].clone();
    let hooks = status["hooks"].as_array().unwrap();
    assert!(hooks.iter().all(|hook| hook["failures"] == json!([])), "{status}");
    server.stop().await;
}

#[tokio::test]
async fn an_inspection_pending_at_a_kill_runs_after_it() {
    let (site, server) = start("").await;
    let blob = upload(server.port, "ann", PNG, PIXEL).await;
    server.kill().await;
    let server = site.start().await;
    let mut ann = server.sign_in("ann").await;
    let begun = Instant::now();
    while done(&mut ann, "upload", json!({"blob": blob})).await["state"] != "ready" {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_pack_of_a_thousand_is_imported_paged_searched_and_removed() {
    let (site, server) = start("admins = [\"ann\"]").await;
    let port = server.port;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let uploads: Vec<_> = (0..10)
        .map(|_| {
            tokio::spawn(async move {
                let mut blobs = Vec::new();
                for _ in 0..100 {
                    blobs.push(upload(port, "ann", PNG, PIXEL).await);
                }
                blobs
            })
        })
        .collect();
    let mut pack = Value::Null;
    for (part, uploaded) in uploads.into_iter().enumerate() {
        let blobs = uploaded.await.unwrap();
        let name = |number: usize| format!("dot-{:04}", part * 100 + number);
        let images: serde_json::Map<String, Value> = (0..100)
            .map(|number| {
                // Two of the batches have the maximum of words.
                let words = if part % 5 == 4 { 10 } else { 1 };
                let keywords: Vec<String> = (0..words).map(|word| format!("k{word} and l{word}")).collect();
                let body = format!("a dot of many ⚫ n{part}");
                let image =
                    json!({"url": format!("{number}.png"), "body": body, "keywords": keywords, "emoji": ["😀", "😁"]});
                (name(number), image)
            })
            .collect();
        let index = json!({"pack": {"display_name": "Many", "attribution": "Ann"}, "images": images}).to_string();
        let files: Vec<Value> = blobs
            .iter()
            .enumerate()
            .map(|(number, blob)| json!({"file": format!("{number}.png"), "blob": blob}))
            .collect();
        let folder = json!({"index": index, "files": files, "pack": pack});
        let begun = Instant::now();
        loop {
            let answer = call(&mut ann, "import", folder.clone()).await;
            // While images are being inspected, the read records change all the time.
            if answer["code"] != "stickers.busy" && answer["code"] != "conflict" {
                assert_eq!(answer["value"]["count"], (part + 1) * 100, "{answer}");
                pack = answer["value"]["pack"].clone();
                break;
            }
            assert!(begun.elapsed().as_secs() < 60);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let pack = pack.as_str().unwrap().to_owned();
    let more = upload(port, "ann", PNG, PIXEL).await;
    inspected(&mut ann, &more).await;
    assert_eq!(
        call(&mut ann, "add_sticker", json!({"pack": pack, "blob": more})).await["code"],
        "stickers.limit_stickers"
    );

    let mut seen = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = done(
            &mut bob,
            "stickers",
            json!({"pack": pack, "after": after, "limit": 150}),
        )
        .await;
        let page_ids = page["stickers"].as_array().unwrap().iter();
        seen.extend(page_ids.map(|sticker| sticker["sticker"].as_str().unwrap().to_owned()));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    let wanted: Vec<String> = (0..1_000).map(|number| format!("dot-{number:04}")).collect();
    assert_eq!(seen, wanted);
    assert_eq!(bob.request(message("b1", &pack, "dot-0999")).await["type"], "ack");

    let last = done(
        &mut bob,
        "resolve",
        json!({"stickers": [{"pack": pack, "sticker": "dot-0999"}]}),
    )
    .await;
    let last = last["stickers"][0]["url"].as_str().unwrap().to_owned();

    // The job indexes all of them for search.
    let begun = Instant::now();
    loop {
        let mut found = 0;
        let mut after = Value::Null;
        loop {
            let page = done(&mut bob, "search", json!({"query": "⚫", "after": after, "limit": 200})).await;
            found += page["stickers"].as_array().unwrap().len();
            after = page["next"].clone();
            if after.is_null() {
                break;
            }
        }
        if found == 1_000 {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    done(&mut ann, "delete_pack", json!({"pack": pack})).await;
    let begun = Instant::now();
    while ask(port, "ann", "GET", &last, "", b"").await.status != 404 {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = done(&mut bob, "search", json!({"query": "dot"})).await;
    assert_eq!(found["stickers"], json!([]));
    let status = site.operate("GET", "/v1/plugins/stickers").await.json()["plugin"].clone();
    let hooks = status["hooks"].as_array().unwrap();
    assert!(hooks.iter().all(|hook| hook["failures"] == json!([])), "{status}");
    server.stop().await;
}
