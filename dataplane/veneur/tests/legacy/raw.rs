//! gRPC calls with whatever bytes a peer may send.

use tokio_stream::Stream;
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Endpoint,
};

/// Messages as they are.
#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(to, &message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}

/// Sends messages to a method of `forwardrpc.Forward` in one stream, which for the wire is what one message alone is too.
pub(crate) async fn call(address: &str, method: &str, messages: Vec<Vec<u8>>) -> Result<(), Status> {
    stream(address, method, tokio_stream::iter(messages)).await
}

/// The same for messages that come with time. The answer comes once they have ended.
pub(crate) async fn stream(
    address: &str,
    method: &str,
    messages: impl Stream<Item = Vec<u8>> + Send + 'static,
) -> Result<(), Status> {
    let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await;
    let mut client = Grpc::new(channel.expect("connects"));
    client.ready().await.expect("ready");
    let path = PathAndQuery::try_from(format!("/forwardrpc.Forward/{method}")).expect("a path");
    client.client_streaming(tonic::Request::new(messages), path, Bytes).await.map(drop)
}
