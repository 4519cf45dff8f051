//! How messages are compressed.

use std::io::{self, Read};

use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// Size of the pieces.
const PIECE_BYTES: usize = 32 << 10;
/// What every decoder of zstd has to take, RFC 8878.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The compressions that all services take and send, as `grpc-encoding` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// What gRPC calls so: RFC 1950.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// All of them, for `grpc-accept-encoding`.
    pub const ACCEPTED: &'static str = "gzip,deflate,zstd,identity";

    /// The encoding of that name, in letters of either case; none for messages as they are.
    ///
    /// # Errors
    /// When there is no such encoding.
    pub fn named(name: &[u8]) -> Result<Option<Self>, UnknownEncoding> {
        match name.to_ascii_lowercase().as_slice() {
            // The second is what HTTP called it at first (RFC 9110, 8.4.1.3).
            b"gzip" | b"x-gzip" => Ok(Some(Self::Gzip)),
            b"deflate" => Ok(Some(Self::Deflate)),
            b"zstd" => Ok(Some(Self::Zstd)),
            b"identity" => Ok(None),
            _ => {
                let name = String::from_utf8_lossy(name);
                let name = crate::request::cut(&name).into_owned();
                Err(UnknownEncoding { name })
            }
        }
    }

    /// Decompresses a message of at most `max_bytes`, piece by piece, so that the caller of `piece`
    /// can stop it early.
    ///
    /// # Errors
    /// The error of `piece`, or what is wrong with the compressed bytes.
    pub fn decompress<E>(
        self,
        compressed: &[u8],
        max_bytes: usize,
        mut piece: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), DecompressError<E>> {
        let mut decompressed: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(compressed)),
            Self::Deflate => Box::new(ZlibDecoder::new(compressed)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
                // A frame may claim a window of 128 MiB; a message compressed at once needs one of its
                // own size.
                let of_message = max_bytes.next_power_of_two().trailing_zeros();
                decoder.window_log_max(of_message.max(ZSTD_WINDOW_LOG))?;
                Box::new(decoder)
            }
        };
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match decompressed.read(&mut buffer)? {
                0 => return Ok(()),
                read => piece(&buffer[..read]).map_err(DecompressError::Piece)?,
            }
        }
    }
}

/// Why a message was not decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError<E> {
    /// The compressed bytes are invalid.
    #[error(transparent)]
    Invalid(#[from] io::Error),
    /// The caller refused a piece.
    #[error("a piece was refused")]
    Piece(E),
}

/// There is no such encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected messages in one of the encodings {}, got {name:?}",
    Encoding::ACCEPTED
)]
pub struct UnknownEncoding {
    /// What was named, cut.
    pub name: String,
}
