//! The committed protobuf code is what `dataplane/wire/proto` says. `cargo xtask gen` rewrites it by running this test
//! with `UPDATE_GOLDEN=1`; nobody needs protoc.

use std::{fs, path::Path};

use protox::prost_reflect::prost_types::FileDescriptorSet;

#[test]
fn generated_code_equals_what_the_protocol_files_say() {
    let dataplane = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let proto = dataplane.join("wire/proto");
    let files = ["metric.proto", "tdigest.proto", "forward.proto"].map(|file| proto.join(file));
    let descriptors = protox::compile(files, [&proto]).expect("the protocol files compile");

    let messages = tempfile::tempdir().expect("a folder");
    compile_messages(descriptors.clone(), messages.path());
    let service = tempfile::tempdir().expect("a folder");
    compile_service(descriptors, service.path());

    for file in ["metricpb.rs", "tdigest.rs", "forwardrpc.rs"] {
        same(&dataplane.join("wire/src/gen").join(file), &messages.path().join(file));
    }
    same(&dataplane.join("forward/src/gen/forwardrpc.rs"), &service.path().join("forwardrpc.rs"));
}

fn compile_messages(descriptors: FileDescriptorSet, to: &Path) {
    // Rare and large: in place they would double the size of every metric.
    let mut messages = prost_build::Config::new();
    messages.boxed(".metricpb.Metric.event").boxed(".metricpb.Metric.check");
    messages.out_dir(to).compile_fds(descriptors).expect("messages are generated");
}

fn compile_service(descriptors: FileDescriptorSet, to: &Path) {
    tonic_prost_build::configure()
        .codec_path("crate::codec::Codec")
        .out_dir(to)
        .extern_path(".forwardrpc.MetricList", "crate::codec::List")
        .extern_path(".metricpb.Metric", "crate::codec::Message")
        .extern_path(".metricpb", "::veneur_wire::metricpb")
        .compile_fds(descriptors)
        .expect("the service is generated");
}

fn same(committed: &Path, generated: &Path) {
    let generated = fs::read_to_string(generated).expect("was generated");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(committed, generated).expect("the checkout can be written");
        return;
    }
    let found = fs::read_to_string(committed).unwrap_or_default();
    assert!(found == generated, "{} is out of date: run `cargo xtask gen`", committed.display());
}
