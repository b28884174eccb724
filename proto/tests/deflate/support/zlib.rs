//! Stock C zlib behind a safe face. The only place of the tests where foreign code is called.
#![expect(unsafe_code, reason = "zlib is C")]

use std::{mem::MaybeUninit, os::raw::c_int};

use libz_sys as z;
use tidecast_proto::deflate::{Parameters, Strategy};

const RAW_WINDOW_BITS: c_int = -15;

fn strategy(strategy: Strategy) -> c_int {
    match strategy {
        Strategy::Default => z::Z_DEFAULT_STRATEGY,
        Strategy::Filtered => z::Z_FILTERED,
        Strategy::Huffman => z::Z_HUFFMAN_ONLY,
        Strategy::Rle => z::Z_RLE,
        Strategy::Fixed => z::Z_FIXED,
    }
}

fn stream() -> z::z_stream {
    let mut stream = MaybeUninit::<z::z_stream>::zeroed();
    let start = stream.as_mut_ptr();
    // SAFETY: every field is written before the value is assumed whole: the function pointers here, the rest as
    // zeros and null pointers by `zeroed`. zlib takes null opaque and data pointers.
    unsafe {
        (&raw mut (*start).zalloc).write(allocate);
        (&raw mut (*start).zfree).write(release);
        stream.assume_init()
    }
}

extern "C" fn allocate(_: z::voidpf, items: z::uInt, size: z::uInt) -> z::voidpf {
    // SAFETY: plain calloc; zlib checks for null and frees with `release`.
    unsafe { libc_calloc(items as usize, size as usize) }
}

extern "C" fn release(_: z::voidpf, address: z::voidpf) {
    // SAFETY: `address` came from `allocate`.
    unsafe { libc_free(address) }
}

unsafe extern "C" {
    #[link_name = "calloc"]
    fn libc_calloc(items: usize, size: usize) -> z::voidpf;
    #[link_name = "free"]
    fn libc_free(address: z::voidpf);
}

fn size() -> c_int {
    c_int::try_from(size_of::<z::z_stream>()).expect("a struct's size")
}

/// What zlib makes of `plain` in one call.
pub(crate) fn deflate(plain: &[u8], parameters: Parameters) -> Vec<u8> {
    let mut stream = stream();
    // SAFETY: `stream` is whole, and `next_in` / `next_out` point at as many bytes as `avail_*` say. zlib reads
    // and writes nothing beyond, and the buffers outlive the stream.
    unsafe {
        assert_eq!(
            z::deflateInit2_(
                &mut stream,
                c_int::from(parameters.level()),
                z::Z_DEFLATED,
                RAW_WINDOW_BITS,
                c_int::from(parameters.memory_level()),
                strategy(parameters.strategy()),
                z::zlibVersion(),
                size(),
            ),
            z::Z_OK
        );
        let bound = z::deflateBound(&mut stream, plain.len() as z::uLong);
        let mut packed = vec![0; usize::try_from(bound).expect("fits memory") + 64];
        stream.next_in = plain.as_ptr().cast_mut();
        stream.avail_in = u32::try_from(plain.len()).expect("test inputs are small");
        stream.next_out = packed.as_mut_ptr();
        stream.avail_out = u32::try_from(packed.len()).expect("test inputs are small");
        assert_eq!(z::deflate(&mut stream, z::Z_FINISH), z::Z_STREAM_END);
        packed.truncate(usize::try_from(stream.total_out).expect("fits memory"));
        z::deflateEnd(&mut stream);
        packed
    }
}

/// What zlib opens `packed` to and how many bytes of it the stream took; `None` when zlib refuses it, or when it is
/// cut or opens to more than `plain_bytes_max`.
pub(crate) fn inflate(packed: &[u8], plain_bytes_max: usize) -> Option<(Vec<u8>, usize)> {
    let mut stream = stream();
    let mut plain = vec![0; plain_bytes_max];
    // SAFETY: as in `deflate`.
    unsafe {
        assert_eq!(
            z::inflateInit2_(&mut stream, RAW_WINDOW_BITS, z::zlibVersion(), size()),
            z::Z_OK
        );
        stream.next_in = packed.as_ptr().cast_mut();
        stream.avail_in = u32::try_from(packed.len()).expect("test inputs are small");
        stream.next_out = plain.as_mut_ptr();
        stream.avail_out = u32::try_from(plain.len()).expect("test inputs are small");
        let end = z::inflate(&mut stream, z::Z_FINISH);
        plain.truncate(usize::try_from(stream.total_out).expect("fits memory"));
        let used = usize::try_from(stream.total_in).expect("fits memory");
        z::inflateEnd(&mut stream);
        (end == z::Z_STREAM_END).then_some((plain, used))
    }
}
