//! What an upstream sends unasked: heads, small bundles, the nudge to greet again. SPEC §6.4.

use std::sync::PoisonError;
use std::time::Duration;

use quinn::RecvStream;
use tidecast_proto::limits;
use tidecast_proto::wire::{BundleHeader, FRAME_HEADER_BYTES, FrameType};

use super::{Link, in_time, unexpected};
use crate::quic::link_error::LinkError;
use crate::quic::stream::{StreamError, read_frame};

/// News that one upstream may send in [`NEWS_WINDOW`]. A master has some when there is a release, a head or an admission.
const NEWS_MAX: u32 = 128;

/// See [`NEWS_MAX`].
const NEWS_WINDOW: Duration = Duration::from_secs(30);

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

impl Link {
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
