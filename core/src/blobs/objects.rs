//! Object stores: a folder, or a bucket of S3 or a compatible server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Plain;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use rustls::{ClientConfig, RootCertStore};

use super::BlobsError;
use crate::fetch::{FetcherError, tls_config};
use crate::store::StoreError;

/// The time to establish a connection to a bucket.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection to a bucket stays open.
const IDLE: Duration = Duration::from_secs(60);
/// How often a request to a bucket is repeated, and until when.
const RETRIES: usize = 4;
const RETRIED: Duration = Duration::from_secs(20);

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The name of the bucket.
    pub name: String,
    /// The region.
    pub region: String,
    /// The server, with `http://` or `https://`; none for AWS.
    pub endpoint: Option<String>,
    /// The prefix of the names of all objects; may be empty.
    pub prefix: String,
    /// The keys that sign requests; none for those of the machine's role, from the metadata service of AWS.
    pub keys: Option<BucketKeys>,
    /// Whether the endpoint is that of the bucket (`https://BUCKET.HOST`). Otherwise paths begin with the bucket.
    pub virtual_hosted: bool,
    /// Files with root certificates that are trusted besides those of the system.
    pub roots: Vec<PathBuf>,
    /// The time of a request.
    pub timeout: Duration,
}

/// The keys that sign requests to a bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketKeys {
    /// The id of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
}

impl std::fmt::Debug for BucketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketKeys").finish_non_exhaustive()
    }
}

/// Opens a folder; creates it if it doesn't exist. Waits for the disk.
///
/// # Errors
/// When it can't be used.
pub fn folder(path: &Path) -> Result<Arc<dyn ObjectStore>, BlobsError> {
    let failed = |error: std::io::Error| {
        BlobsError::Store(StoreError::Io {
            context: format!("creating {}", path.display()),
            cause: error,
        })
    };
    std::fs::create_dir_all(path).map_err(failed)?;
    let objects = LocalFileSystem::new_with_prefix(path)?
        .with_automatic_cleanup(true)
        .with_fsync(true);
    Ok(Arc::new(objects))
}

/// Opens a bucket, and checks that it can be written and read.
///
/// # Errors
/// When it can't be reached, written or read.
pub async fn bucket(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, BlobsError> {
    let unusable = |source: object_store::Error| BlobsError::Bucket {
        bucket: bucket.name.clone(),
        source,
    };
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES,
        retry_timeout: RETRIED,
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        .with_virtual_hosted_style_request(bucket.virtual_hosted)
        .with_retry(retry)
        .with_http_connector(BucketConnector::new(bucket)?);
    if let Some(endpoint) = &bucket.endpoint {
        // The configuration decides whether `http` is allowed.
        builder = builder.with_endpoint(endpoint).with_allow_http(true);
    }
    if let Some(keys) = &bucket.keys {
        builder = builder
            .with_access_key_id(&keys.access_key)
            .with_secret_access_key(&keys.secret_key);
    }
    let objects = PrefixStore::new(builder.build().map_err(unusable)?, bucket.prefix.as_str());
    check(&objects).await.map_err(unusable)?;
    Ok(Arc::new(objects))
}

/// Writes an object, reads it, and deletes it.
async fn check(objects: &dyn ObjectStore) -> Result<(), object_store::Error> {
    // A random name, since other hosts may start at the same time.
    let path = object_store::path::Path::from(format!("check/{:032x}", rand::random::<u128>()));
    objects.put(&path, PutPayload::from_static(b"courtyard")).await?;
    let written = objects.get_range(&path, 0..9).await?;
    objects.delete(&path).await?;
    if &written[..] == b"courtyard" {
        return Ok(());
    }
    Err(object_store::Error::Generic {
        store: "S3",
        source: "the bytes that were read differ from those that were written".into(),
    })
}

/// Sends the requests of the object store through the HTTP client of the core.
#[derive(Clone, Debug)]
struct BucketConnector {
    client: Client<HttpsConnector<Plain>, HttpRequestBody>,
    timeout: Duration,
}

impl BucketConnector {
    fn new(bucket: &Bucket) -> Result<Self, FetcherError> {
        let is_plain = bucket.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        let tls = if is_plain {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth()
        } else {
            tls_config(&bucket.roots)?
        };
        let mut plain = Plain::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self {
            client,
            timeout: bucket.timeout,
        })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.client.request(request).await.map_err(|error| {
            let kind = match error.is_connect() {
                true => HttpErrorKind::Connect,
                false => HttpErrorKind::Interrupted,
            };
            HttpError::new(kind, error)
        })?;
        let (parts, body) = response.into_parts();
        // Parts are read in pieces of a megabyte, so that nothing large stays in memory.
        let body = body.collect().await;
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
        let body = Full::new(body.to_bytes()).map_err(|never| match never {});
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

impl HttpConnector for BucketConnector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for BucketConnector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let late = |error| HttpError::new(HttpErrorKind::Timeout, error);
        tokio::time::timeout(self.timeout, self.send(request))
            .await
            .map_err(late)?
    }
}
