//! `tidecast key new`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tidecast_engine::keyfile;
use tidecast_engine::master;
use tidecast_proto::ceremony::KeyRole;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::shell::{self, Shell};
use crate::unlock::Unlock;

/// Make a key, and print its public half.
///
/// The file is PKCS#8 in PEM form, as OpenSSL reads it, for its owner alone; nothing that exists is ever replaced.
/// Root and release keys can be put under a passphrase. Head and node keys cannot: a daemon starts with nobody there
/// to type it, and whoever reads its disk could read a passphrase beside the key as well. Exit status: 0 made, 2 no
/// such thing, 66 there is no terminal to ask on, 73 the file exists.
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// What it signs: roots, releases, heads, or (node) connections.
    #[arg(value_name = "ROLE", value_parser = ["root", "release", "head", "node"])]
    role: String,
    /// Where it goes.
    ///
    /// Default: `ROLE.key`, in the state folder for head and node; otherwise in the folder that `feed init` puts keys
    /// into.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A successor: `ROLE.next.key` in the state folder, taken when a root names it and no longer the present key.
    #[arg(long, conflicts_with = "out")]
    next: bool,
    /// Put it under a passphrase, which you are asked for twice.
    #[arg(long)]
    encrypt: bool,
    #[command(flatten)]
    unlock: Unlock,
}

#[derive(Debug, Serialize)]
struct Made {
    role: &'static str,
    public_key: String,
    file: String,
    encrypted: bool,
}

impl New {
    pub(super) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let role = KeyRole::ALL
            .into_iter()
            .find(|role| role.word() == self.role)
            .ok_or_else(|| Failure::usage(format!("{:?} is no role", self.role)))?;
        let of_daemon = matches!(role, KeyRole::Head | KeyRole::Node);
        if self.next && !of_daemon {
            return Err(
                Failure::usage(format!("--next is for head and node keys, not {role}")).hint(
                    "a new root names new root and release keys at once; give the file with --out",
                ),
            );
        }
        let path = self.path(role, shell);
        let encrypt = self.encrypt || self.unlock.passphrase_file.is_some();
        if encrypt && of_daemon {
            return Err(Failure::usage(format!(
                "a {role} key cannot be under a passphrase: the daemon starts with nobody there to type it"
            ))
            .hint("protect the disk it lies on instead"));
        }
        if path.exists() {
            let what = format!("{} exists; nothing was changed", path.display());
            return Err(Failure::new(Exit::CannotCreate, what).hint(
                "name another file with --out, or look at it with `tidecast key show FILE`",
            ));
        }
        let passphrase = encrypt.then(|| self.unlock.choose()).transpose()?;
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            shell::private_folder(folder)?;
        }
        let key = keyfile::generate()?;
        keyfile::create(&path, &key, passphrase.as_ref())?;
        if !encrypt && !of_daemon {
            shell.note("note: this key is not encrypted; --encrypt puts one under a passphrase");
        }
        let made = Made {
            role: role.word(),
            public_key: key.public().to_string(),
            file: path.display().to_string(),
            encrypted: encrypt,
        };
        let text = format!(
            "{} key  {}\nin file   {}\n",
            made.role, made.public_key, made.file
        );
        shell.result(&made, &text)?;
        Ok(Exit::Ok)
    }

    fn path(&self, role: KeyRole, shell: &Shell<'_>) -> PathBuf {
        if let Some(path) = &self.out {
            return path.clone();
        }
        let name = format!("{role}.key");
        match role {
            KeyRole::Root | KeyRole::Release => shell::default_keys(shell).join(name),
            _ if self.next => master::next_key(&shell.state, &name),
            _ => Path::new(&shell.state).join(name),
        }
    }
}
