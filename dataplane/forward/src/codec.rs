//! Messages as they lie in the bytes: whoever imports reads them, and whoever forwards has encoded them before.
//!
//! What would take many times its size once it is read is refused: an empty metric takes two bytes of a list and some 400
//! in memory.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::{decode_length_delimiter as varint, encode_length_delimiter};
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::packed::Packed;

/// Most fields of a message, and so most metrics of a list: more than 4 MiB of real ones have.
const MOST_FIELDS: usize = 131_072;

/// Of a list, the only field: a metric.
const METRIC: u8 = 0x0A;

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
            list.put_u8(METRIC);
            encode_length_delimiter(metric.len(), &mut list).expect("the buffer grows as needed");
            list.put_slice(&metric);
        }
        Self(list.freeze())
    }

    /// Its metrics; whatever else it holds is passed over.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            loop {
                let (head, length) = field(rest)?;
                let (field, after) = rest.split_at(head + length);
                rest = after;
                if field[0] == METRIC {
                    return Some(&field[head..]);
                }
            }
        })
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
        bounded(&message)?;
        Ok(Self(message))
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
        few(fields)?;
        Ok(Self(message))
    }
}

/// Refuses messages of too many fields before they are read.
fn bounded(message: &[u8]) -> Result<(), Status> {
    // A field takes two bytes at least.
    if message.len() > 2 * MOST_FIELDS { few(fields(message).0) } else { Ok(()) }
}

fn few(fields: usize) -> Result<(), Status> {
    if fields > MOST_FIELDS {
        let problem = format!("the message has more than {MOST_FIELDS} fields: send metrics in several");
        return Err(Status::resource_exhausted(problem));
    }
    Ok(())
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

/// Fields of a message, up to what is no field, and their bytes; saying what is wrong is left to whoever reads it.
fn fields(message: &[u8]) -> (usize, usize) {
    let (mut rest, mut count) = (message, 0);
    while let Some((head, length)) = field(rest) {
        rest = &rest[head + length..];
        count += 1;
    }
    (count, message.len() - rest.len())
}

/// Lengths of the head of a message's first field, and of what it holds; `None` if the message has none, or not all of it.
fn field(message: &[u8]) -> Option<(usize, usize)> {
    let mut rest = message;
    let length = match varint(&mut rest).ok()? & 7 {
        0 => varint(&mut rest).map(|_| 0).ok()?,
        1 => 8,
        2 => varint(&mut rest).ok()?,
        5 => 4,
        _ => return None,
    };
    rest.get(..length)?;
    Some((message.len() - rest.len(), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_message_is_counted_and_no_message_panics() {
        assert_eq!(fields(&[0x0A, 0x00].repeat(1_000)), (1_000, 2_000));
        let whole = [0x0A, 0x02, 0x0A, 0x00, 0x18, 0xFF, 0x01, 0x31, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(fields(&whole), (3, whole.len()));
        assert_eq!(fields(&whole[..15]), (2, 7));
        assert_eq!(fields(&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]), (0, 0));
        assert_eq!(fields(&[0xFF; 100]), (0, 0));
        assert_eq!(fields(&[]), (0, 0));
    }

    #[test]
    fn a_list_gives_out_its_metrics_and_nothing_else() {
        let read = |bytes: &[u8]| List::read(Bytes::copy_from_slice(bytes));
        let list = read(&[0x0A, 0x01, 7, 0x18, 0x05, 0x0A, 0x00, 0x0A, 0x02, 8, 9]).expect("a list");
        assert_eq!(list.metrics().collect::<Vec<_>>(), [&[7_u8][..], &[], &[8, 9]]);
        read(&[0x0A, 0x01, 7, 0x0A, 0x02, 8]).expect_err("cut short");
        read(&[0x0A, 0x00].repeat(MOST_FIELDS + 1)).expect_err("too many");
    }
}
