//! The text files of a bundle, of any content.

#![no_main]

use hawser::config::{envfile, hosts, parse, proxy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _assignments = envfile::parse(text);
    let _hosts = hosts::parse(text);
    let _mesh = proxy::of_mesh_file(text);
    let _time = parse::duration(text);
    let _sockets = parse::sockets(text);
});
