//! Layers over each other, as a whole machine has them.

use std::fs;

use super::*;
use crate::config::{Config, problem::Problems};

struct Machine {
    root: tempfile::TempDir,
    environment: Vec<(String, String)>,
    flags: Vec<Flag>,
}

impl Machine {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), environment: Vec::new(), flags: Vec::new() }
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        hawser_state::write_file(&path, 0o600, text.as_bytes()).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push(Flag { name: "--set", key: key.into(), value: value.into() });
        self
    }

    fn paths(&self) -> Paths {
        Paths::under(self.root.path())
    }

    fn sources(&self) -> Sources {
        read(&self.paths(), &self.environment.iter().cloned().collect(), &self.flags)
    }

    fn load(&self) -> Result<Config, Problems> {
        Config::load(&self.paths(), &self.sources())
    }

    /// The value of a setting and its source, without the part of it that is this test's own.
    fn said(&self, key: &str) -> (String, String) {
        let said = self.sources().values.setting(setting::find(key).unwrap());
        let root = format!("{}/", self.root.path().display());
        (said.value, said.source.to_string().replace(&root, ""))
    }
}

#[test]
fn each_layer_wins_over_the_one_before_and_says_so() {
    let mut machine = Machine::new();
    let expect = |machine: Machine, value: &str, source: &str| {
        let (said, by) = machine.said("istiod.address");
        assert_eq!((said.as_str(), by.as_str()), (value, source));
        machine
    };
    machine = expect(machine, "istiod.istio-system.svc:15012", "default");
    machine = machine.file("etc/istio/config/mesh", "defaultConfig: {discoveryAddress: 'mesh:1'}");
    machine = expect(machine, "mesh:1", "discoveryAddress in etc/istio/config/mesh");
    machine = machine.file("var/lib/istio/envoy/sidecar.env", "PILOT_ADDRESS=sidecar:1");
    machine = expect(machine, "sidecar:1", "PILOT_ADDRESS in var/lib/istio/envoy/sidecar.env:1");
    machine = machine.file("var/lib/istio/envoy/cluster.env", "\nPILOT_ADDRESS='cluster:1'");
    machine = expect(machine, "cluster:1", "PILOT_ADDRESS in var/lib/istio/envoy/cluster.env:2");
    machine = machine.file("etc/hawser/hawser.toml", "[istiod]\naddress = 'toml:1'");
    machine = expect(machine, "toml:1", "etc/hawser/hawser.toml");
    machine = machine.variable("PILOT_ADDRESS", "environment:1");
    machine = expect(machine, "environment:1", "$PILOT_ADDRESS");
    machine = machine.variable("HAWSER_ISTIOD_ADDRESS", "ours:1");
    machine = expect(machine, "ours:1", "$HAWSER_ISTIOD_ADDRESS");
    machine = machine.flag("istiod.address", "flag:1");
    expect(machine, "flag:1", "--set");
}

#[test]
fn halves_of_an_address_make_one_where_nobody_has_said_a_whole_one() {
    let mesh = |machine: Machine| {
        machine.file("etc/istio/config/mesh", "defaultConfig: {discoveryAddress: 'mesh:1'}")
    };
    let said = |machine: Machine, env: &str| {
        machine.file("var/lib/istio/envoy/cluster.env", env).said("istiod.address").0
    };
    let table = [
        ("ISTIO_PILOT_PORT=31012", "istiod.istio-system.svc:31012", true),
        ("ISTIO_PILOT_PORT=''", "istiod.istio-system.svc:15012", false),
        ("ISTIO_SYSTEM_NAMESPACE=mesh", "istiod.mesh.svc:15012", false),
        ("ISTIO_PILOT_PORT=1\nISTIO_SYSTEM_NAMESPACE=mesh", "istiod.mesh.svc:1", true),
        ("ISTIO_PILOT_PORT=1\nPILOT_ADDRESS=whole:2", "whole:2", false),
    ];
    for (env, expected, beats_mesh) in table {
        assert_eq!(said(Machine::new(), env), expected, "{env}");
        let beside = said(mesh(Machine::new()), env);
        assert_eq!(beside == expected, beats_mesh || expected == "whole:2", "{env}: {beside}");
    }
    let machine = Machine::new().file("var/lib/istio/envoy/cluster.env", "ISTIO_PILOT_PORT=x");
    let problems = machine.load().unwrap_err().0;
    let problem = problems.first().unwrap().to_string();
    assert!(problem.contains("ISTIO_PILOT_PORT in"), "{problem}");
}

#[test]
fn what_was_joined_stands_in_for_the_places_of_istio_as_a_whole() {
    let machine = Machine::new()
        .file("etc/istio/config/mesh", "defaultConfig: {discoveryAddress: 'old:1'}")
        .file("var/lib/istio/envoy/cluster.env", "POD_NAMESPACE=old")
        .file("etc/hawser/mesh/cluster.env", "SERVICE_ACCOUNT=new");

    let config = machine.load().unwrap();

    assert_eq!(config.node.id.to_string(), "spiffe://cluster.local/ns/default/sa/new");
    assert_eq!(config.istiod.to_string(), "istiod.istio-system.svc:15012");
}

#[test]
fn the_files_of_istioctl_say_who_the_machine_is() {
    let machine = Machine::new()
        .file(
            "etc/hawser/mesh/cluster.env",
            "CA_ADDR='istiod-rev-1.istio-system.svc:15012'\nISTIO_META_NETWORK=''\n\
             ISTIO_META_CLUSTER_ID='Kubernetes'\nISTIO_METAJSON_LABELS='{\"app\":\"foo\"}'\n\
             ISTIO_NAMESPACE='bar'\nISTIO_SERVICE='foo.bar'\nISTIO_SVC_IP='10.10.10.10'\n\
             POD_NAMESPACE='bar'\nSERVICE_ACCOUNT='vm'\nTRUST_DOMAIN=''\n",
        )
        .file(
            "etc/hawser/mesh/mesh.yaml",
            "defaultConfig:\n  discoveryAddress: istiod-rev-1.istio-system.svc:15012\n  \
             proxyMetadata:\n    POD_NAMESPACE: other\n    ISTIO_META_MESH_ID: mesh1\n",
        )
        .file("etc/hawser/mesh/hosts", "192.0.2.1 istiod-rev-1.istio-system.svc\n");

    let config = machine.load().unwrap();

    assert_eq!(config.node.id.to_string(), "spiffe://cluster.local/ns/bar/sa/vm");
    assert_eq!(config.node.ip, "10.10.10.10".parse().ok());
    assert_eq!(config.node.domain, "bar.svc.cluster.local");
    assert_eq!(config.node.service.as_deref(), Some("foo.bar"));
    assert_eq!(config.ca.to_string(), "istiod-rev-1.istio-system.svc:15012");
    assert_eq!(config.variables.meta["MESH_ID"], "mesh1");
    assert_eq!(config.variables.meta["NETWORK"], "");
    assert_eq!(config.proxy["discoveryAddress"], "istiod-rev-1.istio-system.svc:15012");
}

#[test]
fn all_problems_are_told_at_once_each_with_its_source() {
    let machine = Machine::new()
        .file("etc/hawser/mesh/cluster.env", "A=$(id)\nSECRET_TTL=tomorrow\nPOD_NAMESPACE='a b'\n")
        .file("etc/hawser/mesh/mesh.yaml", "defaultConfig: [")
        .file("etc/hawser/mesh/hosts", "gateway istiod\n")
        .file("etc/hawser/hawser.toml", "[dns]\nlisten = '15053'\nlisen = 1\n[other]\nkey = 2\n")
        .variable("HAWSER_DNS_LISEN", "x")
        .flag("xds.delta", "perhaps");

    let problems = machine.load().unwrap_err().to_string();
    let problems = problems.replace(&format!("{}/", machine.root.path().display()), "");

    for expected in [
        "etc/hawser/mesh/cluster.env:1: nothing is expanded here; put the value in single quotes",
        "etc/hawser/mesh/mesh.yaml: not usable: ",
        "etc/hawser/mesh/hosts:1: \"gateway\" is no IP address",
        "dns.lisen = \"1\" (from etc/hawser/hawser.toml): no such setting; did you mean dns.listen?",
        "other.key = \"2\" (from etc/hawser/hawser.toml): no such setting",
        "$HAWSER_DNS_LISEN: no such setting",
        "identity.ttl = \"tomorrow\" (from SECRET_TTL in etc/hawser/mesh/cluster.env:2): expected a \
         duration such as 5s, 100ms or 1h30m",
        "node.namespace = \"a b\" (from POD_NAMESPACE in etc/hawser/mesh/cluster.env:3): expected a \
         Kubernetes namespace",
        "dns.listen = \"15053\" (from etc/hawser/hawser.toml): expected ip:port",
        "xds.delta = \"perhaps\" (from --set): expected true or false",
    ] {
        assert!(problems.contains(expected), "{expected}\n--- not in ---\n{problems}");
    }
    assert_eq!(problems.lines().count(), 10, "{problems}");
}

#[test]
fn proxy_config_is_laid_over_the_mesh_file() {
    let machine = Machine::new()
        .file(
            "etc/istio/config/mesh",
            "defaultConfig: {discoveryAddress: 'mesh:1', proxyAdminPort: 15001}",
        )
        .file("var/lib/istio/envoy/cluster.env", "PROXY_CONFIG='statusPort: 15022'")
        .variable("PROXY_CONFIG", "discoveryAddress: variable:1\n");

    let config = machine.load().unwrap();

    assert_eq!(config.istiod.to_string(), "variable:1");
    assert_eq!(config.envoy.admin_port, 15001);
    assert_eq!(config.status.port(), 15020);
    assert_eq!(config.proxy["proxyAdminPort"], 15001);
}

#[test]
fn proxy_config_in_the_environment_is_stronger_than_our_file() {
    let machine = Machine::new()
        .file("etc/hawser/hawser.toml", "[istiod]\naddress = 'toml:1'")
        .file("var/lib/istio/envoy/cluster.env", "PROXY_CONFIG='discoveryAddress: file:1'")
        .variable("PROXY_CONFIG", "discoveryAddress: variable:1");

    assert_eq!(machine.load().unwrap().istiod.to_string(), "variable:1");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_and_not_an_empty_file() {
    let machine = Machine::new();
    fs::create_dir_all(machine.root.path().join("etc/hawser/hawser.toml")).unwrap();

    let problems = machine.load().unwrap_err().to_string();

    assert!(problems.contains("hawser.toml: cannot be read: "), "{problems}");
}

#[test]
fn toml_that_does_not_parse_is_told_with_its_line() {
    let machine = Machine::new().file("etc/hawser/hawser.toml", "[dns]\nlisten = \n");

    let problems = machine.load().unwrap_err().to_string();

    assert!(problems.contains("etc/hawser/hawser.toml:2: "), "{problems}");
}
