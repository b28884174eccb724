//! One database: its members, its versions, and the way from one to the next.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::cdiff::{self, Edits};
use super::container::{self, Title};
use super::pack::Packer;
use super::random::Random;
use super::signatures::{Form, Source};

/// Digits of a 1,024-bit signature in ClamAV's base 64: the header's.
const HEADER_SIGNATURE_DIGITS: usize = 171;
/// Digits of a 2,048-bit one: that of `.info` and of a cdiff.
const LONG_SIGNATURE_DIGITS: usize = 342;

/// A text file inside a database.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) form: Form,
    pub(super) text: Vec<u8>,
}

impl Member {
    /// `lines` lines of the random stream that belongs to `name`.
    pub(super) fn new(seed: u64, name: &str, form: Form, lines: u32) -> Self {
        let mut source = Source::named(seed, name);
        let mut text = Vec::new();
        for _ in 0..lines {
            form.line(&mut source, &mut text);
        }
        Self {
            name: name.to_owned(),
            form,
            text,
        }
    }

    pub(super) fn lines(&self) -> usize {
        self.text.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Cuts the first `lines` lines off.
    fn take_first(&mut self, lines: usize) -> Vec<u8> {
        let ends = self.text.iter().enumerate();
        let mut ends = ends.filter(|(_, byte)| **byte == b'\n');
        let Some(last) = lines.checked_sub(1) else {
            return Vec::new();
        };
        let end = ends.nth(last).map_or(self.text.len(), |(at, _)| at + 1);
        let kept = self.text.split_off(end);
        std::mem::replace(&mut self.text, kept)
    }
}

/// What a release of a database changes in one member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) form: Form,
    pub(super) added: u32,
    pub(super) dropped: u32,
    pub(super) exchanged: u32,
}

/// A database at one version.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pub(super) name: &'static str,
    pub(super) version: u32,
    /// Seconds since 1970.
    pub(super) built_s: u64,
    /// In the order sigtool packs them.
    pub(super) members: Vec<Member>,
    pub(super) seed: u64,
}

impl Database {
    /// Writes `<name>.cvd` into `folder`.
    pub(super) fn write(&self, folder: &Path, packer: Packer) -> io::Result<()> {
        let info_name = format!("{}.info", self.name);
        let (copying, info) = (self.copying(), self.info());
        let mut members: Vec<(&str, &[u8])> = vec![("COPYING", &copying), (&info_name, &info)];
        members.extend(
            self.members
                .iter()
                .map(|m| (m.name.as_str(), m.text.as_slice())),
        );
        let signature = self.signature("header", HEADER_SIGNATURE_DIGITS);
        let path = folder.join(format!("{}.cvd", self.name));
        let title = self.title();
        container::write(&path, &title, &signature, &members, packer.database)
    }

    /// Moves on to the next version, built `after_s` later, and returns its cdiff.
    pub(super) fn advance(
        &mut self,
        changes: &[Change],
        after_s: u64,
        packer: Packer,
    ) -> io::Result<Vec<u8>> {
        let old_info = self.info();
        self.version += 1;
        self.built_s += after_s;
        let mut script = Vec::new();
        for change in changes {
            let stream = format!("{} {} {:?}", self.name, self.version, change.form);
            let mut source = Source::named(self.seed, &stream);
            for member in self.members.iter_mut().filter(|m| m.form == change.form) {
                let edits = choose(change, member.lines(), &mut source);
                member.text = cdiff::apply(&member.name, &member.text, &edits, &mut script);
            }
        }
        let edits = differing_lines(&old_info, &self.info());
        let info_name = format!("{}.info", self.name);
        cdiff::apply(&info_name, &old_info, &edits, &mut script);
        let signature = self.signature("cdiff", LONG_SIGNATURE_DIGITS);
        cdiff::pack(self.version, &script, signature.as_bytes(), packer.cdiff)
    }

    /// Moves the oldest third of every member to the end of `main`'s member of the same form; both move on to the
    /// next version, built `after_s` later.
    pub(super) fn move_third_to(&mut self, main: &mut Self, after_s: u64) {
        for member in &mut self.members {
            let form = member.form;
            if let Some(target) = main.members.iter_mut().find(|m| m.form == form) {
                let oldest = member.take_first(member.lines() / 3);
                target.text.extend_from_slice(&oldest);
            }
        }
        for database in [self, main] {
            database.version += 1;
            database.built_s += after_s;
        }
    }

    /// Name of the cdiff that leads to this version.
    pub(super) fn cdiff_name(&self) -> String {
        format!("{}-{}.cdiff", self.name, self.version)
    }

    fn title(&self) -> Title {
        let counted = self.members.iter().filter(|member| member.form.counts());
        Title {
            version: self.version,
            signatures: counted.map(|member| member.lines() as u64).sum(),
            built_s: self.built_s,
        }
    }

    /// The list of members with sizes and hashes; COPYING and the list itself are not in it.
    pub(super) fn info(&self) -> Vec<u8> {
        let mut info = self.title().fields("X", "X");
        info.push('\n');
        for Member { name, text, .. } in &self.members {
            let hash = container::hex(&Sha256::digest(text));
            info.push_str(&format!("{name}:{}:{hash}\n", text.len()));
        }
        let signature = self.signature("info", LONG_SIGNATURE_DIGITS);
        info.push_str(&format!("DSIG:{signature}\n"));
        info.into_bytes()
    }

    /// A licence-sized text: in real databases `.info` stands some 18 kB into the tar because of it.
    fn copying(&self) -> Vec<u8> {
        const WORDS: [&str; 12] = [
            "this", "database", "is", "made", "up", "for", "a", "test", "and", "detects",
            "nothing", "ever",
        ];
        const LINES: usize = 330;
        let mut random = Random::named(self.seed, "COPYING");
        let mut text = String::new();
        for _ in 0..LINES {
            for _ in 0..10 {
                text.push_str(random.pick(&WORDS));
                text.push(' ');
            }
            text.push('\n');
        }
        text.into_bytes()
    }

    /// A placeholder with the length of a real signature. Nothing accepts it.
    fn signature(&self, what: &str, digits: usize) -> String {
        let stream = format!("{} {} {what} signature", self.name, self.version);
        let mut out = Vec::with_capacity(digits);
        Random::named(self.seed, &stream).signature(digits, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// Random lines to drop and to exchange, and new ones for the end.
fn choose(change: &Change, lines: usize, source: &mut Source) -> Edits {
    let wanted = (change.dropped + change.exchanged) as usize;
    let mut chosen = std::collections::BTreeSet::new();
    while chosen.len() < wanted.min(lines / 2) {
        let line = source.random.below(lines as u64);
        chosen.insert(usize::try_from(line).unwrap_or(0));
    }
    let mut edits = Edits::default();
    for (nth, line) in chosen.into_iter().enumerate() {
        if nth < change.exchanged as usize {
            let mut instead = Vec::new();
            change.form.line(source, &mut instead);
            instead.pop();
            edits.exchanged.push((line, instead));
        } else {
            edits.dropped.push(line);
        }
    }
    for _ in 0..change.added {
        change.form.line(source, &mut edits.added);
    }
    edits
}

/// The lines of two `.info` files that differ. A release adds and removes no member, so both have
/// equally many.
fn differing_lines(old: &[u8], new: &[u8]) -> Edits {
    let lines = |text: &'_ [u8]| -> Vec<Vec<u8>> {
        text.split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    };
    let pairs = lines(old).into_iter().zip(lines(new)).enumerate();
    Edits {
        exchanged: pairs
            .filter(|(_, (old, new))| old != new)
            .map(|(index, (_, new))| (index, new))
            .collect(),
        ..Edits::default()
    }
}
