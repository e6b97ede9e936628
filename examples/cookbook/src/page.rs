//! A guest book under `/v1/plugins/guest_book/`: everyone reads it, signed-in users write.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct GuestBook;

impl Plugin for GuestBook {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn http(&self, cx: &Context, request: &HttpRequest) -> Result<HttpResponse, Error> {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => {
                let entries = cx.kv().scan_descending("entry/", "entry0", 20)?;
                let lines = entries.iter().map(|(_, text)| escaped(&String::from_utf8_lossy(text)));
                let page = format!(
                    "<!doctype html><title>Guest book</title><ul>{}</ul>",
                    lines.collect::<String>()
                );
                Ok(HttpResponse::new(200, "text/html; charset=utf-8", page))
            }
            // The host has checked the token, and answers with 401 itself if it is wrong.
            ("POST", "/") if cx.caller.actor.is_empty() => {
                Ok(HttpResponse::json(401, &"Send `authorization: Bearer TOKEN`."))
            }
            ("POST", "/") => {
                let key = format!("entry/{:020}/{}", cx.now_ms(), cx.caller.actor);
                cx.kv().set(key, &request.body)?;
                Ok(HttpResponse::json(201, &"Thank you."))
            }
            _ => Ok(HttpResponse::json(404, &"Not found.")),
        }
    }
}

/// Returns a text as a list item of HTML.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!("<li>{text}</li>")
}

register! {
    plugin: GuestBook,
    id: "guest_book",
    description: "A guest book over HTTP.",
    capabilities: [http, kv],
    hooks: [http],
    methods: [],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::Caller;
    use courtyard_plugin_sdk::testing::TestHost;

    #[test]
    fn an_entry_is_shown_as_text() {
        let host = TestHost::<GuestBook>::start("{}").unwrap();
        let request = |method: &str, body: &str| HttpRequest {
            method: method.to_owned(),
            path: "/".to_owned(),
            body: body.as_bytes().to_vec(),
            ..HttpRequest::default()
        };
        let ann = Caller {
            actor: "ann".to_owned(),
            ..Caller::default()
        };
        let stranger = Caller::default();
        assert_eq!(host.http(&stranger, &request("POST", "Hi")).unwrap().status, 401);
        assert_eq!(host.http(&ann, &request("POST", "<b>Hi")).unwrap().status, 201);
        let page = host.http(&stranger, &request("GET", "")).unwrap();
        assert!(String::from_utf8(page.body).unwrap().contains("<li>&lt;b>Hi</li>"));
    }
}
