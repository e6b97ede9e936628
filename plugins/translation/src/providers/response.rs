//! Results and failures of providers, common to all APIs.

use courtyard_plugin_sdk::HttpResponse;
use serde::de::DeserializeOwned;

use crate::language::Language;

/// Why a provider returned no result. The text names the kind of failure, and never contains what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A retry may succeed.
    Later(&'static str),
    /// A retry won't succeed.
    Never(&'static str),
}

/// The probable language of a text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DetectedLanguage {
    pub(crate) language: Language,
    /// Confidence, from 0 to 100.
    pub(crate) percent: f64,
}

/// Translations of texts, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TranslatedTexts {
    pub(crate) texts: Vec<String>,
    /// Language that the provider detected itself.
    pub(crate) from: Option<Language>,
}

/// Parses a response. Misconfigured servers return pages with any status: only a rejection in JSON is final.
pub(crate) fn json<T: DeserializeOwned>(response: &HttpResponse) -> Result<T, Failure> {
    match response.status {
        200 => serde_json::from_slice(&response.body).map_err(|_| Failure::Later("bad_answer")),
        400 if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&response.body).is_ok() => {
            Err(Failure::Never("refused"))
        }
        401 | 403 => Err(Failure::Later("key")),
        429 => Err(Failure::Later("slow_down")),
        _ => Err(Failure::Later("status")),
    }
}
