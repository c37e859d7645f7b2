//! The real API server takes every example, as kubectl with its strict validation sends it.

use std::{fs, path::Path};

use veneur_e2e::{Namespace, accepted};

#[test]
fn every_example_pipeline_is_taken() {
    let namespace = Namespace::new("examples");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples");
    let mut taken = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).expect("readable");
        for object in text.split("\n---\n").filter(|object| object.contains("kind: VeneurPipeline")) {
            // Only asked, not stored: all of them together would be more than a test's node can run.
            let object = object.replace("namespace: metrics", &format!("namespace: {}", namespace.0));
            let said = accepted(&object);
            assert!(said.contains("created (server dry run)"), "{}: {said}", path.display());
            taken += 1;
        }
    }
    assert!(taken > 20, "{taken} examples only");
}
