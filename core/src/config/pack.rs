//! Packing: a bundle with a configuration and the files it refers to.

use std::collections::BTreeSet;
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use toml::Spanned;

use super::{BUNDLED, ConfigErrors, Diagnostic, file};
use crate::bundle::Bundle;
use crate::net::MAX_FILE_BYTES;
use crate::plugin::Artifact;

/// The keys whose values are packed or changed.
#[derive(Deserialize)]
struct BundledKeys {
    data: Option<Spanned<PathBuf>>,
    #[serde(default)]
    http: BundledHttp,
    #[serde(default)]
    plugins: Vec<BundledPlugin>,
}

#[derive(Default, Deserialize)]
struct BundledHttp {
    #[serde(default, rename = "static")]
    folders: Vec<BundledFolder>,
}

#[derive(Deserialize)]
struct BundledFolder {
    folder: Spanned<PathBuf>,
}

#[derive(Deserialize)]
struct BundledPlugin {
    id: String,
    path: Spanned<PathBuf>,
}

struct Packer<'a> {
    text: &'a str,
    folder: &'a Path,
    from: &'a Bundle,
    packed: Bundle,
    /// Replacements of spans of the text.
    changes: Vec<(Range<usize>, String)>,
    diagnostics: Vec<Diagnostic>,
}

pub(super) fn pack(text: &str, name: &str, folder: &Path, from: &Bundle) -> Result<Bundle, ConfigErrors> {
    file::check_for_other_machine(text, name, folder, from)?;
    let mut packer = Packer {
        text,
        folder,
        from,
        packed: Bundle::default(),
        changes: Vec::new(),
        diagnostics: Vec::new(),
    };
    match toml::from_str(text) {
        Ok(named) => packer.pack(named),
        Err(error) => packer.wrong(error.span().unwrap_or(0..0), error.message().to_owned()),
    }
    if packer.diagnostics.is_empty() {
        let text = packer.changed();
        packer.packed.insert(BUNDLED, text);
        Ok(packer.packed)
    } else {
        Err(ConfigErrors {
            file: name.to_owned(),
            diagnostics: packer.diagnostics,
        })
    }
}

impl Packer<'_> {
    fn pack(&mut self, named: BundledKeys) {
        if let Some(data) = named.data {
            self.change(data.span(), "data".to_owned());
        }
        let mut taken = BTreeSet::new();
        for folder in named.http.folders {
            self.static_files(&folder.folder, &mut taken);
        }
        for plugin in named.plugins {
            self.plugin(&plugin.id, &plugin.path);
        }
    }

    fn static_files(&mut self, path: &Spanned<PathBuf>, taken: &mut BTreeSet<String>) {
        let name = new_name(&self.folder.join(path.get_ref()), taken);
        let mut files = Vec::new();
        match Bundle::name_in(path.get_ref()) {
            Some(part) => files.extend(
                self.from
                    .folder(part)
                    .map(|(name, bytes)| (name.to_owned(), bytes.clone())),
            ),
            None => {
                if let Err(reason) = read_folder(&self.folder.join(path.get_ref()), "", &mut files) {
                    self.wrong(path.span(), reason);
                }
            }
        }
        for (file, bytes) in files {
            self.packed.insert(&format!("{name}/{file}"), bytes);
        }
        self.change(path.span(), Bundle::path_of(&name));
    }

    fn plugin(&mut self, id: &str, path: &Spanned<PathBuf>) {
        let bytes = match Bundle::name_in(path.get_ref()) {
            Some(part) => self.from.part(part).cloned().unwrap_or_default(),
            None => match std::fs::read(self.folder.join(path.get_ref())) {
                Ok(bytes) => Bytes::from(bytes),
                Err(error) => return self.wrong(path.span(), format!("the plugin can't be read: {error}")),
            },
        };
        match Artifact::parse(bytes.to_vec()) {
            Err(error) => return self.wrong(path.span(), format!("this can't be bundled: {}", with_cause(&error))),
            Ok(artifact) if artifact.manifest.id != id => {
                return self.wrong(
                    path.span(),
                    format!("the manifest of this plugin has another id: {:?}", artifact.manifest.id),
                );
            }
            Ok(_) => {}
        }
        let name = format!("plugins/{id}.wasm");
        self.change(path.span(), Bundle::path_of(&name));
        self.packed.insert(&name, bytes);
    }

    fn change(&mut self, span: Range<usize>, value: String) {
        self.changes.push((span, toml::Value::String(value).to_string()));
    }

    fn wrong(&mut self, span: Range<usize>, message: String) {
        self.diagnostics.push(Diagnostic::at(self.text, span, message, None));
    }

    /// Returns the changed text.
    fn changed(&mut self) -> String {
        let mut text = self.text.to_owned();
        self.changes.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        for (span, value) in self.changes.drain(..) {
            text.replace_range(span, &value);
        }
        text
    }
}

/// Returns an unused name for a folder: its last component, with a number if another folder has that name.
fn new_name(path: &Path, taken: &mut BTreeSet<String>) -> String {
    let word = path.file_name().map_or("files".into(), |name| name.to_string_lossy());
    let numbered = (2..).map(|number| format!("static/{word}-{number}"));
    let mut names = std::iter::once(format!("static/{word}")).chain(numbered);
    names.find(|name| taken.insert(name.clone())).unwrap_or_default()
}

fn with_cause(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", with_cause(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Reads all files of a folder that the server would serve, recursively.
fn read_folder(folder: &Path, under: &str, files: &mut Vec<(String, Bytes)>) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{} can't be read: {error}", path.display());
    for entry in std::fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(format!("the name of {} is not UTF-8", path.display()));
        };
        let meta = std::fs::metadata(&path).map_err(|error| failed(&path, error))?;
        if name.starts_with('.') {
            continue;
        }
        if meta.is_dir() {
            read_folder(&path, &format!("{under}{name}/"), files)?;
        } else if meta.len() > MAX_FILE_BYTES {
            return Err(format!("{} is larger than {MAX_FILE_BYTES} bytes", path.display()));
        } else {
            let bytes = std::fs::read(&path).map_err(|error| failed(&path, error))?;
            files.push((format!("{under}{name}"), bytes.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"   # where\n";

    fn text_of(bundle: &Bundle) -> String {
        String::from_utf8(bundle.part(BUNDLED).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn folders_are_bundled_and_other_lines_stay_as_they_are() {
        let files = [
            ("web/page/index.html", "<p>"),
            ("web/page/deep/a.js", "1"),
            ("web/page/.git/config", "no"),
            ("other/page/b.js", "2"),
        ];
        let folder = folder(&files);
        let named = format!(
            "# A comment.\ndata = '../data'\n{LISTEN}[[http.static]]\nat = \"/\"\nfolder = \"web/page\" # here\n\
             [[http.static]]\nat = \"/b/\"\nfolder = \"./other/page\"\n# The end.\n"
        );
        let bundle = pack(&named, "test.toml", folder.path(), &Bundle::default()).unwrap();
        let wanted = named
            .replace("'../data'", "\"data\"")
            .replace("\"web/page\"", "\"bundled:static/page\"")
            .replace("\"./other/page\"", "\"bundled:static/page-2\"");
        assert_eq!(text_of(&bundle), wanted);
        let names: Vec<&str> = bundle.parts().map(|(name, _)| name).collect();
        let parts = ["static/page-2/b.js", "static/page/deep/a.js", "static/page/index.html"];
        assert_eq!(names, [&[BUNDLED], &parts[..]].concat());

        let elsewhere = tempfile::tempdir().unwrap();
        let again = pack(&text_of(&bundle), "inside", elsewhere.path(), &bundle).unwrap();
        assert_eq!(again, bundle, "a packed configuration can be packed again");
        assert!(
            super::super::Config::bundled(&bundle, elsewhere.path())
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn files_that_can_not_be_bundled_are_shown_with_their_line() {
        let folder = folder(&[("a.wasm", "no wasm")]);
        let named = format!(
            "{LISTEN}[[plugins]]\nid = \"a\"\npath = \"a.wasm\"\n[plugins.secrets]\nkey = {{ env = \"COURTYARD_NOT_SET\" }}\n\
             [[plugins]]\nid = \"b\"\npath = \"b.wasm\"\n"
        );
        let shown = pack(&named, "test.toml", folder.path(), &Bundle::default())
            .unwrap_err()
            .to_string();
        for part in ["test.toml:5:8", "not WebAssembly", "test.toml:10:8", "can't be read"] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
    }
}
