//! The stickers plugin: packs of still and animated pictures, favourites, and recently sent stickers.

mod catalogue;
mod first;
mod import;
mod pack;
mod picture;
mod quota;
pub mod record;
#[cfg(test)]
mod samples;
mod settings;
mod shelf;
mod sticker;
mod tokens;
mod upload;

use courtyard_plugin_sdk::prelude::*;

use pack::Pack;
use record::{Nothing, UploadInfo, Usage, WhichBlob};
use settings::Settings;
use shelf::Reference;
use sticker::Sticker;
use upload::Upload;

/// The plugin.
pub struct Stickers {
    settings: Settings,
}

impl Plugin for Stickers {
    fn start(configuration: &str) -> Result<Self, Error> {
        Ok(Self {
            settings: Settings::parse(configuration)?,
        })
    }

    /// Rejects stickers that don't exist or that the sender may not use. It costs two small reads.
    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        match self.check_message(cx, message) {
            Ok(()) => Verdict::Accept,
            Err(error) => Verdict::Reject(error),
        }
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        // A message that a plugin appended passed no guard.
        let Ok(sent) = message.content_as::<Reference>() else {
            return Ok(());
        };
        let exists = match self.is_first(&sent.pack) {
            true => first::find(&sent.sticker).is_some(),
            false => cx.table::<Sticker>().contains((&*sent.pack, &*sent.sticker))?,
        };
        if !exists || message.edits() > 0 {
            return Ok(());
        }
        self.remember_sent(cx, message.sender(), sent)
    }

    fn before_upload(&self, cx: &Context, blob: &Blob, _is_member: bool) -> Result<(), Error> {
        self.check_upload(cx, blob)
    }

    fn complete_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        self.store_upload(cx, blob)
    }

    fn before_download(&self, cx: &Context, blob: &Blob, _is_member: bool) -> Result<(), Error> {
        self.check_download(cx, blob)
    }

    fn http(&self, _cx: &Context, request: &HttpRequest) -> Result<HttpResponse, Error> {
        if self.settings.first_pack {
            return Ok(first::serve(request));
        }
        Ok(HttpResponse::new(404, "text/plain", "There is nothing here.\n"))
    }

    fn action(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        match &*job.name {
            "inspect" => self.inspect(cx, &job.payload_as::<String>()?),
            "sweep" => cx.transact("sweep", &job.payload_as::<String>()?),
            "clear" => {
                let pack: String = job.payload_as()?;
                while cx.transact::<bool>("clear", &pack)? {}
                Ok(())
            }
            "relist" => {
                let mut step = Some(job.payload_as::<catalogue::Relist>()?);
                while let Some(next) = step {
                    step = cx.transact("relist", &next)?;
                }
                Ok(())
            }
            _ => Err(Error::new("unknown_job", "This job doesn't exist.")),
        }
    }

    fn transact(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            "inspected" => typed(payload, |inspected| self.store_inspection(cx, inspected)),
            "sweep" => typed(payload, |id: String| self.sweep(cx, &id)),
            "clear" => typed(payload, |id: String| self.clear(cx, &id)),
            "relist" => typed(payload, |relist| self.relist(cx, relist)),
            _ => Err(Error::new("unknown_transaction", "This transaction doesn't exist.")),
        }
    }
}

impl Stickers {
    fn check_message(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        let sent: Reference = message.content_as()?;
        if self.is_first(&sent.pack) {
            return first::find(&sent.sticker).map(drop).ok_or_else(sticker::unknown);
        }
        let pack = cx.table::<Pack>().get(&*sent.pack)?;
        pack.filter(|pack| pack.may_use(message.sender()))
            .ok_or_else(pack::unknown)?;
        if cx.table::<Sticker>().contains((&*sent.pack, &*sent.sticker))? {
            return Ok(());
        }
        Err(sticker::unknown())
    }

    fn upload(&self, cx: &Context, which: WhichBlob) -> Result<UploadInfo, Error> {
        let upload = cx.table::<Upload>().get(&*which.blob)?;
        let own = upload.filter(|upload| upload.uploader == cx.caller.actor);
        let upload = own.ok_or_else(|| Error::new("unknown_upload", "You have no upload with this id."))?;
        Ok(UploadInfo {
            state: upload.state().to_owned(),
            blob: upload.blob,
            flaw: upload.flaw,
        })
    }

    fn usage(&self, cx: &Context, _nothing: Nothing) -> Result<Usage, Error> {
        let used = quota::used(cx, &cx.caller.actor)?;
        Ok(Usage {
            bytes: used.bytes,
            bytes_limit: self.settings.user_bytes,
            uploads: used.uploads,
            uploads_limit: self.settings.user_uploads,
        })
    }
}

register! {
    plugin: Stickers,
    id: "stickers",
    description: "Packs of stickers.",
    capabilities: [kv, jobs, blobs, sessions, http],
    hooks: [
        before_send(guard) { contents: ["sticker"] }, after_send { contents: ["sticker"] },
        before_upload, complete_upload, before_download, http, action,
    ],
    methods: [
        create_pack, update_pack, publish, withdraw, delete_pack, pack, packs, stickers, search, resolve,
        upload, usage, add_sticker, update_sticker, remove_sticker, import,
        favourite, favourites, recent, forget_recent, keep_pack, kept_packs,
    ],
}

#[cfg(test)]
mod tests;
