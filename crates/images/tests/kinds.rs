//! Every kind of file gives the picture that was put into it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use lfbm_images::{Format, Header, ImageError, decode, planes};

const PIXELS: u64 = 16 * 16;

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files")
}

fn file(name: &str) -> Vec<u8> {
    fs::read(files().join(name)).unwrap()
}

/// File, the PNG file that it looks like, and the most that a channel of a pixel may differ.
fn table() -> Vec<(String, String, u8)> {
    let table = fs::read_to_string(files().join("table.txt")).unwrap();
    let lines = table.lines().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let [name, reference, most] = words[..] else {
            panic!("{line}");
        };
        (name.to_owned(), reference.to_owned(), most.parse().unwrap())
    });
    lines.collect()
}

#[test]
fn every_kind_of_file_gives_its_picture() {
    let table = table();
    assert!(table.len() > 50);
    for (name, reference, most) in table {
        let reference = planes(&decode(&file(&reference), PIXELS).unwrap(), 3);
        let image = decode(&file(&name), PIXELS).unwrap_or_else(|error| panic!("{name}: {error}"));
        let header = Header::read(&file(&name)).unwrap();
        assert_eq!((header.width, header.height), (16, 16), "{name}");
        let colours = planes(&image, 3);
        let differences = colours.iter().zip(&reference).map(|(a, b)| a.abs_diff(*b));
        let worst = differences.max().unwrap();
        assert!(worst <= most, "{name}: {worst} of {most}");
        assert_eq!(planes(&image, 1).len(), 256, "{name}");
    }
}

#[test]
fn a_file_that_ends_too_early_says_so() {
    // Of several pages the first one may be whole.
    for (name, ..) in table().into_iter().filter(|(name, ..)| name != "pages.tif") {
        let whole = file(&name);
        for length in [
            4,
            whole.len() * 6 / 10,
            whole.len() * 9 / 10,
            whole.len() - 1,
        ] {
            let format = Format::sniff(&whole).unwrap();
            match decode(&whole[..length], PIXELS) {
                Err(ImageError::EndsTooEarly { .. } | ImageError::NotAnImage { .. }) => {}
                Err(ImageError::Damaged { .. }) if format == Format::Bmp => {}
                Err(error) => panic!("{name}, cut to {length}: {error}"),
                Ok(_) => panic!("{name} of {} bytes, cut to {length}", whole.len()),
            }
        }
    }
}

#[test]
fn what_does_not_belong_to_the_image_changes_nothing() {
    for name in [
        "baseline.jpg",
        "progressive.jpg",
        "colour.png",
        "raw.tif",
        "lossless.webp",
    ] {
        let whole = file(name);
        let image = decode(&whole, PIXELS).unwrap();
        let mut longer = whole.clone();
        longer.extend(b"what a camera keeps behind its images\xff\xd8\xff\xe0");
        longer.extend(&whole);
        assert_eq!(decode(&longer, PIXELS).unwrap(), image, "{name}");
    }
    let whole = file("baseline.jpg");
    let image = decode(&whole, PIXELS).unwrap();
    let with = |offset: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file.splice(offset..offset, bytes.iter().copied());
        decode(&file, PIXELS)
    };
    // Metadata of many megabytes, fill bytes, and zeros before the end.
    let profile = [&b"\xff\xe2\xff\xffICC_PROFILE\0"[..], &[7; 65_535 - 14]].concat();
    assert_eq!(with(2, &profile.repeat(160)).unwrap(), image);
    assert_eq!(with(2, b"\xff\xff").unwrap(), image);
    assert_eq!(with(whole.len() - 2, b"\0\0\0").unwrap(), image);
    assert_eq!(with(whole.len() - 2, b"\xff\xff").unwrap(), image);
    // A file that begins with its tables, as moving pictures do.
    let length = usize::from(u16::from_be_bytes([whole[4], whole[5]]));
    let bare = [&whole[..2], &whole[4 + length..]].concat();
    assert_eq!(decode(&bare, PIXELS).unwrap(), image);
}

#[test]
fn what_is_not_read_is_named() {
    let arithmetic = decode(&file("arithmetic.jpeg"), PIXELS).unwrap_err();
    assert!(
        arithmetic.to_string().contains("arithmetic coding"),
        "{arithmetic}"
    );
    // The frame header of another process, of 12 bits, of no height.
    let whole = file("baseline.jpg");
    let frame = whole
        .windows(2)
        .position(|pair| pair == b"\xff\xc0")
        .unwrap();
    for (offset, value, part) in [
        (1, 0xc3, "lossless coding"),
        (1, 0xc5, "hierarchical coding"),
        (1, 0xcb, "arithmetic coding"),
        (4, 12, "samples of 12 bits"),
        (6, 0, "after the pixels"),
    ] {
        let mut changed = whole.clone();
        changed[frame + offset] = value;
        let error = decode(&changed, PIXELS).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let large = decode(&whole, PIXELS - 1).unwrap_err().to_string();
    assert!(
        large.contains("at most 255 pixels, got 16 x 16 = 256"),
        "{large}"
    );
}

#[test]
fn pixels_from_the_lowest_bit_on_are_not_read_as_others() {
    let mut whole = file("strips.tif");
    // FillOrder, of type 3 (SHORT), one value.
    let entry = [10, 1, 3, 0, 1, 0, 0, 0, 1, 0];
    let at = whole.windows(entry.len()).position(|bytes| bytes == entry);
    whole[at.unwrap() + 8] = 2;
    let error = decode(&whole, PIXELS).unwrap_err().to_string();
    assert!(error.contains("the lowest bit"), "{error}");
}

#[test]
fn a_header_may_claim_any_size() {
    // Width, height, and for TIFF those of a tile, as a directory of entries has them.
    let entry = |tag: u16| {
        let head = [tag.to_le_bytes(), 4_u16.to_le_bytes()].concat();
        [head, 1_u32.to_le_bytes().to_vec(), vec![0xff; 4]].concat()
    };
    let tiff = |tags: &[u16]| {
        let entries = tags.iter().flat_map(|&tag| entry(tag));
        let head = [
            b"II*\0\x08\0\0\0".as_slice(),
            &(tags.len() as u16).to_le_bytes(),
        ]
        .concat();
        head.into_iter()
            .chain(entries)
            .chain([0; 4])
            .collect::<Vec<u8>>()
    };
    let changed = |name: &str, sides: std::ops::Range<usize>| {
        let mut whole = file(name);
        whole[sides].fill(0xff);
        whole
    };
    for largest in [
        changed("grey.png", 16..24),
        changed("24-bits.bmp", 18..22),
        tiff(&[256, 257]),
        tiff(&[256, 257, 322, 323]),
    ] {
        let header = Header::read(&largest).unwrap();
        assert_eq!(header.width, u32::MAX);
        assert!(header.peak_bytes > u64::from(u32::MAX), "{header:?}");
        let error = decode(&largest, PIXELS).unwrap_err();
        assert!(matches!(error, ImageError::TooManyPixels { .. }), "{error}");
    }
}
