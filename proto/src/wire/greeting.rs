//! Who are you, and may you come in. SPEC §6.3.

use alloc::{string::String, vec::Vec};

use super::frame::{FrameType, WireError, frame};
use crate::codec::{
    self, CodecError, Decode, Encode, at_most, decode_exact, plain_text, strictly_ascending,
};
use crate::extension::{self, Extensions};
use crate::id::{FeedId, ObjectId, ReleaseNumber, RootVersion, Seq};
use crate::key::PublicKey;
use crate::limits;

/// What this version says. A node also speaks the version before it.
pub const PROTOCOL: u16 = 1;
/// The oldest version this one speaks.
pub const PROTOCOL_MIN: u16 = 1;

/// What a mirror can pass on to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Serves(pub u32);

impl Serves {
    /// Only ordinary HTTP clients.
    pub const NOTHING: Self = Self(0);
}

/// The mirror's first words.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The version spoken; first in the encoding, so that any version can read it.
    pub protocol: u16,
    /// The feed wanted.
    pub feed: FeedId,
    /// The newest root held.
    pub root_version: RootVersion,
    /// Highest head number seen of each head key, sorted by key.
    pub seqs: Vec<(PublicKey, Seq)>,
    /// The release in the docroot, 0 for none.
    pub release: ReleaseNumber,
    /// Its manifest.
    pub manifest: Option<ObjectId>,
    /// What this node can serve.
    pub serves: Serves,
    /// What its operator calls it.
    pub name: String,
    /// How to reach its operator.
    pub contact: String,
    /// Host names under which clients reach it.
    pub hosts: Vec<String>,
    /// Room to grow.
    pub extensions: Extensions,
}

impl Hello {
    fn check(&self) -> Result<(), CodecError> {
        at_most("hello.seqs", self.seqs.len(), limits::KEYS_PER_ROLE)?;
        strictly_ascending("hello.seqs", self.seqs.iter().map(|(key, _)| key))?;
        at_most("hello.hosts", self.hosts.len(), limits::HOSTS_PER_MIRROR)?;
        for (field, text) in [("hello.name", &self.name), ("hello.contact", &self.contact)]
            .into_iter()
            .chain(self.hosts.iter().map(|host| ("hello.hosts", host)))
        {
            plain_text(field, text, limits::DETAIL_BYTES)?;
        }
        extension::check_form(&self.extensions)
    }

    /// The frame.
    ///
    /// # Errors
    /// [`CodecError`] when its details are too long to be sent; the operator's configuration is at fault.
    pub fn to_frame(&self) -> Result<Vec<u8>, CodecError> {
        self.check()?;
        let body = codec::encode(self);
        at_most("hello", body.len(), limits::SMALL_OBJECT_BYTES)?;
        Ok(frame(FrameType::HELLO, &body))
    }

    /// Reads a Hello, or says why its sender must be refused.
    ///
    /// # Errors
    /// [`RefusalReason::PROTOCOL`] for a version we do not speak, [`RefusalReason::MALFORMED`] otherwise.
    pub fn decode(body: &[u8]) -> Result<Self, Refused> {
        let [low, high, ..] = *body else {
            return Err(Refused::new(RefusalReason::MALFORMED, "empty Hello"));
        };
        let protocol = u16::from_le_bytes([low, high]);
        if !(PROTOCOL_MIN..=PROTOCOL).contains(&protocol) {
            return Err(Refused::new(
                RefusalReason::PROTOCOL,
                &alloc::format!(
                    "you speak protocol {protocol}, this master speaks {PROTOCOL_MIN} to {PROTOCOL}"
                ),
            ));
        }
        let malformed =
            |error: CodecError| Refused::new(RefusalReason::MALFORMED, &alloc::format!("{error}"));
        let hello: Self =
            decode_exact("Hello", body, limits::SMALL_OBJECT_BYTES).map_err(malformed)?;
        hello.check().map_err(malformed)?;
        extension::check_critical(&hello.extensions)
            .map_err(|error| Refused::new(RefusalReason::PROTOCOL, &alloc::format!("{error}")))?;
        Ok(hello)
    }
}

/// You are in. Only now does a mirror count as connected: in TLS 1.3 a refused client has seen its handshake succeed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The version to be spoken from here on.
    pub protocol: u16,
    /// The newest root.
    pub root_version: RootVersion,
    /// The newest signed head, if there is a release.
    pub head: Option<Vec<u8>>,
    /// Room to grow.
    pub extensions: Extensions,
}

impl Welcome {
    /// The frame.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        frame(FrameType::WELCOME, &codec::encode(self))
    }

    /// Reads a Welcome.
    ///
    /// # Errors
    /// [`WireError`]; the upstream is at fault.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let kind = FrameType::WELCOME;
        let welcome: Self = decode_exact("Welcome", body, 2 * limits::SMALL_OBJECT_BYTES)
            .map_err(WireError::body(kind))?;
        if !(PROTOCOL_MIN..=PROTOCOL).contains(&welcome.protocol) {
            return Err(WireError::body(kind)(CodecError::BadField {
                field: "Welcome.protocol",
                why: "a version this node does not speak: upgrade tidecast",
            }));
        }
        extension::check_form(&welcome.extensions).map_err(WireError::body(kind))?;
        extension::check_critical(&welcome.extensions)
            .map_err(|source| WireError::Critical { kind, source })?;
        Ok(welcome)
    }
}

/// Why a node is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct RefusalReason(pub u16);

impl RefusalReason {
    /// Not admitted yet; the master's operator sees the request. Stay connected: `ADMITTED` may follow.
    pub const PENDING: Self = Self(1);
    /// Admitted once, no longer.
    pub const REVOKED: Self = Self(2);
    /// Another feed is served here.
    pub const WRONG_FEED: Self = Self(3);
    /// No common protocol version.
    pub const PROTOCOL: Self = Self(4);
    /// Unreadable Hello.
    pub const MALFORMED: Self = Self(5);
    /// Too many nodes wait to be admitted.
    pub const FULL: Self = Self(6);

    /// The word logs and JSON use.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::PENDING => "pending",
            Self::REVOKED => "revoked",
            Self::WRONG_FEED => "wrong_feed",
            Self::PROTOCOL => "protocol",
            Self::MALFORMED => "malformed",
            Self::FULL => "full",
            _ => "unknown",
        }
    }
}

/// You are not in, and why.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{}: {text}", reason.code())]
pub struct Refused {
    /// For programs.
    pub reason: RefusalReason,
    /// For people.
    pub text: String,
    /// Room to grow.
    pub extensions: Extensions,
}

impl Refused {
    /// A refusal; over-long text is cut.
    #[must_use]
    pub fn new(reason: RefusalReason, text: &str) -> Self {
        Self {
            reason,
            text: text.chars().filter(|c| !c.is_control()).take(200).collect(),
            extensions: Vec::new(),
        }
    }

    /// The frame.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        frame(FrameType::REFUSED, &codec::encode(self))
    }

    /// Reads a refusal. Its text is cleaned: it will be shown on a terminal.
    ///
    /// # Errors
    /// [`WireError`]; the upstream is at fault.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let refused: Self = decode_exact("Refused", body, limits::SMALL_OBJECT_BYTES)
            .map_err(WireError::body(FrameType::REFUSED))?;
        Ok(Self::new(refused.reason, &refused.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL,
            feed: FeedId::of(b"feed"),
            root_version: RootVersion(1),
            seqs: Vec::new(),
            release: ReleaseNumber(0),
            manifest: None,
            serves: Serves::NOTHING,
            name: "mirror".into(),
            contact: "admin@example.org".into(),
            hosts: alloc::vec!["db.example.org".into()],
            extensions: Vec::new(),
        }
    }

    #[test]
    fn a_hello_reads_back() {
        let frame = hello().to_frame().unwrap();
        assert_eq!(Hello::decode(&frame[5..]), Ok(hello()));
    }

    #[test]
    fn an_unknown_version_is_told_so_whatever_follows() {
        let refused = Hello::decode(&[99, 0, 1, 2, 3]).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::PROTOCOL);
        assert!(refused.text.contains("99"), "{refused}");
    }

    #[test]
    fn a_hello_that_must_be_understood_by_a_later_version_is_refused() {
        let mut hello = hello();
        hello.extensions.push(extension::Extension {
            tag: 9,
            critical: true,
            bytes: Vec::new(),
        });
        let frame = hello.to_frame().unwrap();
        assert_eq!(
            Hello::decode(&frame[5..]).unwrap_err().reason,
            RefusalReason::PROTOCOL
        );
        hello.extensions[0].critical = false;
        assert!(Hello::decode(&hello.to_frame().unwrap()[5..]).is_ok());
    }

    #[test]
    fn details_that_would_not_fit_or_hide_escapes_are_refused() {
        let mut long = hello();
        long.name = "x".repeat(129);
        assert!(long.to_frame().is_err());
        for forged in ["\x1b[2J", "admin\nadmitted: yes", "a\tb"] {
            let mut escape = hello();
            escape.contact = forged.into();
            assert!(escape.to_frame().is_err(), "{forged:?}");
        }
    }
}
