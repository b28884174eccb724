//! Names that a release may not hold.

use std::collections::BTreeSet;

/// More than 200 of them, each once.
pub(crate) fn all() -> Vec<Vec<u8>> {
    let mut all = BTreeSet::new();
    let mut add = |name: &str| {
        all.insert(name.as_bytes().to_vec());
    };
    // Ways up and out, at every depth a path may have.
    for depth in 0..8 {
        let below = "a/".repeat(depth);
        for way in [
            "..",
            "../x",
            "../../etc/passwd",
            ".",
            "./x",
            "../outside/passwd",
        ] {
            add(&format!("{below}{way}"));
        }
        add(&format!("{below}.."));
        add(&format!("{below}/x"));
        add(&format!("{below}x/"));
        add(&format!("{below}x//y"));
        // The operator's own files, and hidden ones: ours among them.
        for own in [
            "local_",
            "local_x",
            "local_x/y",
            ".hidden",
            ".tidecast",
            ".tidecast/current",
            "...",
            "..x",
        ] {
            add(&format!("{below}{own}"));
        }
    }
    for absolute in [
        "/",
        "//",
        "/x",
        "/etc/passwd",
        "//server/share/x",
        "/../x",
        "///",
        "/proc/self/fd/3",
    ] {
        add(absolute);
    }
    for own in ["timestamp", "timestamp/x", "timestamp/a/b"] {
        add(own);
    }
    // Every byte of ASCII outside the set, in front, inside and behind.
    for byte in (0_u8..128).filter(|b| !b.is_ascii_alphanumeric() && !b"._+@-/".contains(b)) {
        let byte = char::from(byte);
        for name in [
            format!("{byte}x"),
            format!("x{byte}y"),
            format!("a/x{byte}"),
        ] {
            add(&name);
        }
    }
    // Other systems' ways out and devices, with what makes them so.
    for foreign in [
        "..\\x",
        "a\\..\\..\\x",
        "\\\\server\\share",
        "C:\\x",
        "C:x",
        "c:/x",
        "\\\\?\\C:\\x",
        "NUL:",
        "CON:",
        "x:stream",
        "x::$DATA",
        "aux ",
        "com1:",
        "$HOME/x",
        "~/x",
        "~root",
        "%HOME%",
        "`id`",
        "$(id)",
        "x;id",
        "x|id",
        "x&y",
        "x>y",
    ] {
        add(foreign);
    }
    // The same ways spelt for whoever decodes once too often.
    for spelt in [
        "%2e%2e/x",
        "%2e%2e%2fx",
        "..%2fx",
        "..%5cx",
        "%252e%252e%252f",
        "%c0%ae%c0%ae/x",
        "%2e",
        "x%00.cvd",
        "x%0a",
        "&#46;&#46;/x",
        "\\u002e\\u002e/x",
        "..;/x",
        "..;x/y",
    ] {
        add(spelt);
    }
    // Unicode: look-alikes, what normalises to dots and slashes, marks that turn a line round, blanks that are none.
    for odd in [
        "\u{2025}/x",
        "\u{2024}\u{2024}/x",
        "\u{ff0e}\u{ff0e}/x",
        "a\u{2215}b",
        "a\u{2044}b",
        "a\u{ff0f}b",
        "a\u{29f8}b",
        "a\u{ff3c}b",
        "\u{202e}dvc.yliad",
        "daily\u{200b}.cvd",
        "daily\u{200d}.cvd",
        "\u{feff}daily.cvd",
        "da\u{00ad}ily.cvd",
        "d\u{0430}ily.cvd",
        "da\u{0131}ly.cvd",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{ff44}aily.cvd",
        "x\u{a0}y",
        "x\u{3000}y",
        "\u{0085}x",
        "x\u{2028}y",
        "x\u{2029}y",
        "\u{1f4a9}",
        "\u{0}",
        "\u{7f}",
        "loca\u{13a}_x",
        "\u{2060}local_x",
        "tim\u{435}stamp",
        "\u{e000}x",
    ] {
        add(odd);
    }
    // Too long, too deep, nothing.
    add("");
    add(&"x".repeat(256));
    add(&format!("a/{}", "x".repeat(256)));
    add(&"x".repeat(1025));
    add(&"x".repeat(65_536));
    add(&["x"; 17].join("/"));
    add(&["x"; 512].join("/"));
    add(&["x".repeat(250).as_str(); 5].join("/"));
    let mut all: Vec<Vec<u8>> = all.into_iter().collect();
    // No text at all.
    for bytes in [
        &b"\xff"[..],
        b"\xc0\xae\xc0\xae/x",
        b"x\x80y",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"a/\xfe\xff",
        b"\xc3",
        b"..\xc0\xafx",
    ] {
        all.push(bytes.to_vec());
    }
    all
}
