//! Jobs that inspect images: their dimensions, and a thumbnail.

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::FilesPlugin;
use crate::attach::store_attachment;
use crate::attachment::Attachment;
use crate::file::{File, FileState, Image, Thumbnail};
use crate::picture::{self, Picture};

/// Attempts after which an image that aborted each of them counts as unreadable.
const ATTEMPTS: u32 = 3;

/// Milliseconds until the next attempt for an image whose bytes can't be read now.
const RETRY_MS: u64 = 60_000;

/// Bytes of a file that are held in memory at a time.
const WINDOW: u32 = 256 << 10;

/// Most messages that get a preview of an image that was sent before its inspection.
const PREVIEWS: usize = 100;

/// A file to inspect.
#[derive(Serialize, Deserialize)]
pub(crate) struct Task {
    length: u64,
    conversation: String,
}

/// Result of the inspection of a file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Inspected {
    blob: String,
    /// None if it isn't a readable image.
    image: Option<Image>,
}

/// Returns the inspection to run; none if the file was inspected or removed.
pub(crate) fn task(cx: &Context, blob: &str) -> Result<Option<Task>, Error> {
    let file = cx.table::<File>().get(blob)?;
    Ok(file.filter(|file| file.state == FileState::Checking).map(|file| Task {
        length: file.size,
        conversation: file.conversation,
    }))
}

impl FilesPlugin {
    /// Inspects a file, outside any transaction.
    pub(crate) fn inspect(&self, cx: &Context, blob: &str, attempt: u32) -> Result<(), Error> {
        let Some(task) = cx.transact::<Option<Task>>("task", &blob)? else {
            return Ok(());
        };
        let image = match self.read_image(cx, blob, &task, attempt) {
            Ok(image) => image,
            // The file was removed meanwhile.
            Err(error) if error.code == "blob_not_found" => return Ok(()),
            // The storage failed, not the image: this doesn't count as an attempt.
            Err(error) if error.retry => return cx.transact("later", &blob),
            Err(_) => None,
        };
        let blob = blob.to_owned();
        cx.transact("inspected", &Inspected { blob, image })
    }

    /// Returns the dimensions and the thumbnail of an image; none if it isn't a readable image.
    ///
    /// # Errors
    /// If its bytes can't be fetched.
    fn read_image(&self, cx: &Context, blob: &str, task: &Task, attempt: u32) -> Result<Option<Image>, Error> {
        if attempt > ATTEMPTS {
            return Ok(None);
        }
        let failure = RefCell::new(None);
        let picture = picture::read(Content::new(cx, blob, task.length, &failure), self.settings.limits());
        match failure.into_inner() {
            Some(error) => Err(error),
            None => picture
                .ok()
                .map(|picture| write_thumbnail(cx, task, picture))
                .transpose(),
        }
    }
}

/// Re-enqueues the inspection of a file.
pub(crate) fn retry_later(cx: &Context, blob: &str) -> Result<(), Error> {
    if task(cx, blob)?.is_some() {
        cx.jobs().add_at("inspect", cx.now_ms() + RETRY_MS, &blob)?;
    }
    Ok(())
}

/// Writes the thumbnail of a picture as a blob.
fn write_thumbnail(cx: &Context, task: &Task, picture: Picture) -> Result<Image, Error> {
    let written = picture.thumbnail.map(|thumbnail| {
        let blobs = cx.blobs();
        let blob = blobs.write("", thumbnail.media_type, &task.conversation, &thumbnail.bytes)?;
        Ok::<_, Error>(Thumbnail {
            blob,
            width: thumbnail.width,
            height: thumbnail.height,
        })
    });
    Ok(Image {
        width: picture.width,
        height: picture.height,
        thumbnail: written.transpose()?,
    })
}

/// Stores the result of an inspection, signals the uploader and annotates messages that were sent before.
pub(crate) fn store_result(cx: &Context, found: Inspected) -> Result<(), Error> {
    let files = cx.table::<File>();
    let Some(mut file) = files
        .get(&*found.blob)?
        .filter(|file| file.state == FileState::Checking)
    else {
        return Ok(());
    };
    file.state = match found.image {
        Some(_) => FileState::Ready,
        None => FileState::Unreadable,
    };
    file.image = found.image;
    if let Some(thumbnail) = file.thumbnail() {
        match cx.blobs().keep(&thumbnail.blob) {
            // It expired before it was kept; the next attempt writes another.
            Err(ServiceError::NotFound) => {
                return Err(Error::new("expired_thumbnail", "The thumbnail has expired.").retryable());
            }
            kept => kept?,
        }
    }
    files.put(&file)?;
    cx.metrics().count(file.state.name(), 1);
    let attachments: Vec<Attachment> = cx
        .table()
        .scan((&*file.blob,))
        .into_iter()
        .take(PREVIEWS)
        .collect::<Result<_, _>>()?;
    for attachment in attachments {
        store_attachment(cx, &file, attachment)?;
    }
    let mut payload = file.image_members();
    payload.insert("blob".to_owned(), (&*file.blob).into());
    payload.insert("state".to_owned(), file.state.name().into());
    Ok(cx
        .sessions()
        .signal(std::slice::from_ref(&file.uploader), "inspected", &payload)?)
}

/// Reads the bytes of a blob through a window of [`WINDOW`] bytes.
struct Content<'a> {
    cx: &'a Context,
    blob: &'a str,
    length: u64,
    at: u64,
    window: Vec<u8>,
    /// Offset at which the window begins.
    start: u64,
    /// The host's error, kept aside because decoders report any failed read as a damaged image.
    failure: &'a RefCell<Option<Error>>,
}

impl<'a> Content<'a> {
    fn new(cx: &'a Context, blob: &'a str, length: u64, failure: &'a RefCell<Option<Error>>) -> Self {
        Self {
            cx,
            blob,
            length,
            at: 0,
            window: Vec::new(),
            start: 0,
            failure,
        }
    }
}

impl BufRead for Content<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let is_inside = (self.start..self.start + self.window.len() as u64).contains(&self.at);
        if !is_inside {
            self.window.clear();
            if self.at < self.length {
                let read = self.cx.blobs().read(self.blob, self.at, WINDOW);
                self.window = read.map_err(|error| {
                    let failed = io::Error::other(error.message.clone());
                    *self.failure.borrow_mut() = Some(error);
                    failed
                })?;
            }
            self.start = self.at;
        }
        let skipped = usize::try_from(self.at - self.start).unwrap_or(usize::MAX);
        Ok(self.window.get(skipped..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount as u64;
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl Seek for Content<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
