//! The real API server takes every example, as kubectl with its strict validation sends it, and the operator every
//! pipeline in them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use veneur_e2e::{Namespace, accepted, apply, condition, eventually, get};

fn examples() -> impl Iterator<Item = (String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples");
    fs::read_dir(folder).expect("a folder").map(|entry| {
        let path = entry.expect("a file").path();
        (fs::read_to_string(&path).expect("readable"), path)
    })
}

fn is_pipeline(object: &&str) -> bool {
    object.contains("kind: VeneurPipeline")
}

#[test]
fn every_example_pipeline_is_stored_and_accepted() {
    let mut taken = 0;
    for (text, path) in examples() {
        let pipelines: Vec<&str> = text.split("\n---\n").filter(is_pipeline).collect();
        if pipelines.is_empty() {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let namespace = Namespace::new(&format!("example-{stem}"));
        for object in &pipelines {
            let object = object.replace("namespace: metrics", &format!("namespace: {}", namespace.0));
            if object.contains("clusterDefault: true") {
                // Stored, it would be that of the other tests' pods too.
                accepted(&object);
            } else {
                // All of them together would be more than a test's node can run.
                apply(&object.replacen("\nspec:\n", "\nspec:\n  management: Paused\n", 1));
            }
            taken += 1;
        }
        eventually(&format!("the pipelines of {} are accepted", path.display()), Duration::from_mins(1), || {
            let listed = get(&["-n", &namespace.0, "veneurpipelines"]).map_err(|refusal| refusal.0)?;
            let refused = |pipeline: &&serde_json::Value| condition(pipeline, "Accepted")["status"] != "True";
            match listed["items"].as_array().into_iter().flatten().find(refused) {
                None => Ok(()),
                Some(pipeline) => Err(pipeline["status"].to_string()),
            }
        });
    }
    assert!(taken > 20, "{taken} examples only");
}

#[test]
fn every_other_example_would_be_stored() {
    let mut taken = 0;
    for (text, path) in examples() {
        if text.split("\n---\n").any(|object| is_pipeline(&object)) {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let namespace = Namespace::new(&format!("example-{stem}"));
        for object in text.split("\n---\n") {
            let own = object.lines().find_map(|line| line.split_once("namespace: ")?.1.split([',', ' ', '}']).next());
            let moved = own.map_or_else(
                || object.to_owned(),
                |own| object.replace(&format!("namespace: {own}"), &format!("namespace: {}", namespace.0)),
            );
            let said = accepted(&moved);
            assert!(said.contains("(server dry run)"), "{}: {said}", path.display());
            taken += 1;
        }
    }
    assert!(taken > 20, "{taken} objects only");
}
