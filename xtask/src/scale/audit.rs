//! What the API server wrote down of each write.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::Cluster;

/// Reads are left out; pipelines are written down whole, so that a status says which generation it describes.
pub(super) const POLICY: &str = r"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
omitManagedFields: true
rules:
  - { level: None, verbs: [get, list, watch] }
  - { level: RequestResponse, resources: [{ group: veneur.dev }] }
  - { level: Metadata }
";

/// Begins every request of the operator.
const AGENT: &str = "veneur-operator/";

/// The audit log of a cluster.
pub(super) struct Audit(PathBuf);

impl Audit {
    pub(super) fn of(cluster: &Cluster) -> Self {
        Self(cluster.audit_log())
    }

    /// The end of the log as it is now.
    pub(super) fn mark(&self) -> Result<u64> {
        Ok(fs::metadata(&self.0).with_context(|| format!("no audit log {}", self.0.display()))?.len())
    }

    /// The operator's writes since `mark`. Its Lease, which it renews for as long as it leads, is not of any pipeline.
    pub(super) fn writes_since(&self, mark: u64) -> Result<Vec<String>> {
        let entries = self.since(mark)?;
        let writes = entries.iter().filter(|entry| is_operators(entry) && entry["objectRef"]["resource"] != "leases");
        Ok(writes.map(|entry| format!("{} {}", word(&entry["verb"]), word(&entry["requestURI"]))).collect())
    }

    /// For each change of a pipeline's spec since `mark`: milliseconds until a status describes its generation.
    pub(super) fn latencies_since(&self, mark: u64) -> Result<Vec<f64>> {
        let mut open: HashMap<(String, i64), f64> = HashMap::new();
        let mut latencies = Vec::new();
        for entry in self.since(mark)? {
            let reference = &entry["objectRef"];
            if reference["resource"] != "veneurpipelines" || entry["responseStatus"]["code"] != 200 {
                continue;
            }
            let pipeline = format!("{}/{}", word(&reference["namespace"]), word(&reference["name"]));
            let at = milliseconds(word(&entry["stageTimestamp"])).context("an entry without a time")?;
            let answer = &entry["responseObject"];
            if reference["subresource"] == "status" {
                let described = answer["status"]["observedGeneration"].as_i64().unwrap_or_default();
                if let Some(written) = open.remove(&(pipeline, described)) {
                    latencies.push(at - written);
                }
            } else if !is_operators(&entry) {
                open.insert((pipeline, answer["metadata"]["generation"].as_i64().unwrap_or_default()), at);
            }
        }
        Ok(latencies)
    }

    fn since(&self, mark: u64) -> Result<Vec<Value>> {
        let mut file = File::open(&self.0)?;
        file.seek(SeekFrom::Start(mark))?;
        let lines = BufReader::new(file).lines();
        lines.map(|line| serde_json::from_str(&line?).context("an entry of the audit log is no JSON")).collect()
    }
}

fn is_operators(entry: &Value) -> bool {
    entry["userAgent"].as_str().is_some_and(|agent| agent.starts_with(AGENT))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Within a day: `2026-11-26T10:00:00.123456Z`. No change takes that long.
fn milliseconds(time: &str) -> Option<f64> {
    let (_, clock) = time.trim_end_matches('Z').split_once('T')?;
    let mut parts = clock.split(':').map(str::parse::<f64>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    Some(((hours * 60.0 + minutes) * 60.0 + seconds) * 1_000.0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_change_is_timed_to_the_status_that_describes_it() {
        let line = |agent: &str, time: &str, sub: &str, generation: i64, observed: i64| {
            serde_json::json!({
                "verb": "patch", "userAgent": agent, "requestURI": "/apis/veneur.dev", "stageTimestamp": time,
                "objectRef": {"resource": "veneurpipelines", "subresource": sub, "namespace": "n", "name": "p"},
                "responseStatus": {"code": 200},
                "responseObject": {"metadata": {"generation": generation}, "status": {"observedGeneration": observed}},
            })
            .to_string()
        };
        let mut log = tempfile::NamedTempFile::new().unwrap();
        for entry in [
            line("kubectl/v1", "2026-11-26T10:00:00.000000Z", "", 2, 1),
            line("veneur-operator/0.1", "2026-11-26T10:00:00.100000Z", "status", 2, 1),
            line("veneur-operator/0.1", "2026-11-26T10:00:00.250500Z", "status", 2, 2),
        ] {
            writeln!(log, "{entry}").unwrap();
        }
        let audit = Audit(log.path().to_owned());
        assert_eq!(audit.latencies_since(0).unwrap(), [250.5]);
        assert_eq!(audit.writes_since(0).unwrap().len(), 2);
    }
}
