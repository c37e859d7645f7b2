//! What a new configuration changes, and what of it a running process can take.

use serde_json::Value;

use crate::{
    Role,
    key::{Key, Shape, join},
    show::values,
};

/// Keys that differ between two configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reload {
    /// Those that a running process takes.
    pub live: Vec<String>,
    /// Those that need a restart.
    pub restart: Vec<String>,
}

impl Reload {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

/// Which keys differ between `old` and `new`, by who can take them.
pub fn changes<T: Role>(old: &T, new: &T) -> Reload {
    let mut reload = Reload::default();
    compare(&Value::Object(values(old)), &Value::Object(values(new)), T::KEYS, "", &mut reload);
    reload
}

fn compare(old: &Value, new: &Value, keys: &[Key], path: &str, reload: &mut Reload) {
    for key in keys {
        let (old, new) = (&old[key.name], &new[key.name]);
        if old == new {
            continue;
        }
        let path = join(path, key.name);
        match key.shape {
            Shape::Section(inner) if old.is_object() && new.is_object() => compare(old, new, inner, &path, reload),
            _ if key.live => reload.live.push(path),
            _ => reload.restart.push(path),
        }
    }
}
