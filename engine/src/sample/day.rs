//! What a day changes.

use super::database::Change;
use super::signatures::Form;

/// How much a day changes in `daily`.
///
/// New lines stand at the ends of several members, dropped ones lie anywhere, and `.info` near the start changes with
/// every member. A line that replaces another counts as one added and one dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// 120 lines added, 4 dropped; a cdiff of some 7 KB.
    Ordinary,
    /// 2,000 lines added, 60 dropped; a cdiff of some 50 KB.
    Busy,
}

impl Day {
    pub(super) fn changes(self) -> [Change; 5] {
        let change = |form, added, dropped, exchanged| Change {
            form,
            added,
            dropped,
            exchanged,
        };
        // Busy days are busy with hashes that machines found, ordinary ones with patterns that people wrote.
        match self {
            Self::Ordinary => [
                change(Form::Hdb, 20, 0, 0),
                change(Form::Hsb, 54, 2, 0),
                change(Form::Mdb, 0, 0, 0),
                change(Form::Ndb, 4, 0, 0),
                change(Form::Ldb, 41, 1, 1),
            ],
            Self::Busy => [
                change(Form::Hdb, 1_560, 20, 0),
                change(Form::Hsb, 60, 10, 2),
                change(Form::Mdb, 300, 10, 0),
                change(Form::Ndb, 30, 2, 0),
                change(Form::Ldb, 43, 11, 5),
            ],
        }
    }
}
