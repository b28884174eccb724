//! What an insider puts into the fields of a body before signing it.

use tidecast_proto::extension::Extension;

use crate::raw::{Entries, File, Hash, Head, Manifest, Master, Receipt, Recipe, Root, Segment};
use crate::rng::Rng;

/// Paths that lead out, belong to somebody else, or only look harmless.
pub(crate) const PATHS: [&str; 40] = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "../x",
    "a/../b",
    "a/./b",
    "a//b",
    "a/",
    "./a",
    "..\\x",
    "C:\\x",
    "a\\b",
    "a\0b",
    "a\nb",
    "a b",
    "-rf",
    "~/x",
    ".hidden",
    "a/.hidden",
    ".tidecast",
    ".tidecast/current",
    "local_x",
    "local_",
    "a/local_x",
    "LOCAL_x",
    "timestamp",
    "timestamp/x",
    "a/timestamp",
    "daily.cvd/x",
    "daily.cvd",
    "ä",
    "\u{202e}gpj.exe",
    "%2e%2e/x",
    "$(id)",
    "*",
    "CON",
    "a:b",
    "current",
];

fn text(rng: &mut Rng, near: &str) -> String {
    match rng.below(9) {
        0 => String::new(),
        1 => rng.pick(&PATHS).to_string(),
        2 => "x".repeat(*rng.pick(&[
            1, 63, 64, 65, 128, 129, 255, 256, 1024, 1025, 65_536, 65_537,
        ])),
        3 => format!("{near}\u{1b}[2J"),
        4 => format!("{near}\n{near}"),
        5 => format!("{near}\0"),
        6 => near.to_uppercase(),
        7 => "a/".repeat(rng.below(40)) + "b",
        _ => "\u{7f}\u{85}\u{9b}".into(),
    }
}

fn hash(rng: &mut Rng, near: &Hash) -> Hash {
    let mut out = *near;
    match rng.below(4) {
        0 => out = [0; 32],
        1 => out = [0xff; 32],
        2 => out[rng.below(32)] ^= 1 << rng.below(8),
        _ => out.fill_with(|| rng.next().to_le_bytes()[0]),
    }
    out
}

fn option<T>(rng: &mut Rng, value: &mut Option<T>, other: T) {
    *value = match value.take() {
        Some(_) if rng.once_in(2) => None,
        _ => Some(other),
    };
}

/// Twice, none, the other way round, far too many, one more, one less.
fn list<T: Clone>(rng: &mut Rng, list: &mut Vec<T>, another: T) {
    match rng.below(7) {
        0 => list.clear(),
        1 => list.reverse(),
        2 => {
            let at = rng.below(list.len());
            if let Some(one) = list.get(at).cloned() {
                list.insert(at, one);
            }
        }
        3 => list.push(another),
        4 => {
            list.pop();
        }
        5 => list.insert(0, another),
        _ => {
            let many = *rng.pick(&[9, 17, 32, 33, 129, 1025]);
            list.extend(std::iter::repeat_n(another, many));
        }
    }
}

fn extensions(rng: &mut Rng, all: &mut Vec<Extension>) {
    let tag = u16::from_le_bytes([rng.next().to_le_bytes()[0], 0]);
    let bytes = vec![7; *rng.pick(&[0, 1, 300, 1024, 20_000])];
    list(
        rng,
        all,
        Extension {
            tag,
            critical: tag % 2 == 1,
            bytes,
        },
    );
}

/// Something whose fields can be changed one at a time; returns which one was.
pub(crate) trait Fields {
    fn change(&mut self, rng: &mut Rng) -> &'static str;
}

macro_rules! number {
    ($rng:expr, $field:expr) => {
        $field = $rng.extreme($field)
    };
}

impl Fields for Root {
    fn change(&mut self, rng: &mut Rng) -> &'static str {
        let narrow = |rng: &mut Rng, n: u16| u16::try_from(rng.extreme(n.into()) & 0xffff).unwrap();
        let key = hash(rng, &self.root_keys.first().copied().unwrap_or_default());
        match rng.below(16) {
            0 => {
                number!(rng, self.version);
                "version"
            }
            1 => {
                number!(rng, self.epoch);
                "epoch"
            }
            2 => {
                self.feed = text(rng, &self.feed);
                "feed"
            }
            3 => {
                number!(rng, self.expires);
                "expires"
            }
            4 => {
                list(rng, &mut self.root_keys, key);
                "root_keys"
            }
            5 => {
                self.root_threshold = narrow(rng, self.root_threshold);
                "root_threshold"
            }
            6 => {
                list(rng, &mut self.release_keys, key);
                "release_keys"
            }
            7 => {
                self.release_threshold = narrow(rng, self.release_threshold);
                "release_threshold"
            }
            8 => {
                self.added_threshold = narrow(rng, self.added_threshold);
                "added_threshold"
            }
            9 => {
                list(rng, &mut self.head_keys, key);
                "head_keys"
            }
            10 => {
                number!(rng, self.head_ttl_max_ms);
                "head_ttl_max_ms"
            }
            11 => {
                let name = text(rng, "one");
                let addresses = vec![text(rng, "host:1"); rng.below(12)];
                list(
                    rng,
                    &mut self.masters,
                    Master {
                        name,
                        node_key: key,
                        addresses,
                    },
                );
                "masters"
            }
            12 => {
                let n = u32::try_from(rng.extreme(65_536) & u64::from(u32::MAX)).unwrap();
                match rng.below(5) {
                    0 => self.chunking.min = n,
                    1 => self.chunking.avg = n,
                    2 => self.chunking.max = n,
                    3 => self.chunking.level = n.to_le_bytes()[0],
                    _ => self.chunking.seed = n.into(),
                }
                "chunking"
            }
            13 => {
                list(rng, &mut self.revoked_manifests, key);
                "revoked_manifests"
            }
            14 => {
                number!(rng, self.release_min);
                "release_min"
            }
            _ => {
                extensions(rng, &mut self.extensions);
                "extensions"
            }
        }
    }
}

impl Fields for File {
    fn change(&mut self, rng: &mut Rng) -> &'static str {
        let other = hash(rng, &self.hash);
        match rng.below(9) {
            0 => {
                self.path = rng.pick(&PATHS).to_string();
                "file.path"
            }
            1 => {
                self.path = text(rng, &self.path);
                "file.path"
            }
            2 => {
                number!(rng, self.size);
                "file.size"
            }
            3 => {
                self.executable = !self.executable;
                "file.executable"
            }
            4 => {
                number!(rng, self.mtime_s);
                "file.mtime_s"
            }
            5 => {
                self.hash = other;
                "file.hash"
            }
            6 => {
                option(rng, &mut self.list, other);
                "file.list"
            }
            7 => {
                option(rng, &mut self.recipe, other);
                "file.recipe"
            }
            _ => {
                let name = if rng.once_in(2) {
                    "daily".into()
                } else {
                    text(rng, "daily")
                };
                let numbers = (rng.extreme(12), rng.extreme(1_700_000_000));
                option(rng, &mut self.database, (name, numbers.0, numbers.1));
                "file.database"
            }
        }
    }
}

impl Fields for Manifest {
    fn change(&mut self, rng: &mut Rng) -> &'static str {
        let other = hash(rng, &self.feed);
        match rng.below(14) {
            0 => {
                self.feed = other;
                "feed"
            }
            1 => {
                number!(rng, self.epoch_min);
                "epoch_min"
            }
            2 => {
                number!(rng, self.release);
                "release"
            }
            3 => {
                option(rng, &mut self.previous, other);
                "previous"
            }
            4 => {
                let release = rng.extreme(self.release);
                option(rng, &mut self.anchor, (release, other));
                "anchor"
            }
            5 => {
                number!(rng, self.created);
                "created"
            }
            6 => {
                self.notes = text(rng, &self.notes);
                "notes"
            }
            7 => {
                let mut file = self.files.first().cloned();
                if let Some(file) = &mut file {
                    file.change(rng);
                    list(rng, &mut self.files, file.clone());
                    if rng.once_in(2) {
                        self.sort();
                    }
                }
                "files"
            }
            8 => {
                self.flags.allow_shrink = !self.flags.allow_shrink;
                "flags"
            }
            9 => {
                self.flags.allow_database_rollback = !self.flags.allow_database_rollback;
                "flags"
            }
            10 => {
                extensions(rng, &mut self.extensions);
                "extensions"
            }
            _ => {
                let at = rng.below(self.files.len());
                let field = self
                    .files
                    .get_mut(at)
                    .map_or("files", |file| file.change(rng));
                // As an insider would, who wants it to be read.
                if !rng.once_in(4) {
                    self.sort();
                }
                field
            }
        }
    }
}

impl Manifest {
    pub(crate) fn sort(&mut self) {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
    }
}

impl Fields for Head {
    fn change(&mut self, rng: &mut Rng) -> &'static str {
        match rng.below(11) {
            0 => {
                self.feed = hash(rng, &self.feed);
                "feed"
            }
            1 => {
                number!(rng, self.epoch);
                "epoch"
            }
            2 => {
                number!(rng, self.seq);
                "seq"
            }
            3 => {
                number!(rng, self.issued);
                "issued"
            }
            4 => {
                number!(rng, self.expires);
                "expires"
            }
            5 => {
                number!(rng, self.release);
                "release"
            }
            6 => {
                self.manifest = hash(rng, &self.manifest);
                "manifest"
            }
            7 => {
                number!(rng, self.manifest_bytes);
                "manifest_bytes"
            }
            8 => {
                number!(rng, self.root_version);
                "root_version"
            }
            9 => {
                self.phase = rng.next().to_le_bytes()[0] & 7;
                "phase"
            }
            _ => {
                extensions(rng, &mut self.extensions);
                "extensions"
            }
        }
    }
}

impl Fields for Receipt {
    fn change(&mut self, rng: &mut Rng) -> &'static str {
        match rng.below(7) {
            0 => {
                self.feed = hash(rng, &self.feed);
                "feed"
            }
            1 => {
                number!(rng, self.release);
                "release"
            }
            2 => {
                self.manifest = hash(rng, &self.manifest);
                "manifest"
            }
            3 => {
                self.state = rng.next().to_le_bytes()[0];
                "state"
            }
            4 => {
                number!(rng, self.switched);
                "switched"
            }
            5 => {
                number!(rng, self.issued);
                "issued"
            }
            _ => {
                extensions(rng, &mut self.extensions);
                "extensions"
            }
        }
    }
}

impl Fields for Entries {
    fn change(&mut self, rng: &mut Rng) -> &'static str {
        let at = rng.below(self.len());
        let len = u32::try_from(rng.extreme(1000) & u64::from(u32::MAX)).unwrap();
        match (rng.below(3), self.get_mut(at)) {
            (0, Some(entry)) => {
                entry.0 = hash(rng, &entry.0);
                "entry.id"
            }
            (1, Some(entry)) => {
                entry.1 = len;
                "entry.len"
            }
            _ => {
                list(rng, self, ([1; 32], len));
                "entries"
            }
        }
    }
}

impl Fields for Recipe {
    fn change(&mut self, rng: &mut Rng) -> &'static str {
        let small = |rng: &mut Rng| rng.next().to_le_bytes()[0] & 15;
        let segment = match rng.below(3) {
            0 => Segment::Literal(vec![1; *rng.pick(&[0, 1, 1000, 70_000])]),
            1 => Segment::Plain(rng.extreme(100)),
            _ => Segment::Deflate(
                small(rng),
                small(rng),
                small(rng),
                rng.extreme(7021),
                rng.extreme(3000),
            ),
        };
        let at = rng.below(self.segments.len());
        match (rng.below(3), self.segments.get_mut(at)) {
            (0, _) => {
                self.opened = hash(rng, &self.opened);
                "opened"
            }
            (1, Some(one)) => {
                *one = segment;
                "segment"
            }
            _ => {
                list(rng, &mut self.segments, segment);
                "segments"
            }
        }
    }
}
