use super::*;

#[test]
fn a_mute_ends_speech_until_its_time() {
    let host = host();
    let group = club(&host);
    let mute = json!({"group": group, "actor": "bob", "seconds": 60});
    assert_eq!(code(&host, "cleo", "mute", mute.clone()), "no_permission");
    assert_eq!(
        code(&host, "abe", "mute", json!({"group": group, "actor": "ann"})),
        "outranked"
    );
    done(&host, "abe", "mute", mute);
    let bob = text(&group, "bob");
    assert_eq!(bob.passes(&host), refused("muted"));
    let edit = Sent {
        edits: 1,
        ..text(&group, "bob")
    };
    assert_eq!(edit.passes(&host), refused("muted"));
    assert_eq!(act(&host, &group, "react", "bob", "ann"), refused("muted"));
    assert_eq!(
        act(&host, &group, "recall", "bob", "bob"),
        Ok(()),
        "one may take back one's own"
    );
    assert_eq!(act(&host, &group, "unreact", "bob", "ann"), Ok(()));
    assert_eq!(act(&host, &group, "something_new", "bob", "ann"), refused("muted"));
    assert_eq!(text(&group, "cleo").passes(&host), Ok(()));
    host.set_clock(1_060_000);
    assert_eq!(bob.passes(&host), Ok(()), "before the timer fires");
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
    assert_eq!(bob.passes(&host), refused("muted"));
    done(&host, "abe", "unmute", json!({"group": group, "actor": "bob"}));
    assert_eq!(bob.passes(&host), Ok(()));
}

#[test]
fn leaving_and_coming_back_gives_nothing_back() {
    let host = host();
    let group = club(&host);
    done(
        &host,
        "abe",
        "mute",
        json!({"group": group, "actor": "bob", "seconds": 60}),
    );
    done(&host, "bob", "leave", json!({"group": group}));
    done(&host, "bob", "join", json!({"group": group}));
    assert_eq!(text(&group, "bob").passes(&host), refused("muted"));
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
    assert_eq!(text(&group, "bob").passes(&host), refused("no_permission"));
    assert_eq!(
        code(&host, "bob", "pin", json!({"group": group, "seq": 1})),
        "no_permission"
    );
}

#[test]
fn everybody_is_muted_but_those_who_may_speak_then() {
    let host = host();
    let group = club(&host);
    assert_eq!(
        code(&host, "bob", "mute_all", json!({"group": group, "on": true})),
        "no_permission"
    );
    done(&host, "abe", "mute_all", json!({"group": group, "on": true}));
    assert_eq!(text(&group, "bob").passes(&host), refused("all_muted"));
    assert_eq!(text(&group, "abe").passes(&host), Ok(()));
    let allow = json!({"group": group, "actor": "bob", "allow": ["bypass_mute"], "deny": []});
    done(&host, "ann", "set_overrides", allow);
    assert_eq!(text(&group, "bob").passes(&host), Ok(()));
    done(&host, "abe", "mute_all", json!({"group": group, "on": false}));
    assert_eq!(text(&group, "cleo").passes(&host), Ok(()));
}

#[test]
fn slow_mode_lets_each_member_wait_for_themselves() {
    let host = host();
    let group = club(&host);
    done(&host, "abe", "slow_mode", json!({"group": group, "seconds": 10}));
    let bob = text(&group, "bob");
    assert_eq!(bob.passes(&host), Ok(()));
    assert_eq!(bob.passes(&host), refused("slow_mode"));
    let edit = Sent {
        edits: 1,
        ..text(&group, "bob")
    };
    assert_eq!(edit.passes(&host), Ok(()));
    assert_eq!(text(&group, "cleo").passes(&host), Ok(()));
    for _ in 0..2 {
        assert_eq!(text(&group, "abe").passes(&host), Ok(()));
    }
    host.set_clock(1_010_000);
    assert_eq!(bob.passes(&host), Ok(()));
    assert_eq!(
        code(&host, "abe", "slow_mode", json!({"group": group, "seconds": 86_401})),
        "bad_seconds"
    );
}

#[test]
fn each_kind_of_content_takes_its_permission() {
    let host = host();
    let group = club(&host);
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
            let sent = Sent {
                kind,
                content,
                ..text(&group, "bob")
            };
            let wanted = if kinds.contains(&kind) {
                refused("no_permission")
            } else {
                Ok(())
            };
            assert_eq!(sent.passes(&host), wanted, "{kind} without {permission}");
        }
    }
    for kind in ["custom:announcement", "custom:group"] {
        let forged = Sent {
            kind,
            ..text(&group, "ann")
        };
        assert_eq!(forged.passes(&host), refused("reserved_kind"));
    }
    assert_eq!(text("elsewhere", "ann").passes(&host), refused("unknown_group"));
}

#[test]
fn messages_of_those_below_are_taken_back() {
    let host = host();
    let group = club(&host);
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
    assert_eq!(recall("cleo", of_bob).unwrap_err().code, "no_permission");
    assert_eq!(recall("abe", of_ann).unwrap_err().code, "outranked");
    recall("abe", of_bob).unwrap();
    assert_eq!(done(&host, "bob", "pins", json!({"group": group}))["pins"], json!([]));
    recall("cleo", of_cleo).unwrap();
    let of_gone = say("cleo");
    done(&host, "cleo", "leave", json!({"group": group}));
    recall("abe", of_gone).unwrap();
    for seq in [0, 999] {
        assert_eq!(recall("ann", seq).unwrap_err().code, "unknown_message");
    }
}
