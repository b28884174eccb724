//! Readers of a real Apache in front of the docroot, and of plain files that are unlinked under it, for comparison.
//!
//! Apache looks at a file before it opens it. When the file has gone in between it answers 403; when another one stands
//! there it sends that one at the length of the first. Neither can be helped from outside, and both befall plain files that
//! are unlinked or renamed over; what may be asked is that it happens no more often than there.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::connection::{Broken, Connection};
use super::feed::{self, ALWAYS, PASSES, SAME};
use super::tally::{Random, Tally, Wrong};
use super::web::Server;

pub(crate) const DROPPED: &str = "Apache: names seen to go";
pub(crate) const DROPPED_403: &str = "Apache: 403 for a name that goes";
pub(crate) const PLAIN: &str = "Apache: plain files seen to go";
pub(crate) const PLAIN_403: &str = "Apache: 403 for a plain file that goes";

pub(crate) const OTHER_LENGTH: &str = "Apache: a file at the length of the one before";
pub(crate) const SWAPPED: &str = "Apache: plain files renamed over";
pub(crate) const SWAPPED_LENGTH: &str = "Apache: a plain file at the length of the one before";

/// Readers that ask all the time for names whose content changes with each switch: [`kept`] and [`dropped`].
const READERS: u64 = 2;

/// The plain file that is renamed over.
const SWAP: &str = "swapped";

/// Where the plain files lie: an operator's folder.
const PLAIN_FOLDER: &str = "local_plain";

/// What Apache says of a name.
enum Said {
    Whole,
    Absent,
    Forbidden,
}

/// How many files back Apache may have looked: while it has no processor, plain files are renamed over many times.
const BEFORE: u64 = 100;

/// Whether this is one of `name`'s files at the length of one before it: its beginning, or all of it and zeros, for Apache
/// maps files into its memory.
fn has_another_length(name: &str, body: &[u8]) -> bool {
    let line = body.split(|byte| *byte == b' ').next().unwrap_or_default();
    let Ok(Ok(number)) = std::str::from_utf8(line).map(str::parse::<u64>) else {
        return false;
    };
    let mut content = feed::content(number, name);
    content.resize(body.len(), 0);
    let mut before = number.saturating_sub(BEFORE)..number;
    content == body && before.any(|number| feed::content(number, name).len() == body.len())
}

/// Asks for `name`; what is neither of these goes to the tally.
fn ask(connection: &mut Connection, name: &str, tally: &Tally) -> Option<Said> {
    let response = match connection.ask(&format!("/{name}"), &[]) {
        Ok(response) => response,
        // The new file is shorter.
        Err(Broken::Cut) => {
            tally.look(OTHER_LENGTH);
            return None;
        }
        Err(broken) => {
            Server::Stays.is_broken(&broken, tally);
            return None;
        }
    };
    match response.status {
        200 => match feed::release_of(name, &response.body) {
            Ok(release) if name == SAME || feed::has(release, name) => return Some(Said::Whole),
            Ok(release) => tally.wrong(Wrong::Mixed, format!("Apache: {name} of {release}")),
            Err(_) if has_another_length(name, &response.body) => tally.look(OTHER_LENGTH),
            Err(why) => tally.wrong(Wrong::Torn, format!("Apache: {why}")),
        },
        403 => return Some(Said::Forbidden),
        404 => return Some(Said::Absent),
        status => tally.wrong(Wrong::Refused, format!("Apache: {status} for {name}")),
    }
    None
}

/// Fetches names that every release has.
pub(crate) fn kept(port: u16, tally: &Tally, seed: u64) {
    let mut random = Random::new(seed);
    let mut connection = Connection::to(port);
    while !tally.is_over() {
        let name = match random.below(8) {
            0 => SAME,
            _ => random.one_of(&ALWAYS),
        };
        match ask(&mut connection, name, tally) {
            Some(Said::Whole) => tally.look("Apache: names that stay"),
            Some(Said::Absent) => tally.wrong(Wrong::Missing, format!("Apache: {name}")),
            Some(Said::Forbidden) => tally.wrong(Wrong::Forbidden, format!("Apache: {name}")),
            None => {}
        }
    }
}

/// Asks for the next new name until it is there.
pub(crate) fn added(port: u16, tally: &Tally) {
    let mut connection = Connection::to(port);
    let mut next = tally.begun() + 1;
    while !tally.is_over() {
        let name = feed::passing(next);
        let said = ask(&mut connection, &name, tally);
        if tally.begun() >= next + PASSES {
            // A mirror that was down when it came may never have had it.
            next = tally.begun() + 1;
            continue;
        }
        match said {
            Some(Said::Whole) => {
                tally.look("Apache: names seen to come");
                next += 1;
            }
            Some(Said::Absent) => tally.look("Apache: names that are about to come"),
            Some(Said::Forbidden) => {
                tally.wrong(Wrong::Forbidden, format!("Apache: {name}, which comes"));
            }
            None => {}
        }
    }
}

/// Asks for the oldest name that will go until it has gone.
pub(crate) fn dropped(port: u16, tally: &Tally) {
    let mut connection = Connection::to(port);
    let mut oldest = tally.begun();
    let mut was_there = false;
    while !tally.is_over() {
        let name = feed::passing(oldest);
        let said = ask(&mut connection, &name, tally);
        let goes = tally.begun() >= oldest + PASSES;
        match said {
            Some(Said::Whole) => {
                was_there = true;
                tally.look("Apache: names that will go");
            }
            Some(Said::Forbidden) if goes => tally.look(DROPPED_403),
            Some(Said::Forbidden) => {
                tally.wrong(Wrong::Forbidden, format!("Apache: {name}, which stays"));
            }
            Some(Said::Absent) if was_there && !goes => {
                tally.wrong(Wrong::Missing, format!("Apache: {name}, which stays"));
            }
            Some(Said::Absent) if was_there || goes => {
                if was_there {
                    tally.look(DROPPED);
                }
                was_there = false;
                oldest += 1;
            }
            // It has not come yet.
            Some(Said::Absent) | None => {}
        }
    }
}

/// A plain file and whoever asks for it, in step.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// The file that is there.
    current: AtomicU64,
    /// The last one that was served.
    seen: AtomicU64,
    /// The last one that was found gone.
    gone: AtomicU64,
}

impl Plain {
    /// Makes a file, waits until it was served, unlinks it, and so on.
    pub(crate) fn unlink(&self, docroot: &Path, tally: &Tally, seed: u64) {
        let mut random = Random::new(seed);
        let folder = docroot.join(PLAIN_FOLDER);
        fs::create_dir_all(&folder).unwrap();
        let until = |reached: &AtomicU64, number: u64| {
            while reached.load(Ordering::SeqCst) < number && !tally.is_over() {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        for number in 1.. {
            if tally.is_over() {
                return;
            }
            let file = folder.join(number.to_string());
            let bytes = feed::content(number, &feed::passing(number));
            fs::write(folder.join("next"), bytes).unwrap();
            fs::rename(folder.join("next"), &file).unwrap();
            self.current.store(number, Ordering::SeqCst);
            until(&self.seen, number);
            std::thread::sleep(Duration::from_micros(random.below(5_000)));
            fs::remove_file(&file).unwrap();
            until(&self.gone, number);
        }
    }

    /// Asks for the file until it has gone.
    pub(crate) fn ask(&self, port: u16, tally: &Tally) {
        let mut connection = Connection::to(port);
        while !tally.is_over() {
            let number = self.current.load(Ordering::SeqCst);
            if number == self.gone.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let said = connection.ask(&format!("/{PLAIN_FOLDER}/{number}"), &[]);
            match said {
                Err(broken) => Server::Stays.is_broken(&broken, tally),
                Ok(response) => match response.status {
                    200 => self.seen.store(number, Ordering::SeqCst),
                    403 => tally.look(PLAIN_403),
                    404 => {
                        tally.look(PLAIN);
                        self.gone.store(number, Ordering::SeqCst);
                    }
                    status => tally.wrong(Wrong::Refused, format!("{status} for a plain file")),
                },
            }
        }
    }

    /// Renames one file over the other.
    pub(crate) fn swap(docroot: &Path, tally: &Tally, seed: u64) {
        let mut random = Random::new(seed);
        let folder = docroot.join(PLAIN_FOLDER);
        fs::create_dir_all(&folder).unwrap();
        for number in 1.. {
            if tally.is_over() {
                return;
            }
            fs::write(folder.join("other"), feed::content(number, SWAP)).unwrap();
            fs::rename(folder.join("other"), folder.join(SWAP)).unwrap();
            tally.look(SWAPPED);
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
        }
    }

    /// Asks for the file that is renamed over.
    pub(crate) fn ask_for_the_swapped(port: u16, tally: &Tally) {
        let mut connection = Connection::to(port);
        while !tally.is_over() {
            match connection.ask(&format!("/{PLAIN_FOLDER}/{SWAP}"), &[]) {
                Err(Broken::Cut) => tally.look(SWAPPED_LENGTH),
                Err(broken) => Server::Stays.is_broken(&broken, tally),
                // Not there yet.
                Ok(response) if response.status != 200 => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(response) => match feed::release_of(SWAP, &response.body) {
                    Ok(_) => {}
                    Err(_) if has_another_length(SWAP, &response.body) => {
                        tally.look(SWAPPED_LENGTH);
                    }
                    Err(why) => tally.wrong(Wrong::Torn, format!("a plain file: {why}")),
                },
            }
        }
    }
}

/// Names that go must not be forbidden more often than plain files are, and names that stay not be sent at another's
/// length more often than plain files that are renamed over.
pub(crate) fn compare(tally: &Tally, switches: u64) -> Result<String, String> {
    let looks = |kind| tally.looks(kind);
    let forbidden = no_more_than(
        (looks(DROPPED), looks(DROPPED_403)),
        (looks(PLAIN), looks(PLAIN_403)),
    );
    let lengths = no_more_than(
        (switches * READERS, looks(OTHER_LENGTH)),
        (looks(SWAPPED), looks(SWAPPED_LENGTH)),
    );
    let forbidden = forbidden.map_err(|why| format!("403, names that go: {why}"))?;
    let lengths = lengths.map_err(|why| format!("another's length, names that stay: {why}"))?;
    Ok(format!(
        "403, names that go: {forbidden}\nanother's length, names that stay: {lengths}"
    ))
}

/// Whether `ours`, times and how many of them went wrong, are no worse than `plain`, by more than chance. The figures, or
/// how they are too high.
pub(crate) fn no_more_than(ours: (u64, u64), plain: (u64, u64)) -> Result<String, String> {
    #[expect(clippy::cast_precision_loss, reason = "thousands at most")]
    let [times, wrong, plain_times, plain_wrong] =
        [ours.0, ours.1, plain.0, plain.1].map(|count| count as f64);
    let expected = plain_wrong * times / plain_times;
    // Three standard deviations of both counts, and as many again as a few unlucky moments cost.
    let most = expected + 3.0 * (expected * (1.0 + times / plain_times)).sqrt() + 3.0;
    let figures = format!(
        "{wrong} of {times}; of plain files {plain_wrong} of {plain_times}, which is {expected:.1} for as many; at most {most:.1} allowed"
    );
    // Where nothing went, both bounds are no numbers.
    if times > 0.0 && wrong <= most {
        Ok(figures)
    } else {
        Err(figures)
    }
}
