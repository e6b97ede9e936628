//! Mutes, slow mode, permissions of contents, recalls.

use super::*;

#[test]
fn a_muted_member_can_only_take_back_until_the_mute_ends() {
    let (host, group) = club_host();
    let mute = json!({"group": group, "actor": "bob", "seconds": 60});
    assert_eq!(code(&host, "cleo", "mute", mute.clone()), "no_permission");
    assert_eq!(
        code(&host, "abe", "mute", json!({"group": group, "actor": "ann"})),
        "outranked"
    );
    done(&host, "abe", "mute", mute);
    let bob = text(&group, "bob");
    assert_eq!(bob.check(&host), rejected("muted"));
    let edit = TestSend {
        edits: 1,
        ..text(&group, "bob")
    };
    assert_eq!(edit.check(&host), rejected("muted"));
    assert_eq!(act(&host, &group, "react", "bob", "ann"), rejected("muted"));
    assert_eq!(
        act(&host, &group, "recall", "bob", "bob"),
        Ok(()),
        "recalling one's own messages stays allowed"
    );
    assert_eq!(act(&host, &group, "unreact", "bob", "ann"), Ok(()));
    assert_eq!(act(&host, &group, "something_new", "bob", "ann"), rejected("muted"));
    assert_eq!(text(&group, "cleo").check(&host), Ok(()));
    host.set_clock(1_060_000);
    assert_eq!(bob.check(&host), Ok(()), "before the timer fires");
    host.fire_timers().unwrap();
    assert_eq!(
        done(&host, "bob", "membership", json!({"group": group}))["muted_until_ms"],
        0
    );
    // A longer mute is not ended by the timer of a shorter one.
    for seconds in [60, 600] {
        done(
            &host,
            "abe",
            "mute",
            json!({"group": group, "actor": "bob", "seconds": seconds}),
        );
    }
    host.set_clock(1_060_000 + 60_000);
    host.fire_timers().unwrap();
    assert_eq!(bob.check(&host), rejected("muted"));
    done(&host, "abe", "unmute", json!({"group": group, "actor": "bob"}));
    assert_eq!(bob.check(&host), Ok(()));
}

#[test]
fn restrictions_survive_leaving_and_joining_again() {
    let (host, group) = club_host();
    done(
        &host,
        "abe",
        "mute",
        json!({"group": group, "actor": "bob", "seconds": 60}),
    );
    done(&host, "bob", "leave", json!({"group": group}));
    done(&host, "bob", "join", json!({"group": group}));
    assert_eq!(text(&group, "bob").check(&host), rejected("muted"));
    host.set_clock(1_060_000);
    host.fire_timers().unwrap();
    assert_eq!(
        done(&host, "bob", "membership", json!({"group": group}))["muted_until_ms"],
        0
    );
    let deny = json!({"group": group, "actor": "bob", "allow": ["pin"], "deny": ["send"]});
    done(&host, "ann", "set_overrides", deny);
    done(
        &host,
        "ann",
        "set_role",
        json!({"group": group, "actor": "bob", "role": "admin"}),
    );
    done(&host, "bob", "leave", json!({"group": group}));
    done(&host, "bob", "join", json!({"group": group}));
    assert_eq!(text(&group, "bob").check(&host), rejected("no_permission"));
    assert_eq!(
        code(&host, "bob", "pin", json!({"group": group, "seq": 1})),
        "no_permission"
    );
}

#[test]
fn mute_all_silences_everybody_without_the_bypass() {
    let (host, group) = club_host();
    assert_eq!(
        code(&host, "bob", "mute_all", json!({"group": group, "on": true})),
        "no_permission"
    );
    done(&host, "abe", "mute_all", json!({"group": group, "on": true}));
    assert_eq!(text(&group, "bob").check(&host), rejected("all_muted"));
    assert_eq!(text(&group, "abe").check(&host), Ok(()));
    let allow = json!({"group": group, "actor": "bob", "allow": ["bypass_mute"], "deny": []});
    done(&host, "ann", "set_overrides", allow);
    assert_eq!(text(&group, "bob").check(&host), Ok(()));
    done(&host, "abe", "mute_all", json!({"group": group, "on": false}));
    assert_eq!(text(&group, "cleo").check(&host), Ok(()));
}

#[test]
fn slow_mode_counts_for_each_member() {
    let (host, group) = club_host();
    done(&host, "abe", "slow_mode", json!({"group": group, "seconds": 10}));
    let bob = text(&group, "bob");
    assert_eq!(bob.check(&host), Ok(()));
    assert_eq!(bob.check(&host), rejected("rate_limited"));
    let edit = TestSend {
        edits: 1,
        ..text(&group, "bob")
    };
    assert_eq!(edit.check(&host), Ok(()));
    assert_eq!(text(&group, "cleo").check(&host), Ok(()));
    for _ in 0..2 {
        assert_eq!(text(&group, "abe").check(&host), Ok(()));
    }
    host.set_clock(1_010_000);
    assert_eq!(bob.check(&host), Ok(()));
    assert_eq!(
        code(&host, "abe", "slow_mode", json!({"group": group, "seconds": 86_401})),
        "invalid_seconds"
    );
}

#[test]
fn each_kind_of_content_needs_its_permission() {
    let (host, group) = club_host();
    for (permission, kinds) in [
        ("send", &["text", "location", "custom:poll"][..]),
        ("send_files", &["image", "file", "voice", "video"]),
        ("send_stickers", &["sticker"]),
    ] {
        let deny = json!({"group": group, "actor": "bob", "allow": [], "deny": [permission]});
        done(&host, "ann", "set_overrides", deny);
        for kind in [
            "text",
            "location",
            "custom:poll",
            "image",
            "file",
            "voice",
            "video",
            "sticker",
        ] {
            let content = json!({"blob": "b"});
            let message = TestSend {
                kind,
                content,
                ..text(&group, "bob")
            };
            let wanted = if kinds.contains(&kind) {
                rejected("no_permission")
            } else {
                Ok(())
            };
            assert_eq!(message.check(&host), wanted, "{kind} without {permission}");
        }
    }
    for kind in ["custom:announcement", "custom:group"] {
        let forged = TestSend {
            kind,
            ..text(&group, "ann")
        };
        assert_eq!(forged.check(&host), rejected("reserved_kind"));
    }
    assert_eq!(text("elsewhere", "ann").check(&host), rejected("unknown_group"));
}

#[test]
fn messages_of_lower_ranks_are_recalled() {
    let (host, group) = club_host();
    let say = |actor: &str| {
        host.run(|cx| {
            Ok(cx
                .conversations()
                .append(&group, actor, "text", &json!({"text": "Hello"}))?)
        })
        .unwrap();
        host.messages(&group).len()
    };
    let recall = |actor: &str, seq: usize| call(&host, actor, "recall", json!({"group": group, "seq": seq}));
    let (of_ann, of_bob, of_cleo) = (say("ann"), say("bob"), say("cleo"));
    done(&host, "abe", "pin", json!({"group": group, "seq": of_bob}));
    assert_eq!(recall("cleo", of_bob).unwrap_err().reason(), "no_permission");
    assert_eq!(recall("abe", of_ann).unwrap_err().reason(), "outranked");
    recall("abe", of_bob).unwrap();
    assert_eq!(done(&host, "bob", "pins", json!({"group": group}))["pins"], json!([]));
    recall("cleo", of_cleo).unwrap();
    let of_former = say("cleo");
    done(&host, "cleo", "leave", json!({"group": group}));
    recall("abe", of_former).unwrap();
    for seq in [0, 999] {
        assert_eq!(recall("ann", seq).unwrap_err().reason(), "unknown_message");
    }
}
