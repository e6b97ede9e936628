//! Providers of translations, whichever API they speak, and what becomes of their failures.

use courtyard_plugin_sdk::{Context, Error, FetchRequest, HttpResponse};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::language::Language;
use crate::protect::Protected;
use crate::{apertium, libre};

/// Which API a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Api {
    LibreTranslate,
    Apertium,
}

/// A provider, as the operator describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) api: Api,
    /// Without a slash at its end.
    pub(crate) url: String,
    /// The name of a secret, for LibreTranslate servers that want a key.
    pub(crate) secret: Option<String>,
    /// Whether it is asked for the language of texts.
    #[serde(default = "yes")]
    pub(crate) detect: bool,
}

fn yes() -> bool {
    true
}

/// Why a provider did not do what it was asked. The text says which failure it was, and nothing of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The same may succeed later.
    Later(&'static str),
    /// It will not.
    Never(&'static str),
}

/// What language a text may be in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guess {
    pub(crate) language: Language,
    /// How sure that is.
    pub(crate) percent: f64,
}

/// Translations of texts, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Translated {
    pub(crate) texts: Vec<String>,
    /// What the provider found out on its own.
    pub(crate) from: Option<Language>,
}

impl Provider {
    /// Returns what readers are told about where a translation comes from.
    pub(crate) fn name(&self) -> &'static str {
        match self.api {
            Api::LibreTranslate => "libretranslate",
            Api::Apertium => "apertium",
        }
    }

    /// Asks for the language of a text.
    pub(crate) fn detect(&self, cx: &Context, text: &str) -> Result<Option<Guess>, Failure> {
        let key = self.key(cx);
        match self.api {
            Api::LibreTranslate => libre::detected(&ask(cx, &libre::detect(&self.url, key.as_deref(), text))?),
            Api::Apertium => apertium::detected(&ask(cx, &apertium::detect(&self.url, text))?),
        }
    }

    /// Translates a text. What is protected comes through as it is, or there is no translation.
    pub(crate) fn translate(
        &self,
        cx: &Context,
        text: &Protected<'_>,
        source: Option<&Language>,
        target: &Language,
        in_time: impl Fn() -> bool,
    ) -> Result<(String, Option<Language>), Failure> {
        if let Some(masked) = text.masked() {
            let translated = self.ask_for(cx, &[&masked], source, target, &in_time)?;
            if let Some(restored) = translated.texts.first().and_then(|answer| text.restore(answer)) {
                return Ok((restored, translated.from));
            }
        }
        let segments = text.segments().ok_or(Failure::Never("too_many_pieces"))?;
        let translated = self.ask_for(cx, &segments, source, target, &in_time)?;
        let joined = text.join(&translated.texts).ok_or(Failure::Never("damaged"))?;
        Ok((joined, translated.from))
    }

    fn ask_for(
        &self,
        cx: &Context,
        texts: &[&str],
        source: Option<&Language>,
        target: &Language,
        in_time: impl Fn() -> bool,
    ) -> Result<Translated, Failure> {
        let key = self.key(cx);
        match self.api {
            Api::LibreTranslate => {
                let request = libre::translate(&self.url, key.as_deref(), texts, source, target);
                libre::translated(&ask(cx, &request)?, texts.len())
            }
            Api::Apertium => {
                let source = source.ok_or(Failure::Never("unknown_source"))?;
                let mut translated = Vec::new();
                for text in texts {
                    if !in_time() {
                        return Err(Failure::Later("slow"));
                    }
                    translated.push(apertium::translated(&ask(
                        cx,
                        &apertium::translate(&self.url, text, source, target),
                    )?)?);
                }
                Ok(Translated {
                    texts: translated,
                    from: None,
                })
            }
        }
    }

    fn key(&self, cx: &Context) -> Option<String> {
        self.secret.as_ref().and_then(|name| cx.secret(name))
    }
}

/// Sends a request. Redirects are not followed: a key must not go to where nobody meant it to.
fn ask(cx: &Context, request: &FetchRequest) -> Result<HttpResponse, Failure> {
    let request = FetchRequest {
        follow: false,
        ..request.clone()
    };
    cx.fetch(&request).map_err(|error| unreachable(&error))
}

fn unreachable(error: &Error) -> Failure {
    match &*error.code {
        "fetch_timeout" => Failure::Later("timeout"),
        "fetch_response_too_large" => Failure::Later("answer_too_large"),
        "fetch_request_too_large" => Failure::Never("text_too_large"),
        "fetch_not_granted" | "fetch_private_address" => Failure::Later("not_granted"),
        _ => Failure::Later("unreachable"),
    }
}

/// Reads an answer. Servers that are misconfigured answer with pages of all statuses: only a refusal in JSON is final.
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
