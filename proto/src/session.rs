//! A master's side of one connection: what each question is answered with. SPEC §6.3.

use alloc::vec::Vec;

use crate::id::{FeedId, ObjectId, RootVersion};
use crate::key::PublicKey;
use crate::limits;
use crate::receipt::{Receipt, SignedReceipt};
use crate::wire::{
    FetchBundle, FetchRuns, FrameType, Hello, ObjectName, PROTOCOL, RefusalReason, Refused,
    Request, Welcome, frame,
};

/// What a session needs to know of the feed while it decides.
pub trait FeedView {
    /// The feed.
    fn feed(&self) -> FeedId;
    /// The newest root's number.
    fn root_version(&self) -> RootVersion;
    /// A signed root by number.
    fn root(&self, version: RootVersion) -> Option<Vec<u8>>;
    /// The newest signed head and its id, once there is a release.
    fn head(&self) -> Option<(ObjectId, Vec<u8>)>;
    /// The manifest that head points at.
    fn newest(&self) -> Option<ObjectId>;
    /// Whether `node` may fetch.
    fn admission(&self, node: &PublicKey) -> Admission;
}

/// Where a node stands with the master's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// May fetch.
    Admitted,
    /// Unknown so far.
    Unknown,
    /// Was admitted once, no longer.
    Revoked,
}

/// What to do about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Send this frame and end the stream.
    Frame(Vec<u8>),
    /// The node is in: as [`Self::Frame`], and announcements go to it from now on.
    Welcome(Vec<u8>),
    /// The node waits to be admitted: as [`Self::Frame`], and its details are shown to the operator.
    Pending(Vec<u8>),
    /// Send the refusal, then close the connection.
    Refuse(Vec<u8>),
    /// Send an object out of the store, or [`FrameType::ABSENT`].
    Object(ObjectName),
    /// Send chunks out of the store, in this order, each one's absence in its place.
    Chunks(Vec<crate::id::ChunkId>),
    /// Send this frame unasked; then, on the same stream, the bundle, if there is one of at most
    /// [`limits::UNASKED_BUNDLE_BYTES`] already.
    Announce {
        /// The head's frame.
        frame: Vec<u8>,
        /// What the mirror will want next.
        bundle: Option<FetchBundle>,
    },
    /// Send a bundle, or [`FrameType::ABSENT`].
    Bundle(FetchBundle),
    /// Send runs, or [`FrameType::ABSENT`].
    Runs(FetchRuns),
    /// The peer broke the protocol: close.
    Close(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Only roots and a Hello are answered.
    Strange,
    /// Said Hello, waits for the operator.
    Pending,
    /// May fetch.
    Welcome,
}

/// One connection to a master.
#[derive(Debug)]
pub struct Session {
    node: PublicKey,
    stage: Stage,
    hello: Option<Hello>,
    /// Questions answered before a welcome; bounded, because strangers ask them.
    strange_requests: usize,
    /// Whether there is room to let it wait, should it not be admitted.
    may_wait: bool,
    announced: Option<ObjectId>,
    /// The manifest of the release it has, as far as it said.
    holds: Option<ObjectId>,
    /// The newest manifest whose head was sent to it, with or without a bundle.
    offered: Option<ObjectId>,
}

impl Session {
    /// Most questions a stranger may ask: the whole walk of roots and a few Hellos.
    const STRANGE_REQUESTS_MAX: usize = limits::ROOT_WALK + 16;

    /// A connection whose TLS handshake showed `node`.
    #[must_use]
    pub fn new(node: PublicKey) -> Self {
        Self {
            node,
            stage: Stage::Strange,
            hello: None,
            strange_requests: 0,
            may_wait: true,
            announced: None,
            holds: None,
            offered: None,
        }
    }

    /// The same where too many nodes wait already: unless it is admitted, its Hello is answered `full`.
    #[must_use]
    pub fn without_room(node: PublicKey) -> Self {
        Self {
            may_wait: false,
            ..Self::new(node)
        }
    }

    /// The key the peer proved to hold.
    #[must_use]
    pub fn node(&self) -> &PublicKey {
        &self.node
    }

    /// What it said about itself.
    #[must_use]
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Whether it may fetch.
    #[must_use]
    pub fn is_welcome(&self) -> bool {
        self.stage == Stage::Welcome
    }

    /// Whether it said Hello and was let stay. A connection that has not by [`limits::HELLO_MS`] is closed; one
    /// that was nudged to greet again has.
    #[must_use]
    pub fn has_greeted(&self) -> bool {
        self.hello.is_some()
    }

    /// Decides about one question.
    pub fn request(&mut self, request: Request, view: &dyn FeedView) -> Reply {
        if self.stage != Stage::Welcome {
            self.strange_requests += 1;
            if self.strange_requests > Self::STRANGE_REQUESTS_MAX {
                return Reply::Close("too many questions from a node that is not admitted");
            }
        }
        match (request, self.stage) {
            (Request::Root(version), _) => Reply::Frame(match view.root(version) {
                Some(root) => frame(FrameType::ROOT, &root),
                None => frame(FrameType::ABSENT, &[]),
            }),
            (Request::Hello(body), Stage::Strange | Stage::Pending) => self.greet(&body, view),
            (Request::Hello(_), Stage::Welcome) => Reply::Close("a second Hello"),
            (_, Stage::Strange | Stage::Pending) => Reply::Close("a request before the Welcome"),
            (Request::Poll(poll), Stage::Welcome) => Reply::Frame(match view.head() {
                Some((id, head)) if poll.head != Some(id) => {
                    self.announced = Some(id);
                    self.offered = view.newest();
                    frame(FrameType::ANNOUNCE, &head)
                }
                _ => frame(FrameType::UNCHANGED, &[]),
            }),
            (Request::Object(name), Stage::Welcome) => Reply::Object(name),
            (Request::Chunks(ids), Stage::Welcome) => Reply::Chunks(ids),
            (Request::Bundle(fetch), Stage::Welcome) => Reply::Bundle(fetch),
            (Request::Runs(fetch), Stage::Welcome) => Reply::Runs(fetch),
        }
    }

    fn greet(&mut self, body: &[u8], view: &dyn FeedView) -> Reply {
        let hello = match Hello::decode(body) {
            Ok(hello) => hello,
            Err(refused) => return Reply::Refuse(refused.to_frame()),
        };
        if hello.feed != view.feed() {
            let text = alloc::format!("this master serves feed {}", view.feed());
            return Reply::Refuse(Refused::new(RefusalReason::WRONG_FEED, &text).to_frame());
        }
        let admission = view.admission(&self.node);
        if admission == Admission::Unknown && !self.may_wait {
            let text = "too many nodes wait to be admitted; try again later";
            return Reply::Refuse(Refused::new(RefusalReason::FULL, text).to_frame());
        }
        self.holds = hello.manifest;
        self.hello = Some(hello);
        match admission {
            Admission::Admitted => {
                self.stage = Stage::Welcome;
                let head = view.head();
                self.announced = head.as_ref().map(|(id, _)| *id);
                self.offered = view.newest();
                Reply::Welcome(
                    Welcome {
                        protocol: PROTOCOL,
                        root_version: view.root_version(),
                        head: head.map(|(_, bytes)| bytes),
                        extensions: Vec::new(),
                    }
                    .to_frame(),
                )
            }
            Admission::Unknown => {
                self.stage = Stage::Pending;
                let text = alloc::format!("waiting to be admitted as {}", self.node);
                Reply::Pending(Refused::new(RefusalReason::PENDING, &text).to_frame())
            }
            Admission::Revoked => {
                let text = alloc::format!("{} is no longer admitted", self.node);
                Reply::Refuse(Refused::new(RefusalReason::REVOKED, &text).to_frame())
            }
        }
    }

    /// Whether its connection must go at once: it waited or was welcome, and the operator has decided otherwise.
    #[must_use]
    pub fn is_over(&self, view: &dyn FeedView) -> bool {
        match (self.stage, view.admission(&self.node)) {
            (Stage::Welcome, admission) => admission != Admission::Admitted,
            (Stage::Pending, admission) => admission == Admission::Revoked,
            (Stage::Strange, _) => false,
        }
    }

    /// What to send unasked after the feed or the list of nodes changed: a head, or the nudge to say Hello
    /// again. Each at most once.
    pub fn news(&mut self, view: &dyn FeedView) -> Option<Reply> {
        if self.is_over(view) {
            return Some(Reply::Close("no longer admitted"));
        }
        match (self.stage, view.admission(&self.node)) {
            (Stage::Welcome, Admission::Admitted) => {
                let (id, head) = view.head()?;
                if self.announced == Some(id) {
                    return None;
                }
                self.announced = Some(id);
                Some(Reply::Announce {
                    frame: frame(FrameType::ANNOUNCE, &head),
                    bundle: self.offer(view),
                })
            }
            (Stage::Pending, Admission::Admitted) => {
                // Until the mirror greets again it is a stranger; a second nudge would be noise.
                self.stage = Stage::Strange;
                Some(Reply::Frame(frame(FrameType::ADMITTED, &[])))
            }
            _ => None,
        }
    }

    /// The bundle to the newest release, once: a fresh head of the same release brings none, because a mirror that has
    /// not installed it by then has its reasons.
    fn offer(&mut self, view: &dyn FeedView) -> Option<FetchBundle> {
        let to = view.newest()?;
        let from = self.holds.filter(|held| *held != to)?;
        let new = self.offered != Some(to);
        self.offered = Some(to);
        new.then_some(FetchBundle { from, to })
    }

    /// Judges a receipt; a good one says what the mirror holds.
    ///
    /// # Errors
    /// The reason to close the connection.
    pub fn receipt(&mut self, body: &[u8], feed: &FeedId) -> Result<Receipt, &'static str> {
        if !self.is_welcome() {
            return Err("a receipt before the Welcome");
        }
        let receipt = SignedReceipt::from_bytes(body)
            .ok()
            .and_then(|signed| signed.verify(&self.node, feed).ok())
            .ok_or("a receipt that is malformed or not signed by this node")?;
        self.holds = Some(receipt.manifest);
        Ok(receipt)
    }
}
