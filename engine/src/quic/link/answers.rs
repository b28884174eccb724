//! Long answers, read piece by piece: chunks, bundles, runs. SPEC §6.4, §6.5.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use quinn::RecvStream;
use tidecast_proto::id::ChunkId;
use tidecast_proto::wire::{Answer, BundleHeader, Encoding, FetchBundle, FetchRuns, Request};

use super::Link;
use crate::packing;
use crate::quic::link_error::LinkError;

impl Link {
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
    /// How long it is said to be once opened, in bytes.
    pub(crate) fn opened_bytes(&self) -> usize {
        self.opened_bytes
    }

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
