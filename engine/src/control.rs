//! The local socket commands use while a daemon runs: one JSON object per line each way. SPEC §10.1.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidecast_proto::name::ReleasePath;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the state folder.
pub const SOCKET: &str = "control.sock";

/// Longest command, in bytes with its line feed: the longest path of Linux, each byte escaped.
pub const COMMAND_BYTES: usize = 32 * 1024;

/// Longest answer, in bytes with its line feed: the status of some 30,000 nodes.
const ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// Connections served at once; more wait.
const CONNECTIONS: usize = 16;

/// Silence, or an answer that is not taken, after which a connection is closed: it holds one of the places.
const IDLE: Duration = Duration::from_secs(30);

/// What may be asked of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub enum Command {
    /// How are you?
    Status,
    /// Something on disk changed (a release, the list of nodes): look at it now.
    Reload,
    /// Look for news now and say how that ended.
    Sync,
    /// Stay on the present release.
    Hold {
        /// Why, for those who look at the status; as before if not given.
        reason: Option<String>,
    },
    /// Follow the feed again.
    Unhold,
    /// Install a bundle that lies on this machine.
    Import {
        /// Where; absolute, for the daemon stands elsewhere.
        path: PathBuf,
        /// What time it is, in Unix milliseconds, if the clock cannot be trusted.
        at_ms: Option<u64>,
    },
    /// Read these files of the live release again before believing them; a sync then heals them.
    Doubt {
        /// Their paths; a command's length bounds how many.
        paths: Vec<ReleasePath>,
    },
}

/// A command as it is written. A field nobody knows is refused: it may change what is meant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    command: Word,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Status,
    Reload,
    Sync,
    Import,
    Doubt,
    Hold,
    Unhold,
}

impl TryFrom<Line> for Command {
    type Error = &'static str;

    fn try_from(line: Line) -> Result<Self, Self::Error> {
        let Line {
            command,
            path,
            at_ms,
            paths,
            reason,
        } = line;
        Ok(match (command, path, at_ms, paths, reason) {
            (Word::Status, None, None, None, None) => Self::Status,
            (Word::Reload, None, None, None, None) => Self::Reload,
            (Word::Sync, None, None, None, None) => Self::Sync,
            (Word::Hold, None, None, None, reason) => Self::Hold { reason },
            (Word::Unhold, None, None, None, None) => Self::Unhold,
            (Word::Import, Some(path), at_ms, None, None) => Self::Import { path, at_ms },
            (Word::Import, None, ..) => return Err("import without a path"),
            (Word::Doubt, None, None, Some(paths), None) => Self::Doubt {
                paths: paths
                    .into_iter()
                    .map(ReleasePath::new)
                    .collect::<Result<_, _>>()
                    .map_err(|_| "a path that no release can have")?,
            },
            (Word::Doubt, _, _, None, _) => return Err("doubt without paths"),
            _ => return Err("a field that this command does not have"),
        })
    }
}

impl From<Command> for Line {
    fn from(command: Command) -> Self {
        let bare = |command| Self {
            command,
            path: None,
            at_ms: None,
            paths: None,
            reason: None,
        };
        match command {
            Command::Status => bare(Word::Status),
            Command::Reload => bare(Word::Reload),
            Command::Sync => bare(Word::Sync),
            Command::Hold { reason } => Self {
                reason,
                ..bare(Word::Hold)
            },
            Command::Unhold => bare(Word::Unhold),
            Command::Import { path, at_ms } => Self {
                path: Some(path),
                at_ms,
                ..bare(Word::Import)
            },
            Command::Doubt { paths } => Self {
                paths: Some(paths.iter().map(ToString::to_string).collect()),
                ..bare(Word::Doubt)
            },
        }
    }
}

/// Why a daemon could not be asked.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody listens: no daemon runs.
    #[error("no daemon answers on {}", path.display())]
    NotRunning { path: PathBuf },
    /// The socket.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The daemon says no.
    #[error("{0}")]
    Failed(String),
    /// The same, and what kind of failure it was.
    #[error("{what}")]
    FailedFor { what: String, kind: String },
}

/// Why a daemon did not carry out a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Text for the person who typed it.
    pub what: String,
    /// A word for programs, where the command has any.
    pub kind: Option<&'static str>,
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(what: T) -> Self {
        Self {
            what: what.into(),
            kind: None,
        }
    }
}

/// Answers commands.
pub trait Handler: Send + Sync + 'static {
    /// Carries out `command`.
    fn handle(&self, command: Command) -> impl Future<Output = Result<Value, Refusal>> + Send;
}

/// The socket, removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Takes the socket in `state`. A socket nobody answers on is a leftover and is replaced.
    ///
    /// # Errors
    /// [`ControlError::Failed`] when another daemon answers there; [`ControlError::Io`].
    pub async fn bind(state: &Path) -> Result<Self, ControlError> {
        let path = state.join(SOCKET);
        let failed = |source| ControlError::Io {
            path: path.clone(),
            source,
        };
        let folder = std::fs::File::open(state).map_err(failed)?;
        let short = short_path(&folder);
        if UnixStream::connect(&short).await.is_ok() {
            return Err(ControlError::Failed(format!(
                "another tidecast daemon already runs on {}",
                state.display()
            )));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&short).map_err(failed)?;
        // Whoever may write to the socket may command the daemon.
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Answers until dropped.
    pub async fn serve<H: Handler>(self, handler: Arc<H>) {
        let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
        loop {
            // Fails only when closed, which nobody does.
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let handler = handler.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, &*handler, IDLE).await {
                            tracing::debug!(%error, "control connection ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: it passes, and spinning would not help.
                    tracing::warn!(%error, "cannot accept on the control socket");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer<H: Handler>(stream: UnixStream, handler: &H, idle: Duration) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut read).take(COMMAND_BYTES as u64);
        if in_time(idle, limited.read_until(b'\n', &mut line)).await? == 0 {
            return Ok(());
        }
        // The rest of a line that is too long cannot be told from the next command.
        let too_long = line.len() == COMMAND_BYTES && line.last() != Some(&b'\n');
        let result = match serde_json::from_slice(&line) {
            _ if too_long => Err(format!("a command has at most {COMMAND_BYTES} bytes").into()),
            Ok(command) => handler.handle(command).await,
            Err(error) => Err(format!("not a command: {error}").into()),
        };
        let reply = match result {
            Ok(value) => serde_json::json!({ "ok": value }),
            Err(Refusal { what, kind: None }) => serde_json::json!({ "error": what }),
            Err(Refusal { what, kind }) => serde_json::json!({ "error": what, "kind": kind }),
        };
        let reply = format!("{reply}\n");
        in_time(idle, write.write_all(reply.as_bytes())).await?;
        if too_long {
            return Ok(());
        }
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}

/// The socket's path through the open state folder: a socket's address holds 107 bytes, a folder's path may be
/// longer.
fn short_path(state: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}/{SOCKET}", state.as_raw_fd()).into()
}

/// Asks the daemon of `state`.
///
/// # Errors
/// [`ControlError`].
pub async fn ask(state: &Path, command: &Command) -> Result<Value, ControlError> {
    let path = state.join(SOCKET);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::NotRunning { path: path.clone() }
        }
        _ => ControlError::Io {
            path: path.clone(),
            source,
        },
    };
    let folder = std::fs::File::open(state).map_err(failed)?;
    let mut stream = UnixStream::connect(short_path(&folder))
        .await
        .map_err(failed)?;
    let line =
        serde_json::to_string(command).map_err(|error| ControlError::Failed(error.to_string()))?;
    stream
        .write_all(format!("{line}\n").as_bytes())
        .await
        .map_err(failed)?;
    let mut reply = String::new();
    BufReader::new(stream.take(ANSWER_BYTES))
        .read_line(&mut reply)
        .await
        .map_err(failed)?;
    let mut reply: Value = serde_json::from_str(&reply)
        .map_err(|_| ControlError::Failed("the daemon ended without an answer".into()))?;
    match (reply.get_mut("ok").map(Value::take), reply.get("error")) {
        (Some(value), _) => Ok(value),
        (None, Some(error)) => {
            let what = error.as_str().unwrap_or("unnamed error").to_owned();
            Err(match reply.get("kind").and_then(Value::as_str) {
                Some(kind) => ControlError::FailedFor {
                    what,
                    kind: kind.into(),
                },
                None => ControlError::Failed(what),
            })
        }
        (None, None) => Err(ControlError::Failed("an answer without content".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Handler for Echo {
        async fn handle(&self, command: Command) -> Result<Value, Refusal> {
            match command {
                Command::Status => Ok(serde_json::json!({ "role": "test" })),
                Command::Reload => Err("no".into()),
                Command::Sync => Err(Refusal {
                    what: "full".into(),
                    kind: Some("disk"),
                }),
                Command::Import { path, at_ms } => {
                    Ok(serde_json::json!({ "path": path, "at_ms": at_ms }))
                }
                Command::Doubt { paths } => Ok(serde_json::json!({ "doubted": paths.len() })),
                Command::Hold { reason } => Ok(serde_json::json!({ "reason": reason })),
                Command::Unhold => Ok(serde_json::json!({})),
            }
        }
    }

    #[tokio::test]
    async fn a_command_is_answered_even_where_the_path_is_long_and_a_leftover_lies() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a".repeat(120));
        std::fs::create_dir(&state).unwrap();
        std::fs::write(state.join(SOCKET), b"leftover").unwrap();
        assert!(matches!(
            ask(&state, &Command::Status).await,
            Err(ControlError::NotRunning { .. })
        ));
        let socket = ControlSocket::bind(&state).await.unwrap();
        let serving = tokio::spawn(socket.serve(Arc::new(Echo)));
        let status = ask(&state, &Command::Status).await.unwrap();
        assert_eq!(status["role"], "test");
        let refused = ask(&state, &Command::Reload).await.unwrap_err();
        assert_eq!(refused.to_string(), "no");
        let refused = ask(&state, &Command::Sync).await.unwrap_err();
        assert!(
            matches!(&refused, ControlError::FailedFor { what, kind } if what == "full" && kind == "disk"),
            "{refused:?}"
        );
        let second = ControlSocket::bind(&state).await.unwrap_err();
        assert!(second.to_string().contains("already runs"), "{second}");
        serving.abort();
    }

    /// What the other end reads of `sent`, until it is closed.
    async fn talk(sent: &str) -> String {
        let (mut near, far) = UnixStream::pair().unwrap();
        let answering = tokio::spawn(async move { answer(far, &Echo, IDLE).await });
        near.write_all(sent.as_bytes()).await.unwrap();
        near.shutdown().await.unwrap();
        let mut answers = String::new();
        near.read_to_string(&mut answers).await.unwrap();
        answering.await.unwrap().unwrap();
        answers
    }

    #[tokio::test]
    async fn a_command_with_a_field_nobody_knows_is_refused_and_the_next_is_answered() {
        let sent = "{\"command\":\"status\",\"x\":1}\n{\"command\":\"stop\"}\nno\n{\"command\":\"status\"}\n";
        let answers = talk(sent).await;
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines.len(), 4, "{answers}");
        for (line, part) in lines
            .iter()
            .zip(["unknown field", "unknown variant", "expected"])
        {
            assert!(line.contains("error") && line.contains(part), "{line}");
        }
        assert_eq!(lines[3], "{\"ok\":{\"role\":\"test\"}}");
    }

    #[tokio::test]
    async fn a_bundle_is_named_with_its_path_and_other_commands_take_none() {
        let sent = "{\"command\":\"import\",\"path\":\"/b\",\"at_ms\":7}\n{\"command\":\"import\"}\n{\"command\":\"status\",\"path\":\"/b\"}\n\
            {\"command\":\"doubt\"}\n{\"command\":\"doubt\",\"paths\":[\"../x\"]}\n{\"command\":\"sync\",\"paths\":[]}\n{\"command\":\"doubt\",\"paths\":[\"a/b\"]}\n";
        let answers = talk(sent).await;
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines[0], "{\"ok\":{\"at_ms\":7,\"path\":\"/b\"}}");
        let refused = [
            "without a path",
            "does not have",
            "without paths",
            "no release",
            "does not have",
        ];
        assert_eq!(lines.len(), 2 + refused.len());
        assert_eq!(lines[1 + refused.len()], "{\"ok\":{\"doubted\":1}}");
        for (line, part) in lines[1..].iter().zip(refused) {
            assert!(line.contains("error") && line.contains(part), "{line}");
        }
        let command = Command::Import {
            path: "/b".into(),
            at_ms: None,
        };
        let line = serde_json::to_string(&command).unwrap();
        assert_eq!(line, "{\"command\":\"import\",\"path\":\"/b\"}");
    }

    #[tokio::test]
    async fn the_limit_is_one_lines_not_the_connections() {
        let command = "{\"command\":\"status\"}\n";
        let many = COMMAND_BYTES / command.len() + 2;
        assert_eq!(talk(&command.repeat(many)).await.lines().count(), many);
        let long = " ".repeat(COMMAND_BYTES);
        let answers = talk(&long).await;
        assert!(answers.contains("at most 32768 bytes"), "{answers}");
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_gives_its_place_back() {
        let (_near, far) = UnixStream::pair().unwrap();
        let error = answer(far, &Echo, Duration::from_millis(1))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
