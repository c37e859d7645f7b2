//! Protobuf, but for messages that would take many times their size once they are read.
//!
//! An empty metric takes two bytes of a list and some 400 in memory.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::{Message, decode_length_delimiter as varint};
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Most fields of a message, and so most metrics of a list: more than 4 MiB of real ones have.
const MOST_FIELDS: usize = 131_072;

/// The codec of the generated code.
#[derive(Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> tonic::codec::Codec for Codec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Bounded<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Bounded<U> {
        Bounded(ProstCodec::<T, U>::default().decoder())
    }
}

/// Refuses messages of too many fields before they are read.
#[derive(Debug)]
pub(crate) struct Bounded<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for Bounded<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // All of it: what was received is in one piece.
        if fields(message.chunk()) > MOST_FIELDS {
            // Or whoever polls its stream again would have it counted again.
            message.advance(message.remaining());
            return Err(Status::resource_exhausted(format!(
                "the message has more than {MOST_FIELDS} fields: send metrics in several"
            )));
        }
        self.0.decode(message)
    }
}

/// Fields of a message, up to what is no field; saying what is wrong is left to whoever reads it.
fn fields(mut message: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(key) = varint(&mut message) {
        let length = match key & 7 {
            0 => varint(&mut message).map(|_| 0),
            1 => Ok(8),
            2 => varint(&mut message),
            5 => Ok(4),
            _ => return count,
        };
        match length.ok().and_then(|length| message.get(length..)) {
            Some(rest) => message = rest,
            None => return count,
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_message_is_counted_and_no_message_panics() {
        assert_eq!(fields(&[0x0A, 0x00].repeat(1_000)), 1_000);
        assert_eq!(fields(&[0x0A, 0x02, 0x0A, 0x00, 0x18, 0xFF, 0x01, 0x31, 0, 0, 0, 0, 0, 0, 0, 0]), 3);
        assert_eq!(fields(&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]), 0);
        assert_eq!(fields(&[0xFF; 100]), 0);
        assert_eq!(fields(&[]), 0);
    }
}
