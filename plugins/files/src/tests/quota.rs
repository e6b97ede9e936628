//! Storage quotas of users and apps.

use super::*;

fn usage(host: &TestHost<FilesPlugin>, actor: &str) -> (u64, u64) {
    let usage = call(host, actor, "usage", json!({})).unwrap();
    (usage["bytes"].as_u64().unwrap(), usage["files"].as_u64().unwrap())
}

#[test]
fn deleting_a_file_frees_its_quota() {
    let host = host(json!({"user_bytes": 10}));
    let first = upload(&host, "ann", b"123456").unwrap();
    assert_eq!(code(upload(&host, "ann", b"12345")), "limit_storage");
    assert_eq!(
        call(&host, "ann", "usage", json!({})).unwrap(),
        json!({"bytes": 6, "bytes_limit": 10, "files": 1})
    );
    // Quotas are separate for each user.
    upload(&host, "bob", b"1234567890").unwrap();
    call(&host, "ann", "delete", json!({"blob": first})).unwrap();
    assert_eq!(usage(&host, "ann"), (0, 0));
    upload(&host, "ann", b"1234567890").unwrap();
}

#[test]
fn an_aborted_upload_counts_until_its_bytes_are_needed_or_it_expires() {
    let host = host(json!({"user_bytes": 10}));
    let abort = || {
        host.set_members(CONVERSATION, &[]);
        assert_eq!(code(upload(&host, "ann", b"123456")), "forbidden");
        host.set_members(CONVERSATION, &["ann"]);
    };
    abort();
    assert_eq!(usage(&host, "ann"), (6, 0));
    upload(&host, "ann", b"1234").unwrap();
    assert_eq!(usage(&host, "ann"), (10, 1));
    upload(&host, "ann", b"56").unwrap();
    assert_eq!(usage(&host, "ann"), (6, 2));

    call(&host, "ann", "own", json!({})).unwrap();
    host.set_clock(1_000_000 + 24 * 3_600_000);
    host.run_jobs().unwrap();
    assert_eq!(usage(&host, "ann"), (0, 0));
    abort();
    host.set_clock(1_000_000 + 48 * 3_600_000);
    host.run_jobs().unwrap();
    assert_eq!(usage(&host, "ann"), (0, 0));
}

#[test]
fn reservations_of_aborted_uploads_are_released_at_the_upload_limit() {
    let host = host(json!({"user_uploads": 2}));
    // Two reservations whose blobs don't exist any more.
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
    // They are released when the limit is reached.
    upload(&host, "ann", b"1").unwrap();
    assert_eq!(usage(&host, "ann"), (1, 1));
}

#[test]
fn the_quota_of_an_app_covers_all_users() {
    let host = host(json!({"app_bytes": 10}));
    let blob = upload(&host, "ann", b"12345678").unwrap();
    let later = |ms: u64| {
        host.set_clock(1_000_000 + ms);
        host.run_jobs().unwrap();
    };
    // The sum follows a second later.
    later(1_000);
    assert_eq!(code(upload(&host, "bob", b"123")), "limit_storage");
    upload(&host, "bob", b"12").unwrap();
    later(2_000);
    assert_eq!(code(upload(&host, "bob", b"1")), "limit_storage");
    call(&host, "ann", "delete", json!({"blob": blob})).unwrap();
    later(3_000);
    upload(&host, "bob", b"12345678").unwrap();
}
