//! What was found, as the text of a file.

use super::{Found, Imported, Service, Wanted};
use crate::model::Protocol;

/// The file, with what has still to be said in comments.
pub(super) fn file(found: &Found, wanted: &Wanted) -> Imported {
    let mut text = String::from("# Made by `hawser services import`; `hawser check` judges it.\n");
    if let Some(domain) = &wanted.trust_domain {
        line(&mut text, format_args!("trust_domain: {domain}"));
    }
    let gateways: Vec<&String> = match wanted.gateways.as_slice() {
        [] => found.gateways.iter().collect(),
        said => said.iter().collect(),
    };
    if gateways.is_empty() {
        line(
            &mut text,
            format_args!("# The east-west gateway: HOST, or HOST:PORT if it is not 15443."),
        );
        line(&mut text, format_args!("gateways: []"));
    } else {
        line(&mut text, format_args!("gateways:"));
        for gateway in gateways {
            line(&mut text, format_args!("  - {gateway:?}"));
        }
    }
    line(&mut text, format_args!("services:"));
    for (host, service) in &found.services {
        one(&mut text, host, service);
    }
    let skipped = found.skipped.iter().cloned().collect();
    Imported { text, services: found.services.len(), skipped }
}

fn one(text: &mut String, host: &str, service: &Service) {
    line(text, format_args!("  - host: {host}"));
    let ids: Vec<&str> = service.identities.iter().map(String::as_str).collect();
    match ids.as_slice() {
        [id] if id.ends_with('*') => {
            line(
                text,
                format_args!("    identity: {id}  # any account of the namespace: say which"),
            );
        }
        [id] => line(text, format_args!("    identity: {id}")),
        ids => line(text, format_args!("    identity: [{}]", ids.join(", "))),
    }
    let ports: Vec<_> = service.ports.iter().collect();
    match ports.as_slice() {
        [(port, Protocol::Http)] => line(text, format_args!("    port: {port}")),
        [(port, spoken)] => {
            line(text, format_args!("    port: {port}"));
            line(text, format_args!("    protocol: {}", spoken.word()));
        }
        ports => {
            line(text, format_args!("    ports:"));
            for (port, spoken) in ports {
                line(text, format_args!("      - {{port: {port}, protocol: {}}}", spoken.word()));
            }
        }
    }
}

fn line(text: &mut String, said: std::fmt::Arguments<'_>) {
    text.push_str(&said.to_string());
    text.push('\n');
}
