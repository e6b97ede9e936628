//! Sends every message of a kind of conversation to another server.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::serde_json::{self, Value, json};

/// The plugin, with its configuration: `[plugins.config]` with `url = "https://hooks.example/chat"`.
pub struct Webhook {
    url: String,
}

record! {
    /// The configuration.
    struct Settings { url: String }
}

impl Plugin for Webhook {
    fn start(configuration: &str) -> Result<Self, Error> {
        let settings: Settings =
            serde_json::from_str(configuration).map_err(|error| Error::new("invalid_config", error.to_string()))?;
        Ok(Self { url: settings.url })
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        // Hooks send no requests: the job does, after this transaction has committed.
        let content: Value = message.content_as()?;
        let payload = json!({"sender": message.sender(), "seq": message.seq(), "content": content});
        Ok(cx.jobs().add("deliver", &payload)?)
    }

    fn action(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        let payload: Value = job.payload_as()?;
        let secret = cx.secret("token").unwrap_or_default();
        // The id is the same in all attempts, so the other server recognises a repetition.
        let request = FetchRequest::post_json(&self.url, &payload)
            .header("authorization", format!("Bearer {secret}"))
            .header("idempotency-key", job.id.clone());
        let status = cx.fetch(&request)?.status;
        let failed = || Error::new("webhook", format!("The server answered with status {status}."));
        match status {
            200..=299 => Ok(()),
            429 | 500.. => Err(failed().retryable()),
            // Without a retry, the job becomes a dead letter, which an operator can replay.
            _ => Err(failed()),
        }
    }
}

register! {
    plugin: Webhook,
    id: "webhook",
    description: "Sends messages to another server.",
    capabilities: [fetch, jobs, secrets],
    hooks: [after_send { conversations: ["group"] }, action],
    methods: [],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::testing::{TestHost, TestMessage};

    #[test]
    fn a_message_is_delivered_until_the_server_accepts_it() {
        let url = "https://hooks.example/chat";
        let host = TestHost::<Webhook>::start(&json!({ "url": url }).to_string()).unwrap();
        host.set_secret("token", "secret");
        host.after_send(&TestMessage::direct("ann", "bob", "Hello")).unwrap();
        host.set_response(url, HttpResponse::new(503, "text/plain", ""));
        assert!(host.run_jobs().unwrap_err().retry);
        host.set_response(url, HttpResponse::new(204, "text/plain", ""));
        host.run_jobs().unwrap();
        let sent = host.take_fetched();
        assert_eq!(sent.len(), 2);
        assert!(
            sent[1]
                .headers
                .contains(&("authorization".to_owned(), b"Bearer secret".to_vec()))
        );
    }
}
