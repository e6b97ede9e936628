//! Lets each member send one message every ten seconds in a group.

use courtyard_plugin_sdk::prelude::*;

const PAUSE_MS: u64 = 10_000;

/// The plugin.
pub struct SlowMode;

impl SlowMode {
    fn check(cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        let key = format!("last/{}/{}", message.conversation(), message.sender());
        // The key disappears by itself when the pause is over.
        if cx.kv().get(&key)?.is_some() {
            let error = Error::new("rate_limited", "Please wait some seconds before you write again.");
            return Err(error.retryable());
        }
        cx.kv().set_until(&key, "", cx.now_ms() + PAUSE_MS)?;
        Ok(())
    }
}

impl Plugin for SlowMode {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        // An edit is not a new message. The key commits with the message: one that another plugin rejects costs no pause.
        if message.edits() > 0 {
            return Verdict::Accept;
        }
        Self::check(cx, message).map_or_else(Verdict::Reject, |()| Verdict::Accept)
    }
}

register! {
    plugin: SlowMode,
    id: "slow_mode",
    description: "One message of each member every ten seconds.",
    capabilities: [kv],
    hooks: [before_send(guard) { conversations: ["group"] }],
    methods: [],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::testing::{TestHost, TestMessage};

    #[test]
    fn the_second_message_waits() {
        let host = TestHost::<SlowMode>::start("{}").unwrap();
        let say = || host.before_send(&TestMessage::direct("ann", "bob", "Hello"));
        assert_eq!(say(), Verdict::Accept);
        assert!(matches!(say(), Verdict::Reject(error) if error.retry));
        host.set_clock(1_000_000 + PAUSE_MS);
        assert_eq!(say(), Verdict::Accept);
    }
}
