//! Integers, numbers and field lists of a gob.

use super::GobError;

/// The unread end of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], GobError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(GobError::Truncated(what))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn uint(&mut self) -> Result<u64, GobError> {
        let (&first, rest) = self.0.split_first().ok_or(GobError::Truncated("integer"))?;
        self.0 = rest;
        if first < 0x80 {
            return Ok(first.into());
        }
        let count = usize::from(first.wrapping_neg());
        if count > size_of::<u64>() {
            return Err(GobError::Integer(count));
        }
        if let Some((eight, _)) = rest.split_first_chunk::<8>() {
            self.0 = &rest[count..];
            // One to eight are its own, and the others, behind them, are shifted out.
            return Ok(u64::from_be_bytes(*eight) >> (64 - 8 * count));
        }
        let bytes = self.take(count, "integer")?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    pub(super) fn int(&mut self) -> Result<i64, GobError> {
        let doubled = self.uint()?;
        let magnitude = (doubled >> 1).cast_signed();
        Ok(if doubled & 1 == 1 { !magnitude } else { magnitude })
    }

    pub(super) fn float(&mut self) -> Result<f64, GobError> {
        Ok(f64::from_bits(self.uint()?.swap_bytes()))
    }

    /// A count of things of which each takes a byte at least.
    pub(super) fn count(&mut self, what: &'static str) -> Result<usize, GobError> {
        let found = self.uint()?;
        let limit = self.len();
        usize::try_from(found).ok().filter(|count| *count <= limit).ok_or(GobError::TooMany { what, found, limit })
    }

    /// Bytes behind their count.
    pub(super) fn text(&mut self) -> Result<&'a [u8], GobError> {
        let length = self.count("bytes of a text")?;
        self.take(length, "text")
    }

    /// The 0 before a value that is no struct.
    pub(super) fn no_struct(&mut self) -> Result<(), GobError> {
        if self.uint()? == 0 { Ok(()) } else { Err(GobError::Field) }
    }

    /// Calls `field` at the value of each field of a struct, with the field's place.
    pub(super) fn each_field(
        &mut self,
        mut field: impl FnMut(&mut Self, usize) -> Result<(), GobError>,
    ) -> Result<(), GobError> {
        let mut next = 0_usize;
        loop {
            let step = self.uint()?;
            if step == 0 {
                return Ok(());
            }
            next = usize::try_from(step).ok().and_then(|step| next.checked_add(step)).ok_or(GobError::Field)?;
            field(self, next - 1)?;
        }
    }

    pub(super) fn end(&self) -> Result<(), GobError> {
        if self.is_empty() { Ok(()) } else { Err(GobError::Trailing(self.len())) }
    }
}

pub(super) fn put_uint(to: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    match value.leading_zeros() as usize / 8 {
        7 | 8 if value < 0x80 => to.push(bytes[7]),
        zeros => {
            // The count of bytes, negated.
            to.push(0xF8 + u8::try_from(zeros).expect("eight at most"));
            to.extend(&bytes[zeros..]);
        }
    }
}

pub(super) fn put_float(to: &mut Vec<u8>, value: f64) {
    put_uint(to, value.to_bits().swap_bytes());
}
