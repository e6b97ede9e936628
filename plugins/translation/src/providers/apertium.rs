//! Requests and responses of the Apertium APY API. It accepts one text at a time, and languages by three letters.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::{FetchRequest, HttpResponse};
use serde::Deserialize;

use super::response::{DetectedLanguage, Failure, json};
use crate::language::Language;

/// ISO 639-1 and 639-3 of the languages that Apertium has packages for.
const CODES: [(&str, &str); 46] = [
    ("af", "afr"),
    ("an", "arg"),
    ("ar", "ara"),
    ("be", "bel"),
    ("bg", "bul"),
    ("bn", "ben"),
    ("br", "bre"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("cy", "cym"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("es", "spa"),
    ("eu", "eus"),
    ("fi", "fin"),
    ("fo", "fao"),
    ("fr", "fra"),
    ("ga", "gle"),
    ("gl", "glg"),
    ("he", "heb"),
    ("hi", "hin"),
    ("id", "ind"),
    ("is", "isl"),
    ("it", "ita"),
    ("kk", "kaz"),
    ("mk", "mkd"),
    ("ms", "msa"),
    ("mt", "mlt"),
    ("nb", "nob"),
    ("nl", "nld"),
    ("nn", "nno"),
    ("oc", "oci"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("sc", "srd"),
    ("se", "sme"),
    ("sl", "slv"),
    ("sv", "swe"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("ur", "urd"),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApertiumResponse {
    response_data: TranslateData,
    response_status: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TranslateData {
    translated_text: String,
}

/// Builds the request for the language of a text.
pub(crate) fn detect(url: &str, text: &str) -> FetchRequest {
    form(format!("{url}/identifyLang"), &[("q", text)])
}

/// Parses the response to [`detect`]: probabilities from 0 to 1 by language.
pub(crate) fn detected(response: &HttpResponse) -> Result<Option<DetectedLanguage>, Failure> {
    let found: BTreeMap<String, f64> = json(response)?;
    let best = found.into_iter().max_by(|(_, one), (_, other)| one.total_cmp(other));
    Ok(best.and_then(|(code, share)| {
        Some(DetectedLanguage {
            language: language(&code)?,
            percent: share * 100.0,
        })
    }))
}

/// Builds the request for the translation of a text.
pub(crate) fn translate(url: &str, text: &str, source: &Language, target: &Language) -> FetchRequest {
    let pair = format!("{}|{}", code(source), code(target));
    let members = [("langpair", &*pair), ("q", text), ("markUnknown", "no")];
    form(format!("{url}/translate"), &members)
}

/// Parses the response to [`translate`].
pub(crate) fn translated(response: &HttpResponse) -> Result<String, Failure> {
    let parsed: ApertiumResponse = json(response)?;
    match parsed.response_status {
        200 => Ok(parsed.response_data.translated_text),
        400 => Err(Failure::Never("refused")),
        _ => Err(Failure::Later("status")),
    }
}

/// Returns the ISO 639-3 code of a language; its primary subtag if it isn't listed.
fn code(language: &Language) -> &str {
    let primary = language.primary();
    CODES
        .iter()
        .find(|(two, _)| *two == primary)
        .map_or(primary, |(_, three)| three)
}

fn language(code: &str) -> Option<Language> {
    let language = Language::parse(code)?;
    let two = CODES
        .iter()
        .find(|(_, three)| *three == language.primary())
        .map(|(two, _)| *two);
    two.map_or(Some(language), Language::parse)
}

fn form(url: String, members: &[(&str, &str)]) -> FetchRequest {
    let pairs: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    let mut request = FetchRequest::new("POST", url).header("content-type", "application/x-www-form-urlencoded");
    request.body = pairs.join("&").into_bytes();
    request
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
