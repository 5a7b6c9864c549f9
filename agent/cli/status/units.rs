//! The rows of the other units.

use crate::status::units::{UnitsStatus, envoy, intercept};

pub(super) fn rows(units: &UnitsStatus, row: &mut impl FnMut(&str, String)) {
    if let Some(status) = &units.envoy {
        envoy(status, row);
    }
    if let Some(status) = &units.intercept {
        intercept(status, row);
    }
}

fn envoy(status: &envoy::Status, row: &mut impl FnMut(&str, String)) {
    for line in status.missing().into_iter().chain(status.lines()) {
        row("", line);
    }
}

fn intercept(status: &intercept::Status, row: &mut impl FnMut(&str, String)) {
    row("rules", status.missing().unwrap_or_else(|| status.to_string()));
    if status.repairs > 0 {
        row("", format!("put back {} times: see hawser intercept show", status.repairs));
    }
}
