//! Messages that show files.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;
use serde_json::Map;
use serde_json::value::RawValue;

use crate::FilesPlugin;
use crate::file::{File, State, unknown};
use crate::showing::{ByMessage, Sending, Showing};

/// What a message says of an image.
const LOOK: [&str; 5] = ["width", "height", "thumbnail", "thumbnail_width", "thumbnail_height"];

/// Which file a message shows.
#[derive(Deserialize)]
struct Shows {
    blob: String,
}

/// Decides about a message with a file. Returns another content where what the sender says of the file is not what is known.
pub(crate) fn check(cx: &Context, message: &Message<'_>) -> Result<Option<Vec<u8>>, Error> {
    let shows: Shows = message.content_as()?;
    let file = cx.table::<File>().get(&*shows.blob)?.ok_or_else(unknown)?;
    if file.conversation != message.conversation() {
        return Err(Error::new(
            "other_conversation",
            "This file is for another conversation.",
        ));
    }
    if message.kind() == "image" && matches!(file.state, State::Plain | State::Unreadable) {
        return Err(Error::new(
            "not_an_image",
            "This is no image that can be shown; send it as a file.",
        ));
    }
    cx.table::<Sending>().put(&Sending {
        blob: file.blob.clone(),
        sender: message.sender().to_owned(),
        client_id: message.client_id().to_owned(),
        is_bare: file.state == State::Checking,
    })?;
    replaced(&file, message)
}

/// Puts what is known in the place of what the sender says, and leaves everything else as it is.
fn replaced(file: &File, message: &Message<'_>) -> Result<Option<Vec<u8>>, Error> {
    let mut content: BTreeMap<String, Box<RawValue>> = message.content_as()?;
    let said: BTreeMap<String, String> = content
        .iter()
        .map(|(name, value)| (name.clone(), value.get().to_owned()))
        .collect();
    let mut known = file.look();
    known.insert("name".to_owned(), (&*file.name).into());
    known.insert("media_type".to_owned(), (&*file.media_type).into());
    known.insert("size".to_owned(), file.size.into());
    known.retain(|_, value| value.as_str() != Some(""));
    // Nobody looks into a film, and so its size is its sender's to say.
    let is_film = message.kind() == "video" && file.state == State::Plain;
    content.retain(|name, _| {
        let is_kept = is_film && matches!(&**name, "width" | "height");
        is_kept || !(LOOK.contains(&&**name) || matches!(&**name, "name" | "media_type" | "size"))
    });
    let bad = |error: serde_json::Error| Error::new("bad_content", error.to_string());
    for (name, value) in &known {
        content.insert(name.clone(), serde_json::value::to_raw_value(value).map_err(bad)?);
    }
    let is_same = said.len() == content.len()
        && said
            .iter()
            .zip(&content)
            .all(|((name, said), (known, value))| name == known && said == value.get());
    if is_same {
        return Ok(None);
    }
    serde_json::to_vec(&content).map(Some).map_err(bad)
}

impl FilesPlugin {
    /// Notes which file a message shows, and that an edited one does not show another any more.
    pub(crate) fn was_sent(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        let Ok(shows) = message.content_as::<Shows>() else {
            return Ok(());
        };
        let seq = match message.edits() {
            0 => message.seq(),
            edited => edited,
        };
        let key = (&*shows.blob, message.sender(), message.client_id());
        let sending = cx.table::<Sending>().remove(key)?;
        let showings = cx.table::<Showing>();
        let before: Vec<Showing> = showings
            .by(ByMessage)
            .scan((message.conversation(), seq))
            .into_iter()
            .collect::<Result<_, _>>()?;
        for showing in before.iter().filter(|showing| showing.blob != shows.blob) {
            showings.remove(showing.key())?;
            self.drop_unshown(cx, &showing.blob)?;
        }
        let file = cx.table::<File>().get(&*shows.blob)?;
        // What a plugin appended in somebody's name passed no guard.
        let Some(file) = file.filter(|file| file.conversation == message.conversation()) else {
            return Ok(());
        };
        let showing = Showing {
            blob: shows.blob,
            conversation: message.conversation().to_owned(),
            seq,
            is_bare: sending.is_none_or(|sending| sending.is_bare),
        };
        show(cx, &file, showing)
    }

    /// Removes what only a recalled message showed.
    pub(crate) fn was_recalled(&self, cx: &Context, conversation: &str, seq: u64) -> Result<(), Error> {
        let showings = cx.table::<Showing>();
        let shown: Vec<Showing> = showings
            .by(ByMessage)
            .scan((conversation, seq))
            .into_iter()
            .collect::<Result<_, _>>()?;
        for showing in shown {
            showings.remove(showing.key())?;
            self.drop_unshown(cx, &showing.blob)?;
        }
        Ok(())
    }
}

/// Keeps that a message shows a file, and tells its readers what was found out since it was sent.
pub(crate) fn show(cx: &Context, file: &File, showing: Showing) -> Result<(), Error> {
    let is_late = showing.is_bare && matches!(file.state, State::Ready | State::Unreadable);
    if is_late {
        let mut preview = file.look();
        if file.state == State::Unreadable {
            preview = Map::from_iter([("state".to_owned(), file.state.name().into())]);
        }
        match cx
            .annotations()
            .set(&showing.conversation, showing.seq, "preview", &preview)
        {
            // It was recalled, or others have said too much about it.
            Ok(()) | Err(ServiceError::NotFound | ServiceError::Invalid(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    cx.table::<Showing>().put(&Showing {
        is_bare: showing.is_bare && !is_late,
        ..showing
    })?;
    Ok(())
}
