//! A plugin that guards acts and changes of others, and records what it observes, for the host's tests.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Steward;

record! {
    /// The observations, in order.
    struct Seen { lines: Vec<String> }
}

record! {
    /// Nothing.
    struct Nothing {}
}

fn keep(cx: &Context, line: String) -> Result<(), Error> {
    let count: u64 = cx.kv().get_json("count")?.unwrap_or_default();
    cx.kv().set(format!("line/{count:06}"), line)?;
    Ok(cx.kv().set_json("count", &(count + 1))?)
}

impl Plugin for Steward {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn before_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        match &*act.value {
            "🚫" => {
                keep(cx, "this must not stay".to_owned())?;
                Err(Error::new("no_such_emoji", "Not here."))
            }
            "💥" => panic!("on request"),
            _ => Ok(()),
        }
    }

    fn after_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        let Act {
            name,
            actor,
            target,
            target_sender,
            target_kind,
            value,
            ..
        } = act;
        keep(
            cx,
            format!("act {name} {actor} {target} {target_sender} {target_kind} {value}"),
        )
    }

    fn before_change(&self, _cx: &Context, change: &Change) -> Result<(), Error> {
        if change.joined.iter().any(|actor| actor == "mallory") {
            return Err(Error::new("not_welcome", "Mallory is not welcome."));
        }
        Ok(())
    }

    fn after_change(&self, cx: &Context, change: &Change) -> Result<(), Error> {
        let begins = if change.created { "begins" } else { "changes" };
        let (owner, actor, joined, left) = (&change.owner, &change.actor, &change.joined, &change.left);
        keep(
            cx,
            format!(
                "{owner}'s {begins} by {actor} +{} -{}",
                joined.join(","),
                left.join(",")
            ),
        )
    }

    fn push(&self, cx: &Context, message: &Message<'_>, recipients: &[String]) -> Result<(), Error> {
        keep(cx, format!("push {} to {}", message.seq(), recipients.join(",")))
    }

    fn event(&self, cx: &Context, event: &Event) -> Result<(), Error> {
        let payload = String::from_utf8_lossy(&event.payload).into_owned();
        keep(
            cx,
            format!("event {}.{} by {}: {payload}", event.plugin, event.name, event.actor),
        )
    }

    fn http(&self, cx: &Context, request: &HttpRequest) -> Result<HttpResponse, Error> {
        match (&*request.method, &*request.path) {
            ("GET", "/whoami") => Ok(HttpResponse::json(200, &cx.caller.actor)),
            ("POST", "/keep") => {
                keep(cx, String::from_utf8_lossy(&request.body).into_owned())?;
                // A status of 400 or above rolls back the writes.
                let status = request.query.parse().unwrap_or(200);
                let signature = request.header("x-signature").unwrap_or_default();
                let mut response = HttpResponse::new(status, "text/plain", signature);
                response.headers.push(("x-kept".to_owned(), b"yes".to_vec()));
                Ok(response)
            }
            ("GET", "/refuse") => Err(Error::new("closed", "Come back tomorrow.").retryable()),
            ("GET", "/trap") => panic!("on request"),
            _ => Ok(HttpResponse::new(404, "text/plain", "")),
        }
    }
}

impl Steward {
    fn seen(&self, cx: &Context, _nothing: Nothing) -> Result<Seen, Error> {
        let lines = cx.kv().scan("line/", "line0", 1_000)?;
        let text = |(_, line): (Vec<u8>, Vec<u8>)| String::from_utf8_lossy(&line).into_owned();
        Ok(Seen {
            lines: lines.into_iter().map(text).collect(),
        })
    }
}

register! {
    plugin: Steward,
    id: "steward",
    description: "Guards acts and changes of others, and records what it observes.",
    after: ["clerk"],
    capabilities: [kv, events, http],
    hooks: [
        before_act { contents: ["text"] }, after_act { contents: ["text"] }, before_change, after_change, push, event { events: ["clerk.news"] }, http,
    ],
    methods: [seen],
}
