//! Which addresses are on the public internet, and which others the operator opens.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::Host;

/// The kind of network that an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The internet.
    Public,
    /// This machine or its network.
    Local,
    /// Addresses that no name should resolve to: link-local, metadata services, tunnels, reserved ranges.
    Special,
    /// Addresses of several machines or of none: multicast, broadcast, unspecified.
    Never,
}

use Scope::{Local, Never, Special};

const V4: [(Ipv4Net, Scope); 20] = [
    // `0.0.0.0` reaches this machine on Linux.
    v4([0, 0, 0, 0], 8, Never),
    v4([224, 0, 0, 0], 4, Never),
    v4([255, 255, 255, 255], 32, Never),
    // Metadata services of Alibaba and Azure outside of the link-local range; before the ranges that contain them.
    v4([100, 100, 100, 200], 32, Special),
    v4([168, 63, 129, 16], 32, Special),
    v4([10, 0, 0, 0], 8, Local),
    v4([100, 64, 0, 0], 10, Local),
    v4([127, 0, 0, 0], 8, Local),
    v4([172, 16, 0, 0], 12, Local),
    v4([192, 168, 0, 0], 16, Local),
    v4([169, 254, 0, 0], 16, Special),
    v4([192, 0, 0, 0], 24, Special),
    v4([192, 0, 2, 0], 24, Special),
    v4([192, 31, 196, 0], 24, Special),
    v4([192, 52, 193, 0], 24, Special),
    v4([192, 88, 99, 0], 24, Special),
    v4([198, 18, 0, 0], 15, Special),
    v4([198, 51, 100, 0], 24, Special),
    v4([203, 0, 113, 0], 24, Special),
    v4([240, 0, 0, 0], 4, Special),
];

/// The rest of 2000::/3 is public, everything else is special.
const V6: [(Ipv6Net, Scope); 10] = [
    v6([0; 8], 128, Never),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Never),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Local),
    // Metadata services of Amazon and Google: before the unique-local range.
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32, Special),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0], 32, Special),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Local),
    // Protocol assignments, among them Teredo, benchmarking and ORCHID.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Special),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Special),
    // 6to4, which may lead to any IPv4 address and is out of use.
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Special),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Special),
];

const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, Scope::Public).0;
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, Scope::Public).0;

const fn v4([a, b, c, d]: [u8; 4], bits: u8, scope: Scope) -> (Ipv4Net, Scope) {
    (Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits), scope)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], bits: u8, scope: Scope) -> (Ipv6Net, Scope) {
    (Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), bits), scope)
}

/// Returns the kind of an address. IPv4 in IPv6 counts as the IPv4 address that a packet would reach.
pub(super) fn scope(address: IpAddr) -> Scope {
    match address.to_canonical() {
        IpAddr::V4(address) => scope_v4(address),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            scope_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(address) => {
            let listed = V6.iter().find(|(net, _)| net.contains(&address));
            listed.map_or_else(
                || {
                    let global = GLOBAL_UNICAST.contains(&address);
                    if global { Scope::Public } else { Special }
                },
                |(_, scope)| *scope,
            )
        }
    }
}

fn scope_v4(address: Ipv4Addr) -> Scope {
    let listed = V4.iter().find(|(net, _)| net.contains(&address));
    listed.map_or(Scope::Public, |(_, scope)| *scope)
}

/// Opens addresses that aren't public to granted hosts. On its own it grants nothing.
///
/// | text | a granted host may resolve to |
/// |---|---|
/// | `10.0.0.0/8`, `fd00::/8` | any address of this network |
/// | `10.1.2.3`, `10.1.2.3:8080`, `[fd00::1]:8080` | this address, on any or one port |
/// | `db.internal`, `localhost:9000` | all addresses of *this name* that are loopback, private (RFC 1918), carrier-grade or unique-local |
///
/// Link-local addresses, metadata services, documentation, benchmarking, tunnel and reserved ranges open only to a network
/// or an address. Multicast, broadcast and unspecified addresses never open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateRule {
    to: PrivateTarget,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PrivateTarget {
    Net(IpNet),
    Name(String),
}

/// Why a text is not a [`PrivateRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateError {
    /// The part before or after the slash is invalid.
    #[error("{0:?} is not a network; write an address and the number of its bits, as in \"10.0.0.0/8\"")]
    Network(String),
    /// The address has bits outside of the network.
    #[error("{0:?} is an address within a network; write the network {1}")]
    HostBits(String, IpNet),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} has no port from 1 to 65535 after the colon")]
    Port(String),
    /// The host is neither an address nor a name.
    #[error("{0:?} is neither a network nor an address nor a name; write as in \"10.0.0.0/8\" or \"localhost:9000\"")]
    Host(String),
    /// The address is multicast, broadcast or unspecified.
    #[error("{0} is a multicast, broadcast or unspecified address, which can't be opened")]
    Never(IpAddr),
}

impl FromStr for PrivateRule {
    type Err = PrivateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('/') {
            let net: IpNet = text.parse().map_err(|_| PrivateError::Network(text.to_owned()))?;
            if net != net.trunc() {
                return Err(PrivateError::HostBits(text.to_owned(), net.trunc()));
            }
            return Ok(Self {
                to: PrivateTarget::Net(net),
                port: None,
            });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse() {
            return Self::address(address, None);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            let port = Some(address.port()).filter(|port| *port > 0);
            let port = port.ok_or_else(|| PrivateError::Port(text.to_owned()))?;
            return Self::address(address.ip(), Some(port));
        }
        let (name, port) = match text.rsplit_once(':') {
            None => (text, None),
            Some((name, port)) => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (name, Some(port.ok_or_else(|| PrivateError::Port(text.to_owned()))?))
            }
        };
        match Host::parse(name) {
            Ok(Host::Domain(name)) if !name.contains('*') && !name.is_empty() => Ok(Self {
                to: PrivateTarget::Name(name.strip_suffix('.').unwrap_or(&name).to_owned()),
                port,
            }),
            _ => Err(PrivateError::Host(text.to_owned())),
        }
    }
}

impl PrivateRule {
    fn address(address: IpAddr, port: Option<u16>) -> Result<Self, PrivateError> {
        match scope(address) {
            Never => Err(PrivateError::Never(address)),
            _ => Ok(Self {
                to: PrivateTarget::Net(address.to_canonical().into()),
                port,
            }),
        }
    }

    /// Returns whether this opens an address that isn't public to a name.
    pub(super) fn opens(&self, name: &str, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let scope = scope(ip);
        let opened = match &self.to {
            PrivateTarget::Net(net) => net.contains(&ip) && scope != Never,
            PrivateTarget::Name(opened) => opened == name && scope == Local,
        };
        opened && self.port.is_none_or(|port| port == address.port())
    }
}

impl fmt::Display for PrivateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.to, self.port) {
            (PrivateTarget::Net(net), None) => write!(f, "{net}"),
            (PrivateTarget::Net(net), Some(port)) => write!(f, "{}", SocketAddr::new(net.addr(), port)),
            (PrivateTarget::Name(name), None) => f.write_str(name),
            (PrivateTarget::Name(name), Some(port)) => write!(f, "{name}:{port}"),
        }
    }
}
