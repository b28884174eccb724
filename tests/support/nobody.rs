//! The program run by somebody who is not root, for whom permissions count.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::command::{Ran, tidecast_at};

/// `nobody` on Debian and most other systems.
const NOBODY: u32 = 65_534;

/// A folder of somebody's who is not root: nobody's when root runs the tests, else the caller's.
#[derive(Debug)]
pub(crate) struct Nobody {
    folder: TempDir,
    program: PathBuf,
    is_root: bool,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let is_root = folder.path().metadata().unwrap().uid() == 0;
        let built = PathBuf::from(env!("CARGO_BIN_EXE_tidecast"));
        let program = if is_root {
            // Where it was built nobody else may be able to look.
            fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
            let program = folder.path().join("tidecast");
            fs::hard_link(&built, &program)
                .or_else(|_| fs::copy(&built, &program).map(drop))
                .unwrap();
            program
        } else {
            built
        };
        Self {
            folder,
            program,
            is_root,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder of theirs with files of these names, which everybody may read.
    pub(crate) fn tree(&self, name: &str, files: &[&str]) -> PathBuf {
        let tree = self.path(name);
        fs::create_dir(&tree).unwrap();
        for file in files {
            fs::write(tree.join(file), file).unwrap();
            fs::set_permissions(tree.join(file), Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(&tree, Permissions::from_mode(0o755)).unwrap();
        if self.is_root {
            chown(&tree, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        tree
    }

    /// Runs the program on the state `state` in their folder.
    pub(crate) fn run(&self, state: &str, arguments: &[&str]) -> Ran {
        let mut command = tidecast_at(&self.program, &self.path(state));
        command.args(arguments).current_dir(self.folder.path());
        if self.is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        Ran::of(command.output().unwrap())
    }
}
