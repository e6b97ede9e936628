//! Revisions: the changes of a message since it was sent.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::encode;
use crate::wire::reply::{Annotation, Reaction, Revised};

/// The sum of all edits, recalls, reactions and annotations of one message, as readers see it. The events themselves stay
/// in the log.
///
/// In the store: postcard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The last edit.
    pub edit: Option<Edit>,
    /// Whether the message was recalled; readers then get no content.
    pub recalled: bool,
    /// The reactions, in the order of the first of each emoji.
    pub reactions: Vec<Reaction>,
    /// The annotations of plugins.
    pub annotations: Vec<Annotation>,
}

/// The content that replaces the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The time of the edit, in milliseconds since 1970.
    pub time_ms: u64,
    /// A JSON object.
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
}

/// The number of different emoji that a message can have.
const MAX_EMOJI: usize = 50;
/// The number of reactions that a message can have.
const MAX_REACTIONS: usize = 5_000;
/// The number of annotations that a message can have.
const MAX_ANNOTATIONS: usize = 100;

/// A message has the largest number of reactions or annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message has the largest number of reactions or annotations")]
pub struct RevisionFull;

impl Revision {
    /// Decodes a revision; none unless [`Revision::encode`] can have written the bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    /// Encodes it for the store.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Replaces the content.
    pub fn edit(&mut self, time_ms: u64, content: &[u8]) {
        self.edit = Some(Edit {
            time_ms,
            content: content.to_vec(),
        });
    }

    /// Recalls the message, which removes its edit, reactions and annotations.
    pub fn recall(&mut self) {
        *self = Self {
            recalled: true,
            ..Self::default()
        };
    }

    /// Adds or removes a reaction. Returns whether anything changed.
    ///
    /// # Errors
    /// When the message has the largest number of them.
    pub fn react(&mut self, actor: &str, emoji: &str, on: bool) -> Result<bool, RevisionFull> {
        let index = self.reactions.iter().position(|reaction| reaction.emoji == emoji);
        match (index, on) {
            (None, false) => Ok(false),
            (None, true) => {
                if self.reactions.len() >= MAX_EMOJI || self.count() >= MAX_REACTIONS {
                    return Err(RevisionFull);
                }
                self.reactions.push(Reaction {
                    emoji: emoji.to_owned(),
                    actors: vec![actor.to_owned()],
                });
                Ok(true)
            }
            (Some(index), on) => {
                let count = self.count();
                let actors = &mut self.reactions[index].actors;
                let known = actors.iter().position(|known| known == actor);
                match (known, on) {
                    (None, true) if count >= MAX_REACTIONS => return Err(RevisionFull),
                    (None, true) => actors.push(actor.to_owned()),
                    (Some(at), false) => drop(actors.remove(at)),
                    (Some(_), true) | (None, false) => return Ok(false),
                }
                if actors.is_empty() {
                    self.reactions.remove(index);
                }
                Ok(true)
            }
        }
    }

    fn count(&self) -> usize {
        self.reactions.iter().map(|reaction| reaction.actors.len()).sum()
    }

    /// Sets an annotation of a plugin, under a name.
    ///
    /// # Errors
    /// When the message has the largest number of them.
    pub fn annotate(
        &mut self,
        plugin: &str,
        name: &str,
        value: &serde_json::value::RawValue,
    ) -> Result<(), RevisionFull> {
        let value = value.get().to_owned();
        let mut own = self.annotations.iter_mut();
        if let Some(known) = own.find(|known| known.plugin == plugin && known.name == name) {
            known.value = value;
            return Ok(());
        }
        if self.annotations.len() >= MAX_ANNOTATIONS {
            return Err(RevisionFull);
        }
        self.annotations.push(Annotation {
            plugin: plugin.to_owned(),
            name: name.to_owned(),
            value,
        });
        Ok(())
    }

    /// Returns the revision as readers see it, without the content.
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
    fn a_reaction_counts_once_for_each_actor_and_disappears_with_the_last() {
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
        assert_eq!(revision.react("ann", "more", true), Err(RevisionFull));
        let value = serde_json::value::to_raw_value(&1).unwrap();
        for index in 0..MAX_ANNOTATIONS {
            assert_eq!(revision.annotate("p", &index.to_string(), &value), Ok(()));
        }
        assert_eq!(revision.annotate("p", "0", &value), Ok(()));
        assert_eq!(revision.annotate("p", "more", &value), Err(RevisionFull));
    }

    #[test]
    fn a_recall_removes_edit_reactions_and_annotations() {
        let mut revision = Revision::default();
        revision.edit(5, b"{}");
        revision.react("ann", "👍", true).unwrap();
        revision.recall();
        assert_eq!(Revision::decode(&revision.encode()), Some(revision.clone()));
        assert!(revision.recalled && revision.edit.is_none() && revision.reactions.is_empty());
    }
}
