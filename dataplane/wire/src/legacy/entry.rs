//! The JSON of a body: entries, their fields, and whether the whole can be one.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::Refused;

/// Tags of one metric; two bytes of a body could make each.
pub(super) const MOST_TAGS: usize = 1_000;

/// Why a body as a whole was refused, as the original refuses it.
#[derive(Debug, thiserror::Error)]
pub enum BadBody {
    /// Not JSON, or not an array.
    #[error("not a JSON array: {0}")]
    Json(#[from] serde_json::Error),
    /// An array without entries.
    #[error("the array is empty")]
    Empty,
    /// An array of entries none of which has a field of a metric.
    #[error("no entry is a metric: give each name, type, tagstring, tags and value")]
    Nothing,
}

/// An entry as it stands in the body.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Entry<'a> {
    pub(super) name: Cow<'a, str>,
    #[serde(rename = "type")]
    pub(super) kind: Cow<'a, str>,
    pub(super) tagstring: Cow<'a, str>,
    pub(super) tags: Option<Vec<Cow<'a, str>>>,
    /// In base64.
    pub(super) value: Cow<'a, str>,
}

impl Entry<'_> {
    pub(super) fn write(&self, body: &mut Vec<u8>) {
        serde_json::to_writer(body, self).expect("texts are JSON, and memory takes them");
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Entries that are kept while a body is checked; of a longer one, the rest is read once more. Two bytes of a body could
/// make each.
const KEPT: usize = 4_096;

/// Gives out the entries of a body, after it was found to be an array with at least one entry that says something.
pub(super) fn checked<'a>(body: &'a [u8], mut give: impl FnMut(Result<Entry<'a>, Refused>)) -> Result<(), BadBody> {
    let (mut kept, mut entries, mut said) = (Vec::new(), 0_usize, false);
    each(body, |entry| {
        entries += 1;
        said |= entry.as_ref().is_ok_and(|entry| !entry.is_nothing());
        if kept.len() < KEPT {
            kept.push(entry);
        }
    })?;
    if entries == 0 {
        return Err(BadBody::Empty);
    }
    if !said {
        return Err(BadBody::Nothing);
    }
    kept.into_iter().for_each(&mut give);
    if entries > KEPT {
        let mut index = 0;
        each(body, |entry| {
            index += 1;
            if index > KEPT {
                give(entry);
            }
        })?;
    }
    Ok(())
}

/// Gives out the entries of a body as they are read.
fn each<'a>(body: &'a [u8], each: impl FnMut(Result<Entry<'a>, Refused>)) -> Result<(), BadBody> {
    let mut json = serde_json::Deserializer::from_slice(body);
    Entries(each).deserialize(&mut json)?;
    json.end()?;
    Ok(())
}

struct Entries<F>(F);

impl<'de, F: FnMut(Result<Entry<'de>, Refused>)> DeserializeSeed<'de> for Entries<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(Result<Entry<'de>, Refused>)> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element()? {
            (self.0)(match entry {
                Json::Object(Some(entry)) => Ok(*entry),
                // Go reads it as an entry without fields.
                Json::Null => Ok(Entry::default()),
                Json::Object(None) | Json::Text(_) | Json::Texts(_) | Json::Other => Err(Refused::Shape),
            });
        }
        Ok(())
    }
}

/// Whatever stands in a body, as far as an entry can be made of it.
enum Json<'a> {
    Null,
    Text(Cow<'a, str>),
    Texts(Vec<Cow<'a, str>>),
    /// `None`: a field of an entry has another shape.
    Object(Option<Box<Entry<'a>>>),
    Other,
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json<'de>, A::Error> {
        let mut entry = Box::<Entry<'_>>::default();
        let mut fits = true;
        while let Some(Json::Text(key)) = fields.next_key()? {
            let place = match &*key {
                "name" => &mut entry.name,
                "type" => &mut entry.kind,
                "tagstring" => &mut entry.tagstring,
                "value" => &mut entry.value,
                "tags" => {
                    match fields.next_value()? {
                        Json::Texts(tags) => entry.tags = Some(tags),
                        Json::Null => {}
                        Json::Text(_) | Json::Object(_) | Json::Other => fits = false,
                    }
                    continue;
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            match fields.next_value()? {
                Json::Text(text) => *place = text,
                Json::Null => {}
                Json::Texts(_) | Json::Object(_) | Json::Other => fits = false,
            }
        }
        Ok(Json::Object(fits.then_some(entry)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let mut texts = Vec::new();
        while let Some(item) = items.next_element()? {
            match item {
                Json::Text(text) if texts.len() < MOST_TAGS => texts.push(text),
                _ => {
                    while items.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Json::Other);
                }
            }
        }
        Ok(Json::Texts(texts))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }
}
