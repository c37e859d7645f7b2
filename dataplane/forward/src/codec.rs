//! Messages as they lie in the bytes: whoever imports reads them, and whoever forwards has encoded them before.
//!
//! What would take many times its size once it is read is refused: an empty metric takes two bytes of a list and some 400
//! in memory.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use veneur_wire::list::{self, fields};

use crate::packed::Packed;

/// Most fields of a message, and so most metrics of a list: more than 4 MiB of real ones have.
const MOST_FIELDS: usize = 131_072;

/// The bytes of a metric.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(pub(crate) Bytes);

/// The bytes of a list of metrics, whole.
#[derive(Debug, Default)]
pub(crate) struct List(Bytes);

impl List {
    pub(crate) fn of(metrics: &Packed) -> Self {
        let mut list = BytesMut::with_capacity(metrics.frames().len());
        for (_, metric) in metrics.iter() {
            list::put(&mut list, &metric);
        }
        Self(list.freeze())
    }

    /// Its metrics; whatever else it holds is passed over.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &[u8]> {
        list::metrics(&self.0)
    }
}

/// What a call carries, one way or the other.
pub(crate) trait Carried: Sized + Send + 'static {
    fn write(self, to: &mut EncodeBuf<'_>);

    fn read(message: Bytes) -> Result<Self, Status>;
}

impl Carried for () {
    fn write(self, _: &mut EncodeBuf<'_>) {}

    fn read(_: Bytes) -> Result<Self, Status> {
        Ok(())
    }
}

impl Carried for Message {
    fn write(self, to: &mut EncodeBuf<'_>) {
        to.put_slice(&self.0);
    }

    fn read(message: Bytes) -> Result<Self, Status> {
        // An error would end the stream, and its other metrics with it. An empty message counts as one that is incomplete.
        Ok(if is_bounded(&message) { Self(message) } else { Self::default() })
    }
}

impl Carried for List {
    fn write(self, to: &mut EncodeBuf<'_>) {
        to.put_slice(&self.0);
    }

    fn read(message: Bytes) -> Result<Self, Status> {
        let (fields, length) = fields(&message);
        if length < message.len() {
            return Err(Status::internal("the list of metrics is broken"));
        }
        if fields > MOST_FIELDS {
            let problem = format!("the message has more than {MOST_FIELDS} fields: send metrics in several");
            return Err(Status::resource_exhausted(problem));
        }
        Ok(Self(message))
    }
}

/// Whether a message has few enough fields to be read.
fn is_bounded(message: &[u8]) -> bool {
    // A field takes two bytes at least.
    message.len() <= 2 * MOST_FIELDS || fields(message).0 <= MOST_FIELDS
}

/// The codec of the generated code.
#[derive(Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Carried, U: Carried> tonic::codec::Codec for Codec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Codec<T, ()>;
    type Decoder = Codec<(), U>;

    fn encoder(&mut self) -> Codec<T, ()> {
        Codec::default()
    }

    fn decoder(&mut self) -> Codec<(), U> {
        Codec::default()
    }
}

impl<T: Carried> Encoder for Codec<T, ()> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.write(to);
        Ok(())
    }
}

impl<U: Carried> Decoder for Codec<(), U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // All of it, also of what is refused: or whoever polls its stream again would have it looked at again.
        U::read(message.copy_to_bytes(message.remaining())).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_broken_or_too_long_is_refused() {
        let read = |bytes: &[u8]| List::read(Bytes::copy_from_slice(bytes));
        let list = read(&[0x0A, 0x01, 7, 0x18, 0x05, 0x0A, 0x00, 0x0A, 0x02, 8, 9]).expect("a list");
        assert_eq!(list.metrics().collect::<Vec<_>>(), [&[7_u8][..], &[], &[8, 9]]);
        read(&[0x0A, 0x01, 7, 0x0A, 0x02, 8]).expect_err("cut short");
        read(&[0x0A, 0x00].repeat(MOST_FIELDS + 1)).expect_err("too many");
    }
}
