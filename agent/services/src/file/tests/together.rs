//! What is wrong with things that are good by themselves.

use super::*;

const TOP: &str = "gateways: gw\nservices:\n";

fn line(host: &str, more: &str) -> String {
    format!("- {{host: {host}, identity: ns/a/sa/a, {more}}}\n")
}

#[test]
fn services_need_a_gateway() {
    let text = "services:\n- host: a.example\n  port: 80\n  identity: ns/a/sa/a\n";

    assert_eq!(
        told(text),
        "services.yaml: gateways: expected the address of an east-west gateway, \
         through which services are reached"
    );
    let none = format!("gateways: []\n{text}");
    let told_of = told(&none);
    assert!(told_of.starts_with("services.yaml:1: gateways: expected the address"), "{told_of}");
    let wrong = format!("gateways: [{{address: a b, name: far}}]\n{text}  gateways: far\n");
    assert_eq!(told(&wrong).lines().count(), 1, "what is wrong is told once: {}", told(&wrong));
}

#[test]
fn a_name_leads_to_one_host() {
    let text = [
        TOP,
        &line("a.example", "ports: [80, 81], aliases: [b.example, c]"),
        &line("b.example", "port: 80"),
        &line("d.example", "port: 80, aliases: c"),
        &line("d.example", "port: 81, aliases: [d.example, d]"),
    ]
    .concat();

    assert_eq!(
        told(&text),
        "services.yaml:3: services[0].aliases: found b.example, which is b.example (services.yaml:4): expected a name that no other service has\n\
         services.yaml:5: services[2].aliases: found c, which is a.example (services.yaml:3): expected a name that no other service has"
    );
}

#[test]
fn subsets_of_a_host_stand_side_by_side_on_ports_of_their_own() {
    let same = [
        TOP,
        &line("a.example", "port: 80, subset: v1"),
        &line("a.example", "port: 80, subset: v2"),
    ];
    let own = [
        TOP,
        &line("a.example", "port: 80, subset: v1"),
        &line("a.example", "port: 80, subset: v2, local_port: 81"),
    ];

    assert_eq!(
        told(&same.concat()),
        "services.yaml:4: services[1].local_port: found a.example on local port 80, where services.yaml:3 is: \
         expected a local_port of its own for each"
    );
    assert!(services(&own.concat()).is_ok());
}

#[test]
fn the_name_that_tls_carries_has_its_limit() {
    let host = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".");
    let text = [TOP, &line(&host, "port: 80")].concat();

    assert_eq!(
        told(&text),
        "services.yaml:3: services[0].host: found a server name of 259 bytes (outbound_.80_.…): \
         expected host and subset that fit into 255 bytes with it"
    );
}

#[test]
fn a_forwarder_has_one_address_for_all() {
    let text = [
        "forwarder: {address: 10.0.0.5, allow: 10.0.0.0/8}\n",
        "inbound: [{port: 8443, to: 1}, {port: 90, to: 1, address: 10.0.0.6}]\n",
        TOP,
        &line("a.example", "port: 80"),
        &line("b.example", "port: 80"),
        &line("c.example", "port: 80, protocol: tcp"),
        &line("d.example", "port: 5432, protocol: tcp"),
        &line("e.example", "port: 5432, protocol: tcp, local_port: 5433"),
        &line("f.example", "port: 5433, protocol: grpc"),
        &line("g.example", "port: 8443"),
        &line("h.example", "port: 90"),
    ]
    .concat();

    let expected = "expected a local_port of its own for each tcp service of a forwarder, which has one address";
    assert_eq!(
        told(&text).lines().collect::<Vec<_>>(),
        [
            &format!(
                "services.yaml:7: services[2].local_port: found port 80, where services.yaml:6 is: {expected}"
            ),
            &format!(
                "services.yaml:10: services[5].local_port: found port 5433, where services.yaml:9 is: {expected}"
            ),
            "services.yaml:11: services[6].local_port: found port 8443, where services.yaml:2 listens for the mesh: \
             expected a port that inbound does not have",
        ]
    );
    let alone = text.split_once('\n').unwrap().1;
    assert!(services(alone).is_ok(), "without it every tcp host has its own");
}

#[test]
fn ports_that_are_raised_stay_apart() {
    let text = [
        TOP,
        &line("a.example", "ports: [80, 10080, 443]"),
        &line("b.example", "port: 80, local_port: 8080"),
        &line("c.example", "port: 10080"),
        &line("d.example", "port: 443, protocol: tcp"),
    ]
    .concat();
    let wrong = |text: &str, low_ports| {
        lifted(&services(text).unwrap(), low_ports).map_err(|problems| problems.to_string())
    };

    assert_eq!(wrong(&text, 0), Ok(()));
    assert_eq!(wrong(&text, 9000), Ok(()));
    assert_eq!(
        wrong(&text, 10_000).unwrap_err(),
        "services.yaml:3: local_port of a.example: found port 10080 with services.low_ports = 10000, \
         where services.yaml:3 is too: expected a local_port of its own for each"
    );
    let forwarder = "forwarder: {address: 10.0.0.5, allow: 10.0.0.0/8}\n";
    let text = [
        forwarder,
        TOP,
        &line("a.example", "port: 80, protocol: tcp"),
        &line("b.example", "port: 10080"),
    ];
    assert!(wrong(&text.concat(), 10_000).unwrap_err().contains("services.yaml:4 is too"));
}
