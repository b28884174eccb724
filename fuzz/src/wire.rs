//! What comes over a connection.

use tidecast_proto::id::{FeedId, ObjectId, RootVersion};
use tidecast_proto::key::{PublicKey, SecretKey};
use tidecast_proto::limits;
use tidecast_proto::session::{Admission, FeedView, Reply, Session};
use tidecast_proto::wire::{
    Answer, FRAME_HEADER_BYTES, FrameType, Hello, Refused, Request, Welcome, frame, parse_header,
};

/// The first frame of `bytes` and what follows it, as a stream's reader takes it.
fn first_frame(bytes: &[u8]) -> Option<(FrameType, &[u8], &[u8])> {
    let (header, behind) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let (kind, len) = parse_header(*header).ok()?;
    assert!(len <= limits::FRAME_BYTES);
    let (body, behind) = behind.split_at_checked(len)?;
    Some((kind, body, behind))
}

/// A stream of frames: header, then body as a request and as an answer. What reads has one spelling.
pub fn frames(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((kind, body, behind)) = first_frame(rest) {
        rest = behind;
        if let Ok(request) = Request::decode(kind, body) {
            if let Request::Chunks(ids) = &request {
                assert!(ids.len() <= limits::CHUNKS_PER_REQUEST);
            }
            assert_eq!(request.to_frame(), frame(kind, body));
        }
        match Answer::decode(kind, body.to_vec()) {
            Ok(Answer::Object(header)) => assert_eq!(header.to_frame(), frame(kind, body)),
            Ok(Answer::Bundle(header)) => assert_eq!(header.to_frame(), frame(kind, body)),
            Ok(Answer::Wait(wait)) => assert_eq!(wait.to_frame(), frame(kind, body)),
            Ok(Answer::Chunk { body: kept, .. } | Answer::Part(kept)) => assert_eq!(kept, body),
            Ok(Answer::Absent) => assert_eq!(kind, FrameType::ABSENT),
            _ => (),
        }
    }
}

/// Hello, Welcome and Refused. What a peer is told when its Hello is no good, it can read.
pub fn greetings(bytes: &[u8]) {
    match Hello::decode(bytes) {
        Ok(hello) => assert_eq!(&hello.to_frame().expect("it came")[5..], bytes),
        Err(refused) => {
            let told = Refused::decode(&refused.to_frame()[5..]).expect("our own");
            assert_eq!(told, refused);
        }
    }
    if let Ok(welcome) = Welcome::decode(bytes) {
        assert_eq!(&welcome.to_frame()[5..], bytes);
    }
    if let Ok(refused) = Refused::decode(bytes) {
        assert!(!refused.text.chars().any(char::is_control));
        assert!(refused.to_frame().len() <= FRAME_HEADER_BYTES + limits::SMALL_OBJECT_BYTES);
    }
}

/// A feed with one root and one head.
struct Feed {
    feed: FeedId,
    admission: Admission,
}

const HELLO: &[u8] = include_bytes!("../seeds/greetings/hello");
const HEAD: &[u8] = include_bytes!("../seeds/objects/head");
const ROOT: &[u8] = include_bytes!("../seeds/objects/root");

impl FeedView for Feed {
    fn feed(&self) -> FeedId {
        self.feed
    }
    fn root_version(&self) -> RootVersion {
        RootVersion(1)
    }
    fn root(&self, version: RootVersion) -> Option<Vec<u8>> {
        (version == RootVersion(1)).then(|| ROOT.to_vec())
    }
    fn head(&self) -> Option<(ObjectId, Vec<u8>)> {
        Some((ObjectId::of(HEAD), HEAD.to_vec()))
    }
    fn newest(&self) -> Option<ObjectId> {
        Some(ObjectId::of(b"the newest manifest"))
    }
    fn admission(&self, _: &PublicKey) -> Admission {
        self.admission
    }
}

/// A master's side of a connection: the first byte says how the node stands, a stream of frames follows. Whoever is not
/// admitted gets roots and refusals; every answer is a frame that its receiver takes.
pub fn session(bytes: &[u8]) {
    let Some((standing, mut rest)) = bytes.split_first() else {
        return;
    };
    let admission =
        [Admission::Admitted, Admission::Unknown, Admission::Revoked][usize::from(standing % 3)];
    let feed = Hello::decode(HELLO).map_or(FeedId([0; 32]), |hello| hello.feed);
    let view = Feed { feed, admission };
    let node = SecretKey::from_seed(&[0x11; 32]).public();
    let mut session = match standing & 0x80 {
        0 => Session::new(node),
        _ => Session::without_room(node),
    };
    while let Some((kind, body, behind)) = first_frame(rest) {
        rest = behind;
        if kind == FrameType::RECEIPT {
            let taken = session.receipt(body, &feed);
            assert!(taken.is_err() || session.is_welcome());
            continue;
        }
        let Ok(request) = Request::decode(kind, body) else {
            return;
        };
        let reply = session.request(request, &view);
        match &reply {
            Reply::Frame(sent)
            | Reply::Welcome(sent)
            | Reply::Pending(sent)
            | Reply::Refuse(sent)
            | Reply::Announce { frame: sent, .. } => {
                let (_, _, behind) = first_frame(sent).expect("a whole frame");
                assert!(behind.is_empty());
            }
            _ => {}
        }
        let told_all = !matches!(
            reply,
            Reply::Frame(_) | Reply::Pending(_) | Reply::Refuse(_) | Reply::Close(_)
        );
        assert!(!told_all || admission == Admission::Admitted);
        assert!(!session.is_welcome() || admission == Admission::Admitted);
        if matches!(reply, Reply::Refuse(_) | Reply::Close(_)) {
            return;
        }
    }
}
