//! Import of a folder of stickers with an index in the format of Matrix image packs (MSC2545): each image by its short code,
//! with the name of a file as its `url`.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::Stickers;
use crate::pack::{Pack, Visibility};
use crate::record::{FileBlob, Folder, PackInfo};
use crate::sticker::{EMOJI, KEYWORDS, Tags};
use crate::tokens;

/// Most images of one call, so that it stays within the host's limits; a folder with more takes several calls.
const BATCH: usize = 100;

/// An index. Unknown members are ignored.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct IndexFile {
    #[serde(default)]
    pack: PackDescription,
    /// In the order of the file.
    images: serde_json::Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
struct PackDescription {
    display_name: Option<String>,
    attribution: Option<String>,
    /// Not in MSC2545.
    licence: Option<String>,
}

#[derive(Debug, Deserialize)]
struct IndexImage {
    /// Name of the file.
    url: String,
    body: Option<String>,
    /// Not in MSC2545.
    #[serde(default)]
    emoji: Vec<String>,
    #[serde(default)]
    keywords: Vec<String>,
}

/// A sticker as the index describes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IndexedSticker {
    pub(crate) id: String,
    pub(crate) file: String,
    pub(crate) tags: Tags,
}

impl IndexFile {
    /// Parses an index.
    ///
    /// # Errors
    /// `invalid_index` with a sentence that names the mistake.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| bad(&error.to_string()))
    }

    /// Returns the stickers in their order.
    ///
    /// # Errors
    /// `invalid_index` with a sentence that names the mistake.
    pub(crate) fn stickers(&self) -> Result<Vec<IndexedSticker>, Error> {
        if self.images.is_empty() || self.images.len() > BATCH {
            return Err(bad(&format!(
                "it must have 1 to {BATCH} images; import more with another call"
            )));
        }
        self.images.iter().map(|(code, image)| sticker(code, image)).collect()
    }
}

fn sticker(code: &str, image: &Value) -> Result<IndexedSticker, Error> {
    let image = IndexImage::deserialize(image).map_err(|error| bad(&format!("{code:?}: {error}")))?;
    let body = image.body.unwrap_or_default();
    let mut emoji = image.emoji;
    emoji.extend(tokens::emoji_in(&body));
    emoji.extend(tokens::emoji_in(code));
    emoji.dedup();
    emoji.truncate(EMOJI);
    let mut keywords = image.keywords;
    keywords.extend(tokens::words(&body));
    keywords.extend(tokens::words(code));
    keywords.retain(|word| word.chars().count() <= 32);
    let mut seen = Vec::new();
    keywords.retain(|word| {
        !seen.contains(word) && {
            seen.push(word.clone());
            true
        }
    });
    keywords.truncate(KEYWORDS);
    Ok(IndexedSticker {
        id: id_of(code),
        file: image.url,
        tags: Tags::parse(&emoji, &keywords).map_err(|error| bad(&format!("{code:?}: {}", error.message)))?,
    })
}

/// Derives an id from a short code; from its hash if the code has no character that an id may have.
fn id_of(code: &str) -> String {
    let plain = |char: char| {
        if char.is_ascii_alphanumeric() {
            char.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let id: String = code.chars().map(plain).take(64).collect();
    let id = id.trim_matches('-');
    if id.is_empty() {
        // The same code always gives the same id.
        return format!("x{:08x}", crc32fast::hash(code.as_bytes()));
    }
    id.to_owned()
}

fn bad(reason: &str) -> Error {
    Error::new("invalid_index", format!("The index is invalid: {reason}."))
}

impl Stickers {
    /// Imports a folder whose files are uploaded already: all stickers or none.
    pub(crate) fn import(&self, cx: &Context, folder: Folder) -> Result<PackInfo, Error> {
        self.require_admin(cx)?;
        let index = IndexFile::parse(&folder.index)?;
        let stickers = index.stickers()?;
        let blob = |file: &FileBlob| (file.file.clone(), file.blob.clone());
        let blobs: BTreeMap<String, String> = folder.files.iter().map(blob).collect();
        let (mut pack, is_new) = match &folder.pack {
            Some(id) => (self.own(cx, id)?, false),
            None => {
                let title = index
                    .pack
                    .display_name
                    .as_deref()
                    .ok_or_else(|| bad("pack.display_name is missing"))?;
                let author = index.pack.attribution.as_deref().unwrap_or("unknown");
                let licence = index.pack.licence.as_deref().unwrap_or("unknown");
                (self.new_pack(cx, title, author, licence)?, true)
            }
        };
        for sticker in stickers {
            let missing = || Error::new("unknown_file", format!("{:?} is not among the files.", sticker.file));
            let blob = blobs.get(&sticker.file).ok_or_else(missing)?;
            self.add_to(cx, &mut pack, blob, Some(sticker.id), sticker.tags)?;
        }
        cx.table::<Pack>().put(&pack)?;
        let wanted = folder.visibility.as_deref().map(Visibility::parse).transpose()?;
        if let Some(visibility) = wanted.or(is_new.then_some(Visibility::Public))
            && visibility != pack.visibility
        {
            let withdrawn = pack.withdrawn;
            self.set_visibility(cx, &mut pack, visibility, withdrawn)?;
        }
        self.pack_info(cx, pack)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_matrix_image_pack_is_parsed() {
        let text = r#"{"pack":{"display_name":"Cats","attribution":"Ann","usage":["sticker"]},
            "images":{"Happy Cat":{"url":"1.png","body":"a happy cat 😺","info":{"w":1}},"猫":{"url":"2.png"}}}"#;
        let stickers = IndexFile::parse(text).unwrap().stickers().unwrap();
        assert_eq!((&*stickers[0].id, &*stickers[0].file), ("happy-cat", "1.png"));
        assert_eq!(stickers[0].tags.emoji, ["😺"]);
        assert_eq!(stickers[0].tags.keywords, ["a", "cat", "happy"]);
        assert!(stickers[1].id.starts_with('x') && stickers[1].tags.keywords == ["猫"]);
    }

    #[test]
    fn an_invalid_index_is_rejected() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"images":{}}"#,
            r#"{"images":{"a":{}}}"#,
            r#"{"images":{"a":{"url":"x","emoji":["b"]}}}"#,
        ] {
            let rejected = IndexFile::parse(bad).and_then(|index| index.stickers()).unwrap_err();
            assert_eq!(rejected.code, "invalid_index", "{bad}");
        }
    }
}
