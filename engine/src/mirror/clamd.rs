//! Telling a clamd to load what has been installed. SPEC §8.15.
//!
//! The command is clamd's `RELOAD`, in the form that ends in a zero byte (clamd(8), "COMMANDS").

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::hook::plain;
use crate::config::ClamdAddress;

/// For a whole try: clamd answers at once, and loads afterwards.
const TRY: Duration = Duration::from_secs(5);

/// Between tries: a clamd that is just being restarted is there soon.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
];

const RELOAD: &[u8] = b"zRELOAD\0";

/// Longest answer that is read, in bytes.
const ANSWER_BYTES: u64 = 256;

/// Why a clamd did not say that it reloads. It goes on with the databases it has.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClamdError {
    #[error("clamd at {address} cannot be reached: {source}")]
    Connect {
        address: ClamdAddress,
        source: io::Error,
    },
    #[error("clamd at {address} broke off: {source}")]
    Io {
        address: ClamdAddress,
        source: io::Error,
    },
    #[error("clamd at {address} did not answer within {} s", TRY.as_secs())]
    Timeout { address: ClamdAddress },
    /// `COMMAND UNAVAILABLE`, for example.
    #[error("clamd at {address} answered {said:?} to RELOAD")]
    Refused { address: ClamdAddress, said: String },
}

impl ClamdError {
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "add the user tidecast runs as to the group of clamd's socket (LocalSocketGroup in clamd.conf)"
            }
            Self::Connect { .. } => {
                "check that clamd runs, and that `clamd` in mirror.toml is LocalSocket, or TCPAddr:TCPSocket, of clamd.conf"
            }
            Self::Io { .. } | Self::Timeout { .. } => {
                "see clamd's log; it looks for new databases by itself every SelfCheck seconds"
            }
            Self::Refused { .. } => {
                "check that this is clamd's socket, and that EnableReloadCommand in clamd.conf is yes"
            }
        }
    }
}

/// Asks until it says that it reloads, four times in all.
///
/// # Errors
/// [`ClamdError`], the last one.
pub(super) async fn reload(address: &ClamdAddress) -> Result<(), ClamdError> {
    let mut pauses = PAUSES.iter();
    loop {
        let tried = tokio::time::timeout(TRY, reload_once(address)).await;
        let error = match tried {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => ClamdError::Timeout {
                address: address.clone(),
            },
        };
        match pauses.next() {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => return Err(error),
        }
        tracing::info!(%error, "asking clamd again");
    }
}

async fn reload_once(address: &ClamdAddress) -> Result<(), ClamdError> {
    let connect = |source| ClamdError::Connect {
        address: address.clone(),
        source,
    };
    let said = match address {
        ClamdAddress::Local(path) => talk(UnixStream::connect(path).await.map_err(connect)?).await,
        ClamdAddress::Tcp(name) => talk(TcpStream::connect(name).await.map_err(connect)?).await,
    };
    let said = said.map_err(|source| ClamdError::Io {
        address: address.clone(),
        source,
    })?;
    if said.starts_with(b"RELOADING") {
        return Ok(());
    }
    Err(ClamdError::Refused {
        address: address.clone(),
        said: plain(&said),
    })
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Vec<u8>> {
    stream.write_all(RELOAD).await?;
    let mut said = Vec::new();
    let mut stream = stream.take(ANSWER_BYTES);
    // It ends its answer with a zero byte and then closes; an older one with a line feed.
    while !said.ends_with(b"\0") && !said.ends_with(b"\n") {
        if stream.read_buf(&mut said).await? == 0 {
            break;
        }
    }
    while let Some(b'\0' | b'\n') = said.last() {
        said.pop();
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A clamd that answers each of these in turn; `None` closes without a word. Gives what was asked.
    async fn clamd(listener: UnixListener, answers: Vec<Option<&'static [u8]>>) -> Vec<Vec<u8>> {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut command = vec![0; RELOAD.len()];
            stream.read_exact(&mut command).await.unwrap();
            asked.push(command);
            if let Some(answer) = answer {
                stream.write_all(answer).await.unwrap();
            }
        }
        asked
    }

    fn place() -> (tempfile::TempDir, ClamdAddress) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clamd.ctl");
        (folder, ClamdAddress::Local(path))
    }

    fn listen(address: &ClamdAddress) -> UnixListener {
        UnixListener::bind(address.to_string()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_clamd_that_says_it_reloads_is_asked_once() {
        let (_folder, address) = place();
        let clamd = tokio::spawn(clamd(listen(&address), vec![Some(b"RELOADING\0")]));
        reload(&address).await.unwrap();
        assert_eq!(clamd.await.unwrap(), [RELOAD]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clamd_that_is_just_coming_up_is_asked_again() {
        let (_folder, address) = place();
        let clamd = tokio::spawn(clamd(listen(&address), vec![None, Some(b"RELOADING\n")]));
        reload(&address).await.unwrap();
        assert_eq!(clamd.await.unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_there_or_will_not_is_given_up_with_what_to_do() {
        let (_folder, address) = place();
        let error = reload(&address).await.unwrap_err();
        assert!(error.advice().contains("LocalSocket"), "{error}");
        let no: &[u8] = b"COMMAND UNAVAILABLE\x1b\0";
        let clamd = tokio::spawn(clamd(listen(&address), vec![Some(no); 4]));
        let error = reload(&address).await.unwrap_err();
        assert!(error.advice().contains("EnableReloadCommand"), "{error}");
        assert!(!error.to_string().contains('\x1b'), "{error}");
        assert_eq!(clamd.await.unwrap().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_says_nothing_holds_up_nobody() {
        let (_folder, address) = place();
        let _listening = listen(&address);
        let error = reload(&address).await.unwrap_err();
        assert!(matches!(error, ClamdError::Timeout { .. }), "{error}");
    }
}
