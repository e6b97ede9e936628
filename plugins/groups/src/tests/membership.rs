//! Invitations, requests, links, bans, capacities, pages.

use super::*;

#[test]
fn an_invited_person_accepts_and_is_a_member() {
    let host = host();
    let created = done(
        &host,
        "ann",
        "create",
        json!({"name": " Chess ", "members": ["bob", "ann", "bob"]}),
    );
    let group = json!({"group": created["group"]});
    assert_eq!(host.take_signals()[0].actors, ["bob"]);
    let offers = done(&host, "bob", "invitations", json!({}));
    assert_eq!(
        (&offers["invitations"][0]["name"], &offers["invitations"][0]["by"]),
        (&json!("Chess"), &json!("ann"))
    );
    assert_eq!(code(&host, "bob", "members", group.clone()), "not_a_member");
    assert_eq!(done(&host, "bob", "info", group.clone())["members"], 1);
    assert_eq!(
        code(&host, "cleo", "info", group.clone()),
        "unknown_group",
        "the group is hidden from others"
    );
    assert_eq!(code(&host, "cleo", "join", group.clone()), "unknown_group");
    assert_eq!(code(&host, "cleo", "accept", group.clone()), "unknown_invitation");
    done(&host, "bob", "accept", group.clone());
    assert_eq!(code(&host, "bob", "accept", group.clone()), "unknown_invitation");
    assert_eq!(done(&host, "bob", "members", group.clone())["members"][1]["by"], "ann");
    assert_eq!(done(&host, "bob", "mine", json!({}))["groups"][0]["role"], "member");
    done(&host, "bob", "leave", group.clone());
    assert_eq!(code(&host, "bob", "members", group.clone()), "not_a_member");
    assert_eq!(done(&host, "bob", "mine", json!({}))["groups"], json!([]));
    assert_eq!(code(&host, "ann", "leave", group), "owner_must_stay");
}

#[test]
fn an_invitation_ends_when_it_expires_or_its_creator_may_no_longer_invite() {
    let (host, group) = club_host();
    let own = json!({"group": group});
    for (by, who) in [("bob", "dan"), ("cleo", "eve"), ("cleo", "fay")] {
        done(&host, by, "invite", json!({"group": group, "actors": [who]}));
    }
    done(&host, "abe", "remove", json!({"group": group, "actors": ["bob"]}));
    assert_eq!(code(&host, "dan", "accept", own.clone()), "unknown_invitation");
    assert_eq!(
        code(&host, "eve", "uninvite", json!({"group": group, "actor": "fay"})),
        "not_a_member"
    );
    done(&host, "eve", "accept", own.clone());
    assert_eq!(
        code(&host, "eve", "uninvite", json!({"group": group, "actor": "fay"})),
        "no_permission"
    );
    host.set_clock(1_000_000 + 30 * 24 * 3_600_000);
    assert_eq!(code(&host, "fay", "accept", own.clone()), "unknown_invitation");
    assert_eq!(done(&host, "fay", "invitations", json!({}))["invitations"], json!([]));
    // A new invitation deletes expired ones.
    done(&host, "abe", "invite", json!({"group": group, "actors": ["gus"]}));
    assert_eq!(code(&host, "fay", "decline", own.clone()), "unknown_invitation");
    done(&host, "gus", "decline", own);
}

#[test]
fn pending_invitations_are_bounded() {
    let host = host_with(&json!({"directory": "", "waiting": 2}));
    let group = group_of(&host, &["ann"]);
    let invite = |actors: Value| call(&host, "ann", "invite", json!({"group": group, "actors": actors}));
    invite(json!(["a", "b"])).unwrap();
    invite(json!(["a"])).unwrap();
    assert_eq!(invite(json!(["c"])).unwrap_err().reason(), "limit_invitations");
    done(&host, "a", "decline", json!({"group": group}));
    invite(json!(["c"])).unwrap();
}

#[test]
fn people_outside_the_directory_are_not_invited() {
    let host = host_with(&json!({}));
    host.set_answer(
        "users.reachable",
        json!({"people": [{"actor": "bob", "name": "bob"}], "next": null}),
    );
    let group = done(&host, "ann", "create", json!({"name": "Chess"}))["group"].clone();
    let invite = |actors: Value| call(&host, "ann", "invite", json!({"group": group, "actors": actors}));
    assert_eq!(invite(json!(["bob", "nobody"])).unwrap_err().reason(), "unknown_person");
    assert_eq!(invite(json!(["bob"])).unwrap()["invited"], json!(["bob"]));
    let many: Vec<String> = (0..51).map(|number| number.to_string()).collect();
    for bad in [
        json!([]),
        json!([""]),
        json!(["a\n"]),
        json!(["x".repeat(129)]),
        json!(many),
    ] {
        assert_eq!(invite(bad).unwrap_err().reason(), "invalid_actors");
    }
}

#[test]
fn a_request_waits_for_a_member_who_may_decide() {
    let (host, group) = club_host();
    let own = json!({"group": group});
    done(&host, "abe", "configure", json!({"group": group, "join": "approval"}));
    let _ = host.take_signals();
    let joined = done(&host, "dan", "join", json!({"group": group, "note": "Please"}));
    assert_eq!(joined["joined"], false);
    let mut receivers = host.take_signals().remove(0).actors;
    receivers.sort();
    assert_eq!(receivers, ["abe", "ann"]);
    done(&host, "dan", "join", own.clone());
    done(&host, "eve", "join", own.clone());
    assert_eq!(code(&host, "bob", "requests", own.clone()), "no_permission");
    assert_eq!(
        code(&host, "bob", "approve", json!({"group": group, "actor": "dan"})),
        "no_permission"
    );
    assert_eq!(
        done(&host, "abe", "requests", own.clone())["requests"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    done(&host, "abe", "approve", json!({"group": group, "actor": "dan"}));
    assert_eq!(done(&host, "dan", "membership", own.clone())["role"], "member");
    done(&host, "abe", "refuse", json!({"group": group, "actor": "eve"}));
    assert_eq!(
        code(&host, "abe", "approve", json!({"group": group, "actor": "eve"})),
        "unknown_request"
    );
    done(&host, "eve", "join", own.clone());
    done(&host, "eve", "withdraw", own.clone());
    assert_eq!(code(&host, "eve", "withdraw", own), "unknown_request");
}

#[test]
fn a_link_ends_by_time_uses_revocation_or_its_creators_rights() {
    let (host, group) = club_host();
    let link = |actor: &str, more: Value| {
        let params = with_members(json!({"group": group}), &more);
        json!({"code": done(&host, actor, "create_link", params)["code"]})
    };
    let once = link("bob", json!({"uses": 1}));
    assert_eq!(done(&host, "dan", "open_link", once.clone())["name"], "Chess");
    done(&host, "dan", "join_link", once.clone());
    assert_eq!(code(&host, "dan", "join_link", once.clone()), "unknown_link");
    assert_eq!(code(&host, "eve", "join_link", once), "unknown_link");

    let brief = link("bob", json!({"seconds": 60}));
    let usual = link("bob", json!({}));
    let lasting = link("bob", json!({"seconds": 0}));
    assert_eq!(
        done(&host, "abe", "links", json!({"group": group}))["links"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        done(&host, "cleo", "links", json!({"group": group}))["links"],
        json!([])
    );
    host.set_clock(1_000_000 + 60_000);
    assert_eq!(code(&host, "eve", "open_link", brief), "unknown_link");
    host.set_clock(1_000_000 + 7 * 24 * 3_600_000);
    assert_eq!(code(&host, "eve", "join_link", usual), "unknown_link");
    done(&host, "eve", "join_link", lasting.clone());
    assert_eq!(code(&host, "eve", "join_link", lasting.clone()), "already_member");

    assert_eq!(code(&host, "cleo", "revoke_link", lasting.clone()), "no_permission");
    done(
        &host,
        "ann",
        "set_overrides",
        json!({"group": group, "actor": "bob", "allow": [], "deny": ["invite"]}),
    );
    assert_eq!(code(&host, "fay", "join_link", lasting.clone()), "unknown_link");
    assert_eq!(
        code(&host, "bob", "create_link", json!({"group": group})),
        "no_permission"
    );
    done(&host, "abe", "revoke_link", lasting.clone());
    assert_eq!(code(&host, "abe", "revoke_link", lasting), "unknown_link");
    assert_eq!(
        code(&host, "eve", "join_link", json!({"code": "x".repeat(5_000)})),
        "unknown_link"
    );
    assert_eq!(
        code(&host, "ann", "create_link", json!({"group": group, "uses": 0})),
        "invalid_uses"
    );
}

#[test]
fn nobody_joins_beyond_the_capacity() {
    let host = host();
    let created = done(
        &host,
        "ann",
        "create",
        json!({"name": "Pair", "join": "open", "capacity": 2}),
    );
    let own = json!({"group": created["group"]});
    done(&host, "bob", "join", own.clone());
    assert_eq!(code(&host, "bob", "join", own.clone()), "already_member");
    assert_eq!(code(&host, "cleo", "join", own.clone()), "limit_members");
    done(&host, "bob", "leave", own.clone());
    done(&host, "cleo", "join", own.clone());
    assert_eq!(done(&host, "ann", "info", own)["members"], 2);
    assert_eq!(
        code(&host, "ann", "create", json!({"name": "x", "capacity": 10_001})),
        "invalid_capacity"
    );
    assert_eq!(
        code(&host, "ann", "create", json!({"name": "x", "capacity": 0})),
        "invalid_capacity"
    );
}

#[test]
fn nobody_joins_more_groups_than_configured() {
    let host = host_with(&json!({"directory": "", "groups_per_actor": 1}));
    let group = group_of(&host, &["ann"]);
    assert_eq!(code(&host, "ann", "create", json!({"name": "Another"})), "limit_groups");
    done(&host, "bob", "join", json!({"group": group}));
    done(&host, "bob", "leave", json!({"group": group}));
    done(&host, "bob", "create", json!({"name": "OwnGroup"}));
}

#[test]
fn a_ban_removes_a_member_and_holds_until_it_ends() {
    let (host, group) = club_host();
    let own = json!({"group": group});
    let ban = json!({"group": group, "actor": "bob", "seconds": 60, "reason": "Spam"});
    assert_eq!(code(&host, "cleo", "ban", ban.clone()), "no_permission");
    done(&host, "abe", "ban", ban);
    assert_eq!(code(&host, "bob", "join", own.clone()), "banned");
    assert_eq!(
        code(&host, "ann", "invite", json!({"group": group, "actors": ["bob"]})),
        "banned"
    );
    assert_eq!(done(&host, "abe", "bans", own.clone())["bans"][0]["reason"], "Spam");
    assert_eq!(
        code(&host, "abe", "ban", json!({"group": group, "actor": "ann"})),
        "outranked"
    );
    host.set_clock(1_000_000 + 60_000);
    assert_eq!(done(&host, "abe", "bans", own.clone())["bans"], json!([]));
    done(&host, "bob", "join", own.clone());
    // Also for a person who never was a member; without end until it is removed.
    done(&host, "abe", "ban", json!({"group": group, "actor": "dan"}));
    host.set_clock(crate::rights::FOREVER_MS - 1);
    assert_eq!(code(&host, "dan", "join", own), "banned");
    assert_eq!(
        code(&host, "abe", "unban", json!({"group": group, "actor": "bob"})),
        "unknown_ban"
    );
}

#[test]
fn members_are_listed_in_pages_in_a_fixed_order() {
    let host = host();
    let names: Vec<String> = (0..25).map(|number| format!("m{number:02}")).collect();
    let mut actors = vec!["ann"];
    actors.extend(names.iter().map(String::as_str));
    let group = group_of(&host, &actors);
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = done(
            &host,
            "m07",
            "members",
            json!({"group": group, "limit": 10, "after": after}),
        );
        for member in page["members"].as_array().unwrap() {
            seen.push(member["actor"].as_str().unwrap().to_owned());
        }
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(seen, actors);
    let owners = done(&host, "m07", "members", json!({"group": group, "role": "owner"}));
    assert_eq!(owners["members"][0]["actor"], "ann");
    assert_eq!(
        code(&host, "ann", "members", json!({"group": group, "role": "member"})),
        "invalid_role"
    );
}

#[test]
fn invalid_input_is_rejected() {
    let host = host();
    let create = |params: Value| code(&host, "ann", "create", params);
    assert_eq!(create(json!({})), "invalid_name");
    assert_eq!(create(json!({"name": "a\u{0}b"})), "invalid_name");
    assert_eq!(create(json!({"name": "x".repeat(65)})), "invalid_name");
    assert_eq!(create(json!({"name": 1})), "invalid_params");
    assert_eq!(create(json!({"name": "a", "nmae": "b"})), "invalid_params");
    assert_eq!(
        create(json!({"name": "a", "description": "\u{1b}[2J"})),
        "invalid_description"
    );
    assert_eq!(
        create(json!({"name": "a", "picture": "../../etc/passwd"})),
        "invalid_picture"
    );
    assert_eq!(create(json!({"name": "a", "form": "mob"})), "invalid_form");
    assert_eq!(create(json!({"name": "a", "join": "anyhow"})), "invalid_join");
    assert_eq!(
        code(&host, "ann", "info", json!({"group": "x".repeat(9_000)})),
        "unknown_group"
    );
    assert_eq!(code(&host, "ann", "info", json!({"group": "a/b"})), "unknown_group");
    let unknown_key = Groups::start(r#"{"capasity": 3}"#).unwrap_err();
    assert_eq!(unknown_key.code, "invalid_configuration");
    assert!(Groups::start(r#"{"links": 501}"#).is_err());
    assert!(Groups::start(r#"{"capacity": 20000}"#).is_err());
}

#[test]
fn all_members_of_a_discussion_are_equal() {
    let host = host();
    let created = done(
        &host,
        "ann",
        "create",
        json!({"form": "discussion", "members": ["bob", "cleo"]}),
    );
    let own = json!({"group": created["group"]});
    let group = created["group"].as_str().unwrap();
    assert_eq!(
        done(&host, "bob", "membership", own.clone())["rank"],
        0,
        "invited people are members at once"
    );
    let whom = json!({"group": group, "actor": "bob"});
    for method in ["mute", "ban"] {
        assert_eq!(code(&host, "ann", method, whom.clone()), "no_permission");
    }
    for method in ["transfer", "dissolve"] {
        let params = if method == "transfer" {
            whom.clone()
        } else {
            own.clone()
        };
        assert_eq!(code(&host, "ann", method, params), "no_owner");
    }
    let role = json!({"group": group, "actor": "bob", "role": "admin"});
    assert_eq!(code(&host, "ann", "set_role", role), "no_permission");
    done(&host, "cleo", "edit_profile", json!({"group": group, "name": "Lunch"}));
    done(&host, "ann", "edit_profile", json!({"group": group, "name": ""}));
    for actor in ["ann", "bob"] {
        done(&host, actor, "leave", own.clone());
    }
    assert_eq!(text(group, "cleo").check(&host), Ok(()));
    done(&host, "cleo", "leave", own.clone());
    assert_eq!(
        code(&host, "cleo", "info", own),
        "conflict_dissolved",
        "a discussion ends with its last member"
    );
}
