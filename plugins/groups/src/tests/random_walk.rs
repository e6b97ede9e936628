//! Random walks through the methods: no sequence of calls grants a right that the granting member didn't have.
//! [`crate::rights`] tests the decisions alone; here people also join, leave and transfer the group.

use std::collections::BTreeMap;

use super::*;
use crate::rights::random_walk::Dice;

const PEOPLE: [&str; 6] = ["ann", "abe", "bob", "cleo", "dan", "eve"];

/// The membership of a person, as the API shows it.
#[derive(Clone, Debug, PartialEq)]
struct Standing {
    role: String,
    rank: u64,
    permissions: Vec<String>,
}

type Standings = BTreeMap<&'static str, Standing>;

fn standings(host: &Host, group: &str) -> Standings {
    let mut standings = BTreeMap::new();
    for actor in PEOPLE {
        if let Ok(own) = call(host, actor, "membership", json!({"group": group})) {
            let permissions = serde_json::from_value(own["permissions"].clone()).unwrap();
            let role = own["role"].as_str().unwrap().to_owned();
            let rank = own["rank"].as_u64().unwrap();
            standings.insert(
                actor,
                Standing {
                    role,
                    rank,
                    permissions,
                },
            );
        }
    }
    standings
}

/// Returns a random call.
fn random_call(dice: &mut Dice, group: &str) -> (&'static str, Value) {
    let whom = PEOPLE[dice.below(PEOPLE.len())];
    let names = |dice: &mut Dice| dice.permissions().names();
    let role = ["member", "admin", "owner", "r3", "r4", "r5", "r6"][dice.below(7)];
    let rank = dice.below(1_010);
    match dice.below(16) {
        0..=2 => ("set_role", json!({"group": group, "actor": whom, "role": role})),
        3..=5 => {
            let (allow, deny) = (names(dice), names(dice));
            (
                "set_overrides",
                json!({"group": group, "actor": whom, "allow": allow, "deny": deny}),
            )
        }
        6 => {
            let permissions = names(dice);
            (
                "add_role",
                json!({"group": group, "title": "R", "rank": rank, "permissions": permissions}),
            )
        }
        7 => {
            let permissions = names(dice);
            (
                "change_role",
                json!({"group": group, "role": role, "permissions": permissions}),
            )
        }
        8 => ("change_role", json!({"group": group, "role": role, "rank": rank})),
        9 => ("remove_role", json!({"group": group, "role": role})),
        10 | 11 => ("join", json!({"group": group})),
        12 => ("leave", json!({"group": group})),
        13 => ("remove", json!({"group": group, "actors": [whom]})),
        14 if dice.below(4) == 0 => ("transfer", json!({"group": group, "actor": whom})),
        14 => ("mute", json!({"group": group, "actor": whom})),
        _ if dice.below(2) == 0 => ("ban", json!({"group": group, "actor": whom, "seconds": 0})),
        _ => ("unban", json!({"group": group, "actor": whom})),
    }
}

/// Checks the changes of memberships by one call.
fn check(what: &str, method: &str, doer: &str, member_may: &[String], was: &Standings, is: &Standings) {
    let by = was.get(doer);
    assert_eq!(
        is.values().filter(|standing| standing.role == "owner").count(),
        1,
        "{what}"
    );
    for (actor, now) in is {
        let before = was.get(actor);
        if before == Some(now) {
            continue;
        }
        let gained = |permission: &&String| before.is_none_or(|before| !before.permissions.contains(permission));
        let mut gained = now.permissions.iter().filter(gained);
        match (method, before) {
            ("join", None) => {
                assert_eq!((*actor, now.rank), (doer, 0), "{what}");
                assert!(
                    gained.all(|permission| member_may.contains(permission)),
                    "{what}: {now:?}"
                );
            }
            ("transfer", Some(_)) => {
                assert_eq!(by.map(|by| by.role.as_str()), Some("owner"), "{what}");
                let role = if *actor == doer { "admin" } else { "owner" };
                assert_eq!(now.role, role, "{what}: {actor}");
            }
            (_, None) => panic!("{what}: {actor} became a member"),
            (_, Some(before)) => {
                let by = by.unwrap_or_else(|| panic!("{what}: {doer} is not a member"));
                assert!(
                    by.permissions.iter().any(|permission| permission == "manage_roles"),
                    "{what}"
                );
                assert!(
                    by.rank > before.rank && by.rank > now.rank,
                    "{what}: {actor} was {before:?} and is {now:?}"
                );
                assert!(
                    gained.all(|permission| by.permissions.contains(permission)),
                    "{what}: {actor} is {now:?}"
                );
            }
        }
    }
}

#[test]
fn no_sequence_of_calls_yields_a_right_that_nobody_granted() {
    let mut done = BTreeMap::<&str, u32>::new();
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let host = host();
        let group = club(&host);
        for step in 0..150 {
            let doer = PEOPLE[dice.below(PEOPLE.len())];
            let (method, params) = random_call(&mut dice, &group);
            let was = standings(&host, &group);
            let roles = call(&host, doer, "roles", json!({"group": group}));
            let members = roles.ok().and_then(|roles| {
                let roles = roles["roles"].as_array()?.clone();
                roles
                    .iter()
                    .find(|role| role["role"] == "member")
                    .map(|role| role["permissions"].clone())
            });
            let outcome = call(&host, doer, method, params.clone());
            let is = standings(&host, &group);
            let what = format!("seed {seed}, step {step}: {method} of {doer} with {params}");
            if outcome.is_err() {
                assert_eq!(was, is, "{what}: a refusal changes nothing");
                continue;
            }
            *done.entry(method).or_default() += 1;
            // A new member could not list the roles before joining.
            let members = members.unwrap_or_else(|| {
                let roles = call(&host, doer, "roles", json!({"group": group})).unwrap_or_default();
                let roles = roles["roles"].as_array().cloned().unwrap_or_default();
                let member = roles.iter().find(|role| role["role"] == "member");
                member
                    .map(|role| role["permissions"].clone())
                    .unwrap_or_else(|| json!([]))
            });
            let member_may: Vec<String> = serde_json::from_value(members).unwrap();
            check(&what, method, doer, &member_may, &was, &is);
        }
    }
    for method in [
        "set_role",
        "set_overrides",
        "add_role",
        "change_role",
        "remove_role",
        "join",
        "leave",
        "remove",
        "transfer",
    ] {
        assert!(
            done.get(method).is_some_and(|count| *count >= 5),
            "{method} succeeded too rarely: {done:?}"
        );
    }
}
