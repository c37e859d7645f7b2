//! Which authority signs, which is about to, and which did: how one takes over from another without a moment in which
//! a client does not trust what a server shows.
//!
//! Law: whatever signs is in every client's bundle already; not in that of a sidecar whose pod is older, since it reads none
//! while it runs (`docs/certificates.md`). The steps are: make the next one; publish a bundle with both;
//! note when every client is given it; once all have had time to read it, let the next one sign; once no leaf of the old
//! one is left, forget it. Each step is one write, and the next is told from what is written alone, so a crash between two
//! of them costs nothing but its time.
//!
//! Pure but for the random numbers of keys. Not here: where it is written ([`crate::certificates::authority`]).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::{ByteString, jiff::Timestamp};

use crate::certificates::certificate::{Authority, Certificate, CertificateError};

/// How long things last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Life of an authority. The next one is made when a third of it is left.
    pub authority: Duration,
    /// Life of a leaf. It is signed anew when half of it is over.
    pub leaf: Duration,
    /// How long a bundle is published before clients are taken to have read it.
    pub settle: Duration,
}

impl Lifetimes {
    /// Those asked for, as far as they fit each other: leaves end well before their authority has a second successor, and
    /// bundles are read well before it ends.
    pub fn within(authority: Duration, leaf: Duration, settle: Duration) -> Self {
        Self { authority, leaf: leaf.min(authority / 2), settle: settle.min(authority / 12) }
    }
}

/// The authorities of one purpose.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// Signs.
    pub current: Arc<Authority>,
    /// Will sign once its certificate is published.
    pub next: Option<Next>,
    /// Signed before; leaves of it may still be in use.
    pub previous: Option<Previous>,
}

/// An authority that does not sign yet.
#[derive(Debug, Clone)]
pub struct Next {
    /// The authority.
    pub authority: Arc<Authority>,
    /// Since when every client is given its certificate; none where some are not.
    pub announced: Option<SystemTime>,
}

/// An authority that signs no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Its certificate.
    pub certificate: Certificate,
    /// From then on it is not published.
    pub until: SystemTime,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All are over, and nobody trusts any of them: begin anew.
    Restart,
    /// Make the next one.
    Prepare,
    /// Note that from now on every client is given the next one's certificate.
    Announce,
    /// Note that some are not any more.
    Withdraw,
    /// Let the next one sign.
    Promote,
    /// Stop publishing the previous one.
    Forget,
}

/// When things end; all that a step depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The current authority.
    pub current: SystemTime,
    /// The next one.
    pub next: Option<SystemTime>,
    /// Since when every client is given the next one.
    pub announced: Option<SystemTime>,
    /// The previous one's time in the bundle.
    pub previous: Option<SystemTime>,
}

/// The step that is due. `everywhere`: whether every client is given the next one's certificate; none where that is not
/// known.
pub fn step(ends: Ends, everywhere: Option<bool>, now: SystemTime, lifetimes: &Lifetimes) -> Option<Step> {
    let over = |end: SystemTime| end <= now;
    let left = ends.current.duration_since(now).unwrap_or(Duration::ZERO);
    let forgettable = ends.previous.is_some_and(over);
    // Where the current one is nearly over, as after an outage or where lifetimes grew, clients get half of what it has.
    let settle = |since: SystemTime| {
        let had = ends.current.duration_since(since).unwrap_or(Duration::ZERO);
        lifetimes.settle.min(had / 2)
    };
    match ends.next {
        Some(next) if over(next) => Some(Step::Restart),
        // Nobody trusts the current one any more: there is nothing to wait for.
        Some(_) if left.is_zero() => Some(Step::Promote),
        None if left.is_zero() => Some(Step::Restart),
        Some(_) if ends.announced.is_none() && everywhere == Some(true) => Some(Step::Announce),
        Some(_) if ends.announced.is_some() && everywhere == Some(false) => Some(Step::Withdraw),
        _ if forgettable => Some(Step::Forget),
        // Two predecessors are never published: the older one's leaves have to be gone.
        Some(_) if ends.previous.is_none() && ends.announced.is_some_and(|since| over(since + settle(since))) => {
            Some(Step::Promote)
        }
        // The second where the lifetime asked for became shorter.
        None if left < lifetimes.authority / 3 || left > lifetimes.authority => Some(Step::Prepare),
        _ => None,
    }
}

/// How often to look whether a step is due, while the current authority has `left`: several times before it is over.
pub fn pace(lifetimes: &Lifetimes, left: Duration) -> Duration {
    let soonest = lifetimes.settle.min(left.max(Duration::from_secs(2)));
    (soonest / 4).clamp(Duration::from_millis(100), Duration::from_mins(1))
}

impl Keyring {
    /// A first authority.
    pub fn found(subject: &'static str, now: SystemTime, lifetimes: &Lifetimes) -> Result<Self, CertificateError> {
        let current = Arc::new(Authority::generate(subject, now, lifetimes.authority)?);
        Ok(Self { current, next: None, previous: None })
    }

    /// What clients are to trust, as PEM.
    pub fn bundle(&self) -> String {
        let next = self.next.iter().map(|next| next.authority.certificate());
        let previous = self.previous.iter().map(|previous| &previous.certificate);
        std::iter::once(self.current.certificate()).chain(next).chain(previous).map(|one| one.pem.as_str()).collect()
    }

    /// When its parts end.
    pub fn ends(&self) -> Ends {
        Ends {
            current: self.current.certificate().expires,
            next: self.next.as_ref().map(|next| next.authority.certificate().expires),
            announced: self.next.as_ref().and_then(|next| next.announced),
            previous: self.previous.as_ref().map(|previous| previous.until),
        }
    }

    /// The keyring after a step.
    pub fn after(
        &self,
        step: Step,
        subject: &'static str,
        now: SystemTime,
        lifetimes: &Lifetimes,
    ) -> Result<Self, CertificateError> {
        let mut after = self.clone();
        match step {
            Step::Restart => after = Self::found(subject, now, lifetimes)?,
            Step::Prepare => {
                let authority = Arc::new(Authority::generate(subject, now, lifetimes.authority)?);
                after.next = Some(Next { authority, announced: None });
            }
            Step::Announce => after.next.iter_mut().for_each(|next| next.announced = Some(now)),
            Step::Withdraw => after.next.iter_mut().for_each(|next| next.announced = None),
            Step::Promote => {
                if let Some(next) = after.next.take() {
                    let old = std::mem::replace(&mut after.current, next.authority).certificate().clone();
                    // Replicas that learn of it late show an old leaf for at most its life.
                    let until = old.expires.min(now + lifetimes.leaf + lifetimes.settle);
                    after.previous = Some(Previous { certificate: old, until });
                }
            }
            Step::Forget => after.previous = None,
        }
        Ok(after)
    }

    /// As the entries of a Secret.
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: String| data.insert(key.to_owned(), ByteString(text.into_bytes()));
        put("ca.crt", self.current.certificate().pem.clone());
        put("ca.key", self.current.key_pem());
        if let Some(next) = &self.next {
            put("next.crt", next.authority.certificate().pem.clone());
            put("next.key", next.authority.key_pem());
            if let Some(announced) = next.announced {
                put("next.announced", time_text(announced));
            }
        }
        if let Some(previous) = &self.previous {
            put("previous.crt", previous.certificate.pem.clone());
            put("previous.until", time_text(previous.until));
        }
        data
    }

    /// From the entries of a Secret; what is wrong with them otherwise.
    pub fn from_data(subject: &'static str, data: &BTreeMap<String, ByteString>) -> Result<Self, BadKeyring> {
        let text = |key: &'static str| match data.get(key) {
            Some(bytes) => String::from_utf8(bytes.0.clone()).map(Some).map_err(|_| BadKeyring::NotText(key)),
            None => Ok(None),
        };
        let authority = |certificate: &'static str, key: &'static str| match (text(certificate)?, text(key)?) {
            (Some(pem), Some(key_pem)) => Authority::from_pem(subject, &key_pem, &pem)
                .map(|authority| Some(Arc::new(authority)))
                .map_err(|source| BadKeyring::Unusable(certificate, source)),
            (None, None) => Ok(None),
            (None, _) => Err(BadKeyring::Missing(certificate)),
            (_, None) => Err(BadKeyring::Missing(key)),
        };
        let time = |key: &'static str| {
            text(key).map(|text| text.and_then(|text| text.parse::<Timestamp>().ok()).map(SystemTime::from))
        };
        let current = authority("ca.crt", "ca.key")?.ok_or(BadKeyring::Missing("ca.crt"))?;
        let previous = match text("previous.crt")? {
            Some(pem) => {
                let certificate =
                    Certificate::from_pem(&pem).map_err(|source| BadKeyring::Unusable("previous.crt", source))?;
                let until = time("previous.until")?.unwrap_or(certificate.expires);
                Some(Previous { certificate, until })
            }
            None => None,
        };
        let announced = time("next.announced")?;
        let next = authority("next.crt", "next.key")?.map(|authority| Next { authority, announced });
        Ok(Self { current, next, previous })
    }
}

fn time_text(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX).to_string()
}

/// Why the entries of a Secret are no keyring.
#[derive(Debug, thiserror::Error)]
pub enum BadKeyring {
    /// An entry is not there.
    #[error("it lacks {0}")]
    Missing(&'static str),
    /// An entry is not text.
    #[error("its {0} is no text")]
    NotText(&'static str),
    /// An entry is no certificate or does not fit its key.
    #[error("its {0} cannot be used")]
    Unusable(&'static str, #[source] CertificateError),
}

#[cfg(test)]
mod tests;
