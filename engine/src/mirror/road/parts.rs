//! Reading a bundle part by part, from a file or from a connection. SPEC §5.7.

use std::io::{self, Read};

use bytes::Bytes;
use tidecast_proto::bundle::{BundleError, FilePart, Header, PartHeader, PartKind};
use tidecast_proto::limits;
use tokio::sync::mpsc;

use super::fault::BundleFault;

/// Pieces of a bundle, of at most a frame each, that wait between the network and the disk. More of them wait in the
/// stream's window.
const PIECES: usize = 1;

/// Of a long part, how much must have come before there is room for all of it, in bytes.
const FIRST_BYTES: usize = 64 * 1024;

/// What a bundle begins with: everything in front of its sections.
#[derive(Debug)]
pub(crate) struct Preamble {
    /// Where it starts.
    pub(crate) header: Header,
    /// The signed head.
    pub(crate) head: Vec<u8>,
    /// Signed roots, as they came.
    pub(crate) roots: Vec<Vec<u8>>,
    /// The manifest, packed.
    pub(crate) manifest: Vec<u8>,
}

/// Reads parts. Never more is allocated than the part's kind allows and has come.
pub(crate) struct Parts {
    source: Box<dyn Read + Send>,
    /// Bytes of parts read so far, their headers included.
    read_bytes: u64,
    /// A header that was read and whose body was not.
    ahead: Option<PartHeader>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("read_bytes", &self.read_bytes)
            .finish_non_exhaustive()
    }
}

impl Parts {
    pub(crate) fn new(source: impl Read + Send + 'static) -> Self {
        Self {
            source: Box::new(source),
            read_bytes: 0,
            ahead: None,
        }
    }

    /// Bytes read so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    fn byte(&mut self) -> Result<u8, BundleFault> {
        let mut byte = [0];
        self.fill(&mut byte)?;
        Ok(byte[0])
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BundleFault> {
        self.source.read_exact(buffer).map_err(cut)?;
        self.read_bytes += buffer.len() as u64;
        Ok(())
    }

    /// What the next part is, its length within its kind's limit; its body has not been read yet.
    ///
    /// # Errors
    /// [`BundleFault`].
    pub(crate) fn peek(&mut self) -> Result<PartHeader, BundleFault> {
        if let Some(header) = self.ahead {
            return Ok(header);
        }
        let mut seen = Vec::with_capacity(PartHeader::BYTES_MAX);
        loop {
            seen.push(self.byte()?);
            if let Some((header, _)) = PartHeader::parse(&seen)? {
                self.ahead = Some(header);
                return Ok(header);
            }
        }
    }

    /// The next part.
    ///
    /// # Errors
    /// [`BundleFault`].
    pub(crate) fn next(&mut self) -> Result<(PartKind, Vec<u8>), BundleFault> {
        let header = self.peek()?;
        self.ahead = None;
        let mut body = Vec::new();
        // A length alone costs nothing; once something has come there is room for all of it, because growing step by
        // step it would be there twice at times.
        for most in [header.body_bytes.min(FIRST_BYTES), header.body_bytes] {
            body.reserve_exact(most - body.len());
            (&mut self.source)
                .take((most - body.len()) as u64)
                .read_to_end(&mut body)
                .map_err(cut)?;
            if body.len() < most {
                break;
            }
        }
        self.read_bytes += body.len() as u64;
        if body.len() < header.body_bytes {
            return Err(BundleError::Cut.into());
        }
        Ok((header.kind, body))
    }

    /// The next part, which must be a `kind`.
    ///
    /// # Errors
    /// [`BundleFault`].
    pub(crate) fn expect(
        &mut self,
        kind: PartKind,
        expected: &'static str,
    ) -> Result<Vec<u8>, BundleFault> {
        let header = self.peek()?;
        if header.kind != kind {
            let got = header.kind;
            return Err(BundleError::Unexpected { got, expected }.into());
        }
        Ok(self.next()?.1)
    }

    /// Everything in front of the sections.
    ///
    /// # Errors
    /// [`BundleFault`].
    pub(crate) fn preamble(&mut self) -> Result<Preamble, BundleFault> {
        let first = self.peek().map_err(|fault| match fault {
            // What begins in another way is something else altogether.
            BundleFault::Bundle(BundleError::Part { .. } | BundleError::TooLong { .. }) => {
                BundleError::NotABundle.into()
            }
            other => other,
        })?;
        if first.kind != PartKind::HEADER {
            return Err(BundleError::NotABundle.into());
        }
        let header = Header::decode(&self.next()?.1)?;
        let head = self.expect(PartKind::HEAD, "HEAD")?;
        let mut roots = Vec::new();
        while self.peek()?.kind == PartKind::ROOT {
            if roots.len() == limits::ROOT_WALK {
                return Err(BundleFault::TooManyRoots);
            }
            roots.push(self.next()?.1);
        }
        let manifest = self.expect(PartKind::MANIFEST, "MANIFEST or ROOT")?;
        Ok(Preamble {
            header,
            head,
            roots,
            manifest,
        })
    }

    /// The next section's beginning; `None` at the END, after which nothing may come.
    ///
    /// # Errors
    /// [`BundleFault`].
    pub(crate) fn section(&mut self) -> Result<Option<FilePart>, BundleFault> {
        match self.next()? {
            (PartKind::FILE, body) => Ok(Some(FilePart::decode(&body)?)),
            (PartKind::END, _) => {
                self.ended()?;
                Ok(None)
            }
            (got, _) => Err(BundleError::Unexpected {
                got,
                expected: "FILE or END",
            }
            .into()),
        }
    }

    /// Nothing follows.
    pub(crate) fn ended(&mut self) -> Result<(), BundleFault> {
        let mut byte = [0];
        match self.source.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err(BundleFault::AfterTheEnd),
            Err(error) => Err(cut(error)),
        }
    }

    /// Passes over what is left of a section that is of no use here.
    ///
    /// # Errors
    /// [`BundleFault`].
    pub(crate) fn skip_section(&mut self) -> Result<(), BundleFault> {
        while let PartKind::RECIPE | PartKind::LIST | PartKind::RUN = self.peek()?.kind {
            self.next()?;
        }
        Ok(())
    }
}

fn cut(error: io::Error) -> BundleFault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Cut.into(),
        _ => BundleFault::Read(error),
    }
}

/// A pipe from the task that receives to the thread that builds.
pub(crate) fn pipe() -> (mpsc::Sender<Bytes>, Receiver) {
    let (pieces, incoming) = mpsc::channel(PIECES);
    let receiver = Receiver {
        incoming,
        piece: Bytes::new(),
    };
    (pieces, receiver)
}

/// The blocking end of [`pipe`]. When the other end goes, the bundle ends there.
#[derive(Debug)]
pub(crate) struct Receiver {
    incoming: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.incoming.blocking_recv().unwrap_or_default();
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::bundle::put_part;
    use tidecast_proto::id::ObjectId;

    fn beginning() -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = Header {
            from: ObjectId::of(b"old"),
        };
        put_part(PartKind::HEADER, &header.encode(), &mut bytes);
        put_part(PartKind::HEAD, b"head", &mut bytes);
        put_part(PartKind::ROOT, b"root", &mut bytes);
        put_part(PartKind::MANIFEST, b"manifest", &mut bytes);
        bytes
    }

    fn parts(bytes: &[u8]) -> Parts {
        Parts::new(io::Cursor::new(bytes.to_vec()))
    }

    #[test]
    fn a_bundle_cut_anywhere_is_cut_and_nothing_may_follow_its_end() {
        let mut whole = beginning();
        put_part(PartKind::END, &[], &mut whole);
        for length in 0..whole.len() {
            let mut parts = parts(&whole[..length]);
            let fault = match parts.preamble() {
                Ok(_) => parts.section().unwrap_err(),
                Err(fault) => fault,
            };
            assert!(
                matches!(fault, BundleFault::Bundle(BundleError::Cut)),
                "{length}: {fault}"
            );
        }
        let mut read = parts(&whole);
        assert_eq!(read.preamble().unwrap().roots, [b"root".to_vec()]);
        assert_eq!(read.section().unwrap(), None);
        assert_eq!(read.read_bytes(), whole.len() as u64);
        whole.push(0);
        let mut read = parts(&whole);
        read.preamble().unwrap();
        assert!(matches!(read.section(), Err(BundleFault::AfterTheEnd)));
    }

    #[test]
    fn what_is_no_bundle_is_called_that() {
        for bytes in [
            &b"PK\x03\x04rest of it"[..],
            &[0x1f, 0x8b, 8, 0],
            &[1, 4, 1, 2, 3, 4],
        ] {
            let fault = parts(bytes).preamble().unwrap_err();
            assert!(
                matches!(fault, BundleFault::Bundle(BundleError::NotABundle)),
                "{fault}"
            );
        }
    }

    #[test]
    fn a_length_without_its_bytes_allocates_nothing() {
        // A run of 8 MiB is announced and two bytes come.
        let mut read = parts(&[8, 0x80, 0x80, 0x80, 0x04, 1, 2]);
        let fault = read.next().unwrap_err();
        assert!(matches!(fault, BundleFault::Bundle(BundleError::Cut)));
        assert_eq!(read.read_bytes(), 7);
    }
}
