//! Files of a folder over HTTP.

use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};

use super::{Reply, ReplyBody};
use crate::bundle::Bundle;

/// Size limit of served files, in bytes: each is read into memory as a whole.
pub(crate) const MAX_FILE_BYTES: u64 = 16 << 20;

/// A folder whose files are served under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticFolder {
    /// The path; it begins and ends with `/`.
    pub at: String,
    /// The files.
    pub files: Files,
}

/// The source of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// In a folder.
    Folder(PathBuf),
    /// In the bundle inside the executable, under this name.
    Bundled(Bundle, String),
}

impl Files {
    /// Reads a file. Returns `None` if it doesn't exist or is too large.
    async fn read(&self, relative: &str) -> Option<Bytes> {
        match self {
            Self::Folder(folder) => {
                let file = folder.join(relative);
                let meta = tokio::fs::metadata(&file).await.ok()?;
                if !meta.is_file() || meta.len() > MAX_FILE_BYTES {
                    return None;
                }
                tokio::fs::read(&file).await.ok().map(Bytes::from)
            }
            Self::Bundled(bundle, folder) => bundle.part(&format!("{folder}/{relative}")).cloned(),
        }
    }
}

impl StaticFolder {
    /// Answers a request for a file. Returns `None` if the folder doesn't have it.
    pub async fn serve(&self, path: &str, headers: &HeaderMap) -> Option<Reply> {
        let relative = self.relative(path)?;
        let bytes = self.files.read(relative).await?;
        let hash = Sha256::digest(&bytes);
        let tag: String = data_encoding::HEXLOWER.encode(&hash[..12]);
        let tag = HeaderValue::from_str(&format!("\"{tag}\"")).ok()?;
        let fresh = headers.get(IF_NONE_MATCH) == Some(&tag);
        let mut response = Response::new(ReplyBody::Left(Full::new(if fresh { Bytes::new() } else { bytes })));
        if fresh {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(ETAG, tag);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type(Path::new(relative))));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        let policy = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'";
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        Some(response)
    }

    /// Returns the file name of a path, or `None` if it would leave the folder or is hidden.
    fn relative<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(&self.at)?;
        // Percent escapes could hide dots and slashes.
        if rest.contains(['%', '\\', '\0']) {
            return None;
        }
        let relative = if rest.is_empty() { "index.html" } else { rest };
        let inside = Path::new(relative).components().all(|part| match part {
            Component::Normal(name) => !name.to_string_lossy().starts_with('.'),
            _ => false,
        });
        inside.then_some(relative)
    }
}

fn media_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("ico") => "image/x-icon",
        Some("txt" | "ts" | "md") => "text/plain; charset=utf-8",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_folder() {
        let folder = StaticFolder {
            at: "/app/".to_owned(),
            files: Files::Folder(PathBuf::from("files")),
        };
        assert_eq!(folder.relative("/app/"), Some("index.html"));
        assert_eq!(folder.relative("/app/a/b.js"), Some("a/b.js"));
        for path in [
            "/app/../x",
            "/app/a/../../x",
            "/app//etc/passwd",
            "/app/%2e%2e/x",
            "/app/.git/config",
            "/other",
        ] {
            assert_eq!(folder.relative(path), None, "{path}");
        }
    }
}
