//! Roles and overrides.

use super::*;

#[test]
fn a_role_grants_only_rights_of_its_creator_to_lower_ranks() {
    let (host, group) = club_host();
    let role = |title: &str, rank: u32, permissions: Value| json!({"group": group, "title": title, "rank": rank, "permissions": permissions});
    let helper = done(
        &host,
        "ann",
        "add_role",
        role("Helper", 300, json!(["send", "mute", "manage_roles"])),
    );
    let helper = helper["role"].clone();
    assert_eq!(helper, "r3");
    let give = |actor: &str, role: &Value| json!({"group": group, "actor": actor, "role": role});
    assert_eq!(code(&host, "abe", "set_role", give("bob", &helper)), "no_permission");
    done(&host, "ann", "set_role", give("bob", &helper));
    // Bob can mute Cleo, but nobody of equal or higher rank.
    done(&host, "bob", "mute", json!({"group": group, "actor": "cleo"}));
    assert_eq!(
        code(&host, "bob", "mute", json!({"group": group, "actor": "abe"})),
        "outranked"
    );
    assert_eq!(
        code(&host, "bob", "set_role", give("bob", &json!("member"))),
        "outranked"
    );
    assert_eq!(code(&host, "bob", "set_role", give("cleo", &helper)), "not_held");
    assert_eq!(
        code(&host, "bob", "set_role", give("cleo", &json!("admin"))),
        "not_held"
    );
    assert_eq!(
        code(&host, "bob", "set_role", give("cleo", &json!("owner"))),
        "fixed_role"
    );
    assert_eq!(
        code(&host, "bob", "set_role", give("cleo", &json!("r9"))),
        "unknown_role"
    );
    assert_eq!(
        code(&host, "bob", "add_role", role("Pinner", 10, json!(["pin"]))),
        "not_held"
    );
    assert_eq!(code(&host, "bob", "add_role", role("Peer", 300, json!([]))), "not_held");
    assert_eq!(
        code(&host, "ann", "add_role", role("High", 1_000, json!([]))),
        "invalid_rank"
    );
    assert_eq!(
        code(&host, "ann", "add_role", role("High", 70_000, json!([]))),
        "invalid_rank"
    );
    assert_eq!(
        code(&host, "ann", "add_role", role("a\tb", 1, json!([]))),
        "invalid_title"
    );
    assert_eq!(
        code(&host, "ann", "add_role", role("Odd", 1, json!(["fly"]))),
        "unknown_permission"
    );
    let allow = |permission: &str| json!({"group": group, "actor": "cleo", "allow": [permission], "deny": []});
    assert_eq!(code(&host, "bob", "set_overrides", allow("pin")), "not_held");
    done(&host, "bob", "set_overrides", allow("mute"));
    // Removing the role removes its rights, and the next role has another id.
    done(&host, "ann", "remove_role", json!({"group": group, "role": helper}));
    let own = done(&host, "bob", "membership", json!({"group": group}));
    assert_eq!((&own["role"], &own["rank"]), (&json!("member"), &json!(0)));
    assert_eq!(
        done(&host, "ann", "add_role", role("Again", 300, json!(["pin"])))["role"],
        "r4"
    );
    assert_eq!(
        done(&host, "bob", "membership", json!({"group": group}))["role"],
        "member"
    );
}

#[test]
fn a_changed_role_applies_to_all_its_members() {
    let (host, group) = club_host();
    let change = |role: &str, more: Value| with_members(json!({"group": group, "role": role}), &more);
    done(
        &host,
        "ann",
        "change_role",
        change("member", json!({"permissions": ["react"]})),
    );
    assert_eq!(text(&group, "bob").check(&host), rejected("no_permission"));
    assert_eq!(act(&host, &group, "react", "bob", "cleo"), Ok(()));
    assert_eq!(text(&group, "abe").check(&host), Ok(()));
    assert_eq!(
        code(&host, "ann", "change_role", change("member", json!({"rank": 3}))),
        "fixed_role"
    );
    assert_eq!(
        code(&host, "ann", "change_role", change("owner", json!({"title": "King"}))),
        "fixed_role"
    );
    assert_eq!(
        code(&host, "ann", "remove_role", change("admin", json!({}))),
        "fixed_role"
    );
    done(
        &host,
        "ann",
        "change_role",
        change("admin", json!({"title": "Captain", "rank": 700})),
    );
    let roles = done(&host, "bob", "roles", json!({"group": group}));
    assert_eq!(
        (&roles["roles"][1]["title"], &roles["roles"][1]["rank"]),
        (&json!("Captain"), &json!(700))
    );
}

#[test]
fn roles_are_bounded() {
    let host = host_with(&json!({"directory": "", "roles": 1}));
    let group = club(&host);
    let role = json!({"group": group, "title": "One", "rank": 1, "permissions": []});
    done(&host, "ann", "add_role", role.clone());
    assert_eq!(code(&host, "ann", "add_role", role), "limit_roles");
}
