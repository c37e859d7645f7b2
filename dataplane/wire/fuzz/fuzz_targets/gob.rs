//! No gob panics its reader or makes it allocate by a number in it.
#![no_main]

use veneur_wire::legacy;

libfuzzer_sys::fuzz_target!(|stream: &[u8]| {
    if let Ok(digest) = legacy::read_gob(stream) {
        assert!(digest.main_centroids.len() <= stream.len());
    }
});
