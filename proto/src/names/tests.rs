//! Tests of names: what is read is what was written, and damage is told.

use super::*;
use crate::istio::nds::NameInfo;

fn info(ips: &[&str]) -> NameInfo {
    NameInfo {
        ips: ips.iter().map(|&ip| ip.to_owned()).collect(),
        registry: "Kubernetes".to_owned(),
        shortname: "web".to_owned(),
        namespace: "shop".to_owned(),
        alt_hosts: vec!["web.other".to_owned(), "web.third".to_owned()],
    }
}

fn table() -> NameTable {
    let entries = [
        ("web.shop.svc.cluster.local", info(&["10.0.0.1", "2001:db8::1"])),
        ("*.wild.example", NameInfo { alt_hosts: Vec::new(), ..info(&["10.0.0.2"]) }),
        ("empty.example", NameInfo::default()),
    ];
    NameTable { table: entries.map(|(host, info)| (host.to_owned(), info)).into() }
}

/// An entry that holds these octets after its key.
fn entry(host: &str, rest: &[u8]) -> Vec<u8> {
    let mut payload = vec![0x0a, host.len().try_into().unwrap()];
    payload.extend_from_slice(host.as_bytes());
    payload.extend_from_slice(rest);
    let mut entry = vec![0x0a, payload.len().try_into().unwrap()];
    entry.append(&mut payload);
    entry
}

fn named(message: &[u8]) -> Result<Names, Malformed> {
    Names::new(Bytes::copy_from_slice(message))
}

fn hosts(names: &Names) -> Vec<&str> {
    names.iter().map(|entry| entry.host).collect()
}

/// The table that decoding gives.
fn decoded(names: &Names) -> NameTable {
    let entries = names.iter().map(|entry| {
        let info = NameInfo {
            ips: entry.ips().map(str::to_owned).collect(),
            registry: entry.registry.to_owned(),
            shortname: entry.shortname.to_owned(),
            namespace: entry.namespace.to_owned(),
            alt_hosts: entry.alt_hosts().map(str::to_owned).collect(),
        };
        (entry.host.to_owned(), info)
    });
    NameTable { table: entries.collect() }
}

#[test]
fn what_is_read_is_what_was_written_in_the_order_of_the_hosts() {
    let names = named(&table().encode_to_vec()).unwrap();

    assert_eq!(decoded(&names), table());
    assert_eq!(hosts(&names), ["*.wild.example", "empty.example", "web.shop.svc.cluster.local"]);
    assert_eq!((names.len(), names.is_empty()), (3, false));
    assert_eq!(names, Names::from(&table()), "whatever order they came in");
}

#[test]
fn a_message_in_order_is_not_copied() {
    let message = Names::from(&table()).message().clone();
    let names = Names::new(message.clone()).unwrap();
    assert_eq!(names.message().as_ptr(), message.as_ptr());
}

#[test]
fn of_entries_for_the_same_host_the_last_counts() {
    let with_ip = |ip: &str| {
        let info = NameInfo { ips: vec![ip.to_owned()], ..NameInfo::default() }.encode_to_vec();
        [vec![0x12, info.len().try_into().unwrap()], info].concat()
    };
    let message = [
        entry("b", &with_ip("10.0.0.1")),
        entry("a", &with_ip("10.0.0.2")),
        entry("b", &with_ip("10.0.0.3")),
        entry("b", &with_ip("10.0.0.4")),
    ];

    let names = named(&message.concat()).unwrap();

    assert_eq!((hosts(&names), names.len()), (vec!["a", "b"], 2));
    assert_eq!(names.iter().last().unwrap().ips().collect::<Vec<_>>(), ["10.0.0.4"]);
    let next_to_each_other = named(&[entry("a", &[]), entry("a", &[])].concat()).unwrap();
    assert_eq!(next_to_each_other.len(), 1);
}

#[test]
fn no_octets_are_an_empty_table() {
    let names = named(&[]).unwrap();
    assert_eq!((names.len(), names.is_empty(), names.iter().count()), (0, true, 0));
    assert_eq!(names, Names::default());
}

#[test]
fn an_entry_may_lack_everything_and_have_what_nobody_knows() {
    // an unknown field of the table, of an entry and of its value
    let message =
        [vec![0x78, 5], vec![0x0a, 0], entry("a", &[0x78, 1, 0x12, 3, 0x7a, 1, 9])].concat();

    let names = named(&message).unwrap();

    assert_eq!(hosts(&names), ["", "a"]);
    for entry in names.iter() {
        assert_eq!((entry.registry, entry.ips().count(), entry.alt_hosts().count()), ("", 0, 0));
    }
}

#[test]
fn what_is_no_name_table_is_refused() {
    let cases: [&[u8]; 10] = [
        &[0xff],
        // the table is a number; its length leads outside
        &[0x08, 1],
        &[0x0a, 5, 0],
        // a key that is no text, or a number
        &[0x0a, 3, 0x0a, 1, 0xff],
        &[0x0a, 2, 0x08, 1],
        // a value that is a number
        &[0x0a, 2, 0x10, 1],
        // an address, and another host, that are no text
        &[0x0a, 5, 0x12, 3, 0x0a, 1, 0xff],
        &[0x0a, 5, 0x12, 3, 0x2a, 1, 0xff],
        // a registry that is a number
        &[0x0a, 4, 0x12, 2, 0x10, 1],
        // a group that does not end
        &[0x0b],
    ];
    for case in cases {
        assert_eq!(named(case), Err(Malformed), "{case:?}");
        assert!(NameTable::decode(case).is_err(), "{case:?}");
    }
}

#[test]
fn every_truncation_is_refused_or_gives_fewer_hosts() {
    let whole = Names::from(&table());
    for length in 0..whole.message().len() {
        if let Ok(names) = Names::new(whole.message().slice(..length)) {
            assert!(names.len() < whole.len(), "{length}");
            assert_eq!(hosts(&names), hosts(&whole)[..names.len()], "{length}");
        }
    }
}

#[test]
fn any_changed_octet_is_read_as_decoding_reads_it() {
    let whole = Names::from(&table());
    for at in 0..whole.message().len() {
        for value in [0, 1, 0x0a, 0x12, 0x7f, 0x80, 0xff] {
            let mut message = whole.message().to_vec();
            message[at] = value;
            let names = named(&message);
            match NameTable::decode(message.as_slice()) {
                Ok(table) => assert_eq!(names.map(|names| decoded(&names)), Ok(table), "{at}"),
                Err(_) => assert_eq!(names, Err(Malformed), "{at} {value}"),
            }
        }
    }
}
