//! What users and apps may take up.

use super::*;

fn usage(host: &TestHost<FilesPlugin>, actor: &str) -> (u64, u64) {
    let usage = call(host, actor, "usage", json!({})).unwrap();
    (usage["bytes"].as_u64().unwrap(), usage["files"].as_u64().unwrap())
}

#[test]
fn a_user_has_so_much_room_and_gets_it_back() {
    let host = host(json!({"user_bytes": 10}));
    let first = upload(&host, "ann", b"123456").unwrap();
    assert_eq!(code(upload(&host, "ann", b"12345")), "quota");
    assert_eq!(
        call(&host, "ann", "usage", json!({})).unwrap(),
        json!({"bytes": 6, "bytes_limit": 10, "files": 1})
    );
    // It is nobody else's room.
    upload(&host, "bob", b"1234567890").unwrap();
    call(&host, "ann", "delete", json!({"blob": first})).unwrap();
    assert_eq!(usage(&host, "ann"), (0, 0));
    upload(&host, "ann", b"1234567890").unwrap();
}

#[test]
fn what_was_broken_off_counts_until_its_room_is_needed_or_its_time_is_over() {
    let host = host(json!({"user_bytes": 10}));
    let break_off = || {
        host.set_members(CONVERSATION, &[]);
        assert_eq!(code(upload(&host, "ann", b"123456")), "not_a_member");
        host.set_members(CONVERSATION, &["ann"]);
    };
    break_off();
    assert_eq!(usage(&host, "ann"), (6, 0));
    upload(&host, "ann", b"1234").unwrap();
    assert_eq!(usage(&host, "ann"), (10, 1));
    upload(&host, "ann", b"56").unwrap();
    assert_eq!(usage(&host, "ann"), (6, 2));

    call(&host, "ann", "own", json!({})).unwrap();
    host.set_clock(1_000_000 + 24 * 3_600_000);
    host.run_jobs().unwrap();
    assert_eq!(usage(&host, "ann"), (0, 0));
    break_off();
    host.set_clock(1_000_000 + 48 * 3_600_000);
    host.run_jobs().unwrap();
    assert_eq!(usage(&host, "ann"), (0, 0));
}

#[test]
fn so_many_uploads_are_under_way_at_a_time() {
    let host = host(json!({"user_uploads": 2}));
    // A blob that another upload made stays behind as one that is under way.
    host.run(|cx| {
        for blob in ["a", "b"] {
            let upload = crate::upload::Upload {
                blob: blob.to_owned(),
                uploader: "ann".to_owned(),
                bytes: 0,
            };
            cx.table().insert(&upload)?;
        }
        Ok(())
    })
    .unwrap();
    // Neither is there any more, which is found out when it matters.
    upload(&host, "ann", b"1").unwrap();
    assert_eq!(usage(&host, "ann"), (1, 1));
}

#[test]
fn an_app_has_so_much_room_over_all_users() {
    let host = host(json!({"app_bytes": 10}));
    let blob = upload(&host, "ann", b"12345678").unwrap();
    let later = |ms: u64| {
        host.set_clock(1_000_000 + ms);
        host.run_jobs().unwrap();
    };
    // It is counted in a moment.
    later(1_000);
    assert_eq!(code(upload(&host, "bob", b"123")), "quota");
    upload(&host, "bob", b"12").unwrap();
    later(2_000);
    assert_eq!(code(upload(&host, "bob", b"1")), "quota");
    call(&host, "ann", "delete", json!({"blob": blob})).unwrap();
    later(3_000);
    upload(&host, "bob", b"12345678").unwrap();
}
