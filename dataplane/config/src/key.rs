//! What a key is: its name, its documentation, its shape, and how a tree becomes a struct.
//!
//! A struct of keys is written once, inside [`section!`], with each key's sentence and default beside it. Everything else
//! follows from there: the struct and its `Default`, the table that names, prints, redacts and overrides keys, and a
//! reader that reports every wrong value instead of stopping at the first.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Invalid, Note, Unknown, Weight, nearest::nearest};

/// One key of a section.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it is written in a file.
    pub name: &'static str,
    /// Its documentation, a line each.
    pub doc: &'static [&'static str],
    /// Whether a running process can take a new value.
    pub live: bool,
    /// What its values look like.
    pub shape: Shape,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// A whole number of at least 0.
    Whole,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// A duration such as `10s`.
    Duration,
    /// A list of such values.
    List(&'static Shape),
    /// A section of keys of its own.
    Section(&'static [Key]),
    /// A `metric_sinks` entry, whose keys depend on its kind.
    Sink,
    /// A map of another form.
    Map,
}

/// What was noticed while reading.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) problems: Vec<Invalid>,
    pub(crate) unknown: Vec<Unknown>,
    pub(crate) notes: Vec<Note>,
}

impl Report {
    pub(crate) fn problem(&mut self, key: &str, problem: impl Into<String>) {
        self.problems.push(Invalid::new(key, problem));
    }

    pub(crate) fn note(&mut self, key: &str, weight: Weight, text: impl Into<String>) {
        self.notes.push(Note { key: key.to_owned(), text: text.into(), weight });
    }

    /// Takes `key` out of a section; its default where it is absent, `null` or wrong.
    pub(crate) fn field<T: Field>(
        &mut self,
        map: &mut Map<String, Value>,
        path: &str,
        key: &str,
        default: impl FnOnce() -> T,
    ) -> T {
        match map.remove(key) {
            None | Some(Value::Null) => default(),
            Some(value) => T::read(value, &join(path, key), self).unwrap_or_else(default),
        }
    }

    /// What is left of a section is unknown.
    pub(crate) fn rest(&mut self, rest: Map<String, Value>, path: &str, keys: &[Key]) {
        for (key, _) in rest {
            let nearest = nearest(&key, keys.iter().map(|known| known.name)).map(|name| join(path, name));
            self.unknown.push(Unknown { key: join(path, &key), nearest });
        }
    }
}

/// A struct of keys.
pub(crate) trait Section: Sized {
    /// In the order of the struct.
    const KEYS: &'static [Key];

    /// Reads a map; what is wrong with it goes to `report`.
    fn read_map(map: Map<String, Value>, path: &str, report: &mut Report) -> Self;
}

/// A value that a key can have.
pub(crate) trait Field: Sized {
    const SHAPE: Shape;

    /// `None`: it was wrong, and reported.
    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self>;
}

impl<T: Section> Field for T {
    const SHAPE: Shape = Shape::Section(T::KEYS);

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        match value {
            Value::Object(map) => Some(T::read_map(map, path, report)),
            other => {
                report.problem(path, format!("{} must be a section of keys", shown(&other)));
                None
            }
        }
    }
}

/// Lists, entry by entry, so that each wrong one is named.
impl<T: Field> Field for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        let Value::Array(values) = value else {
            let shown =
                if matches!(T::SHAPE, Shape::Secret | Shape::Sink) { "the value".into() } else { shown(&value) };
            report.problem(path, format!("{shown} must be a list, as [a, b]"));
            return None;
        };
        let mut list = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            // The original's example lists one empty text where it means none.
            if matches!(T::SHAPE, Shape::Text) && value == "" {
                continue;
            }
            list.extend(T::read(value, &format!("{path}[{index}]"), report));
        }
        Some(list)
    }
}

impl<T: Field> Field for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        T::read(value, path, report).map(Some)
    }
}

/// Numbers and booleans are taken for texts as they are printed: `hostname: 7` is what somebody wrote without quotes.
impl Field for String {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null => Some(String::new()),
            Value::Array(_) | Value::Object(_) => {
                report.problem(path, "must be a text, not a list or a section");
                None
            }
        }
    }
}

macro_rules! leaf {
    ($($type:ty => $shape:expr, $allowed:literal;)+) => {$(
        impl Field for $type {
            const SHAPE: Shape = $shape;

            fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
                leaf(value, path, report, $allowed)
            }
        }
    )+};
}

leaf! {
    bool => Shape::Bool, "true or false";
    usize => Shape::Whole, "a whole number of at least 0";
    u32 => Shape::Whole, "a whole number from 0 to 4294967295";
    f64 => Shape::Number, "a number";
}

/// Reads a value that has no parts.
pub(crate) fn leaf<T: DeserializeOwned>(value: Value, path: &str, report: &mut Report, allowed: &str) -> Option<T> {
    let shown = shown(&value);
    T::deserialize(value).map_err(|_| report.problem(path, format!("{shown} must be {allowed}"))).ok()
}

/// A value in a message, cut where it gets long.
pub(crate) fn shown(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A key's path.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Writes a struct of keys: `live` or `fixed`, name, type and default. `live` keys change without a restart.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $mode:ident $key:ident: $type:ty = $default:expr,
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $key: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )+ }
            }
        }

        impl $crate::key::Section for $name {
            const KEYS: &'static [$crate::key::Key] = &[$(
                $crate::key::Key {
                    name: stringify!($key),
                    doc: &[$($doc),+],
                    live: $crate::key::section!(@$mode),
                    shape: <$type as $crate::key::Field>::SHAPE,
                },
            )+];

            fn read_map(
                mut map: serde_json::Map<String, serde_json::Value>,
                path: &str,
                report: &mut $crate::key::Report,
            ) -> Self {
                let read = Self { $( $key: report.field(&mut map, path, stringify!($key), || $default), )+ };
                report.rest(map, path, Self::KEYS);
                read
            }
        }
    };
    (@live) => { true };
    (@fixed) => { false };
}
pub(crate) use section;
