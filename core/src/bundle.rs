//! A bundle of files in the executable: a zip archive behind the program.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use rawzip::time::UtcDateTime;
use rawzip::{CompressionMethod, FileReader, ZipArchive, ZipArchiveEntryWayfinder, ZipArchiveWriter};
use sha2::{Digest, Sha256};

/// The last bytes of the archive's comment, and of an executable with a bundle. The checksum of the parts precedes them,
/// since that of the archive doesn't cover names.
const MARK: &[u8] = b"courtyard bundle";

/// Time stamp of all parts, so that the same parts result in the same bytes: 1980-01-01, the first that zip supports.
const FIRST_DATE: i64 = 315_532_800;

/// Prefix of paths in a configuration that refer to a part.
const PREFIX: &str = "bundled:";

/// Named files in the executable (its parts), such as a configuration, plugins and static files. Clones share the bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    parts: Arc<BTreeMap<String, Bytes>>,
}

/// Why a bundle can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// An IO error.
    #[error("the executable can't be read or written")]
    Io(#[source] io::Error),
    /// The parts differ from what was written.
    #[error("the bundle in the executable is damaged: install it again")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<io::Error> for BundleError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged(error.into()),
            _ => Self::Io(error),
        }
    }
}

impl From<rawzip::Error> for BundleError {
    fn from(error: rawzip::Error) -> Self {
        match error.into_kind() {
            rawzip::ErrorKind::IO(error) => error.into(),
            kind => Self::Damaged(rawzip::Error::from(kind).into()),
        }
    }
}

/// The archive behind a program.
struct Trailer {
    archive: ZipArchive<FileReader>,
    entries: Vec<(String, ZipArchiveEntryWayfinder)>,
    /// The offset where the program ends and the archive begins.
    start: u64,
}

impl Bundle {
    /// Returns the bundle of the running executable; empty if it has none.
    ///
    /// # Errors
    /// When the executable can't be read, or its bundle is damaged.
    pub fn of_executable() -> Result<Self, BundleError> {
        Self::read(executable()?)
    }

    /// Returns the bundle behind a program; empty if it has none.
    ///
    /// # Errors
    /// As [`Bundle::of_executable`].
    pub fn read(mut program: File) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        if !is_marked(&mut program)? {
            return Ok(bundle);
        }
        let Trailer { archive, entries, .. } = Trailer::open(program)?;
        for (name, place) in entries {
            let entry = archive.get_entry(place)?;
            let mut bytes = Vec::new();
            entry
                .verifying_reader(DeflateDecoder::new(entry.reader()))
                .read_to_end(&mut bytes)
                .map_err(|error| BundleError::Damaged(error.into()))?;
            bundle.insert(&name, bytes);
        }
        let mut comment = Vec::new();
        archive.comment().read_to_end(&mut comment)?;
        if comment != bundle.comment() {
            return Err(BundleError::Damaged("the checksum differs".into()));
        }
        Ok(bundle)
    }

    /// Copies a program without its bundle, and writes this one behind it. The same parts result in the same bytes.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn write_behind(&self, mut program: File, output: &mut impl Write) -> Result<(), BundleError> {
        let length = if is_marked(&mut program)? {
            Trailer::open(program.try_clone()?)?.start
        } else {
            program.metadata()?.len()
        };
        program.seek(SeekFrom::Start(0))?;
        io::copy(&mut program.take(length), output)?;
        let mut archive = ZipArchiveWriter::builder().with_offset(length).build(output);
        archive.set_comment(self.comment());
        for (name, bytes) in &*self.parts {
            let file = archive.new_file(name.as_str()).unix_permissions(0o644);
            let file = file.last_modified(UtcDateTime::from_unix(FIRST_DATE));
            let (mut entry, options) = file.compression_method(CompressionMethod::DEFLATE).start()?;
            let mut writer = options.wrap(DeflateEncoder::new(&mut entry, Compression::best()));
            writer.write_all(bytes)?;
            let (encoder, descriptor) = writer.finish()?;
            encoder.finish()?;
            entry.finish(descriptor)?;
        }
        archive.finish()?;
        Ok(())
    }

    fn comment(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        for (name, bytes) in self.parts() {
            for field in [name.as_bytes(), bytes] {
                hash.update((field.len() as u64).to_le_bytes());
                hash.update(field);
            }
        }
        let digits = hash
            .finalize()
            .iter()
            .fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
        [digits.as_bytes(), b" ", MARK].concat()
    }

    /// Adds a part, or replaces the one with the same name. Names are paths with `/`.
    pub fn insert(&mut self, name: &str, bytes: impl Into<Bytes>) {
        Arc::make_mut(&mut self.parts).insert(name.to_owned(), bytes.into());
    }

    /// Returns a part.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&Bytes> {
        self.parts.get(name)
    }

    /// Returns the parts in a folder, with their paths relative to it.
    pub fn folder<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a Bytes)> {
        self.parts()
            .filter_map(move |(part, bytes)| Some((part.strip_prefix(name)?.strip_prefix('/')?, bytes)))
    }

    /// Returns all parts in the order of their names.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.parts.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Returns the name of the part that a path in a configuration refers to, such as `bundled:plugins/a.wasm`. Returns `None`
    /// for the path of a file.
    #[must_use]
    pub fn name_in(path: &Path) -> Option<&str> {
        path.to_str()?.strip_prefix(PREFIX)
    }

    /// Returns the path that refers to a part in a configuration.
    #[must_use]
    pub fn path_of(name: &str) -> String {
        format!("{PREFIX}{name}")
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.parts.keys()).finish()
    }
}

impl Trailer {
    fn open(program: File) -> Result<Self, BundleError> {
        let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
        let archive = ZipArchive::from_file(program, &mut buffer)?;
        let (mut entries, mut start) = (Vec::new(), archive.directory_offset());
        let mut found = archive.entries(&mut buffer);
        while let Some(entry) = found.next_entry()? {
            let name = entry.file_path().try_normalize()?.as_str().to_owned();
            start = start.min(entry.local_header_offset());
            entries.push((name, entry.wayfinder()));
        }
        if u64::try_from(entries.len()) != Ok(archive.entries_hint()) {
            return Err(BundleError::Damaged("parts are missing".into()));
        }
        Ok(Self {
            archive,
            entries,
            start,
        })
    }
}

/// Opens the running program. On Linux this works even if the file was replaced or removed since the start.
pub fn executable() -> io::Result<File> {
    File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))
}

fn is_marked(program: &mut File) -> io::Result<bool> {
    let mut end = [0; MARK.len()];
    let length = program.metadata()?.len();
    let Some(start) = length.checked_sub(MARK.len() as u64) else {
        return Ok(false);
    };
    program.seek(SeekFrom::Start(start))?;
    program.read_exact(&mut end)?;
    Ok(end == MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &[u8] = b"\x7fELF and whatever a program has";

    fn parts(parts: &[(&str, &str)]) -> Bundle {
        let mut bundle = Bundle::default();
        for (name, text) in parts {
            bundle.insert(name, text.to_string());
        }
        bundle
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn written(bundle: &Bundle, program: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        bundle.write_behind(file(program), &mut output).unwrap();
        output
    }

    #[test]
    fn parts_are_read_as_they_were_written_and_the_program_stays_in_front() {
        let bundle = parts(&[("a.toml", "x = 1"), ("static/page/index.html", "<p>"), ("empty", "")]);
        let output = written(&bundle, PROGRAM);
        assert!(output.starts_with(PROGRAM));
        assert_eq!(Bundle::read(file(&output)).unwrap(), bundle);
        assert_eq!(
            output,
            written(&bundle, PROGRAM),
            "the same parts result in the same bytes"
        );
        let page: Vec<_> = bundle.folder("static/page").collect();
        assert_eq!(page, [("index.html", &Bytes::from("<p>"))]);
        assert_eq!(bundle.folder("static/pag").count(), 0);
    }

    #[test]
    fn a_program_without_parts_has_none() {
        for program in [PROGRAM, b"", b"short"] {
            assert_eq!(Bundle::read(file(program)).unwrap(), Bundle::default());
        }
    }

    #[test]
    fn new_parts_replace_the_old_ones() {
        let first = written(&parts(&[("a", "first"), ("b", "first")]), PROGRAM);
        let second = parts(&[("a", "second")]);
        assert_eq!(written(&second, &first), written(&second, PROGRAM));
    }

    #[test]
    fn damaged_parts_are_an_error_and_never_other_bytes() {
        let bundle = parts(&[("a", &"the bytes of a plugin and so on ".repeat(20)), ("b", "2")]);
        let output = written(&bundle, PROGRAM);
        let end = output.len() - MARK.len();
        let mut refused = 0;
        for at in PROGRAM.len()..end {
            let mut damaged = output.clone();
            damaged[at] ^= 0x10;
            // Not every bit of an archive means something.
            match Bundle::read(file(&damaged)) {
                Ok(read) => assert_eq!(read, bundle, "byte {at}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > (end - PROGRAM.len()) / 2, "{refused} of {end}");
        let cut = [&output[..end - 30], MARK].concat();
        assert!(matches!(Bundle::read(file(&cut)), Err(BundleError::Damaged(_))));
    }

    #[test]
    fn only_paths_with_the_prefix_refer_to_a_part() {
        assert_eq!(
            Bundle::name_in(Path::new("bundled:plugins/a.wasm")),
            Some("plugins/a.wasm")
        );
        assert_eq!(Bundle::name_in(Path::new("./bundled:plugins/a.wasm")), None);
        assert_eq!(Bundle::path_of("static/page"), "bundled:static/page");
    }
}
