//! Replaces emoticons by emojis before a text is stored.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::serde_json::{Map, Value};

const EMOJIS: [(&str, &str); 4] = [(":-)", "🙂"), (":-(", "🙁"), (":-D", "😀"), ("<3", "❤️")];

/// The plugin.
pub struct Emoticons;

impl Plugin for Emoticons {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn before_send(&self, _cx: &Context, message: &Message<'_>) -> Verdict {
        // A map keeps all members, such as `reply_to`.
        let Ok(mut content) = message.content_as::<Map<String, Value>>() else {
            return Verdict::Accept;
        };
        let Some(Value::String(text)) = content.get_mut("text") else {
            return Verdict::Accept;
        };
        let replaced = EMOJIS
            .iter()
            .fold(text.clone(), |text, (from, to)| text.replace(from, to));
        if replaced == *text {
            return Verdict::Accept;
        }
        *text = replaced;
        Verdict::replace(&content)
    }
}

register! {
    plugin: Emoticons,
    id: "emoticons",
    description: "Replaces emoticons by emojis.",
    capabilities: [],
    hooks: [before_send(transform) { contents: ["text"] }],
    methods: [],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::serde_json::json;
    use courtyard_plugin_sdk::testing::{TestHost, TestMessage};

    #[test]
    fn emoticons_become_emojis_and_other_members_stay() {
        let host = TestHost::<Emoticons>::start("{}").unwrap();
        let mut message = TestMessage::direct("ann", "bob", "Hello :-)");
        message.content["reply_to"] = json!(7);
        let wanted = Verdict::replace(&json!({"reply_to": 7, "text": "Hello 🙂"}));
        assert_eq!(host.before_send(&message), wanted);
        assert_eq!(
            host.before_send(&TestMessage::direct("ann", "bob", "Hello")),
            Verdict::Accept
        );
    }
}
