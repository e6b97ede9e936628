//! HTTP gateways that deliver codes by e-mail and text message.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::prelude::*;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{self, invalid_configuration};
use crate::sign_in::address::Address;

/// The name of the job.
pub(crate) const JOB: &str = "send_code";

/// A server that delivers messages which it receives as HTTP POST requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    url: String,
    /// `{secret:NAME}` in a value stands for a secret of the plugin.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Any JSON. Its strings may contain `{address}`, `{code}`, `{text}`, `{subject}` and `{minutes}`.
    #[serde(default = "default_body")]
    body: Value,
    /// True sends the body as a form instead of JSON; it must then be an object of strings.
    #[serde(default)]
    form: bool,
}

/// The payload of the job: a code, its address and its end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CodeDelivery {
    pub(crate) address: Address,
    pub(crate) code: String,
    pub(crate) minutes: u64,
    pub(crate) expires_ms: u64,
    /// False sends nothing: the job exists so that callers can't tell the difference.
    pub(crate) is_wanted: bool,
}

fn default_body() -> Value {
    json!({ "to": "{address}", "subject": "{subject}", "text": "{text}" })
}

/// Replaces the names in braces by their values, once: values are not expanded again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, behind) = rest.split_at(start);
        text.push_str(before);
        let found = values.iter().find_map(|(name, value)| {
            let behind = behind[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((*value, behind))
        });
        (rest, text) = match found {
            Some((value, behind)) => (behind, text + value),
            None => (&behind[1..], text + "{"),
        };
    }
    text + rest
}

/// Fills the strings of a JSON value. It works on values, so nothing can break out of its quotes.
fn fill_value(value: &Value, values: &[(&str, &str)]) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, values)),
        Value::Array(list) => list.iter().map(|value| fill_value(value, values)).collect(),
        Value::Object(object) => {
            let members = object
                .iter()
                .map(|(key, value)| (key.clone(), fill_value(value, values)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

/// Writes pairs as `application/x-www-form-urlencoded`.
pub(crate) fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(&percent(name));
        text.push('=');
        text.push_str(&percent(value));
    }
    text
}

/// All but the unreserved characters (RFC 3986).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes all but the unreserved characters (RFC 3986).
pub(crate) fn percent(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

impl Gateway {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            return Err(invalid_configuration(
                "codes: the url of a gateway must begin with https:// or http://",
            ));
        }
        let is_text = |body: &serde_json::Map<String, Value>| body.values().all(Value::is_string);
        if self.form && !self.body.as_object().is_some_and(is_text) {
            return Err(invalid_configuration(
                "codes: with form = true, body must be a table of strings",
            ));
        }
        Ok(())
    }

    /// Sends a code, unless it has expired or isn't wanted. `id` is the idempotency key, the same for all attempts.
    ///
    /// # Errors
    /// `unavailable` with the status; retryable for 408, 425, 429 and 5xx.
    pub(crate) fn send(
        &self,
        cx: &Context,
        delivery: &CodeDelivery,
        (subject, text): (&str, &str),
        id: &str,
    ) -> Result<(), Error> {
        if !delivery.is_wanted || delivery.expires_ms <= cx.now_ms() {
            return Ok(());
        }
        let minutes = delivery.minutes.to_string();
        let code_values = [("code", delivery.code.as_str()), ("minutes", minutes.as_str())];
        let (subject, text) = (fill(subject, &code_values), fill(text, &code_values));
        let values = [
            ("address", delivery.address.text.as_str()),
            ("code", delivery.code.as_str()),
            ("minutes", minutes.as_str()),
            ("subject", subject.as_str()),
            ("text", text.as_str()),
        ];
        let body = fill_value(&self.body, &values);
        let mut request = if self.form {
            let pairs = body.as_object().into_iter().flatten();
            let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
            let request = FetchRequest {
                body: form(pairs).into_bytes(),
                ..FetchRequest::new("POST", self.url.as_str())
            };
            request.header("content-type", "application/x-www-form-urlencoded")
        } else {
            FetchRequest::post_json(self.url.as_str(), &body)
        };
        // A redirect could send the code to another server.
        request.follow = false;
        request = request.header("idempotency-key", id);
        for (name, value) in &self.headers {
            request = request.header(name, fill_secrets(cx, value)?);
        }
        let response = cx.fetch(&request)?;
        match response.status {
            200..300 => Ok(()),
            status @ (408 | 425 | 429 | 500..) => Err(gateway_error(status).retryable()),
            status => Err(gateway_error(status)),
        }
    }
}

fn gateway_error(status: u16) -> Error {
    Error::new(
        error::UNAVAILABLE,
        format!("the gateway responded with status {status}"),
    )
}

/// Replaces `{secret:NAME}` by the secret.
fn fill_secrets(cx: &Context, value: &str) -> Result<String, Error> {
    let mut names = value.split("{secret:").skip(1).filter_map(|rest| rest.split_once('}'));
    let secrets = names.try_fold(Vec::new(), |mut found, (name, _)| {
        let missing = || Error::new(error::UNKNOWN_SECRET, format!("the secret {name:?} is not configured"));
        found.push((format!("secret:{name}"), cx.secret(name).ok_or_else(missing)?));
        Ok::<_, Error>(found)
    })?;
    let pairs: Vec<(&str, &str)> = secrets
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Ok(fill(value, &pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filled_values_are_neither_expanded_again_nor_break_out() {
        let values = [("a", "\"{b}\\"), ("b", "no")];
        assert_eq!(fill("{a} {b} {c} {a", &values), "\"{b}\\ no {c} {a");
        let body = fill_value(&json!({"x": ["{a}", 7], "{b}": true}), &values);
        assert_eq!(body, json!({"x": ["\"{b}\\", 7], "{b}": true}));
        assert_eq!(form([("to", "+41 a&b=c"), ("ü", "~")]), "to=%2B41%20a%26b%3Dc&%C3%BC=~");
    }
}
