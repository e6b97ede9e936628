//! A plugin that declares every hook and fails in one of them, for the host's tests.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Brute {
    plan: Plan,
}

record! {
    /// The hook that fails, and the kind of failure.
    struct Plan { hook: String, deed: String }
}

record! {
    /// Nothing.
    struct Nothing {}
}

impl Brute {
    fn enter(&self, hook: &str) -> Result<(), Error> {
        if self.plan.hook != hook {
            return Ok(());
        }
        match &*self.plan.deed {
            "trap" => panic!("on request"),
            "loop" => loop {
                std::hint::black_box(hook);
            },
            // A host must not forward this.
            "garble" => Err(Error::new("garbled", garbled())),
            _ => Ok(()),
        }
    }

    fn say(&self, cx: &Context, _nothing: Nothing) -> Result<Nothing, Error> {
        self.enter("method")?;
        cx.events().publish("said", &Nothing {})?;
        cx.timers().set("soon", 0, &Nothing {})?;
        cx.jobs().add("soon", &Nothing {})?;
        Ok(Nothing {})
    }
}

#[allow(unsafe_code, reason = "to see what a host makes of a text that is none")]
fn garbled() -> String {
    // SAFETY: unsound on purpose: only the host reads the text, and must reject it.
    unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe, 0xfd]) }
}

impl Plugin for Brute {
    fn start(configuration: &str) -> Result<Self, Error> {
        let plan = courtyard_plugin_sdk::serde_json::from_str(configuration)
            .map_err(|error| Error::new("bad_configuration", error.to_string()))?;
        let brute = Self { plan };
        brute.enter("start")?;
        Ok(brute)
    }

    fn authenticate(&self, _cx: &Context, _app: &str, _token: &str) -> Result<Option<Identity>, Error> {
        self.enter("authenticate").map(|()| None)
    }

    fn before_send(&self, _cx: &Context, _message: &Message<'_>) -> Verdict {
        match self.enter("before_send") {
            Ok(()) => Verdict::Accept,
            Err(error) => Verdict::Reject(error),
        }
    }

    fn after_send(&self, _cx: &Context, _message: &Message<'_>) -> Result<(), Error> {
        self.enter("after_send")
    }

    fn render(&self, _cx: &Context, _viewer: &str, messages: &[Message<'_>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.enter("render").map(|()| vec![None; messages.len()])
    }

    fn connected(&self, _cx: &Context) {
        let _ = self.enter("connected");
    }

    fn disconnected(&self, _cx: &Context) {
        let _ = self.enter("disconnected");
    }

    fn before_act(&self, _cx: &Context, _act: &Act) -> Result<(), Error> {
        self.enter("before_act")
    }

    fn after_act(&self, _cx: &Context, _act: &Act) -> Result<(), Error> {
        self.enter("after_act")
    }

    fn before_change(&self, _cx: &Context, _change: &Change) -> Result<(), Error> {
        self.enter("before_change")
    }

    fn after_change(&self, _cx: &Context, _change: &Change) -> Result<(), Error> {
        self.enter("after_change")
    }

    fn push(&self, _cx: &Context, _message: &Message<'_>, _recipients: &[String]) -> Result<(), Error> {
        self.enter("push")
    }

    fn event(&self, _cx: &Context, _event: &Event) -> Result<(), Error> {
        self.enter("event")
    }

    fn http(&self, _cx: &Context, _request: &HttpRequest) -> Result<HttpResponse, Error> {
        self.enter("http")
            .map(|()| HttpResponse::new(200, "text/plain", "fine"))
    }

    fn before_upload(&self, _cx: &Context, _blob: &Blob, _is_member: bool) -> Result<(), Error> {
        self.enter("before_upload")
    }

    fn complete_upload(&self, _cx: &Context, _blob: &Blob) -> Result<(), Error> {
        self.enter("complete_upload")
    }

    fn before_download(&self, _cx: &Context, _blob: &Blob, _is_member: bool) -> Result<(), Error> {
        self.enter("before_download")
    }

    fn before_remove(&self, _cx: &Context, _blob: &Blob) -> Result<(), Error> {
        self.enter("before_remove")
    }

    fn timer(&self, _cx: &Context, _name: &str, _payload: &[u8]) -> Result<(), Error> {
        self.enter("timer")
    }

    fn action(&self, cx: &Context, _job: &Job) -> Result<(), Error> {
        self.enter("action")?;
        cx.transact("note", &Nothing {}).map(|_: Nothing| ())
    }

    fn transact(&self, _cx: &Context, _name: &str, _payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.enter("transaction").map(|()| b"{}".to_vec())
    }
}

register! {
    plugin: Brute,
    id: "brute",
    description: "Declares every hook, and fails in one.",
    capabilities: [kv, events, timers, jobs, http, blobs],
    hooks: [
        authenticate, before_send(guard), after_send, render, connected, disconnected, before_act, after_act,
        before_change, after_change, push, event { events: ["clerk.news"] }, http, before_upload,
        complete_upload, before_download, before_remove, timer, action,
    ],
    methods: [say],
}
