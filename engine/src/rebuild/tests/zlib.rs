//! Stock C zlib packs what the tests begin with and compare to.
#![expect(unsafe_code, reason = "zlib is C")]

use std::mem::{MaybeUninit, size_of};

use tidecast_proto::deflate::Parameters;

/// The raw deflate stream that stock zlib makes of `plain`, given all of it at once.
pub(crate) fn deflate(plain: &[u8], parameters: Parameters) -> Vec<u8> {
    let mut packed = vec![0; plain.len() + plain.len() / 8 + 1024];
    let small = |bytes: usize| u32::try_from(bytes).expect("tests are small");
    // SAFETY: a zeroed z_stream with null allocators is what zlib.h asks for; both buffers outlive the calls.
    unsafe {
        let mut stream = MaybeUninit::<libz_sys::z_stream>::zeroed();
        let at = stream.as_mut_ptr();
        assert_eq!(
            libz_sys::deflateInit2_(
                at,
                parameters.level().into(),
                libz_sys::Z_DEFLATED,
                -15,
                parameters.memory_level().into(),
                parameters.strategy() as i32,
                libz_sys::zlibVersion(),
                i32::try_from(size_of::<libz_sys::z_stream>()).unwrap(),
            ),
            libz_sys::Z_OK
        );
        (*at).next_in = plain.as_ptr().cast_mut();
        (*at).avail_in = small(plain.len());
        (*at).next_out = packed.as_mut_ptr();
        (*at).avail_out = small(packed.len());
        assert_eq!(
            libz_sys::deflate(at, libz_sys::Z_FINISH),
            libz_sys::Z_STREAM_END
        );
        packed.truncate(usize::try_from((*at).total_out).unwrap());
        libz_sys::deflateEnd(at);
    }
    packed
}
