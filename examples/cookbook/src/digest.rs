//! Counts messages, and sends each subscriber a digest every day.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::serde_json::json;

const DAY_MS: u64 = 86_400_000;

/// The plugin.
pub struct Digest;

record! {
    /// No parameters.
    struct Nothing {}
}

impl Plugin for Digest {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        if message.edits() == 0 && !message.receiver().is_empty() {
            let key = format!("count/{}", message.receiver());
            let count = cx.kv().get_json::<u64>(&key)?.unwrap_or(0);
            cx.kv().set_json(&key, &(count + 1))?;
        }
        Ok(())
    }

    fn timer(&self, cx: &Context, name: &str, _payload: &[u8]) -> Result<(), Error> {
        // A timer's name is its subscriber. Firing, the digest, the new count and the next timer are one transaction.
        let key = format!("count/{name}");
        let count = cx.kv().get_json::<u64>(&key)?.unwrap_or(0);
        if count > 0 {
            let news = cx.conversations().open(name, "news", &[name.to_owned()])?;
            let text = json!({"text": format!("{count} messages in a day.")});
            cx.conversations().append(&news.id, "digest", "text", &text)?;
            cx.kv().delete(&key)?;
        }
        Ok(cx.timers().set(name, cx.now_ms() + DAY_MS, &())?)
    }
}

impl Digest {
    fn subscribe(&self, cx: &Context, params: Nothing) -> Result<Nothing, Error> {
        cx.timers().set(&cx.caller.actor, cx.now_ms() + DAY_MS, &())?;
        Ok(params)
    }

    fn unsubscribe(&self, cx: &Context, params: Nothing) -> Result<Nothing, Error> {
        cx.timers().cancel(&cx.caller.actor)?;
        Ok(params)
    }
}

register! {
    plugin: Digest,
    id: "digest",
    description: "A daily digest.",
    capabilities: [conversations, kv, timers],
    hooks: [after_send { conversations: ["direct"] }, timer],
    methods: [subscribe, unsubscribe],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::Caller;
    use courtyard_plugin_sdk::testing::{TestHost, TestMessage};

    #[test]
    fn a_digest_comes_once_a_day_with_something_in_it() {
        let host = TestHost::<Digest>::start("{}").unwrap();
        let bob = Caller {
            actor: "bob".to_owned(),
            ..Caller::default()
        };
        host.call(&bob, "subscribe", &json!({})).unwrap();
        host.after_send(&TestMessage::direct("ann", "bob", "Hello")).unwrap();
        for (days, digests) in [(0, 0), (1, 1), (2, 1)] {
            host.set_clock(1_000_000 + days * DAY_MS);
            host.fire_timers().unwrap();
            let news = host.run(|cx| Ok(cx.conversations().find("bob"))).unwrap();
            let sent = news.map_or(0, |news| host.messages(&news.id).len());
            assert_eq!(sent, digests, "after {days} days");
        }
    }
}
