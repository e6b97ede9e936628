use super::policy::LISTED;
use super::*;

/// The table of permissions as people read it.
const DOCUMENT: &str = include_str!("../../../../docs/plugins/groups.md");

fn standing(charter: &Charter, role: RoleId) -> Standing {
    charter.standing(&Terms::of(role))
}

/// Who stands in which column of the table, and whether everybody is muted.
fn column(name: &str, permission: Permission) -> (Charter, Terms) {
    let mut charter = Charter::group("owner");
    let one = Permissions::of(&[permission]);
    let terms = match name {
        "owner" => Terms::of(RoleId::OWNER),
        "admin" => Terms::of(RoleId::ADMIN),
        "member" => Terms::default(),
        "member, allowed" => Terms {
            allow: one,
            ..Terms::default()
        },
        "admin, denied" => Terms {
            deny: one,
            ..Terms::of(RoleId::ADMIN)
        },
        "member, allowed and denied" => Terms {
            allow: one,
            deny: one,
            ..Terms::default()
        },
        "admin, muted" => Terms {
            muted_until_ms: 2,
            ..Terms::of(RoleId::ADMIN)
        },
        "member, all muted" | "admin, all muted" => {
            charter.all_muted = true;
            match name.starts_with("admin") {
                true => Terms::of(RoleId::ADMIN),
                false => Terms::default(),
            }
        }
        "discussion" => {
            charter = Charter::discussion();
            Terms::default()
        }
        other => panic!("nobody knows the column {other:?}"),
    };
    (charter, terms)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_documented_table_of_permissions_is_what_is_decided() {
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
            let (charter, terms) = column(name, *permission);
            let decided = charter.speak(&charter.standing(&terms), *permission, 1).is_ok();
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
    let charter = Charter::group("owner");
    let by_rank = [RoleId::MEMBER, RoleId::ADMIN, RoleId::OWNER].map(|role| standing(&charter, role));
    for (own, doer) in by_rank.iter().enumerate() {
        for (other, target) in by_rank.iter().enumerate() {
            assert_eq!(doer.outranks(target).is_ok(), own > other, "{own} on {other}");
        }
    }
    // A permission alone is not enough.
    let armed = charter.standing(&Terms {
        allow: Permissions::ALL,
        ..Terms::default()
    });
    assert_eq!(armed.check_on(Permission::Mute, &by_rank[0]), Err(Refusal::Outranked));
}

#[test]
fn nobody_gives_what_they_do_not_have() {
    let mut charter = Charter::group("owner");
    let owner = standing(&charter, RoleId::OWNER);
    let pin = Permissions::of(&[Permission::Pin]);
    let manager = Permissions::of(&[Permission::ManageRoles]).with(Role::OF_MEMBERS);
    let role = charter.add_role(&owner, ("Manager".into(), 600, manager), 20).unwrap();
    let doer = standing(&charter, role);
    let target = Terms::default();
    assert_eq!(
        charter.override_with(&doer, &target, pin, Permissions::NONE),
        Err(Refusal::NotYours)
    );
    assert_eq!(charter.assign(&doer, &target, RoleId::ADMIN), Err(Refusal::NotYours));
    assert_eq!(charter.assign(&doer, &target, role), Err(Refusal::NotYours));
    assert_eq!(charter.assign(&doer, &target, RoleId::OWNER), Err(Refusal::FixedRole));
    let denied = Terms { deny: pin, ..target };
    let freed = charter.override_with(&doer, &denied, Permissions::NONE, Permissions::NONE);
    assert_eq!(freed, Err(Refusal::NotYours), "not to deny any more is to give");
    let new = ("Pinner".to_owned(), 10, pin);
    assert_eq!(charter.add_role(&doer, new, 20), Err(Refusal::NotYours));
    let new = ("Peer".to_owned(), 600, Permissions::NONE);
    assert_eq!(charter.add_role(&doer, new, 20), Err(Refusal::NotYours));
    let more = RoleChange {
        permissions: Some(Role::OF_MEMBERS.with(pin)),
        ..RoleChange::default()
    };
    assert_eq!(
        charter.change_role(&doer, RoleId::MEMBER, more.clone()),
        Err(Refusal::NotYours)
    );
    assert_eq!(charter.change_role(&doer, role, more), Err(Refusal::Outranked));
    // To take away what one does not have is fine: it gives nothing.
    let denying = charter.override_with(&doer, &target, Permissions::NONE, pin);
    assert_eq!(denying, Ok(denied));
}

#[test]
fn a_removed_role_leaves_a_member_and_its_number_is_not_used_again() {
    let mut charter = Charter::group("owner");
    let owner = standing(&charter, RoleId::OWNER);
    let first = charter
        .add_role(&owner, ("A".into(), 400, Permissions::ALL), 20)
        .unwrap();
    charter.remove_role(&owner, first).unwrap();
    assert_eq!(standing(&charter, first), standing(&charter, RoleId::MEMBER));
    let second = charter
        .add_role(&owner, ("B".into(), 400, Permissions::ALL), 20)
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(charter.remove_role(&owner, RoleId::ADMIN), Err(Refusal::FixedRole));
}

#[test]
fn a_charter_knows_everybody_until_too_many_differ() {
    let mut charter = Charter::group("owner");
    let (plain, admin) = (Terms::default(), Terms::of(RoleId::ADMIN));
    let name = |number: usize| format!("u{number}");
    for number in 0..LISTED {
        charter.note(&name(number), &plain, &admin);
    }
    assert_eq!(charter.known("someone"), Known::Terms(plain));
    assert_eq!(charter.known("owner"), Known::Terms(Terms::of(RoleId::OWNER)));
    charter.note("late", &plain, &admin);
    assert_eq!(charter.known("u0"), Known::Terms(admin));
    assert_eq!(charter.known("late"), Known::Elsewhere);
    assert_eq!(charter.known("someone"), Known::Elsewhere);
    // A place gets free, and the next change of the late one takes it.
    charter.note("u0", &admin, &plain);
    let muted = Terms {
        muted_until_ms: 9,
        ..admin
    };
    charter.note("late", &admin, &muted);
    assert_eq!(charter.known("late"), Known::Terms(muted));
    assert_eq!(charter.known("someone"), Known::Terms(plain));
    charter.note("far", &plain, &admin);
    charter.note("far", &admin, &plain);
    assert_eq!(charter.known("someone"), Known::Terms(plain));
    charter.dissolved = true;
    let owner = charter.standing(&Terms::of(RoleId::OWNER));
    assert_eq!(charter.speak(&owner, Permission::Send, 0), Err(Refusal::Dissolved));
}

#[test]
fn names_of_permissions_and_roles_are_read_as_they_are_written() {
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
