//! Every limit, once. SPEC §2 holds the same table and a test compares the two.
//!
//! A peer can never raise one of these: they bound what we allocate for it before we trust it.

/// Declares the limits and [`ALL`], the table that the SPEC test reads.
macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: usize = $value;)*

        /// Name and value of every limit in this module.
        pub const ALL: &[(&str, usize)] = &[$((stringify!($name), $name)),*];
    };
}

limits! {
    /// A signed head, a Hello or a signed receipt, in bytes.
    SMALL_OBJECT_BYTES = 1024;
    /// A signed root, in bytes.
    ROOT_BYTES = 16 * 1024;
    /// A signed manifest, opened, in bytes.
    MANIFEST_BYTES = 16 * 1024 * 1024;
    /// A manifest in a bundle, packed against the one before, in bytes; a release that changes more comes without a bundle.
    MANIFEST_DELTA_BYTES = 2 * 1024 * 1024;
    /// An encoded chunk list, in bytes.
    LIST_BYTES = 4 * 1024 * 1024;
    /// A recipe, in bytes.
    RECIPE_BYTES = 64 * 1024;
    /// Segments of one recipe.
    RECIPE_SEGMENTS = 1024;
    /// Opened content of one file, in bytes; a file that holds more is stored as it is.
    OPENED_BYTES = 2 * 1024 * 1024 * 1024 - 1;
    /// What a run opens to, and all its bases together, in bytes each.
    RUN_BYTES = 8 * 1024 * 1024;
    /// Bases of one run: after a month away, a database's new lines stand in thirty scripts.
    RUN_BASES = 32;
    /// Contents that one file's section of a bundle builds on.
    BUNDLE_BASES = 64;
    /// A bundle that is sent unasked, in bytes.
    UNASKED_BUNDLE_BYTES = 1024 * 1024;
    /// The body of one frame, in bytes.
    FRAME_BYTES = 1024 * 1024;
    /// A chunk, opened, in bytes.
    CHUNK_BYTES = 256 * 1024;
    /// Ids in one request for chunks.
    CHUNKS_PER_REQUEST = 64;
    /// Requests for chunks that are under way at once on one connection.
    REQUESTS_IN_FLIGHT = 4;
    /// Files in one release.
    FILES_PER_RELEASE = 1_000_000;
    /// One component of a path, in bytes.
    NAME_BYTES = 255;
    /// A whole path, in bytes.
    PATH_BYTES = 1024;
    /// Components of a path.
    PATH_DEPTH = 16;
    /// Release notes, in bytes.
    NOTES_BYTES = 64 * 1024;
    /// Keys of one role in a root, and signatures of one object.
    KEYS_PER_ROLE = 32;
    /// Masters named in a root.
    MASTERS = 16;
    /// Addresses of one master.
    ADDRESSES_PER_MASTER = 8;
    /// Extensions of one object.
    EXTENSIONS = 32;
    /// Manifests a root may revoke.
    REVOKED_MANIFESTS = 128;
    /// How far an addition's number may be above its anchor's.
    ADDITIONS_PER_ANCHOR = 4096;
    /// Roots fetched in one walk.
    ROOT_WALK = 1024;
    /// A feed's name, in bytes.
    FEED_NAME_BYTES = 64;
    /// Text a mirror says about itself (name, contact, each host name), in bytes.
    DETAIL_BYTES = 128;
    /// Host names a mirror says it serves.
    HOSTS_PER_MIRROR = 8;
    /// Streams a peer may have open towards us, both directions.
    BIDI_STREAMS = 32;
    /// Streams a peer may have open towards us, one direction.
    UNI_STREAMS = 8;
    /// Receive window of one stream, in bytes.
    STREAM_WINDOW_BYTES = 4 * 1024 * 1024;
    /// Receive window of one connection, in bytes.
    CONNECTION_WINDOW_BYTES = 8 * 1024 * 1024;
    /// The same of a mirror, in bytes: an answer's stream, and news beside it.
    MIRROR_WINDOW_BYTES = 5 * 1024 * 1024;
    /// Handshakes under way before a server answers with Retry.
    HANDSHAKES_BEFORE_RETRY = 64;
    /// Silence after which a keep-alive is sent, in milliseconds.
    KEEP_ALIVE_MS = 20_000;
    /// Silence after which a connection is given up, in milliseconds.
    IDLE_MS = 60_000;
    /// A Hello must be complete this long after the handshake, in milliseconds.
    HELLO_MS = 5_000;
    /// Slowest source that is kept, in bytes per second.
    USEFUL_BYTES_PER_S = 8 * 1024;
    /// Time over which that rate is judged, in milliseconds.
    USEFUL_WINDOW_MS = 30_000;
    /// Longest pause a busy upstream may ask for, in milliseconds.
    WAIT_MS = 60_000;
    /// How far ahead of our clock a head may be issued, in milliseconds.
    CLOCK_SKEW_MS = 600_000;
    /// Connections of nodes that wait to be admitted.
    PENDING_NODES = 64;
}
