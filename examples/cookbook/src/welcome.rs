//! Welcomes new users of the users plugin, and publishes an event about it.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::serde_json::{Value, json};

/// The plugin.
pub struct Welcome;

impl Plugin for Welcome {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn event(&self, cx: &Context, event: &Event) -> Result<(), Error> {
        let payload: Value = event.payload_as()?;
        let actor = payload["actor"].as_str().unwrap_or_default().to_owned();
        // An event arrives at least once. The address is the actor, so a repetition finds the same conversation, and the
        // message commits together with the note that the event was observed.
        let welcome = cx.conversations().open(&actor, "news", std::slice::from_ref(&actor))?;
        let text = json!({"text": "Welcome! Write /help to learn more."});
        cx.conversations().append(&welcome.id, "welcome", "text", &text)?;
        Ok(cx.events().publish("welcomed", &json!({"actor": actor}))?)
    }
}

register! {
    plugin: Welcome,
    id: "welcome",
    description: "Welcomes new users.",
    after: ["users"],
    capabilities: [conversations, events],
    hooks: [event { events: ["users.registered"] }],
    methods: [],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::testing::TestHost;

    #[test]
    fn a_new_user_is_welcomed() {
        let host = TestHost::<Welcome>::start("{}").unwrap();
        let event = Event {
            plugin: "users".to_owned(),
            name: "registered".to_owned(),
            payload: br#"{"actor":"ann","name":"ann"}"#.to_vec(),
            ..Event::default()
        };
        host.event(&event).unwrap();
        let news = host.run(|cx| Ok(cx.conversations().find("ann")?)).unwrap();
        assert_eq!(news.members, ["ann"]);
        assert_eq!(host.messages(&news.id).len(), 1);
        assert_eq!(host.take_events(), [("welcomed".to_owned(), json!({"actor": "ann"}))]);
    }
}
