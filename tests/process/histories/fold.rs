//! The folding of events into messages by the protocol, implemented independently of the server and the client library.

use courtyard_client::LogEvent;
use serde_json::{Value, json};

/// A message as of some number of its conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) kind: String,
    pub(crate) sender: String,
    pub(crate) content: Value,
    pub(crate) edited: Option<u64>,
    pub(crate) recalled: bool,
    /// Emoji with their actors, in the order of the first reaction of each.
    pub(crate) reactions: Vec<(String, Vec<String>)>,
    /// Plugin, name and value.
    pub(crate) annotations: Vec<(String, String, Value)>,
}

impl Message {
    /// Converts a message from an event or a page of history.
    pub(crate) fn of(event: &LogEvent) -> Self {
        let reactions = event.reactions.iter();
        let annotations = event.annotations.iter();
        Self {
            seq: event.seq,
            kind: event.kind.clone(),
            sender: event.sender.clone(),
            content: event.content.clone(),
            edited: event.edited,
            recalled: event.recalled,
            reactions: reactions
                .map(|reaction| (reaction.emoji.clone(), reaction.actors.clone()))
                .collect(),
            annotations: annotations
                .map(|said| (said.plugin.clone(), said.name.clone(), said.value.clone()))
                .collect(),
        }
    }

    /// Returns true if both look the same to a reader; the time of an edit may differ by a moment.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        const MOMENT_MS: u64 = 60_000;
        let edits = match (self.edited, other.edited) {
            (Some(one), Some(other)) => one.abs_diff(other) < MOMENT_MS,
            (one, other) => one == other,
        };
        edits
            && Self {
                edited: None,
                ..self.clone()
            } == Self {
                edited: None,
                ..other.clone()
            }
    }

    /// Applies a later event on this message.
    pub(crate) fn apply(&mut self, event: &LogEvent) {
        if self.recalled {
            return;
        }
        match &*event.event_type {
            "edit" => {
                self.content = event.content.clone();
                self.edited = Some(event.time);
            }
            "recall" => {
                *self = Self {
                    content: json!({}),
                    edited: None,
                    recalled: true,
                    reactions: Vec::new(),
                    annotations: Vec::new(),
                    ..std::mem::take(self)
                };
            }
            "reaction" => {
                let emoji = event.content["emoji"].as_str().unwrap_or_default();
                self.react(emoji, &event.sender, event.content["on"] == true);
            }
            "annotation" => {
                let value = event.content["value"].clone();
                let said =
                    |(plugin, name, _): &&mut (String, String, Value)| *plugin == event.sender && *name == event.kind;
                match self.annotations.iter_mut().find(said) {
                    Some(known) => known.2 = value,
                    None => self.annotations.push((event.sender.clone(), event.kind.clone(), value)),
                }
            }
            _ => {}
        }
    }

    fn react(&mut self, emoji: &str, actor: &str, on: bool) {
        if on && !self.reactions.iter().any(|(known, _)| known == emoji) {
            self.reactions.push((emoji.to_owned(), Vec::new()));
        }
        if let Some((_, actors)) = self.reactions.iter_mut().find(|(known, _)| known == emoji) {
            let is_there = actors.iter().any(|known| known == actor);
            match (on, is_there) {
                (true, false) => actors.push(actor.to_owned()),
                (false, true) => actors.retain(|known| known != actor),
                _ => {}
            }
        }
        self.reactions.retain(|(_, actors)| !actors.is_empty());
    }
}
