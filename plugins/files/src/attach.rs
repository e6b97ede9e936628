//! Messages that show files: the guard before they are sent, and the attachments after.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;
use serde_json::Map;
use serde_json::value::RawValue;

use crate::FilesPlugin;
use crate::attachment::{Attachment, ByMessage, PendingAttachment};
use crate::file::{File, FileState, unknown};

/// Members of a message that describe an image.
const IMAGE_MEMBERS: [&str; 5] = ["width", "height", "thumbnail", "thumbnail_width", "thumbnail_height"];

/// The reference to a file in the content of a message.
#[derive(Deserialize)]
struct FileReference {
    blob: String,
}

/// Checks a message with a file. Returns a replacement for its content if the sender's claims about the file differ from the
/// stored values.
pub(crate) fn check(cx: &Context, message: &Message<'_>) -> Result<Option<Vec<u8>>, Error> {
    let reference: FileReference = message.content_as()?;
    let file = cx.table::<File>().get(&*reference.blob)?.ok_or_else(unknown)?;
    if file.conversation != message.conversation() {
        return Err(Error::new(
            "invalid_conversation",
            "This file was uploaded for another conversation. Upload it for this one.",
        ));
    }
    if message.kind() == "image" && matches!(file.state, FileState::Plain | FileState::Unreadable) {
        return Err(Error::new(
            "invalid_image",
            "This file isn't a readable image. Send it as a file.",
        ));
    }
    cx.table::<PendingAttachment>().put(&PendingAttachment {
        blob: file.blob.clone(),
        sender: message.sender().to_owned(),
        client_id: message.client_id().to_owned(),
        is_bare: file.state == FileState::Checking,
    })?;
    corrected(&file, message)
}

/// Returns the content with the stored values in place of the sender's claims; none if it needs no change. All other members
/// stay as they are.
fn corrected(file: &File, message: &Message<'_>) -> Result<Option<Vec<u8>>, Error> {
    let mut content: BTreeMap<String, Box<RawValue>> = message.content_as()?;
    let original: BTreeMap<String, String> = content
        .iter()
        .map(|(name, value)| (name.clone(), value.get().to_owned()))
        .collect();
    let mut known = file.image_members();
    known.insert("name".to_owned(), (&*file.name).into());
    known.insert("media_type".to_owned(), (&*file.media_type).into());
    known.insert("size".to_owned(), file.size.into());
    known.retain(|_, value| value.as_str() != Some(""));
    // Videos aren't inspected, so their dimensions are the sender's claim.
    let is_video = message.kind() == "video" && file.state == FileState::Plain;
    content.retain(|name, _| {
        let is_kept = is_video && matches!(&**name, "width" | "height");
        is_kept || !(IMAGE_MEMBERS.contains(&&**name) || matches!(&**name, "name" | "media_type" | "size"))
    });
    let bad = |error: serde_json::Error| Error::new("internal", error.to_string());
    for (name, value) in &known {
        content.insert(name.clone(), serde_json::value::to_raw_value(value).map_err(bad)?);
    }
    let is_same = original.len() == content.len()
        && original
            .iter()
            .zip(&content)
            .all(|((name, before), (new_name, value))| name == new_name && before == value.get());
    if is_same {
        return Ok(None);
    }
    serde_json::to_vec(&content).map(Some).map_err(bad)
}

impl FilesPlugin {
    /// Stores the attachment of a message. An edit removes the attachment of a file that the message doesn't show any more.
    pub(crate) fn attach(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        let Ok(reference) = message.content_as::<FileReference>() else {
            return Ok(());
        };
        let seq = match message.edits() {
            0 => message.seq(),
            edited => edited,
        };
        let key = (&*reference.blob, message.sender(), message.client_id());
        let pending = cx.table::<PendingAttachment>().remove(key)?;
        let attachments = cx.table::<Attachment>();
        let before: Vec<Attachment> = attachments
            .by(ByMessage)
            .scan((message.conversation(), seq))
            .into_iter()
            .collect::<Result<_, _>>()?;
        for attachment in before.iter().filter(|attachment| attachment.blob != reference.blob) {
            attachments.remove(attachment.key())?;
            self.remove_unattached(cx, &attachment.blob)?;
        }
        let file = cx.table::<File>().get(&*reference.blob)?;
        // A message that a plugin appended passed no guard.
        let Some(file) = file.filter(|file| file.conversation == message.conversation()) else {
            return Ok(());
        };
        let attachment = Attachment {
            blob: reference.blob,
            conversation: message.conversation().to_owned(),
            seq,
            is_bare: pending.is_none_or(|pending| pending.is_bare),
        };
        store_attachment(cx, &file, attachment)
    }

    /// Removes the attachments of a recalled message, and files that no other message shows.
    pub(crate) fn detach(&self, cx: &Context, conversation: &str, seq: u64) -> Result<(), Error> {
        let attachments = cx.table::<Attachment>();
        let attached: Vec<Attachment> = attachments
            .by(ByMessage)
            .scan((conversation, seq))
            .into_iter()
            .collect::<Result<_, _>>()?;
        for attachment in attached {
            attachments.remove(attachment.key())?;
            self.remove_unattached(cx, &attachment.blob)?;
        }
        Ok(())
    }
}

/// Stores an attachment, and annotates its message with the result of an inspection that ended after it was sent.
pub(crate) fn store_attachment(cx: &Context, file: &File, attachment: Attachment) -> Result<(), Error> {
    let is_late = attachment.is_bare && matches!(file.state, FileState::Ready | FileState::Unreadable);
    if is_late {
        let mut preview = file.image_members();
        if file.state == FileState::Unreadable {
            preview = Map::from_iter([("state".to_owned(), file.state.name().into())]);
        }
        match cx
            .annotations()
            .set(&attachment.conversation, attachment.seq, "preview", &preview)
        {
            // The message was recalled, or its annotations reached their limit.
            Ok(()) | Err(ServiceError::NotFound | ServiceError::Invalid(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    cx.table::<Attachment>().put(&Attachment {
        is_bare: attachment.is_bare && !is_late,
        ..attachment
    })?;
    Ok(())
}
