//! The documented table of permissions against what people really get done: each permission by what it is for.

use super::*;

/// The table of permissions as people read it.
const DOCUMENT: &str = include_str!("../../../../docs/plugins/groups.md");

/// Who tries it, in which group, and what became of it.
struct Attempt<'a> {
    host: &'a Host,
    group: &'a str,
    doer: &'a str,
}

/// Puts somebody where a column says; returns the group and who that is.
fn column(host: &Host, name: &str, permission: &str) -> (String, &'static str) {
    if name == "discussion" {
        let params = json!({"form": "discussion", "members": ["bob", "cleo"]});
        let group = done(host, "ann", "create", params)["group"]
            .as_str()
            .unwrap()
            .to_owned();
        return (group, "bob");
    }
    let group = club(host);
    let overrides = |actor: &str, allow: &[&str], deny: &[&str]| {
        let params = json!({"group": group, "actor": actor, "allow": allow, "deny": deny});
        done(host, "ann", "set_overrides", params);
    };
    let one = [permission];
    let doer = match name {
        "owner" => "ann",
        "admin" => "abe",
        "member" => "bob",
        "member, allowed" => {
            overrides("bob", &one, &[]);
            "bob"
        }
        "admin, denied" => {
            overrides("abe", &[], &one);
            "abe"
        }
        "member, allowed and denied" => {
            overrides("bob", &one, &one);
            "bob"
        }
        "admin, muted" => {
            done(host, "ann", "mute", json!({"group": group, "actor": "abe"}));
            "abe"
        }
        "member, all muted" | "admin, all muted" => {
            done(host, "ann", "mute_all", json!({"group": group, "on": true}));
            if name.starts_with("admin") { "abe" } else { "bob" }
        }
        other => panic!("nobody knows the column {other:?}"),
    };
    (group, doer)
}

impl Attempt<'_> {
    fn call(&self, method: &str, more: Value) -> Result<(), String> {
        let mut params = json!({"group": self.group});
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let outcome = call(self.host, self.doer, method, params);
        outcome.map(drop).map_err(|error| error.code)
    }

    fn say(&self, kind: &str, content: Value) -> Result<(), String> {
        let sent = Sent {
            kind,
            content,
            ..text(self.group, self.doer)
        };
        sent.passes(self.host)
    }

    /// Does all that a permission is for.
    fn all(&self, permission: &str) -> Vec<Result<(), String>> {
        let of_cleo = json!({"actor": "cleo"});
        match permission {
            "send" => vec![
                self.say("text", json!({"text": "Hello"})),
                self.say("location", json!({"latitude": 0, "longitude": 0})),
                self.say("custom:poll", json!({})),
                Sent {
                    edits: 1,
                    ..text(self.group, self.doer)
                }
                .passes(self.host),
            ],
            "send_files" => ["image", "file", "voice", "video"]
                .map(|kind| self.say(kind, json!({"blob": "b"})))
                .into(),
            "send_stickers" => vec![self.say("sticker", json!({"pack": "p", "sticker": "s"}))],
            "react" => vec![act(self.host, self.group, "react", self.doer, "cleo")],
            "mention_all" => vec![self.say("text", json!({"text": "All", "mention_all": true}))],
            "invite" => vec![
                self.call("invite", json!({"actors": ["zoe"]})),
                self.call("create_link", json!({})),
            ],
            "manage_joins" => vec![
                self.call("configure", json!({"join": "approval"})),
                self.call("requests", json!({})),
            ],
            "remove" => vec![self.call("remove", json!({"actors": ["cleo"]}))],
            "ban" => vec![
                self.call("ban", json!({"actor": "mallory"})),
                self.call("bans", json!({})),
            ],
            "mute" => vec![self.call("mute", of_cleo.clone()), self.call("unmute", of_cleo)],
            "mute_all" => vec![
                self.call("mute_all", json!({"on": true})),
                self.call("slow_mode", json!({"seconds": 9})),
            ],
            "pin" => vec![self.call("pin", json!({"seq": self.of_cleo()}))],
            "announce" => vec![self.call("announce", json!({"text": "Hear"}))],
            "edit_profile" => vec![self.call("edit_profile", json!({"name": "Go"}))],
            "recall_others" => vec![
                self.call("recall", json!({"seq": self.of_cleo()})),
                act(self.host, self.group, "recall", self.doer, "cleo"),
            ],
            "manage_roles" => vec![
                self.call("add_role", json!({"title": "New", "rank": 0, "permissions": []})),
                self.call("set_overrides", json!({"actor": "cleo", "allow": [], "deny": ["send"]})),
            ],
            "bypass_mute" => {
                let _ = call(self.host, "ann", "mute_all", json!({"group": self.group, "on": true}));
                vec![self.say("text", json!({"text": "Hello"}))]
            }
            "bypass_slow" => {
                let _ = call(
                    self.host,
                    "ann",
                    "slow_mode",
                    json!({"group": self.group, "seconds": 60}),
                );
                let _ = self.say("text", json!({"text": "First"}));
                vec![self.say("text", json!({"text": "Second"}))]
            }
            other => panic!("nobody knows what {other} is for"),
        }
    }

    /// Appends a message of Cleo's.
    fn of_cleo(&self) -> usize {
        let said = json!({"text": "Hello"});
        self.host
            .run(|cx| Ok(cx.conversations().append(self.group, "cleo", "text", &said)?))
            .unwrap();
        self.host.messages(self.group).len()
    }
}

/// What says that a permission is not there.
fn is_denial(permission: &str, code: &str) -> bool {
    match permission {
        "bypass_mute" => code == "all_muted",
        "bypass_slow" => code == "slow_mode",
        _ => ["no_permission", "muted", "all_muted", "not_in_discussions"].contains(&code),
    }
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn everybody_gets_done_what_the_documented_table_says_and_nothing_else() {
    let mut lines = DOCUMENT
        .lines()
        .skip_while(|line| !line.starts_with("| permission | owner |"));
    let header = cells(lines.next().unwrap());
    let mut tried = 0;
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let row = cells(line);
        let permission = row[0].trim_matches('`');
        for (name, cell) in header[1..].iter().zip(&row[1..]) {
            let host = host();
            let (group, doer) = column(&host, name, permission);
            let attempt = Attempt {
                host: &host,
                group: &group,
                doer,
            };
            for outcome in attempt.all(permission) {
                let what = format!("{permission} of {name}: {outcome:?}");
                let hushed = matches!(&outcome, Err(code) if code.ends_with("muted") || code == "no_permission");
                let is_bypass = permission.starts_with("bypass");
                match (*cell, &outcome) {
                    ("yes", Ok(())) => {}
                    // Rank is asked for besides: a member is above nobody, and makes no role.
                    ("yes", Err(code)) if name.starts_with("member") => {
                        assert!(["outranked", "not_yours_to_give"].contains(&code.as_str()), "{what}");
                    }
                    // Who may not speak at all never comes to what a bypass is for; nor is there any in a discussion.
                    (_, Err(code)) if is_bypass && hushed && !is_denial(permission, code) => continue,
                    ("no", Ok(())) if is_bypass && *name == "discussion" => continue,
                    ("no", Err(code)) => assert!(is_denial(permission, code), "{what}"),
                    _ => panic!("{what}, and the document says {cell}"),
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}
