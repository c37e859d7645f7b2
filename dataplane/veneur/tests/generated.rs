//! The committed protobuf code is what `proto` says. `cargo xtask gen` rewrites it by running this test with
//! `UPDATE_GOLDEN=1`; nobody needs protoc.

use std::{fs, path::Path};

#[test]
fn generated_code_equals_what_the_protocol_file_says() {
    let room = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = room.join("proto");
    let descriptors = protox::compile([proto.join("dogstatsd.proto")], [&proto]).expect("the protocol file compiles");
    let service = tempfile::tempdir().expect("a folder");
    tonic_prost_build::configure().out_dir(service.path()).compile_fds(descriptors).expect("the service is generated");

    let generated = fs::read_to_string(service.path().join("dogstatsd.rs")).expect("was generated");
    let committed = room.join("src/gen/dogstatsd.rs");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(committed, generated).expect("the checkout can be written");
        return;
    }
    let found = fs::read_to_string(&committed).unwrap_or_default();
    assert!(found == generated, "{} is out of date: run `cargo xtask gen`", committed.display());
}
