//! A mirror's connection to one upstream: questions and answers. SPEC §6.4.

mod answers;
mod news;
mod patience;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::{ConnectionError, RecvStream};
use tidecast_proto::id::RootVersion;
use tidecast_proto::key::PublicKey;
use tidecast_proto::rate::Millis;
use tidecast_proto::wire::{
    Answer, FrameType, Hello, ObjectName, Poll, Refused, Request, Welcome, WireError,
};

pub use answers::{BundleAnswer, ChunkAnswers, PackedChunk};
pub use news::{News, PushedBundle};
pub(super) use patience::WAITS_MAX;

use super::link_error::LinkError;
use super::stream::{StreamError, read_frame_if, write_frame};
use super::tls::peer_key;
use crate::packing::Opening;
use patience::Waiting;

/// The handshake must be through by then, so that "does not answer" is said within 5 s.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(4_500);

/// A small question must be answered by then.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to an upstream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    connection: quinn::Connection,
    upstream: PublicKey,
    /// Bytes of answers received, for the useful-rate rule.
    answered: Arc<AtomicU64>,
    /// Until when, on this link's clock, the upstream asked for patience.
    resting_until_ms: Arc<AtomicU64>,
    /// Readers that wait for the upstream right now.
    waiting: Arc<AtomicUsize>,
    /// Times the upstream has asked for patience since [`Self::be_patient_anew`].
    waits: Arc<AtomicUsize>,
    /// News since the window began, and when that was.
    news: Arc<Mutex<(u32, tokio::time::Instant)>>,
    started: tokio::time::Instant,
}

impl Link {
    /// Dials. The peer has proved to hold its key; whose key it is, the caller checks against the root.
    ///
    /// # Errors
    /// [`LinkError::NoAnswer`] or [`LinkError::Connect`].
    pub async fn connect(
        endpoint: &quinn::Endpoint,
        address: SocketAddr,
    ) -> Result<Self, LinkError> {
        // The name is never checked: keys are.
        let connecting = endpoint
            .connect(address, "tidecast")
            .map_err(|error| LinkError::Connect(error.to_string()))?;
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| LinkError::NoAnswer)?
            .map_err(|error| match error {
                ConnectionError::TimedOut => LinkError::NoAnswer,
                other => LinkError::Connect(other.to_string()),
            })?;
        let upstream = peer_key(&connection)
            .ok_or_else(|| LinkError::Protocol("it showed no usable key".into()))?;
        Ok(Self {
            connection,
            upstream,
            answered: Arc::default(),
            resting_until_ms: Arc::default(),
            waiting: Arc::default(),
            waits: Arc::default(),
            news: Arc::new(Mutex::new((0, tokio::time::Instant::now()))),
            started: tokio::time::Instant::now(),
        })
    }

    /// The upstream's key.
    #[must_use]
    pub fn upstream(&self) -> PublicKey {
        self.upstream
    }

    /// The connection underneath.
    #[must_use]
    pub fn connection(&self) -> &quinn::Connection {
        &self.connection
    }

    /// UDP payload received and sent so far, in bytes.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        let stats = self.connection.stats();
        (stats.udp_rx.bytes, stats.udp_tx.bytes)
    }

    /// Says Hello.
    ///
    /// # Errors
    /// [`LinkError::Refused`], also while we wait to be admitted; otherwise as any question.
    pub async fn greet(&self, hello: &Hello) -> Result<Welcome, LinkError> {
        let frame = hello
            .to_frame()
            .map_err(|error| LinkError::Protocol(error.to_string()))?;
        let (kind, body) = in_time("Hello", async {
            let mut answer = self.ask_frame(&frame).await?;
            self.frame(&mut answer).await
        })
        .await?;
        match kind {
            FrameType::WELCOME => Ok(Welcome::decode(&body)?),
            FrameType::REFUSED => Err(LinkError::Refused(Refused::decode(&body)?)),
            got => Err(unexpected(got, "WELCOME or REFUSED")),
        }
    }

    /// Asks for a root; `None` when the upstream has none of that number.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn root(&self, version: RootVersion) -> Result<Option<Vec<u8>>, LinkError> {
        match self.small("root", Request::Root(version)).await? {
            Answer::Root(bytes) => Ok(Some(bytes)),
            Answer::Absent => Ok(None),
            _ => Err(LinkError::Protocol("not an answer to FETCH_ROOT".into())),
        }
    }

    /// Asks for news; `None` when there are none.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn poll(&self, poll: Poll) -> Result<Option<Vec<u8>>, LinkError> {
        match self.small("poll", Request::Poll(poll)).await? {
            Answer::Announce(head) => Ok(Some(head)),
            Answer::Unchanged => Ok(None),
            _ => Err(LinkError::Protocol("not an answer to POLL".into())),
        }
    }

    /// Fetches a manifest or list, opened. What it is worth, the caller finds out.
    ///
    /// # Errors
    /// [`LinkError::Absent`] when the upstream says it has none; otherwise as any question.
    pub async fn object(&self, name: ObjectName) -> Result<Vec<u8>, LinkError> {
        self.at_a_useful_rate(self.object_unwatched(name)).await
    }

    async fn object_unwatched(&self, name: ObjectName) -> Result<Vec<u8>, LinkError> {
        let mut answer = self.ask(&Request::Object(name)).await?;
        let header = match self.answer(&mut answer).await? {
            Answer::Object(header) => header,
            Answer::Absent => {
                return Err(LinkError::Absent {
                    what: describe(name),
                });
            }
            _ => return Err(LinkError::Protocol("not an answer to FETCH_OBJECT".into())),
        };
        header.check(name.bytes_max())?;
        // In bounds: `check` held both lengths to a few MiB.
        let packed_bytes = usize::try_from(header.packed_bytes).unwrap_or(0);
        let opened_bytes = usize::try_from(header.opened_bytes).unwrap_or(0);
        let corrupt = |_| LinkError::Corrupt {
            what: describe(name),
        };
        let mut opening = Opening::new(header.encoding, opened_bytes).map_err(corrupt)?;
        let mut left_bytes = packed_bytes;
        while left_bytes > 0 {
            match self.answer(&mut answer).await? {
                Answer::Part(part) if !part.is_empty() && part.len() <= left_bytes => {
                    left_bytes -= part.len();
                    opening.push(&part).map_err(corrupt)?;
                }
                _ => return Err(LinkError::Protocol("not a PART of the object".into())),
            }
        }
        opening.finish().map_err(corrupt)
    }

    /// Sends a frame that has no answer, on a stream of its own.
    ///
    /// # Errors
    /// [`LinkError::Lost`]; [`LinkError::Timeout`] when the upstream lets nothing through.
    pub async fn tell(&self, frame: &[u8]) -> Result<(), LinkError> {
        in_time("what was told", async {
            let mut stream = self.connection.open_uni().await?;
            write_frame(&mut stream, frame).await?;
            // Fails only for a stream already finished or reset by us.
            let _ = stream.finish();
            Ok(())
        })
        .await
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn small(&self, what: &'static str, request: Request) -> Result<Answer, LinkError> {
        in_time(what, async {
            let mut answer = self.ask(&request).await?;
            self.answer(&mut answer).await
        })
        .await
    }

    async fn ask(&self, request: &Request) -> Result<RecvStream, LinkError> {
        self.ask_frame(&request.to_frame()).await
    }

    async fn ask_frame(&self, frame: &[u8]) -> Result<RecvStream, LinkError> {
        // An upstream that grants no stream is waited for as well.
        let _waiting = Waiting::begin(&self.waiting);
        let (mut send, receive) = self.connection.open_bi().await?;
        write_frame(&mut send, frame).await?;
        let _ = send.finish();
        Ok(receive)
    }

    /// The next frame of an answer that is not built first, so that nobody needs to ask for patience.
    async fn answer(&self, stream: &mut RecvStream) -> Result<Answer, LinkError> {
        let (kind, body) = self.frame(stream).await?;
        match Answer::decode(kind, body)? {
            Answer::Wait(_) => Err(unexpected(kind, "an answer that is not built first")),
            answer => Ok(answer),
        }
    }

    async fn frame(&self, stream: &mut RecvStream) -> Result<(FrameType, Vec<u8>), LinkError> {
        let waiting = Waiting::begin(&self.waiting);
        // Counted as they come: a long frame may take longer than one window.
        let frame = read_frame_if(stream, |_| Ok(()), &self.answered).await?;
        drop(waiting);
        Ok(frame.ok_or(StreamError::NoAnswer)?)
    }
}

fn describe(name: ObjectName) -> String {
    match name {
        ObjectName::Manifest(id) => format!("manifest {id}"),
        ObjectName::List(id) => format!("list {id}"),
        ObjectName::Recipe(id) => format!("recipe {id}"),
    }
}

fn unexpected(got: FrameType, expected: &'static str) -> LinkError {
    WireError::Unexpected { got, expected }.into()
}

async fn in_time<T>(
    what: &'static str,
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    tokio::time::timeout(ANSWER_TIMEOUT, work)
        .await
        .map_err(|_| LinkError::Timeout { what })?
}
