//! What an operator lays down for a node: options of `node admit` and `node set`.

use tidecast_engine::master::SettingsChange;

/// What takes a limit away.
const NONE: &str = "none";

/// What is to be different for a node. Wins over what the node says of itself.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Settings {
    /// What you call it; empty for what it calls itself.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Whatever is worth remembering of it; empty for nothing.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// How to reach its operator; empty for what it says itself.
    #[arg(long, value_name = "TEXT")]
    contact: Option<String>,
    /// Most bytes a second it is sent, such as 500k or 20M; `none` for no limit.
    #[arg(long, value_name = "BYTES/S", value_parser = rate)]
    rate: Option<Limit<u64>>,
    /// Most connections it may have at once, of which the oldest are closed; `none` for 4.
    #[arg(long, value_name = "N", value_parser = connections)]
    connections: Option<Limit<usize>>,
}

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit<T>(Option<T>);

fn rate(text: &str) -> Result<Limit<u64>, String> {
    if text == NONE {
        return Ok(Limit(None));
    }
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a number of bytes, with k, M or G behind it or without, or `none`")?;
    let rate = number.checked_mul(factor).ok_or("too large")?;
    Ok(Limit(Some(rate)))
}

fn connections(text: &str) -> Result<Limit<usize>, String> {
    match text {
        NONE => Ok(Limit(None)),
        text => match text.parse() {
            Ok(number) => Ok(Limit(Some(number))),
            Err(_) => Err("a number, or `none`".into()),
        },
    }
}

impl Settings {
    /// As the engine takes it.
    pub(super) fn change(self) -> SettingsChange {
        let text = |text: Option<String>| text.map(|text| Some(text).filter(|t| !t.is_empty()));
        SettingsChange {
            name: text(self.name),
            contact: text(self.contact),
            note: text(self.note),
            rate_bytes_per_s: self.rate.map(|limit| limit.0),
            connections: self.connections.map(|limit| limit.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bytes_with_a_decimal_unit_or_none() {
        for (text, bytes) in [("16384", 16_384), ("500k", 500_000), ("20M", 20_000_000)] {
            assert_eq!(rate(text), Ok(Limit(Some(bytes))), "{text}");
        }
        assert_eq!(rate("none"), Ok(Limit(None)));
        for text in [
            "",
            "k",
            "-1",
            "1.5M",
            "99999999999999999999",
            "9999999999999999G",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_empty_text_takes_a_setting_away_and_none_leaves_it() {
        let change = Settings {
            name: Some(String::new()),
            note: Some("x".into()),
            ..Settings::default()
        }
        .change();
        assert_eq!(change.name, Some(None));
        assert_eq!(change.note, Some(Some("x".into())));
        assert_eq!(change.contact, None);
    }
}
