//! The filter by the ends of traffic: ports, networks, and whether the traffic leaves the host.

use ipnet::{IpNet, Ipv4Net};
use libbpf_rs::{MapCore, MapFlags};
use plain::Plain;

use super::skel::{NetatopMaps, types};
use super::udp_ends::UdpEnds;

// SAFETY: generated from bpf/match.h. The struct is #[repr(C)] and holds only integers and arrays of
// integers, without padding, so every bit pattern is a valid value.
unsafe impl Plain for types::network_key {}

/// Selects traffic by its ends, in the kernel. Traffic must match all parts. The default selects
/// everything, and nothing is loaded for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndFilter {
    /// Count only traffic of which either end has one of these ports. Empty: all.
    pub ports: Vec<u16>,
    /// Count only traffic whose remote address is in one of these networks. Empty: all. IPv4-mapped
    /// IPv6 addresses are IPv4 addresses.
    pub networks: Vec<IpNet>,
    /// Leave out traffic that stays on the host (`match_outside` in `bpf/match.h`).
    pub no_loopback: bool,
    /// Where the remote ends of unconnected UDP sockets come from. If they are not known, such traffic
    /// is left out and reported, unless its local end is enough to decide.
    pub udp_ends: UdpEnds,
}

impl EndFilter {
    /// Whether anything is left out.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !self.ports.is_empty() || !self.networks.is_empty() || self.no_loopback
    }

    /// Writes the settings into the programs' constants.
    pub(super) fn write_to(&self, raw: &mut types::match_settings) {
        raw.ports = u32::from(!self.ports.is_empty());
        raw.networks = u32::from(!self.networks.is_empty());
        raw.no_loopback = u32::from(self.no_loopback);
    }

    /// Number of entries for the trie of networks.
    pub(super) fn network_entries(&self) -> u32 {
        u32::try_from(self.networks.len() + 1).unwrap_or(u32::MAX)
    }

    /// Puts the ports and networks into their maps, if these are used.
    pub(super) fn fill(&self, maps: &NetatopMaps<'_>) -> libbpf_rs::Result<()> {
        if !self.ports.is_empty() {
            let bits = bits(&self.ports);
            maps.ports
                .update(&0u32.to_ne_bytes(), &bits, MapFlags::ANY)?;
        }
        if !self.networks.is_empty() {
            for (key, is_wanted) in entries(&self.networks) {
                // SAFETY: plain integers without padding, read as the bytes they are.
                let key = unsafe { plain::as_bytes(&key) };
                let value = u32::from(is_wanted).to_ne_bytes();
                maps.networks.update(key, &value, MapFlags::ANY)?;
            }
        }
        Ok(())
    }
}

/// A bit for each port, as in `struct port_set`.
fn bits(ports: &[u16]) -> Vec<u8> {
    let mut bits = vec![0; size_of::<types::port_set>()];
    for port in ports {
        if let Some(byte) = bits.get_mut(usize::from(port / 8)) {
            *byte |= 1 << (port % 8);
        }
    }
    bits
}

/// The entries of the trie: keys, and whether they are wanted. Later ones replace earlier ones.
///
/// IPv4 addresses are in no IPv6 network, not even in `::/0`.
fn entries(networks: &[IpNet]) -> impl Iterator<Item = (types::network_key, bool)> {
    let all_ipv4 = IpNet::V4(Ipv4Net::default());
    [(key(all_ipv4), false)]
        .into_iter()
        .chain(networks.iter().map(|network| (key(*network), true)))
}

/// Number of bits before an IPv4 address in its IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u32 = 96;

fn key(network: IpNet) -> types::network_key {
    let (bits, address) = match network {
        IpNet::V4(v4) => (
            MAPPED_BITS + u32::from(v4.prefix_len()),
            v4.network().to_ipv6_mapped(),
        ),
        IpNet::V6(v6) => (v6.prefix_len().into(), v6.network()),
    };
    types::network_key {
        bits,
        address: address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;
    use proptest::prelude::*;

    /// Looks up an address as the kernel does: the longest prefix decides.
    fn lookup(networks: &[IpNet], address: IpAddr) -> bool {
        let address: u128 = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
            IpAddr::V6(v6) => v6.into(),
        };
        let mut found = std::collections::BTreeMap::new();
        for (key, is_wanted) in entries(networks) {
            let beyond = 128 - key.bits;
            let begins = |address: u128| address.checked_shr(beyond).unwrap_or(0);
            if begins(address) == begins(Ipv6Addr::from(key.address).into()) {
                found.insert(key.bits, is_wanted);
            }
        }
        found.last_entry().is_some_and(|last| *last.get())
    }

    #[test]
    fn only_wanted_ports_have_a_bit() {
        let bits = bits(&[1, 80, 443, 65535]);
        let ports =
            (0..=u16::MAX).filter(|port| bits[usize::from(port / 8)] & (1 << (port % 8)) != 0);
        assert_eq!(ports.collect::<Vec<_>>(), [1, 80, 443, 65535]);
    }

    #[test]
    fn no_ipv6_network_has_ipv4_addresses() {
        let everything = ["::/0".parse().expect("a network")];
        assert!(lookup(&everything, Ipv6Addr::LOCALHOST.into()));
        assert!(!lookup(&everything, [10, 0, 0, 1].into()));
        let both = ["::/0", "0.0.0.0/0"].map(|net| net.parse().expect("a network"));
        assert!(lookup(&both, [10, 0, 0, 1].into()));
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
            any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
        ]
    }

    proptest! {
        /// Networks around the address itself, so that some of them contain it.
        #[test]
        fn an_address_is_found_if_a_network_contains_it(
            address in address(),
            lengths in prop::collection::vec((any::<bool>(), 0u8..=128), 0..5),
            others in prop::collection::vec(address(), 5),
        ) {
            let networks: Vec<IpNet> = lengths
                .iter()
                .zip(others)
                .filter_map(|((is_around, length), other)| {
                    let around = if *is_around { address } else { other };
                    IpNet::new(around, *length).ok().map(|network| network.trunc())
                })
                .collect();
            let contains = networks.iter().any(|network| network.contains(&address));
            // ipnet does not know mapped addresses.
            prop_assume!(address == address.to_canonical());
            prop_assert_eq!(lookup(&networks, address), contains);
        }
    }
}
