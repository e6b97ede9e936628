//! A plugin that guards and counts messages while tests replace it by other versions of itself.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Changeling {
    settings: Settings,
}

record! {
    /// The operator's configuration.
    struct Settings {
        /// Shown by `state`.
        tag: Option<String>,
        /// True to fail the migration of keys of another version.
        refuse: Option<bool>,
    }
}

record! {
    /// A text message.
    struct Text { text: String }
}

record! {
    /// Nothing.
    struct Nothing {}
}

record! {
    /// The state of the plugin.
    struct State {
        /// The tag of the configuration.
        tag: String,
        /// The version from which the keys were migrated; empty if none.
        from: String,
        /// The number of accepted messages.
        passed: u64,
    }
}

impl Plugin for Changeling {
    fn start(configuration: &str) -> Result<Self, Error> {
        let settings = courtyard_plugin_sdk::serde_json::from_str(configuration)
            .map_err(|error| Error::new("bad_configuration", error.to_string()))?;
        Ok(Self { settings })
    }

    fn migrate(&self, cx: &Context, from: &str) -> Result<(), Error> {
        if self.settings.refuse == Some(true) {
            return Err(Error::new("foreign_keys", "I can't read these."));
        }
        Ok(cx.kv().set("from", from)?)
    }

    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        let Ok(Text { text }) = message.content_as() else {
            return Verdict::Accept;
        };
        if text.starts_with("trap") {
            panic!("on request");
        }
        if text.starts_with("forbidden") {
            return Verdict::reject("forbidden", "Not this.");
        }
        match count(cx) {
            Ok(()) => Verdict::Accept,
            Err(error) => Verdict::Reject(error),
        }
    }
}

fn count(cx: &Context) -> Result<(), Error> {
    let passed: u64 = cx.kv().get_json("passed")?.unwrap_or(0);
    Ok(cx.kv().set_json("passed", &(passed + 1))?)
}

impl Changeling {
    fn state(&self, cx: &Context, _params: Nothing) -> Result<State, Error> {
        let from = cx.kv().get("from")?.unwrap_or_default();
        Ok(State {
            tag: self.settings.tag.clone().unwrap_or_default(),
            from: String::from_utf8_lossy(&from).into_owned(),
            passed: cx.kv().get_json("passed")?.unwrap_or(0),
        })
    }
}

register! {
    plugin: Changeling,
    id: "changeling",
    description: "Is replaced by other versions of itself.",
    capabilities: [kv],
    hooks: [before_send(guard) { contents: ["text"] }],
    methods: [state(anonymous)],
}
