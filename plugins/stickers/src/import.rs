//! Folders of stickers with an index, in the form of Matrix image packs (MSC2545): each picture by its short code, with the
//! name of a file in the place of its `url`.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::Stickers;
use crate::pack::{Pack, Visibility};
use crate::record::{FileBlob, Folder, PackInfo};
use crate::sticker::{EMOJI, KEYWORDS, Tags};
use crate::tokens;

/// The most pictures of one call, so that it stays under the host's limit of calls; more come with further calls.
const AT_ONCE: usize = 100;

/// An index. Members that are not known are passed over.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct IndexFile {
    #[serde(default)]
    pack: About,
    /// In the order of the file.
    images: serde_json::Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
struct About {
    display_name: Option<String>,
    attribution: Option<String>,
    /// Not in MSC2545.
    licence: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Image {
    /// The name of the file.
    url: String,
    body: Option<String>,
    /// Not in MSC2545.
    #[serde(default)]
    emoji: Vec<String>,
    #[serde(default)]
    keywords: Vec<String>,
}

/// A picture of an index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) file: String,
    pub(crate) tags: Tags,
}

impl IndexFile {
    /// Reads an index.
    ///
    /// # Errors
    /// `bad_index` with what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| bad(&error.to_string()))
    }

    /// Returns the pictures in their order.
    ///
    /// # Errors
    /// `bad_index` with what is wrong.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, Error> {
        if self.images.is_empty() || self.images.len() > AT_ONCE {
            return Err(bad(&format!(
                "it has to have 1 to {AT_ONCE} images; more come with another call"
            )));
        }
        self.images.iter().map(|(code, image)| entry(code, image)).collect()
    }
}

fn entry(code: &str, image: &Value) -> Result<Entry, Error> {
    let image = Image::deserialize(image).map_err(|error| bad(&format!("{code:?}: {error}")))?;
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
    Ok(Entry {
        id: id_of(code),
        file: image.url,
        tags: Tags::parse(&emoji, &keywords).map_err(|error| bad(&format!("{code:?}: {}", error.message)))?,
    })
}

/// Makes an id of a short code; one without any letter that an id may have is made up.
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
        // The same code is the same id each time.
        return format!("x{:08x}", crc32fast::hash(code.as_bytes()));
    }
    id.to_owned()
}

fn bad(reason: &str) -> Error {
    Error::new("bad_index", format!("The index can't be used: {reason}."))
}

impl Stickers {
    /// Imports a folder whose files are uploaded already: all of it, or nothing.
    pub(crate) fn import(&self, cx: &Context, folder: Folder) -> Result<PackInfo, Error> {
        self.only_admins(cx)?;
        let index = IndexFile::parse(&folder.index)?;
        let entries = index.entries()?;
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
        for entry in entries {
            let missing = || Error::new("missing_file", format!("{:?} is not among the files.", entry.file));
            let blob = blobs.get(&entry.file).ok_or_else(missing)?;
            self.add_to(cx, &mut pack, blob, Some(entry.id), entry.tags)?;
        }
        cx.table::<Pack>().put(&pack)?;
        let wanted = folder.visibility.as_deref().map(Visibility::parse).transpose()?;
        if let Some(visibility) = wanted.or(is_new.then_some(Visibility::Public))
            && visibility != pack.visibility
        {
            let withdrawn = pack.withdrawn;
            self.show(cx, &mut pack, visibility, withdrawn)?;
        }
        self.pack_info(cx, pack)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_image_pack_of_matrix_is_read() {
        let text = r#"{"pack":{"display_name":"Cats","attribution":"Ann","usage":["sticker"]},
            "images":{"Happy Cat":{"url":"1.png","body":"a happy cat 😺","info":{"w":1}},"猫":{"url":"2.png"}}}"#;
        let entries = IndexFile::parse(text).unwrap().entries().unwrap();
        assert_eq!((&*entries[0].id, &*entries[0].file), ("happy-cat", "1.png"));
        assert_eq!(entries[0].tags.emoji, ["😺"]);
        assert_eq!(entries[0].tags.keywords, ["a", "cat", "happy"]);
        assert!(entries[1].id.starts_with('x') && entries[1].tags.keywords == ["猫"]);
    }

    #[test]
    fn nonsense_is_refused_with_what_is_wrong() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"images":{}}"#,
            r#"{"images":{"a":{}}}"#,
            r#"{"images":{"a":{"url":"x","emoji":["b"]}}}"#,
        ] {
            let refused = IndexFile::parse(bad).and_then(|index| index.entries()).unwrap_err();
            assert_eq!(refused.code, "bad_index", "{bad}");
        }
    }
}
