//! On whose account something goes, where what one may take is limited.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// A principal's, or his address's while nobody is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Account {
    /// Of somebody who is known, by his name.
    Principal(Arc<str>),
    /// Of whoever comes from there.
    Address(IpAddr),
}

impl Account {
    /// That of an address: an IPv6 one counts by its network of 64 bits, since whoever has one has all of it.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_account() {
        let of = |address: &str| Account::of_address(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
