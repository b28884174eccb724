//! A mirror's connection to one upstream: questions and answers. SPEC §6.4.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{ConnectionError, RecvStream};
use tidecast_proto::id::{ChunkId, RootVersion};
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::rate::{Millis, UsefulRate};
use tidecast_proto::wire::{
    Answer, BundleHeader, Encoding, FRAME_HEADER_BYTES, FetchBundle, FetchRuns, FrameType, Hello,
    ObjectName, Poll, Refused, Request, Welcome, WireError,
};

use super::link_error::LinkError;
use super::stream::{StreamError, read_frame, read_frame_if, write_frame};
use super::tls::peer_key;
use crate::packing::{self, Opening};

/// The handshake must be through by then, so that "does not answer" is said within 5 s.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(4_500);

/// A small question must be answered by then.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Times the answers of one sync may be put off, all together: at [`limits::WAIT_MS`] each, ten minutes. Only what is
/// built when it is asked for may be; everything else has another road, or another upstream.
pub(super) const WAITS_MAX: usize = 10;

/// News that one upstream may send in [`NEWS_WINDOW`]. A master has some when there is a release, a head or an admission.
const NEWS_MAX: u32 = 128;

/// See [`NEWS_MAX`].
const NEWS_WINDOW: Duration = Duration::from_secs(30);

/// How often the useful-rate rule looks while something is awaited.
const RATE_CHECK: Duration = Duration::from_secs(1);

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

    /// Forgets how often the upstream has asked for patience: a sync begins.
    pub fn be_patient_anew(&self) {
        self.waits.store(0, Ordering::Relaxed);
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

    /// Asks for chunks; read each with [`ChunkAnswers::next`].
    ///
    /// # Errors
    /// [`LinkError::Lost`].
    pub async fn chunks(&self, ids: Vec<ChunkId>) -> Result<ChunkAnswers, LinkError> {
        let stream = self.ask(&Request::Chunks(ids)).await?;
        Ok(ChunkAnswers {
            link: self.clone(),
            stream,
        })
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

    /// Asks for the bundle from one release to another; `None` when the upstream has none. It may keep us waiting while
    /// it builds one, until it has begun to answer. What has not been read yet is given up by dropping it.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::Busy`] closes this road only.
    pub async fn bundle(&self, fetch: FetchBundle) -> Result<Option<BundleAnswer>, LinkError> {
        let answer = self.bundle_of(&Request::Bundle(fetch)).await?;
        if let Some(answer) = &answer
            && (answer.header.from, answer.header.to) != (fetch.from, fetch.to)
        {
            return Err(LinkError::Protocol("another bundle than asked for".into()));
        }
        Ok(answer)
    }

    /// Asks for runs; as [`Self::bundle`].
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn runs(&self, fetch: FetchRuns) -> Result<Option<BundleAnswer>, LinkError> {
        self.bundle_of(&Request::Runs(fetch)).await
    }

    async fn bundle_of(&self, request: &Request) -> Result<Option<BundleAnswer>, LinkError> {
        self.at_a_useful_rate(async {
            let mut stream = self.ask(request).await?;
            match self.patient_answer(&mut stream).await? {
                Answer::Bundle(header) => {
                    // From here on the disk waits for every part: what patience is left over is over.
                    self.resting_until_ms.store(0, Ordering::Relaxed);
                    Ok(Some(BundleAnswer {
                        link: self.clone(),
                        stream,
                        left_bytes: header.bytes,
                        header,
                    }))
                }
                Answer::Absent => Ok(None),
                _ => Err(LinkError::Protocol("not an answer to FETCH_BUNDLE".into())),
            }
        })
        .await
    }

    /// The next thing sent unasked: a head, with a bundle or without, or the nudge to greet again.
    ///
    /// # Errors
    /// [`LinkError`]: the connection is gone, or the upstream broke the protocol.
    pub async fn news(&self) -> Result<News, LinkError> {
        let mut stream = self.connection.accept_uni().await?;
        self.count_news()?;
        let (kind, body) = in_time("an announcement", async {
            read_frame(&mut stream)
                .await?
                .ok_or_else(|| LinkError::Protocol("an empty announcement".into()))
        })
        .await?;
        let mut news = News {
            kind,
            body,
            bundle: None,
        };
        if kind == FrameType::ANNOUNCE {
            // One that does not come in time can still be asked for.
            let announced_bytes = (FRAME_HEADER_BYTES + news.body.len()) as u64;
            news.bundle = match in_time("a bundle", pushed(&mut stream, announced_bytes)).await {
                Err(LinkError::Timeout { .. }) => None,
                other => other?,
            };
        }
        Ok(news)
    }

    /// Runs `work` while the upstream keeps to the useful rate.
    ///
    /// # Errors
    /// [`LinkError::TooSlow`], or what `work` ends with.
    pub async fn at_a_useful_rate<T>(
        &self,
        work: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        let mut work = std::pin::pin!(work);
        let mut rate = UsefulRate::new(self.now(), self.answered.load(Ordering::Relaxed));
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(RATE_CHECK) => {
                    let (now, bytes) = (self.now(), self.answered.load(Ordering::Relaxed));
                    let resting = self.resting_until_ms.load(Ordering::Relaxed);
                    match resting.checked_sub(now.0).and_then(|ms| u32::try_from(ms).ok()) {
                        Some(ms) if ms > 0 => rate.rest(now, ms, bytes),
                        // Our own disk holds everything up: the upstream is not to blame.
                        _ if self.waiting.load(Ordering::Relaxed) == 0 => rate.rest(now, 0, bytes),
                        _ => rate.observe(now, bytes)?,
                    }
                }
            }
        }
    }

    /// Each of them costs a signature check, and one that is accepted a write to the disk.
    fn count_news(&self) -> Result<(), LinkError> {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if news.1.elapsed() >= NEWS_WINDOW {
            *news = (0, tokio::time::Instant::now());
        }
        news.0 += 1;
        if news.0 > NEWS_MAX {
            return Err(LinkError::Protocol("news without end".into()));
        }
        Ok(())
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

    /// The first frame of an answer that may have to be built, patience included.
    async fn patient_answer(&self, stream: &mut RecvStream) -> Result<Answer, LinkError> {
        while self.waits.load(Ordering::Relaxed) < WAITS_MAX {
            let (kind, body) = self.frame(stream).await?;
            match Answer::decode(kind, body)? {
                Answer::Wait(wait) => {
                    self.waits.fetch_add(1, Ordering::Relaxed);
                    let until = self
                        .now()
                        .plus(u64::from(wait.ms).min(limits::WAIT_MS as u64));
                    self.resting_until_ms.fetch_max(until.0, Ordering::Relaxed);
                }
                answer => return Ok(answer),
            }
        }
        // What patience is left of the last word is over as well.
        self.resting_until_ms.store(0, Ordering::Relaxed);
        Err(LinkError::Busy)
    }

    async fn frame(&self, stream: &mut RecvStream) -> Result<(FrameType, Vec<u8>), LinkError> {
        let waiting = Waiting::begin(&self.waiting);
        // Counted as they come: a long frame may take longer than one window.
        let frame = read_frame_if(stream, |_| Ok(()), &self.answered).await?;
        drop(waiting);
        Ok(frame.ok_or(StreamError::NoAnswer)?)
    }
}

/// What an upstream says unasked.
#[derive(Debug)]
pub struct News {
    /// What it is.
    pub kind: FrameType,
    /// The frame's body.
    pub body: Vec<u8>,
    /// A small bundle that leads to the announced head's release.
    pub bundle: Option<PushedBundle>,
}

/// A bundle that came unasked, whole; worth no more than one that was asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct PushedBundle {
    /// What its sender says it is.
    pub header: BundleHeader,
    /// At most [`limits::UNASKED_BUNDLE_BYTES`].
    pub bytes: Vec<u8>,
    /// Length of all frames it came in, in bytes, the announcement's included.
    pub news_bytes: u64,
}

impl std::fmt::Debug for PushedBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PushedBundle").field(&self.header).finish()
    }
}

/// The bundle that follows an announcement of `announced_bytes` on its stream, if one does.
async fn pushed(
    stream: &mut RecvStream,
    announced_bytes: u64,
) -> Result<Option<PushedBundle>, LinkError> {
    let Some((kind, body)) = read_frame(stream).await? else {
        return Ok(None);
    };
    if kind != FrameType::BUNDLE {
        return Err(unexpected(kind, "BUNDLE"));
    }
    let header = BundleHeader::decode(&body)?;
    let mut news_bytes = announced_bytes + (FRAME_HEADER_BYTES + body.len()) as u64;
    let length = usize::try_from(header.bytes)
        .ok()
        .filter(|length| *length <= limits::UNASKED_BUNDLE_BYTES)
        .ok_or_else(|| LinkError::Protocol("a bundle unasked that is too long for that".into()))?;
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match read_frame(stream).await?.ok_or(StreamError::Cut)? {
            (FrameType::PART, part) if !part.is_empty() && bytes.len() + part.len() <= length => {
                news_bytes += (FRAME_HEADER_BYTES + part.len()) as u64;
                bytes.extend_from_slice(&part);
            }
            (kind, _) => return Err(unexpected(kind, "a PART of the bundle")),
        }
    }
    Ok(Some(PushedBundle {
        header,
        bytes,
        news_bytes,
    }))
}

/// A bundle, or runs, on the way. Dropped, the rest is not sent.
#[derive(Debug)]
pub struct BundleAnswer {
    link: Link,
    stream: RecvStream,
    header: BundleHeader,
    left_bytes: u64,
}

impl BundleAnswer {
    /// What it begins with.
    #[must_use]
    pub fn header(&self) -> &BundleHeader {
        &self.header
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        if self.left_bytes == 0 {
            return Ok(None);
        }
        // No patience is asked for once it has begun: whoever builds from it waits on the disk's thread.
        let (kind, body) = self.link.frame(&mut self.stream).await?;
        match Answer::decode(kind, body)? {
            Answer::Part(part) if !part.is_empty() && part.len() as u64 <= self.left_bytes => {
                self.left_bytes -= part.len() as u64;
                Ok(Some(part))
            }
            _ => Err(LinkError::Protocol("not a PART of the bundle".into())),
        }
    }
}

/// Counts a reader for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answers to one request for chunks, in its order.
#[derive(Debug)]
pub struct ChunkAnswers {
    link: Link,
    stream: RecvStream,
}

impl ChunkAnswers {
    /// The next chunk: how it is packed, its opened length, and its packed bytes.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::Absent`] when the upstream does not have this one.
    pub async fn next(&mut self, id: ChunkId) -> Result<PackedChunk, LinkError> {
        match self.link.answer(&mut self.stream).await? {
            Answer::Chunk { header, body } => Ok(PackedChunk {
                id,
                encoding: header.encoding,
                opened_bytes: header.opened_bytes as usize,
                frame_body: body,
            }),
            Answer::Absent => Err(LinkError::Absent {
                what: format!("chunk {id}"),
            }),
            _ => Err(LinkError::Protocol("not an answer to FETCH_CHUNKS".into())),
        }
    }
}

/// A chunk as it came: not yet opened, not yet checked.
#[derive(Debug)]
pub struct PackedChunk {
    /// What was asked for.
    pub id: ChunkId,
    encoding: Encoding,
    opened_bytes: usize,
    frame_body: Vec<u8>,
}

impl PackedChunk {
    /// The chunk's bytes, which hash to its id.
    ///
    /// # Errors
    /// [`LinkError::Corrupt`]; the upstream is at fault.
    pub fn open(&self) -> Result<Cow<'_, [u8]>, LinkError> {
        let corrupt = || LinkError::Corrupt {
            what: format!("chunk {}", self.id),
        };
        let packed = self
            .frame_body
            .get(tidecast_proto::wire::ChunkHeader::BYTES..)
            .unwrap_or_default();
        let opened =
            packing::open(self.encoding, self.opened_bytes, packed).map_err(|_| corrupt())?;
        if ChunkId::of(&opened) != self.id {
            return Err(corrupt());
        }
        Ok(opened)
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
