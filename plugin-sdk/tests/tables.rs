//! Tables: reads, order, and the consistency of indexes after each write.

#![allow(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::collections::BTreeMap;

use courtyard_plugin_sdk::native::{self, Services};
use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::request::{ServiceRequest, ServiceResponse, ServiceResult};
use courtyard_plugin_sdk::testing::TestHost;
use courtyard_plugin_sdk::{Entries, Kv, ServiceError};
use serde::{Deserialize, Serialize};

/// A friend of someone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Friend {
    owner: String,
    other: String,
    state: u8,
    since_ms: u64,
    /// A code that at most one friend may have.
    code: Option<String>,
    tags: Vec<String>,
}

table! {
    Friend in "friends", key (owner: String, other: String);

    /// Friends of someone by state, the oldest first.
    many ByState in "state", key (owner: String, state: u8, since_ms: u64);

    unique ByCode in "code", key (String) = |friend| friend.code.clone();

    many ByTag in "tag", key (String) = |friend| friend.tags.clone();
}

fn friend(owner: &str, other: &str, since_ms: u64) -> Friend {
    Friend {
        owner: owner.to_owned(),
        other: other.to_owned(),
        since_ms,
        ..Friend::default()
    }
}

fn with_code(friend: Friend, code: &str) -> Friend {
    let code = Some(code.to_owned());
    Friend { code, ..friend }
}

fn others(friends: impl IntoIterator<Item = Result<Friend, TableError>>) -> Result<Vec<String>, TableError> {
    friends.into_iter().map(|friend| Ok(friend?.other)).collect()
}

/// A table whose name is a prefix of another's, with an index of the same name.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Fr {
    id: u64,
}

table! {
    Fr in "fr", key (id: u64);

    many FrByState in "state", key ([u8; 8]) = |row| [row.id.to_le_bytes()];
}

record! {
    /// The owner of the friends, and the cursor of a page.
    struct Whose { owner: String, after: Option<Cursor> }
}
record! {
    /// Some friends.
    struct Listed { others: Vec<String>, next: Option<Cursor> }
}
record! {
    /// Nothing.
    struct Nothing {}
}

struct Friends;

impl Plugin for Friends {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl Friends {
    fn list(&self, cx: &Context, params: Whose) -> Result<Listed, Error> {
        let friends = cx.table::<Friend>().scan((params.owner,));
        let page = friends.after(params.after).page(2)?;
        Ok(Listed {
            others: page.rows.into_iter().map(|friend| friend.other).collect(),
            next: page.next,
        })
    }

    fn add_twice(&self, cx: &Context, params: Whose) -> Result<Nothing, Error> {
        let friend = friend(&params.owner, "bob", 0);
        cx.table().insert(&friend)?;
        cx.table().insert(&friend)?;
        Ok(Nothing {})
    }
}

register! {
    plugin: Friends,
    id: "friends",
    description: "Keeps friends.",
    capabilities: [kv],
    hooks: [],
    methods: [list, add_twice],
}

fn host() -> TestHost<Friends> {
    TestHost::start("{}").unwrap()
}

fn run(work: impl FnOnce(&Context) -> Result<(), Error>) {
    host().run(work).unwrap();
}

fn dump(kv: Kv) -> Entries {
    kv.scan([], [], u32::MAX).unwrap()
}

/// A host with the limits that an operator may set.
#[derive(Default)]
struct LimitedHost {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    key_bytes: usize,
    scan_entries: u32,
    /// The number of keys that it still accepts.
    sets: usize,
}

impl Services for LimitedHost {
    fn handle(&mut self, request: ServiceRequest) -> ServiceResult {
        match request {
            ServiceRequest::Get(key) => Ok(ServiceResponse::Value(self.keys.get(&key).cloned())),
            ServiceRequest::Set(key, _) if key.len() > self.key_bytes => Err(ServiceError::TooLarge),
            ServiceRequest::Set(..) if self.sets == 0 => Err(ServiceError::Quota),
            ServiceRequest::Set(key, value) => {
                self.sets -= 1;
                self.keys.insert(key, value);
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Delete(key) => {
                self.keys.remove(&key);
                Ok(ServiceResponse::Done)
            }
            ServiceRequest::Scan(start, end, ..) if start.len().max(end.len()) > self.key_bytes => {
                Err(ServiceError::TooLarge)
            }
            ServiceRequest::Scan(start, end, limit, reverse) => {
                let found = self.keys.range(start..end);
                let mut found: Entries = found.map(|(key, value)| (key.clone(), value.clone())).collect();
                if reverse {
                    found.reverse();
                }
                found.truncate(limit.min(self.scan_entries) as usize);
                Ok(ServiceResponse::Entries(found))
            }
            _ => Err(ServiceError::Unavailable),
        }
    }
}

fn run_with_limits(narrow: LimitedHost, work: impl FnOnce(&Context) -> Result<(), Error>) -> LimitedHost {
    let (narrow, outcome) = native::enter(narrow, || work(&Context::default()));
    outcome.unwrap().unwrap();
    narrow.unwrap()
}

#[test]
fn rows_are_found_by_their_keys() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        let bob = friend("ann", "bob", 1);
        assert_eq!(friends.get(("ann", "bob"))?, None);
        friends.insert(&bob)?;
        assert_eq!(friends.get(("ann", "bob"))?.as_ref(), Some(&bob));
        assert_eq!(friends.get(bob.key())?.as_ref(), Some(&bob));
        assert!(friends.contains(("ann", "bob"))? && !friends.contains(("bob", "ann"))?);
        assert_eq!(friends.remove(("ann", "bob"))?, Some(bob));
        assert_eq!(friends.remove(("ann", "bob"))?, None);
        assert!(!friends.contains(("ann", "bob"))?);
        Ok(())
    });
}

#[test]
fn a_row_is_inserted_once_and_put_any_number_of_times() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        let (old, new) = (friend("ann", "bob", 1), friend("ann", "bob", 2));
        friends.insert(&old)?;
        assert!(matches!(
            friends.insert(&new),
            Err(TableError::Exists { table: "friends" })
        ));
        assert_eq!(friends.get(("ann", "bob"))?.as_ref(), Some(&old));
        assert_eq!(friends.put(&new)?, Some(old));
        assert_eq!(friends.get(("ann", "bob"))?, Some(new));
        assert_eq!(friends.put(&friend("ann", "cleo", 1))?, None);
        Ok(())
    });
}

#[test]
fn an_update_changes_a_row_but_not_its_key() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        friends.insert(&friend("ann", "bob", 1))?;
        let updated = friends.update(("ann", "bob"), |friend| friend.state = 7)?;
        assert_eq!(updated.map(|friend| friend.state), Some(7));
        assert_eq!(friends.get(("ann", "bob"))?.map(|friend| friend.state), Some(7));
        assert_eq!(friends.update(("ann", "zoe"), |friend| friend.state = 7)?, None);

        let before = dump(cx.kv());
        let moved = friends.update(("ann", "bob"), |friend| friend.other = "zoe".to_owned());
        assert!(matches!(moved, Err(TableError::KeyChanged { .. })));
        assert_eq!(dump(cx.kv()), before);
        Ok(())
    });
}

#[test]
fn indexes_follow_every_write() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        for (other, since_ms) in [("bob", 300), ("cleo", 100), ("dan", 200)] {
            friends.insert(&friend("ann", other, since_ms))?;
        }
        friends.insert(&friend("bob", "ann", 1))?;
        let by_state = friends.by(ByState);
        assert_eq!(others(by_state.scan(("ann", 0)))?, ["cleo", "dan", "bob"]);
        assert_eq!(others(by_state.scan(("ann",)).descending())?, ["bob", "dan", "cleo"]);

        friends.update(("ann", "dan"), |friend| friend.state = 1)?;
        assert_eq!(others(by_state.scan(("ann", 0)))?, ["cleo", "bob"]);
        assert_eq!(others(by_state.scan(("ann", 1)))?, ["dan"]);
        friends.put(&friend("ann", "bob", 50))?;
        assert_eq!(others(by_state.scan(("ann", 0)))?, ["bob", "cleo"]);
        friends.remove(("ann", "cleo"))?;
        assert_eq!(others(by_state.scan(("ann", 0)))?, ["bob"]);

        for row in friends.all() {
            friends.remove(row?.key())?;
        }
        assert_eq!(dump(cx.kv()), [], "stale entries");
        Ok(())
    });
}

#[test]
fn a_unique_index_rejects_a_second_row_and_releases_old_keys() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        let bob = with_code(friend("ann", "bob", 1), "x");
        friends.insert(&bob)?;
        let cleo = friend("ann", "cleo", 1);
        friends.insert(&cleo)?;
        friends.insert(&friend("ann", "dan", 1))?; // Several rows may have no code.
        assert_eq!(friends.by(ByCode).get("x")?.as_ref(), Some(&bob));
        assert_eq!(friends.by(ByCode).get("y")?, None);

        let before = dump(cx.kv());
        let refused = |outcome: Result<(), TableError>| {
            let is_refused = matches!(
                outcome,
                Err(TableError::NotUnique {
                    table: "friends",
                    index: "code"
                })
            );
            is_refused && dump(cx.kv()) == before
        };
        assert!(refused(friends.insert(&with_code(friend("zoe", "ann", 1), "x"))));
        assert!(refused(friends.put(&with_code(cleo, "x")).map(drop)));
        let take = |friend: &mut Friend| friend.code = Some("x".to_owned());
        assert!(refused(friends.update(("ann", "cleo"), take).map(drop)));

        // The owner of a code may be written again, and releases the code when it changes or is removed.
        friends.put(&bob)?;
        friends.update(("ann", "bob"), |friend| friend.code = Some("y".to_owned()))?;
        friends.update(("ann", "cleo"), take)?;
        friends.remove(("ann", "bob"))?;
        friends.insert(&with_code(friend("zoe", "ann", 1), "y"))?;
        assert_eq!(others(friends.by(ByCode).all())?, ["cleo", "ann"]);
        Ok(())
    });
}

#[test]
fn an_index_has_one_entry_for_each_key_of_a_row() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        friends.insert(&Friend {
            tags: tags(&["work", "chess", "work"]),
            ..friend("ann", "bob", 1)
        })?;
        friends.insert(&Friend {
            tags: tags(&["chess"]),
            ..friend("ann", "cleo", 1)
        })?;
        assert_eq!(others(friends.by(ByTag).scan("chess"))?, ["bob", "cleo"]);
        assert_eq!(others(friends.by(ByTag).scan("work"))?, ["bob"]);
        assert_eq!(others(friends.by(ByTag).scan(KeyPrefix("che")))?, ["bob", "cleo"]);
        friends.update(("ann", "bob"), |friend| friend.tags = tags(&["work"]))?;
        assert_eq!(others(friends.by(ByTag).scan("chess"))?, ["cleo"]);
        assert_eq!(others(friends.by(ByTag).all())?, ["cleo", "bob"]);
        Ok(())
    });
}

#[test]
fn ranges_respect_their_bounds() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        for owner in ["a", "b", "c"] {
            for (other, since_ms) in [("x", 10), ("y", 20), ("z", u64::MAX)] {
                friends.insert(&friend(owner, other, since_ms))?;
            }
        }
        let count = |scan: courtyard_plugin_sdk::table::Scan<Friend>| scan.count(100);
        assert_eq!(count(friends.range(("a",)..("c",)))?, 6);
        assert_eq!(count(friends.range(("a",)..=("c",)))?, 9);
        assert_eq!(count(friends.range(("b",)..))?, 6);
        assert_eq!(count(friends.range(..("b", "y")))?, 4);
        assert_eq!(count(friends.range(..=("b", "y")))?, 5);
        assert_eq!(count(friends.range(("c",)..("a",)))?, 0);
        let by_state = friends.by(ByState);
        assert_eq!(others(by_state.range(("b", 0, 11)..("b", 0, u64::MAX)))?, ["y"]);
        assert_eq!(others(by_state.range(("b", 0, 11)..=("b", 0, u64::MAX)))?, ["y", "z"]);
        assert_eq!(
            others(friends.scan(("a", KeyPrefix(""))).descending())?,
            ["z", "y", "x"]
        );
        assert_eq!(friends.scan(("a",)).count(2)?, 2);
        assert_eq!(friends.scan(("a",)).count(0)?, 0);
        let found = friends.scan(("a",)).descending().first()?;
        assert_eq!(found.map(|friend| friend.other).as_deref(), Some("z"));
        Ok(())
    });
}

#[test]
fn pages_continue_after_the_last_row_in_both_directions() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        let mut names: Vec<String> = (0..7).map(|at| format!("f{at}")).collect();
        for (at, name) in names.iter().enumerate() {
            friends.insert(&friend("ann", name, 100 - at as u64))?;
        }
        friends.insert(&friend("bob", "f9", 1))?;
        for descending in [false, true] {
            for limit in 1..9 {
                let (mut by_key, mut by_index) = (Vec::new(), Vec::new());
                for (seen, is_index) in [(&mut by_key, false), (&mut by_index, true)] {
                    let mut after = None;
                    loop {
                        let scan = if is_index {
                            friends.by(ByState).scan(("ann",))
                        } else {
                            friends.scan(("ann",))
                        };
                        let scan = if descending { scan.descending() } else { scan };
                        let page = scan.after(after).page(limit)?;
                        assert!(!page.rows.is_empty() && page.rows.len() <= limit);
                        seen.extend(page.rows.into_iter().map(|friend| friend.other));
                        after = page.next;
                        if after.is_none() {
                            break;
                        }
                    }
                }
                assert_eq!(by_key, names);
                by_index.reverse();
                assert_eq!(by_index, names);
            }
            names.reverse();
        }
        Ok(())
    });
}

#[test]
fn a_page_continues_after_a_removed_row() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        for other in ["bob", "cleo", "dan"] {
            friends.insert(&friend("ann", other, 1))?;
        }
        let page = friends.scan(("ann",)).page(2)?;
        friends.remove(("ann", "cleo"))?;
        friends.insert(&friend("ann", "cleopatra", 1))?;
        assert_eq!(others(friends.scan(("ann",)).after(page.next))?, ["cleopatra", "dan"]);
        Ok(())
    });
}

#[test]
fn cursors_pass_through_methods_and_never_lead_outside_the_scan() {
    let host = host();
    host.run(|cx| {
        for (owner, other) in [
            ("aaa", "secret"),
            ("ann", "bob"),
            ("ann", "cleo"),
            ("ann", "dan"),
            ("bob", "secret"),
        ] {
            cx.table().insert(&friend(owner, other, 1))?;
        }
        Ok(())
    })
    .unwrap();
    let list = |after: serde_json::Value| {
        let params = serde_json::json!({ "owner": "ann", "after": after });
        host.call(&courtyard_plugin_sdk::Caller::default(), "list", &params)
    };
    let first = list(serde_json::Value::Null).unwrap();
    assert_eq!(first["others"], serde_json::json!(["bob", "cleo"]));
    let second = list(first["next"].clone()).unwrap();
    assert_eq!(second, serde_json::json!({ "others": ["dan"], "next": null }));

    for made_up in ["", "00", "61", "ff", "ffff", "62", "626f6200", "616e6e00ff", "7a"] {
        let page = list(made_up.into()).unwrap();
        assert!(!page["others"].to_string().contains("secret"), "{made_up}: {page}");
        host.run(|cx| {
            let cursor: Cursor = serde_json::from_value(made_up.into()).unwrap();
            let scan = cx.table::<Friend>().scan(("ann",)).descending();
            let found = others(scan.after(Some(cursor)))?;
            assert!(!found.contains(&"secret".to_owned()), "{made_up}: {found:?}");
            Ok(())
        })
        .unwrap();
    }
    for wrong in ["6", "zz", "é", "+1"] {
        assert_eq!(list(wrong.into()).unwrap_err().code, "invalid_params", "{wrong}");
    }
}

#[test]
fn errors_become_errors_of_methods_and_roll_back_writes() {
    let host = host();
    let params = serde_json::json!({ "owner": "ann", "after": null });
    let error = host.call(&Default::default(), "add_twice", &params).unwrap_err();
    assert_eq!(error.code, "conflict");
    assert_eq!(error.message, "table `friends` has a row with this key");
    host.run(|cx| {
        assert_eq!(dump(cx.kv()), []);
        Ok(())
    })
    .unwrap();
    assert_eq!(
        Error::from(TableError::from(ServiceError::Quota)),
        ServiceError::Quota.into()
    );
}

#[test]
fn tables_and_indexes_and_other_keys_never_overlap() {
    run(|cx| {
        let (friends, frs) = (cx.table::<Friend>(), cx.table::<Fr>());
        cx.kv().set("friends", "mine")?;
        cx.kv().set("a", "mine")?;
        friends.insert(&friend("\0", "\0\u{1}", 1))?;
        friends.insert(&with_code(friend("state", "\u{10FFFF}", 1), "code"))?;
        friends.insert(&friend("", "", 1))?;
        for id in [0, 1, u64::MAX] {
            frs.insert(&Fr { id })?;
        }
        assert_eq!(friends.all().count(100)?, 3);
        assert_eq!(friends.by(ByState).all().count(100)?, 3);
        assert_eq!(friends.by(ByCode).all().count(100)?, 1);
        assert_eq!(friends.scan(("",)).count(100)?, 1);
        assert_eq!(frs.all().count(100)?, 3);
        assert_eq!(frs.by(FrByState).all().count(100)?, 3);

        let (before, mine) = (dump(cx.kv()), 2);
        assert_eq!(before.len(), 3 + 3 + 1 + 3 + 3 + mine);
        friends.rebuild_indexes()?;
        frs.rebuild_indexes()?;
        assert_eq!(dump(cx.kv()), before);

        for row in friends.all() {
            friends.remove(row?.key())?;
        }
        assert_eq!(frs.all().keys().collect::<Result<Vec<_>, _>>()?, [0, 1, u64::MAX]);
        for id in [0, 1, u64::MAX] {
            frs.remove(id)?;
        }
        assert_eq!(dump(cx.kv()).len(), mine);
        Ok(())
    });
}

#[test]
fn each_app_has_its_own_rows() {
    let host = host();
    host.run(|cx| Ok(cx.table().insert(&friend("ann", "bob", 1))?)).unwrap();
    host.enter_app("other");
    host.run(|cx| {
        assert_eq!(cx.table::<Friend>().all().count(1)?, 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn keys_are_read_without_rows() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        friends.insert(&with_code(friend("ann", "bob", 2), "x"))?;
        friends.insert(&with_code(friend("ann", "cleo", 1), "y"))?;
        let keys = |scan: courtyard_plugin_sdk::table::Scan<Friend>| scan.keys().collect::<Result<Vec<_>, _>>();
        let (bob, cleo) = (friend("ann", "bob", 2).key(), friend("ann", "cleo", 1).key());
        assert_eq!(keys(friends.all())?, [bob.clone(), cleo.clone()]);
        assert_eq!(keys(friends.by(ByState).scan(("ann",)))?, [cleo.clone(), bob.clone()]);
        assert_eq!(keys(friends.by(ByCode).all().descending())?, [cleo, bob]);
        Ok(())
    });
}

#[test]
fn a_loop_may_change_and_remove_the_rows_of_its_scan() {
    run(|cx| {
        let friends = cx.table::<Friend>();
        for at in 0..500 {
            friends.insert(&friend("ann", &format!("{at:03}"), at))?;
        }
        let mut seen = 0;
        for row in friends.by(ByState).scan(("ann", 0)) {
            let row = row?;
            assert_eq!(row.other, format!("{:03}", seen * 2));
            friends.update(row.key(), |friend| friend.state = 1)?;
            // The scan has already read the entry of the next row.
            let next = ("ann", format!("{:03}", seen * 2 + 1));
            if seen % 2 == 0 {
                friends.remove(next)?;
            } else {
                friends.update(next, |friend| friend.state = 2)?;
            }
            seen += 1;
        }
        assert_eq!(seen, 250);
        assert_eq!(friends.by(ByState).scan(("ann", 1)).count(1_000)?, 250);
        assert_eq!(friends.by(ByState).scan(("ann", 2)).count(1_000)?, 125);
        Ok(())
    });
}

#[test]
fn a_scan_is_complete_for_any_limit_of_the_host() {
    for scan_entries in [1, 2, 7, 1_000] {
        let narrow = LimitedHost {
            key_bytes: 1_024,
            scan_entries,
            sets: usize::MAX,
            ..LimitedHost::default()
        };
        run_with_limits(narrow, |cx| {
            let friends = cx.table::<Friend>();
            for at in 0..300 {
                friends.insert(&friend("ann", &format!("{at:03}"), at))?;
            }
            assert_eq!(friends.all().count(1_000)?, 300);
            assert_eq!(friends.all().count(250)?, 250);
            for scan in [friends.scan(("ann",)), friends.by(ByState).scan(("ann",)).descending()] {
                assert_eq!(others(scan)?.len(), 300);
            }
            let page = friends.scan(("ann",)).page(299)?;
            assert_eq!((page.rows.len(), page.next.is_some()), (299, true));
            assert_eq!(others(friends.scan(("ann",)).after(page.next))?, ["299"]);
            friends.rebuild_indexes()?;
            assert_eq!(friends.by(ByState).all().count(1_000)?, 300);
            Ok(())
        });
    }
}

#[test]
fn a_key_of_the_maximum_length_is_scanned_like_others() {
    // A zero, `friends`, two zeros, and two texts with a zero after each.
    let longest = friend("a", &"x".repeat(100 - 10 - 2 - 1), 1);
    let narrow = LimitedHost {
        key_bytes: 130,
        scan_entries: 1,
        sets: usize::MAX,
        ..LimitedHost::default()
    };
    let mut narrow = run_with_limits(narrow, |cx| Ok(cx.table().insert(&longest)?));
    // Entries of indexes are longer; this test is only about the key of the row.
    narrow.key_bytes = 100;
    run_with_limits(narrow, |cx| {
        let friends = cx.table::<Friend>();
        assert_eq!(friends.all().count(5)?, 1);
        let page = friends.all().page(1)?;
        assert_eq!((page.rows.len(), page.next), (1, None));
        Ok(())
    });
}

/// A plugin may continue after an error, and its transaction then commits.
#[test]
fn a_write_that_fails_half_way_changes_nothing() {
    let wide = || LimitedHost {
        key_bytes: 1_024,
        scan_entries: 1_000,
        sets: usize::MAX,
        ..LimitedHost::default()
    };
    let old = Friend {
        tags: vec!["old".to_owned()],
        ..with_code(friend("ann", "bob", 1), "old")
    };
    let new = Friend {
        tags: vec!["new".to_owned()],
        state: 1,
        ..with_code(friend("ann", "bob", 1), "new")
    };
    let full = run_with_limits(wide(), |cx| Ok(cx.table().insert(&old)?));
    // Three entries and the row itself.
    for sets in 0..4 {
        let narrow = LimitedHost {
            sets,
            keys: full.keys.clone(),
            ..wide()
        };
        let narrow = run_with_limits(narrow, |cx| {
            let refused = cx.table().put(&new);
            assert!(matches!(refused, Err(TableError::Service(ServiceError::Quota))));
            Ok(())
        });
        assert_eq!(narrow.keys, full.keys, "room for {sets}");

        let narrow = run_with_limits(LimitedHost { sets, ..wide() }, |cx| {
            assert!(cx.table().insert(&new).is_err());
            Ok(())
        });
        assert!(narrow.keys.is_empty(), "room for {sets}");
    }
    let narrow = run_with_limits(LimitedHost { sets: 4, ..wide() }, |cx| Ok(cx.table().insert(&new)?));
    let replaced = LimitedHost {
        sets: 4,
        keys: full.keys,
        ..wide()
    };
    let replaced = run_with_limits(replaced, |cx| Ok(cx.table().put(&new).map(drop)?));
    assert_eq!(replaced.keys, narrow.keys);

    // The same if an entry is too long, but the row is not.
    let long = with_code(friend("ann", "bob", 1), &"x".repeat(2_000));
    let narrow = run_with_limits(wide(), |cx| {
        let refused = cx.table().insert(&long);
        assert!(matches!(refused, Err(TableError::Service(ServiceError::TooLarge))));
        Ok(())
    });
    assert!(narrow.keys.is_empty());
}

/// Applies the same pseudo-random operations to a table and to a map, and compares them.
#[test]
fn a_table_behaves_like_a_map_with_consistent_indexes() {
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    run(|cx| {
        let friends = cx.table::<Friend>();
        let mut model: BTreeMap<(String, String), Friend> = BTreeMap::new();
        for _ in 0..1_500 {
            let names = ["", "a", "a\0", "b"];
            let mut name = || names[usize::try_from(random(4)).unwrap()].to_owned();
            let (owner, other, tags) = (name(), name(), vec![name(), name()]);
            let row = Friend {
                state: u8::from(random(2) == 0),
                since_ms: random(3),
                code: (random(3) == 0).then(|| format!("c{}", random(12))),
                tags,
                ..friend(&owner, &other, 0)
            };
            let key = row.key();
            let taken = |model: &BTreeMap<_, Friend>| {
                let mut others = model.values().filter(|other| other.key() != key);
                row.code.is_some() && others.any(|other| other.code == row.code)
            };
            match random(4) {
                0 => {
                    let expected = !model.contains_key(&key) && !taken(&model);
                    assert_eq!(friends.insert(&row).is_ok(), expected);
                    if expected {
                        model.insert(key, row);
                    }
                }
                1 => match friends.put(&row) {
                    Ok(old) => {
                        assert!(!taken(&model));
                        assert_eq!(old, model.insert(key, row));
                    }
                    Err(_) => assert!(taken(&model)),
                },
                2 => match friends.update(&key, |old| *old = row.clone()) {
                    Ok(Some(_)) => {
                        assert!(!taken(&model));
                        assert!(model.insert(key, row).is_some());
                    }
                    Ok(None) => assert!(!model.contains_key(&key)),
                    Err(_) => assert!(taken(&model)),
                },
                _ => assert_eq!(friends.remove(&key)?, model.remove(&key)),
            }
            let rows: Vec<Friend> = friends.all().into_iter().collect::<Result<_, _>>()?;
            assert!(rows.iter().eq(model.values()));
        }
        assert!(model.len() > 3);
        let mut by_state: Vec<Friend> = model.into_values().collect();
        by_state.sort_by_key(|row| (row.owner.clone(), row.state, row.since_ms, row.key()));
        let found: Vec<Friend> = friends.by(ByState).all().into_iter().collect::<Result<_, _>>()?;
        assert_eq!(found, by_state);

        let before = dump(cx.kv());
        friends.rebuild_indexes()?;
        assert_eq!(dump(cx.kv()), before);
        Ok(())
    });
}

/// The same table in an earlier version of the plugin: without a field, and without indexes.
mod before {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Member {
        pub(super) actor: String,
    }

    table! {
        Member in "members", key (actor: String);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    actor: String,
    #[serde(default)]
    role: u8,
}

table! {
    Member in "members", key (actor: String);

    many ByRole in "role", key (role: u8);
}

#[test]
fn a_new_version_reads_old_rows_and_rebuilds_indexes_and_an_old_one_reads_new_rows() {
    run(|cx| {
        let actor = |name: &str| name.to_owned();
        let (old, new) = (cx.table::<before::Member>(), cx.table::<Member>());
        for name in ["ann", "bob"] {
            old.insert(&before::Member { actor: actor(name) })?;
        }
        assert_eq!(
            new.get("ann")?,
            Some(Member {
                actor: actor("ann"),
                role: 0
            })
        );
        assert_eq!(new.by(ByRole).all().count(10)?, 0);
        new.rebuild_indexes()?;
        assert_eq!(new.by(ByRole).scan(0).count(10)?, 2);
        new.update("ann", |member| member.role = 1)?;

        // A roll-back has neither the field nor the index, and removes the index.
        assert_eq!(old.get("ann")?.map(|member| member.actor).as_deref(), Some("ann"));
        old.remove("ann")?;
        let stale = new.by(ByRole).all().into_iter().find_map(Result::err);
        assert!(matches!(
            stale,
            Some(TableError::Corrupt {
                table: "members",
                index: "role"
            })
        ));
        old.rebuild_indexes()?;
        assert_eq!(dump(cx.kv()).len(), 1);
        Ok(())
    });
}

#[test]
fn values_of_another_type_are_errors() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Wrong {
        actor: String,
        role: BTreeMap<Option<bool>, u8>,
    }
    table! {
        Wrong in "members", key (actor: String);
    }
    run(|cx| {
        let actor = || "ann".to_owned();
        let role = BTreeMap::from([(None, 1)]);
        let unwritable = cx.table().insert(&Wrong { actor: actor(), role });
        assert!(matches!(unwritable, Err(TableError::Json { table: "members", .. })));
        assert_eq!(dump(cx.kv()), []);
        cx.table().insert(&Member {
            actor: actor(),
            role: 1,
        })?;
        let error = Error::from(cx.table::<Wrong>().get("ann").unwrap_err());
        assert_eq!(error.code, "internal");
        assert!(
            error.message.contains("members") && error.message.contains("invalid type"),
            "{error:?}"
        );
        Ok(())
    });
}
