//! Mentions, announcements, pins and notification rules.

use super::*;

fn mentioning<'a>(group: &'a str, sender: &'a str, seq: u64, content: Value) -> TestSend<'a> {
    TestSend {
        content,
        seq,
        ..text(group, sender)
    }
}

fn unread(host: &Host, actor: &str, group: &str) -> Vec<u64> {
    let list = done(host, actor, "mentions", json!({"group": group}));
    let seqs = list["mentions"].as_array().unwrap().iter();
    seqs.map(|mention| mention["seq"].as_u64().unwrap()).collect()
}

#[test]
fn mentions_wait_until_they_are_cleared() {
    let host = host();
    let (group, settings) = (club(&host), json!({}));
    let both = json!({"text": "x", "mentions": ["bob", "cleo", "abe"]});
    mentioning(&group, "abe", 3, both.clone()).record(&host, &settings);
    mentioning(&group, "abe", 3, both).record(&host, &settings);
    mentioning(&group, "ann", 5, json!({"text": "x", "mention_all": true})).record(&host, &settings);
    let edit = TestSend {
        edits: 4,
        ..mentioning(&group, "abe", 6, json!({"text": "x", "mentions": ["bob"]}))
    };
    edit.record(&host, &settings);
    assert_eq!(unread(&host, "bob", &group), [3, 4, 5]);
    assert_eq!(
        unread(&host, "abe", &group),
        [5],
        "a sender isn't mentioned by their own message"
    );
    assert_eq!(unread(&host, "ann", &group), [0; 0]);
    let counts = done(&host, "bob", "unread_mentions", json!({}));
    assert_eq!(counts["groups"], json!([{"group": group, "mentions": 3}]));
    let page = done(&host, "bob", "mentions", json!({"group": group, "limit": 2}));
    assert_eq!(page["next"], 4);
    let rest = done(
        &host,
        "bob",
        "mentions",
        json!({"group": group, "limit": 2, "after": 4}),
    );
    assert_eq!(
        (&rest["mentions"][0]["all"], &rest["next"]),
        (&json!(true), &Value::Null)
    );
    done(&host, "bob", "clear_mentions", json!({"group": group, "up_to": 4}));
    assert_eq!(unread(&host, "bob", &group), [5]);
    done(&host, "bob", "clear_mentions", json!({"group": group, "up_to": 5}));
    assert_eq!(unread(&host, "bob", &group), [0; 0]);
    assert_eq!(unread(&host, "cleo", &group), [3, 5]);
    // A new member has no mentions from before they joined.
    host.set_clock(1_000_001);
    done(&host, "dan", "join", json!({"group": group}));
    assert_eq!(unread(&host, "dan", &group), [0; 0]);
    done(
        &host,
        "bob",
        "clear_mentions",
        json!({"group": group, "up_to": u64::MAX}),
    );
    assert_eq!(unread(&host, "bob", &group), [0; 0]);
}

#[test]
fn only_the_newest_mentions_are_stored() {
    let (host, settings) = (host(), json!({"unread_mentions": 2}));
    let group = club(&host);
    for seq in 1..=4 {
        mentioning(&group, "ann", seq, json!({"text": "x", "mentions": ["bob"]})).record(&host, &settings);
    }
    assert_eq!(unread(&host, "bob", &group), [3, 4]);
    for seq in 11..=120 {
        mentioning(&group, "ann", seq, json!({"text": "x", "mention_all": true})).record(&host, &settings);
    }
    let of_all = host.run(|cx| Ok(cx.table::<crate::mention::MentionOfAll>().all().count(1_000)?));
    assert_eq!(of_all, Ok(100));
}

#[test]
fn only_members_can_be_mentioned_and_everybody_only_with_the_permission() {
    let (host, group) = club_host();
    let check = |sender: &str, content: Value| mentioning(&group, sender, 0, content).check(&host);
    assert_eq!(check("bob", json!({"text": "x", "mentions": ["cleo", "ann"]})), Ok(()));
    assert_eq!(
        check("bob", json!({"text": "x", "mentions": ["dan"]})),
        rejected("invalid_mentions")
    );
    assert_eq!(
        check("bob", json!({"text": "x", "mentions": "cleo"})),
        rejected("invalid_mentions")
    );
    assert_eq!(
        check("bob", json!({"text": "x", "mention_all": "yes"})),
        rejected("invalid_mentions")
    );
    let many: Vec<String> = (0..51).map(|number| number.to_string()).collect();
    assert_eq!(
        check("bob", json!({"text": "x", "mentions": many})),
        rejected("invalid_mentions")
    );
    assert_eq!(
        check("bob", json!({"text": "x", "mention_all": true})),
        rejected("no_permission")
    );
    assert_eq!(check("bob", json!({"text": "x", "mention_all": false})), Ok(()));
    assert_eq!(check("abe", json!({"text": "x", "mention_all": true})), Ok(()));
}

#[test]
fn an_announcement_is_posted_and_lists_who_has_seen_it() {
    let (host, group) = club_host();
    let announce = |actor: &str, text: &str| call(&host, actor, "announce", json!({"group": group, "text": text}));
    assert_eq!(announce("bob", "Hear").unwrap_err().reason(), "no_permission");
    assert_eq!(announce("abe", " ").unwrap_err().reason(), "invalid_text");
    assert_eq!(announce("abe", "Hear").unwrap()["announcement"], 1);
    let posted = host.messages(&group).pop().unwrap();
    assert_eq!((&*posted.kind, &*posted.sender), ("custom:announcement", "abe"));
    let which = json!({"group": group, "announcement": 1});
    for actor in ["bob", "ann", "bob"] {
        done(&host, actor, "mark_seen", which.clone());
    }
    assert_eq!(code(&host, "dan", "mark_seen", which.clone()), "not_a_member");
    assert_eq!(code(&host, "bob", "seen", which.clone()), "no_permission");
    let seen = done(&host, "abe", "seen", which.clone());
    let readers: Vec<&Value> = seen["readers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reader| &reader["actor"])
        .collect();
    assert_eq!(readers, ["ann", "bob"]);
    let (mut missing, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = done(
            &host,
            "abe",
            "unseen",
            json!({"group": group, "announcement": 1, "limit": 1, "after": after}),
        );
        missing.extend(page["actors"].as_array().unwrap().clone());
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(missing, ["abe", "cleo"]);
    let list = done(&host, "bob", "announcements", json!({"group": group}));
    assert_eq!(
        (&list["announcements"][0]["text"], &list["announcements"][0]["seen"]),
        (&json!("Hear"), &json!(true))
    );
    announce("ann", "Mine").unwrap();
    let of_ann = json!({"group": group, "announcement": 2});
    assert_eq!(code(&host, "abe", "remove_announcement", of_ann), "outranked");
    done(&host, "ann", "remove_announcement", which.clone());
    assert_eq!(code(&host, "bob", "mark_seen", which), "unknown_announcement");
}

#[test]
fn the_oldest_announcement_is_deleted_beyond_the_limit() {
    let host = host_with(&json!({"directory": "", "announcements": 2}));
    let group = club(&host);
    for text in ["one", "two", "three"] {
        done(&host, "ann", "announce", json!({"group": group, "text": text}));
    }
    let list = done(&host, "bob", "announcements", json!({"group": group}));
    let texts: Vec<&Value> = list["announcements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["text"])
        .collect();
    assert_eq!(texts, ["three", "two"]);
}

#[test]
fn pins_are_annotations_and_bounded() {
    let host = host_with(&json!({"directory": "", "pins": 1}));
    let group = club(&host);
    let pin = |actor: &str, seq: u64| call(&host, actor, "pin", json!({"group": group, "seq": seq}));
    // Message 1 is about the role, message 2 is this one.
    done(&host, "ann", "mute_all", json!({"group": group, "on": false}));
    assert_eq!(pin("bob", 1).unwrap_err().reason(), "no_permission");
    assert_eq!(pin("abe", 9).unwrap_err().reason(), "unknown_message");
    for _ in 0..2 {
        pin("abe", 1).unwrap();
    }
    assert_eq!(pin("abe", 2).unwrap_err().reason(), "limit_pins");
    assert_eq!(
        host.annotation(&group, 1, "pin"),
        Some(json!({"pinned": true, "by": "abe"}))
    );
    assert_eq!(done(&host, "bob", "pins", json!({"group": group}))["pins"][0]["seq"], 1);
    done(&host, "abe", "unpin", json!({"group": group, "seq": 1}));
    assert_eq!(
        host.annotation(&group, 1, "pin"),
        Some(json!({"pinned": false, "by": "abe"}))
    );
    assert_eq!(
        code(&host, "abe", "unpin", json!({"group": group, "seq": 1})),
        "unknown_pin"
    );
}

#[test]
fn plugins_read_the_notification_rules_of_members() {
    let (host, group) = club_host();
    done(
        &host,
        "bob",
        "set_notify",
        json!({"group": group, "notify": "mentions"}),
    );
    assert_eq!(
        code(&host, "bob", "set_notify", json!({"group": group, "notify": "some"})),
        "invalid_notify"
    );
    let params = json!({"group": group, "actors": ["bob", "cleo", "dan"]});
    assert_eq!(code(&host, "bob", "notify_rules", params.clone()), "not_a_plugin");
    let push = Caller {
        plugin: "push".to_owned(),
        ..caller("ann")
    };
    let rules = host.call(&push, "notify_rules", &params).unwrap();
    let wanted = json!([{"actor": "bob", "notify": "mentions"}, {"actor": "cleo", "notify": "all"}]);
    assert_eq!(rules["rules"], wanted);
}
