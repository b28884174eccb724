//! Roots that are here already: in the state folder, or in files somebody names.

use std::path::Path;

use tidecast_engine::config::{self, MasterConfig, MirrorConfig};
use tidecast_engine::master::{MASTER_CONFIG, ROOTS};
use tidecast_engine::mirror::MIRROR_CONFIG;
use tidecast_engine::roots;
use tidecast_proto::id::RootVersion;
use tidecast_proto::root::{RootBody, SignedRoot};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::shell::{Role, Shell};

/// The verified chain of a state folder.
#[derive(Debug)]
pub(crate) struct Chain {
    signed: Vec<SignedRoot>,
    bodies: Vec<RootBody>,
}

impl Chain {
    /// The newest root.
    pub(crate) fn newest(&self) -> Option<&RootBody> {
        self.bodies.last()
    }

    /// A root by number.
    pub(crate) fn body(&self, version: RootVersion) -> Option<&RootBody> {
        self.bodies.get(index(version)?)
    }

    /// The same as it was signed.
    pub(crate) fn signed(&self, version: RootVersion) -> Option<&SignedRoot> {
        self.signed.get(index(version)?)
    }
}

fn index(version: RootVersion) -> Option<usize> {
    usize::try_from(version.0).ok()?.checked_sub(1)
}

/// The roots of the state folder; `None` when it is nobody's, or a mirror's before its first contact.
pub(crate) fn chain(shell: &Shell<'_>) -> Result<Option<Chain>, Failure> {
    let Ok(role) = shell.role() else {
        return Ok(None);
    };
    let feed = match role {
        Role::Master => {
            let path = shell.state.join(MASTER_CONFIG);
            config::load::<MasterConfig>(&path)?.feed_id(&path)?
        }
        Role::Mirror => {
            let path = shell.state.join(MIRROR_CONFIG);
            config::load::<MirrorConfig>(&path)?.feed_id(&path)?
        }
    };
    let folder = shell.state.join(ROOTS);
    let signed = roots::load(&folder)?;
    roots::follow(signed.clone(), &feed).map_err(|error| {
        Failure::new(Exit::Data, format!("{}: {error}", folder.display()))
            .hint("restore the folder from a backup")
    })?;
    let bodies = signed.iter().map(SignedRoot::draft);
    let bodies = bodies
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::new(Exit::Data, format!("{}: {error}", folder.display())))?;
    Ok((!bodies.is_empty()).then_some(Chain { signed, bodies }))
}

/// A root in a file, unverified.
pub(crate) fn read(path: &Path) -> Result<(SignedRoot, RootBody), Failure> {
    let signed = roots::read(path)?.ok_or_else(|| {
        Failure::new(
            Exit::NoInput,
            format!("there is no file {}", path.display()),
        )
        .hint("make a root with `tidecast root new` or `tidecast root rotate`")
    })?;
    let body = signed
        .draft()
        .map_err(|error| Failure::new(Exit::Data, format!("{}: {error}", path.display())))?;
    Ok((signed, body))
}
