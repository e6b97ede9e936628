//! A plugin that calls services as its callers request, for the host's tests.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::serde_json::Value;

/// The plugin.
pub struct Clerk;

record! {
    /// A conversation to open.
    struct Open { address: String, members: Vec<String> }
}

record! {
    /// A conversation.
    struct Room { conversation: String }
}

record! {
    /// The members.
    struct Members { members: Vec<String> }
}

record! {
    /// An actor and a conversation of any plugin.
    struct Member { conversation: String, actor: String }
}

record! {
    /// The members to add and to remove.
    struct Change { conversation: String, join: Vec<String>, leave: Vec<String> }
}

record! {
    /// A text to append.
    struct Note { conversation: String, sender: String, text: String }
}

record! {
    /// Messages to read.
    struct Page { conversation: String, after: u64 }
}

record! {
    /// Numbers and texts of messages.
    struct Read { seqs: Vec<u64>, texts: Vec<String> }
}

record! {
    /// The actors to look up.
    struct Who { actors: Vec<String> }
}

record! {
    /// For each actor, whether it is online.
    struct Online { online: Vec<bool> }
}

record! {
    /// A signal.
    struct Ping { actors: Vec<String>, name: String }
}

record! {
    /// A method of another plugin, with its parameter `deed`.
    struct CallOther { method: String, deed: String }
}

record! {
    /// The outcome, a code or `ok`, and the caller that the other plugin sees.
    struct OtherCalled { outcome: String, plugin: String, actor: String }
}

record! {
    /// A timer; when it fires, it fails until a time.
    struct Remind { name: String, at_ms: u64, fails_until_ms: u64 }
}

record! {
    /// A timer's name.
    struct Name { name: String }
}

record! {
    /// True if the timer existed.
    struct Found { found: bool }
}

record! {
    /// The names of the timers that fired, in order.
    struct Fired { names: Vec<String> }
}

record! {
    /// A text message.
    struct Text { text: String }
}

record! {
    /// An annotation of a message.
    struct Remark { conversation: String, seq: u64, name: String, text: String }
}

record! {
    /// A text that expires at a time.
    struct Lease { name: String, text: String, until_ms: u64 }
}

record! {
    /// A text, if it exists.
    struct Maybe { text: Option<String> }
}

record! {
    /// A message.
    struct Place { conversation: String, seq: u64 }
}

record! {
    /// Nothing.
    struct Nothing {}
}

impl Plugin for Clerk {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn connected(&self, cx: &Context) {
        note_session(cx, "+");
    }

    fn disconnected(&self, cx: &Context) {
        note_session(cx, "-");
    }

    fn timer(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<(), Error> {
        let mut fired: Vec<String> = cx.kv().get_json("fired")?.unwrap_or_default();
        fired.push(name.to_owned());
        cx.kv().set_json("fired", &fired)?;
        let fails_until_ms: u64 = courtyard_plugin_sdk::serde_json::from_slice(payload)
            .map_err(|error| Error::new("bad_payload", error.to_string()))?;
        if cx.now_ms() < fails_until_ms {
            return Err(Error::new("not_yet", "Fails on request."));
        }
        Ok(())
    }

    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        let Ok(Text { text }) = message.content_as() else {
            return Verdict::Accept;
        };
        // A notice that precedes the message, and is rolled back with it.
        let notice = Text {
            text: format!("{} is about to speak", message.sender()),
        };
        match cx
            .conversations()
            .append(message.conversation(), "clerk", "text", &notice)
        {
            Ok(()) if text == "refused" => Verdict::reject("refused", "Rejected on request."),
            Ok(()) => Verdict::Accept,
            Err(error) => Verdict::Reject(error.into()),
        }
    }
}

fn note_session(cx: &Context, change: &str) {
    let mut names: Vec<String> = cx.kv().get_json("sessions").ok().flatten().unwrap_or_default();
    names.push(format!("{change}{} {}", cx.caller.actor, cx.caller.device));
    let _ = cx.kv().set_json("sessions", &names);
}

impl Clerk {
    fn open(&self, cx: &Context, open: Open) -> Result<Room, Error> {
        let room = cx.conversations().open(&open.address, "desk", &open.members)?;
        Ok(Room { conversation: room.id })
    }

    fn members(&self, cx: &Context, room: Room) -> Result<Members, Error> {
        let members = cx.conversations().get(&room.conversation)?.members;
        Ok(Members { members })
    }

    fn is_member(&self, cx: &Context, member: Member) -> Result<Found, Error> {
        let found = cx.memberships().is_member(&member.conversation, &member.actor)?;
        Ok(Found { found })
    }

    fn change(&self, cx: &Context, change: Change) -> Result<Members, Error> {
        let conversations = cx.conversations();
        conversations.add_members(&change.conversation, &change.join)?;
        conversations.remove_members(&change.conversation, &change.leave)?;
        let members = conversations.get(&change.conversation)?.members;
        Ok(Members { members })
    }

    fn note(&self, cx: &Context, note: Note) -> Result<Nothing, Error> {
        let text = Text { text: note.text };
        cx.conversations()
            .append(&note.conversation, &note.sender, "text", &text)?;
        Ok(Nothing {})
    }

    fn read(&self, cx: &Context, page: Page) -> Result<Read, Error> {
        let messages = cx.conversations().read(&page.conversation, page.after, 100)?;
        let text = |content: &[u8]| {
            let content: Value = courtyard_plugin_sdk::serde_json::from_slice(content).unwrap_or_default();
            content["text"].as_str().unwrap_or_default().to_owned()
        };
        Ok(Read {
            seqs: messages.iter().map(|message| message.seq).collect(),
            texts: messages.iter().map(|message| text(&message.content)).collect(),
        })
    }

    fn remark(&self, cx: &Context, remark: Remark) -> Result<Nothing, Error> {
        let text = Text { text: remark.text };
        cx.annotations()
            .set(&remark.conversation, remark.seq, &remark.name, &text)?;
        Ok(Nothing {})
    }

    fn withdraw(&self, cx: &Context, place: Place) -> Result<Nothing, Error> {
        cx.conversations().recall(&place.conversation, place.seq, "clerk")?;
        Ok(Nothing {})
    }

    fn announce(&self, cx: &Context, news: Name) -> Result<Nothing, Error> {
        let text = Text {
            text: "It is noon.".to_owned(),
        };
        cx.events().publish(&news.name, &text)?;
        Ok(Nothing {})
    }

    fn lease(&self, cx: &Context, lease: Lease) -> Result<Nothing, Error> {
        let key = format!("lease/{}", lease.name);
        cx.kv().set_until(key, &lease.text, lease.until_ms)?;
        Ok(Nothing {})
    }

    fn leased(&self, cx: &Context, lease: Name) -> Result<Maybe, Error> {
        let text = cx.kv().get(format!("lease/{}", lease.name))?;
        Ok(Maybe {
            text: text.map(|text| String::from_utf8_lossy(&text).into_owned()),
        })
    }

    fn secret(&self, cx: &Context, secret: Name) -> Result<Maybe, Error> {
        cx.metrics().count("secrets_read", 1);
        cx.metrics().observe("name_bytes", secret.name.len() as f64);
        Ok(Maybe {
            text: cx.secret(&secret.name),
        })
    }

    fn who(&self, cx: &Context, who: Who) -> Result<Online, Error> {
        Ok(Online {
            online: cx.sessions().online(&who.actors),
        })
    }

    fn ping(&self, cx: &Context, ping: Ping) -> Result<Nothing, Error> {
        cx.sessions().signal(
            &ping.actors,
            &ping.name,
            &Text {
                text: "psst".to_owned(),
            },
        )?;
        Ok(Nothing {})
    }

    fn ask(&self, cx: &Context, ask: CallOther) -> Result<OtherCalled, Error> {
        cx.kv().set("asked", &ask.method)?;
        let params = courtyard_plugin_sdk::serde_json::json!({ "deed": ask.deed });
        let outcome = cx.methods().call::<Value>(&ask.method, &params);
        Ok(OtherCalled {
            outcome: outcome.map_or_else(|error| error.code, |_| "ok".to_owned()),
            plugin: cx.caller.plugin.clone(),
            actor: cx.caller.actor.clone(),
        })
    }

    fn remind(&self, cx: &Context, remind: Remind) -> Result<Nothing, Error> {
        cx.timers().set(&remind.name, remind.at_ms, &remind.fails_until_ms)?;
        Ok(Nothing {})
    }

    fn forget(&self, cx: &Context, timer: Name) -> Result<Found, Error> {
        Ok(Found {
            found: cx.timers().cancel(&timer.name)?,
        })
    }

    fn fired(&self, cx: &Context, _nothing: Nothing) -> Result<Fired, Error> {
        Ok(Fired {
            names: cx.kv().get_json("fired")?.unwrap_or_default(),
        })
    }

    fn comings(&self, cx: &Context, _nothing: Nothing) -> Result<Fired, Error> {
        Ok(Fired {
            names: cx.kv().get_json("sessions")?.unwrap_or_default(),
        })
    }

    fn last(&self, cx: &Context, _nothing: Nothing) -> Result<Text, Error> {
        let asked = cx.kv().get("asked")?.unwrap_or_default();
        Ok(Text {
            text: String::from_utf8_lossy(&asked).into_owned(),
        })
    }
}

register! {
    plugin: Clerk,
    id: "clerk",
    description: "Calls services as its callers request.",
    capabilities: [kv, conversations, memberships, sessions, methods, timers, annotations, events, secrets],
    hooks: [before_send(guard) { conversations: ["desk"] }, timer, connected, disconnected],
    methods: [open, members, is_member, change, note, read, remark, withdraw, announce, lease, leased, secret, who, ping, ask, remind, forget, fired, comings, last],
}
