//! Translation providers, independent of their API.

mod apertium;
mod libre;
mod response;

use courtyard_plugin_sdk::{Context, Error, FetchRequest, HttpResponse};
use serde::Deserialize;

use crate::language::Language;
use crate::placeholders::Protected;

pub(crate) use response::Failure;
use response::{DetectedLanguage, TranslatedTexts};

/// The API of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Api {
    LibreTranslate,
    Apertium,
}

/// A provider, as the operator configures it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) api: Api,
    /// Without a slash at its end.
    pub(crate) url: String,
    /// The name of a secret, for LibreTranslate servers that want a key.
    pub(crate) secret: Option<String>,
    /// True to use it for detecting the language of texts.
    #[serde(default = "yes")]
    pub(crate) detect: bool,
}

fn yes() -> bool {
    true
}

impl Provider {
    /// Returns the name that readers see as the origin of a translation.
    pub(crate) fn name(&self) -> &'static str {
        match self.api {
            Api::LibreTranslate => "libretranslate",
            Api::Apertium => "apertium",
        }
    }

    /// Detects the language of a text; none if the provider doesn't know it.
    pub(crate) fn detect(&self, cx: &Context, text: &str) -> Result<Option<DetectedLanguage>, Failure> {
        let key = self.key(cx);
        match self.api {
            Api::LibreTranslate => libre::detected(&send(cx, &libre::detect(&self.url, key.as_deref(), text))?),
            Api::Apertium => apertium::detected(&send(cx, &apertium::detect(&self.url, text))?),
        }
    }

    /// Translates a text: as a whole with placeholders, then in segments if a placeholder was damaged. Protected parts are
    /// unchanged in the result.
    ///
    /// # Errors
    /// Also if the provider damages the segments.
    pub(crate) fn translate(
        &self,
        cx: &Context,
        text: &Protected<'_>,
        source: Option<&Language>,
        target: &Language,
        in_time: impl Fn() -> bool,
    ) -> Result<(String, Option<Language>), Failure> {
        if let Some(masked) = text.masked() {
            let translated = self.request(cx, &[&masked], source, target, &in_time)?;
            if let Some(restored) = translated.texts.first().and_then(|masked| text.restore(masked)) {
                return Ok((restored, translated.from));
            }
        }
        let segments = text.segments().ok_or(Failure::Never("too_many_pieces"))?;
        let translated = self.request(cx, &segments, source, target, &in_time)?;
        let joined = text.join(&translated.texts).ok_or(Failure::Never("damaged"))?;
        Ok((joined, translated.from))
    }

    fn request(
        &self,
        cx: &Context,
        texts: &[&str],
        source: Option<&Language>,
        target: &Language,
        in_time: impl Fn() -> bool,
    ) -> Result<TranslatedTexts, Failure> {
        let key = self.key(cx);
        match self.api {
            Api::LibreTranslate => {
                let request = libre::translate(&self.url, key.as_deref(), texts, source, target);
                libre::translated(&send(cx, &request)?, texts.len())
            }
            Api::Apertium => {
                let source = source.ok_or(Failure::Never("unknown_source"))?;
                let mut translated = Vec::new();
                for text in texts {
                    if !in_time() {
                        return Err(Failure::Later("slow"));
                    }
                    translated.push(apertium::translated(&send(
                        cx,
                        &apertium::translate(&self.url, text, source, target),
                    )?)?);
                }
                Ok(TranslatedTexts {
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

/// Sends a request. Redirects aren't followed, so that no key goes to another host.
fn send(cx: &Context, request: &FetchRequest) -> Result<HttpResponse, Failure> {
    let request = FetchRequest {
        follow: false,
        ..request.clone()
    };
    cx.fetch(&request).map_err(|error| failure_of(&error))
}

fn failure_of(error: &Error) -> Failure {
    match &*error.code {
        "fetch_timeout" => Failure::Later("timeout"),
        "fetch_response_too_large" => Failure::Later("answer_too_large"),
        "fetch_request_too_large" => Failure::Never("text_too_large"),
        "fetch_not_granted" | "fetch_private_address" => Failure::Later("not_granted"),
        _ => Failure::Later("unreachable"),
    }
}
