//! Lines of the text formats ClamAV's databases are made of.
//!
//! Forms: <https://docs.clamav.net/manual/Signatures.html>. The name of a member ends in its form.

use std::io::Write;

use super::random::Random;

/// Where lines come from: random numbers, and the signature names of whoever is at work.
///
/// Names come in runs, as they do in real databases: one family, numbers that rise by little, and often samples of one
/// length.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) random: Random,
    family: String,
    number: u64,
    left: u64,
    size: u64,
}

impl Source {
    /// The lines of the random stream `name`.
    pub(super) fn named(seed: u64, name: &str) -> Self {
        Self {
            random: Random::named(seed, name),
            family: String::new(),
            number: 0,
            left: 0,
            size: 0,
        }
    }

    fn name(&mut self, out: &mut Vec<u8>) {
        put(out, format_args!("{}-{}-0", self.family, self.number));
    }

    /// Moves on to the next signature.
    fn step(&mut self) {
        /// Most names of one family in a row.
        const RUN: u64 = 40;
        let random = &mut self.random;
        if self.left == 0 {
            let (platform, kind) = (random.pick(&PLATFORMS), random.pick(&KINDS));
            self.family = format!("{platform}.{kind}.{}", random.pick(&FAMILIES));
            self.number = 6_000_000 + random.below(4_000_000);
            self.left = 1 + random.below(RUN);
            self.size = size(random);
        } else if random.below(4) == 0 {
            self.size = size(random);
        }
        self.left -= 1;
        self.number += 1 + random.below(3);
    }
}

const PLATFORMS: [&str; 8] = ["Win", "Win", "Win", "Doc", "Js", "Andr", "Unix", "Html"];
const KINDS: [&str; 6] = [
    "Trojan",
    "Malware",
    "Packed",
    "Downloader",
    "Dropper",
    "Adware",
];
const FAMILIES: [&str; 8] = [
    "Sample",
    "Specimen",
    "Exhibit",
    "Placeholder",
    "Dummy",
    "Example",
    "Mockup",
    "Figment",
];

/// A form of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `MD5:size:name`.
    Hdb,
    /// `SHA256:size:name:level`.
    Hsb,
    /// `size:MD5:name`.
    Mdb,
    /// `name:target:offset:pattern`.
    Ndb,
    /// `name;target;expression;pattern;pattern`.
    Ldb,
    /// A bare name to be ignored.
    Ign2,
    /// A program: many lines, none of which count as signatures.
    Cbc,
}

impl Form {
    /// Whether a line of it counts in the header's number of signatures.
    pub(super) fn counts(self) -> bool {
        !matches!(self, Self::Ign2 | Self::Cbc)
    }

    /// Appends one line with its newline. Lines hold no blanks, so no cdiff prefix is cut short.
    pub(super) fn line(self, source: &mut Source, out: &mut Vec<u8>) {
        source.step();
        match self {
            Self::Hdb => {
                source.random.hex(32, out);
                put(out, format_args!(":{}:", source.size));
                source.name(out);
            }
            Self::Hsb => {
                source.random.hex(64, out);
                put(out, format_args!(":{}:", source.size));
                source.name(out);
                put(out, format_args!(":73"));
            }
            Self::Mdb => {
                put(out, format_args!("{}:", source.size));
                source.random.hex(32, out);
                out.push(b':');
                source.name(out);
            }
            Self::Ndb => {
                source.name(out);
                let random = &mut source.random;
                out.extend_from_slice(random.pick(&[b":0:*:".as_slice(), b":1:EP+0:", b":3:0:"]));
                pattern(random, out);
            }
            Self::Ldb => {
                source.name(out);
                let random = &mut source.random;
                put(
                    out,
                    format_args!(";Engine:81-255,Target:{};", random.below(9)),
                );
                let expressions = [b"0&1".as_slice(), b"(0&1)|0", b"(0>2)&1", b"0=1&1>3"];
                out.extend_from_slice(random.pick(&expressions));
                for _ in 0..2 {
                    out.push(b';');
                    pattern(random, out);
                }
            }
            Self::Ign2 => source.name(out),
            Self::Cbc => source.random.hex(76, out),
        }
        out.push(b'\n');
    }
}

/// Into memory, where writing cannot fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn size(random: &mut Random) -> u64 {
    // Sizes of real samples spread over four decades.
    let most = [1_000, 10_000, 100_000, 10_000_000];
    let decade = usize::try_from(random.below(4)).unwrap_or(0);
    512 + random.below(most[decade])
}

/// 10 to 40 bytes in hex, with the common stretches that real patterns share.
fn pattern(random: &mut Random, out: &mut Vec<u8>) {
    const COMMON: [&str; 4] = ["558bec83ec", "6a0068", "4d5a9000", "ffd5{-10}"];
    let bytes = 4 + random.below(16);
    random.hex(usize::try_from(bytes * 2).unwrap_or(0), out);
    out.extend_from_slice(random.pick(&COMMON).as_bytes());
    random.hex(usize::try_from(bytes * 2).unwrap_or(0), out);
}
