//! The files plugin: uploads for the members of a conversation, and messages that show them.

mod access;
mod attach;
mod attachment;
mod file;
mod inspection;
mod media_type;
mod picture;
mod quota;
pub mod record;
mod settings;
mod upload;

use courtyard_plugin_sdk::prelude::*;

use attachment::{Attachment, ByMessage};
use file::{ByUploader, File};
use record::{FileInfo, Files, Nothing, Page, PageOf, Usage, Which};
use settings::Settings;

/// The plugin.
pub struct FilesPlugin {
    settings: Settings,
}

impl Plugin for FilesPlugin {
    fn start(configuration: &str) -> Result<Self, Error> {
        Ok(Self {
            settings: Settings::parse(configuration)?,
        })
    }

    /// Checks that the file exists and is for this conversation, and replaces the sender's claims with the stored values. It
    /// costs one small read and one small write.
    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        match attach::check(cx, message) {
            Ok(Some(content)) => Verdict::Replace(content),
            Ok(None) => Verdict::Accept,
            Err(error) => Verdict::Reject(error),
        }
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        self.attach(cx, message)
    }

    fn after_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        if act.name == "recall" {
            self.detach(cx, &act.conversation, act.target)?;
        }
        Ok(())
    }

    fn before_upload(&self, cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
        self.check_upload(cx, blob, is_member)
    }

    fn complete_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        self.store_upload(cx, blob)
    }

    fn before_download(&self, cx: &Context, blob: &Blob, is_member: bool) -> Result<(), Error> {
        access::check_download(cx, blob, is_member)
    }

    fn before_remove(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        let file = access::owned(cx, &blob.id)?;
        // The host removes the bytes with this transaction.
        self.remove_records(cx, &file)
    }

    fn action(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        match &*job.name {
            "inspect" => self.inspect(cx, &job.payload_as::<String>()?, job.attempt),
            "sweep" => cx.transact("sweep", &job.payload_as::<String>()?),
            "forget" => {
                let blob: String = job.payload_as()?;
                while cx.transact::<bool>("forget", &blob)? {}
                Ok(())
            }
            "count" => quota::count(cx),
            _ => Err(Error::new("unknown_job", "This job doesn't exist.")),
        }
    }

    fn transact(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            "task" => typed(payload, |blob: String| inspection::task(cx, &blob)),
            "later" => typed(payload, |blob: String| inspection::retry_later(cx, &blob)),
            "inspected" => typed(payload, |inspected| inspection::store_result(cx, inspected)),
            "sweep" => typed(payload, |blob: String| self.sweep(cx, &blob)),
            "forget" => typed(payload, |blob: String| attachment::remove_some(cx, &blob)),
            "counting" => typed(payload, |()| quota::start_count(cx)),
            "shard" => typed(payload, |shard| quota::shard(cx, shard)),
            "counted" => typed(payload, |counted| quota::store_total(cx, counted)),
            _ => Err(Error::new("unknown_transaction", "This transaction doesn't exist.")),
        }
    }
}

impl FilesPlugin {
    fn file(&self, cx: &Context, which: Which) -> Result<FileInfo, Error> {
        Ok(access::readable(cx, &which.blob)?.info(None))
    }

    fn own(&self, cx: &Context, page: Page) -> Result<Files, Error> {
        let own = cx.table::<File>().by(ByUploader).scan((&*cx.caller.actor,));
        let found = own.descending().after(page.after).page(limit(page.limit))?;
        Ok(Files {
            files: found.rows.iter().map(|file| file.info(None)).collect(),
            next: found.next,
        })
    }

    fn shared(&self, cx: &Context, page: PageOf) -> Result<Files, Error> {
        if !cx.memberships().is_member(&page.conversation, &cx.caller.actor)? {
            return Err(access::not_a_member());
        }
        let attached = cx.table::<Attachment>().by(ByMessage).scan((&*page.conversation,));
        let found = attached.descending().after(page.after).page(limit(page.limit))?;
        let mut files = Vec::with_capacity(found.rows.len());
        for attachment in &found.rows {
            if let Some(file) = cx.table::<File>().get(&*attachment.blob)? {
                files.push(file.info(Some(attachment.seq)));
            }
        }
        Ok(Files {
            files,
            next: found.next,
        })
    }

    fn delete(&self, cx: &Context, which: Which) -> Result<Nothing, Error> {
        let file = access::owned(cx, &which.blob)?;
        self.remove(cx, &file)?;
        Ok(Nothing {})
    }

    fn usage(&self, cx: &Context, _nothing: Nothing) -> Result<Usage, Error> {
        let used = quota::used(cx, &cx.caller.actor)?;
        Ok(Usage {
            bytes: used.bytes,
            bytes_limit: self.settings.user_bytes,
            files: used.files,
        })
    }
}

fn limit(requested: Option<u32>) -> usize {
    requested.unwrap_or(50).clamp(1, 200) as usize
}

register! {
    plugin: FilesPlugin,
    id: "files",
    description: "Files for the members of conversations.",
    capabilities: [kv, jobs, blobs, sessions, annotations, memberships],
    hooks: [
        before_send(guard) { contents: ["image", "file", "voice", "video"] },
        after_send { contents: ["image", "file", "voice", "video"] },
        after_act { contents: ["image", "file", "voice", "video"] },
        before_upload, complete_upload, before_download, before_remove, action,
    ],
    methods: [file, own, shared, delete, usage],
}

#[cfg(test)]
mod tests;
