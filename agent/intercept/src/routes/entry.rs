//! A policy rule or a route, as the kernel is told it and tells it.

use std::fmt;

use nix::libc;

use crate::netlink::{self, CREATE, EXCLUSIVE, Message, u32_at};
use crate::plan::{Family, LocalRoute, PREFERENCE, PROTOCOL, PolicyRule};

/// `RTM_NEWROUTE` and so on.
pub(super) const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
pub(super) const ROUTES: u16 = 26;
pub(super) const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;
pub(super) const RULES: u16 = 34;

/// `fib_rule_hdr` and `rtmsg`: family, length of the destination, …, and the rest as named here.
pub(super) const HEADER: usize = 12;
const FAMILY: usize = 0;
const PREFIX: usize = 1;
const TABLE: usize = 4;
const MADE_BY: usize = 5;
const SCOPE: usize = 6;
const CLASS: usize = 7;

const RULE_PRIORITY: u16 = 6;
const RULE_MARK: u16 = 10;
const RULE_TABLE: u16 = 15;
const RULE_MASK: u16 = 16;
const RULE_PROTOCOL: u16 = 21;
const ROUTE_DESTINATION: u16 = 1;
const ROUTE_INTERFACE: u16 = 4;
const ROUTE_PRIORITY: u16 = 6;
const ROUTE_TABLE: u16 = 15;

/// `FR_ACT_TO_TBL`, `RTN_LOCAL`, `RT_SCOPE_HOST`.
const LOOK_UP: u8 = 1;
pub(super) const LOCAL: u8 = 2;
const HOST: u8 = 254;

/// A policy rule or a route that is in the kernel, as it is asked to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) family: u8,
    pub(super) table: u32,
    /// For a rule: its mark and mask, and its preference.
    pub(super) mark: Option<u32>,
    pub(super) mask: Option<u32>,
    pub(super) preference: Option<u32>,
    /// For a route.
    pub(super) destination: Option<Vec<u8>>,
    pub(super) prefix: u8,
    pub(super) interface: Option<u32>,
    pub(super) protocol: u8,
    pub(super) class: u8,
    pub(super) scope: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rule,
    Route,
}

impl Entry {
    pub(super) fn of_rule(rule: &PolicyRule) -> Self {
        Self {
            kind: Kind::Rule,
            family: family(rule.family),
            table: rule.table,
            mark: Some(rule.mark),
            mask: Some(u32::MAX),
            preference: Some(PREFERENCE),
            destination: None,
            prefix: 0,
            interface: None,
            protocol: PROTOCOL,
            class: LOOK_UP,
            scope: 0,
        }
    }

    pub(super) fn of_route(route: &LocalRoute, loopback: u32) -> Self {
        Self {
            kind: Kind::Route,
            family: family(route.family),
            table: route.table,
            mark: None,
            mask: None,
            preference: None,
            destination: None,
            prefix: 0,
            interface: Some(loopback),
            protocol: PROTOCOL,
            class: LOCAL,
            scope: if route.family == Family::V4 { HOST } else { 0 },
        }
    }

    /// Whether this one from the kernel is that one: a route of IPv6 has a metric there that nobody
    /// has said.
    pub(super) fn is(&self, wanted: &Self) -> bool {
        let plain = |entry: &Self| match entry.kind {
            Kind::Rule => entry.clone(),
            Kind::Route => Self { preference: None, ..entry.clone() },
        };
        plain(self) == plain(wanted)
    }

    pub(super) fn read_rule(body: &[u8]) -> Option<Self> {
        let find = |wanted| Self::attribute(body, wanted);
        let number = |wanted| find(wanted).and_then(|value| u32_at(value, 0));
        Some(Self {
            kind: Kind::Rule,
            family: *body.first()?,
            table: number(RULE_TABLE)
                .unwrap_or_else(|| body.get(TABLE).copied().unwrap_or(0).into()),
            mark: number(RULE_MARK),
            mask: number(RULE_MASK),
            preference: number(RULE_PRIORITY),
            destination: None,
            prefix: 0,
            interface: None,
            protocol: find(RULE_PROTOCOL)?.first().copied()?,
            class: *body.get(CLASS)?,
            scope: 0,
        })
    }

    pub(super) fn read_route(body: &[u8]) -> Option<Self> {
        let find = |wanted| Self::attribute(body, wanted);
        let number = |wanted| find(wanted).and_then(|value| u32_at(value, 0));
        Some(Self {
            kind: Kind::Route,
            family: *body.first()?,
            table: number(ROUTE_TABLE)
                .unwrap_or_else(|| body.get(TABLE).copied().unwrap_or(0).into()),
            mark: None,
            mask: None,
            preference: number(ROUTE_PRIORITY),
            destination: find(ROUTE_DESTINATION).map(<[u8]>::to_vec),
            prefix: *body.get(PREFIX)?,
            interface: number(ROUTE_INTERFACE),
            protocol: *body.get(MADE_BY)?,
            scope: *body.get(SCOPE)?,
            class: *body.get(CLASS)?,
        })
    }

    fn attribute(body: &[u8], wanted: u16) -> Option<&[u8]> {
        let mut all = netlink::attributes(body, HEADER);
        all.find(|(number, _)| *number == wanted).map(|(_, value)| value)
    }

    pub(super) fn message(&self, add: bool) -> Message {
        let flags = if add { CREATE | EXCLUSIVE } else { 0 };
        let (kind, fields): (u16, &[(usize, u8)]) = match (self.kind, add) {
            (Kind::Rule, true) => (NEW_RULE, &[]),
            (Kind::Rule, false) => (DELETE_RULE, &[]),
            (Kind::Route, add) => (
                if add { NEW_ROUTE } else { DELETE_ROUTE },
                &[(PREFIX, self.prefix), (MADE_BY, self.protocol), (SCOPE, self.scope)],
            ),
        };
        let mut header = [0; HEADER];
        for &(at, value) in fields.iter().chain(&[(FAMILY, self.family), (CLASS, self.class)]) {
            if let Some(place) = header.get_mut(at) {
                *place = value;
            }
        }
        let mut message = Message::new(kind, flags, &header);
        let numbers: &[(u16, Option<u32>)] = match self.kind {
            Kind::Rule => &[
                (RULE_PRIORITY, self.preference),
                (RULE_MARK, self.mark),
                (RULE_MASK, self.mask),
                (RULE_TABLE, Some(self.table)),
            ],
            Kind::Route => &[
                (ROUTE_PRIORITY, self.preference),
                (ROUTE_INTERFACE, self.interface),
                (ROUTE_TABLE, Some(self.table)),
            ],
        };
        for (number, value) in numbers {
            if let Some(value) = value {
                message = message.with(*number, &value.to_ne_bytes());
            }
        }
        match self.kind {
            Kind::Rule => message.with(RULE_PROTOCOL, &[self.protocol]),
            Kind::Route => match &self.destination {
                Some(destination) => message.with(ROUTE_DESTINATION, destination),
                None => message,
            },
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if i32::from(self.family) == libc::AF_INET6 { "-6 " } else { "" };
        match (self.kind, self.mark) {
            (Kind::Rule, Some(mark)) => {
                write!(f, "ip {version}rule fwmark {mark:#x} lookup {}", self.table)
            }
            (Kind::Rule, None) => write!(f, "ip {version}rule lookup {}", self.table),
            (Kind::Route, _) => {
                write!(f, "ip {version}route local default dev lo table {}", self.table)
            }
        }
    }
}

pub(super) fn family(family: Family) -> u8 {
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    u8::try_from(number).unwrap_or_default()
}
