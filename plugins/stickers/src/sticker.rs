//! Stickers, and their search index.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::pack::Pack;
use crate::picture::Picture;
use crate::{quota, tokens};

/// Most emoji of a sticker.
pub(crate) const EMOJI: usize = 5;
/// Most keywords of a sticker.
pub(crate) const KEYWORDS: usize = 10;

/// A sticker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sticker {
    pub(crate) pack: String,
    pub(crate) id: String,
    pub(crate) place: u32,
    pub(crate) emoji: Vec<String>,
    pub(crate) keywords: Vec<String>,
    pub(crate) picture: Picture,
    pub(crate) bytes: u64,
    pub(crate) media_type: String,
    /// Blob id of its bytes.
    pub(crate) blob: String,
    /// The actor whose quota the bytes count for.
    pub(crate) uploader: String,
}

table! {
    Sticker in "stickers", key (pack: String, id: String);

    /// Stickers of a pack in order.
    pub(crate) many ByPlace in "place", key (pack: String, place: u32);

    /// The sticker of a blob.
    pub(crate) unique ByBlob in "blob", key (blob: String);
}

/// An entry of the search index: a word or an emoji of a sticker in a listed pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Word {
    pub(crate) word: String,
    pub(crate) pack: String,
    pub(crate) sticker: String,
}

table! {
    Word in "words", key (word: String, pack: String, sticker: String);
}

/// Emoji and keywords of a sticker, as its owner set them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) emoji: Vec<String>,
    pub(crate) keywords: Vec<String>,
}

impl Tags {
    /// Parses and checks tags.
    ///
    /// # Errors
    /// `invalid_emoji` or `invalid_keywords`.
    pub(crate) fn parse(emoji: &[String], keywords: &[String]) -> Result<Self, Error> {
        let read: Option<Vec<String>> = emoji.iter().map(|text| tokens::emoji(text)).collect();
        let emoji = read.filter(|read| read.len() <= EMOJI);
        let fits = |word: &String| (1..=32).contains(&word.chars().count()) && !word.chars().any(char::is_control);
        if keywords.len() > KEYWORDS || !keywords.iter().all(fits) {
            return Err(Error::new(
                "invalid_keywords",
                format!("A sticker has up to {KEYWORDS} keywords of 1 to 32 characters."),
            ));
        }
        Ok(Self {
            emoji: emoji.ok_or_else(|| {
                Error::new(
                    "invalid_emoji",
                    format!("A sticker has up to {EMOJI} emoji, and nothing else among them."),
                )
            })?,
            keywords: keywords.to_vec(),
        })
    }
}

impl Sticker {
    /// Returns the words and emoji of its index entries.
    pub(crate) fn words(&self) -> Vec<String> {
        words(&self.emoji, &self.keywords)
    }

    /// Adds it to the search index, or removes it.
    pub(crate) fn list(&self, cx: &Context, is_listed: bool) -> Result<(), Error> {
        let table = cx.table::<Word>();
        for word in self.words() {
            let row = Word {
                word,
                pack: self.pack.clone(),
                sticker: self.id.clone(),
            };
            if is_listed {
                table.put(&row)?;
            } else {
                table.remove(row.key())?;
            }
        }
        Ok(())
    }
}

/// Returns emoji and the words of keywords, sorted and without duplicates.
pub(crate) fn words(emoji: &[String], keywords: &[String]) -> Vec<String> {
    let mut words = tokens::words(&keywords.join(" "));
    words.truncate(2 * KEYWORDS);
    words.extend(emoji.iter().cloned());
    words.sort();
    words.dedup();
    words
}

pub(crate) fn unknown() -> Error {
    Error::new("unknown_sticker", "This sticker doesn't exist.")
}

/// Checks a chosen id: 1 to 64 of `a-z 0-9 _ -`.
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    let fits = (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'));
    if fits {
        Ok(())
    } else {
        Err(Error::new(
            "invalid_id",
            "A sticker id must have 1 to 64 characters of a-z 0-9 _ -.",
        ))
    }
}

/// Appends a sticker to a pack; the caller has to store the pack.
pub(crate) fn add(cx: &Context, pack: &mut Pack, most: u32, sticker: Sticker) -> Result<Sticker, Error> {
    if pack.count >= most {
        return Err(Error::new(
            "limit_stickers",
            format!("This pack has {most} stickers, which is the limit."),
        ));
    }
    let sticker = Sticker {
        place: pack.next,
        ..sticker
    };
    let table = cx.table::<Sticker>();
    if table.contains((&*sticker.pack, &*sticker.id))? {
        return Err(Error::new("conflict", "The pack already has a sticker with this id."));
    }
    table.insert(&sticker)?;
    if pack.is_listed() {
        sticker.list(cx, true)?;
    }
    pack.count += 1;
    pack.next += 1;
    if pack.cover.is_none() {
        pack.cover = Some(sticker.id.clone());
    }
    Ok(sticker)
}

/// Removes a sticker with its bytes.
pub(crate) fn remove(cx: &Context, sticker: &Sticker) -> Result<(), Error> {
    sticker.list(cx, false)?;
    cx.table::<Sticker>().remove(sticker.key())?;
    quota::release(cx, &sticker.uploader, sticker.bytes)?;
    match cx.blobs().remove(&sticker.blob) {
        Err(courtyard_plugin_sdk::ServiceError::NotFound) => Ok(()),
        removed => Ok(removed?),
    }
}
