//! What has become of a message since it was sent.

use serde::{Deserialize, Serialize};

use crate::wire::reply::{Annotation, Reaction, Revised};

/// Edits, recall, reactions and annotations of one message, folded into what readers see. The events that led to it stay
/// in the log.
///
/// On the disk: postcard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The last edit.
    pub edit: Option<Edit>,
    /// Whether its sender took it back: nobody reads it any more.
    pub recalled: bool,
    /// Who reacted, in the order of the first of each emoji.
    pub reactions: Vec<Reaction>,
    /// What plugins said about it.
    pub annotations: Vec<Annotation>,
}

/// The content that stands in the place of the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// A JSON object.
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
}

/// How many different emoji a message can have.
const MAX_EMOJI: usize = 50;
/// How many reactions a message can have.
const MAX_REACTIONS: usize = 5_000;
/// How many annotations a message can have.
const MAX_ANNOTATIONS: usize = 100;

/// A message has as many reactions or annotations as it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message has as many of them as it can have")]
pub struct Full;

impl Revision {
    /// Decodes what [`Revision::encode`] wrote; none for other bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    /// Encodes it for the store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing into a vector has no way to fail.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Puts a content in the place of the last one.
    pub fn edit(&mut self, time_ms: u64, content: &[u8]) {
        self.edit = Some(Edit {
            time_ms,
            content: content.to_vec(),
        });
    }

    /// Takes the message back, with all that was said about it.
    pub fn recall(&mut self) {
        *self = Self {
            recalled: true,
            ..Self::default()
        };
    }

    /// Adds a reaction, or takes it away. Returns whether that changed anything.
    ///
    /// # Errors
    /// When the message has as many as it can have.
    pub fn react(&mut self, actor: &str, emoji: &str, on: bool) -> Result<bool, Full> {
        let place = self.reactions.iter().position(|reaction| reaction.emoji == emoji);
        match (place, on) {
            (None, false) => Ok(false),
            (None, true) => {
                if self.reactions.len() >= MAX_EMOJI || self.count() >= MAX_REACTIONS {
                    return Err(Full);
                }
                self.reactions.push(Reaction {
                    emoji: emoji.to_owned(),
                    actors: vec![actor.to_owned()],
                });
                Ok(true)
            }
            (Some(place), on) => {
                let count = self.count();
                let actors = &mut self.reactions[place].actors;
                let known = actors.iter().position(|known| known == actor);
                match (known, on) {
                    (None, true) if count >= MAX_REACTIONS => return Err(Full),
                    (None, true) => actors.push(actor.to_owned()),
                    (Some(at), false) => drop(actors.remove(at)),
                    (Some(_), true) | (None, false) => return Ok(false),
                }
                if actors.is_empty() {
                    self.reactions.remove(place);
                }
                Ok(true)
            }
        }
    }

    fn count(&self) -> usize {
        self.reactions.iter().map(|reaction| reaction.actors.len()).sum()
    }

    /// Sets what a plugin says about the message under a name.
    ///
    /// # Errors
    /// When the message has as many as it can have.
    pub fn annotate(&mut self, plugin: &str, name: &str, value: &serde_json::value::RawValue) -> Result<(), Full> {
        let value = value.get().to_owned();
        let mut own = self.annotations.iter_mut();
        if let Some(known) = own.find(|known| known.plugin == plugin && known.name == name) {
            known.value = value;
            return Ok(());
        }
        if self.annotations.len() >= MAX_ANNOTATIONS {
            return Err(Full);
        }
        self.annotations.push(Annotation {
            plugin: plugin.to_owned(),
            name: name.to_owned(),
            value,
        });
        Ok(())
    }

    /// Returns what readers see of it besides the content.
    #[must_use]
    pub fn view(&self) -> Revised<'_> {
        Revised {
            edited: self.edit.as_ref().map(|edit| edit.time_ms),
            recalled: self.recalled,
            reactions: &self.reactions,
            annotations: &self.annotations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_counts_once_for_each_actor_and_goes_with_the_last() {
        let mut revision = Revision::default();
        assert_eq!(revision.react("ann", "👍", true), Ok(true));
        assert_eq!(revision.react("ann", "👍", true), Ok(false));
        assert_eq!(revision.react("bob", "👍", true), Ok(true));
        assert_eq!(revision.react("bob", "🎉", false), Ok(false));
        assert_eq!(revision.react("ann", "👍", false), Ok(true));
        assert_eq!(revision.reactions[0].actors, ["bob"]);
        assert_eq!(revision.react("bob", "👍", false), Ok(true));
        assert!(revision.reactions.is_empty());
    }

    #[test]
    fn emoji_and_annotations_are_bounded() {
        let mut revision = Revision::default();
        for index in 0..MAX_EMOJI {
            assert_eq!(revision.react("ann", &index.to_string(), true), Ok(true));
        }
        assert_eq!(revision.react("ann", "more", true), Err(Full));
        let value = serde_json::value::to_raw_value(&1).unwrap();
        for index in 0..MAX_ANNOTATIONS {
            assert_eq!(revision.annotate("p", &index.to_string(), &value), Ok(()));
        }
        assert_eq!(revision.annotate("p", "0", &value), Ok(()));
        assert_eq!(revision.annotate("p", "more", &value), Err(Full));
    }

    #[test]
    fn a_recall_leaves_nothing_of_what_was_said() {
        let mut revision = Revision::default();
        revision.edit(5, b"{}");
        revision.react("ann", "👍", true).unwrap();
        revision.recall();
        assert_eq!(Revision::decode(&revision.encode()), Some(revision.clone()));
        assert!(revision.recalled && revision.edit.is_none() && revision.reactions.is_empty());
    }
}
