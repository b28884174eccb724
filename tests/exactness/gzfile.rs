//! zlib's own files, `gzopen` to `gzclose`, behind a safe face. The only place of this test where foreign code is called.
#![expect(unsafe_code, reason = "zlib is C")]

use std::ffi::{CStr, CString, c_int, c_uint};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use libz_sys as z;

unsafe extern "C" {
    // libz-sys has it in its library, not among its declarations.
    #[link_name = "gzbuffer"]
    fn set_buffer(file: z::gzFile, size: c_uint) -> c_int;
}

/// Which zlib this is.
pub(crate) fn version() -> String {
    // SAFETY: zlib returns a string that lives as long as the program.
    let version = unsafe { CStr::from_ptr(z::zlibVersion()) };
    version.to_str().unwrap().to_owned()
}

/// A file that is written as gzip.
pub(crate) struct GzFile(z::gzFile);

impl GzFile {
    /// `mode` is that of `gzopen`; `buffer_bytes` that of `gzbuffer`.
    pub(crate) fn create(path: &Path, mode: &str, buffer_bytes: Option<u32>) -> Self {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let mode = CString::new(mode).unwrap();
        // SAFETY: both strings end in a zero and are copied.
        let file = unsafe { z::gzopen(path.as_ptr(), mode.as_ptr()) };
        assert!(!file.is_null(), "gzopen {path:?} {mode:?}");
        if let Some(bytes) = buffer_bytes {
            // SAFETY: `file` is open, and nothing was written.
            assert_eq!(unsafe { set_buffer(file, bytes) }, 0);
        }
        Self(file)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let len = c_uint::try_from(bytes.len()).unwrap();
        // SAFETY: the file is open, and `bytes` is as long as is said.
        let written = unsafe { z::gzwrite(self.0, bytes.as_ptr().cast(), len) };
        assert_eq!(usize::try_from(written).ok(), Some(bytes.len()));
    }

    pub(crate) fn close(self) {
        // SAFETY: the file is open, and nobody uses it afterwards.
        assert_eq!(unsafe { z::gzclose(self.0) }, z::Z_OK);
    }
}
