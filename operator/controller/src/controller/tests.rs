use std::{fs, io, path::Path};

use kube::runtime::{controller, reflector::ObjectRef};
use serde_json::Value;

use super::is_news;
use crate::{kind::Kind, reconcile::Watched};

#[test]
fn a_deleted_pipeline_is_no_news() {
    type Error = controller::Error<io::Error, io::Error>;
    let gone = ObjectRef::<Watched>::new("default").within("metrics").erase();
    let gone = Box::new(gone);
    assert!(!is_news(&Error::ObjectNotFound(gone.clone())));
    assert!(!is_news(&Error::ReconcilerFailed(io::Error::other("reported already"), gone)));
    assert!(is_news(&Error::QueueError(io::Error::other("watch failed"))));
}

#[test]
fn the_chart_grants_what_watches_and_applying_ask() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/install.yaml");
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(&fs::read_to_string(path).expect("the manifest")).expect("YAML");
    let ours = |object: &&Value| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "veneur-operator";
    let role = objects.iter().find(ours).expect("a cluster role");
    let has = |rule: &Value, key: &str, wanted: &str| {
        rule[key].as_array().into_iter().flatten().any(|word| word.as_str() == Some(wanted))
    };
    for kind in Kind::ALL {
        let writing = ["create", "patch", "delete"].into_iter().filter(|_| kind.is_owned());
        for verb in ["get", "list", "watch"].into_iter().chain(writing) {
            let granted = role["rules"].as_array().expect("rules").iter().any(|rule| {
                has(rule, "apiGroups", kind.group())
                    && has(rule, "resources", kind.plural())
                    && has(rule, "verbs", verb)
                    && rule["resourceNames"].is_null()
            });
            assert!(granted, "{verb} {}", kind.plural());
        }
    }
}
