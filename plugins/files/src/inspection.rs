//! Jobs that look into images: what size they have, and a thumbnail.

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::FilesPlugin;
use crate::file::{File, Image, State, Thumbnail};
use crate::picture::{self, Picture};
use crate::sending::show;
use crate::showing::Showing;

/// Attempts after which an image that ends them all is taken for unreadable.
const ATTEMPTS: u32 = 3;

/// After which an image is inspected whose bytes can't be reached now.
const LATER_MS: u64 = 60_000;

/// Bytes of a file that are in memory at a time.
const WINDOW: u32 = 256 << 10;

/// Messages that are told of an image that was sent before it was inspected.
const TOLD: usize = 100;

/// A file to inspect.
#[derive(Serialize, Deserialize)]
pub(crate) struct Task {
    length: u64,
    conversation: String,
}

/// What the inspection of a file found.
#[derive(Serialize, Deserialize)]
pub(crate) struct Inspected {
    blob: String,
    /// None if it can't be read.
    image: Option<Image>,
}

/// Returns what there is to inspect, if it is still to be done.
pub(crate) fn task(cx: &Context, blob: &str) -> Result<Option<Task>, Error> {
    let file = cx.table::<File>().get(blob)?;
    Ok(file.filter(|file| file.state == State::Checking).map(|file| Task {
        length: file.size,
        conversation: file.conversation,
    }))
}

impl FilesPlugin {
    /// Inspects a file, outside of any transaction.
    pub(crate) fn inspect(&self, cx: &Context, blob: &str, attempt: u32) -> Result<(), Error> {
        let Some(task) = cx.transact::<Option<Task>>("task", &blob)? else {
            return Ok(());
        };
        let image = match self.look(cx, blob, &task, attempt) {
            Ok(image) => image,
            // It was removed meanwhile.
            Err(error) if error.code == "blob_not_found" => return Ok(()),
            // That is not the image's fault, and no attempt of it.
            Err(error) if error.retry => return cx.transact("later", &blob),
            Err(_) => None,
        };
        let blob = blob.to_owned();
        cx.transact("inspected", &Inspected { blob, image })
    }

    /// Returns what an image is, or none if it is none.
    ///
    /// # Errors
    /// When its bytes can't be read.
    fn look(&self, cx: &Context, blob: &str, task: &Task, attempt: u32) -> Result<Option<Image>, Error> {
        if attempt > ATTEMPTS {
            return Ok(None);
        }
        let failure = RefCell::new(None);
        let picture = picture::read(Content::new(cx, blob, task.length, &failure), self.settings.limits());
        match failure.into_inner() {
            Some(error) => Err(error),
            None => picture.ok().map(|picture| keep(cx, task, picture)).transpose(),
        }
    }
}

/// Adds the job anew.
pub(crate) fn later(cx: &Context, blob: &str) -> Result<(), Error> {
    if task(cx, blob)?.is_some() {
        cx.jobs().add_at("inspect", cx.now_ms() + LATER_MS, &blob)?;
    }
    Ok(())
}

/// Writes the thumbnail of a picture.
fn keep(cx: &Context, task: &Task, picture: Picture) -> Result<Image, Error> {
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

/// Keeps what was found, and tells the uploader and the readers of messages that were sent before.
pub(crate) fn inspected(cx: &Context, found: Inspected) -> Result<(), Error> {
    let files = cx.table::<File>();
    let Some(mut file) = files.get(&*found.blob)?.filter(|file| file.state == State::Checking) else {
        return Ok(());
    };
    file.state = match found.image {
        Some(_) => State::Ready,
        None => State::Unreadable,
    };
    file.image = found.image;
    if let Some(thumbnail) = file.thumbnail() {
        match cx.blobs().keep(&thumbnail.blob) {
            // It was not kept in time; the next attempt makes another.
            Err(ServiceError::NotFound) => return Err(Error::new("late", "The thumbnail is gone.").retryable()),
            kept => kept?,
        }
    }
    files.put(&file)?;
    cx.metrics().count(file.state.name(), 1);
    let showings: Vec<Showing> = cx
        .table()
        .scan((&*file.blob,))
        .into_iter()
        .take(TOLD)
        .collect::<Result<_, _>>()?;
    for showing in showings {
        show(cx, &file, showing)?;
    }
    let mut told = file.look();
    told.insert("blob".to_owned(), (&*file.blob).into());
    told.insert("state".to_owned(), file.state.name().into());
    Ok(cx
        .sessions()
        .signal(std::slice::from_ref(&file.uploader), "inspected", &told)?)
}

/// The bytes of a blob, some at a time.
struct Content<'a> {
    cx: &'a Context,
    blob: &'a str,
    length: u64,
    at: u64,
    window: Vec<u8>,
    /// Where the window begins.
    start: u64,
    /// Why the host gives no bytes: decoders would make of it that the image is damaged.
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
                    let told = io::Error::other(error.message.clone());
                    *self.failure.borrow_mut() = Some(error);
                    told
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
