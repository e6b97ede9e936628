//! Shows shouted texts in lower case to viewers who chose that. The log keeps what was sent.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::serde_json::{self, Map, Value};

/// The plugin.
pub struct QuietView;

record! {
    /// The caller's choice.
    struct Choice { quiet: bool }
}

impl Plugin for QuietView {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn render(&self, cx: &Context, viewer: &str, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        // One read for the whole batch. Rendering may read, but not write.
        if cx.kv().get(format!("quiet/{viewer}"))?.is_none() {
            return Ok(vec![None; messages.len()]);
        }
        Ok(messages.iter().map(quiet).collect())
    }
}

/// Returns the content in lower case; `None` leaves the message as it is.
fn quiet(message: &Message<'_>) -> Option<Vec<u8>> {
    let mut content: Map<String, Value> = message.content_as().ok()?;
    let text = content.get("text")?.as_str()?;
    let is_shouted = text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase);
    let lower = Value::from(text.to_lowercase());
    is_shouted.then(|| content.insert("text".to_owned(), lower))?;
    serde_json::to_vec(&content).ok()
}

impl QuietView {
    fn choose(&self, cx: &Context, params: Choice) -> Result<Choice, Error> {
        let key = format!("quiet/{}", cx.caller.actor);
        if params.quiet {
            cx.kv().set(key, "")?;
        } else {
            cx.kv().delete(key)?;
        }
        Ok(params)
    }
}

register! {
    plugin: QuietView,
    id: "quiet_view",
    description: "Shows shouted texts in lower case to those who want it.",
    capabilities: [kv],
    hooks: [render { contents: ["text"] }],
    methods: [choose],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::Caller;
    use courtyard_plugin_sdk::serde_json::json;
    use courtyard_plugin_sdk::testing::TestHost;

    fn shown(host: &TestHost<QuietView>, viewer: &str, content: &str) -> Option<Vec<u8>> {
        let end = u32::try_from(content.len()).unwrap();
        // Only the content is needed here; each number is where a text ends.
        let message = Message::new(content.as_bytes(), [0, 0, 0, 0, 0, 0, 0, end], 1, 0, 0);
        host.run(|cx| QuietView.render(cx, viewer, &[message]))
            .unwrap()
            .remove(0)
    }

    #[test]
    fn only_who_chose_it_sees_it_quiet() {
        let host = TestHost::<QuietView>::start("{}").unwrap();
        let ann = Caller {
            actor: "ann".to_owned(),
            ..Caller::default()
        };
        host.call(&ann, "choose", &json!({"quiet": true})).unwrap();
        let loud = r#"{"text":"HELLO"}"#;
        assert_eq!(shown(&host, "ann", loud).unwrap(), br#"{"text":"hello"}"#);
        assert_eq!(shown(&host, "bob", loud), None);
        assert_eq!(shown(&host, "ann", r#"{"text":"Hello"}"#), None);
    }
}
