//! Filters in, filters out, with a server of modules on the other side.

mod images;
mod trouble;
mod web;

use std::{path::Path, time::Duration};

use hawser_harness::{
    ca::{Shape, TestCa},
    modules::FakeModules,
};
use hawser_proto::envoy::{
    envoy::{
        config::core::v3::{
            AsyncDataSource, HttpUri, RemoteDataSource, TypedExtensionConfig,
            async_data_source::Specifier,
        },
        extensions::{
            filters::http::wasm::v3::Wasm,
            wasm::v3::{
                EnvironmentVariables, FailurePolicy, PluginConfig, VmConfig, plugin_config::Vm,
            },
        },
    },
    google::protobuf::{Any, Duration as Seconds},
};
use prost::Message as _;
use tempfile::TempDir;

use crate::{Modules, Options, extension::file_of};

/// A filter as istiod sends it.
#[derive(Clone)]
struct Filter {
    name: String,
    url: String,
    sha256: String,
    told: Vec<(&'static str, String)>,
    policy: FailurePolicy,
}

impl Filter {
    fn new(url: impl Into<String>) -> Self {
        let policy = FailurePolicy::FailClosed;
        let (name, sha256) = ("te".to_owned(), "nil".to_owned());
        Self { name, url: url.into(), sha256, told: Vec::new(), policy }
    }

    fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    fn always(self, version: &str) -> Self {
        self.told("ISTIO_META_WASM_IMAGE_PULL_POLICY", "Always")
            .told("ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION", version)
    }

    fn secret(self, secret: &str) -> Self {
        self.told("ISTIO_META_WASM_IMAGE_PULL_SECRET", secret)
    }

    fn told(mut self, name: &'static str, value: &str) -> Self {
        self.told.push((name, value.to_owned()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let uri = HttpUri {
            uri: self.url.clone(),
            timeout: Some(Seconds { seconds: 30, nanos: 0 }),
            ..HttpUri::default()
        };
        let remote = RemoteDataSource {
            http_uri: Some(uri),
            sha256: self.sha256.clone(),
            ..RemoteDataSource::default()
        };
        let told = self.told.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let variables =
            EnvironmentVariables { key_values: told.collect(), ..EnvironmentVariables::default() };
        let vm = VmConfig {
            code: Some(AsyncDataSource { specifier: Some(Specifier::Remote(remote)) }),
            environment_variables: Some(variables),
            ..VmConfig::default()
        };
        let config = PluginConfig {
            failure_policy: self.policy as i32,
            vm: Some(Vm::VmConfig(vm)),
            ..PluginConfig::default()
        };
        let value = Wasm { config: Some(config) }.encode_to_vec();
        let type_url = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm".to_owned();
        let typed_config = Some(Any { type_url, value });
        TypedExtensionConfig { name: self.name.clone(), typed_config }.encode_to_vec()
    }
}

/// A server, and a place to keep what it serves.
struct World {
    server: FakeModules,
    directory: TempDir,
    options: Options,
}

impl World {
    async fn new() -> Self {
        Self::of(FakeModules::start().await.unwrap())
    }

    async fn with_tls() -> (Self, TestCa) {
        let ca = TestCa::new(Shape::SelfSigned).unwrap();
        (Self::of(FakeModules::with_tls(&ca).await.unwrap()), ca)
    }

    fn of(server: FakeModules) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options::new(directory.path().join("wasm"));
        options.backoff = Duration::ZERO;
        options.attempts = 3;
        Self { server, directory, options }
    }

    /// A process that has just started.
    fn modules(&self) -> Modules {
        Modules::new(self.options.clone())
    }

    /// How many files there are, complete or not.
    fn files(&self) -> usize {
        fn count(directory: &Path) -> usize {
            let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(self.directory.path())
    }
}

/// What becomes of a filter: the content of its file, or `Err` with what stands in for it.
async fn local(modules: &Modules, filter: &Filter) -> Result<Vec<u8>, &'static str> {
    let after = modules.local(&filter.bytes()).await.unwrap().expect("it has something to fetch");
    let Some((name, file)) = file_of(&after) else {
        let text = String::from_utf8_lossy(&after);
        assert!(text.contains(&filter.name), "{text}");
        return Err(if text.contains("wasm-default-allow") { "allow" } else { "deny" });
    };
    assert_eq!(name, filter.name);
    Ok(std::fs::read(file).unwrap())
}
