//! The pack that comes with Courtyard: Pip, drawn for it, as Lottie.

use courtyard_plugin_sdk::prelude::*;

/// The id of the pack, which no other can have: ids of others are longer.
pub(crate) const ID: &str = "pip";
pub(crate) const TITLE: &str = "Pip";
pub(crate) const AUTHOR: &str = "The authors of Courtyard";
pub(crate) const LICENCE: &str = "MIT OR Apache-2.0";
/// All of them are as large and as long.
pub(crate) const SIDE: u32 = 512;
pub(crate) const FRAMES: u32 = 60;
pub(crate) const DURATION_MS: u32 = 2_000;

/// One of them.
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

/// Finds a drawing.
pub(crate) fn find(id: &str) -> Option<&'static Drawing> {
    DRAWINGS.iter().find(|drawing| drawing.id == id)
}

impl Drawing {
    /// Tells whether one of its words begins so, and what else is looked for is there too.
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
        return HttpResponse::new(404, "text/plain", "There is no such sticker.\n");
    };
    if !matches!(&*request.method, "GET" | "HEAD") {
        return HttpResponse::new(405, "text/plain", "It can be read, and nothing else.\n");
    }
    let mut response = HttpResponse::new(200, "application/json", drawing.json);
    response
        .headers
        .push(("cache-control".to_owned(), b"public, max-age=86400".to_vec()));
    response
}
