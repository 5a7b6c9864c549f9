//! What others print, made into files that make sense.

use std::path::PathBuf;

use super::*;
use crate::{Services, file};

fn wanted() -> Wanted {
    Wanted { cluster_domain: "cluster.local".to_owned(), ..Wanted::default() }
}

fn imported(text: &str, wanted: &Wanted) -> Imported {
    import(text, Path::new("-"), wanted).unwrap()
}

/// The file that was made, as it is read.
fn read(imported: &Imported) -> Services {
    let path = PathBuf::from("services.yaml");
    file::parse(&[file::Text { path, text: imported.text.clone() }], "cluster.local").unwrap()
}

/// Host, port, protocol and ids, a line for each.
fn lines(services: &Services) -> Vec<String> {
    let line = |of: &crate::model::Service| {
        format!("{} {} {} {}", of.host, of.port, of.protocol.word(), of.identities.join(","))
    };
    services.services.iter().map(line).collect()
}

#[test]
fn a_list_of_names_becomes_a_file() {
    let text = "# mine\n\
                reviews.prod.svc.cluster.local:9080\n\n\
                db.prod.svc.cluster.local:5432/tcp  ns/prod/sa/db spiffe://other/ns/a/sa/b # both\n\
                db.prod.svc.cluster.local:8080/grpc\n\
                shop.example:80 ns/shop/sa/web\n\
                lost.example:80\n";
    let wanted = Wanted { gateways: vec!["gw.example:443".to_owned()], ..wanted() };

    let imported = imported(text, &wanted);

    let services = read(&imported);
    assert_eq!(
        lines(&services),
        [
            "db.prod.svc.cluster.local 5432 tcp spiffe://cluster.local/ns/prod/sa/db,spiffe://other/ns/a/sa/b",
            "db.prod.svc.cluster.local 8080 grpc spiffe://cluster.local/ns/prod/sa/db,spiffe://other/ns/a/sa/b",
            "reviews.prod.svc.cluster.local 9080 http spiffe://cluster.local/ns/prod/sa/*",
            "shop.example 80 http spiffe://cluster.local/ns/shop/sa/web",
        ]
    );
    assert_eq!((imported.services, services.gateways.len()), (3, 1));
    assert_eq!(imported.skipped, ["lost.example: it is not known who answers: say its SPIFFE id"]);
}

#[test]
fn every_line_that_is_no_name_is_told() {
    let text = "reviews.prod:9080\nreviews\na:0\nb:80/https\nc:80 prod/reviews\n*.d:80\n";

    let told = import(text, Path::new("names.txt"), &wanted()).unwrap_err().to_string();

    let expected = format!(
        "expected {}",
        "HOST:PORT or HOST:PORT/PROTOCOL (http, http2, grpc or tcp), and after it who answers, such as ns/prod/sa/reviews"
    );
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            format!("names.txt:2: a name: found reviews: {expected}"),
            format!("names.txt:3: a name: found a:0: {expected}"),
            format!("names.txt:4: a name: found b:80/https: {expected}"),
            format!("names.txt:5: a name: found \"c:80 prod/reviews\": {expected}"),
            format!("names.txt:6: a name: found *.d:80: {expected}"),
        ]
    );
}

#[test]
fn what_kubectl_prints_becomes_a_file_with_the_accounts_of_its_pods() {
    let kubectl = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
        {"kind": "Service", "metadata": {"name": "reviews", "namespace": "prod"}, "spec": {
            "clusterIP": "10.0.0.1", "selector": {"app": "reviews"},
            "ports": [{"name": "http-web", "port": 9080, "protocol": "TCP"},
                      {"name": "dns", "port": 53, "protocol": "UDP"}]}},
        {"kind": "Service", "metadata": {"name": "db", "namespace": "prod"}, "spec": {
            "clusterIP": "10.0.0.2", "selector": {"app": "db"},
            "ports": [{"port": 5432, "protocol": "TCP"}, {"name": "x", "appProtocol": "kubernetes.io/h2c", "port": 90}]}},
        {"kind": "Service", "metadata": {"name": "set", "namespace": "prod"}, "spec": {
            "clusterIP": "None", "ports": [{"port": 1}]}},
        {"kind": "Service", "metadata": {"name": "out", "namespace": "prod"}, "spec": {
            "type": "ExternalName", "externalName": "x.example"}},
        {"kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {
            "clusterIP": "10.0.0.3", "ports": [{"name": "https", "port": 443}]}},
        {"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": {}},
        {"kind": "Service", "metadata": {"name": "istio-eastwestgateway", "namespace": "istio-system"},
            "spec": {"type": "LoadBalancer", "ports": [{"name": "tls", "port": 15443}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}},
        {"kind": "ServiceEntry", "metadata": {"name": "vm", "namespace": "prod"}, "spec": {
            "location": "MESH_INTERNAL", "hosts": ["vm.prod.example"],
            "subjectAltNames": ["spiffe://cluster.local/ns/prod/sa/vm"],
            "ports": [{"number": 8080, "name": "grpc", "protocol": "GRPC"}]}},
        {"kind": "ServiceEntry", "metadata": {"name": "web", "namespace": "prod"}, "spec": {
            "location": "MESH_EXTERNAL", "hosts": ["example.com"], "ports": []}},
        {"kind": "Pod", "metadata": {"name": "reviews-1", "namespace": "prod", "labels": {"app": "reviews", "v": "1"}},
            "spec": {"serviceAccountName": "bookinfo-reviews"}},
        {"kind": "Pod", "metadata": {"name": "reviews-2", "namespace": "prod", "labels": {"app": "reviews", "v": "2"}},
            "spec": {"serviceAccountName": "bookinfo-reviews2"}},
        {"kind": "Pod", "metadata": {"name": "reviews-1", "namespace": "test", "labels": {"app": "db"}}, "spec": {}},
    ]});

    let json = imported(&kubectl.to_string(), &wanted());
    let yaml = imported(&serde_saphyr::to_string(&kubectl).unwrap(), &wanted());

    assert_eq!(json, yaml);
    let services = read(&json);
    assert_eq!(
        lines(&services),
        [
            "db.prod.svc.cluster.local 90 http2 spiffe://cluster.local/ns/prod/sa/*",
            "db.prod.svc.cluster.local 5432 tcp spiffe://cluster.local/ns/prod/sa/*",
            "reviews.prod.svc.cluster.local 9080 http spiffe://cluster.local/ns/prod/sa/bookinfo-reviews,spiffe://cluster.local/ns/prod/sa/bookinfo-reviews2",
            "vm.prod.example 8080 grpc spiffe://cluster.local/ns/prod/sa/vm",
        ]
    );
    assert_eq!(services.gateways.first().map(|of| of.host.as_str()), Some("203.0.113.7"));
    assert_eq!(
        json.skipped,
        [
            "istio-eastwestgateway.istio-system: it is a gateway",
            "kube-dns.kube-system: of a namespace that is not asked for",
            "kubernetes.default: the API server is not in the mesh",
            "out.prod: another name for what is outside",
            "reviews.prod: port 53 is UDP",
            "serviceentry web.prod: outside of the mesh, so no gateway leads to it",
            "set.prod: it has no address (clusterIP None), so no gateway leads to it",
        ]
    );
}

#[test]
fn namespaces_are_taken_as_they_are_asked_for() {
    let service = |namespace: &str| {
        serde_json::json!({"kind": "Service", "metadata": {"name": "a", "namespace": namespace},
            "spec": {"ports": [{"port": 80, "name": "http"}]}})
    };
    let text = serde_json::json!([service("prod"), service("test"), service("istio-system")]);
    let wanted = Wanted {
        namespaces: vec!["istio-system".to_owned()],
        gateways: vec!["gw".to_owned()],
        ..wanted()
    };

    let services = read(&imported(&text.to_string(), &wanted));

    let expected =
        "a.istio-system.svc.cluster.local 80 http spiffe://cluster.local/ns/istio-system/sa/*";
    assert_eq!(lines(&services), [expected]);
}

#[test]
fn what_istioctl_prints_becomes_a_file_with_the_ids_it_knows() {
    let cluster = |name: &str, options: Value| {
        serde_json::json!({"name": name, "type": "EDS",
            "typedExtensionProtocolOptions": options,
            "transportSocketMatches": [{"name": "tlsMode-istio", "transportSocket": {"typedConfig": {
                "commonTlsContext": {"combinedValidationContext": {"defaultValidationContext": {
                    "matchTypedSubjectAltNames": [{"sanType": "URI", "matcher":
                        {"exact": "spiffe://cluster.local/ns/prod/sa/reviews"}}]}}}}}}]})
    };
    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let clusters = serde_json::json!([
        cluster("outbound|9080||reviews.prod.svc.cluster.local", serde_json::json!({http: {"useDownstreamProtocolConfig": {}}})),
        cluster("outbound|9081||reviews.prod.svc.cluster.local", serde_json::json!({http: {"explicitHttpConfig": {"http2ProtocolOptions": {}}}})),
        cluster("outbound|9082||reviews.prod.svc.cluster.local", serde_json::json!({})),
        cluster("outbound|9080|v1|reviews.prod.svc.cluster.local", serde_json::json!({})),
        {"name": "BlackHoleCluster"},
        {"name": "inbound|8080||"},
    ]);
    let dump = serde_json::json!({"configs": [{"dynamicActiveClusters":
        clusters.as_array().unwrap().iter().map(|one| serde_json::json!({"cluster": one})).collect::<Vec<_>>()}]});
    let wanted = Wanted { gateways: vec!["gw".to_owned()], ..wanted() };

    let list = imported(&clusters.to_string(), &wanted);
    let dump = imported(&dump.to_string(), &wanted);

    assert_eq!(list, dump);
    let id = "spiffe://cluster.local/ns/prod/sa/reviews";
    assert_eq!(
        lines(&read(&list)),
        [
            format!("reviews.prod.svc.cluster.local 9080 http {id}"),
            format!("reviews.prod.svc.cluster.local 9081 http2 {id}"),
            format!("reviews.prod.svc.cluster.local 9082 tcp {id}"),
        ]
    );
    assert_eq!(
        list.skipped,
        ["reviews.prod.svc.cluster.local: subset v1 of port 9080 needs a local_port of its own"]
    );
}

#[test]
fn the_table_of_istioctl_will_do() {
    let text = "SERVICE FQDN                        PORT     SUBSET     DIRECTION     TYPE     DESTINATION RULE\n\
                BlackHoleCluster                    -        -          -             STATIC\n\
                db.prod.svc.cluster.local           5432     -          outbound      EDS\n\
                reviews.prod.svc.cluster.local      9080     -          outbound      EDS      reviews.prod\n\
                                                    8080     -          inbound       ORIGINAL_DST\n";
    let wanted = Wanted { gateways: vec!["gw".to_owned()], ..wanted() };

    assert_eq!(
        lines(&read(&imported(text, &wanted))),
        [
            "db.prod.svc.cluster.local 5432 tcp spiffe://cluster.local/ns/prod/sa/*",
            "reviews.prod.svc.cluster.local 9080 http spiffe://cluster.local/ns/prod/sa/*",
        ]
    );
}

#[test]
fn a_file_without_a_gateway_says_what_is_missing() {
    let imported = imported("a.prod.svc.cluster.local:80\n", &wanted());

    assert_eq!(
        imported.text,
        "# Made by `hawser services import`; `hawser check` judges it.\n\
         # The east-west gateway: HOST, or HOST:PORT if it is not 15443.\n\
         gateways: []\n\
         services:\n  \
           - host: a.prod.svc.cluster.local\n    \
             identity: ns/prod/sa/*  # any account of the namespace: say which\n    \
             port: 80\n"
    );
}

#[test]
fn what_makes_no_sense_is_told() {
    let cases = [
        ("", "in: the text: found none: expected services: of"),
        ("{\"kind\": \"List\", \"items\": []}", "in: the text: found none: expected services: of"),
        ("{\n\"kind\": ", "in:2: JSON: found a mistake: "),
        ("kind: List\nitems: [\n", "YAML: found a mistake: "),
        (
            "{\"kind\": \"Service\", \"metadata\": {\"name\": \"a b\", \"namespace\": \"c\"}}",
            "none that can be called, of 1",
        ),
    ];
    for (text, expected) in cases {
        let told = import(text, Path::new("in"), &wanted()).unwrap_err().to_string();
        assert!(told.contains(expected), "{text}: {told}");
    }
}
