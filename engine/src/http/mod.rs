//! The HTTP side: ordinary clients download from a pinned release tree.
