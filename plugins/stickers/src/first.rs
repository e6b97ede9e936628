//! The built-in pack: Pip, drawn for Courtyard, as Lottie.

use courtyard_plugin_sdk::prelude::*;

/// Id of the pack. It can't collide: the ids of other packs are longer.
pub(crate) const ID: &str = "pip";
pub(crate) const TITLE: &str = "Pip";
pub(crate) const AUTHOR: &str = "The authors of Courtyard";
pub(crate) const LICENCE: &str = "MIT OR Apache-2.0";
/// Width and height of all drawings; pixels.
pub(crate) const SIDE: u32 = 512;
/// Frames of all drawings.
pub(crate) const FRAMES: u32 = 60;
/// Duration of all drawings.
pub(crate) const DURATION_MS: u32 = 2_000;

/// A sticker of the built-in pack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawing {
    pub(crate) id: &'static str,
    pub(crate) emoji: &'static [&'static str],
    pub(crate) keywords: &'static [&'static str],
    pub(crate) json: &'static str,
}

macro_rules! drawing {
    ($id:literal, $emoji:expr, $keywords:expr) => {
        Drawing {
            id: $id,
            emoji: &$emoji,
            keywords: &$keywords,
            json: include_str!(concat!("../first/", $id, ".json")),
        }
    };
}

pub(crate) const DRAWINGS: [Drawing; 10] = [
    drawing!("hello", ["👋"], ["hello", "hi", "wave", "welcome"]),
    drawing!("love", ["😍", "❤"], ["love", "heart", "adore"]),
    drawing!("laugh", ["😂"], ["laugh", "funny", "haha"]),
    drawing!("sad", ["😢"], ["sad", "cry", "tears", "sorry"]),
    drawing!("sleep", ["😴", "🌙"], ["sleep", "night", "tired", "moon"]),
    drawing!("yes", ["✅", "👍"], ["yes", "ok", "good", "agree"]),
    drawing!("no", ["❌", "👎"], ["no", "stop", "wrong"]),
    drawing!("party", ["🥳", "🎉"], ["party", "birthday", "congratulations"]),
    drawing!("coffee", ["☕"], ["coffee", "tea", "break", "morning"]),
    drawing!("sun", ["☀", "🌞"], ["sun", "morning", "day", "summer"]),
];

/// Returns the drawing with this id.
pub(crate) fn find(id: &str) -> Option<&'static Drawing> {
    DRAWINGS.iter().find(|drawing| drawing.id == id)
}

impl Drawing {
    /// Returns true if each of the given prefixes begins one of its words or emoji.
    pub(crate) fn matches(&self, first: &str, others: &[String]) -> bool {
        let mut words = self.keywords.iter().chain(self.emoji);
        words.any(|word| word.starts_with(first))
            && others.iter().all(|other| {
                self.keywords
                    .iter()
                    .chain(self.emoji)
                    .any(|word| word.starts_with(&**other))
            })
    }
}

/// Answers `GET /first/NAME.json`.
pub(crate) fn serve(request: &HttpRequest) -> HttpResponse {
    let name = request
        .path
        .strip_prefix("/first/")
        .and_then(|name| name.strip_suffix(".json"));
    let Some(drawing) = name.and_then(find) else {
        return HttpResponse::new(404, "text/plain", "This sticker doesn't exist.\n");
    };
    if !matches!(&*request.method, "GET" | "HEAD") {
        return HttpResponse::new(405, "text/plain", "Only GET and HEAD are allowed.\n");
    }
    let mut response = HttpResponse::new(200, "application/json", drawing.json);
    response
        .headers
        .push(("cache-control".to_owned(), b"public, max-age=86400".to_vec()));
    response
}
