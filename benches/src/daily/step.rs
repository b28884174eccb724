//! One update: a tree before, a tree after, and what lies between them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::samples::Producer;
use crate::tidecast::lossless;

/// Bytes of a `.cvd` before its gzip stream.
const HEADER_BYTES: usize = 512;

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// What happens, for people.
    pub(crate) name: String,
    pub(crate) old: PathBuf,
    pub(crate) new: PathBuf,
    /// Who packed the new databases.
    pub(crate) producer: Producer,
    /// Databases that are in both and differ.
    pub(crate) databases: Vec<String>,
    /// Packed bytes of those, after the step.
    pub(crate) database_bytes: u64,
    /// Files that are new, cdiffs all of them: their bytes.
    pub(crate) cdiff_bytes: u64,
}

impl Step {
    pub(crate) fn between(name: &str, old: &Path, new: &Path, producer: Producer) -> Result<Self> {
        let mut step = Self {
            name: name.to_owned(),
            old: old.to_owned(),
            new: new.to_owned(),
            producer,
            databases: Vec::new(),
            database_bytes: 0,
            cdiff_bytes: 0,
        };
        for entry in fs::read_dir(new)? {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            let meta = entry.metadata()?;
            match fs::metadata(old.join(&file)) {
                Ok(before) if before.ino() == meta.ino() => {}
                Ok(_) => {
                    step.database_bytes += meta.len();
                    step.databases.push(file);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    step.cdiff_bytes += meta.len();
                }
                Err(error) => return Err(error.into()),
            }
        }
        step.databases.sort();
        if step.databases.is_empty() {
            bail!(
                "no database differs between {} and {}",
                old.display(),
                new.display()
            );
        }
        Ok(step)
    }

    /// Processor seconds stock zlib needs to pack the changed databases again, on this thread, now.
    pub(crate) fn stock_deflate_cpu_s(&self) -> Result<f64> {
        let mut cpu_s = 0.0;
        for name in &self.databases {
            let plain = opened(&self.new.join(name))?;
            let pack = match self.producer {
                // What gzip's own deflate is nearest to.
                Producer::GnuGzip => Producer::Sigtool.packer().database,
                other => other.packer().database,
            };
            let before = thread_cpu_s()?;
            pack(&[&plain], &mut io::sink())?;
            cpu_s += thread_cpu_s()? - before;
        }
        Ok(cpu_s)
    }

    /// Bytes of the changed databases, opened.
    pub(crate) fn opened_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for name in &self.databases {
            bytes += opened(&self.new.join(name))?.len() as u64;
        }
        Ok(bytes)
    }

    /// One line for people.
    pub(crate) fn describe(&self) -> Result<String> {
        let mb = |bytes: u64| lossless(bytes) / 1e6;
        Ok(format!(
            "{}: {} of {:.1} MB, opened {:.1} MB; cdiffs of {} B",
            self.name,
            self.databases.join(" and "),
            mb(self.database_bytes),
            mb(self.opened_bytes()?),
            self.cdiff_bytes
        ))
    }
}

/// The tar inside a `.cvd`.
pub(crate) fn opened(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut plain)
        .with_context(|| format!("inflate {}", path.display()))?;
    Ok(plain)
}

/// Writes what a database is to delta compression: its header, then its tar.
pub(crate) fn write_opened(database: &Path, to: &mut File) -> Result<()> {
    let mut header = [0; HEADER_BYTES];
    File::open(database)?.read_exact(&mut header)?;
    to.write_all(&header)?;
    Ok(to.write_all(&opened(database)?)?)
}

#[expect(unsafe_code, reason = "std tells no processor time")]
fn thread_cpu_s() -> Result<f64> {
    let mut time = std::mem::MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is valid for writing, and a zeroed `timespec` is a valid one.
    let (code, time) = unsafe {
        let code = libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        (code, time.assume_init())
    };
    if code != 0 {
        return Err(io::Error::last_os_error().into());
    }
    let (seconds, nanos) = (u32::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?);
    Ok(f64::from(seconds) + f64::from(nanos) / 1e9)
}
