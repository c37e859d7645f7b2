//! Why an object is not as it should be, and who said no.

use veneur_operator_api::ReconciledReason;

use super::object::Object;
use crate::certificates::tier::NoCertificate;

/// Why the objects are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name exists, and another pipeline's or no pipeline's. Nothing was written.
    #[error("{kind} {name} exists and is not this pipeline's: rename the pipeline or remove it")]
    NameTaken {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server did not answer what it has, or did not take an object.
    #[error("cannot {verb} {kind} {namespace}/{name}")]
    Refused {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The tiers have no certificate, and would not start without.
    #[error(transparent)]
    Certificate(#[from] NoCertificate),
}

impl ApplyError {
    /// Reason in a condition.
    pub fn reason(&self) -> ReconciledReason {
        let source = match self {
            Self::NameTaken { .. } | Self::Certificate(NoCertificate::Taken { .. }) => {
                return ReconciledReason::NameTaken;
            }
            Self::Certificate(NoCertificate::NotInstalled) => return ReconciledReason::PermissionMissing,
            Self::Certificate(NoCertificate::Signing(_)) => return ReconciledReason::ApplyFailed,
            Self::Refused { source, .. } | Self::Certificate(NoCertificate::Refused { source, .. }) => source,
        };
        match source.as_ref() {
            kube::Error::Api(status) if status.code == 403 && status.message.contains("exceeded quota") => {
                ReconciledReason::QuotaExceeded
            }
            kube::Error::Api(status) if status.code == 403 && lacks_permission(&status.message) => {
                ReconciledReason::PermissionMissing
            }
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => ReconciledReason::AdmissionDenied,
            _ => ReconciledReason::ApplyFailed,
        }
    }

    /// Message in a condition: the object and the API server's own words, and what to grant where something is missing.
    pub fn message(&self) -> String {
        let (Self::Refused { source, .. } | Self::Certificate(NoCertificate::Refused { source, .. })) = self else {
            return self.to_string();
        };
        let said = words(source);
        match Permission::missing_in(&said) {
            Some(permission) => format!("{self}: {permission}"),
            None => format!("{self}: {said}"),
        }
    }

    pub(super) fn refused(verb: &'static str, object: &Object, source: kube::Error) -> Self {
        Self::Refused {
            verb,
            kind: object.kind.as_str().to_owned(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            source: Box::new(source),
        }
    }
}

/// A permission that the operator lacks. Prints what to grant to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    user: String,
    verb: String,
    resource: String,
    group: String,
    place: String,
}

impl Permission {
    /// What RBAC's own refusal says:
    /// `User "U" cannot VERB resource "R" in API group "G" in the namespace "N"`, or `… at the cluster scope`.
    pub fn missing_in(message: &str) -> Option<Self> {
        let (user, rest) = message.split_once("User \"")?.1.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, rest) = rest.split_once('"')?;
        let place = match rest.split_once(" in the namespace \"").and_then(|(_, rest)| rest.split_once('"')) {
            Some((namespace, _)) => format!("in namespace {namespace}"),
            None => "in all namespaces".to_owned(),
        };
        let owned = str::to_owned;
        Some(Self { user: owned(user), verb: owned(verb), resource: owned(resource), group: owned(group), place })
    }
}

impl std::fmt::Display for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { user, verb, resource, group, place } = self;
        let user = user.strip_prefix("system:serviceaccount:").map_or_else(
            || format!("user {user}"),
            |account| format!("service account {}", account.replacen(':', "/", 1)),
        );
        write!(
            f,
            "{user} may not {verb} {resource} {place}: install the chart's roles of this version, or grant \
             apiGroups: [{group:?}], resources: [{resource:?}], verbs: [{verb:?}]"
        )
    }
}

/// Admission answers 403 too; only the wording tells which of both said no. RBAC's own, its rule against granting more
/// than one holds, and the rule on owner references that block deletion.
fn lacks_permission(message: &str) -> bool {
    Permission::missing_in(message).is_some()
        || message.contains("attempting to grant RBAC permissions not currently held")
        || message.contains("cannot set blockOwnerDeletion")
}

/// The API server's own words; kube's `Display` would add the whole answer in debug form.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
