//! The `[blobs]` tables: storage and limits of blobs.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::BlobsConfig;
use super::checker::{AtLeastOne, Checker, ms_or, or};
use super::plugins::SecretValue;
use crate::blobs::{BlobLimits, Bucket, BucketKeys};

/// Default time limit of a request to a bucket.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The `[blobs]` table.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlobsTable {
    path: Option<Spanned<PathBuf>>,
    key_file: Option<PathBuf>,
    max_bytes: Option<AtLeastOne<u64>>,
    part_bytes: Option<AtLeastOne<usize>>,
    unfinished_ms: Option<AtLeastOne<u64>>,
    uploads: Option<AtLeastOne<usize>>,
    s3: Option<BucketTable>,
}

/// The `[blobs.s3]` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BucketTable {
    bucket: Spanned<String>,
    region: Option<String>,
    endpoint: Option<Spanned<String>>,
    #[serde(default)]
    allow_http: bool,
    prefix: Option<Spanned<String>>,
    access_key: Option<Spanned<SecretValue>>,
    secret_key: Option<Spanned<SecretValue>>,
    #[serde(default)]
    virtual_hosted: bool,
    #[serde(default)]
    roots: Vec<PathBuf>,
    timeout_ms: Option<AtLeastOne<u64>>,
}

impl Checker<'_> {
    pub(super) fn blobs(&mut self, table: BlobsTable) -> BlobsConfig {
        let default = BlobLimits::default();
        if let (Some(path), Some(_)) = (&table.path, &table.s3) {
            let message = "blobs are stored either in a folder or in a bucket".to_owned();
            self.wrong(path.span(), message, Some("remove `path` or `[blobs.s3]`".to_owned()));
        }
        BlobsConfig {
            path: table.path.map(|path| self.folder.join(path.into_inner())),
            bucket: table.s3.map(|table| self.bucket(table)),
            key_file: table.key_file.map(|path| self.folder.join(path)),
            limits: BlobLimits {
                bytes: or(table.max_bytes, default.bytes),
                // Lengths in records and nonces have 32 bits.
                part_bytes: or(table.part_bytes, default.part_bytes).min(256 << 20),
                unfinished: ms_or(table.unfinished_ms, default.unfinished),
                uploads: or(table.uploads, default.uploads),
            },
        }
    }

    fn bucket(&mut self, table: BucketTable) -> Bucket {
        let name = table.bucket.get_ref();
        let is_name = (3..=63).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'));
        if !is_name {
            let message = format!("not a bucket name: {name:?}; 3 to 63 of a-z 0-9 . - are allowed");
            self.wrong(table.bucket.span(), message, None);
        }
        if let Some(endpoint) = &table.endpoint {
            self.endpoint(endpoint, table.allow_http);
        }
        let prefix = table.prefix.map(|prefix| {
            let text = prefix.get_ref();
            let is_path = text.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !text.is_empty() && !is_path {
                let hint = "a prefix looks like \"courtyard\" or \"chat/blobs\"".to_owned();
                self.wrong(prefix.span(), format!("not a prefix: {text:?}"), Some(hint));
            }
            prefix.into_inner()
        });
        let keys = match (table.access_key, table.secret_key) {
            (Some(access), Some(secret)) => {
                let (access_key, secret_key) = (self.secret(access), self.secret(secret));
                Some(BucketKeys {
                    access_key: access_key.unwrap_or_default(),
                    secret_key: secret_key.unwrap_or_default(),
                })
            }
            (None, None) => None,
            (Some(alone), None) | (None, Some(alone)) => {
                let message = "`access_key` and `secret_key` must be set together".to_owned();
                self.wrong(alone.span(), message, None);
                None
            }
        };
        Bucket {
            name: table.bucket.into_inner(),
            region: table.region.unwrap_or_else(|| "us-east-1".to_owned()),
            endpoint: table.endpoint.map(Spanned::into_inner),
            prefix: prefix.unwrap_or_default(),
            keys,
            virtual_hosted: table.virtual_hosted,
            roots: table.roots.iter().map(|path| self.folder.join(path)).collect(),
            timeout: ms_or(table.timeout_ms, TIMEOUT),
        }
    }

    fn endpoint(&mut self, endpoint: &Spanned<String>, allow_http: bool) {
        let text = endpoint.get_ref();
        let url = url::Url::parse(text).ok().filter(url::Url::has_host);
        let is_bare = url
            .as_ref()
            .is_some_and(|url| url.username().is_empty() && url.query().is_none() && url.fragment().is_none());
        match url.as_ref().map(url::Url::scheme) {
            Some("https") if is_bare => {}
            Some("http") if is_bare && allow_http => {}
            Some("http") if is_bare => {
                let message = "http would reveal blob names and keys to the network".to_owned();
                let hint = "use https, or set `allow_http = true`".to_owned();
                self.wrong(endpoint.span(), message, Some(hint));
            }
            _ => {
                let hint = "an endpoint looks like \"https://s3.example\"".to_owned();
                self.wrong(endpoint.span(), format!("not an endpoint: {text:?}"), Some(hint));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;

    fn parsed(blobs: &str) -> Result<Config, String> {
        let text = format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{blobs}");
        Config::parse(&text, "test.toml", Path::new("/etc/courtyard")).map_err(|diagnostics| diagnostics.to_string())
    }

    #[test]
    fn a_bucket_is_read_with_its_keys_which_are_never_shown() {
        let config = parsed(
            "[blobs.s3]\nbucket = \"chat\"\nendpoint = \"http://127.0.0.1:9000\"\nallow_http = true\nprefix = \"a/b\"\n\
             access_key = \"id\"\nsecret_key = \"0penSesame\"\nroots = [\"ca.pem\"]\n",
        );
        let bucket = config.unwrap().blobs.bucket.unwrap();
        assert_eq!(
            (&*bucket.name, &*bucket.region, &*bucket.prefix),
            ("chat", "us-east-1", "a/b")
        );
        assert_eq!(bucket.roots, [Path::new("/etc/courtyard/ca.pem")]);
        assert_eq!(bucket.keys.as_ref().unwrap().secret_key, "0penSesame");
        assert!(!format!("{bucket:?}").contains("0penSesame"));
    }

    #[test]
    fn mistakes_about_a_bucket_are_shown_with_their_line() {
        for (blobs, place, part) in [
            ("[blobs.s3]\nbucket = \"Chat\"\n", "4:10", "not a bucket name"),
            ("[blobs.s3]\nregion = \"x\"\n", "3:1", "missing field `bucket`"),
            (
                "[blobs.s3]\nbucket = \"chat\"\nendpoint = \"http://s3\"\n",
                "5:12",
                "allow_http = true",
            ),
            (
                "[blobs.s3]\nbucket = \"chat\"\nendpoint = \"s3.example\"\n",
                "5:12",
                "not an endpoint",
            ),
            (
                "[blobs.s3]\nbucket = \"chat\"\nprefix = \"/a\"\n",
                "5:10",
                "not a prefix",
            ),
            (
                "[blobs.s3]\nbucket = \"chat\"\naccess_key = \"a\"\n",
                "5:14",
                "must be set together",
            ),
            (
                "[blobs.s3]\nbucket = \"chat\"\naccess_key = \"a\"\nsecret_key = { env = \"COURTYARD_TEST_ABSENT\" }\n",
                "6:14",
                "COURTYARD_TEST_ABSENT",
            ),
            (
                "[blobs]\npath = \"a\"\n[blobs.s3]\nbucket = \"chat\"\n",
                "4:8",
                "either in a folder",
            ),
            (
                "[blobs.s3]\nbucket = \"chat\"\nacces_key = \"a\"\n",
                "5:1",
                "did you mean `access_key`?",
            ),
        ] {
            let shown = parsed(blobs).unwrap_err();
            assert!(
                shown.contains(&format!("test.toml:{place}")) && shown.contains(part),
                "{part}: {shown}"
            );
        }
    }
}
