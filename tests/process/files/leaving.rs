//! Access to files while members join and leave.

use super::*;

/// A conversation of the clerk plugin, which changes its members.
async fn with_clerk() -> (Site, Server) {
    let (clerk, files) = (plugin("clerk"), plugin("files"));
    let site = Site::new(&format!(
        "[[plugins]]\nid = \"clerk\"\npath = {clerk:?}\ngrant = [\"kv\", \"conversations\", \"memberships\", \
         \"sessions\", \"methods\", \"timers\", \"annotations\", \"events\", \"secrets\"]\n\
         [[plugins]]\nid = \"files\"\npath = {files:?}\n\
         grant = [\"kv\", \"jobs\", \"blobs\", \"sessions\", \"annotations\", \"memberships\"]\n\
         [plugins.limits]\n"
    ));
    let server = site.start().await;
    (site, server)
}

async fn clerk(client: &mut Client, method: &str, params: Value) -> Value {
    let frame = json!({"type": "call", "id": "clerk", "method": format!("clerk.{method}"), "params": params});
    let answer = client.request(frame).await;
    assert_eq!(answer["type"], "result", "{answer}");
    answer["value"].clone()
}

#[tokio::test]
async fn leaving_ends_read_access_and_rejoining_restores_it() {
    let (site, server) = with_clerk().await;
    let port = server.port;
    let (mut ann, mut bob) = (server.sign_in("ann").await, server.sign_in("bob").await);
    let room = clerk(&mut ann, "open", json!({"address": "a", "members": ["ann", "bob"]})).await;
    let room = room["conversation"].as_str().unwrap().to_owned();
    let change = |join: &[&str], leave: &[&str]| json!({"conversation": room, "join": join, "leave": leave});
    let image = images::png(600, 300);
    let blob = upload(port, "ann", &about("a.png", "image/png", &room), &image).await;
    let theirs = upload(port, "bob", &about("b.txt", "text/plain", &room), b"mine").await;
    let file = inspected(&mut ann, &blob).await;
    let thumbnail = file["thumbnail"].as_str().unwrap();
    for place in [&*blob, thumbnail, &*theirs] {
        assert_eq!(read(port, "bob", place).await.status, 200);
    }
    // An upload started while he was a member.
    let begun = tus::begin(port, "files", "bob", 5, &about("c.txt", "text/plain", &room)).await;
    let late = begun.header("location").unwrap().to_owned();

    clerk(&mut ann, "change", change(&[], &["bob"])).await;
    for place in [&*blob, thumbnail] {
        let refused = read(port, "bob", place).await;
        assert_eq!((refused.status, &*refused.code()), (403, "files.forbidden"));
    }
    let tag = format!("if-none-match: \"{blob}\"\r\n");
    assert_eq!(ask(port, "bob", "GET", &path(&blob), &tag, b"").await.status, 403);
    let part = ask(port, "bob", "GET", &path(&blob), "range: bytes=0-9\r\n", b"").await;
    assert_eq!(part.status, 403);
    let which = json!({"blob": blob});
    assert_eq!(
        call(&mut bob, "file", which.clone()).await["code"],
        "files.unknown_file"
    );
    let here = json!({"conversation": room});
    assert_eq!(call(&mut bob, "shared", here.clone()).await["code"], "files.forbidden");
    let new = tus::upload(port, "files", "bob", &about("d", "", &room), b"d").await;
    assert_eq!(new.code(), "files.forbidden");
    let end = patch(port, "bob", &late, 0, "", b"hello").await;
    assert_eq!((end.status, &*end.code()), (403, "files.forbidden"));
    assert_eq!(ask(port, "bob", "HEAD", &late, TUS, b"").await.status, 404);
    // He can still read and delete his own upload.
    assert_eq!(read(port, "bob", &theirs).await.body, b"mine");
    assert_eq!(done(&mut bob, "delete", json!({"blob": theirs})).await, json!({}));

    clerk(&mut ann, "change", change(&["bob"], &[])).await;
    assert!(read(port, "bob", &blob).await.body == image);
    assert_eq!(read(port, "bob", thumbnail).await.status, 200);
    assert_eq!(done(&mut bob, "file", which).await["state"], "ready");
    never_failed(&site).await;
    server.stop().await;
}
