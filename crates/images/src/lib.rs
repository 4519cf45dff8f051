//! Image files as people have them, read the same way by trainer, server and client.
//!
//! What a file is, its content says, never its name: [`Format`] lists what is read. Of several
//! frames or pages the first one is the image; of an animated PNG that is the one which decoders
//! without animation show. Images are turned upright as Exif or TIFF orientation says. Transparent
//! pixels are laid over black, so that colours which nobody sees have no part: alpha scales each
//! colour, as it is stored. Colour profiles and all other metadata are passed over, and do not count
//! for the size. A file that ends too early or is damaged, as far as its format lets one know, is
//! refused: an image with a part missing is another image. Checksums let PNG know of all damage;
//! the codes of JPEG tell of most of it, BMP and TIFF without compression of none.
#![forbid(unsafe_code)]

mod bmp;
mod bytes;
mod colour;
mod error;
pub mod folder;
mod format;
pub mod frames;
mod header;
mod ifd;
mod intake;
mod jpeg;
mod placement;
mod png;
mod read;
mod size;
mod sniff;
mod tiff;
mod webp;

pub use bytes::{MAX_FILE_BYTES, read, read_from};
pub use colour::planes;
pub use error::{ImageError, IntakeError};
pub use format::Format;
pub use header::Header;
pub use intake::{Fit, Intake};
pub use placement::{Placement, Sample, Span};
pub use read::decode;
pub use size::Size;
