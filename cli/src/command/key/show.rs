//! `tidecast key show`.

use std::path::PathBuf;

use serde::Serialize;
use tidecast_engine::keyfile::{self, Found};
use tidecast_proto::ceremony::KeyRole;

use crate::command::root::at_hand;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::shell::Shell;
use crate::unlock::Unlock;

/// Show the public half of a key, and what the feed's root lets it sign.
///
/// Reads private keys, which may be under a passphrase, and public ones. The root is that of the state folder, if
/// there is one. Exit status: 0 shown, 65 it is no key, 66 there is no such file, 77 wrong passphrase or a file that
/// others may read.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The key's file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the public key in PEM form, as OpenSSL reads it, and nothing else.
    #[arg(long, conflicts_with = "hex")]
    pem: bool,
    /// Print the public key's 64 digits, and nothing else.
    #[arg(long)]
    hex: bool,
    #[command(flatten)]
    unlock: Unlock,
}

#[derive(Debug, Serialize)]
struct Shown {
    file: String,
    public_key: String,
    private: bool,
    encrypted: bool,
    root_version: Option<u64>,
    roles: Vec<&'static str>,
}

impl Show {
    pub(super) fn run(self, shell: &mut Shell<'_>) -> Outcome {
        let (key, private, encrypted) = match keyfile::find_public(&self.file)? {
            Some(key) => (key, false, false),
            None => {
                let encrypted = matches!(keyfile::find(&self.file)?, Found::Locked(_));
                (self.unlock.load(&self.file)?.public(), true, encrypted)
            }
        };
        if self.pem {
            shell.print(&keyfile::public_pem(&key)?)?;
            return Ok(Exit::Ok);
        }
        if self.hex {
            shell.print(&format!("{key}\n"))?;
            return Ok(Exit::Ok);
        }
        let chain = at_hand::chain(shell)?;
        let newest = chain.as_ref().and_then(|chain| chain.newest());
        let roles = newest.map_or(Vec::new(), |root| {
            KeyRole::ALL
                .into_iter()
                .filter(|role| root.names(*role, &key))
                .map(KeyRole::word)
                .collect()
        });
        let shown = Shown {
            file: self.file.display().to_string(),
            public_key: key.to_string(),
            private,
            encrypted,
            root_version: newest.map(|root| root.version.0),
            roles,
        };
        let text = render(&shown);
        shell.result(&shown, &text)?;
        Ok(Exit::Ok)
    }
}

fn render(shown: &Shown) -> String {
    let kind = match (shown.private, shown.encrypted) {
        (false, _) => "public key",
        (true, false) => "private key, not encrypted",
        (true, true) => "private key, under a passphrase",
    };
    let roles = match (shown.root_version, &shown.roles[..]) {
        (None, _) => "no root at hand to say".into(),
        (Some(version), []) => format!("nothing, says root {version}"),
        (Some(version), roles) => format!("{}, says root {version}", roles.join(" and ")),
    };
    format!(
        "key   {}\nfile  {} ({kind})\nfor   {roles}\n",
        shown.public_key, shown.file
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_is_for_is_told_or_said_to_be_unknown() {
        let mut shown = Shown {
            file: "/k".into(),
            public_key: "ab".into(),
            private: true,
            encrypted: true,
            root_version: None,
            roles: Vec::new(),
        };
        assert!(render(&shown).contains("no root at hand"));
        shown.root_version = Some(3);
        assert!(render(&shown).contains("nothing, says root 3"));
        shown.roles = vec!["root", "release"];
        let text = render(&shown);
        assert!(text.contains("root and release, says root 3"), "{text}");
        assert!(text.contains("under a passphrase"), "{text}");
    }
}
