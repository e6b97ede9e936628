//! A plugin whose watched hooks see the conversations that its callers choose at run time, for the host's tests.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Lookout;

record! {
    /// Nothing.
    struct Nothing {}
}

record! {
    /// A conversation or an actor, and whether to watch it.
    struct Watch { id: String, on: bool }
}

record! {
    /// The observations, in order.
    struct Seen { seen: Vec<String> }
}

impl Plugin for Lookout {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn before_send(&self, _cx: &Context, message: &Message<'_>) -> Verdict {
        if message.client_id().starts_with("unwanted") {
            return Verdict::Reject(Error::new("unwanted", "Not here."));
        }
        Verdict::Accept
    }

    fn before_act(&self, _cx: &Context, act: &Act) -> Result<(), Error> {
        if act.value == "🚫" {
            return Err(Error::new("unwanted", "Not here."));
        }
        Ok(())
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        note(cx, format!("message {}", message.seq()))
    }

    fn after_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        note(cx, format!("{} {}", act.name, act.target))
    }
}

fn note(cx: &Context, line: String) -> Result<(), Error> {
    let mut seen: Vec<String> = cx.kv().get_json("seen")?.unwrap_or_default();
    seen.push(line);
    cx.kv().set_json("seen", &seen)?;
    Ok(())
}

impl Lookout {
    fn watch_conversation(&self, cx: &Context, watch: Watch) -> Result<Nothing, Error> {
        cx.watches().conversation(&watch.id, watch.on)?;
        Ok(Nothing {})
    }

    fn watch_actor(&self, cx: &Context, watch: Watch) -> Result<Nothing, Error> {
        cx.watches().actor(&watch.id, watch.on)?;
        Ok(Nothing {})
    }

    fn seen(&self, cx: &Context, _params: Nothing) -> Result<Seen, Error> {
        Ok(Seen {
            seen: cx.kv().get_json("seen")?.unwrap_or_default(),
        })
    }
}

register! {
    plugin: Lookout,
    id: "lookout",
    description: "Watches what its callers choose.",
    capabilities: [kv, watches],
    hooks: [before_send(guard) { watched }, before_act { watched }, after_send { watched }, after_act { watched }],
    methods: [watch_conversation, watch_actor, seen],
}
