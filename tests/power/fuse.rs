//! A FUSE file system of one file, which is a disk: what a loop device over it does can be seen and undone.
//!
//! The mount point itself is the file, so that no name is ever looked up. The kernel's side is described in
//! `linux/fuse.h` (protocol 7.31); every number is in the machine's byte order. Nothing is cached between the loop device
//! and the disk: the file is opened for direct I/O, so that a write is answered by the disk itself, and the block
//! layer's flush arrives as FSYNC after all writes that were answered before it.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags};

/// What lies behind the file.
pub(crate) trait Device {
    /// Never changes.
    fn len_bytes(&self) -> u64;
    fn read(&self, at: u64, into: &mut [u8]);
    fn write(&self, at: u64, bytes: &[u8]);
    /// What was written is on disk once this returns.
    fn flush(&self);
    /// A discard, or a request for zeros.
    fn zero(&self, at: u64, len: u64);
}

/// Most bytes of one WRITE that the kernel is offered.
const WRITE_BYTES_MAX: u32 = 128 * 1024;
/// The kernel wants room for a request's header beside the bytes.
const REQUEST_BYTES_MAX: usize = WRITE_BYTES_MAX as usize + 4096;
/// `fuse_in_header` and `fuse_out_header`.
const REQUEST_HEADER_BYTES: usize = 40;
const REPLY_HEADER_BYTES: usize = 16;

/// Opcodes of `linux/fuse.h`; all others are answered with "not implemented".
mod opcode {
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const DESTROY: u32 = 38;
    pub(super) const BATCH_FORGET: u32 = 42;
    pub(super) const FALLOCATE: u32 = 43;
}

/// `ENOSYS` and `EOPNOTSUPP` of Linux.
const NOT_IMPLEMENTED: i32 = -38;
const NOT_SUPPORTED: i32 = -95;
/// `FOPEN_DIRECT_IO`.
const DIRECT_IO: u32 = 1;
/// `FALLOC_FL_PUNCH_HOLE` and `FALLOC_FL_ZERO_RANGE`.
const ZEROING: u32 = 0x02 | 0x10;

/// Mounts over the empty file `point`; returns the kernel's end, whose holder has to [`serve`] it. The file system fails at
/// once when nobody holds it any more.
///
/// # Errors
/// Of the system: not root, or no FUSE.
pub(crate) fn mount(point: &Path) -> io::Result<File> {
    let kernel = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!(
        "fd={},rootmode=100000,user_id=0,group_id=0,allow_other",
        kernel.as_raw_fd()
    );
    let options = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("disk", point, "fuse.disk", flags, options.as_c_str())?;
    Ok(kernel)
}

/// Answers the kernel until the file system is unmounted.
///
/// # Errors
/// Of the connection to the kernel.
pub(crate) fn serve(mut kernel: File, device: &dyn Device) -> io::Result<()> {
    /// The connection has ended.
    const ENODEV: i32 = 19;
    let mut request = vec![0; REQUEST_BYTES_MAX];
    loop {
        let got = match kernel.read(&mut request) {
            Ok(got) => got,
            Err(error) if error.raw_os_error() == Some(ENODEV) => return Ok(()),
            // A request that was taken back before it was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(reply) = answer(device, &request[..got]) else {
            continue;
        };
        match kernel.write_all(&reply) {
            // Whoever asked does not wait any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
}

/// Takes the file system away from `point`, whoever still looks at it.
pub(crate) fn unmount(point: &Path) {
    let _ = rustix::mount::unmount(point, UnmountFlags::DETACH);
}

/// The reply to one request; `None` where the kernel wants none.
fn answer(device: &dyn Device, request: &[u8]) -> Option<Vec<u8>> {
    let (header, body) = request.split_at(REQUEST_HEADER_BYTES);
    let mut reply = Reply {
        bytes: vec![0; REPLY_HEADER_BYTES],
        error: 0,
    };
    match u32_at(header, 4) {
        opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => return None,
        opcode::INIT => reply.init(u32_at(body, 8)),
        opcode::GETATTR | opcode::SETATTR => reply.attributes(device.len_bytes()),
        opcode::OPEN => {
            reply.u64(0);
            reply.u32(DIRECT_IO);
            reply.u32(0);
        }
        opcode::READ => {
            let at = u64_at(body, 8);
            let len = u64::from(u32_at(body, 16)).min(device.len_bytes().saturating_sub(at));
            let start = reply.bytes.len();
            reply.bytes.resize(start + usize::try_from(len).unwrap(), 0);
            device.read(at, &mut reply.bytes[start..]);
        }
        opcode::WRITE => {
            let len = u32_at(body, 16);
            device.write(u64_at(body, 8), &body[40..40 + len as usize]);
            reply.u32(len);
            reply.u32(0);
        }
        opcode::FALLOCATE if u32_at(body, 24) & ZEROING != 0 => {
            device.zero(u64_at(body, 8), u64_at(body, 16));
        }
        opcode::FALLOCATE => reply.error = NOT_SUPPORTED,
        opcode::FSYNC => device.flush(),
        opcode::FLUSH | opcode::RELEASE | opcode::DESTROY => {}
        _ => reply.error = NOT_IMPLEMENTED,
    }
    Some(reply.finish(&header[8..16]))
}

struct Reply {
    bytes: Vec<u8>,
    error: i32,
}

impl Reply {
    fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes.extend(value.to_ne_bytes());
    }

    /// `fuse_init_out`: no flags, so that the kernel keeps no writes back.
    fn init(&mut self, readahead: u32) {
        for value in [7, 31, readahead, 0, 0, WRITE_BYTES_MAX, 1] {
            self.u32(value);
        }
        self.bytes.resize(REPLY_HEADER_BYTES + 64, 0);
    }

    /// `fuse_attr_out` of the one file, valid for good.
    fn attributes(&mut self, len: u64) {
        self.u64(u64::from(u32::MAX));
        self.u64(0);
        for value in [1, len, len / 512, 0, 0, 0] {
            self.u64(value);
        }
        for value in [0, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0] {
            self.u32(value);
        }
    }

    fn finish(mut self, unique: &[u8]) -> Vec<u8> {
        if self.error != 0 {
            self.bytes.truncate(REPLY_HEADER_BYTES);
        }
        let len = u32::try_from(self.bytes.len()).unwrap();
        self.bytes[..4].copy_from_slice(&len.to_ne_bytes());
        self.bytes[4..8].copy_from_slice(&self.error.to_ne_bytes());
        self.bytes[8..16].copy_from_slice(unique);
        self.bytes
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
