//! A plugin that runs jobs as its callers request, for the host's tests.

use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::serde_json::Value;

/// The plugin.
pub struct Courier;

record! {
    /// A job: its name and its payload.
    struct Errand { name: String, text: String, at_ms: u64 }
}

record! {
    /// The work that was done, in order.
    struct Done { lines: Vec<String> }
}

record! {
    /// One line of the work that was done.
    struct Line { text: String }
}

record! {
    /// Nothing.
    struct Nothing {}
}

impl Plugin for Courier {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn action(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        let text: String = job.payload_as()?;
        let keep = |line: String| cx.transact::<Nothing>("keep", &Line { text: line }).map(drop);
        match &*job.name {
            "note" => keep(text),
            // A job has no transaction.
            "grab" => match cx.kv().set("grabbed", &text) {
                Ok(()) => keep("grabbed".to_owned()),
                Err(error) => keep(error.to_string()),
            },
            // Fails until an attempt. The writes of earlier transactions stay.
            "try" => {
                keep(format!("attempt {}", job.attempt))?;
                if job.attempt.to_string() == text {
                    return Ok(());
                }
                Err(Error::new("not_yet", "Fails on request.").retryable())
            }
            "give_up" => Err(Error::new("hopeless", text)),
            "refused" => cx.transact::<Nothing>("refuse", &text).map(drop),
            "trap" => panic!("on request"),
            "loop" => loop {
                std::hint::black_box(&text);
            },
            "hoard" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 1 << 20]);
                }
            }
            "fetch" => {
                let request: FetchRequest = courtyard_plugin_sdk::serde_json::from_str(&text)
                    .map_err(|error| Error::new("bad_request", error.to_string()))?;
                let line = match cx.fetch(&request) {
                    Ok(response) => format!("{} {}", response.status, String::from_utf8_lossy(&response.body)),
                    Err(error) => format!("{} {}", error.code, error.retry),
                };
                keep(line)
            }
            _ => Err(Error::new("unknown_job", "This job doesn't exist.")),
        }
    }

    fn transact(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            "keep" => {
                let line: Line = courtyard_plugin_sdk::serde_json::from_slice(payload)
                    .map_err(|error| Error::new("bad_line", error.to_string()))?;
                keep(cx, &line.text)?;
                Ok(b"{}".to_vec())
            }
            "refuse" => {
                keep(cx, "this must not stay")?;
                Err(Error::new("refused", "Rejected on request."))
            }
            _ => Err(Error::new("unknown_transaction", "This transaction doesn't exist.")),
        }
    }
}

fn keep(cx: &Context, line: &str) -> Result<(), Error> {
    let count: u64 = cx.kv().get_json("count")?.unwrap_or_default();
    cx.kv().set(format!("line/{count:06}"), line)?;
    Ok(cx.kv().set_json("count", &(count + 1))?)
}

impl Courier {
    fn run(&self, cx: &Context, errand: Errand) -> Result<Nothing, Error> {
        cx.jobs().add_at(&errand.name, errand.at_ms, &errand.text)?;
        Ok(Nothing {})
    }

    /// Adds a job and fails, which rolls the job back.
    fn take_back(&self, cx: &Context, errand: Errand) -> Result<Nothing, Error> {
        cx.jobs().add(&errand.name, &errand.text)?;
        Err(Error::new("taken_back", "Rejected on request."))
    }

    /// Calls in a transaction the services that only jobs may call.
    fn overreach(&self, cx: &Context, _nothing: Nothing) -> Result<Done, Error> {
        let fetched = cx.fetch(&FetchRequest::get("http://127.0.0.1:1/"));
        let transacted = cx.transact::<Value>("keep", &Nothing {});
        let code = |error: Option<Error>| error.map(|error| error.code).unwrap_or_default();
        Ok(Done {
            lines: vec![code(fetched.err()), code(transacted.err())],
        })
    }

    fn done(&self, cx: &Context, _nothing: Nothing) -> Result<Done, Error> {
        let lines = cx.kv().scan("line/", "line0", 1_000)?;
        let text = |(_, line): (Vec<u8>, Vec<u8>)| String::from_utf8_lossy(&line).into_owned();
        Ok(Done {
            lines: lines.into_iter().map(text).collect(),
        })
    }
}

register! {
    plugin: Courier,
    id: "courier",
    description: "Runs jobs as its callers request.",
    capabilities: [kv, jobs, fetch],
    hooks: [action],
    methods: [run, take_back, overreach, done],
}
