//! The bytes of a file, as many as an image may have.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// No image file that is read has more bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// The bytes of a file.
///
/// # Errors
/// When it cannot be read, or has more than [`MAX_FILE_BYTES`]: of a file, its size tells before
/// anything is read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > MAX_FILE_BYTES {
        return Err(too_large(MAX_FILE_BYTES, &metadata.len().to_string()));
    }
    read_from(file, MAX_FILE_BYTES)
}

/// All bytes that there are to read.
///
/// # Errors
/// When they cannot be read, or are more than `max_bytes`.
pub fn read_from(source: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large(max_bytes, "more"));
    }
    Ok(bytes)
}

fn too_large(max_bytes: u64, found: &str) -> io::Error {
    let reason = format!("expected a file of at most {max_bytes} bytes, got {found}");
    io::Error::new(ErrorKind::FileTooLarge, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_an_image_may_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let file = File::create(&path).unwrap();
        file.set_len(MAX_FILE_BYTES + 1).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().ends_with("got 268435457"), "{error}");
        file.set_len(3).unwrap();
        assert_eq!(read(&path).unwrap(), [0; 3]);
        let endless = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(endless.kind(), ErrorKind::FileTooLarge);
    }
}
