//! Stock zlib, as sigtool has it: what made every real database, and what exact deflate is measured against.
//!
//! Tests elsewhere include this file by its path, so it names nothing of the benches.
#![expect(unsafe_code, reason = "zlib is C")]

use std::io::{self, Write};
use std::mem::MaybeUninit;

use libz_sys as z;

/// As sigtool packs databases (`gzopen` with `wb9f`): level 9, filtered.
pub(crate) fn database(pieces: &[&[u8]], out: &mut dyn Write) -> io::Result<()> {
    gzip(9, z::Z_FILTERED, pieces, out)
}

/// As the genuine test cdiffs are packed: level 6, filtered.
pub(crate) fn cdiff(pieces: &[&[u8]], out: &mut dyn Write) -> io::Result<()> {
    gzip(6, z::Z_FILTERED, pieces, out)
}

/// A producer who lets zlib choose: level 6, default strategy.
pub(crate) fn plain(pieces: &[&[u8]], out: &mut dyn Write) -> io::Result<()> {
    gzip(6, z::Z_DEFAULT_STRATEGY, pieces, out)
}

/// Writes `pieces` as one gzip stream, with zlib's own header.
fn gzip(level: i32, strategy: i32, pieces: &[&[u8]], out: &mut dyn Write) -> io::Result<()> {
    /// 15 bits of window, and 16 for gzip's header and trailer (zlib.h).
    const WINDOW_BITS_GZIP: i32 = 15 + 16;
    const MEMORY_LEVEL: i32 = 8;
    let mut stream = Stream::new(level, WINDOW_BITS_GZIP, MEMORY_LEVEL, strategy)?;
    let mut buffer = vec![0; 1 << 16];
    for piece in pieces {
        // zlib counts in 32 bits.
        for part in piece.chunks(1 << 30) {
            stream.deflate(part, z::Z_NO_FLUSH, &mut buffer, out)?;
        }
    }
    stream.deflate(&[], z::Z_FINISH, &mut buffer, out)
}

/// A `z_stream` between `deflateInit2` and `deflateEnd`.
struct Stream(Box<z::z_stream>);

impl Stream {
    fn new(level: i32, window_bits: i32, memory_level: i32, strategy: i32) -> io::Result<Self> {
        // Zeroed is what zlib.h asks for: no input, and allocators of zlib's own.
        let mut stream = Box::new(MaybeUninit::<z::z_stream>::zeroed());
        let size = i32::try_from(size_of::<z::z_stream>()).map_err(io::Error::other)?;
        // SAFETY: the pointer is valid, and boxed, because zlib keeps it.
        let code = unsafe {
            z::deflateInit2_(
                stream.as_mut_ptr(),
                level,
                z::Z_DEFLATED,
                window_bits,
                memory_level,
                strategy,
                z::zlibVersion(),
                size,
            )
        };
        if code != z::Z_OK {
            return Err(io::Error::other(format!("deflateInit2 returned {code}")));
        }
        // SAFETY: `deflateInit2` has set the allocators, the only fields for which zero is no value.
        Ok(Self(unsafe { stream.assume_init() }))
    }

    /// Takes all of `input` and writes what comes out.
    fn deflate(
        &mut self,
        input: &[u8],
        flush: i32,
        buffer: &mut [u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let stream = &mut *self.0;
        stream.next_in = input.as_ptr().cast_mut();
        stream.avail_in = u32::try_from(input.len()).map_err(io::Error::other)?;
        loop {
            stream.next_out = buffer.as_mut_ptr();
            stream.avail_out = u32::try_from(buffer.len()).map_err(io::Error::other)?;
            // SAFETY: both buffers are alive and as long as was said; zlib does not write to its input.
            let code = unsafe { z::deflate(stream, flush) };
            let left = usize::try_from(stream.avail_out).map_err(io::Error::other)?;
            out.write_all(&buffer[..buffer.len() - left])?;
            match code {
                z::Z_STREAM_END => return Ok(()),
                // Room is left, so all of the input is taken.
                z::Z_OK | z::Z_BUF_ERROR if left > 0 && flush == z::Z_NO_FLUSH => return Ok(()),
                z::Z_OK => {}
                other => return Err(io::Error::other(format!("deflate returned {other}"))),
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised and is not used again.
        unsafe { z::deflateEnd(&raw mut *self.0) };
    }
}
