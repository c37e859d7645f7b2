//! Which member owns a key: rendezvous hashing, and when a membership change takes effect.
