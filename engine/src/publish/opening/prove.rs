//! The proof that a stream can be rebuilt: it is, by the code that mirrors run, and compared with the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use tidecast_proto::deflate::{Batch, Encoder, Parameters, Tokenizer};

use super::Stream;
use super::packed::{Packed, PackedError};

/// Stretches of up to 64 KiB between the thread that opens and the one that packs again.
const STRETCHES_AHEAD: usize = 8;

/// Streams that open to less are rebuilt on one thread.
const THREAD_BYTES: u64 = 1024 * 1024;

/// What rebuilding came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The same bytes.
    Exact,
    /// The first byte that differs, by its offset in the file.
    DiffersAt(u64),
}

/// Rebuilds `stream` with `parameters` and compares. Holds a few MB.
///
/// # Errors
/// [`PackedError`]; the file can no longer be read as it was.
pub(super) fn prove(
    file: &File,
    stream: &Stream,
    parameters: Parameters,
) -> Result<Proof, PackedError> {
    let mut packed = Packed::new(file, stream.at, stream.plain_bytes);
    let mut rebuild = Rebuild::new(file, stream, parameters);
    if stream.plain_bytes < THREAD_BYTES {
        let mut batch = Batch::default();
        while packed.next(&mut batch)?.is_some() {
            if let Some(at) = rebuild.push(&batch.plain)? {
                return Ok(Proof::DiffersAt(at));
            }
            batch.clear();
        }
        return Ok(rebuild.finish()?);
    }
    let (plain_to, plain_from) = mpsc::sync_channel::<Vec<u8>>(STRETCHES_AHEAD);
    let (used_to, used_from) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        let worker = scope.spawn(move || -> io::Result<Proof> {
            while let Ok(plain) = plain_from.recv() {
                if let Some(at) = rebuild.push(&plain)? {
                    return Ok(Proof::DiffersAt(at));
                }
                // The other side is done when nobody takes it.
                let _ = used_to.send(plain);
            }
            rebuild.finish()
        });
        let sent = send(&mut packed, &plain_to, &used_from);
        drop(plain_to);
        let proof = match worker.join() {
            Ok(proof) => proof?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        sent?;
        Ok(proof)
    })
}

/// Opens the stream into the channel until it ends or nobody listens.
fn send(
    packed: &mut Packed<'_>,
    plain_to: &SyncSender<Vec<u8>>,
    used_from: &Receiver<Vec<u8>>,
) -> Result<(), PackedError> {
    let mut batch = Batch::default();
    while packed.next(&mut batch)?.is_some() {
        let mut next = used_from.try_recv().unwrap_or_default();
        next.clear();
        if plain_to
            .send(std::mem::replace(&mut batch.plain, next))
            .is_err()
        {
            break;
        }
        batch.tokens.clear();
    }
    Ok(())
}

/// Plain bytes in, compared with the file as they are packed again.
struct Rebuild<'a> {
    tokenizer: Tokenizer,
    encoder: Encoder,
    batch: Batch,
    made: Vec<u8>,
    target: Target<'a>,
}

impl<'a> Rebuild<'a> {
    fn new(file: &'a File, stream: &Stream, parameters: Parameters) -> Self {
        Self {
            tokenizer: Tokenizer::new(parameters, stream.plain_bytes, 0),
            encoder: Encoder::new(parameters, stream.plain_bytes),
            batch: Batch::default(),
            made: Vec::new(),
            target: Target {
                file,
                at: stream.at,
                left_bytes: stream.packed_bytes,
                there: Vec::new(),
            },
        }
    }

    /// Takes the next plain bytes. Returns the offset in the file of the first byte that differs.
    fn push(&mut self, plain: &[u8]) -> io::Result<Option<u64>> {
        self.batch.clear();
        self.tokenizer.push_new(plain, &mut self.batch);
        self.made.clear();
        self.encoder
            .push(&self.batch.tokens, &self.batch.plain, &mut self.made);
        self.target.compare(&self.made)
    }

    fn finish(self) -> io::Result<Proof> {
        let Self {
            mut tokenizer,
            mut encoder,
            mut batch,
            mut made,
            mut target,
        } = self;
        batch.clear();
        tokenizer.finish(&mut batch);
        made.clear();
        encoder.push(&batch.tokens, &batch.plain, &mut made);
        encoder.finish(&mut made);
        Ok(match target.compare(&made)? {
            Some(at) => Proof::DiffersAt(at),
            None if target.left_bytes == 0 => Proof::Exact,
            // It ends too soon: the first byte that is missing.
            None => Proof::DiffersAt(target.at),
        })
    }
}

/// What is left of the stream in the file.
struct Target<'a> {
    file: &'a File,
    at: u64,
    left_bytes: u64,
    there: Vec<u8>,
}

impl Target<'_> {
    /// Steps over `made`, or tells where it differs.
    fn compare(&mut self, made: &[u8]) -> io::Result<Option<u64>> {
        let len = usize::try_from(self.left_bytes).map_or(made.len(), |left| left.min(made.len()));
        self.there.resize(len, 0);
        self.file.read_exact_at(&mut self.there, self.at)?;
        let mut pairs = made.iter().zip(&self.there);
        let same = match made[..len] == self.there[..] {
            true => len,
            false => pairs.position(|(made, there)| made != there).unwrap_or(len),
        };
        self.at += same as u64;
        self.left_bytes -= same as u64;
        Ok((same < made.len()).then_some(self.at))
    }
}
