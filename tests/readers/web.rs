//! Readers of the mirror's own web server.

use std::time::Duration;

use super::connection::{Broken, Connection};
use super::feed::{self, ALWAYS, BIG, SAME, SOMETIMES};
use super::tally::{Random, Tally, Wrong};
use crate::support::http::Response;

/// Between two requests, so that the one who is asked has time for the releases.
const BREATH: Duration = Duration::from_millis(1);

/// What a server that may die looks like to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Stays,
    Dies,
}

impl Server {
    /// Notes that no answer came.
    pub(crate) fn is_broken(self, broken: &Broken, tally: &Tally) {
        match (self, broken) {
            (Self::Stays, _) => tally.wrong(Wrong::Refused, format!("{broken:?}")),
            (Self::Dies, Broken::Down) => {
                tally.look("HTTP: nobody there");
                std::thread::sleep(Duration::from_millis(5));
            }
            (Self::Dies, Broken::Cut) => tally.look("HTTP: an answer cut off, and seen to be"),
        }
    }
}

/// Notes an answer that neither serves nor says that there is nothing.
fn refused(target: &str, response: &Response, tally: &Tally) {
    let wrong = match response.status {
        403 => Wrong::Forbidden,
        404 => Wrong::Missing,
        _ => Wrong::Refused,
    };
    tally.wrong(wrong, format!("{} for {target}", response.status));
}

/// Whether the tag is that of the body: the same content has the same tag on every mirror.
fn is_tagged(response: &Response) -> bool {
    let mut tag = blake3::hash(&response.body).to_hex().to_string();
    tag.truncate(32);
    response.header("etag") == Some(&format!("\"{tag}\""))
}

/// Fetches whole files.
pub(crate) fn whole_files(port: u16, server: Server, tally: &Tally, seed: u64) {
    let mut random = Random::new(seed);
    let mut connection = Connection::to(port);
    let mut newest = 0;
    while !tally.is_over() {
        std::thread::sleep(BREATH);
        let name = match random.below(8) {
            0 => "local_note",
            1 | 2 => random.one_of(&SOMETIMES),
            3 => SAME,
            _ => random.one_of(&ALWAYS),
        };
        let response = match connection.ask(&format!("/{name}"), &[]) {
            Ok(response) => response,
            Err(broken) => {
                server.is_broken(&broken, tally);
                continue;
            }
        };
        if name == "local_note" && response.status == 200 {
            tally.look("HTTP: a local_* file");
            if response.body != b"ours alone\n" {
                tally.wrong(Wrong::Touched, name);
            }
            continue;
        }
        if response.status == 404 && SOMETIMES.contains(&name) {
            tally.look("HTTP: a name that comes and goes, not there");
            continue;
        }
        if response.status != 200 {
            refused(name, &response, tally);
            continue;
        }
        tally.look("HTTP: whole files");
        match feed::release_of(name, &response.body) {
            Err(why) => tally.wrong(Wrong::Torn, why),
            Ok(_) if !is_tagged(&response) => tally.wrong(Wrong::Mixed, format!("{name}'s tag")),
            Ok(_) if name == SAME => {}
            Ok(release) if !feed::has(release, name) => {
                tally.wrong(Wrong::Mixed, format!("{name} of {release}"));
            }
            Ok(release) if release < newest => {
                tally.wrong(
                    Wrong::Older,
                    format!("{name} of {release} after one of {newest}"),
                );
            }
            Ok(release) => newest = release,
        }
    }
}

/// Fetches a file in two ranges, the second on condition that it is still the same file.
pub(crate) fn ranges(port: u16, server: Server, tally: &Tally, seed: u64) {
    let mut random = Random::new(seed);
    let mut connection = Connection::to(port);
    while !tally.is_over() {
        if let Err(broken) = two_ranges(&mut connection, &mut random, tally) {
            server.is_broken(&broken, tally);
        }
    }
}

fn two_ranges(
    connection: &mut Connection,
    random: &mut Random,
    tally: &Tally,
) -> Result<(), Broken> {
    let target = format!("/{BIG}");
    let split = 1 + random.below(50_000);
    let range = format!("Range: bytes=0-{}", split - 1);
    let first = connection.ask(&target, &[range])?;
    if first.status != 206 || first.body.len() as u64 != split {
        refused(BIG, &first, tally);
        return Ok(());
    }
    let tag = first.header("etag").unwrap_or_default().to_owned();
    if random.below(2) == 0 {
        connection.hang_up();
    }
    std::thread::sleep(Duration::from_millis(random.below(60)));
    let range = format!("Range: bytes={split}-");
    let second = connection.ask(&target, &[range, format!("If-Range: {tag}")])?;
    let body = match second.status {
        206 => {
            tally.look("HTTP: two ranges of one release");
            [first.body, second.body].concat()
        }
        200 => {
            tally.look("HTTP: a range, then the whole of a newer release");
            second.body
        }
        _ => {
            refused(BIG, &second, tally);
            return Ok(());
        }
    };
    if let Err(why) = feed::release_of(BIG, &body) {
        tally.wrong(Wrong::Torn, format!("ranges parted at {split}: {why}"));
    }
    Ok(())
}
