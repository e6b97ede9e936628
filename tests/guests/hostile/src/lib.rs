//! A plugin that misbehaves in the way that its configuration or a message says, for the host's tests.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Hostile;

record! {
    /// The misbehaviour in `start`, if any.
    struct Start { start: Option<String> }
}

record! {
    /// The misbehaviour of the method.
    struct Deed { deed: String }
}

record! {
    /// The result of the method.
    struct Done { done: bool }
}

impl Plugin for Hostile {
    fn start(configuration: &str) -> Result<Self, Error> {
        let start: Start = courtyard_plugin_sdk::serde_json::from_str(configuration)
            .map_err(|error| Error::new("bad_configuration", error.to_string()))?;
        match start.start.as_deref() {
            None => Ok(Self),
            Some("refuse") => Err(Error::new("not_today", "This plugin doesn't start.")),
            Some(deed) => {
                misbehave(&Context::default(), deed);
                Ok(Self)
            }
        }
    }

    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        let Ok(text) = std::str::from_utf8(message.content()) else {
            return Verdict::Accept;
        };
        match text.split("do:").nth(1).and_then(|rest| rest.split('"').next()) {
            Some("garbage") => Verdict::Replace(b"no JSON".to_vec()),
            Some("kind") => Verdict::Replace(b"{}".to_vec()),
            Some("reject") => Verdict::reject("because", "Rejected on request."),
            Some("replace") => Verdict::Replace(br#"{"text":"replaced"}"#.to_vec()),
            Some("huge") => Verdict::Replace(vec![b' '; 4 << 20]),
            Some(deed) => {
                misbehave(cx, deed);
                Verdict::Accept
            }
            None => Verdict::Accept,
        }
    }
}

impl Hostile {
    fn act(&self, cx: &Context, params: Deed) -> Result<Done, Error> {
        match params.deed.as_str() {
            "hoard" => {
                for _ in 0..16 {
                    cx.kv().set([b"hoard", &cx.random::<8>()[..]].concat(), [0; 1 << 16])?;
                }
            }
            "clear" => {
                for (key, _) in cx.kv().scan("hoard", "hoare", 1_000)? {
                    cx.kv().delete(key)?;
                }
                return Ok(Done { done: true });
            }
            _ => {}
        }
        cx.kv().set("deed", &params.deed)?;
        misbehave(cx, &params.deed);
        Ok(Done { done: true })
    }

    fn last(&self, cx: &Context, _params: Deed) -> Result<Deed, Error> {
        let deed = cx.kv().get("deed")?.unwrap_or_default();
        Ok(Deed {
            deed: String::from_utf8_lossy(&deed).into_owned(),
        })
    }
}

fn misbehave(cx: &Context, deed: &str) {
    match deed {
        "loop" => loop {
            std::hint::black_box(0);
        },
        "trap" => panic!("on request"),
        "memory" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1; 1 << 20]));
            }
        }
        "recurse" => {
            std::hint::black_box(recurse());
        }
        "flood" => {
            for line in 0..5_000 {
                cx.log().info(&format!("line {line}\nand a forged one"));
            }
        }
        "storm" => loop {
            std::hint::black_box(cx.now_ms());
        },
        _ => {}
    }
}

#[expect(unconditional_recursion, reason = "to see the stack limit")]
fn recurse() -> u64 {
    std::hint::black_box(recurse()) + 1
}

register! {
    plugin: Hostile,
    id: "hostile",
    description: "Misbehaves on request.",
    capabilities: [kv],
    hooks: [before_send(guard)],
    methods: [act(anonymous), last(anonymous)],
}
