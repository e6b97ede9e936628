//! The documented table of permissions against the methods and hooks that need each permission.

use super::*;

/// The documented table of permissions.
const DOCUMENT: &str = include_str!("../../../../docs/plugins/groups.md");

/// A member who tries everything that a permission allows.
struct Attempt<'a> {
    host: &'a Host,
    group: &'a str,
    doer: &'a str,
}

/// Creates the situation of a column; returns the group and the acting member.
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
        other => panic!("unknown column {other:?}"),
    };
    (group, doer)
}

impl Attempt<'_> {
    fn call(&self, method: &str, more: Value) -> Result<(), String> {
        let params = with_members(json!({"group": self.group}), &more);
        let outcome = call(self.host, self.doer, method, params);
        outcome.map(drop).map_err(|error| error.reason())
    }

    fn send(&self, kind: &str, content: Value) -> Result<(), String> {
        let message = TestSend {
            kind,
            content,
            ..text(self.group, self.doer)
        };
        message.check(self.host)
    }

    /// Tries everything that a permission allows.
    fn all(&self, permission: &str) -> Vec<Result<(), String>> {
        let of_cleo = json!({"actor": "cleo"});
        match permission {
            "send" => vec![
                self.send("text", json!({"text": "Hello"})),
                self.send("location", json!({"latitude": 0, "longitude": 0})),
                self.send("custom:poll", json!({})),
                TestSend {
                    edits: 1,
                    ..text(self.group, self.doer)
                }
                .check(self.host),
            ],
            "send_files" => ["image", "file", "voice", "video"]
                .map(|kind| self.send(kind, json!({"blob": "b"})))
                .into(),
            "send_stickers" => vec![self.send("sticker", json!({"pack": "p", "sticker": "s"}))],
            "react" => vec![act(self.host, self.group, "react", self.doer, "cleo")],
            "mention_all" => vec![self.send("text", json!({"text": "All", "mention_all": true}))],
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
                vec![self.send("text", json!({"text": "Hello"}))]
            }
            "bypass_slow" => {
                let _ = call(
                    self.host,
                    "ann",
                    "slow_mode",
                    json!({"group": self.group, "seconds": 60}),
                );
                let _ = self.send("text", json!({"text": "First"}));
                vec![self.send("text", json!({"text": "Second"}))]
            }
            other => panic!("no attempts for the permission {other}"),
        }
    }

    /// Appends a message of Cleo, and returns its number.
    fn of_cleo(&self) -> usize {
        let content = json!({"text": "Hello"});
        self.host
            .run(|cx| Ok(cx.conversations().append(self.group, "cleo", "text", &content)?))
            .unwrap();
        self.host.messages(self.group).len()
    }
}

/// True if the error code means that the permission is missing.
fn is_denial(permission: &str, code: &str) -> bool {
    match permission {
        "bypass_mute" => code == "all_muted",
        "bypass_slow" => code == "rate_limited",
        _ => ["no_permission", "muted", "all_muted", "no_owner"].contains(&code),
    }
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_documented_table_matches_methods_and_hooks() {
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
                let is_silenced = matches!(&outcome, Err(code) if code.ends_with("muted") || code == "no_permission");
                let is_bypass = permission.starts_with("bypass");
                match (*cell, &outcome) {
                    ("yes", Ok(())) => {}
                    // These need a rank as well, and members have the lowest one.
                    ("yes", Err(code)) if name.starts_with("member") => {
                        assert!(["outranked", "not_held"].contains(&code.as_str()), "{what}");
                    }
                    // A bypass has no effect for a member who can't speak at all, nor in a discussion.
                    (_, Err(code)) if is_bypass && is_silenced && !is_denial(permission, code) => continue,
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
