//! `cargo xtask up --context NAME --image REF`: the operator on a cluster of the user's own.
//!
//! No cluster is started, nothing of this project is compiled, and no root is needed. Values that the release has stay as
//! they are, but for the images. Not here: pushing the images, and pipelines, which are the user's to name.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::install;
use crate::cluster::progress::Progress;
use crate::cluster::{Parts, packages, process};

/// Images come from a registry first.
const LIMIT: Duration = Duration::from_mins(5);
/// The longest tag that a registry takes.
const LONGEST_TAG: usize = 128;

/// Two images that were pushed: the data plane's is `REPOSITORY:TAG`, the operator's `REPOSITORY-operator:TAG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    repository: String,
    tag: String,
}

/// A cluster of the user's own, and what is to run there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Own {
    /// Its name in the user's kubeconfig.
    context: String,
    image: Reference,
}

impl Reference {
    /// Accepts `REPOSITORY:TAG`, with or without a registry.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        ensure!(
            !text.contains('@'),
            "image {text:?} has a digest, and one digest cannot name two images: leave it out"
        );
        // After the last slash: before it, a colon begins a registry's port.
        let (repository, tag) = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).with_context(|| {
            format!("image {text:?} has no tag: use REPOSITORY:TAG, such as registry.example/veneur:0.1.0")
        })?;
        let parts: Vec<&str> = repository.split('/').collect();
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let is_part = |(index, part): (usize, &&str)| {
            let port = index == 0 && parts.len() > 1;
            !part.is_empty() && part.bytes().all(|byte| known(byte) || port && byte == b':')
        };
        ensure!(
            parts.iter().enumerate().all(is_part),
            "image {text:?} has no valid repository: use a-z, 0-9, dots, hyphens and underscores between slashes"
        );
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        ensure!(
            (1..=LONGEST_TAG).contains(&tag.len()) && tag.bytes().all(word) && !tag.starts_with(['.', '-']),
            "image {text:?} has no valid tag: use 1 to {LONGEST_TAG} letters, digits, dots, hyphens and underscores"
        );
        Ok(Self { repository: repository.to_owned(), tag: tag.to_owned() })
    }

    fn operator(&self) -> String {
        format!("{}-operator", self.repository)
    }
}

impl Own {
    /// What both flags ask for together; `None` where neither is given.
    pub(crate) fn asked(context: Option<String>, image: Option<Reference>) -> Result<Option<Self>> {
        match (context, image) {
            (None, None) => Ok(None),
            (Some(context), Some(image)) => Ok(Some(Self { context, image })),
            (Some(_), None) => bail!("--context needs --image REPOSITORY:TAG, an image that your cluster can pull"),
            (None, Some(_)) => bail!("--image needs --context NAME, a context of your kubeconfig"),
        }
    }

    /// Installs or upgrades the operator, waits until it serves, and says what comes next.
    pub(crate) fn up(&self, progress: &Progress) -> Result<()> {
        let parts = Parts::in_cache()?;
        // The user's own fits the cluster's version, and finds the plugins that its credentials may need.
        let kubectl = packages::find("kubectl").map_or_else(|| parts.built("kubectl", progress), Ok)?;
        self.is_among(&process::output(Command::new(&kubectl).args(["config", "get-contexts", "--output=name"]))?)?;
        let helm = parts.built("helm", progress)?;
        progress.step(&format!("helm upgrade --install the operator in {}", self.context), |step| {
            self.install(&helm)?;
            let on =
                |args: &[&str]| process::output(Command::new(&kubectl).args(["--context", &self.context]).args(args));
            install::operator_serves(&on, LIMIT, step)
        })?;
        print!("{}", self.next(&helm));
        Ok(())
    }

    /// Refuses a context that is none of these, one a line.
    fn is_among(&self, contexts: &str) -> Result<()> {
        let contexts: Vec<&str> = contexts.lines().collect();
        let there = if contexts.is_empty() { "none".to_owned() } else { contexts.join(", ") };
        ensure!(
            contexts.contains(&&*self.context),
            "no context {:?} in your kubeconfig, which has {there}",
            self.context
        );
        Ok(())
    }

    fn install(&self, helm: &Path) -> Result<()> {
        let output = Command::new(helm).args(self.arguments()?).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot run {}", helm.display()))?;
        let said = failure(&String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "helm cannot install the chart in context {}: {said}", self.context);
        Ok(())
    }

    /// What helm is asked.
    fn arguments(&self) -> Result<Vec<String>> {
        let Reference { repository, tag } = &self.image;
        let images = install::values([(&self.image.operator(), tag), (repository, tag)]);
        // A digest of the release before would win over the tag.
        let mut arguments = install::upgrade(&format!("{images},image.digest="))?;
        arguments.extend(["--kube-context", &self.context, "--reset-then-reuse-values"].map(str::to_owned));
        Ok(arguments)
    }

    fn next(&self, helm: &Path) -> String {
        let Self { context, image: Reference { repository, tag } } = self;
        let operator = self.image.operator();
        let kubectl = format!("kubectl --context {context}");
        format!(
            "\nthe operator of {operator}:{tag} serves, for a data plane of {repository}:{tag}\n\
             \nnext:  {kubectl} apply --filename manifests/examples/quickstart.yaml\
             \n       {kubectl} get veneurpipelines --all-namespaces\
             \n       annotate pods of your own: veneur.dev/inject: metrics/default\
             \n       {kubectl} logs --namespace metrics --selector veneur.dev/role=global --follow\
             \n       {} uninstall {} --namespace {} --kube-context {context}\n",
            helm.display(),
            install::RELEASE,
            install::SYSTEM
        )
    }
}

/// What helm complains about, in one line, without the warnings before it.
fn failure(stderr: &str) -> String {
    let begin = stderr.find("Error: ").unwrap_or_default();
    stderr[begin..].split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Own {
        let image = Reference::parse("registry.example:5000/team/veneur:0.1.0").unwrap();
        Own::asked(Some("staging".to_owned()), Some(image)).unwrap().unwrap()
    }

    #[test]
    fn a_reference_names_two_images_under_one_tag() {
        for (text, repository, tag) in [
            ("veneur:1", "veneur", "1"),
            ("localhost/veneur:0123456789ab", "localhost/veneur", "0123456789ab"),
            ("registry.example:5000/team/veneur:v0.1.0-rc.1", "registry.example:5000/team/veneur", "v0.1.0-rc.1"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!((&*reference.repository, &*reference.tag), (repository, tag));
            assert_eq!(reference.operator(), format!("{repository}-operator"));
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_in_one_line() {
        let long = format!("veneur:{}", "1".repeat(LONGEST_TAG + 1));
        for (text, expected) in [
            ("", "has no tag"),
            ("registry.example/veneur", "has no tag"),
            ("registry.example:5000/veneur", "has no tag"),
            ("registry.example/veneur:1@sha256:00", "has a digest"),
            (":1", "no valid repository"),
            ("registry.example//veneur:1", "no valid repository"),
            ("registry.example/Veneur:1", "no valid repository"),
            // Helm would read these as further values.
            ("registry.example/a,b=c:1", "no valid repository"),
            ("registry.example/veneur:1,b=c", "no valid tag"),
            ("registry.example/veneur:", "no valid tag"),
            (&long, "no valid tag"),
        ] {
            let refused = Reference::parse(text).unwrap_err().to_string();
            assert!(refused.contains(expected) && !refused.contains('\n'), "{text:?}: {refused}");
        }
    }

    #[test]
    fn one_flag_without_the_other_is_refused() {
        assert_eq!(Own::asked(None, None).unwrap(), None);
        let context = Own::asked(Some("staging".to_owned()), None).unwrap_err().to_string();
        assert!(context.contains("--context needs --image"), "{context}");
        let image = Own::asked(None, Reference::parse("veneur:1").ok()).unwrap_err().to_string();
        assert!(image.contains("--image needs --context"), "{image}");
    }

    #[test]
    fn a_context_that_is_not_there_is_refused_beside_those_that_are() {
        own().is_among("production\nstaging\n").unwrap();
        let refused = |contexts: &str| own().is_among(contexts).unwrap_err().to_string();
        assert_eq!(refused("a\nstaging-2\n"), "no context \"staging\" in your kubeconfig, which has a, staging-2");
        assert_eq!(refused(""), "no context \"staging\" in your kubeconfig, which has none");
    }

    #[test]
    fn helm_is_asked_for_both_images_in_that_context_and_keeps_other_values() {
        let arguments = own().arguments().unwrap();
        let followed_by = |flag: &str, value: &str| arguments.windows(2).any(|pair| pair == [flag, value]);
        assert!(followed_by("--kube-context", "staging") && followed_by("--namespace", "veneur-system"));
        let images = "image.repository=registry.example:5000/team/veneur-operator,image.tag=0.1.0,\
                      dataplane.image.repository=registry.example:5000/team/veneur,dataplane.image.tag=0.1.0,\
                      image.digest=";
        assert!(followed_by("--set-string", images), "{arguments:?}");
        assert!(arguments.contains(&"--reset-then-reuse-values".to_owned()));
        assert!(Path::new(&arguments[3]).join("Chart.yaml").exists(), "{arguments:?}");
        assert!(own().next(Path::new("helm")).contains("kubectl --context staging apply"));
    }

    #[test]
    fn helm_is_quoted_in_one_line() {
        let stderr = "WARNING: old\nError: values don't meet the schema:\nveneur-operator:\n- operator: no\n";
        assert_eq!(failure(stderr), "Error: values don't meet the schema: veneur-operator: - operator: no");
        assert_eq!(failure("killed\n"), "killed");
    }
}
