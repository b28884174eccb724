//! Stock zlib.
use tidecast_proto::deflate::Parameters;
pub(crate) fn deflate(plain: &[u8], parameters: Parameters) -> Vec<u8> {
    unsafe {
        let mut s: libz_sys::z_stream = std::mem::MaybeUninit::zeroed().assume_init();
        extern "C" fn za(_: *mut std::ffi::c_void, a: u32, b: u32) -> *mut std::ffi::c_void {
            unsafe { libc_calloc(a as usize, b as usize) }
        }
        extern "C" fn zf(_: *mut std::ffi::c_void, p: *mut std::ffi::c_void) {
            unsafe { libc_free(p) }
        }
        unsafe extern "C" {
            #[link_name = "calloc"]
            fn libc_calloc(a: usize, b: usize) -> *mut std::ffi::c_void;
            #[link_name = "free"]
            fn libc_free(p: *mut std::ffi::c_void);
        }
        s.zalloc = za;
        s.zfree = zf;
        let r = libz_sys::deflateInit2_(
            &mut s,
            parameters.level() as i32,
            8,
            -15,
            parameters.memory_level() as i32,
            parameters.strategy() as i32,
            libz_sys::zlibVersion(),
            size_of::<libz_sys::z_stream>() as i32,
        );
        assert_eq!(r, 0);
        let mut out = vec![0u8; plain.len() * 9 / 8 + 1000];
        s.next_in = plain.as_ptr() as *mut u8;
        s.avail_in = plain.len() as u32;
        s.next_out = out.as_mut_ptr();
        s.avail_out = out.len() as u32;
        assert_eq!(libz_sys::deflate(&mut s, 4), 1);
        let n = s.total_out as usize;
        out.truncate(n);
        libz_sys::deflateEnd(&mut s);
        out
    }
}
