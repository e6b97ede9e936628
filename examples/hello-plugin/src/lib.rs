//! The smallest plugin: it rejects shouting, and says hello.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Hello;

record! {
    /// The name to greet.
    struct Greet { name: String }
}
record! {
    /// A greeting.
    struct Greeting { text: String }
}

impl Plugin for Hello {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Hello)
    }

    fn before_send(&self, _cx: &Context, message: &Message<'_>) -> Verdict {
        if message.content().ends_with(b"!!!\"}") {
            return Verdict::reject("shouting", "Please don't shout.");
        }
        Verdict::Accept
    }
}

impl Hello {
    fn greet(&self, _cx: &Context, params: Greet) -> Result<Greeting, Error> {
        Ok(Greeting {
            text: format!("Hello, {}!", params.name),
        })
    }
}

register! {
    plugin: Hello,
    id: "hello",
    description: "Rejects shouting, and says hello.",
    capabilities: [],
    hooks: [before_send(guard) { contents: ["text"] }],
    methods: [greet(anonymous)],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::serde_json::json;
    use courtyard_plugin_sdk::testing::{TestHost, TestMessage};

    #[test]
    fn it_greets_and_keeps_shouting_out() {
        let host = TestHost::<Hello>::start("{}").unwrap();
        let greeting = host
            .call(&Default::default(), "greet", &json!({"name": "Ann"}))
            .unwrap();
        assert_eq!(greeting, json!({"text": "Hello, Ann!"}));
        assert_eq!(
            host.before_send(&TestMessage::direct("a", "b", "Hello")),
            Verdict::Accept
        );
        assert!(matches!(
            host.before_send(&TestMessage::direct("a", "b", "HELLO!!!")),
            Verdict::Reject(_)
        ));
    }
}
