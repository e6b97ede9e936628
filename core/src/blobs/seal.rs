//! Encryption of the bytes of blobs: AES-256-GCM (NIST SP 800-38D), with one key for each blob, sealed under a master key.
//!
//! A part is sealed in segments of [`SEGMENT`] bytes, so that a range can be read alone. The nonce of a segment is the random
//! number of its part and its index in the part; no nonce is used twice with one key.

use std::io::Write;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};

use super::BlobsError;

/// The bytes of a segment, before sealing.
pub(super) const SEGMENT: usize = 64 << 10;
/// The bytes that sealing adds to each segment.
pub(super) const TAG: usize = 16;
/// The bytes of a key.
const KEY: usize = 32;

fn aes(key: &[u8]) -> Result<LessSafeKey, BlobsError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| BlobsError::Damaged("a key has a wrong length"))?;
    Ok(LessSafeKey::new(key))
}

/// The key that seals the keys of all blobs.
pub(super) struct MasterKey {
    aes: LessSafeKey,
    fingerprint: [u8; 32],
}

impl MasterKey {
    fn new(key: &[u8; KEY]) -> Result<Self, BlobsError> {
        Ok(Self {
            aes: aes(key)?,
            fingerprint: Sha256::new_with_prefix(b"courtyard blobs\0")
                .chain_update(key)
                .finalize()
                .into(),
        })
    }

    /// Reads the key from a file of 64 hexadecimal digits.
    pub(super) fn read(path: &Path) -> Result<Self, BlobsError> {
        let text = std::fs::read_to_string(path).map_err(|error| BlobsError::Key(error.to_string()))?;
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok();
        match bytes.and_then(|bytes| <[u8; KEY]>::try_from(bytes).ok()) {
            Some(key) => Self::new(&key),
            None => Err(BlobsError::Key(
                "the file must contain 64 hexadecimal digits".to_owned(),
            )),
        }
    }

    /// Reads the key from a file; creates the file with a new key if it doesn't exist.
    pub(super) fn read_or_create(path: &Path) -> Result<Self, BlobsError> {
        if !path.exists() {
            let key: [u8; KEY] = rand::random();
            let text = HEXLOWER.encode(&key);
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let written = options.open(path).and_then(|mut file| {
                file.write_all(format!("{text}\n").as_bytes())?;
                file.sync_all()
            });
            written.map_err(|error| BlobsError::Key(error.to_string()))?;
        }
        Self::read(path)
    }

    /// Returns a hash that identifies the key without revealing it.
    pub(super) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Creates the key of a blob; returns it sealed, for the record.
    pub(super) fn new_blob_key(&self, id: u128) -> Result<Vec<u8>, BlobsError> {
        let mut key: Vec<u8> = rand::random::<[u8; KEY]>().to_vec();
        let nonce: [u8; NONCE_LEN] = rand::random();
        let sealed = self.aes.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(id.to_be_bytes()),
            &mut key,
        );
        sealed.map_err(|_| BlobsError::Damaged("a key can't be sealed"))?;
        Ok([&nonce[..], &key].concat())
    }

    /// Opens the sealed key of a blob.
    pub(super) fn blob_key(&self, id: u128, sealed_key: &[u8]) -> Result<BlobKey, BlobsError> {
        const DAMAGED: BlobsError = BlobsError::Damaged("its key can't be opened");
        let (nonce, sealed) = sealed_key.split_at_checked(NONCE_LEN).ok_or(DAMAGED)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DAMAGED)?;
        let mut sealed = sealed.to_vec();
        let aad = Aad::from(id.to_be_bytes());
        let key = self.aes.open_in_place(nonce, aad, &mut sealed).map_err(|_| DAMAGED)?;
        Ok(BlobKey(aes(key)?))
    }
}

/// The key of one blob.
pub(super) struct BlobKey(LessSafeKey);

fn nonce(part: u64, segment: usize) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&part.to_be_bytes());
    // A part has less than 4 GiB.
    nonce[8..].copy_from_slice(&u32::try_from(segment).unwrap_or(u32::MAX).to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl BlobKey {
    /// Seals a part.
    pub(super) fn seal(&self, part: u64, bytes: &[u8]) -> Result<Vec<u8>, BlobsError> {
        let mut sealed = Vec::with_capacity(bytes.len() + bytes.len().div_ceil(SEGMENT) * TAG);
        for (index, segment) in bytes.chunks(SEGMENT).enumerate() {
            let start = sealed.len();
            sealed.extend_from_slice(segment);
            let tag = self
                .0
                .seal_in_place_separate_tag(nonce(part, index), Aad::empty(), &mut sealed[start..])
                .map_err(|_| BlobsError::Damaged("its bytes can't be sealed"))?;
            sealed.extend_from_slice(tag.as_ref());
        }
        Ok(sealed)
    }

    /// Opens whole segments of a part, the first of which has the index `first`.
    pub(super) fn open(&self, part: u64, first: usize, sealed: &[u8]) -> Result<Vec<u8>, BlobsError> {
        let mut bytes = Vec::with_capacity(sealed.len());
        for (index, segment) in sealed.chunks(SEGMENT + TAG).enumerate() {
            let mut segment = segment.to_vec();
            let opened = self
                .0
                .open_in_place(nonce(part, first + index), Aad::empty(), &mut segment);
            bytes.extend_from_slice(opened.map_err(|_| BlobsError::Damaged("its bytes were changed"))?);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_reveal_nothing_and_open_from_any_segment() {
        let master = MasterKey::new(&[7; 32]).unwrap();
        let sealed_key = master.new_blob_key(1).unwrap();
        let key = master.blob_key(1, &sealed_key).unwrap();
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * SEGMENT + 5).collect();
        let sealed = key.seal(9, &bytes).unwrap();
        assert!(!sealed.windows(16).any(|window| window == &bytes[..16]));
        assert_eq!(key.open(9, 0, &sealed).unwrap(), bytes);
        let after = 2 * (SEGMENT + TAG);
        assert_eq!(key.open(9, 2, &sealed[after..]).unwrap(), &bytes[2 * SEGMENT..]);
    }

    #[test]
    fn changed_moved_or_truncated_bytes_do_not_open() {
        let master = MasterKey::new(&[7; 32]).unwrap();
        let sealed_key = master.new_blob_key(1).unwrap();
        let key = master.blob_key(1, &sealed_key).unwrap();
        let sealed = key.seal(9, &vec![1; SEGMENT + 5]).unwrap();
        let mut flipped = sealed.clone();
        flipped[100] ^= 1;
        assert!(key.open(9, 0, &flipped).is_err());
        assert!(key.open(8, 0, &sealed).is_err());
        assert!(key.open(9, 1, &sealed).is_err());
        assert!(key.open(9, 0, &sealed[..sealed.len() - 1]).is_err());
        // A sealed key opens only for its blob and under its master key.
        assert!(master.blob_key(2, &sealed_key).is_err());
        assert!(MasterKey::new(&[8; 32]).unwrap().blob_key(1, &sealed_key).is_err());
    }

    #[test]
    fn a_key_file_is_created_once_and_must_be_valid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blobs.key");
        let made = MasterKey::read_or_create(&path).unwrap();
        assert_eq!(
            MasterKey::read_or_create(&path).unwrap().fingerprint(),
            made.fingerprint()
        );
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(MasterKey::read_or_create(&path), Err(BlobsError::Key(_))));
    }
}
