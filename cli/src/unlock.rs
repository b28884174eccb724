//! Passphrases: out of a file, or typed on the terminal. Never on the command line, which others can see.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use tidecast_engine::keyfile::{self, Found, KeyFileError, LockedKey, Passphrase};
use tidecast_proto::key::{PublicKey, SecretKey};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::text;

/// How often a passphrase may be mistyped.
const TRIES: usize = 3;

/// Where passphrases come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Unlock {
    /// A file whose first line is the passphrase of encrypted keys. Without it you are asked on the terminal.
    #[arg(long, value_name = "FILE", env = "TIDECAST_PASSPHRASE_FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl Unlock {
    /// The private key at `path`, opened if it is under a passphrase.
    pub(crate) fn load(&self, path: &Path) -> Result<SecretKey, Failure> {
        match keyfile::find(path)? {
            Found::Key(key) => Ok(key),
            Found::Locked(locked) => self.open(&locked),
        }
    }

    fn open(&self, locked: &LockedKey) -> Result<SecretKey, Failure> {
        if let Some(file) = &self.passphrase_file {
            return Ok(locked.unlock(&Passphrase::read(file)?)?);
        }
        let path = locked.path().display();
        for left in (0..TRIES).rev() {
            let typed = ask(&format!("Passphrase of {path}: "))?;
            match locked.unlock(&typed) {
                Err(KeyFileError::WrongPassphrase { .. }) if left > 0 => {
                    eprintln!(
                        "wrong passphrase; {}",
                        text::plural(left as u64, "more try")
                    );
                }
                other => return Ok(other?),
            }
        }
        Err(KeyFileError::WrongPassphrase {
            path: locked.path().to_owned(),
        }
        .into())
    }

    /// A passphrase for a new key, typed twice.
    pub(crate) fn choose(&self) -> Result<Passphrase, Failure> {
        if let Some(file) = &self.passphrase_file {
            return Ok(Passphrase::read(file)?);
        }
        let first = ask("New passphrase: ")?;
        if first != ask("Again: ")? {
            return Err(Failure::usage(
                "the two passphrases differ; no key was made",
            ));
        }
        Ok(first)
    }

    /// A public key as people give it: 64 hex digits, or a file with a public or private key.
    pub(crate) fn public_key(&self, option: &str, given: &str) -> Result<PublicKey, Failure> {
        match given.trim().to_ascii_lowercase().parse() {
            Ok(key) => return Ok(key),
            Err(error) if given.len() == 64 && !Path::new(given).exists() => {
                return Err(Failure::usage(format!("{option} {given}: {error}")));
            }
            Err(_) => {}
        }
        let path = Path::new(given);
        match keyfile::find_public(path)? {
            Some(key) => Ok(key),
            None => Ok(self.load(path)?.public()),
        }
    }
}

fn ask(prompt: &str) -> Result<Passphrase, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::NoInput,
            "there is no terminal to ask for a passphrase on",
        )
        .hint("name a file that holds it with --passphrase-file"));
    }
    let typed = rpassword::prompt_password(prompt)
        .map_err(|error| Failure::new(Exit::Io, format!("cannot read the passphrase: {error}")))?;
    Passphrase::new(typed).map_err(|why| Failure::usage(why.to_string()))
}
