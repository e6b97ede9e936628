//! Uploads: limits, access, inspection and removal.

use super::*;

const HOUR_MS: u64 = 3_600_000;

#[test]
fn uploads_are_checked_for_conversation_membership_size_and_type() {
    let host = host(json!({"file_bytes": 10, "deny_media_types": ["video/*", "text/HTML"]}));
    let refused = |conversation, media_type: &str, bytes: &[u8]| {
        code(host.upload(&caller("ann"), "a", media_type, conversation, bytes))
    };
    let member = Some((CONVERSATION, true));
    assert_eq!(refused(None, "", b"a"), "invalid_conversation");
    assert_eq!(refused(Some((CONVERSATION, false)), "", b"a"), "forbidden");
    assert_eq!(refused(member, "", &[0; 11]), "limit_file_bytes");
    assert_eq!(refused(member, "video/mp4", b"a"), "invalid_media_type");
    assert_eq!(refused(member, "Text/html; charset=utf-8", b"a"), "invalid_media_type");
    // The uploader left during the upload.
    host.set_members(CONVERSATION, &["bob"]);
    assert_eq!(refused(member, "text/plain", b"a"), "forbidden");
    assert_eq!(host.blobs().len(), 0);
}

#[test]
fn an_empty_media_type_can_be_denied() {
    let host = host(json!({"deny_media_types": ["application/octet-stream"]}));
    assert_eq!(code(upload_as(&host, "ann", "a", "", b"a")), "invalid_media_type");
    assert!(upload_as(&host, "ann", "a", "text/plain", b"a").is_ok());
}

#[test]
fn only_members_and_the_uploader_read_a_file() {
    let host = host(json!({}));
    let blob = upload(&host, "ann", b"hello").unwrap();
    let file = call(&host, "bob", "file", json!({"blob": blob})).unwrap();
    assert_eq!(
        file,
        json!({
            "blob": blob, "name": "a.txt", "media_type": "text/plain", "size": 5, "uploader": "ann",
            "conversation": CONVERSATION, "created_ms": 1_000_000, "state": "plain", "width": null, "height": null,
            "thumbnail": null, "thumbnail_width": null, "thumbnail_height": null, "seq": null
        })
    );
    assert_eq!(code(call(&host, "eve", "file", json!({"blob": blob}))), "unknown_file");
    assert_eq!(
        code(call(&host, "ann", "file", json!({"blob": "none"}))),
        "unknown_file"
    );
    assert_eq!(host.download(&caller("bob"), &blob, true).unwrap(), b"hello");
    assert_eq!(code(host.download(&caller("bob"), &blob, false)), "forbidden");
    assert_eq!(code(host.download(&caller(""), &blob, false)), "forbidden");
    assert_eq!(host.download(&caller("ann"), &blob, false).unwrap(), b"hello");
}

#[test]
fn a_thumbnail_has_the_access_rules_of_its_image() {
    let host = host(json!({"thumbnail_side": 64}));
    let blob = upload_as(&host, "ann", "a.png", "image/png", &samples::png(300, 100)).unwrap();
    assert_eq!(state(&host, &blob).unwrap(), "checking");
    host.run_jobs().unwrap();
    let file = call(&host, "ann", "file", json!({"blob": blob})).unwrap();
    assert_eq!((&file["state"], &file["width"]), (&json!("ready"), &json!(300)));
    assert_eq!(
        (&file["thumbnail_width"], &file["thumbnail_height"]),
        (&json!(64), &json!(21))
    );
    let thumbnail = file["thumbnail"].as_str().unwrap();
    let signal = host.take_signals().remove(0);
    assert_eq!((&*signal.name, signal.actors), ("inspected", vec!["ann".to_owned()]));
    assert_eq!(
        signal.payload,
        json!({
            "blob": blob, "state": "ready", "width": 300, "height": 100, "thumbnail": thumbnail,
            "thumbnail_width": 64, "thumbnail_height": 21
        })
    );
    assert!(host.download(&caller("ann"), thumbnail, false).is_ok());
    assert_eq!(code(host.download(&caller("bob"), thumbnail, false)), "forbidden");
    assert_eq!(code(host.remove_blob(&caller("ann"), thumbnail)), "unknown_file");
    host.remove_blob(&caller("ann"), &blob).unwrap();
    assert_eq!(host.blobs().len(), 0);
    assert_eq!(code(state(&host, &blob)), "unknown_file");
}

#[test]
fn an_unreadable_image_is_kept() {
    let host = host(json!({}));
    let blob = upload_as(&host, "ann", "a.png", "image/png", b"<html>").unwrap();
    host.run_jobs().unwrap();
    assert_eq!(state(&host, &blob).unwrap(), "unreadable");
    assert_eq!(
        host.take_signals().remove(0).payload,
        json!({"blob": blob, "state": "unreadable"})
    );
    assert_eq!(host.download(&caller("bob"), &blob, true).unwrap(), b"<html>");
}

#[test]
fn only_the_uploader_deletes() {
    let host = host(json!({}));
    let blob = upload(&host, "ann", b"hello").unwrap();
    let which = json!({"blob": blob});
    assert_eq!(code(call(&host, "bob", "delete", which.clone())), "forbidden");
    assert_eq!(code(call(&host, "eve", "delete", which.clone())), "unknown_file");
    assert_eq!(code(host.remove_blob(&caller("bob"), &blob)), "forbidden");
    assert_eq!(call(&host, "ann", "delete", which.clone()).unwrap(), json!({}));
    assert_eq!(code(call(&host, "ann", "delete", which)), "unknown_file");
    assert_eq!(host.blobs().len(), 0);
}

#[test]
fn own_files_are_listed_newest_first_in_pages() {
    let host = host(json!({}));
    let mut blobs: Vec<String> = (0..5).map(|_| upload(&host, "ann", b"a").unwrap()).collect();
    upload(&host, "bob", b"b").unwrap();
    blobs.reverse();
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = call(&host, "ann", "own", json!({"after": after, "limit": 2})).unwrap();
        let files = page["files"].as_array().unwrap();
        seen.extend(files.iter().map(|file| file["blob"].as_str().unwrap().to_owned()));
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(seen, blobs);
}

#[test]
fn unsent_files_are_removed_after_their_time() {
    let host = host(json!({"unsent_hours": 2}));
    let unsent = upload_as(&host, "ann", "a.png", "image/png", &samples::png(900, 900)).unwrap();
    let sent = upload(&host, "ann", b"sent").unwrap();
    send(&host, message("ann", "file", json!({"blob": sent}), 1)).unwrap();
    host.run_jobs().unwrap();
    host.set_clock(1_000_000 + HOUR_MS);
    host.run_jobs().unwrap();
    assert_eq!(host.blobs().len(), 3);
    host.set_clock(1_000_000 + 2 * HOUR_MS);
    host.run_jobs().unwrap();
    assert_eq!(host.blobs().into_keys().collect::<Vec<_>>(), [sent]);
    assert_eq!(code(state(&host, &unsent)), "unknown_file");
}
