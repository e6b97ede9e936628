//! Transfers and dissolutions.

use super::*;

#[test]
fn an_owner_can_leave_only_after_a_transfer() {
    let (host, group) = club_host();
    let own = json!({"group": group});
    assert_eq!(
        code(&host, "abe", "transfer", json!({"group": group, "actor": "abe"})),
        "not_the_owner"
    );
    assert_eq!(
        code(&host, "ann", "transfer", json!({"group": group, "actor": "ann"})),
        "outranked"
    );
    assert_eq!(
        code(&host, "ann", "transfer", json!({"group": group, "actor": "dan"})),
        "unknown_member"
    );
    done(&host, "ann", "mute", json!({"group": group, "actor": "bob"}));
    done(&host, "ann", "transfer", json!({"group": group, "actor": "bob"}));
    assert_eq!(text(&group, "bob").check(&host), Ok(()), "an owner is not muted");
    assert_eq!(done(&host, "ann", "membership", own.clone())["role"], "admin");
    assert_eq!(code(&host, "ann", "dissolve", own.clone()), "not_the_owner");
    assert_eq!(code(&host, "bob", "leave", own.clone()), "owner_must_stay");
    done(&host, "ann", "leave", own.clone());
    assert_eq!(done(&host, "bob", "info", own)["owner"], "bob");
}

#[test]
fn a_dissolved_group_is_closed_at_once_and_deleted_in_steps() {
    let host = host_with(&json!({"directory": "", "groups_per_actor": 2}));
    let names: Vec<String> = (0..400).map(|number| format!("m{number:03}")).collect();
    let mut actors = vec!["ann"];
    actors.extend(names.iter().map(String::as_str));
    let group = group_of(&host, &actors);
    let own = json!({"group": group});
    done(&host, "ann", "create_link", own.clone());
    done(&host, "ann", "ban", json!({"group": group, "actor": "dan"}));
    done(&host, "ann", "announce", json!({"group": group, "text": "Soon"}));
    done(&host, "m000", "mark_seen", json!({"group": group, "announcement": 1}));

    done(&host, "ann", "dissolve", own.clone());
    assert_eq!(
        text(&group, "m399").check(&host),
        rejected("conflict_dissolved"),
        "a member that isn't removed yet"
    );
    assert_eq!(
        act(&host, &group, "react", "m399", "ann"),
        rejected("conflict_dissolved")
    );
    assert_eq!(code(&host, "m399", "leave", own), "conflict_dissolved");
    assert_eq!(done(&host, "m399", "mine", json!({}))["groups"], json!([]));
    host.set_clock(1_001_000);
    host.fire_timers().unwrap();
    let members = host.run(|cx| Ok(cx.conversations().get(&group)?.members)).unwrap();
    assert_eq!(members, Vec::<String>::new());
    let stored = host.run(|cx| Ok(cx.kv().scan("", "", 100)?)).unwrap();
    let keys: Vec<String> = stored.iter().map(|(key, _)| key.escape_ascii().to_string()).collect();
    assert_eq!(keys, [format!("charter/{group}")]);
}
