//! Requests that were encoded before the clock started.

use lfbm_wire::ScoreResponse;
use prost::bytes::{BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// Sends bytes as they are, decodes scores.
#[derive(Clone, Copy, Default)]
pub(super) struct EncodedScore;

impl Codec for EncodedScore {
    type Encode = Bytes;
    type Decode = ScoreResponse;
    type Encoder = Self;
    type Decoder = ProstDecoder<ScoreResponse>;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<(), ScoreResponse>::default().decoder()
    }
}

impl Encoder for EncodedScore {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}
