//! `tidecast root sign`.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use tidecast_engine::durable::{self, Access};
use tidecast_proto::key::PublicKey;

use super::{at_hand, report, show};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{Shell, now_ms};
use crate::unlock::Unlock;

/// Sign a root with root keys, after showing what it says and changes.
///
/// The signatures are added to the file; a copy that somebody else signed is put together with it by --from. A root
/// that no mirror would follow, and a key that has no say in it, are refused. Exit status: 0 signed (whether it is
/// complete is printed), 1 it needs your yes, 65 no mirror would follow it, 66 a file is missing, 77 a key has no say,
/// or a wrong passphrase.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// The root's file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A root key's file; may be given more than once.
    #[arg(long = "key", value_name = "KEYFILE", required_unless_present = "from")]
    keys: Vec<PathBuf>,
    /// Another copy of the same root, whose signatures are taken over; may be given more than once.
    #[arg(long, value_name = "COPY")]
    from: Vec<PathBuf>,
    /// The root before it. Default: out of the state folder, if it is there.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Sign without asking.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    unlock: Unlock,
}

impl Sign {
    pub(super) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let (mut signed, body) = at_hand::read(&self.file)?;
        let chain = at_hand::chain(shell)?;
        let previous = show::previous(self.against.as_deref(), chain.as_ref(), &body)?;
        if let Some(previous) = &previous {
            body.follows(previous).map_err(|error| {
                Failure::new(
                    Exit::Data,
                    format!("no mirror would follow this root: {error}"),
                )
                .hint("draft it again with `tidecast root rotate`")
            })?;
        }
        let mut entitled: Vec<PublicKey> = body.root_keys.clone();
        entitled.extend(previous.iter().flat_map(|previous| &previous.root_keys));
        for path in &self.from {
            let (copy, _) = at_hand::read(path)?;
            let known = previous.is_some() || body.version.0 == 1;
            let signers: Vec<PublicKey> = copy.signers().collect();
            // Without the root before it nobody can tell whose signatures count; all are carried.
            let entitled = if known { &entitled } else { &signers };
            if !signed.gather(&copy, entitled) {
                let what = format!("{} is another root", path.display());
                return Err(Failure::new(Exit::Data, what)
                    .hint("compare the two with `tidecast root show FILE`"));
            }
        }
        if !self.keys.is_empty() {
            let before = report::Report::new(Some(&self.file), &signed, &body, previous.as_ref())?;
            self.confirm(shell, &before.text(now_ms()))?;
        }
        for path in &self.keys {
            let key = self.unlock.load(path)?;
            let unknown_before = previous.is_none() && body.version.0 > 1;
            if !entitled.contains(&key.public()) && !unknown_before {
                let what = format!(
                    "{} in {} is a root key neither of this root nor of the one before; nothing was signed",
                    key.public(),
                    path.display()
                );
                return Err(Failure::new(Exit::NoPermission, what)
                    .hint("`tidecast root show FILE` lists the keys that could sign"));
            }
            signed.add_signature(&key);
        }
        durable::write(&self.file, &signed.to_bytes(), Access::Everyone)?;
        let report = report::Report::new(Some(&self.file), &signed, &body, previous.as_ref())?;
        let text = report.text(now_ms());
        shell.result(&report, &text)?;
        Ok(Exit::Ok)
    }

    /// What is signed is seen first, and wanted.
    fn confirm(&self, shell: &Shell<'_>, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let asked =
            !shell.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if !asked {
            return Err(
                Failure::new(Exit::General, format!("{what}\nnothing was signed"))
                    .hint("read it, then add --yes"),
            );
        }
        eprint!("{what}\nSign this? [y/N] ");
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        match answer.trim() {
            "y" | "Y" | "yes" if read.is_ok() => Ok(()),
            _ => Err(Failure::new(Exit::General, "nothing was signed")),
        }
    }
}
