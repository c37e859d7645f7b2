//! `POST /import`: what instances up to 14.2.0 forward, and newer ones that are told to.
//!
//! | status | meaning |
//! |---|---|
//! | 202 | the entries are on the ledger: merged, held, or refused with a reason, which the answer counts |
//! | 400 | not zlib, not a JSON array, or no entry in it: nothing was taken |
//! | 408 | the body did not come in time |
//! | 413 | the body is larger than is taken, as it came or inflated |
//! | 415 | a `Content-Encoding` other than `deflate` |
//! | 503 | too many bodies wait; or this instance stops, or knows nobody to give it to: nothing more was taken |
//!
//! The original answers before it merges, and so its senders take for done what can still be lost.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use flate2::{Decompress, DecompressError, FlushDecompress, Status};
use http::{
    Request, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::sync::Semaphore;
use veneur_forward::{Account, Facts, import::Importer};
use veneur_wire::legacy::{self, BadBody};

use super::text;

/// Largest body as it comes; the original's sends a whole flush in one.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// Bytes of bodies that are read at once; beyond, senders wait.
const BODIES_AT_ONCE: usize = 4 * LARGEST_BODY;

/// Largest body once inflated.
const LARGEST_INFLATED: usize = 128 * 1024 * 1024;

/// Longest time that a body may wait for room, and then take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Imports at once; beyond, they are turned away, so that there are connections left for who asks for health.
pub(super) const AT_ONCE: usize = 3_840;

/// Bytes that a body which inflates further is given more, at least.
const LEAST_ROOM: usize = 4 * 1024;

/// Metrics handed over at once.
const CHUNK: usize = 256;

/// Who takes imports, and how much at once.
pub(crate) struct Import {
    importer: Arc<dyn Importer>,
    /// The importer's ledger, for entries that cannot even be handed over.
    account: Arc<Account>,
    largest_inflated: usize,
    at_once: Semaphore,
    /// Bytes of bodies that may still be read.
    room: Semaphore,
    /// Bodies are inflated, and read, two at a time.
    turn: Semaphore,
}

impl Import {
    pub(crate) fn new(importer: Arc<dyn Importer>, account: Arc<Account>) -> Self {
        Self {
            importer,
            account,
            largest_inflated: LARGEST_INFLATED,
            at_once: Semaphore::new(AT_ONCE),
            room: Semaphore::new(BODIES_AT_ONCE),
            turn: Semaphore::new(2),
        }
    }

    /// With another bound than that of tiers made for imports.
    pub(crate) fn at_most(self, largest_inflated: usize) -> Self {
        Self { largest_inflated: largest_inflated.min(LARGEST_INFLATED), ..self }
    }

    /// Takes the body of a request.
    pub(super) async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.try_take(request).await {
            Ok(taken) => text(StatusCode::ACCEPTED, taken.to_string()),
            Err(problem) => {
                tracing::debug!(%problem, "Import over HTTP failed");
                text(problem.status(), format!("{problem}\n"))
            }
        }
    }

    async fn try_take(&self, request: Request<Incoming>) -> Result<Taken, Problem> {
        let zlib = match request.headers().get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
            None | Some(b"") => false,
            Some(b"deflate") => true,
            Some(other) => return Err(Problem::Encoding(String::from_utf8_lossy(other).into_owned())),
        };
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: usize = announced.unwrap_or(LARGEST_BODY);
        if length > LARGEST_BODY {
            return Err(Problem::TooLarge(LARGEST_BODY));
        }
        let length = u32::try_from(length).expect("16 MiB at most");
        let _place = self.at_once.try_acquire().map_err(|_| Problem::Busy)?;
        let room = tokio::time::timeout(BODY_TIMEOUT, self.room.acquire_many(length)).await;
        let _room = room.map_err(|_| Problem::Busy)?.expect("never closed");
        let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), LARGEST_BODY).collect());
        let body = body.await.map_err(|_| Problem::Slow)?.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Problem::TooLarge(LARGEST_BODY)
            } else {
                Problem::BrokeOff(error.to_string())
            }
        })?;
        let _turn = self.turn.acquire().await.expect("never closed");
        let (importer, account) = (Arc::clone(&self.importer), Arc::clone(&self.account));
        let (largest, body) = (self.largest_inflated, body.to_bytes());
        // Long for a task: the runtime's threads serve the others meanwhile.
        let taken = tokio::task::spawn_blocking(move || take(&*importer, &account, &body, zlib, largest)).await;
        taken.map_err(|panicked| Problem::Defect(panicked.to_string()))?
    }
}

/// Hands the entries of a body to an importer.
fn take(importer: &dyn Importer, account: &Account, body: &[u8], zlib: bool, largest: usize) -> Result<Taken, Problem> {
    let inflated;
    let body = if zlib {
        inflated = inflate(body, largest)?;
        &inflated
    } else {
        body
    };
    let (mut taken, mut chunk, mut open) = (Taken::default(), Chunk::default(), true);
    legacy::read(body, |entry| {
        if !open {
            return;
        }
        taken.entries += 1;
        match entry {
            Ok(message) => chunk.push(message),
            Err(refused) => *taken.refused.entry(refused.reason()).or_default() += 1,
        }
        if chunk.ends.len() == CHUNK {
            open = chunk.hand_over(importer);
        }
    })?;
    open = open && chunk.hand_over(importer);
    account.record(|ledger| {
        ledger.imported += taken.refused.values().sum::<u64>();
        taken.refused.iter().for_each(|(reason, count)| ledger.drop_new(reason, *count));
    });
    if open { Ok(taken) } else { Err(Problem::Stopping) }
}

/// Metrics that are handed over together: their bytes, one behind the other, and where each ends.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Chunk {
    fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
    }

    /// False when the importer takes nothing more.
    fn hand_over(&mut self, importer: &dyn Importer) -> bool {
        let starts = std::iter::once(&0).chain(&self.ends);
        let mut messages = starts.zip(&self.ends).map(|(start, end)| &self.bytes[*start..*end]);
        let taken = self.ends.is_empty() || importer.import_messages(&Facts::default(), &mut messages).is_ok();
        self.bytes.clear();
        self.ends.clear();
        taken
    }
}

/// Never more than `largest` bytes and one, whatever the body says. In one piece, which zlib writes at once.
fn inflate(body: &[u8], largest: usize) -> Result<Vec<u8>, Problem> {
    let (mut zlib, mut rest) = (Decompress::new(true), body);
    // Texts of numbers and base64 shrink to a sixth or less; what is not used of it is never touched.
    let mut inflated = Vec::with_capacity(body.len().saturating_mul(8).min(largest));
    loop {
        let before = zlib.total_in();
        let status = zlib.decompress_vec(rest, &mut inflated, FlushDecompress::Finish)?;
        rest = &rest[usize::try_from(zlib.total_in() - before).expect("a part of the body")..];
        match status {
            _ if inflated.len() > largest => return Err(Problem::TooLarge(largest)),
            Status::StreamEnd => return Ok(inflated),
            Status::Ok | Status::BufError if inflated.len() < inflated.capacity() => return Err(Problem::CutShort),
            Status::Ok | Status::BufError => {
                let more = inflated.len().max(LEAST_ROOM).min(largest + 1 - inflated.len());
                inflated.reserve_exact(more);
            }
        }
    }
}

/// What became of the entries of a body.
#[derive(Debug, Default)]
struct Taken {
    entries: u64,
    /// Those that could not be read, by reason. What a metric itself contradicts is on the ledger alone.
    refused: BTreeMap<&'static str, u64>,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} entries taken", self.entries - self.refused.values().sum::<u64>(), self.entries)?;
        for (index, (reason, count)) in self.refused.iter().enumerate() {
            write!(f, "{} {reason} {count}", if index == 0 { "; refused:" } else { "," })?;
        }
        f.write_char('\n')
    }
}

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("content encoding {0}: send deflate (zlib), or none")]
    Encoding(String),
    #[error("the body is larger than {0} bytes: send it in parts")]
    TooLarge(usize),
    #[error("the body did not come within {BODY_TIMEOUT:?}")]
    Slow,
    #[error("the body broke off: {0}")]
    BrokeOff(String),
    #[error("the body is not zlib: {0}")]
    Zlib(#[from] DecompressError),
    #[error("the body is not zlib: it ends early")]
    CutShort,
    #[error(transparent)]
    Body(#[from] BadBody),
    #[error("too many imports wait: send it later, or to another instance")]
    Busy,
    #[error("nothing is taken here at present: send it to another instance, or again")]
    Stopping,
    #[error("a defect: {0}")]
    Defect(String),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::BrokeOff(_) | Self::Zlib(_) | Self::CutShort | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Defect(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
