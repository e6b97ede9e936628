//! A plugin with blobs, for the host's tests.

use courtyard_plugin_sdk::prelude::*;

/// The plugin.
pub struct Keeper;

record! {
    /// A blob.
    struct Named { id: String }
}

record! {
    /// The notes about blobs, in order, and the existing blobs.
    struct Noted { lines: Vec<String>, blobs: Vec<String> }
}

record! {
    /// Nothing.
    struct Nothing {}
}

impl Plugin for Keeper {
    fn start(_configuration: &str) -> Result<Self, Error> {
        Ok(Self)
    }

    /// Rejects a blob for a conversation of which the caller is not a member.
    fn before_upload(&self, cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
        note(cx, &format!("begin {} {} {}", blob.name, blob.media_type, blob.length))?;
        match &*blob.name {
            "refused.txt" => Err(Error::new("unwanted", "This file is unwanted.")),
            "broken.txt" => panic!("on request"),
            _ if !blob.conversation.is_empty() && !is_member => {
                Err(Error::new("stranger", "You aren't a member of this conversation."))
            }
            _ => Ok(()),
        }
    }

    fn complete_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        note(cx, &format!("complete {}", blob.name))?;
        match &*blob.name {
            "late.txt" => Err(Error::new("unwanted", "This file is no longer wanted.")),
            "tired.txt" => Err(Error::new("tired", "Not now.").retryable()),
            _ => Ok(()),
        }
    }

    /// Allows members to download blobs of a conversation, everybody those without an uploader, and uploaders their own.
    fn before_download(&self, cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
        let is_open = blob.uploader.is_empty() || blob.uploader == cx.caller.actor;
        if is_member || is_open {
            return Ok(());
        }
        Err(Error::new("not_yours", "It is not for you."))
    }

    fn before_remove(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        note(cx, &format!("remove {}", blob.name))?;
        if blob.uploader == cx.caller.actor {
            return Ok(());
        }
        Err(Error::new("not_yours", "This blob belongs to another user."))
    }

    /// Writes a blob with the first bytes of another.
    fn action(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        let id: String = job.payload_as()?;
        if job.name == "greedy" {
            let error = cx.blobs().read(&id, 0, u32::MAX).err();
            let line = error.map(|error| error.code).unwrap_or_default();
            return cx.transact::<Nothing>("note", &line).map(drop);
        }
        let first = cx.blobs().read(&id, 2, 4)?;
        let unkept = cx.blobs().write("unkept", "text/plain", "", b"lost")?;
        let made = cx.blobs().write("first", "text/plain", "", &first)?;
        cx.transact::<Nothing>("keep", &(made, unkept)).map(drop)
    }

    fn transact(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            "note" => typed(payload, |line: String| {
                note(cx, &line)?;
                Ok(Nothing {})
            }),
            "keep" => typed(payload, |(made, unkept): (String, String)| {
                cx.blobs().keep(&made)?;
                note(cx, &format!("made {made}"))?;
                // The blob exists until the host removes it, since nothing keeps it.
                note(cx, &format!("unkept {}", cx.blobs().get(&unkept)?.length))?;
                Ok(Nothing {})
            }),
            _ => Err(Error::new("unknown_transaction", "This transaction doesn't exist.")),
        }
    }
}

fn note(cx: &Context, line: &str) -> Result<(), Error> {
    let count: u64 = cx.kv().get_json("count")?.unwrap_or_default();
    cx.kv().set(format!("line/{count:06}"), line)?;
    Ok(cx.kv().set_json("count", &(count + 1))?)
}

impl Keeper {
    /// Adds a job about a blob.
    fn cut(&self, cx: &Context, named: Named) -> Result<Nothing, Error> {
        cx.jobs().add("cut", &named.id)?;
        Ok(Nothing {})
    }

    fn greedy(&self, cx: &Context, named: Named) -> Result<Nothing, Error> {
        cx.jobs().add("greedy", &named.id)?;
        Ok(Nothing {})
    }

    /// Removes a blob without a call of `before_remove`.
    fn discard(&self, cx: &Context, named: Named) -> Result<Nothing, Error> {
        cx.blobs().remove(&named.id)?;
        Ok(Nothing {})
    }

    /// Calls in a transaction the services that only jobs may call.
    fn overreach(&self, cx: &Context, named: Named) -> Result<Nothing, Error> {
        cx.blobs().read(&named.id, 0, 1).map(|_| Nothing {})
    }

    fn noted(&self, cx: &Context, _nothing: Nothing) -> Result<Noted, Error> {
        let lines = cx.kv().scan("line/", "line0", 1_000)?;
        let text = |(_, line): (Vec<u8>, Vec<u8>)| String::from_utf8_lossy(&line).into_owned();
        // One blob per page, to test paging.
        let (mut blobs, mut after) = (Vec::new(), String::new());
        while let Some(blob) = cx.blobs().list(&after, 1)?.pop() {
            blobs.push(format!("{} {} {}", blob.name, blob.length, blob.uploader));
            after = blob.id;
        }
        Ok(Noted {
            lines: lines.into_iter().map(text).collect(),
            blobs,
        })
    }
}

register! {
    plugin: Keeper,
    id: "keeper",
    description: "Stores blobs.",
    capabilities: [kv, jobs, blobs],
    hooks: [before_upload, complete_upload, before_download, before_remove, action],
    methods: [cut, greedy, discard, overreach, noted],
}
