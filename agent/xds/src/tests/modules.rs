//! Filters whose modules have to be fetched, and what passes them by.

use hawser_proto::{
    envoy::{
        envoy::{
            config::core::v3::{
                AsyncDataSource, HttpUri, RemoteDataSource, TypedExtensionConfig,
                async_data_source::Specifier,
            },
            extensions::{
                filters::http::wasm::v3::Wasm,
                wasm::v3::{PluginConfig, VmConfig, plugin_config::Vm},
            },
            service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse, Resource},
        },
        google::protobuf::{Any, Duration as Seconds},
    },
    type_url,
};
use hawser_wire::{Flavour, write};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};

use super::{
    ends::{Agent, Envoy},
    script::{Script, Scripted},
    words::{FLAVOURS, ask, tell},
};

const NODE: &str = "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local";

/// A response with a filter whose module is at that address.
fn filter(flavour: Flavour, nonce: &str, url: String) -> Vec<u8> {
    let uri = HttpUri {
        uri: url,
        timeout: Some(Seconds { seconds: 600, nanos: 0 }),
        ..HttpUri::default()
    };
    let remote = RemoteDataSource { http_uri: Some(uri), ..RemoteDataSource::default() };
    let code = AsyncDataSource { specifier: Some(Specifier::Remote(remote)) };
    let vm = Vm::VmConfig(VmConfig { code: Some(code), ..VmConfig::default() });
    let config = PluginConfig { vm: Some(vm), ..PluginConfig::default() };
    let of = |type_url: &str, value| Some(Any { type_url: type_url.to_owned(), value });
    let wasm = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
    let typed_config = of(wasm, Wasm { config: Some(config) }.encode_to_vec());
    let extension = TypedExtensionConfig { name: "f".to_owned(), typed_config };
    let resource = of(type_url::EXTENSION_CONFIG, extension.encode_to_vec());
    let (type_url, nonce) = (type_url::EXTENSION_CONFIG.to_owned(), nonce.to_owned());
    let message = match flavour {
        Flavour::Sotw => DiscoveryResponse {
            resources: resource.into_iter().collect(),
            type_url,
            nonce,
            ..DiscoveryResponse::default()
        }
        .encode_to_vec(),
        Flavour::Delta => DeltaDiscoveryResponse {
            resources: vec![Resource { name: "f".to_owned(), resource, ..Resource::default() }],
            type_url,
            nonce,
            ..DeltaDiscoveryResponse::default()
        }
        .encode_to_vec(),
    };
    write::frame(&message).to_vec()
}

/// An Envoy that has asked for clusters and a filter.
async fn joined(
    agent: &Agent,
    streams: &mut tokio::sync::mpsc::Receiver<Scripted>,
    flavour: Flavour,
) -> (Envoy, Scripted) {
    let envoy = agent.envoy(flavour).await;
    envoy.ask(&ask(type_url::CLUSTER, &[]).node(NODE)).await;
    envoy.ask(&ask(type_url::EXTENSION_CONFIG, &["f"])).await;
    let mut stream = streams.recv().await.unwrap();
    stream.asked(flavour).await;
    stream.asked(flavour).await;
    (envoy, stream)
}

/// Somebody who is asked for a module, and says nothing.
async fn asked(server: &TcpListener) -> TcpStream {
    server.accept().await.unwrap().0
}

#[tokio::test]
async fn a_module_that_is_slow_to_come_holds_up_its_own_type_and_nothing_else() {
    for flavour in FLAVOURS {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/f.wasm", server.local_addr().unwrap());
        let (source, mut streams) = Script::new();
        let agent = Agent::with_modules(source);
        let (mut envoy, mut stream) = joined(&agent, &mut streams, flavour).await;

        stream.tell(&filter(flavour, "f1", url)).await;
        let _silent = asked(&server).await;
        // In its order, behind the first: it has nothing to be fetched.
        let second = tell(type_url::EXTENSION_CONFIG, "f2", &[]);
        stream.tell(&write::frame(&second.bytes(flavour))).await;
        for version in ["v1", "v2"] {
            let meanwhile = tell(type_url::CLUSTER, version, &["a"]);
            stream.tell(&write::frame(&meanwhile.bytes(flavour))).await;
            assert_eq!(envoy.takes().await, meanwhile);
            assert_eq!(stream.asked(flavour).await.nonce, meanwhile.nonce);
        }

        // Nobody is there any more: the filter comes as one without its module, then the other.
        drop((server, _silent));
        let first = envoy.receive().await;
        let nonce = match flavour {
            Flavour::Sotw => DiscoveryResponse::decode(first).unwrap().nonce,
            Flavour::Delta => DeltaDiscoveryResponse::decode(first).unwrap().nonce,
        };
        assert_eq!(nonce, "f1");
        assert_eq!(envoy.takes().await, second);
    }
}

#[tokio::test]
async fn a_response_whose_module_has_not_come_is_forgotten_with_its_stream() {
    for flavour in FLAVOURS {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/f.wasm", server.local_addr().unwrap());
        let (source, mut streams) = Script::new();
        let agent = Agent::with_modules(source);
        let (mut envoy, stream) = joined(&agent, &mut streams, flavour).await;
        stream.tell(&filter(flavour, "f1", url)).await;
        let _silent = asked(&server).await;

        // It is noticed at once that the stream is over.
        drop(stream);
        let mut stream = streams.recv().await.unwrap();
        let again = [stream.asked(flavour).await, stream.asked(flavour).await];
        assert_eq!(again.map(|ask| ask.names), [vec![], vec!["f".to_owned()]]);

        drop(server);
        let other = tell(type_url::EXTENSION_CONFIG, "f2", &[]);
        stream.tell(&write::frame(&other.bytes(flavour))).await;
        assert_eq!(envoy.takes().await, other);
    }
}
