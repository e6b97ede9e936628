//! A bot that rolls dice: its conversations are its own, and it answers in them.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::serde_json::{Value, json};

const BOT: &str = "dice";

/// The plugin.
pub struct Dice;

record! {
    /// No parameters.
    struct Nothing {}
}
record! {
    /// Where to talk to the bot.
    struct Opened { conversation: String }
}

impl Plugin for Dice {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        // The bot observes its own answers as well, and edits.
        if message.sender() == BOT || message.edits() > 0 {
            return Ok(());
        }
        let content: Value = message.content_as()?;
        let answer = match content["text"].as_str() {
            Some("/roll") => format!("You rolled a {}.", cx.random::<1>()[0] % 6 + 1),
            _ => "Write /roll.".to_owned(),
        };
        // Committed together with the note that this message was observed: the answer comes once.
        Ok(cx
            .conversations()
            .append(message.conversation(), BOT, "text", &json!({"text": answer}))?)
    }
}

impl Dice {
    fn open(&self, cx: &Context, _params: Nothing) -> Result<Opened, Error> {
        let members = [cx.caller.actor.clone(), BOT.to_owned()];
        let conversation = cx.conversations().open(&cx.caller.actor, "bot", &members)?.id;
        Ok(Opened { conversation })
    }
}

register! {
    plugin: Dice,
    id: "dice",
    description: "A bot that rolls dice.",
    capabilities: [conversations],
    hooks: [after_send { conversations: ["bot"], contents: ["text"] }],
    methods: [open],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::Caller;
    use courtyard_plugin_sdk::testing::{TestHost, TestMessage};

    #[test]
    fn it_answers_others_and_not_itself() {
        let host = TestHost::<Dice>::start("{}").unwrap();
        let ann = Caller {
            actor: "ann".to_owned(),
            ..Caller::default()
        };
        let opened = host.call(&ann, "open", &json!({})).unwrap();
        let conversation = opened["conversation"].as_str().unwrap();
        for (sender, answers) in [("ann", 1), (BOT, 1), ("ann", 2)] {
            let message = TestMessage {
                conversation: conversation.to_owned(),
                ..TestMessage::direct(sender, "", "/roll")
            };
            host.after_send(&message).unwrap();
            assert_eq!(host.messages(conversation).len(), answers);
        }
        assert!(
            host.messages(conversation)[0]
                .content
                .starts_with(br#"{"text":"You rolled a "#)
        );
    }
}
