//! Reads the log when a store is opened, and distinguishes a torn tail from damage.

use std::path::{Path, PathBuf};

use super::format::{BATCH_HEADER, BatchHeader, HeaderError, Operation, SEGMENT_HEADER, SegmentHeader};
use super::format::{FORMAT, decode_payload, has_batch};
use crate::store::StoreError;

/// The bytes that a disk writes atomically. A sector that was not written reads as zeros.
const SECTOR: usize = 512;

/// The result of scanning a segment.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The offset of the end of the last whole batch.
    pub(super) length: usize,
    /// Whether an unfinished batch follows, which was never acknowledged.
    pub(super) torn: bool,
    /// The position of the last batch, if any.
    pub(super) position: Option<u64>,
}

/// Lists the segments of a log in order.
pub(super) fn segments(folder: &Path) -> Result<Vec<(u32, PathBuf)>, StoreError> {
    let io = |cause| StoreError::Io {
        context: format!("listing {}", folder.display()),
        cause,
    };
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let number = path
            .extension()
            .filter(|extension| *extension == "seg")
            .and_then(|_| path.file_stem()?.to_str()?.parse().ok());
        segments.extend(number.map(|number: u32| (number, path)));
    }
    segments.sort();
    Ok(segments)
}

pub(super) fn corrupt(path: &Path, offset: usize, reason: &str) -> StoreError {
    StoreError::Corrupt {
        file: path.display().to_string(),
        offset: offset as u64,
        reason: reason.to_owned(),
    }
}

/// Checks the header of a segment. Returns none for the last segment if its creation was interrupted.
pub(super) fn header(
    path: &Path,
    bytes: &[u8],
    number: u32,
    is_last: bool,
) -> Result<Option<SegmentHeader>, StoreError> {
    match SegmentHeader::decode(bytes) {
        Ok(header) if header.number == u64::from(number) => Ok(Some(header)),
        Ok(_) => Err(corrupt(
            path,
            12,
            "the number in the header differs from that of the file",
        )),
        Err(HeaderError::Format(found)) => Err(StoreError::Format {
            file: path.display().to_string(),
            found,
            wanted: FORMAT,
        }),
        Err(_) if is_last && (bytes.len() < SEGMENT_HEADER || bytes.iter().all(|byte| *byte == 0)) => Ok(None),
        Err(_) => Err(corrupt(path, 0, "the header of the segment is damaged")),
    }
}

/// Calls `batch` for each batch of a segment, in order, with its position, the offset of its payload and its operations.
pub(super) fn scan(
    path: &Path,
    bytes: &[u8],
    is_last: bool,
    mut batch: impl FnMut(u64, usize, Vec<Operation>) -> Result<(), StoreError>,
) -> Result<Scanned, StoreError> {
    let mut scanned = Scanned {
        length: SEGMENT_HEADER,
        torn: false,
        position: None,
    };
    while scanned.length < bytes.len() {
        let rest = &bytes[scanned.length..];
        let header = BatchHeader::decode(rest);
        let payload = header.and_then(|header| rest.get(BATCH_HEADER..BATCH_HEADER + header.length));
        let (Some(header), Some(payload)) = (header, payload) else {
            return end_at(path, bytes, scanned, header.is_some(), is_last);
        };
        if crc32fast::hash(payload) != header.crc {
            return end_at(path, bytes, scanned, false, is_last);
        }
        if scanned.position.is_some_and(|position| header.position <= position) {
            return Err(corrupt(
                path,
                scanned.length,
                "the position of the batch isn't greater than that of the batch before",
            ));
        }
        let at = scanned.length + BATCH_HEADER;
        let operations =
            decode_payload(payload).ok_or_else(|| corrupt(path, at, "the contents of the batch are damaged"))?;
        batch(header.position, at, operations)?;
        scanned.position = Some(header.position);
        scanned.length = at + payload.len();
    }
    Ok(scanned)
}

/// Decides whether an unreadable batch is torn or damaged. A torn batch was interrupted while it was written, and no
/// submitter received its success. `cut_off` is true when the header is valid and the payload ends with the file.
fn end_at(
    path: &Path,
    bytes: &[u8],
    mut scanned: Scanned,
    cut_off: bool,
    is_last: bool,
) -> Result<Scanned, StoreError> {
    let rest = &bytes[scanned.length..];
    if !is_last {
        return Err(corrupt(
            path,
            scanned.length,
            "the batch is damaged, and a later segment exists",
        ));
    }
    if has_batch(&rest[1..]) {
        return Err(corrupt(
            path,
            scanned.length,
            "the batch is damaged, and whole batches follow it",
        ));
    }
    if !cut_off && rest.len() >= BATCH_HEADER && !has_missing_sector(rest, scanned.length) {
        return Err(corrupt(path, scanned.length, "the last batch is complete but damaged"));
    }
    scanned.torn = true;
    Ok(scanned)
}

/// Returns whether some sector of the bytes, which begin at `offset` of the file, was never written.
fn has_missing_sector(bytes: &[u8], offset: usize) -> bool {
    let first = (SECTOR - offset % SECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    std::iter::once(head)
        .chain(rest.chunks(SECTOR))
        .any(|piece| piece.len() >= 16 && piece.iter().all(|byte| *byte == 0))
}
