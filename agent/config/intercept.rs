//! Interception: what Envoy gets, whose, and what happens when Envoy is not there.
//!
//! Istio's variables keep their meaning. What Istio takes for not said without a word is taken so
//! here too, with one.

use std::time::Duration;

use hawser_intercept::guard::OnFailure;
use hawser_intercept::plan::{
    Envoy, Inbound, Interfaces, Mode, Outbound, Ports, Scope, Spared, Steer, Taken,
};
use hawser_rt::Cidr;

use super::{Reader, accounts, parse, setting::OWN_PREFIX, values::Source};

/// What is redirected, and when.
#[derive(Debug, Clone)]
pub struct Intercept {
    /// Whether there are rules at all.
    pub enabled: bool,
    /// How what comes in gets to Envoy.
    pub mode: Mode,
    /// What comes in.
    pub inbound: Inbound,
    /// What goes out.
    pub outbound: Outbound,
    /// Whose.
    pub scope: Scope,
    /// Interfaces that are treated in another way.
    pub interfaces: Interfaces,
    /// What is spared without being named.
    pub spared: Vec<Spared>,
    /// Whether questions are redirected.
    pub dns: bool,
    /// Whether those to all resolvers are.
    pub dns_all: bool,
    /// Whether segments of no connection are dropped.
    pub drop_invalid: bool,
    /// Whether IPv6 is redirected, if somebody said.
    pub ipv6: Option<bool>,
    /// Users whose connections are never redirected, if somebody said.
    pub proxy_users: Option<Vec<u32>>,
    /// Groups whose connections are never redirected, if somebody said.
    pub proxy_groups: Option<Vec<u32>>,
    /// Where Envoy listens.
    pub envoy: Envoy,
    /// How packets are steered with TPROXY.
    pub steer: Steer,
    /// What happens when Envoy does not listen.
    pub on_failure: OnFailure,
    /// How long its connections are held then.
    pub hold: Duration,
    /// Values that mean nothing, each with what happens instead.
    pub unheeded: Vec<String>,
}

impl Reader<'_> {
    pub(super) fn intercept(&mut self) -> Option<Intercept> {
        let mut unheeded = Vec::new();
        let enabled = self.interception();
        let mode = self.forgiving("intercept.mode", mode, &mut unheeded);
        let inbound = self.inbound();
        let outbound = self.outbound();
        let scope = self.scope();
        let interfaces = self.interfaces();
        let spared =
            self.required("intercept.exclude_defaults", |text| parse::list(text, Spared::named));
        let dns = self.forgiving("intercept.dns", parse::boolean, &mut unheeded);
        let dns_all = self.forgiving("intercept.dns_all", parse::boolean, &mut unheeded);
        let drop = self.forgiving("intercept.drop_invalid", parse::boolean, &mut unheeded);
        let ipv6 = self.optional("intercept.ipv6", parse::boolean);
        let proxy_users =
            self.optional("intercept.proxy_users", |text| parse::list(text, accounts::user));
        let proxy_groups =
            self.optional("intercept.proxy_groups", |text| parse::list(text, accounts::group));
        let envoy = self.listeners();
        let steer = self.steer();
        let on_failure = self.required("intercept.on_failure", |text| match text {
            "open" => Some(OnFailure::Open),
            "hold" => Some(OnFailure::Hold),
            "closed" => Some(OnFailure::Closed),
            _ => None,
        });
        let hold = self.required("intercept.hold", parse::duration);
        if mode == Some(Mode::Tproxy) && !self.said_to_istiod("TPROXY") {
            unheeded.push(ISTIOD_DECIDES.to_owned());
        }
        Some(Intercept {
            enabled: enabled?,
            mode: mode?,
            inbound: inbound?,
            outbound: outbound?,
            scope: scope?,
            interfaces: interfaces?,
            spared: spared?,
            dns: dns?,
            dns_all: dns_all?,
            drop_invalid: drop?,
            ipv6: ipv6?,
            proxy_users: proxy_users?,
            proxy_groups: proxy_groups?,
            envoy: envoy?,
            steer: steer?,
            on_failure: on_failure?,
            hold: hold?,
            unheeded,
        })
    }

    /// Whoever makes rules of their own says so in the words of Istio's start script.
    fn interception(&mut self) -> Option<bool> {
        let custom = self.values.variable("ISTIO_CUSTOM_IP_TABLES");
        let custom = custom.is_some_and(|said| said.value == "true");
        Some(self.optional("intercept.enabled", parse::boolean)?.unwrap_or(!custom))
    }

    /// What istiod makes Envoy's listeners for is in the node's metadata.
    fn said_to_istiod(&self, mode: &str) -> bool {
        let said = self.values.variable("ISTIO_META_INTERCEPTION_MODE");
        said.is_some_and(|said| said.value == mode)
    }

    fn inbound(&mut self) -> Option<Inbound> {
        let taken = self.required("intercept.inbound_ports", |text| taken(text, ports));
        let exclude = self.required("intercept.exclude_inbound_ports", |text| all(text, ports));
        Some(Inbound { ports: taken?, exclude: exclude? })
    }

    fn outbound(&mut self) -> Option<Outbound> {
        let networks = self.required("intercept.outbound_cidrs", |text| taken(text, network));
        let exclude = self.required("intercept.exclude_outbound_cidrs", |text| all(text, network));
        let taken = self.required("intercept.outbound_ports", |text| all(text, ports));
        let exclude_ports =
            self.required("intercept.exclude_outbound_ports", |text| all(text, ports));
        let loopback = self.required("intercept.loopback", |text| {
            network(text)
                .filter(|own| own.bits() >= 8 && own.address().is_ipv4())
                .filter(|own| own.address().is_loopback())
        });
        Some(Outbound {
            networks: networks?,
            exclude: exclude?,
            ports: taken?,
            exclude_ports: exclude_ports?,
            loopback: loopback?,
        })
    }

    /// Names are looked up when a plan is made: an account may live in a directory that is away.
    fn scope(&mut self) -> Option<Scope> {
        let groups = self.required("intercept.groups", |text| taken(text, parse::account));
        let exclude_groups =
            self.required("intercept.exclude_groups", |text| all(text, parse::account));
        let users = self.required("intercept.users", |text| taken(text, parse::account));
        let exclude_users =
            self.required("intercept.exclude_users", |text| all(text, parse::account));
        let units = self.required("intercept.units", |text| taken(text, unit));
        let exclude_units = self.required("intercept.exclude_units", |text| all(text, unit));
        // Elsewhere an empty variable says nothing; here it says that it is nobody.
        let nobody = self.values.variable("ISTIO_OUTBOUND_OWNER_GROUPS");
        let nobody = nobody.is_some_and(|said| said.value.is_empty());
        let groups = match groups? {
            Taken::All if nobody => Taken::Only(Vec::new()),
            groups => groups,
        };
        Some(Scope {
            users: users?,
            groups,
            units: units?,
            exclude_users: exclude_users?,
            exclude_groups: exclude_groups?,
            exclude_units: exclude_units?,
        })
    }

    fn interfaces(&mut self) -> Option<Interfaces> {
        let exclude = self.required("intercept.exclude_interfaces", |text| all(text, interface));
        let virtuals = self.required("intercept.virtual_interfaces", |text| all(text, interface));
        Some(Interfaces { exclude: exclude?, virtuals: virtuals? })
    }

    fn listeners(&mut self) -> Option<Envoy> {
        let outbound = self.required("intercept.outbound_port", parse::port);
        let inbound = self.required("intercept.inbound_port", parse::port);
        let tunnel = self.required("intercept.tunnel_port", parse::port);
        Some(Envoy { outbound: outbound?, inbound: inbound?, tunnel: tunnel? })
    }

    fn steer(&mut self) -> Option<Steer> {
        let mark =
            self.required("intercept.tproxy_mark", |text| number(text).filter(|mark| *mark != 0));
        // 253 to 255 are the tables of the system, 0 is none.
        let table = self.required("intercept.tproxy_table", |text| {
            number(text).filter(|table| !matches!(table, 0 | 253..=255))
        });
        Some(Steer { mark: mark?, table: table? })
    }

    /// A value that is wrong is a problem, unless it stands in a variable of Istio: there nobody
    /// ever complained, and the machine is not to stop now.
    fn forgiving<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Option<T>,
        unheeded: &mut Vec<String>,
    ) -> Option<T> {
        let setting = self.known(key)?;
        let said = self.values.setting(setting);
        if parse(said.value.trim()).is_some() || !of_istio(&said.source) {
            return self.required(key, parse);
        }
        let (value, source, usual) = (&said.value, &said.source, setting.default);
        unheeded.push(format!(
            "{key} = {value:?} (from {source}) means nothing: expected {}; {usual} holds",
            setting.expected
        ));
        parse(usual)
    }
}

fn of_istio(source: &Source) -> bool {
    match source {
        Source::EnvFile { .. } | Source::Mesh { .. } => true,
        Source::Environment { name } => !name.starts_with(OWN_PREFIX),
        _ => false,
    }
}

fn mode(text: &str) -> Option<Mode> {
    match text.to_ascii_lowercase().as_str() {
        "redirect" => Some(Mode::Redirect),
        "tproxy" => Some(Mode::Tproxy),
        "none" => Some(Mode::None),
        _ => None,
    }
}

/// `*`, or what is named.
fn taken<T>(text: &str, item: impl Fn(&str) -> Option<T>) -> Option<Taken<T>> {
    if text == "*" { Some(Taken::All) } else { all(text, item).map(Taken::Only) }
}

fn all<T>(text: &str, item: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let items = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    items.take(MOST_LISTED).map(item).collect()
}

/// `8080` or `8000-8999`.
fn ports(text: &str) -> Option<Ports> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse::port(first.trim())?, parse::port(last.trim())?);
    (first <= last).then_some(Ports { first, last })
}

/// A network without what its length leaves out: 10.1.2.3/8 is 10.0.0.0/8.
fn network(text: &str) -> Option<Cidr> {
    text.parse().ok().map(|network: Cidr| network.masked())
}

/// A name as the kernel takes it; one that ends in `*`, or `+` as for iptables, begins others.
fn interface(text: &str) -> Option<String> {
    let (name, tail) = match text.strip_suffix(['*', '+']) {
        Some(name) => (name, "*"),
        None => (text, ""),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '@' | ':');
    let named = !name.is_empty() && name.len() <= LONGEST_INTERFACE && name.chars().all(fits);
    named.then(|| format!("{name}{tail}"))
}

/// The name of a unit that has processes: a service, scope or slice.
fn unit(text: &str) -> Option<String> {
    let fits =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '@' | ':' | '\\');
    let kind = [".service", ".scope", ".slice"].iter().any(|kind| text.ends_with(kind));
    let named = kind && text.len() <= LONGEST_UNIT && text.chars().all(fits);
    named.then(|| text.to_owned())
}

/// In decimal, or in hexadecimal after `0x`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

const ISTIOD_DECIDES: &str = "intercept.mode = tproxy: istiod does not know, so Envoy is not handed what comes in, and it is redirected; say ISTIO_META_INTERCEPTION_MODE=TPROXY too";
const MOST_LISTED: usize = 4096;
const LONGEST_INTERFACE: usize = 15;
const LONGEST_UNIT: usize = 255;

#[cfg(test)]
mod tests;
