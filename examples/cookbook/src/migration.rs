//! Notes to oneself. Version 1 stored plain texts, version 2 stores JSON with a time: the migration converts them.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Notes;

record! {
    /// A note, as it is stored since version 2.
    struct Note { text: String, time_ms: u64 }
}
record! {
    /// Which note.
    struct Name { name: String }
}

impl Plugin for Notes {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    fn migrate(&self, cx: &Context, from: &str) -> Result<(), Error> {
        // Also called after a roll-back, with the later version in `from`. Keys of versions that are unknown here stay.
        if !from.starts_with("1.") {
            return Ok(());
        }
        let mut start = b"note/".to_vec();
        loop {
            let page = cx.kv().scan(&start, "note0", 100)?;
            for (key, text) in &page {
                let text = String::from_utf8_lossy(text).into_owned();
                cx.kv().set_json(
                    key,
                    &Note {
                        text,
                        time_ms: cx.now_ms(),
                    },
                )?;
            }
            // One transaction for all apps: after an error nothing has changed, and version 1 keeps running.
            match page.last() {
                Some((last, _)) => start = [last, &[0][..]].concat(),
                None => return Ok(()),
            }
        }
    }
}

impl Notes {
    fn read(&self, cx: &Context, params: Name) -> Result<Note, Error> {
        let key = format!("note/{}/{}", cx.caller.actor, params.name);
        let note = cx.kv().get_json(key)?;
        note.ok_or_else(|| Error::new("unknown_note", format!("No note is named {:?}.", params.name)))
    }
}

register! {
    plugin: Notes,
    id: "notes",
    description: "Notes to oneself.",
    capabilities: [kv],
    hooks: [],
    methods: [read],
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use courtyard_plugin_sdk::Caller;
    use courtyard_plugin_sdk::serde_json::json;
    use courtyard_plugin_sdk::testing::TestHost;

    #[test]
    fn notes_of_version_1_are_converted() {
        let host = TestHost::<Notes>::start("{}").unwrap();
        let keys = (0..250).map(|number| format!("note/ann/{number}"));
        host.run(|cx| keys.into_iter().try_for_each(|key| Ok(cx.kv().set(key, "milk")?)))
            .unwrap();
        host.migrate("1.4.0").unwrap();
        let ann = Caller {
            actor: "ann".to_owned(),
            ..Caller::default()
        };
        let note = host.call(&ann, "read", &json!({"name": "249"})).unwrap();
        assert_eq!(note, json!({"text": "milk", "time_ms": 1_000_000}));
    }
}
