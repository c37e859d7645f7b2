//! Who sent a sample, where a socket tells: the sender's container, else its process.
//!
//! A Unix socket tells the sender's process id; `/proc/PID/cgroup` names its container. Each name gets a small number,
//! the same in every listener of the process. There are at most 4,096 at a time: one that has been silent for
//! ten minutes gives way to a new one, and while there is none such, newcomers are [`Origin::UNKNOWN`].
//!
//! A sender in another process namespace has no id here (the kernel says 0): containers of one pod see each other only
//! with `shareProcessNamespace`. It is unknown then, and nothing is lost but the name.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Names known at a time.
const MOST: usize = 4_096;

/// After this silence a name may give way.
const IDLE: Duration = Duration::from_mins(10);

/// How long what `/proc` said of a process is believed; its id may be given to another one.
const BELIEVED: Duration = Duration::from_mins(1);

/// A sender, by a number that names it within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(u32);

impl Origin {
    /// Nobody told.
    pub const UNKNOWN: Self = Self(0);

    /// The sender with this process id: its container if `/proc` shows one, else the process itself.
    pub fn of_process(pid: i32) -> Self {
        if pid <= 0 {
            return Self::UNKNOWN;
        }
        let container =
            std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().and_then(|cgroups| container(&cgroups));
        let name = container.unwrap_or_else(|| format!("pid:{pid}"));
        lock().number(&name, Instant::now())
    }

    /// The number; 0 for one that is unknown.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The container's id, where `/proc` showed one.
    pub(crate) fn container(self) -> Option<String> {
        self.name().filter(|name| !name.starts_with("pid:"))
    }

    /// The container's id, or `pid:` and the process id. `None` for one that is unknown or has been forgotten.
    pub fn name(self) -> Option<String> {
        lock().name(self).map(ToOwned::to_owned)
    }
}

/// Origins by process id, as one reader remembers them, so that `/proc` is not read for each datagram.
#[derive(Debug, Default)]
pub(super) struct Processes(HashMap<i32, (Origin, Instant)>);

impl Processes {
    /// The sender with this process id, as of `now`.
    pub(super) fn origin(&mut self, pid: i32, now: Instant) -> Origin {
        if let Some((origin, since)) = self.0.get(&pid)
            && now.duration_since(*since) < BELIEVED
        {
            return *origin;
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let origin = Origin::of_process(pid);
        self.0.insert(pid, (origin, now));
        origin
    }
}

/// The names of a process, and when each was last seen.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<String, usize>,
    slots: Vec<(String, Instant)>,
}

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

fn lock() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    fn number(&mut self, name: &str, now: Instant) -> Origin {
        if let Some(slot) = self.numbers.get(name) {
            self.slots[*slot].1 = now;
            return origin(*slot);
        }
        let slot = if self.slots.len() < MOST {
            self.slots.push((name.to_owned(), now));
            self.slots.len() - 1
        } else {
            let idle = |(_, seen): &(String, Instant)| now.duration_since(*seen) >= IDLE;
            let Some(slot) = self.slots.iter().position(idle) else { return Origin::UNKNOWN };
            let (gone, _) = std::mem::replace(&mut self.slots[slot], (name.to_owned(), now));
            self.numbers.remove(&gone);
            slot
        };
        self.numbers.insert(name.to_owned(), slot);
        origin(slot)
    }

    fn name(&self, origin: Origin) -> Option<&str> {
        let slot = usize::try_from(origin.0.checked_sub(1)?).ok()?;
        self.slots.get(slot).map(|(name, _)| name.as_str())
    }
}

fn origin(slot: usize) -> Origin {
    Origin(u32::try_from(slot + 1).expect("slots are few"))
}

/// The last run of 64 hexadecimal digits in a cgroup path: containerd, CRI-O, Docker and Podman write a container's id so.
pub(crate) fn container(cgroups: &str) -> Option<String> {
    let mut words = cgroups.split(|letter: char| !matches!(letter, '0'..='9' | 'a'..='f'));
    words.rfind(|word| word.len() == 64).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_in_the_paths_of_every_runtime() {
        let id = "3f4a".repeat(16);
        for path in [
            format!("0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-{id}.scope\n"),
            format!("0::/../../pod7d1c0f5e/crio-{id}.scope\n"),
            format!("12:cpu:/kubepods/burstable/pod7d1c/{id}\n1:name=systemd:/docker/{id}\n"),
        ] {
            assert_eq!(container(&path), Some(id.clone()), "{path}");
        }
        assert_eq!(container("0::/user.slice/user-1000.slice/session-2.scope\n"), None);
    }

    #[test]
    fn a_process_outside_containers_is_itself() {
        let pid = i32::try_from(std::process::id()).expect("an id");
        let origin = Origin::of_process(pid);
        assert_eq!(Origin::of_process(pid), origin);
        let name = origin.name().expect("known");
        assert!(name == format!("pid:{pid}") || name.len() == 64, "{name}");
        assert_eq!(Origin::of_process(0), Origin::UNKNOWN);
        assert_eq!(Origin::UNKNOWN.name(), None);
    }

    #[test]
    fn names_are_bounded_and_idle_ones_give_way() {
        let mut names = Names::default();
        let start = Instant::now();
        for index in 0..MOST {
            assert_ne!(names.number(&format!("pod-{index}"), start), Origin::UNKNOWN);
        }
        assert_eq!(names.number("one too many", start), Origin::UNKNOWN);
        names.number("pod-0", start + IDLE);
        let newcomer = names.number("one too many", start + IDLE);
        assert_eq!(names.name(newcomer), Some("one too many"));
        assert_eq!(names.number("pod-0", start + IDLE), origin(0), "who was heard keeps its number");
        assert_eq!((names.slots.len(), names.numbers.len()), (MOST, MOST));
    }
}
