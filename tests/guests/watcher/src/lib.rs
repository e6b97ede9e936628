//! A plugin that transforms, observes and renders, for the host's tests.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Watcher;

record! {
    /// A text message.
    struct Text { text: String }
}

record! {
    /// Nothing.
    struct Nothing {}
}

record! {
    /// The numbers of the observed messages, in order.
    struct Seen { seqs: Vec<u64> }
}

impl Plugin for Watcher {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        let Ok(Text { text }) = message.content_as() else {
            return Verdict::Accept;
        };
        if text == "trap" {
            // The trap must roll back the writes before it.
            let _ = cx.kv().set("trapped", "yes");
            panic!("on request");
        }
        if text.contains("teh") {
            return Verdict::replace(&Text {
                text: text.replace("teh", "the"),
            });
        }
        Verdict::Accept
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        let text = message.content_as::<Text>()?.text;
        if text == "unbearable" {
            return Err(Error::new("unbearable", "I can't look at this."));
        }
        let mut seen: Vec<u64> = cx.kv().get_json("seen")?.unwrap_or_default();
        seen.push(message.seq());
        cx.kv().set_json("seen", &seen)?;
        Ok(())
    }

    fn render(&self, _cx: &Context, viewer: &str, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let render = |message: &Message<'_>| {
            let text = message.content_as::<Text>().ok()?.text;
            if text == "trap render" {
                panic!("on request");
            }
            (viewer != message.sender()).then(|| format!(r#"{{"text":"{text}, {viewer}"}}"#).into_bytes())
        };
        Ok(messages.iter().map(render).collect())
    }
}

impl Watcher {
    fn seen(&self, cx: &Context, _params: Nothing) -> Result<Seen, Error> {
        Ok(Seen {
            seqs: cx.kv().get_json("seen")?.unwrap_or_default(),
        })
    }

    fn trapped(&self, cx: &Context, _params: Nothing) -> Result<Seen, Error> {
        Ok(Seen {
            seqs: cx.kv().get("trapped")?.into_iter().map(|_| 1).collect(),
        })
    }
}

register! {
    plugin: Watcher,
    id: "watcher",
    description: "Transforms, observes and renders.",
    capabilities: [kv],
    hooks: [before_send(transform) { contents: ["text"] }, after_send { contents: ["text"] }, render { contents: ["text"] }],
    methods: [seen, trapped],
}
