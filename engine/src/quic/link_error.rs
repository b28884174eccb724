//! Why a question to an upstream has no answer.

use quinn::{ConnectionError, ReadError, VarInt, WriteError};
use tidecast_proto::rate::TooSlow;
use tidecast_proto::wire::{RefusalReason, Refused, WireError};

use super::close_code;
use super::link::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, WAITS_MAX};
use super::stream::StreamError;

/// Why a question has no answer. Three outcomes that are handled differently: absent, corrupt, transient.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nobody answered. Nothing is known about what the upstream has.
    #[error("no answer over UDP within {} ms", CONNECT_TIMEOUT.as_millis())]
    NoAnswer,
    /// The network or the handshake failed.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The answer did not come in time. This is never taken for absence.
    #[error("no answer to {what} within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout { what: &'static str },
    /// It came too slowly to be of use.
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
    /// The upstream broke the protocol.
    #[error("the upstream broke the protocol: {0}")]
    Protocol(String),
    /// The upstream sent other bytes than those asked for.
    #[error("the upstream sent a wrong {what}")]
    Corrupt { what: String },
    /// The upstream keeps asking for patience; it may have what was asked for later.
    #[error("the upstream asked for patience {WAITS_MAX} times and has no answer yet")]
    Busy,
    /// The upstream does not have it.
    #[error("the upstream does not have {what}")]
    Absent { what: String },
    /// We may not be here, or not yet.
    #[error("refused: {0}")]
    Refused(Refused),
}

impl LinkError {
    /// The code to close the connection with.
    #[must_use]
    pub fn close_code(&self) -> VarInt {
        match self {
            Self::TooSlow(_) | Self::Timeout { .. } => close_code::TOO_SLOW,
            Self::Corrupt { .. } => close_code::CORRUPT,
            Self::Protocol(_) => close_code::PROTOCOL,
            _ => close_code::DONE,
        }
    }
}

impl From<StreamError> for LinkError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::NotRead => Self::Timeout { what: "a question" },
            StreamError::Wire(_) | StreamError::Cut | StreamError::NoAnswer => {
                Self::Protocol(error.to_string())
            }
            StreamError::Read(ReadError::ConnectionLost(lost))
            | StreamError::Write(WriteError::ConnectionLost(lost)) => lost.into(),
            _ => Self::Lost(error.to_string()),
        }
    }
}

impl From<ConnectionError> for LinkError {
    fn from(error: ConnectionError) -> Self {
        if let ConnectionError::ApplicationClosed(closed) = &error {
            let reason = match closed.error_code {
                close_code::REFUSED => Some(RefusalReason::REVOKED),
                close_code::FULL => Some(RefusalReason::FULL),
                _ => None,
            };
            if let Some(reason) = reason {
                let text = String::from_utf8_lossy(&closed.reason);
                return Self::Refused(Refused::new(reason, &text));
            }
        }
        Self::Lost(error.to_string())
    }
}

impl From<WireError> for LinkError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error.to_string())
    }
}
