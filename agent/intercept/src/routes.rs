//! What rules need beside the table, put into the kernel and found again: policy rules and routes by
//! the protocol number that only we write, addresses by a list that is kept.
//!
//! An address that was there before us stays: the list names those that were not, and is written
//! before they are added, so that one of a process that was killed is removed all the same.

mod entry;

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use hawser_rt::Cidr;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use crate::Error;
use crate::netlink::{self, CREATE, EXCLUSIVE, Message, Netlink, u32_at};
use crate::plan::{Family, PROTOCOL, Routes};
use entry::{Entry, HEADER, LOCAL, family};

/// Of `ifaddrmsg`, which other tables of the kernel's numbers call `RTM_NEWADDR` and so on.
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const ADDRESSES: u16 = 22;
const ADDRESS_HEADER: usize = 8;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
/// `RT_SCOPE_HOST`.
const HOST: u8 = 254;

/// The kernel's routing.
#[derive(Debug)]
pub(crate) struct Routing {
    kernel: Netlink,
    loopback: u32,
}

impl Routing {
    pub(crate) fn open() -> Result<Self, Error> {
        let ask = |source| Error::Ask { what: "its routes", source };
        let kernel = Netlink::open(SockProtocol::NetlinkRoute);
        let kernel = kernel.map_err(|error| {
            ask(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
        })?;
        let loopback = if_nametoindex("lo").map_err(ask)?;
        Ok(Self { kernel, loopback })
    }

    /// Makes the kernel's routing what is wanted, as far as it is ours. `kept` is where addresses
    /// are noted.
    pub(crate) fn put(&mut self, wanted: &Routes, kept: &Path) -> Result<(), Error> {
        let wanted_rules: Vec<_> = wanted.rules.iter().map(Entry::of_rule).collect();
        let wanted_routes: Vec<_> =
            wanted.routes.iter().map(|route| Entry::of_route(route, self.loopback)).collect();
        let wanted_all: Vec<_> = wanted_routes.into_iter().chain(wanted_rules).collect();
        let ours = self.ours()?;
        // First what is missing, then what is left over: nothing is without a way meanwhile.
        for entry in &wanted_all {
            if !ours.iter().any(|one| one.is(entry)) {
                self.change(entry, true)?;
            }
        }
        let mut seen = Vec::new();
        for entry in ours {
            let twice = seen.contains(&entry);
            if twice || !wanted_all.iter().any(|one| entry.is(one)) {
                self.change(&entry, false)?;
            }
            seen.push(entry);
        }
        self.put_addresses(&wanted.addresses, kept)
    }

    /// Removes everything that is ours.
    pub(crate) fn clear(&mut self, kept: &Path) -> Result<(), Error> {
        self.put(&Routes::default(), kept)
    }

    /// What is in the kernel and not as wanted, in words.
    pub(crate) fn drift(&mut self, wanted: &Routes) -> Result<Vec<String>, Error> {
        let ours = self.ours()?;
        let here = self.addresses()?;
        let rules = wanted.rules.iter().map(Entry::of_rule);
        let routes = wanted.routes.iter().map(|route| Entry::of_route(route, self.loopback));
        let mut missing: Vec<_> = rules
            .chain(routes)
            .filter(|entry| !ours.iter().any(|one| one.is(entry)))
            .map(|entry| format!("{entry} is gone"))
            .collect();
        let addresses = wanted.addresses.iter().filter(|address| !here.contains(address));
        missing.extend(addresses.map(|address| format!("{address} is gone from lo")));
        Ok(missing)
    }

    /// What we have made, in this life or an earlier one.
    fn ours(&mut self) -> Result<Vec<Entry>, Error> {
        let mut all = self.rules()?;
        all.extend(self.routes()?);
        all.retain(|entry| entry.protocol == PROTOCOL);
        Ok(all)
    }

    /// All policy rules.
    fn rules(&mut self) -> Result<Vec<Entry>, Error> {
        let ask = |source| Error::Ask { what: "its policy rules", source };
        let question = Message::new(entry::RULES, 0, &[0; HEADER]);
        self.kernel
            .dump(&question, |kind, body| {
                (kind == entry::NEW_RULE).then(|| Entry::read_rule(body))?
            })
            .map_err(ask)
    }

    /// All routes that do not come from the kernel itself.
    fn routes(&mut self) -> Result<Vec<Entry>, Error> {
        let ask = |source| Error::Ask { what: "its routes", source };
        let question = Message::new(entry::ROUTES, 0, &[0; HEADER]);
        self.kernel
            .dump(&question, |kind, body| {
                (kind == entry::NEW_ROUTE).then(|| Entry::read_route(body))?
            })
            .map_err(ask)
    }

    /// Adds or removes one.
    fn change(&mut self, entry: &Entry, add: bool) -> Result<(), Error> {
        let message = entry.message(add);
        let done = self.kernel.request(&message);
        let gone_or_there = if add { Errno::EEXIST } else { Errno::ESRCH };
        match done {
            Ok(()) => Ok(()),
            Err(errno) if errno == gone_or_there || (!add && errno == Errno::ENOENT) => Ok(()),
            Err(source) => {
                let verb = if add { "add" } else { "remove" };
                Err(not_changed(format!("{verb} {entry}"), source))
            }
        }
    }

    fn put_addresses(&mut self, wanted: &[Cidr], kept: &Path) -> Result<(), Error> {
        let mut ours = remembered(kept)?;
        if ours.is_empty() && wanted.is_empty() {
            return Ok(());
        }
        let here = self.addresses()?;
        let mut noted = ours.clone();
        noted.extend(wanted.iter().filter(|one| !here.contains(one) && !ours.contains(one)));
        remember(kept, &noted)?;
        for address in wanted {
            if !here.contains(address) {
                self.change_address(address, true)?;
            }
        }
        ours = noted;
        let (stay, go): (Vec<_>, Vec<_>) = ours.into_iter().partition(|one| wanted.contains(one));
        for address in &go {
            self.change_address(address, false)?;
        }
        remember(kept, &stay)
    }

    /// The addresses of the loopback interface.
    fn addresses(&mut self) -> Result<Vec<Cidr>, Error> {
        let question = Message::new(ADDRESSES, 0, &[0; ADDRESS_HEADER]);
        let loopback = self.loopback;
        let read = |_, body: &[u8]| {
            let bits = *body.get(1)?;
            if u32_at(body, 4)? != loopback {
                return None;
            }
            let mut attributes = netlink::attributes(body, ADDRESS_HEADER);
            let (_, octets) = attributes.find(|(number, _)| *number == ADDRESS)?;
            Some(Cidr::new(address(octets)?, bits))
        };
        self.kernel
            .dump(&question, read)
            .map_err(|source| Error::Ask { what: "its addresses", source })
    }

    fn change_address(&mut self, cidr: &Cidr, add: bool) -> Result<(), Error> {
        let (octets, family) = octets(cidr.address());
        let mut header = vec![family, cidr.bits(), 0, HOST];
        header.extend_from_slice(&self.loopback.to_ne_bytes());
        let (kind, flags) =
            if add { (NEW_ADDRESS, CREATE | EXCLUSIVE) } else { (DELETE_ADDRESS, 0) };
        let message =
            Message::new(kind, flags, &header).with(ADDRESS_LOCAL, &octets).with(ADDRESS, &octets);
        match self.kernel.request(&message) {
            Ok(()) => Ok(()),
            Err(Errno::EEXIST) if add => Ok(()),
            Err(Errno::EADDRNOTAVAIL) if !add => Ok(()),
            Err(source) => {
                let verb = if add { "add" } else { "remove" };
                Err(not_changed(format!("{verb} the address {cidr} of lo"), source))
            }
        }
    }

    /// Policy rules that Istio's agent has left: `fwmark MARK lookup TABLE`, without ours.
    pub(crate) fn strangers(&mut self, mark: u32, table: u32) -> Result<Strangers, Error> {
        let mut all = self.rules()?;
        all.retain(|rule| {
            rule.mark == Some(mark) && rule.table == table && rule.protocol != PROTOCOL
        });
        // A table that nothing else leads to is of nobody else.
        let mut routes = self.routes()?;
        routes.retain(|route| {
            route.table == table
                && route.protocol != PROTOCOL
                && route.class == LOCAL
                && route.destination.is_none()
                && route.interface == Some(self.loopback)
        });
        all.extend(routes);
        Ok(Strangers(all))
    }

    /// Removes them.
    pub(crate) fn dismiss(&mut self, strangers: &Strangers) -> Result<(), Error> {
        strangers.0.iter().try_for_each(|entry| self.change(entry, false))
    }

    /// Whether the loopback interface has this address.
    pub(crate) fn has_address(&mut self, cidr: &Cidr) -> Result<bool, Error> {
        Ok(self.addresses()?.contains(cidr))
    }

    /// Takes an address off the loopback interface.
    pub(crate) fn remove_address(&mut self, cidr: &Cidr) -> Result<(), Error> {
        self.change_address(cidr, false)
    }
}

/// Policy rules and routes of somebody else.
#[derive(Clone, Debug)]
pub(crate) struct Strangers(Vec<Entry>);

impl Strangers {
    /// Each in a line.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }
}

fn octets(address: IpAddr) -> (Vec<u8>, u8) {
    match address {
        IpAddr::V4(address) => (address.octets().to_vec(), family(Family::V4)),
        IpAddr::V6(address) => (address.octets().to_vec(), family(Family::V6)),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    four.or_else(|| <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into()))
}

fn not_changed(what: String, source: Errno) -> Error {
    match source {
        Errno::EPERM => Error::MayNot { what },
        _ => Error::Change { what, source },
    }
}

/// The addresses that were not there before us.
pub(crate) fn remembered(path: &Path) -> Result<Vec<Cidr>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
    };
    let wrong = |error: hawser_rt::NotACidr| Error::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    text.lines().map(|line| line.parse().map_err(wrong)).collect()
}

fn remember(path: &Path, addresses: &[Cidr]) -> Result<(), Error> {
    if remembered(path).is_ok_and(|known| known == addresses) {
        return Ok(());
    }
    if addresses.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Forget { path: path.to_owned(), source: error })
            }
            _ => Ok(()),
        };
    }
    let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
    hawser_state::write_file(path, 0o644, text.as_bytes())
        .map_err(|source| Error::Remember { source })
}
