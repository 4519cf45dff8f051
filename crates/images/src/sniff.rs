//! What a file is by its first bytes.

use crate::error::ImageError;
use crate::format::Format;

/// As many first bytes as [`Format::sniff`] looks at.
pub(crate) const SNIFFED_BYTES: usize = 256;

impl Format {
    /// The format of a file that begins with these bytes; 256 are enough.
    ///
    /// # Errors
    /// When they begin no format that is read. The error says what they look like.
    pub fn sniff(start: &[u8]) -> Result<Self, ImageError> {
        if start.is_empty() {
            return Err(ImageError::Empty);
        }
        let at = |offset: usize, magic: &[u8]| {
            start
                .get(offset..)
                .is_some_and(|rest| rest.starts_with(magic))
        };
        if at(0, b"\x89PNG\r\n\x1a\n") {
            Ok(Self::Png)
        } else if at(0, b"\xff\xd8\xff") {
            Ok(Self::Jpeg)
        } else if at(0, b"BM") && is_bitmap(start) {
            Ok(Self::Bmp)
        } else if [&b"II*\0"[..], b"MM\0*", b"II+\0", b"MM\0+"]
            .iter()
            .any(|magic| at(0, magic))
        {
            Ok(Self::Tiff)
        } else if at(0, b"RIFF") && at(8, b"WEBP") {
            Ok(Self::WebP)
        } else {
            Err(ImageError::NotAnImage {
                found: appearance(start),
            })
        }
    }
}

/// Two letters begin many a text; a bitmap also has a header of a known size.
fn is_bitmap(start: &[u8]) -> bool {
    matches!(
        start.get(14..18),
        Some(&[12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
    )
}

/// What bytes look like that are no image that is read.
fn appearance(start: &[u8]) -> &'static str {
    const KNOWN: [(usize, &[u8], &str); 24] = [
        (0, b"GIF8", "a GIF"),
        (4, b"ftypavif", "an AVIF image"),
        (4, b"ftypavis", "an AVIF image"),
        (4, b"ftyphei", "an HEIC image"),
        (4, b"ftyphev", "an HEIC image"),
        (4, b"ftypmif1", "an HEIC image"),
        (4, b"ftypmsf1", "an HEIC image"),
        (4, b"ftypcrx", "a raw photograph (CR3)"),
        (4, b"ftyp", "a video"),
        (0, b"\xff\x0a", "a JPEG XL image"),
        (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
        (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
        (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
        (0, b"8BPS", "a Photoshop document"),
        (0, b"%PDF", "a PDF document"),
        (0, b"DDS ", "a DDS texture"),
        (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
        (128, b"DICM", "a DICOM file"),
        (0, b"\x93NUMPY", "a NumPy array"),
        (0, b"PK\x03\x04", "a ZIP archive"),
        (0, b"\x1f\x8b", "a gzip file"),
        (0, b"\0\x05\x16\x07", "an AppleDouble file"),
        (0, b"\0\0\x01\0", "an icon (ICO)"),
        (0, b"RIFF", "a RIFF file that is no WebP"),
    ];
    let known = KNOWN.iter().find(|(offset, magic, _)| {
        start
            .get(*offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    });
    if let Some((_, _, name)) = known {
        return name;
    }
    let is_netpbm = matches!(start, [b'P', b'1'..=b'7', b' ' | b'\n' | b'\r' | b'\t', ..]);
    let first = &start[..start.len().min(SNIFFED_BYTES)];
    // A cut in the middle of a character leaves its first bytes, three at most.
    let is_text = match std::str::from_utf8(first) {
        Ok(text) => !text.contains(|c: char| c.is_control() && !c.is_whitespace()),
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 3,
    };
    if is_netpbm {
        "a Netpbm image"
    } else if start.iter().all(|byte| *byte == 0) {
        "zeros"
    } else if is_text && first.trim_ascii_start().starts_with(b"<") {
        "a text with tags, like SVG or HTML"
    } else if is_text {
        "a text"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_named() {
        for (start, part) in [
            (&b"GIF89a"[..], "a GIF"),
            (b"\0\0\0\x18ftypheic", "HEIC"),
            (b"\0\0\0\x1cftypavif", "AVIF"),
            (b"%PDF-1.7", "PDF"),
            (b"\xff\x0a\x01", "JPEG XL"),
            (b"<?xml version='1.0'?><svg>", "tags"),
            (b"BMW makes cars, and this is a text", "a text"),
            (b"version https://git-lfs.github.com/spec/v1", "a text"),
            (&[0; 40], "zeros"),
            (b"\x80\x81\x82\x83", "something else"),
        ] {
            let error = Format::sniff(start).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(error.contains("PNG, JPEG, BMP, TIFF or WebP"), "{error}");
        }
        assert_eq!(Format::sniff(b""), Err(ImageError::Empty));
    }
}
