//! Digests of images that tell only whether two images are the same, and only to who has the key.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::AuditError;

/// As long as the digests.
const LEAST_KEY_BYTES: usize = 32;
const MOST_KEY_BYTES: usize = 4096;
/// Of SHA-256, and so of a random key.
const BLOCK_BYTES: usize = 64;
/// What a key's own name is the digest of.
const KEY_NAME: &[u8] = b"lfbm audit key";
const KEY_NAME_BYTES: usize = 4;

/// HMAC-SHA256 (RFC 2104) of an image, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageDigest(pub(super) String);

/// What digests are made with.
#[derive(Clone)]
pub(super) struct Key {
    mac: Hmac<Sha256>,
    /// Tells keys apart and nothing of them: digests of two keys cannot be compared.
    pub(super) id: String,
}

impl Key {
    /// The key in a file, or a random one.
    ///
    /// # Errors
    /// When the file cannot be read, or is too short or too long for a key.
    pub(super) fn read(file: Option<&Path>) -> Result<Self, AuditError> {
        let Some(path) = file else {
            return Ok(Self::new(Hmac::new(
                &rand::random::<[u8; BLOCK_BYTES]>().into(),
            )));
        };
        let failed = |source| AuditError::Key {
            path: path.to_path_buf(),
            source,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        let limit = MOST_KEY_BYTES as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        let key = bytes.trim_ascii_end();
        let is_key = (LEAST_KEY_BYTES..=MOST_KEY_BYTES).contains(&key.len());
        let mac = is_key.then(|| Hmac::new_from_slice(key).ok()).flatten();
        mac.map(Self::new).ok_or_else(|| AuditError::KeyLength {
            path: path.to_path_buf(),
            least: LEAST_KEY_BYTES,
            most: MOST_KEY_BYTES,
            got: key.len(),
        })
    }

    fn new(mac: Hmac<Sha256>) -> Self {
        let mut key = Self {
            mac,
            id: String::new(),
        };
        key.id = hexadecimal(&key.of(KEY_NAME)[..KEY_NAME_BYTES]);
        key
    }

    /// The digest of an image's bytes.
    pub(super) fn digest(&self, image: &[u8]) -> ImageDigest {
        ImageDigest(hexadecimal(&self.of(image)))
    }

    fn of(&self, bytes: &[u8]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_hmac_sha256() {
        // RFC 4231, test cases 2 and 6.
        let cases: [(&[u8], &[u8], &str); 2] = [
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, bytes, expected) in cases {
            let key = Key::new(Hmac::new_from_slice(key).unwrap());
            assert_eq!(key.digest(bytes).0, expected);
        }
    }

    #[test]
    fn a_file_is_one_key_whatever_ends_it_and_random_keys_differ() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Key::read(Some(&path))
        };
        let key = [b'k'; 32];
        let one = read("one", &key).unwrap();
        let other = read("other", &[&key[..], b"\n"].concat()).unwrap();
        assert_eq!((one.digest(b"a"), &one.id), (other.digest(b"a"), &other.id));
        for bytes in [31, 4097] {
            let refused = read("bad", &vec![b'k'; bytes]).err().unwrap().to_string();
            assert!(refused.contains("expected 32 to 4096 bytes"), "{refused}");
            assert!(!refused.contains("kkk"), "{refused}");
        }
        let random = || Key::read(None).unwrap();
        assert_ne!(random().digest(b"a"), random().digest(b"a"));
    }
}
