//! The types that a gob describes.

use super::{Bytes, GobError};

/// Types that every gob knows, by number.
const BOOL: i64 = 1;
const INT: i64 = 2;
const UINT: i64 = 3;
pub(super) const FLOAT: i64 = 4;
const BYTES: i64 = 5;
const STRING: i64 = 6;
const COMPLEX: i64 = 7;

/// A digest has three.
const MOST_TYPES: usize = 16;
const MOST_FIELDS: usize = 16;
const DEEPEST: u32 = 8;

/// A type, as far as its values can be read or skipped. Elements are types by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type<'a> {
    Slice(i64),
    /// An array: as a slice, but none.
    Array(i64),
    Struct(Vec<(&'a [u8], i64)>),
    Map(i64, i64),
}

#[derive(Debug, Default)]
pub(super) struct Types<'a>(Vec<(i64, Type<'a>)>);

impl<'a> Types<'a> {
    pub(super) fn get(&self, id: i64) -> Option<&Type<'a>> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, described)| described)
    }

    /// Takes in the description of a type.
    pub(super) fn describe(&mut self, id: i64, mut message: Bytes<'a>) -> Result<(), GobError> {
        if self.0.len() == MOST_TYPES {
            return Err(GobError::TooMany { what: "types", found: MOST_TYPES as u64 + 1, limit: MOST_TYPES });
        }
        if id <= COMPLEX || self.get(id).is_some() {
            return Err(GobError::Type(id));
        }
        let mut described = None;
        message.each_field(|message, form| {
            let (mut first, mut second, mut fields) = (None, None, Vec::new());
            message.each_field(|message, part| {
                match (form, part) {
                    // Its name and number again.
                    (0..=3, 0) => common(message)?,
                    (2, 1) => fields = struct_fields(message)?,
                    (0 | 1 | 3, 1) => first = Some(message.int()?),
                    // An array's length.
                    (0, 2) => drop(message.int()?),
                    (3, 2) => second = Some(message.int()?),
                    _ => return Err(GobError::Type(id)),
                }
                Ok(())
            })?;
            described = match (form, first, second) {
                _ if described.is_some() => return Err(GobError::Type(id)),
                (0, Some(element), _) => Some(Type::Array(element)),
                (1, Some(element), _) => Some(Type::Slice(element)),
                (2, ..) => Some(Type::Struct(std::mem::take(&mut fields))),
                (3, Some(key), Some(value)) => Some(Type::Map(key, value)),
                // Types with an encoding of their own.
                _ => return Err(GobError::Type(id)),
            };
            Ok(())
        })?;
        message.end()?;
        self.0.push((id, described.ok_or(GobError::Type(id))?));
        Ok(())
    }

    /// Passes over a value.
    pub(super) fn skip(&self, id: i64, value: &mut Bytes<'a>) -> Result<(), GobError> {
        self.skip_within(id, value, DEEPEST)
    }

    fn skip_within(&self, id: i64, value: &mut Bytes<'a>, depth: u32) -> Result<(), GobError> {
        match id {
            BOOL | INT | UINT | FLOAT => return value.uint().map(drop),
            BYTES | STRING => return value.text().map(drop),
            COMPLEX => return value.uint().and(value.uint()).map(drop),
            _ => {}
        }
        let depth = depth.checked_sub(1).ok_or(GobError::Depth)?;
        match self.get(id).ok_or(GobError::Type(id))? {
            Type::Slice(element) | Type::Array(element) => {
                for _ in 0..value.count("elements")? {
                    self.skip_within(*element, value, depth)?;
                }
                Ok(())
            }
            Type::Map(key, of) => {
                for _ in 0..value.count("entries")? {
                    self.skip_within(*key, value, depth)?;
                    self.skip_within(*of, value, depth)?;
                }
                Ok(())
            }
            Type::Struct(fields) => value.each_field(|value, index| {
                let (_, field) = fields.get(index).ok_or(GobError::Field)?;
                self.skip_within(*field, value, depth)
            }),
        }
    }
}

/// A type's name and number, which stand in its message already.
fn common(message: &mut Bytes<'_>) -> Result<(), GobError> {
    message.each_field(|message, part| match part {
        0 => message.text().map(drop),
        1 => message.int().map(drop),
        _ => Err(GobError::Field),
    })
}

fn struct_fields<'a>(message: &mut Bytes<'a>) -> Result<Vec<(&'a [u8], i64)>, GobError> {
    let count = message.count("fields")?;
    if count > MOST_FIELDS {
        return Err(GobError::TooMany { what: "fields", found: count as u64, limit: MOST_FIELDS });
    }
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut name, mut id): (&[u8], i64) = (b"", 0);
        message.each_field(|message, part| {
            match part {
                0 => name = message.text()?,
                1 => id = message.int()?,
                _ => return Err(GobError::Field),
            }
            Ok(())
        })?;
        fields.push((name, id));
    }
    Ok(fields)
}
