//! gRPC by hand, for what no gRPC client does.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::net::TcpStream;

use crate::common::Server;

/// A connection that has said nothing yet.
pub async fn tcp(server: &Server) -> TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// The head of a call of `Score`.
pub fn score_head(server: &Server) -> http::Request<()> {
    http::Request::post(format!("{}/lfbm.v1.AnomalyDetector/Score", server.url))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// A message as it goes over HTTP/2.
pub fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    frame.freeze()
}
