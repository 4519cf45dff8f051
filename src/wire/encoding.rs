//! How messages are compressed.

use std::io::{self, Read};

use flate2::read::{GzDecoder, ZlibDecoder};

/// Unpacked bytes are looked at in pieces of this size.
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

    /// The encoding of that name; none for messages as they are.
    ///
    /// # Errors
    /// When there is no such encoding.
    pub fn named(name: &[u8]) -> Result<Option<Self>, UnknownEncoding> {
        match name {
            b"gzip" => Ok(Some(Self::Gzip)),
            b"deflate" => Ok(Some(Self::Deflate)),
            b"zstd" => Ok(Some(Self::Zstd)),
            b"identity" => Ok(None),
            other => {
                let name = String::from_utf8_lossy(other);
                let name = crate::request::cut(&name).into_owned();
                Err(UnknownEncoding { name })
            }
        }
    }

    /// Unpacks a message of at most `max_bytes`, piece by piece, so that what sees the pieces can
    /// end it early.
    ///
    /// # Errors
    /// The error of `piece`, or what is wrong with the packed bytes.
    pub fn unpack<E>(
        self,
        packed: &[u8],
        max_bytes: usize,
        mut piece: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), UnpackError<E>> {
        let mut unpacked: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(GzDecoder::new(packed)),
            Self::Deflate => Box::new(ZlibDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                // A frame may claim a window of 128 MiB; who packs a message at once has one of its
                // size.
                let of_message = max_bytes.next_power_of_two().trailing_zeros();
                decoder.window_log_max(of_message.max(ZSTD_WINDOW_LOG))?;
                Box::new(decoder)
            }
        };
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match unpacked.read(&mut buffer)? {
                0 => return Ok(()),
                read => piece(&buffer[..read]).map_err(UnpackError::Piece)?,
            }
        }
    }
}

/// Why a message is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError<E> {
    /// It is not packed as it says.
    #[error(transparent)]
    Packed(#[from] io::Error),
    /// What saw the pieces ended it.
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
