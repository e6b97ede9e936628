//! HTTP gateways that send e-mails and text messages.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::bad;
use crate::sign_in::address::Address;

/// The name of the job.
pub(crate) const JOB: &str = "send_code";

/// A server that sends what it is told in a POST.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    url: String,
    /// `{secret:NAME}` in a value is a secret of the operator's.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Any JSON; in its texts stand `{address}`, `{code}`, `{text}`, `{subject}` and `{minutes}`.
    #[serde(default = "generic")]
    body: Value,
    /// Whether the body goes as a form instead of JSON; it is then an object of texts.
    #[serde(default)]
    form: bool,
}

/// What a code is sent to, and how long it is worth sending.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) address: Address,
    pub(crate) code: String,
    pub(crate) minutes: u64,
    pub(crate) expires_ms: u64,
    /// If not, nothing is sent: the job is there so that all looks the same.
    pub(crate) is_wanted: bool,
}

fn generic() -> Value {
    json!({ "to": "{address}", "subject": "{subject}", "text": "{text}" })
}

/// Fills in what stands in braces. What is filled in is not looked at again.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, behind) = rest.split_at(start);
        text.push_str(before);
        let known = values.iter().find_map(|(name, value)| {
            let behind = behind[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((*value, behind))
        });
        (rest, text) = match known {
            Some((value, behind)) => (behind, text + value),
            None => (&behind[1..], text + "{"),
        };
    }
    text + rest
}

/// Fills in the texts of a JSON value: as values, so that nothing breaks out of its quotes.
fn filled_value(value: &Value, values: &[(&str, &str)]) -> Value {
    match value {
        Value::String(text) => Value::String(filled(text, values)),
        Value::Array(list) => list.iter().map(|value| filled_value(value, values)).collect(),
        Value::Object(object) => {
            let members = object
                .iter()
                .map(|(key, value)| (key.clone(), filled_value(value, values)));
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

/// Encodes all but the unreserved characters (RFC 3986).
pub(crate) fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

impl Gateway {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            return Err(bad("codes: the url of a gateway begins with https:// or http://"));
        }
        let is_text = |body: &serde_json::Map<String, Value>| body.values().all(Value::is_string);
        if self.form && !self.body.as_object().is_some_and(is_text) {
            return Err(bad("codes: the body of a form is a table of texts"));
        }
        Ok(())
    }

    /// Sends a code. `id` is the same for all attempts.
    ///
    /// # Errors
    /// What the gateway answers; a retry helps if it is its fault.
    pub(crate) fn send(
        &self,
        cx: &Context,
        delivery: &Delivery,
        (subject, text): (&str, &str),
        id: &str,
    ) -> Result<(), Error> {
        if !delivery.is_wanted || delivery.expires_ms <= cx.now_ms() {
            return Ok(());
        }
        let minutes = delivery.minutes.to_string();
        let short = [("code", delivery.code.as_str()), ("minutes", minutes.as_str())];
        let (subject, text) = (filled(subject, &short), filled(text, &short));
        let values = [
            ("address", delivery.address.text.as_str()),
            ("code", delivery.code.as_str()),
            ("minutes", minutes.as_str()),
            ("subject", subject.as_str()),
            ("text", text.as_str()),
        ];
        let body = filled_value(&self.body, &values);
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
        // A redirect would lead the code elsewhere.
        request.follow = false;
        request = request.header("idempotency-key", id);
        for (name, value) in &self.headers {
            request = request.header(name, with_secrets(cx, value)?);
        }
        let response = cx.fetch(&request)?;
        match response.status {
            200..300 => Ok(()),
            status @ (408 | 425 | 429 | 500..) => Err(refused(status).retryable()),
            status => Err(refused(status)),
        }
    }
}

fn refused(status: u16) -> Error {
    Error::new("gateway", format!("the gateway answered with status {status}"))
}

/// Puts secrets in the place of `{secret:NAME}`.
fn with_secrets(cx: &Context, value: &str) -> Result<String, Error> {
    let mut names = value.split("{secret:").skip(1).filter_map(|rest| rest.split_once('}'));
    let secrets = names.try_fold(Vec::new(), |mut found, (name, _)| {
        let missing = || Error::new("no_secret", format!("there is no secret {name:?}"));
        found.push((format!("secret:{name}"), cx.secret(name).ok_or_else(missing)?));
        Ok::<_, Error>(found)
    })?;
    let pairs: Vec<(&str, &str)> = secrets
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Ok(filled(value, &pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_text_and_nothing_else() {
        let values = [("a", "\"{b}\\"), ("b", "no")];
        assert_eq!(filled("{a} {b} {c} {a", &values), "\"{b}\\ no {c} {a");
        let body = filled_value(&json!({"x": ["{a}", 7], "{b}": true}), &values);
        assert_eq!(body, json!({"x": ["\"{b}\\", 7], "{b}": true}));
        assert_eq!(form([("to", "+41 a&b=c"), ("ü", "~")]), "to=%2B41%20a%26b%3Dc&%C3%BC=~");
    }
}
