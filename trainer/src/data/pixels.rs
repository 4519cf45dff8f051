//! The pixels of many images: in memory, or in a file where they are too many for it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Deref;
use std::sync::Arc;

use lfbm_images::Size;
use memmap2::Mmap;
use rustix::fs::{FsWord, statfs, statvfs};

use super::DataError;
use crate::memory::free_bytes;

/// What `statfs` calls a file system in memory (linux/magic.h).
const TMPFS: FsWord = 0x0102_1994;

/// Pixels of images of one size.
#[derive(Clone, Debug)]
pub struct Pixels {
    bytes: Bytes,
    /// Bytes of an image.
    each: usize,
    /// Where each image is among those that were written; `None` if they are in their order.
    order: Option<Vec<usize>>,
}

#[derive(Clone, Debug)]
enum Bytes {
    Memory(Vec<u8>),
    /// What is read stays in memory while there is room for it.
    File(Arc<Mmap>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::File(map) => map,
        }
    }
}

impl Pixels {
    /// Pixels in memory, n images of `each` bytes.
    pub fn new(bytes: Vec<u8>, each: usize) -> Self {
        Self {
            bytes: Bytes::Memory(bytes),
            each,
            order: None,
        }
    }

    /// Those of an image.
    pub fn image(&self, index: usize) -> &[u8] {
        let place = self.order.as_ref().map_or(index, |order| order[index]);
        &self.bytes[place * self.each..][..self.each]
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        match &self.order {
            None => self.bytes.len() / self.each.max(1),
            Some(order) => order.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of each image.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.image(index))
    }

    /// Keeps the images with the indices in `order`, in that order.
    pub fn reorder(&mut self, order: &[usize]) {
        let place = |&index: &usize| self.order.as_ref().map_or(index, |order| order[index]);
        self.order = Some(order.iter().map(place).collect());
    }
}

impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Takes the pixels of one image after another.
pub(super) struct PixelsWriter {
    to: To,
    each: usize,
}

enum To {
    Memory(Vec<u8>),
    File(BufWriter<File>),
}

impl PixelsWriter {
    /// Takes `count` images of a size, of `each` bytes: into a file if it is to be `on_disk`, or where they would
    /// take more than half of the memory that is free, as the system reports it.
    ///
    /// # Errors
    /// When neither memory nor the folder for temporary files has room.
    pub(super) fn new(
        count: usize,
        size: Size,
        each: usize,
        on_disk: bool,
    ) -> Result<Self, DataError> {
        let bytes = (count as u64).saturating_mul(each as u64);
        let free = free_bytes().unwrap_or(u64::MAX);
        if bytes <= free / 2 && !on_disk {
            return Ok(Self::memory(each));
        }
        let folder = std::env::temp_dir();
        let place = folder.display();
        let room = statvfs(&folder).map_or(u64::MAX, |system| system.f_bavail * system.f_frsize);
        let problem = if statfs(&folder).is_ok_and(|system| system.f_type == TMPFS) {
            format!("{place} is in memory itself")
        } else if bytes > room {
            format!("{place} has room for {} MB", room >> 20)
        } else {
            eprintln!(
                "the images' pixels, {} MB, are in a temporary file in {place}, not in memory",
                bytes >> 20
            );
            return Self::file(each).map_err(DataError::io(folder));
        };
        if bytes <= free && !on_disk {
            return Ok(Self::memory(each));
        }
        Err(DataError::Usage(format!(
            "{count} images of {} x {} pixels take {} MB, {} MB of memory are free, and {problem}; name a \
             folder with room on a disk with TMPDIR, lower --image-size, or give fewer images",
            size.width,
            size.height,
            bytes >> 20,
            free >> 20
        )))
    }

    /// Keeps images of `each` bytes in memory.
    fn memory(each: usize) -> Self {
        Self {
            to: To::Memory(Vec::new()),
            each,
        }
    }

    /// Keeps images of `each` bytes in a file without a name, which is gone when the process ends, in the
    /// folder for temporary files.
    ///
    /// # Errors
    /// When the system refuses.
    fn file(each: usize) -> io::Result<Self> {
        Ok(Self {
            to: To::File(BufWriter::new(tempfile::tempfile()?)),
            each,
        })
    }

    /// Adds an image.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn push(&mut self, image: &[u8]) -> io::Result<()> {
        match &mut self.to {
            To::Memory(bytes) => bytes.extend(image),
            To::File(file) => file.write_all(image)?,
        }
        Ok(())
    }

    /// All that were added.
    ///
    /// # Errors
    /// When the file cannot be written or read.
    pub(super) fn finish(self) -> io::Result<Pixels> {
        let bytes = match self.to {
            To::Memory(bytes) => Bytes::Memory(bytes),
            To::File(file) => Bytes::File(Arc::new(map(&file.into_inner()?)?)),
        };
        Ok(Pixels {
            bytes,
            each: self.each,
            order: None,
        })
    }
}

#[expect(unsafe_code, reason = "it maps a file into memory")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: bytes that change while they are borrowed would break Rust's rules. The file has no name by
    // which a program could open it, and nothing here writes to it any more.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mut writer: PixelsWriter, images: &[[u8; 2]]) -> Pixels {
        for image in images {
            writer.push(image).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_file_holds_what_memory_holds() {
        let images = [[1, 2], [3, 4], [5, 6]];
        let memory = written(PixelsWriter::memory(2), &images);
        let file = written(PixelsWriter::file(2).unwrap(), &images);
        for mut pixels in [memory, file] {
            assert_eq!(pixels.image(2), [5, 6]);
            pixels.reorder(&[2, 0]);
            assert_eq!(
                (pixels.image(0), pixels.image(1)),
                (&[5, 6][..], &[1, 2][..])
            );
            pixels.reorder(&[1]);
            assert_eq!(pixels.image(0), [1, 2]);
        }
    }

    #[test]
    fn a_file_may_hold_no_image() {
        written(PixelsWriter::file(2).unwrap(), &[]);
    }
}
