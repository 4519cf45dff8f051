use std::io::Cursor;

use image::{GrayImage, ImageFormat, Luma};

use super::*;

/// Delivers a byte at a time, as the slowest pipe.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(buffer.len()).min(1);
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn image_file(format: ImageFormat, side: u32) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    GrayImage::from_fn(side, side, |x, y| Luma([((x * 37) ^ (y * 91)) as u8]))
        .write_to(&mut file, format)
        .unwrap();
    file.into_inner()
}

/// Images of both formats and several sizes.
fn files() -> Vec<Vec<u8>> {
    [
        (ImageFormat::Png, 9),
        (ImageFormat::Jpeg, 9),
        (ImageFormat::Jpeg, 200),
        (ImageFormat::Png, 200),
    ]
    .map(|(format, side)| image_file(format, side))
    .into()
}

/// A JPEG file with a whole JPEG file, its thumbnail, in a segment, and a restart marker.
fn with_thumbnail() -> Vec<u8> {
    let whole = image_file(ImageFormat::Jpeg, 16);
    let thumbnail = image_file(ImageFormat::Jpeg, 8);
    let mut file = vec![0xff, 0xd8, 0xff, 0xff, 0xe1];
    file.extend(u16::try_from(thumbnail.len() + 2).unwrap().to_be_bytes());
    file.extend(&thumbnail);
    file.extend(&whole[2..whole.len() - 2]);
    file.extend([0xff, 0xd3, 0x11, 0xff, 0x00, 0x22, 0xff, 0xd9]);
    file
}

#[test]
fn images_come_out_as_they_went_in() {
    let mut files = files();
    files.push(with_thumbnail());
    let mut stream = files.concat();
    stream.extend([0; 700]);
    stream.extend(&files[1]);
    let expected: Vec<_> = files.iter().chain([&files[1]]).collect();
    let at_once: Vec<_> = Frames::new(&stream[..], 1 << 20)
        .map(Result::unwrap)
        .collect();
    assert_eq!(at_once.iter().collect::<Vec<_>>(), expected);
    let slowly: Vec<_> = Frames::new(Trickle(&stream), 1 << 20)
        .map(Result::unwrap)
        .collect();
    assert_eq!(slowly, at_once);
    assert_eq!(Frames::new(&b""[..], 1).count(), 0);
}

#[test]
fn a_stream_that_ends_within_an_image_says_so_wherever_it_ends() {
    for file in files() {
        let before = image_file(ImageFormat::Jpeg, 9);
        for length in [1, 2, 7, 8, 20, file.len() / 2, file.len() - 1] {
            let stream = [&before[..], &file[..length]].concat();
            let mut frames = Frames::new(&stream[..], 1 << 20);
            assert_eq!(frames.next().unwrap().unwrap(), before);
            let error = frames.next().unwrap().unwrap_err();
            let cut =
                matches!(&error, FrameError::EndsTooEarly { bytes, .. } if *bytes == length as u64);
            // One or two bytes of a JPEG file are no image yet.
            let unknown = length < 3 && matches!(error, FrameError::NotAFrame { .. });
            assert!(cut || unknown, "{length} bytes: {error}");
            assert!(frames.next().is_none());
        }
    }
}

#[test]
fn what_is_no_image_ends_the_stream_and_is_shown() {
    let file = image_file(ImageFormat::Png, 9);
    let stream = [&file[..], b"--boundary\r\n", &file[..]].concat();
    let mut frames = Frames::new(&stream[..], 1 << 20);
    assert_eq!(frames.next().unwrap().unwrap(), file);
    let error = frames.next().unwrap().unwrap_err().to_string();
    let expected = format!(
        "at byte {} of the input, got the bytes 2d 2d 62",
        file.len()
    );
    assert!(error.contains(&expected), "{error}");
    assert!(frames.next().is_none());
}

#[test]
fn no_image_is_larger_than_allowed() {
    for file in files() {
        let limit = file.len() as u64;
        let whole = Frames::new(&file[..], limit).next().unwrap();
        assert_eq!(whole.unwrap(), file);
        let mut frames = Frames::new(&file[..], limit - 1);
        let error = frames.next().unwrap().unwrap_err();
        assert!(
            matches!(error, FrameError::TooLarge { limit: max, .. } if max == limit - 1),
            "{error}"
        );
        assert!(frames.next().is_none());
    }
    // A chunk that claims two gigabytes allocates nothing.
    let stream = [&png::SIGNATURE[..], b"\x7f\xff\xff\xffIDAT"].concat();
    let error = Frames::new(&stream[..], 1 << 20).next().unwrap();
    assert!(matches!(error, Err(FrameError::TooLarge { .. })));
}

#[test]
fn damage_that_hides_the_end_of_an_image_is_an_error() {
    let mut chunk = image_file(ImageFormat::Png, 9);
    chunk[12] = b'!';
    let jpeg = image_file(ImageFormat::Jpeg, 200);
    // The first half of an image, and a whole one.
    let cut = [&jpeg[..jpeg.len() / 2], &jpeg[..]].concat();
    let mut segment = jpeg.clone();
    segment[4..6].fill(0);
    let mut marker = jpeg;
    marker[3] = 0;
    for stream in [chunk, cut, segment, marker] {
        let error = Frames::new(&stream[..], 1 << 20).next().unwrap();
        assert!(
            matches!(error, Err(FrameError::Damaged { .. })),
            "{error:?}"
        );
    }
}
