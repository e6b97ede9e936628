//! Requests and responses of the LibreTranslate API.

use courtyard_plugin_sdk::{FetchRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::response::{DetectedLanguage, Failure, TranslatedTexts, json};
use crate::language::Language;

#[derive(Serialize)]
struct Query<'a> {
    q: Texts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
}

/// A single text is sent as a string: not all servers accept lists.
#[derive(Serialize)]
#[serde(untagged)]
enum Texts<'a> {
    One(&'a str),
    Many(&'a [&'a str]),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LibreResponse {
    translated_text: OneOrMany<String>,
    detected_language: Option<OneOrMany<Detected>>,
}

#[derive(Deserialize)]
struct Detected {
    language: String,
    #[serde(default)]
    confidence: f64,
}

/// Builds the request for the language of a text.
pub(crate) fn detect(url: &str, key: Option<&str>, text: &str) -> FetchRequest {
    let query = Query {
        q: Texts::One(text),
        source: None,
        target: None,
        format: None,
        api_key: key,
    };
    FetchRequest::post_json(format!("{url}/detect"), &query)
}

/// Parses the response to [`detect`].
pub(crate) fn detected(response: &HttpResponse) -> Result<Option<DetectedLanguage>, Failure> {
    let found: Vec<Detected> = json(response)?;
    let best = found
        .into_iter()
        .max_by(|one, other| one.confidence.total_cmp(&other.confidence));
    Ok(best.and_then(|best| {
        Some(DetectedLanguage {
            language: Language::parse(&best.language)?,
            percent: best.confidence,
        })
    }))
}

/// Builds the request for the translations of texts, in their order.
pub(crate) fn translate(
    url: &str,
    key: Option<&str>,
    texts: &[&str],
    source: Option<&Language>,
    target: &Language,
) -> FetchRequest {
    let query = Query {
        q: match texts {
            [text] => Texts::One(text),
            texts => Texts::Many(texts),
        },
        source: Some(source.map_or_else(|| "auto".to_owned(), Language::canonical)),
        target: Some(target.canonical()),
        format: Some("text"),
        api_key: key,
    };
    FetchRequest::post_json(format!("{url}/translate"), &query)
}

/// Parses the response to [`translate`].
pub(crate) fn translated(response: &HttpResponse, count: usize) -> Result<TranslatedTexts, Failure> {
    let parsed: LibreResponse = json(response)?;
    let texts = match parsed.translated_text {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    if texts.len() != count {
        return Err(Failure::Later("wrong_count"));
    }
    let first = match parsed.detected_language {
        Some(OneOrMany::One(detected)) => Some(detected),
        Some(OneOrMany::Many(detected)) => detected.into_iter().next(),
        None => None,
    };
    Ok(TranslatedTexts {
        texts,
        from: first.and_then(|detected| Language::parse(&detected.language)),
    })
}
