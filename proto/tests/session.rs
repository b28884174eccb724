//! A master's side of a connection, from strangers to welcome mirrors. SPEC §6.3.
mod support;

use support::{Feed, NOW, key, sign};
use tidecast_proto::{
    id::{ChunkId, FeedId, ListId, ObjectId, ReleaseNumber, RootVersion},
    key::PublicKey,
    limits,
    receipt::SignedReceipt,
    session::{Admission, FeedView, Reply, Session},
    wire::{
        FetchBundle, FrameType, Hello, ObjectName, PROTOCOL, Poll, RefusalReason, Refused, Request,
        Serves, Welcome, frame, parse_header,
    },
};

struct Master {
    feed: Feed,
    head: Option<(ObjectId, Vec<u8>)>,
    newest: Option<ObjectId>,
    admission: Admission,
}

impl Master {
    fn new(admission: Admission) -> Self {
        let feed = Feed::new();
        Self {
            feed,
            head: None,
            newest: None,
            admission,
        }
    }

    fn publish(&mut self, seq: u64, release: u64) {
        let head = self.feed.head(seq, release);
        self.head = Some((head.id(), head.to_bytes()));
        self.newest = Some(self.feed.manifest(release).id());
    }

    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            feed: self.feed.id(),
            root_version: RootVersion(1),
            seqs: Vec::new(),
            release: ReleaseNumber(0),
            manifest: None,
            serves: Serves::NOTHING,
            name: "mirror".into(),
            contact: "admin@example.org".into(),
            hosts: vec!["db.example.org".into()],
            extensions: Vec::new(),
        }
    }

    fn greet(&self, session: &mut Session) -> Reply {
        session.request(hello_request(&self.hello()), self)
    }

    fn welcomed(&self) -> Session {
        let mut session = Session::new(self.feed.node.public());
        assert!(matches!(self.greet(&mut session), Reply::Welcome(_)));
        session
    }
}

impl FeedView for Master {
    fn feed(&self) -> FeedId {
        self.feed.id()
    }
    fn root_version(&self) -> RootVersion {
        RootVersion(1)
    }
    fn root(&self, version: RootVersion) -> Option<Vec<u8>> {
        (version == RootVersion(1)).then(|| self.feed.first.to_bytes())
    }
    fn head(&self) -> Option<(ObjectId, Vec<u8>)> {
        self.head.clone()
    }
    fn newest(&self) -> Option<ObjectId> {
        self.newest
    }
    fn admission(&self, _node: &PublicKey) -> Admission {
        self.admission
    }
}

fn hello_request(hello: &Hello) -> Request {
    Request::Hello(hello.to_frame().expect("short enough")[5..].to_vec())
}

/// Type and body of one whole frame.
fn opened(bytes: &[u8]) -> (FrameType, &[u8]) {
    let (header, body) = bytes.split_first_chunk::<5>().expect("a header");
    let (kind, len) = parse_header(*header).expect("within the limits");
    assert_eq!(len, body.len());
    (kind, body)
}

fn refused(reply: &Reply) -> RefusalReason {
    let (Reply::Refuse(bytes) | Reply::Pending(bytes)) = reply else {
        panic!("{reply:?}")
    };
    let (kind, body) = opened(bytes);
    assert_eq!(kind, FrameType::REFUSED);
    Refused::decode(body).expect("well formed").reason
}

/// Expects the newest head to be announced, and returns the bundle that goes with it.
fn announced(session: &mut Session, master: &Master) -> Option<FetchBundle> {
    let Some(Reply::Announce {
        frame: sent,
        bundle,
    }) = session.news(master)
    else {
        panic!("nothing was announced")
    };
    let head = &master.head.as_ref().expect("some").1;
    assert_eq!(sent, frame(FrameType::ANNOUNCE, head));
    bundle
}

fn everything_but_roots_and_hello() -> [Request; 4] {
    [
        Request::Poll(Poll {
            root_version: RootVersion(1),
            head: None,
        }),
        Request::Object(ObjectName::Manifest(ObjectId::of(b""))),
        Request::Object(ObjectName::List(ListId::of(b""))),
        Request::Chunks(vec![ChunkId::of(b"")]),
    ]
}

#[test]
fn a_stranger_gets_roots_and_nothing_else() {
    let mut master = Master::new(Admission::Unknown);
    master.publish(1, 1);
    let mut session = Session::new(key(99).public());
    let root = session.request(Request::Root(RootVersion(1)), &master);
    assert_eq!(
        root,
        Reply::Frame(frame(FrameType::ROOT, &master.feed.first.to_bytes()))
    );
    let absent = session.request(Request::Root(RootVersion(2)), &master);
    assert_eq!(absent, Reply::Frame(frame(FrameType::ABSENT, &[])));
    assert!(!session.has_greeted());
    for request in everything_but_roots_and_hello() {
        let mut session = Session::new(key(99).public());
        let reply = session.request(request, &master);
        assert!(matches!(reply, Reply::Close(_)), "{reply:?}");
    }
    assert_eq!(session.news(&master), None);
}

#[test]
fn a_node_that_waits_gets_no_more_than_a_stranger() {
    let mut master = Master::new(Admission::Unknown);
    master.publish(1, 1);
    for request in everything_but_roots_and_hello() {
        let mut session = Session::new(key(99).public());
        assert_eq!(refused(&master.greet(&mut session)), RefusalReason::PENDING);
        assert!(session.has_greeted() && !session.is_welcome());
        let reply = session.request(request, &master);
        assert!(matches!(reply, Reply::Close(_)), "{reply:?}");
    }
}

#[test]
fn a_stranger_cannot_ask_for_ever() {
    let master = Master::new(Admission::Unknown);
    let mut session = Session::new(key(99).public());
    let answered = (0..10_000)
        .map(|_| session.request(Request::Root(RootVersion(1)), &master))
        .take_while(|reply| !matches!(reply, Reply::Close(_)))
        .count();
    assert!(answered >= limits::ROOT_WALK, "a whole walk of roots");
    assert!(answered <= 2 * limits::ROOT_WALK, "{answered}");
}

#[test]
fn a_hello_of_an_unknown_version_or_another_feed_is_told_so() {
    let master = Master::new(Admission::Admitted);
    let mut hello = master.hello();
    for protocol in [0, PROTOCOL + 1, u16::MAX] {
        hello.protocol = protocol;
        let reply = Session::new(master.feed.node.public()).request(hello_request(&hello), &master);
        assert!(matches!(reply, Reply::Refuse(_)));
        assert_eq!(refused(&reply), RefusalReason::PROTOCOL);
    }
    let mut hello = master.hello();
    hello.feed = FeedId::of(b"another feed");
    let reply = Session::new(master.feed.node.public()).request(hello_request(&hello), &master);
    assert_eq!(refused(&reply), RefusalReason::WRONG_FEED);
    for body in [&b""[..], &[1], &[1, 0], &[1, 0, 0xff]] {
        let mut session = Session::new(master.feed.node.public());
        let reply = session.request(Request::Hello(body.to_vec()), &master);
        assert_eq!(refused(&reply), RefusalReason::MALFORMED, "{body:?}");
        assert!(!session.has_greeted());
    }
}

#[test]
fn a_hello_with_any_byte_missing_or_added_is_refused() {
    let master = Master::new(Admission::Admitted);
    let Request::Hello(body) = hello_request(&master.hello()) else {
        unreachable!("made above")
    };
    for len in 0..body.len() {
        let request = Request::Hello(body[..len].to_vec());
        let reply = Session::new(master.feed.node.public()).request(request, &master);
        assert_eq!(refused(&reply), RefusalReason::MALFORMED, "{len} bytes");
    }
    let longer = Request::Hello([&body[..], &[0]].concat());
    let reply = Session::new(master.feed.node.public()).request(longer, &master);
    assert_eq!(refused(&reply), RefusalReason::MALFORMED);
}

#[test]
fn an_admitted_node_is_welcomed_with_the_newest_head() {
    let mut master = Master::new(Admission::Admitted);
    let mut session = Session::new(master.feed.node.public());
    let Reply::Welcome(bytes) = master.greet(&mut session) else {
        panic!("not welcomed")
    };
    let welcome = Welcome::decode(opened(&bytes).1).expect("well formed");
    assert_eq!((welcome.protocol, welcome.head), (PROTOCOL, None));
    assert!(session.is_welcome());
    assert_eq!(session.hello(), Some(&master.hello()));

    master.publish(1, 1);
    let mut session = Session::new(master.feed.node.public());
    let Reply::Welcome(bytes) = master.greet(&mut session) else {
        panic!("not welcomed")
    };
    let welcome = Welcome::decode(opened(&bytes).1).expect("well formed");
    assert_eq!(welcome.head, Some(master.feed.head(1, 1).to_bytes()));
    assert_eq!(session.news(&master), None, "it came with the Welcome");
    let second = master.greet(&mut session);
    assert!(matches!(second, Reply::Close(_)), "a second Hello");
}

#[test]
fn a_head_is_announced_exactly_once() {
    let mut master = Master::new(Admission::Admitted);
    let mut session = master.welcomed();
    assert_eq!(session.news(&master), None, "no release yet");
    for (seq, release) in [(1, 1), (2, 1), (3, 2)] {
        master.publish(seq, release);
        assert_eq!(announced(&mut session, &master), None);
        assert_eq!(session.news(&master), None);
        assert_eq!(session.news(&master), None);
    }
}

#[test]
fn a_bundle_goes_with_the_first_head_of_a_release_from_what_the_mirror_said_it_holds() {
    let mut master = Master::new(Admission::Admitted);
    master.publish(1, 1);
    let id = |release| master.feed.manifest(release).id();
    let (first, second, third) = (id(1), id(2), id(3));
    let mut hello = master.hello();
    hello.manifest = Some(first);
    let mut session = Session::new(master.feed.node.public());
    session.request(hello_request(&hello), &master);
    master.publish(2, 1);
    assert_eq!(announced(&mut session, &master), None, "it has that");
    master.publish(3, 2);
    let (from, to) = (first, second);
    assert_eq!(
        announced(&mut session, &master),
        Some(FetchBundle { from, to })
    );
    master.publish(4, 2);
    assert_eq!(announced(&mut session, &master), None, "once is enough");
    let mut receipt = master.feed.receipt_body();
    receipt.manifest = second;
    let receipt = sign(&receipt, std::slice::from_ref(&master.feed.node));
    let taken = session.receipt(&receipt.to_bytes(), &master.feed.id());
    assert!(taken.is_ok());
    master.publish(5, 3);
    let (from, to) = (second, third);
    assert_eq!(
        announced(&mut session, &master),
        Some(FetchBundle { from, to })
    );
}

#[test]
fn a_mirror_that_learnt_of_a_release_by_asking_fetches_its_bundle_itself() {
    let mut master = Master::new(Admission::Admitted);
    master.publish(1, 1);
    let mut hello = master.hello();
    hello.manifest = Some(master.feed.manifest(1).id());
    let mut session = Session::new(master.feed.node.public());
    session.request(hello_request(&hello), &master);
    master.publish(2, 2);
    let poll = Poll {
        root_version: RootVersion(1),
        head: None,
    };
    session.request(Request::Poll(poll), &master);
    assert_eq!(session.news(&master), None);
    master.publish(3, 2);
    assert_eq!(announced(&mut session, &master), None);
}

#[test]
fn a_poll_is_answered_by_what_the_mirror_lacks() {
    let mut master = Master::new(Admission::Admitted);
    let mut session = master.welcomed();
    let mut poll = |master: &Master, head| {
        let root_version = RootVersion(1);
        let reply = session.request(Request::Poll(Poll { root_version, head }), master);
        let Reply::Frame(bytes) = reply else {
            panic!("{reply:?}")
        };
        (bytes, session.news(master))
    };
    let unchanged = frame(FrameType::UNCHANGED, &[]);
    assert_eq!(poll(&master, None), (unchanged.clone(), None));
    master.publish(1, 1);
    let (id, bytes) = master.head.clone().expect("some");
    let announce = frame(FrameType::ANNOUNCE, &bytes);
    // The answer counts as the announcement.
    assert_eq!(poll(&master, None), (announce.clone(), None));
    assert_eq!(poll(&master, Some(id)), (unchanged, None));
    let other = Some(ObjectId::of(b"other"));
    assert_eq!(poll(&master, other), (announce, None));
}

#[test]
fn a_welcome_node_may_fetch_and_order_is_kept() {
    let master = Master::new(Admission::Admitted);
    let mut session = master.welcomed();
    let name = ObjectName::List(ListId::of(b"list"));
    assert_eq!(
        session.request(Request::Object(name), &master),
        Reply::Object(name)
    );
    let ids: Vec<ChunkId> = [b"b", b"a", b"b"].map(|b| ChunkId::of(b)).to_vec();
    assert_eq!(
        session.request(Request::Chunks(ids.clone()), &master),
        Reply::Chunks(ids)
    );
}

#[test]
fn a_node_that_waited_is_nudged_once_and_then_greets_again() {
    let mut master = Master::new(Admission::Unknown);
    master.publish(1, 1);
    let mut session = Session::new(master.feed.node.public());
    assert_eq!(refused(&master.greet(&mut session)), RefusalReason::PENDING);
    assert_eq!(session.news(&master), None, "still unknown");
    master.admission = Admission::Admitted;
    let nudge = Reply::Frame(frame(FrameType::ADMITTED, &[]));
    assert_eq!(session.news(&master), Some(nudge));
    assert_eq!(session.news(&master), None);
    assert!(session.has_greeted(), "nobody closes it for silence");
    assert!(!session.is_welcome(), "not before it greets again");
    assert!(matches!(master.greet(&mut session), Reply::Welcome(_)));
}

#[test]
fn a_node_that_waits_may_greet_again_unasked() {
    let mut master = Master::new(Admission::Unknown);
    let mut session = Session::new(master.feed.node.public());
    for _ in 0..3 {
        assert_eq!(refused(&master.greet(&mut session)), RefusalReason::PENDING);
    }
    master.admission = Admission::Admitted;
    assert!(matches!(master.greet(&mut session), Reply::Welcome(_)));
    assert_eq!(session.news(&master), None, "no nudge to one that is in");
}

#[test]
fn a_revoked_node_is_refused_and_thrown_out() {
    let mut master = Master::new(Admission::Revoked);
    let mut session = Session::new(master.feed.node.public());
    let reply = master.greet(&mut session);
    assert!(matches!(reply, Reply::Refuse(_)));
    assert_eq!(refused(&reply), RefusalReason::REVOKED);

    for before in [Admission::Admitted, Admission::Unknown] {
        master.admission = before;
        let mut session = Session::new(master.feed.node.public());
        master.greet(&mut session);
        master.admission = Admission::Revoked;
        assert!(matches!(session.news(&master), Some(Reply::Close(_))));
    }
}

#[test]
fn a_receipt_counts_after_the_welcome_and_from_the_node_itself() {
    let master = Master::new(Admission::Admitted);
    let feed = master.feed.id();
    let receipt = master.feed.receipt().to_bytes();
    let mut stranger = Session::new(master.feed.node.public());
    assert!(stranger.receipt(&receipt, &feed).is_err());
    let mut session = master.welcomed();
    let verified = session.receipt(&receipt, &feed).expect("good");
    assert_eq!(verified.issued, NOW.plus(1));
    let forged: SignedReceipt = sign(&master.feed.receipt_body(), &[key(99)]);
    assert!(session.receipt(&forged.to_bytes(), &feed).is_err());
    let mut other = master.feed.receipt_body();
    other.feed = FeedId::of(b"another feed");
    let other = sign(&other, std::slice::from_ref(&master.feed.node));
    assert!(session.receipt(&other.to_bytes(), &feed).is_err());
    for bit in 0..receipt.len() * 8 {
        let mut damaged = receipt.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(session.receipt(&damaged, &feed).is_err(), "bit {bit}");
    }
}

#[test]
fn a_welcome_this_version_cannot_follow_is_refused_by_the_mirror() {
    let welcome = |protocol, critical| {
        let welcome = Welcome {
            protocol,
            root_version: RootVersion(1),
            head: None,
            extensions: vec![tidecast_proto::extension::Extension {
                tag: 3,
                critical,
                bytes: Vec::new(),
            }],
        };
        Welcome::decode(&welcome.to_frame()[5..]).map_err(|error| error.to_string())
    };
    assert!(welcome(PROTOCOL, false).is_ok());
    assert!(welcome(PROTOCOL, true).unwrap_err().contains("upgrade"));
    assert!(
        welcome(PROTOCOL + 1, false)
            .unwrap_err()
            .contains("upgrade")
    );
    assert!(welcome(0, false).is_err());
}

#[test]
fn a_stranger_for_whom_there_is_no_room_is_told_so_and_an_admitted_node_is_let_in() {
    let mut master = Master::new(Admission::Unknown);
    let mut session = Session::without_room(master.feed.node.public());
    let root = session.request(Request::Root(RootVersion(1)), &master);
    assert!(matches!(root, Reply::Frame(_)), "{root:?}");
    let reply = master.greet(&mut session);
    assert!(matches!(reply, Reply::Refuse(_)), "{reply:?}");
    assert_eq!(refused(&reply), RefusalReason::FULL);
    assert!(!session.has_greeted());

    master.admission = Admission::Admitted;
    let mut session = Session::without_room(master.feed.node.public());
    assert!(matches!(master.greet(&mut session), Reply::Welcome(_)));
}

#[test]
fn a_session_is_over_once_the_operator_decides_against_it() {
    let mut master = Master::new(Admission::Unknown);
    let mut waiting = Session::new(master.feed.node.public());
    assert!(matches!(master.greet(&mut waiting), Reply::Pending(_)));
    assert!(!waiting.is_over(&master));
    master.admission = Admission::Admitted;
    let welcomed = master.welcomed();
    assert!(!welcomed.is_over(&master) && !waiting.is_over(&master));
    master.admission = Admission::Revoked;
    assert!(welcomed.is_over(&master) && waiting.is_over(&master));
    master.admission = Admission::Unknown;
    assert!(welcomed.is_over(&master) && !waiting.is_over(&master));
}
