//! The messages of one conversation, with their changes applied.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Annotation, History, LogEvent, Reaction};

/// The messages of one conversation, each with its current content, edit, recall, reactions and annotations.
///
/// Live events and pages of history can be added in any order, and more than once.
///
/// ```
/// use courtyard_client::{Event, MessageList};
///
/// fn show(list: &mut MessageList, event: Event) {
///     if let Event::Message(event) | Event::Change(event) = event {
///         list.add(event);
///     }
///     for message in list.iter() {
///         println!("{}: {} {:?}", message.sender, message.content, message.reactions);
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MessageList {
    entries: BTreeMap<u64, FoldedMessage>,
    first: Option<u64>,
}

/// A message with its changes, or only the changes of a message that is not added yet.
#[derive(Clone, Debug, Default)]
struct FoldedMessage {
    /// The message as the server sent it.
    base: Option<LogEvent>,
    /// Number of the newest event that the server has applied to `base`.
    head: u64,
    /// Later changes, by number.
    changes: BTreeMap<u64, LogEvent>,
    /// `base` with `changes` applied.
    message: Option<LogEvent>,
}

impl MessageList {
    /// Returns a list without messages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event, and returns the new or changed message.
    pub fn add(&mut self, event: LogEvent) -> Option<&LogEvent> {
        let head = event.seq;
        self.add_as_of(event, head)
    }

    /// Adds a page of history.
    pub fn add_page(&mut self, page: &History) {
        for event in &page.events {
            self.add_as_of(event.clone(), page.head);
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns a message by its number.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<&LogEvent> {
        self.entries.get(&seq)?.message.as_ref()
    }

    /// Returns the lowest number of all added events, messages or not: older history ends before it.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    /// Returns the messages, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &LogEvent> {
        self.entries.values().filter_map(|entry| entry.message.as_ref())
    }

    /// Adds an event to which the server has applied all events up to `head`.
    fn add_as_of(&mut self, event: LogEvent, head: u64) -> Option<&LogEvent> {
        self.first = Some(self.first.map_or(event.seq, |first| first.min(event.seq)));
        let number = if event.is_message() { event.seq } else { event.target? };
        let entry = self.entries.entry(number).or_default();
        if event.is_message() {
            if entry.base.is_some() && head < entry.head {
                return None;
            }
            (entry.base, entry.head) = (Some(event), head);
        } else if event.seq <= entry.head || entry.changes.contains_key(&event.seq) {
            return None;
        } else {
            entry.changes.insert(event.seq, event);
        }
        entry.fold()
    }
}

impl FoldedMessage {
    /// Applies the changes, and returns the message.
    fn fold(&mut self) -> Option<&LogEvent> {
        let mut message = self.base.clone()?;
        self.changes = self.changes.split_off(&self.head.saturating_add(1));
        for change in self.changes.values() {
            apply(&mut message, change);
        }
        if message.recalled {
            // Removes the content from memory. The head rejects older pages, which would bring it back.
            (self.base, self.head) = (Some(message.clone()), u64::MAX);
            self.changes.clear();
        }
        self.message = Some(message);
        self.message.as_ref()
    }
}

/// Applies an event to a message. An unknown event changes nothing.
fn apply(message: &mut LogEvent, event: &LogEvent) {
    if message.recalled {
        return;
    }
    match &*event.event_type {
        "edit" => {
            message.content.clone_from(&event.content);
            message.edited = Some(event.time);
        }
        "recall" => {
            message.content = json!({});
            message.edited = None;
            message.recalled = true;
            message.reactions.clear();
            message.annotations.clear();
        }
        "reaction" => {
            if let (Some(emoji), Some(on)) = (event.content["emoji"].as_str(), event.content["on"].as_bool()) {
                react(&mut message.reactions, emoji, &event.sender, on);
            }
        }
        "annotation" => annotate(&mut message.annotations, event),
        _ => {}
    }
}

fn react(reactions: &mut Vec<Reaction>, emoji: &str, actor: &str, on: bool) {
    let known = reactions.iter().position(|reaction| reaction.emoji == emoji);
    match (known, on) {
        (None, true) => reactions.push(Reaction {
            emoji: emoji.to_owned(),
            actors: vec![actor.to_owned()],
        }),
        (None, false) => {}
        (Some(at), true) => {
            let actors = &mut reactions[at].actors;
            if !actors.iter().any(|known| known == actor) {
                actors.push(actor.to_owned());
            }
        }
        (Some(at), false) => {
            reactions[at].actors.retain(|known| known != actor);
            if reactions[at].actors.is_empty() {
                reactions.remove(at);
            }
        }
    }
}

fn annotate(annotations: &mut Vec<Annotation>, event: &LogEvent) {
    let value = event.content.get("value").cloned().unwrap_or(Value::Null);
    let mut known = annotations.iter_mut();
    match known.find(|known| known.plugin == event.sender && known.name == event.kind) {
        Some(known) => known.value = value,
        None => annotations.push(Annotation {
            plugin: event.sender.clone(),
            name: event.kind.clone(),
            value,
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn event(seq: u64, members: Value) -> LogEvent {
        let mut event = json!({"id": format!("e{seq}"), "conversation": "c", "seq": seq, "type": "message",
            "sender": "ann", "time": seq});
        let Value::Object(members) = members else { panic!() };
        event.as_object_mut().unwrap().extend(members);
        serde_json::from_value(event).unwrap()
    }

    fn message(seq: u64, text: &str) -> LogEvent {
        event(seq, json!({"kind": "text", "content": {"text": text}}))
    }

    fn edit(seq: u64, target: u64, text: &str) -> LogEvent {
        event(
            seq,
            json!({"type": "edit", "target": target, "content": {"text": text}}),
        )
    }

    fn reaction(seq: u64, emoji: &str, actor: &str, on: bool) -> LogEvent {
        let content = json!({"emoji": emoji, "on": on});
        event(
            seq,
            json!({"type": "reaction", "target": 1, "sender": actor, "content": content}),
        )
    }

    fn page(head: u64, events: Vec<LogEvent>) -> History {
        History {
            conversation: "c".to_owned(),
            epoch: 0,
            head,
            events,
        }
    }

    fn reactions(list: &MessageList) -> Vec<(&str, Vec<&str>)> {
        let reactions = list.get(1).unwrap().reactions.iter();
        reactions
            .map(|reaction| {
                let actors = reaction.actors.iter().map(String::as_str).collect();
                (reaction.emoji.as_str(), actors)
            })
            .collect()
    }

    #[test]
    fn live_events_change_their_messages() {
        let mut list = MessageList::new();
        list.add(message(1, "1"));
        list.add(message(2, "2"));
        list.add(edit(3, 1, "one"));
        list.add(reaction(4, "👍", "bob", true));
        list.add(reaction(5, "👍", "ann", true));
        list.add(reaction(6, "🎂", "bob", true));
        list.add(reaction(7, "👍", "bob", true));
        list.add(reaction(8, "🎂", "bob", false));
        list.add(reaction(9, "never", "bob", false));
        for (seq, value) in [(10, json!(1)), (11, json!({"text": "uno"}))] {
            let annotation = json!({"type": "annotation", "target": 1, "sender": "clerk", "kind": "es",
                "content": {"value": value}});
            list.add(event(seq, annotation));
        }
        assert!(list.add(event(12, json!({"type": "members"}))).is_none());
        list.add(event(13, json!({"type": "of the future", "target": 1})));
        let one = list.get(1).unwrap();
        assert_eq!((&one.content["text"], one.edited), (&json!("one"), Some(3)));
        assert_eq!(reactions(&list), [("👍", vec!["bob", "ann"])]);
        assert_eq!(one.annotations.len(), 1);
        assert_eq!(one.annotations[0].value["text"], "uno");
        assert_eq!(
            list.iter().map(|message| message.seq).collect::<Vec<_>>(),
            [1, 2],
            "only messages"
        );
        assert_eq!(list.first(), Some(1));
    }

    #[test]
    fn the_content_of_a_recalled_message_is_removed_and_stays_removed() {
        let mut list = MessageList::new();
        list.add(message(1, "secret"));
        list.add(reaction(2, "👍", "bob", true));
        let recalled = list.add(event(3, json!({"type": "recall", "target": 1, "content": {}})));
        assert!(recalled.unwrap().recalled && recalled.unwrap().reactions.is_empty());
        list.add(reaction(4, "👍", "bob", true));
        list.add_page(&page(2, vec![message(1, "secret")]));
        assert!(reactions(&list).is_empty());
        assert!(!format!("{list:?}").contains("secret"));
    }

    #[test]
    fn changes_that_history_includes_are_not_applied_twice_in_any_order() {
        // Event 40 removes Bob's reaction of event 3; the page with 40 is read before the one with 3.
        let edited = event(1, json!({"kind": "text", "content": {"text": "new"}, "edited": 5}));
        let newer = page(41, vec![reaction(40, "👍", "bob", false), message(41, "41")]);
        let older = page(41, vec![edited, reaction(3, "👍", "bob", true), edit(4, 1, "old")]);
        for order in [vec![&newer, &older], vec![&older, &newer], vec![&older, &newer, &older]] {
            let mut list = MessageList::new();
            order.into_iter().for_each(|page| list.add_page(page));
            assert_eq!(list.get(1).unwrap().content["text"], "new");
            assert!(reactions(&list).is_empty());
        }
        // A page that the server read before event 42, and that arrives after it.
        let mut list = MessageList::new();
        list.add(reaction(42, "🎂", "bob", true));
        assert_eq!(list.iter().count(), 0);
        list.add_page(&older);
        assert_eq!(reactions(&list), [("🎂", vec!["bob"])]);
        let newest = event(1, json!({"reactions": [{"emoji": "🌱", "actors": ["ann"]}]}));
        list.add_page(&page(50, vec![newest]));
        list.add_page(&older);
        assert_eq!(reactions(&list), [("🌱", vec!["ann"])]);
    }
}
