//! Messages with files: the guard, late previews, and recalls.

use super::*;

#[test]
fn stored_values_replace_the_senders_claims() {
    let host = host(json!({"thumbnail_side": 32}));
    let blob = upload_as(&host, "ann", "a.png", "image/png", &samples::png(64, 32)).unwrap();
    host.run_jobs().unwrap();
    let said = json!({
        "blob": blob, "name": "../b.exe", "media_type": "text/html", "size": 7, "width": 1, "thumbnail": "mine",
        "caption": "Look!", "duration_ms": 1.50, "text": null
    });
    let sent = send(&host, message("ann", "image", said, 1)).unwrap();
    // This picture is larger than a thumbnail, so it has one.
    let thumbnail = sent["thumbnail"].as_str().unwrap().to_owned();
    let size = samples::png(64, 32).len();
    assert_eq!(
        sent,
        json!({
            "blob": blob, "name": "a.png", "media_type": "image/png", "size": size, "width": 64, "height": 32,
            "thumbnail": thumbnail, "thumbnail_width": 32, "thumbnail_height": 16,
            "caption": "Look!", "duration_ms": 1.5, "text": null
        })
    );
    // Correct content is accepted unchanged.
    let again = message("ann", "image", sent, 2);
    assert_eq!(host.before_send(&again), Verdict::Accept);
    assert!(host.annotation(CONVERSATION, 1, "preview").is_none());
}

#[test]
fn unknown_values_are_left_out() {
    let host = host(json!({}));
    let blob = upload_as(&host, "ann", "", "", b"film").unwrap();
    let said = json!({"blob": blob, "name": "a", "media_type": "b", "width": 4, "height": 3, "thumbnail_width": 2});
    let as_file = send(&host, message("ann", "file", said.clone(), 1)).unwrap();
    assert_eq!(as_file, json!({"blob": blob, "size": 4}));
    // Videos aren't inspected.
    let as_video = send(&host, message("ann", "video", said, 2)).unwrap();
    assert_eq!(as_video, json!({"blob": blob, "size": 4, "width": 4, "height": 3}));
}

#[test]
fn missing_foreign_and_unreadable_files_are_rejected() {
    let host = host(json!({}));
    let blob = upload(&host, "ann", b"text").unwrap();
    let refused = |kind: &str, blob: &str| send(&host, message("ann", kind, json!({"blob": blob}), 1)).unwrap_err();
    assert_eq!(refused("file", "none"), "unknown_file");
    assert_eq!(refused("image", &blob), "invalid_image");
    let elsewhere = TestMessage {
        conversation: OTHER.to_owned(),
        ..message("ann", "file", json!({"blob": blob}), 1)
    };
    assert_eq!(send(&host, elsewhere).unwrap_err(), "invalid_conversation");
    let broken = upload_as(&host, "ann", "a.png", "image/png", b"no image").unwrap();
    assert!(send(&host, message("ann", "image", json!({"blob": broken}), 1)).is_ok());
    host.run_jobs().unwrap();
    assert_eq!(refused("image", &broken), "invalid_image");
    assert!(send(&host, message("ann", "file", json!({"blob": broken}), 2)).is_ok());
    call(&host, "ann", "delete", json!({"blob": blob})).unwrap();
    assert_eq!(refused("file", &blob), "unknown_file");
}

#[test]
fn a_message_sent_before_the_inspection_is_annotated_after_it() {
    let host = host(json!({"thumbnail_side": 32}));
    let blob = upload_as(&host, "ann", "a.png", "image/png", &samples::png(64, 32)).unwrap();
    let broken = upload_as(&host, "ann", "b.png", "image/png", b"no image").unwrap();
    send(&host, message("ann", "image", json!({"blob": blob}), 1)).unwrap();
    send(&host, message("ann", "image", json!({"blob": broken}), 2)).unwrap();
    // This message is committed, but observed only after the inspection.
    let late = message("ann", "image", json!({"blob": blob}), 3);
    assert!(matches!(host.before_send(&late), Verdict::Replace(_)));
    host.run_jobs().unwrap();
    let preview = host.annotation(CONVERSATION, 1, "preview").unwrap();
    assert_eq!(
        (&preview["width"], &preview["thumbnail_height"]),
        (&json!(64), &json!(16))
    );
    assert_eq!(
        host.annotation(CONVERSATION, 2, "preview"),
        Some(json!({"state": "unreadable"}))
    );
    assert_eq!(host.annotation(CONVERSATION, 3, "preview"), None);
    host.after_send(&late).unwrap();
    assert_eq!(host.annotation(CONVERSATION, 3, "preview"), Some(preview));
}

#[test]
fn a_recall_removes_a_file_that_no_other_message_shows() {
    let host = host(json!({}));
    let blob = upload(&host, "ann", b"hello").unwrap();
    for seq in [1, 2] {
        send(&host, message("ann", "file", json!({"blob": blob}), seq)).unwrap();
    }
    recall(&host, 1);
    assert_eq!(host.blobs().len(), 1);
    // A committed message that wasn't observed yet keeps the file as well.
    let third = message("bob", "file", json!({"blob": blob}), 3);
    assert!(!matches!(host.before_send(&third), Verdict::Reject(_)));
    recall(&host, 2);
    assert_eq!(host.blobs().len(), 1);
    host.after_send(&third).unwrap();
    recall(&host, 3);
    assert_eq!(host.blobs().len(), 0);
    assert_eq!(code(state(&host, &blob)), "unknown_file");
}

#[test]
fn an_edit_that_shows_another_file_removes_the_first_one() {
    let host = host(json!({}));
    let (first, second) = (upload(&host, "ann", b"1").unwrap(), upload(&host, "ann", b"2").unwrap());
    send(&host, message("ann", "file", json!({"blob": first}), 1)).unwrap();
    let edit = |blob: &str, seq: u64| TestMessage {
        edits: 1,
        ..message("ann", "file", json!({"blob": blob, "caption": "now"}), seq)
    };
    send(&host, edit(&first, 2)).unwrap();
    assert_eq!(host.blobs().len(), 2);
    send(&host, edit(&second, 3)).unwrap();
    assert_eq!(host.blobs().into_keys().collect::<Vec<_>>(), [second]);
    recall(&host, 1);
    assert_eq!(host.blobs().len(), 0);
}

#[test]
fn members_list_the_files_of_a_conversation_newest_first() {
    let host = host(json!({}));
    let blobs: Vec<String> = (0..3).map(|_| upload(&host, "ann", b"a").unwrap()).collect();
    upload(&host, "ann", b"unsent").unwrap();
    for (seq, blob) in (1..).zip(&blobs) {
        send(&host, message("ann", "file", json!({"blob": blob}), seq)).unwrap();
    }
    call(&host, "ann", "delete", json!({"blob": blobs[1]})).unwrap();
    let shared = |actor: &str, after: Value| {
        let params = json!({"conversation": CONVERSATION, "after": after, "limit": 1});
        call(&host, actor, "shared", params)
    };
    let first = shared("bob", Value::Null).unwrap();
    assert_eq!(
        (&first["files"][0]["blob"], &first["files"][0]["seq"]),
        (&json!(blobs[2]), &json!(3))
    );
    let second = shared("bob", first["next"].clone()).unwrap();
    assert_eq!(second["files"][0]["blob"], json!(blobs[0]));
    assert_eq!((&second["files"][1], &second["next"]), (&Value::Null, &Value::Null));
    assert_eq!(code(shared("eve", Value::Null)), "forbidden");
}

#[test]
fn many_attachments_of_a_file_are_removed_in_batches() {
    let host = host(json!({}));
    let blob = upload(&host, "ann", b"a").unwrap();
    for seq in 1..=450 {
        send(&host, message("ann", "file", json!({"blob": blob}), seq)).unwrap();
    }
    call(&host, "ann", "delete", json!({"blob": blob})).unwrap();
    host.run_jobs().unwrap();
    let left = host.run(|cx| Ok(cx.table::<Attachment>().scan((&*blob,)).count(1)?));
    assert_eq!(left.unwrap(), 0);
}
