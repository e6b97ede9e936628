//! A plugin that performs one operation per message, chosen by its configuration, for the benchmarks.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Probe {
    deed: Deed,
}

#[derive(Clone, Copy)]
enum Deed {
    Accept,
    Replace,
    Read,
    Trap,
}

record! {
    /// The operation per message: accept, replace, read or trap.
    struct Settings { deed: String }
}

record! {
    /// Nothing.
    struct Nothing {}
}

impl Plugin for Probe {
    fn start(configuration: &str) -> Result<Self, Error> {
        let settings: Settings = courtyard_plugin_sdk::serde_json::from_str(configuration)
            .map_err(|error| Error::new("bad_configuration", error.to_string()))?;
        let deed = match settings.deed.as_str() {
            "accept" => Deed::Accept,
            "replace" => Deed::Replace,
            "read" => Deed::Read,
            "trap" => Deed::Trap,
            _ => return Err(Error::new("bad_configuration", "This operation doesn't exist.")),
        };
        Ok(Self { deed })
    }

    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        match self.deed {
            // Like a real guard, it reads the sender and the receiver before it decides.
            Deed::Accept if message.sender() == message.receiver() => Verdict::reject("alone", "To whom?"),
            Deed::Accept => Verdict::Accept,
            Deed::Replace => Verdict::Replace(message.content().to_vec()),
            Deed::Read => match cx.kv().get(message.receiver()) {
                Ok(None) => Verdict::Accept,
                Ok(Some(_)) => Verdict::reject("known", "The key is there."),
                Err(error) => Verdict::Reject(error.into()),
            },
            Deed::Trap => std::process::abort(),
        }
    }
}

impl Probe {
    fn nothing(&self, _cx: &Context, _params: Nothing) -> Result<Nothing, Error> {
        Ok(Nothing {})
    }
}

register! {
    plugin: Probe,
    id: "probe",
    description: "Performs one operation per message.",
    capabilities: [kv],
    hooks: [before_send(guard) { conversations: ["direct"] }],
    methods: [nothing],
}
