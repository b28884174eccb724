//! Where the bytes of a bundle went.

use tidecast_proto::bundle::{ContentRef, Form};

use crate::store::explain::{RoadBytes, RoadName};

/// What a bundle's core is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleReport {
    /// Bytes of the core.
    pub bytes: u64,
    /// Bytes of its MANIFEST part.
    pub manifest_bytes: u64,
    /// One for each section, in the bundle's order.
    pub files: Vec<FileShare>,
}

/// What one file's section is made of. Bytes of parts count with their headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileShare {
    /// Which file, by its index in the new manifest.
    pub file: u32,
    /// Its path.
    pub path: String,
    /// Which form of it was sent.
    pub form: Form,
    /// What it was built on, the first base first.
    pub bases: Vec<ContentRef>,
    /// Bytes of the content that the bases have.
    pub reused_bytes: u64,
    /// Bytes of the content that runs bring, opened.
    pub missing_bytes: u64,
    /// FILE and RECIPE parts.
    pub recipe_bytes: u64,
    /// LIST part.
    pub list_bytes: u64,
    /// RUN parts.
    pub run_bytes: u64,
    /// How many runs.
    pub runs: u32,
    /// Why it is that form and not a cheaper one: a word for people and scripts.
    pub reason: &'static str,
}

impl FileShare {
    /// Bytes of the whole section.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.recipe_bytes + self.list_bytes + self.run_bytes
    }
}

impl BundleReport {
    /// The same for `explain`: which road each file takes.
    #[must_use]
    pub fn roads(&self) -> Vec<RoadBytes> {
        let mut roads: Vec<RoadBytes> = self.files.iter().map(road).collect();
        roads.sort_by(|a, b| a.path.cmp(&b.path));
        roads
    }

    /// Bytes of all sections of one kind of part.
    #[must_use]
    pub fn sum(&self, of: impl Fn(&FileShare) -> u64) -> u64 {
        self.files.iter().map(of).sum()
    }
}

fn road(share: &FileShare) -> RoadBytes {
    // Without anything to build on, runs are no more than packed chunks.
    let whole = share.form == Form::Stored && share.reused_bytes == 0;
    let (run_bytes, literal_bytes) = match whole {
        true => (0, share.run_bytes),
        false => (share.run_bytes, 0),
    };
    RoadBytes {
        path: share.path.clone(),
        road: if whole {
            RoadName::Whole
        } else {
            RoadName::Runs
        },
        reused_bytes: share.reused_bytes,
        run_bytes,
        literal_bytes: literal_bytes + share.recipe_bytes + share.list_bytes,
        reason: share.reason.into(),
    }
}
