//! Damage in the middle of a file is found, as far as the format lets one know.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use lfbm_images::{ImageError, decode};

fn file(name: &str) -> Vec<u8> {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    fs::read(files.join(name)).unwrap()
}

/// In how many places, of how many, a file that is overwritten there with 20 bytes is refused.
fn found(whole: &[u8], places: std::ops::Range<usize>) -> (usize, usize) {
    let (mut refused, mut count) = (0, 0);
    for start in places {
        for value in [0x00, 0x55, 0xa3] {
            let mut hurt = whole.to_vec();
            hurt[start..start + 20].fill(value);
            count += 1;
            refused += usize::from(decode(&hurt, 1 << 20).is_err());
        }
    }
    (refused, count)
}

#[test]
fn checksums_find_all() {
    for name in [
        "colour.png",
        "palette-4-bits.png",
        "alpha-16-bits.png",
        "interlaced.png",
    ] {
        let whole = file(name);
        let name_at = whole.windows(4).position(|name| name == b"IDAT").unwrap();
        let length = u32::from_be_bytes(whole[name_at - 4..name_at].try_into().unwrap());
        let data = name_at + 4;
        let (refused, count) = found(&whole, data..data + length as usize - 20);
        assert_eq!(refused, count, "{name}");
    }
    // By the checksum of what is packed, which only TIFF with Deflate and PNG have.
    let whole = file("tiff_adobe_deflate.tif");
    let strip = whole
        .windows(2)
        .rposition(|start| start == b"\x78\x9c")
        .unwrap();
    let mut hurt = whole.clone();
    hurt[strip + 30] ^= 0x10;
    assert!(matches!(
        decode(&hurt, 1 << 20),
        Err(ImageError::Damaged { .. })
    ));
}

/// Codes find their way back after damage, so that some of it looks like an image. libjpeg warns of
/// half as much.
#[test]
fn codes_find_what_they_can() {
    for (name, percent) in [
        ("baseline.jpg", 55),
        ("4-1-1.jpg", 85),
        ("restarts.jpg", 95),
        ("one-scan-a-component.jpg", 50),
        ("grey.jpg", 90),
        ("ycck.jpg", 90),
        ("progressive.jpg", 98),
        ("progressive-restarts.jpg", 98),
    ] {
        let whole = file(name);
        let scan = whole
            .windows(2)
            .position(|pair| pair == b"\xff\xda")
            .unwrap();
        let (refused, count) = found(&whole, scan + 14..whole.len() - 22);
        println!("{name}: {refused} of {count}");
        assert!(
            refused * 100 >= count * percent,
            "{name}: {refused} of {count}"
        );
    }
}

#[test]
fn a_missing_and_an_extra_restart_marker_are_found() {
    let whole = file("restarts.jpg");
    let marker = whole
        .windows(2)
        .position(|pair| pair == b"\xff\xd1")
        .unwrap();
    for bytes in [&b""[..], b"\xff\xd2", b"\xff\xd1\xff\xd2"] {
        let hurt = [&whole[..marker], bytes, &whole[marker + 2..]].concat();
        let error = decode(&hurt, 1 << 20).unwrap_err();
        assert!(matches!(error, ImageError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_length_that_is_too_short_is_damage() {
    let mut whole = file("lossy.webp");
    whole[4..8].fill(0);
    let error = decode(&whole, 1 << 20).unwrap_err().to_string();
    assert!(error.contains("length"), "{error}");
}

#[test]
fn a_size_that_is_given_twice_is_damage() {
    // 16 x 16 pixels of one byte in one strip, then the width once more.
    let entry = |tag: u16, value: u32| {
        let head = [tag.to_le_bytes(), 4_u16.to_le_bytes()].concat();
        [
            head,
            1_u32.to_le_bytes().to_vec(),
            value.to_le_bytes().to_vec(),
        ]
        .concat()
    };
    let tiff = |widths: &[u32]| {
        let tags = [
            (257, 16),
            (258, 8),
            (262, 1),
            (273, 8),
            (277, 1),
            (278, 16),
            (279, 256),
        ];
        let sizes = widths[..1].iter().map(|&width| (256, width));
        let again = widths[1..].iter().map(|&width| (256, width));
        let entries: Vec<_> = sizes.chain(tags).chain(again).collect();
        let count = (entries.len() as u16).to_le_bytes();
        let entries = entries.iter().flat_map(|&(tag, value)| entry(tag, value));
        let head = [
            b"II*\0".as_slice(),
            &264_u32.to_le_bytes(),
            &[7; 256],
            &count,
        ]
        .concat();
        head.into_iter()
            .chain(entries)
            .chain([0; 4])
            .collect::<Vec<u8>>()
    };
    assert_eq!(decode(&tiff(&[16]), 1 << 20).unwrap().width(), 16);
    for again in [2, 60_000] {
        assert!(decode(&tiff(&[16, again]), 1 << 20).is_err());
    }
}

#[test]
fn no_byte_that_changes_makes_a_decoder_panic() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files")).unwrap() {
        let whole = fs::read(entry.unwrap().path()).unwrap();
        for position in 0..whole.len() {
            for flip in [0xff, 0x01, 0x80] {
                let mut hurt = whole.clone();
                hurt[position] ^= flip;
                if let Ok(image) = decode(&hurt, 256) {
                    assert!(image.width() * image.height() <= 256);
                }
            }
        }
    }
}
