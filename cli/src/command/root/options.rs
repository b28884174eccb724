//! Keys, masters and lives as options give them.

use tidecast_engine::mirror::with_port;
use tidecast_proto::id::Timestamp;
use tidecast_proto::key::PublicKey;
use tidecast_proto::limits;
use tidecast_proto::root::Master;

use crate::command::join::check_upstream;
use crate::failure::Failure;
use crate::shell::now_ms;
use crate::text;
use crate::unlock::Unlock;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Longest life that can be asked for, in days: 100 years, far from any overflow.
const DAYS_MAX: u64 = 36_500;

/// Several keys of one option, in the order roots keep them.
pub(super) fn keys(
    option: &str,
    given: &[String],
    unlock: &Unlock,
) -> Result<Vec<PublicKey>, Failure> {
    let keys = given.iter().map(|text| unlock.public_key(option, text));
    let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Failure::usage(format!("{option} names {} twice", pair[0]))),
        None => Ok(keys),
    }
}

/// `NAME=KEY@HOST:PORT[,HOST:PORT...]`, addresses optional.
pub(super) fn master(given: &str, unlock: &Unlock) -> Result<Master, Failure> {
    let (name, rest) = named("--master", given, "NAME=KEY@HOST:PORT")?;
    let (key, addresses) = match rest.split_once('@') {
        Some((key, list)) => (key, addresses("--master", list)?),
        None => (rest, Vec::new()),
    };
    Ok(Master {
        name,
        node_key: unlock.public_key("--master", key)?,
        addresses,
    })
}

/// `NAME=REST`.
pub(super) fn named<'a>(
    option: &str,
    given: &'a str,
    form: &str,
) -> Result<(String, &'a str), Failure> {
    let shown = text::plain(given);
    let (name, rest) = given
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Failure::usage(format!("{option} {shown:?} is not {form}")))?;
    if name.len() > limits::DETAIL_BYTES || name.contains(char::is_control) {
        let most = limits::DETAIL_BYTES;
        let what = format!("{option} {shown:?}: a name has at most {most} bytes of plain text");
        return Err(Failure::usage(what));
    }
    Ok((name.into(), rest))
}

/// `HOST:PORT[,HOST:PORT...]`, the port filled in.
pub(super) fn addresses(option: &str, given: &str) -> Result<Vec<String>, Failure> {
    let each = given.split(',').filter(|address| !address.is_empty());
    let addresses = each
        .map(|address| check_upstream(address).map(|()| with_port(address)))
        .collect::<Result<Vec<_>, _>>()?;
    if addresses.len() > limits::ADDRESSES_PER_MASTER {
        let most = limits::ADDRESSES_PER_MASTER;
        return Err(Failure::usage(format!(
            "{option}: a master has at most {most} addresses"
        )));
    }
    Ok(addresses)
}

/// When a root that lives so many days from now expires.
pub(super) fn expires(days: u64) -> Result<Timestamp, Failure> {
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Failure::usage(format!(
            "--days {days} is not between 1 and {DAYS_MAX}"
        )));
    }
    Ok(Timestamp(now_ms()).plus(days * DAY_MS))
}

/// What must sign when nobody says: most of them, so that neither one thief nor one loss decides.
pub(super) fn majority(keys: usize) -> u16 {
    u16::try_from(keys / 2 + 1).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_proto::key::SecretKey;

    #[test]
    fn a_master_is_a_name_a_key_and_addresses() {
        let key = SecretKey::from_seed(&[1; 32]).public();
        let unlock = Unlock::default();
        let parse = |given: &str| master(given, &unlock);
        let whole = parse(&format!("north={key}@a.example.org,[::1]:99")).unwrap();
        assert_eq!(whole.name, "north");
        assert_eq!(whole.node_key, key);
        assert_eq!(whole.addresses, ["a.example.org:4873", "[::1]:99"]);
        assert!(parse(&format!("n={key}")).unwrap().addresses.is_empty());
        for bad in ["north", "=x", "n=@a", "n=zz@a", "n\u{1b}=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("n={key}@https://x")).is_err());
        assert!(parse(&format!("n={key}@{}", "a,".repeat(9))).is_err());
    }

    #[test]
    fn most_keys_must_sign_unless_told_otherwise() {
        assert_eq!([1, 2, 3, 4, 5].map(majority), [1, 2, 2, 3, 3]);
    }

    #[test]
    fn a_key_named_twice_is_a_slip() {
        let key = SecretKey::from_seed(&[1; 32]).public().to_string();
        let twice = [key.clone(), key.to_uppercase()];
        assert!(keys("--root-key", &twice, &Unlock::default()).is_err());
    }
}
