//! Image files that are small on the wire and large unpacked take little memory of a server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;

use common::{Server, bundle, client, encoded, peak_bytes, pixels, png};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use tonic::Code;

const SIDE: u16 = 28;
const MOST_BYTES: u64 = 100 << 20;

/// So many zeros, packed.
fn packed(megabytes: usize) -> Vec<u8> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
    for _ in 0..megabytes {
        packer.write_all(&[0; 1 << 20]).unwrap();
    }
    packer.finish().unwrap()
}

/// A PNG file with a chunk more, after its signature and header.
fn with_chunk(png: &[u8], kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checked = kind.to_vec();
    checked.extend(data);
    let mut crc = flate2::Crc::new();
    crc.update(&checked);
    let length = (data.len() as u32).to_be_bytes();
    let (head, rest) = png.split_at(8 + 25);
    [head, &length, &checked, &crc.sum().to_be_bytes(), rest].concat()
}

/// A TIFF file of grey pixels in one strip or tile of these bytes, with more tags of one number.
fn tiff(compression: u32, more: &[(u16, u32)], tags: [u16; 2], chunk: &[u8]) -> Vec<u8> {
    let side = u32::from(SIDE);
    let mut entries = vec![
        (256, side),
        (257, side),
        (258, 8),
        (259, compression),
        (262, 1),
    ];
    entries.extend(more);
    entries.extend([(tags[0], 8), (tags[1], chunk.len() as u32)]);
    entries.sort_unstable();
    let mut file = b"II*\0".to_vec();
    file.extend((8 + chunk.len() as u32).to_le_bytes());
    file.extend(chunk);
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        file.extend(tag.to_le_bytes());
        // One number of four bytes.
        file.extend([4, 0, 1, 0, 0, 0]);
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file
}

/// A WebP file that says to be of the model's size, around a lossy image that says to be larger.
fn webp() -> Vec<u8> {
    let side = [SIDE as u8 - 1, 0, 0];
    let extended = [&[0; 4], &side[..], &side].concat();
    let huge = [
        &[0x10, 0, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f][..],
        &[0; 64],
    ]
    .concat();
    let mut body = b"WEBP".to_vec();
    for (name, data) in [(b"VP8X", extended), (b"VP8 ", huge)] {
        body.extend(name);
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(data);
    }
    let length = (body.len() as u32).to_le_bytes();
    [b"RIFF", &length[..], &body].concat()
}

#[tokio::test]
async fn what_is_large_unpacked_is_passed_over_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let image = png(pixels(&bundle.manifest().image, 0));
    client.score(encoded(image.clone())).await.unwrap();
    let before = peak_bytes(&server) as u64;

    let text = [b"comment\0\0", &packed(512)[..]].concat();
    let international = [b"comment\0\x01\0\0\0", &packed(512)[..]].concat();
    let profile = [b"profile\0\0", &packed(512)[..]].concat();
    let plain = [b"comment\0", &vec![b'a'; 5 << 20][..]].concat();
    for (kind, data) in [
        (b"zTXt", text),
        (b"iTXt", international),
        (b"iCCP", profile),
        (b"tEXt", plain),
    ] {
        let file = with_chunk(&image, kind, &data);
        client.score(encoded(file)).await.unwrap();
    }

    let (strips, tiles) = ([273, 279], [324, 325]);
    let pixels = vec![0; usize::from(SIDE * SIDE)];
    for (file, part) in [
        (tiff(8, &[(278, 28)], strips, &packed(512)), "more samples"),
        (
            tiff(8, &[(322, 65_536), (323, 65_536)], tiles, &packed(64)),
            "tiles of 65536 x 65536 pixels",
        ),
        (
            tiff(1, &[(277, 60_000)], strips, &pixels),
            "60000 samples a pixel",
        ),
        (
            tiff(1, &[(278, 28)], strips, &pixels[1..]),
            "shorter than its pixels",
        ),
        (webp(), "another size than it says"),
    ] {
        let status = client.score(encoded(file)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{part}: {status:?}");
        assert!(status.message().contains(part), "{part}: {status:?}");
    }
    // The same without the bomb is an image.
    let file = tiff(1, &[(278, 28)], strips, &pixels);
    client.score(encoded(file)).await.unwrap();
    let grown = (peak_bytes(&server) as u64).saturating_sub(before);
    assert!(grown < MOST_BYTES, "{grown} bytes");
}
