//! What a new configuration changes, and what of it a running process can take.

use serde_json::{Map, Value};

use crate::{
    Role,
    key::{Key, Report, Shape, join},
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

/// What a process that ran with `running` runs with once it has taken what it can of `new`.
pub fn followed<T: Role>(running: &T, new: &T) -> T {
    let (mut tree, new) = (values(running), values(new));
    take_live(&mut tree, &new, T::KEYS);
    // Both are valid, so every value of the mixture is one that the struct can hold.
    T::read_map(tree, "", &mut Report::default())
}

fn take_live(running: &mut Map<String, Value>, new: &Map<String, Value>, keys: &[Key]) {
    for key in keys {
        let Some(value) = new.get(key.name) else { continue };
        match (key.shape, running.get_mut(key.name), value) {
            (Shape::Section(inner), Some(Value::Object(old)), Value::Object(new)) => take_live(old, new, inner),
            _ if key.live => {
                running.insert(key.name.to_owned(), value.clone());
            }
            _ => {}
        }
    }
}
