//! Filters in every form, and what becomes of them.

use hawser_proto::envoy::{
    envoy::{
        config::core::v3::{AsyncDataSource, DataSource, HttpUri, data_source},
        extensions::{
            filters::{http::rbac::v3::Rbac as HttpRbac, network::rbac::v3::Rbac as NetworkRbac},
            wasm::v3::VmConfig,
        },
    },
    google::protobuf::{ListValue, Struct, Value, value},
};

use super::*;

fn remote(url: &str) -> Specifier {
    let uri = HttpUri { uri: url.to_owned(), ..HttpUri::default() };
    Specifier::Remote(RemoteDataSource {
        http_uri: Some(uri),
        sha256: "nil".to_owned(),
        ..RemoteDataSource::default()
    })
}

fn filter(specifier: Option<Specifier>, variables: &[(&str, &str)]) -> Wasm {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables = EnvironmentVariables {
        key_values: variables.iter().map(owned).collect(),
        ..EnvironmentVariables::default()
    };
    let vm = VmConfig {
        runtime: "envoy.wasm.runtime.v8".to_owned(),
        code: Some(AsyncDataSource { specifier }),
        environment_variables: Some(variables),
        ..VmConfig::default()
    };
    let config = PluginConfig {
        name: "plugin".to_owned(),
        failure_policy: FailurePolicy::FailClosed as i32,
        vm: Some(Vm::VmConfig(vm)),
        ..PluginConfig::default()
    };
    Wasm { config: Some(config) }
}

fn extension(kind: &str, value: Vec<u8>) -> Vec<u8> {
    let any = Any { type_url: format!("type.googleapis.com/{kind}"), value };
    TypedExtensionConfig { name: "te".to_owned(), typed_config: Some(any) }.encode_to_vec()
}

/// A field that no definition has, at the end of a message.
fn with_unknown(mut message: Vec<u8>) -> Vec<u8> {
    write::bytes(&mut message, 999, b"unknown");
    message
}

fn has_unknown(message: &[u8]) -> bool {
    Fields::last(message, 999).unwrap() == Some(hawser_wire::Value::Bytes(b"unknown"))
}

fn inner(message: &[u8], number: u32) -> Vec<u8> {
    Fields::last(message, number).unwrap().unwrap().bytes().unwrap().to_vec()
}

fn wasm_of(extension: &[u8]) -> (String, Wasm) {
    let any = TypedExtensionConfig::decode(extension).unwrap().typed_config.unwrap();
    (bare(&any.type_url).to_owned(), Wasm::decode(any.value.as_slice()).unwrap())
}

#[test]
fn an_address_becomes_a_file_and_all_else_stays_as_it_was() {
    let told = [("ISTIO_META_WASM_IMAGE_PULL_POLICY", "Always"), ("ISTIO_META_X", ""), ("A", "b")];
    let plain = filter(Some(remote("http://a/b")), &told);
    let vm = inner(&inner(&plain.encode_to_vec(), 1), 3);
    let mut config = PluginConfig { vm: None, ..plain.config.unwrap() }.encode_to_vec();
    write::bytes(&mut config, 3, &with_unknown(vm));
    let mut wasm = Vec::new();
    write::bytes(&mut wasm, 1, &with_unknown(config));
    let before = with_unknown(extension(NETWORK, with_unknown(wasm)));

    let read = Remote::read(&before).unwrap().unwrap();
    let after = read.local(&before, "/kept/a.wasm").unwrap();

    assert_eq!(
        (read.name.as_str(), read.kind, read.failing),
        ("te", Kind::Network, Failing::Closed)
    );
    assert_eq!((read.url.as_str(), read.checksum.as_deref()), ("http://a/b", None));
    assert_eq!(read.policy, Policy::Always);
    let (kind, wasm) = wasm_of(&after);
    assert_eq!(kind, NETWORK);
    let local = DataSource {
        specifier: Some(data_source::Specifier::Filename("/kept/a.wasm".to_owned())),
        ..DataSource::default()
    };
    assert_eq!(wasm, filter(Some(Specifier::Local(local)), &[("A", "b")]));
    let wasm = inner(&inner(&after, 2), 2);
    let (config, vm) = (inner(&wasm, 1), inner(&inner(&wasm, 1), 3));
    assert!([&after, &wasm, &config, &vm].into_iter().all(|message| has_unknown(message)));
    assert_eq!(file_of(&after), Some(("te".to_owned(), "/kept/a.wasm".to_owned())));
}

#[test]
fn variables_for_the_agent_alone_leave_no_variables() {
    let before = filter(Some(remote("http://a/b")), &[("ISTIO_META_WASM_IMAGE_PULL_SECRET", "{}")]);
    let before = extension(HTTP, before.encode_to_vec());

    let read = Remote::read(&before).unwrap().unwrap();
    let (_, wasm) = wasm_of(&read.local(&before, "/a").unwrap());

    let Some(Vm::VmConfig(vm)) = wasm.config.unwrap().vm else { panic!("no vm") };
    assert_eq!(vm.environment_variables, None);
    assert_eq!(read.secret.unwrap().as_str(), "{}");
}

#[test]
fn what_comes_in_parts_keeps_no_part_of_the_address_or_the_password() {
    // A message field that comes twice is one message: protobuf merges.
    let told = [("ISTIO_META_WASM_IMAGE_PULL_SECRET", "password")];
    let wasm = filter(Some(remote("http://secret/a")), &told).encode_to_vec();
    let twice = [wasm.clone(), wasm].concat();
    let mut before = extension(HTTP, twice.clone());
    let any = Any { type_url: format!("type.googleapis.com/{HTTP}"), value: twice };
    write::bytes(&mut before, 2, &any.encode_to_vec());

    let read = Remote::read(&before).unwrap().unwrap();
    let after = read.local(&before, "/a").unwrap();

    let text = String::from_utf8_lossy(&after);
    assert!(!text.contains("secret") && !text.contains("password"), "{text}");
    assert_eq!(file_of(&after).unwrap().1, "/a");
}

#[test]
fn what_has_nothing_to_fetch_is_left_alone() {
    let local = filter(Some(Specifier::Local(DataSource::default())), &[]);
    let cases = [
        extension(HTTP, local.encode_to_vec()),
        extension("envoy.extensions.filters.http.router.v3.Router", vec![1, 2, 3]),
        extension("udpa.type.v1.TypedStruct", {
            let mut other = Vec::new();
            write::bytes(&mut other, 1, b"type.googleapis.com/istio.x.Config");
            other
        }),
    ];
    for case in cases {
        assert!(Remote::read(&case).unwrap().is_none());
    }
}

#[test]
fn what_cannot_be_understood_is_refused() {
    let cases = [
        vec![0xff],
        TypedExtensionConfig { name: "te".to_owned(), typed_config: None }.encode_to_vec(),
        extension(HTTP, vec![0x0a, 0x7f]),
        extension(HTTP, Vec::new()),
        extension(NETWORK, filter(None, &[]).encode_to_vec()),
        extension("xds.type.v3.TypedStruct", vec![0x12, 0x7f]),
    ];
    for case in cases {
        assert!(Remote::read(&case).is_err(), "{case:?}");
    }
}

#[test]
fn the_failure_policy_counts_before_the_flag_of_old() {
    let cases = [
        (FailurePolicy::Unspecified, false, Failing::Closed),
        (FailurePolicy::Unspecified, true, Failing::Open),
        (FailurePolicy::FailOpen, false, Failing::Open),
        (FailurePolicy::FailClosed, true, Failing::Closed),
        (FailurePolicy::FailReload, true, Failing::Closed),
    ];
    for (policy, flag, expected) in cases {
        let mut wasm = filter(Some(remote("http://a/b")), &[]);
        let config = wasm.config.as_mut().unwrap();
        config.failure_policy = policy as i32;
        #[expect(deprecated, reason = "older control planes say it this way")]
        {
            config.fail_open = flag;
        }
        let read = Remote::read(&extension(HTTP, wasm.encode_to_vec())).unwrap().unwrap();
        assert_eq!(read.failing, expected, "{policy:?} {flag}");
    }
}

fn text(text: &str) -> Value {
    Value { kind: Some(value::Kind::StringValue(text.to_owned())) }
}

fn object(fields: Vec<(&str, Value)>) -> Value {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Value { kind: Some(value::Kind::StructValue(Struct { fields })) }
}

fn structure(kind: &str, inner: &str, content: Value) -> Vec<u8> {
    let Some(value::Kind::StructValue(content)) = content.kind else { panic!("no object") };
    let mut typed = Vec::new();
    write::bytes(&mut typed, 1, format!("type.googleapis.com/{inner}").as_bytes());
    write::bytes(&mut typed, 2, &content.encode_to_vec());
    extension(kind, typed)
}

fn written(extra: (&str, Value)) -> Value {
    let any = ("@type", text("type.googleapis.com/google.protobuf.StringValue"));
    let list = vec![text("HOME")];
    let list = Value { kind: Some(value::Kind::ListValue(ListValue { values: list })) };
    let uri = vec![("uri", text("oci://a/b")), ("timeout", text("2.5s")), ("cluster", text("c"))];
    let variables = vec![
        ("hostEnvKeys", list),
        ("key_values", object(vec![("ISTIO_META_A", text("x")), ("B", text("y"))])),
    ];
    let vm = vec![
        ("runtime", text("envoy.wasm.runtime.v8")),
        ("code", object(vec![("remote", object(vec![("http_uri", object(uri))]))])),
        ("environment_variables", object(variables)),
    ];
    let config = vec![
        ("name", text("n")),
        ("rootId", text("r")),
        ("vmConfig", object(vm)),
        ("configuration", object(vec![any, ("value", text("{}"))])),
        ("failure_policy", text("FAIL_OPEN")),
        extra,
    ];
    object(vec![("config", object(config))])
}

#[test]
fn a_structure_becomes_the_filter_it_describes() {
    let nothing = || ("nothing", Value { kind: Some(value::Kind::NullValue(0)) });
    for (kind, inner) in [(STRUCTURES[0], HTTP), (STRUCTURES[1], NETWORK)] {
        let before = structure(kind, inner, written(nothing()));

        let read = Remote::read(&before).unwrap().unwrap();
        let (concrete, wasm) = wasm_of(&read.local(&before, "/a").unwrap());

        assert_eq!(concrete, inner);
        assert_eq!((read.url.as_str(), read.failing), ("oci://a/b", Failing::Open));
        assert_eq!(read.timeout, Some(Duration::from_millis(2500)));
        let config = wasm.config.unwrap();
        assert_eq!((config.name.as_str(), config.root_id.as_str()), ("n", "r"));
        let configuration = config.configuration.unwrap();
        assert_eq!(bare(&configuration.type_url), "google.protobuf.StringValue");
        assert_eq!(configuration.value, b"\x0a\x02{}");
        let Some(Vm::VmConfig(vm)) = config.vm else { panic!("no vm") };
        let variables = vm.environment_variables.unwrap();
        assert_eq!(variables.host_env_keys, ["HOME"]);
        assert_eq!(
            variables.key_values.into_iter().collect::<Vec<_>>(),
            [("B".into(), "y".into())]
        );
    }
}

#[test]
fn a_structure_that_says_more_than_is_known_is_refused_by_the_name_of_it() {
    for (field, value) in
        [("surprise", text("x")), ("failOpen", text("yes")), ("name", object(vec![]))]
    {
        let before = structure(STRUCTURES[0], HTTP, written((field, value)));
        let refused = Remote::read(&before).unwrap_err().to_string();
        assert!(refused.contains(field.split('O').next().unwrap()), "{refused}");
    }
}

#[test]
fn a_replacement_lets_all_or_nothing_pass_under_the_same_name() {
    for (kind, failing) in [
        (Kind::Http, Failing::Open),
        (Kind::Http, Failing::Closed),
        (Kind::Network, Failing::Open),
        (Kind::Network, Failing::Closed),
    ] {
        let made = TypedExtensionConfig::decode(&*replacement("te", kind, failing)).unwrap();
        let any = made.typed_config.unwrap();
        let (rules, prefix) = match (kind, bare(&any.type_url)) {
            (Kind::Http, "envoy.extensions.filters.http.rbac.v3.RBAC") => {
                let rbac = HttpRbac::decode(any.value.as_slice()).unwrap();
                (rbac.rules, rbac.rules_stat_prefix)
            }
            (Kind::Network, "envoy.extensions.filters.network.rbac.v3.RBAC") => {
                let rbac = NetworkRbac::decode(any.value.as_slice()).unwrap();
                (rbac.rules, rbac.stat_prefix)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(made.name, "te");
        assert_eq!(rules.is_some(), failing == Failing::Closed);
        assert_eq!(prefix.ends_with("allow"), failing == Failing::Open);
    }
}
