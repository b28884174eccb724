//! What happens in the demo, step by step.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidecast_engine::control;
use tidecast_engine::mirror::MirrorStatus;
use tidecast_engine::sample::{Day, Feed, Scale};

use super::MirrorResult;
use super::rsync::{self, RsyncMirror, RsyncRun};
use super::stage::{Stage, free_udp_port};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::shell::now_ms;
use crate::text;

/// How many mirrors there are.
const MIRRORS: usize = 3;

/// Fixed, so that every run shows the same feed.
const SEED: u64 = 4873;

/// How often the mirrors are asked how far they are.
const LOOK: Duration = Duration::from_millis(10);

/// What an operator keeps in the docroot.
const LOGO: &[u8] = b"\x89PNG\r\n\x1a\n a logo of the operator's own";

/// A mirror on the stage.
struct Mirror {
    name: String,
    url: String,
    address: String,
    pid: u32,
}

type Story = (Stage, Vec<MirrorResult>, Result<RsyncRun, String>);

/// Plays it all.
pub(super) async fn play(tell: &(dyn Fn(&str) + Sync)) -> Result<Story, Failure> {
    let mut stage = Stage::new()?;
    let tree = stage.path("tree");
    std::fs::create_dir(&tree).map_err(|error| Failure::file("create", &tree, &error))?;
    let mut feed = Feed::new(SEED, Scale::DEMO);
    feed.write(&tree)
        .map_err(|error| Failure::file("write into", &tree, &error))?;
    let tree_text = tree.to_string_lossy().into_owned();

    let port = free_udp_port()?;
    let master = format!("127.0.0.1:{port}");
    let made = stage.command(
        "master",
        &[
            "feed",
            "init",
            "--feed",
            "demo",
            "--verify",
            "header",
            "--address",
            &master,
        ],
    )?;
    let fingerprint = text_of(&made, "fingerprint")?;
    tell(&format!("made a feed; its fingerprint: {fingerprint}"));
    let release = stage.command("master", &["publish", &tree_text])?;
    tell(&format!(
        "published release 1: {}, {}",
        text::plural(release["files"].as_u64().unwrap_or_default(), "file"),
        text::bytes(release["total_bytes"].as_u64().unwrap_or_default())
    ));
    stage.daemon("master", &["master", "--listen", &master])?;

    let mut mirrors = Vec::new();
    for number in 1..=MIRRORS {
        mirrors.push(join(&mut stage, number, &master, &fingerprint)?);
    }
    tell(&format!(
        "started a master on UDP {master} and {MIRRORS} mirrors, joined by the fingerprint and admitted by their keys"
    ));
    let begun = now_ms();
    wait_for(&mut stage, &mirrors, 1).await?;
    tell(&format!(
        "all mirrors serve release 1 after {:.2} s",
        seconds_since(begun, now_ms())
    ));
    let by_rsync = if rsync::installed() {
        Some(RsyncMirror::start(&mut stage)?)
    } else {
        None
    };

    feed.advance(Day::Ordinary)
        .and_then(|()| feed.write_update(&tree))
        .map_err(|error| Failure::file("write into", &tree, &error))?;
    let begun = now_ms();
    let release = stage.command("master", &["publish", &tree_text])?;
    tell(&format!(
        "published release 2, an ordinary day's update: {} changed or new, {} new in the store",
        text::plural(release["changed"].as_u64().unwrap_or_default(), "file"),
        text::bytes(release["new_bytes"].as_u64().unwrap_or_default())
    ));
    let states = wait_for(&mut stage, &mirrors, 2).await?;
    let rsync = match &by_rsync {
        Some(mirror) => Ok(mirror.run()?),
        None => Err("for a comparison with rsync, install it: apt-get install rsync".into()),
    };

    let mut results = Vec::new();
    for (mirror, status) in mirrors.iter().zip(&states) {
        results.push(look(&stage, mirror, status, begun, rsync.as_ref().ok())?);
    }
    Ok((stage, results, rsync))
}

fn join(
    stage: &mut Stage,
    number: usize,
    master: &str,
    fingerprint: &str,
) -> Result<Mirror, Failure> {
    let name = format!("mirror{number}");
    let docroot = stage.path(&format!("{name}-docroot"));
    let logo = docroot.join("local_logo.png");
    std::fs::create_dir(&docroot)
        .and_then(|()| std::fs::write(&logo, LOGO))
        .map_err(|error| Failure::file("write", &logo, &error))?;
    let docroot = docroot.to_string_lossy().into_owned();
    let joined = stage.command(
        &name,
        &[
            "join",
            master,
            "--fingerprint",
            fingerprint,
            "--docroot",
            &docroot,
            "--name",
            &name,
            "--contact",
            "demo@example.org",
        ],
    )?;
    let started = stage.daemon(&name, &["mirror", "--http", "127.0.0.1:0"])?;
    stage.command("master", &["node", "admit", &text_of(&joined, "node_key")?])?;
    let address = text_of(&started, "http")?;
    Ok(Mirror {
        url: format!("http://{address}/"),
        address,
        pid: started["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or_default(),
        name,
    })
}

/// Waits until every mirror serves `release`, and returns how they are then.
async fn wait_for(
    stage: &mut Stage,
    mirrors: &[Mirror],
    release: u64,
) -> Result<Vec<MirrorStatus>, Failure> {
    let mut states = Vec::new();
    for mirror in mirrors {
        let state = stage.path(&mirror.name);
        loop {
            stage.all_run()?;
            let value = control::ask(&state, &control::Command::Status).await?;
            let status: MirrorStatus = serde_json::from_value(value).map_err(|error| {
                Failure::new(Exit::Internal, format!("{}'s status: {error}", mirror.name))
            })?;
            // The report comes a moment after the switch.
            let told = status
                .last_sync
                .as_ref()
                .is_some_and(|sync| sync.to >= release);
            if status.release >= release && told && status.switched_ms.is_some() {
                states.push(status);
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(states)
}

/// Looks at a mirror as its clients and its operator do.
fn look(
    stage: &Stage,
    mirror: &Mirror,
    status: &MirrorStatus,
    begun: u64,
    rsync: Option<&RsyncRun>,
) -> Result<MirrorResult, Failure> {
    let published = read(&stage.path("tree").join("daily.cvd"))?;
    let download_equal = download(&mirror.address, "/daily.cvd")
        .map_err(|error| Failure::new(Exit::Io, format!("GET {}daily.cvd: {error}", mirror.url)))?
        .is_some_and(|body| body == published);
    let logo = stage
        .path(&format!("{}-docroot", mirror.name))
        .join("local_logo.png");
    let local_kept = read(&logo)? == LOGO;
    let sync = status.last_sync.clone().unwrap_or_default();
    Ok(MirrorResult {
        mirror: mirror.name.clone(),
        switched: status.release == 2 && sync.switched && download_equal && local_kept,
        release: status.release,
        bytes: sync.received_bytes,
        sent_bytes: sync.sent_bytes,
        seconds: seconds_since(begun, status.switched_ms.unwrap_or(begun)),
        sync_seconds: sync.seconds,
        download_equal,
        local_kept,
        url: mirror.url.clone(),
        pid: mirror.pid,
        rsync_bytes: rsync.map(|run| run.received_bytes),
        rsync_seconds: rsync.map(|run| run.seconds),
    })
}

/// Downloads a file from our own server, whose answers have a length; `None` for any answer but 200.
fn download(address: &str, path: &str) -> std::io::Result<Option<Vec<u8>>> {
    /// Our own mirror on this machine answers at once.
    const TIMEOUT: Duration = Duration::from_secs(10);
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    Ok(match end {
        Some(end) if answer.starts_with(b"HTTP/1.1 200 ") => Some(answer.split_off(end + 4)),
        _ => None,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::file("read", path, &error))
}

fn text_of(value: &Value, field: &str) -> Result<String, Failure> {
    let text = value[field].as_str().map(ToOwned::to_owned);
    text.ok_or_else(|| Failure::new(Exit::Internal, format!("no {field} was printed")))
}

fn seconds_since(begun_ms: u64, end_ms: u64) -> f64 {
    Duration::from_millis(end_ms.saturating_sub(begun_ms)).as_secs_f64()
}
