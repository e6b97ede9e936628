use super::policy::LISTED;
use super::*;

/// The documented table of permissions.
const DOCUMENT: &str = include_str!("../../../../docs/plugins/groups.md");

fn standing(policy: &GroupPolicy, role: RoleId) -> Standing {
    policy.standing(&MemberPolicy::of(role))
}

/// Returns the policies that a column of the table stands for.
fn column(name: &str, permission: Permission) -> (GroupPolicy, MemberPolicy) {
    let mut policy = GroupPolicy::group("owner");
    let one = Permissions::of(&[permission]);
    let member = match name {
        "owner" => MemberPolicy::of(RoleId::OWNER),
        "admin" => MemberPolicy::of(RoleId::ADMIN),
        "member" => MemberPolicy::default(),
        "member, allowed" => MemberPolicy {
            allow: one,
            ..MemberPolicy::default()
        },
        "admin, denied" => MemberPolicy {
            deny: one,
            ..MemberPolicy::of(RoleId::ADMIN)
        },
        "member, allowed and denied" => MemberPolicy {
            allow: one,
            deny: one,
            ..MemberPolicy::default()
        },
        "admin, muted" => MemberPolicy {
            muted_until_ms: 2,
            ..MemberPolicy::of(RoleId::ADMIN)
        },
        "member, all muted" | "admin, all muted" => {
            policy.all_muted = true;
            match name.starts_with("admin") {
                true => MemberPolicy::of(RoleId::ADMIN),
                false => MemberPolicy::default(),
            }
        }
        "discussion" => {
            policy = GroupPolicy::discussion();
            MemberPolicy::default()
        }
        other => panic!("unknown column {other:?}"),
    };
    (policy, member)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_documented_table_of_permissions_matches_the_decisions() {
    let table: Vec<&str> = DOCUMENT
        .lines()
        .skip_while(|line| !line.starts_with("| permission | owner |"))
        .take_while(|line| line.starts_with('|'))
        .collect();
    let header = cells(table[0]);
    assert_eq!(table.len(), Permission::ALL.len() + 2, "a row for each permission");
    for (line, permission) in table[2..].iter().zip(Permission::ALL) {
        let row = cells(line);
        assert_eq!(row[0], format!("`{}`", permission.name()));
        for (name, cell) in header[1..].iter().zip(&row[1..]) {
            let (policy, member) = column(name, *permission);
            let decided = policy.check_now(&policy.standing(&member), *permission, 1).is_ok();
            let documented = match *cell {
                "yes" => true,
                "no" => false,
                other => panic!("{other:?} in {line}"),
            };
            assert_eq!(decided, documented, "{} of {name}", permission.name());
        }
    }
}

#[test]
fn nobody_acts_on_someone_of_equal_or_higher_rank() {
    let policy = GroupPolicy::group("owner");
    let by_rank = [RoleId::MEMBER, RoleId::ADMIN, RoleId::OWNER].map(|role| standing(&policy, role));
    for (own, doer) in by_rank.iter().enumerate() {
        for (other, target) in by_rank.iter().enumerate() {
            assert_eq!(doer.outranks(target).is_ok(), own > other, "{own} on {other}");
        }
    }
    // A permission alone is not enough.
    let armed = policy.standing(&MemberPolicy {
        allow: Permissions::ALL,
        ..MemberPolicy::default()
    });
    assert_eq!(armed.check_on(Permission::Mute, &by_rank[0]), Err(Refusal::Outranked));
}

#[test]
fn nobody_grants_a_right_that_they_do_not_have() {
    let mut policy = GroupPolicy::group("owner");
    let owner = standing(&policy, RoleId::OWNER);
    let pin = Permissions::of(&[Permission::Pin]);
    let manager = Permissions::of(&[Permission::ManageRoles]).with(Role::OF_MEMBERS);
    let role = policy.add_role(&owner, ("Manager".into(), 600, manager), 20).unwrap();
    let doer = standing(&policy, role);
    let target = MemberPolicy::default();
    assert_eq!(
        policy.set_overrides(&doer, &target, pin, Permissions::NONE),
        Err(Refusal::NotHeld)
    );
    assert_eq!(policy.assign_role(&doer, &target, RoleId::ADMIN), Err(Refusal::NotHeld));
    assert_eq!(policy.assign_role(&doer, &target, role), Err(Refusal::NotHeld));
    assert_eq!(
        policy.assign_role(&doer, &target, RoleId::OWNER),
        Err(Refusal::FixedRole)
    );
    let denied = MemberPolicy { deny: pin, ..target };
    let freed = policy.set_overrides(&doer, &denied, Permissions::NONE, Permissions::NONE);
    assert_eq!(freed, Err(Refusal::NotHeld), "lifting a denial is a grant");
    let new = ("Pinner".to_owned(), 10, pin);
    assert_eq!(policy.add_role(&doer, new, 20), Err(Refusal::NotHeld));
    let new = ("Peer".to_owned(), 600, Permissions::NONE);
    assert_eq!(policy.add_role(&doer, new, 20), Err(Refusal::NotHeld));
    let more = RoleChange {
        permissions: Some(Role::OF_MEMBERS.with(pin)),
        ..RoleChange::default()
    };
    assert_eq!(
        policy.change_role(&doer, RoleId::MEMBER, more.clone()),
        Err(Refusal::NotHeld)
    );
    assert_eq!(policy.change_role(&doer, role, more), Err(Refusal::Outranked));
    // Denying a permission that one doesn't have is allowed: it grants nothing.
    let denying = policy.set_overrides(&doer, &target, Permissions::NONE, pin);
    assert_eq!(denying, Ok(denied));
}

#[test]
fn a_removed_role_becomes_member_and_its_id_is_not_reused() {
    let mut policy = GroupPolicy::group("owner");
    let owner = standing(&policy, RoleId::OWNER);
    let first = policy
        .add_role(&owner, ("A".into(), 400, Permissions::ALL), 20)
        .unwrap();
    policy.remove_role(&owner, first).unwrap();
    assert_eq!(standing(&policy, first), standing(&policy, RoleId::MEMBER));
    let second = policy
        .add_role(&owner, ("B".into(), 400, Permissions::ALL), 20)
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(policy.remove_role(&owner, RoleId::ADMIN), Err(Refusal::FixedRole));
}

#[test]
fn a_policy_lists_every_special_member_up_to_the_limit() {
    let mut policy = GroupPolicy::group("owner");
    let (plain, admin) = (MemberPolicy::default(), MemberPolicy::of(RoleId::ADMIN));
    let name = |number: usize| format!("u{number}");
    for number in 0..LISTED {
        policy.record_change(&name(number), &plain, &admin);
    }
    assert_eq!(policy.lookup("someone"), PolicyLookup::Found(plain));
    assert_eq!(
        policy.lookup("owner"),
        PolicyLookup::Found(MemberPolicy::of(RoleId::OWNER))
    );
    policy.record_change("late", &plain, &admin);
    assert_eq!(policy.lookup("u0"), PolicyLookup::Found(admin));
    assert_eq!(policy.lookup("late"), PolicyLookup::InMemberRow);
    assert_eq!(policy.lookup("someone"), PolicyLookup::InMemberRow);
    // Once there is a free entry, the next change of the unlisted member takes it.
    policy.record_change("u0", &admin, &plain);
    let muted = MemberPolicy {
        muted_until_ms: 9,
        ..admin
    };
    policy.record_change("late", &admin, &muted);
    assert_eq!(policy.lookup("late"), PolicyLookup::Found(muted));
    assert_eq!(policy.lookup("someone"), PolicyLookup::Found(plain));
    policy.record_change("far", &plain, &admin);
    policy.record_change("far", &admin, &plain);
    assert_eq!(policy.lookup("someone"), PolicyLookup::Found(plain));
    policy.dissolved = true;
    let owner = policy.standing(&MemberPolicy::of(RoleId::OWNER));
    assert_eq!(policy.check_now(&owner, Permission::Send, 0), Err(Refusal::Dissolved));
}

#[test]
fn names_of_permissions_and_roles_round_trip() {
    for permission in Permission::ALL {
        assert_eq!(Permission::parse(permission.name()), Some(*permission));
    }
    assert_eq!(Permissions::parse(&Permissions::ALL.names()), Ok(Permissions::ALL));
    assert_eq!(Permissions::parse(&["fly".into()]), Err("fly".into()));
    for role in [
        RoleId::OWNER,
        RoleId::ADMIN,
        RoleId::MEMBER,
        RoleId(3),
        RoleId(u32::MAX),
    ] {
        assert_eq!(RoleId::parse(&role.to_string()), Some(role));
    }
    for text in ["", "r", "r0", "r1", "r2", "r+5", "r05", "r4294967296", "Admin"] {
        assert_eq!(RoleId::parse(text), None, "{text:?}");
    }
}
