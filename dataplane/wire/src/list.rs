//! Lists of metrics as they lie in their bytes: each metric's message, which nobody has read yet.
//!
//! Law: what [`metrics`] gives out is what a decoder of the whole list finds in it, in the same order, wherever
//! [`fields`] reaches the end. Groups, which protobuf gave up and no sender writes, are no fields here.

use prost::{bytes::BufMut, decode_length_delimiter as varint, encode_length_delimiter};

/// The key of a list's only field: a metric.
const METRIC: u8 = 0x0A;

/// The metrics of a list, up to what is no field; whatever else it holds is passed over.
pub fn metrics(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            let Field { key, head, length } = field(rest)?;
            let (field, after) = rest.split_at(head + length);
            rest = after;
            if key == u32::from(METRIC) {
                return Some(&field[head..]);
            }
        }
    })
}

/// Adds a metric to a list.
pub fn put(list: &mut impl BufMut, metric: &[u8]) {
    list.put_u8(METRIC);
    encode_length_delimiter(metric.len(), list).expect("the buffer grows as needed");
    list.put_slice(metric);
}

/// Fields of any message, up to what is no field, and their bytes; saying what is wrong is left to whoever reads it.
pub fn fields(message: &[u8]) -> (usize, usize) {
    let (mut rest, mut count) = (message, 0);
    while let Some(Field { head, length, .. }) = field(rest) {
        rest = &rest[head + length..];
        count += 1;
    }
    (count, message.len() - rest.len())
}

/// A message's first field.
struct Field {
    key: u32,
    /// Bytes of the key, and of the length where there is one; of a number, all of it.
    head: usize,
    /// Bytes of what it holds.
    length: usize,
}

/// `None` if the message has none, or not all of it.
fn field(message: &[u8]) -> Option<Field> {
    let mut rest = message;
    let key = u32::try_from(varint(&mut rest).ok()?).ok().filter(|key| key >> 3 > 0)?;
    let length = match key & 7 {
        0 => varint(&mut rest).map(|_| 0).ok()?,
        1 => 8,
        2 => varint(&mut rest).ok()?,
        5 => 4,
        _ => return None,
    };
    rest.get(..length)?;
    Some(Field { key, head: message.len() - rest.len(), length })
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
        assert_eq!(fields(&[0x02, 0x00]), (0, 0), "no field has the number 0");
        assert_eq!(fields(&[]), (0, 0));
    }

    #[test]
    fn a_list_gives_out_its_metrics_and_nothing_else() {
        let list = [0x0A, 0x01, 7, 0x18, 0x05, 0x0A, 0x00, 0x0A, 0x02, 8, 9];
        assert_eq!(metrics(&list).collect::<Vec<_>>(), [&[7_u8][..], &[], &[8, 9]]);
        assert_eq!(metrics(&list[..10]).count(), 2, "cut short");
    }

    #[test]
    fn a_key_may_be_longer_than_it_has_to_be() {
        assert_eq!(metrics(&[0x8A, 0x80, 0x00, 0x01, 7]).collect::<Vec<_>>(), [[7]]);
    }

    #[test]
    fn what_was_put_into_a_list_comes_out() {
        let mut list = Vec::new();
        let long = [7; 300];
        [&long[..], &[]].iter().for_each(|metric| put(&mut list, metric));
        assert_eq!(metrics(&list).collect::<Vec<_>>(), [&long[..], &[]]);
    }
}
