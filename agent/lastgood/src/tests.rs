//! A shelf as the relay uses it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hawser_rt::{Clock, metrics::Registry};
use hawser_wire::{Fields, Flavour, Response, write};
use tempfile::TempDir;

use crate::{Answer, Book, Options, Pending, Shelf, look, place};

mod answers;
mod churn;
mod damage;
mod disk;
mod history;
mod killed;
mod lacking;
mod model;
mod shares;
mod slow;

const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const KEY: &str = "sidecar~10.0.0.1~vm.ns~ns.svc.cluster.local spiffe://td/ns/n/sa/s";

type State = BTreeMap<String, Vec<u8>>;

fn options(directory: &Path) -> Options {
    Options {
        directory: directory.join("lastgood"),
        limit: 64 << 20,
        versions: 3,
        versions_bytes: 8 << 10,
        clock: Clock::manual(start()).0,
        metrics: Registry::default(),
    }
}

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn place() -> (TempDir, Shelf) {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(options(directory.path()));
    (directory, shelf)
}

/// The value of a resource of that name.
fn value(name: &str, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    write::bytes(&mut value, 1, name.as_bytes());
    write::bytes(&mut value, 7, body);
    value
}

fn packed(type_url: &str, value: &[u8]) -> Vec<u8> {
    let mut any = Vec::new();
    write::bytes(&mut any, 1, type_url.as_bytes());
    write::bytes(&mut any, 2, value);
    any
}

fn resource(type_url: &str, name: &str, value: &[u8]) -> Vec<u8> {
    let mut resource = Vec::new();
    write::bytes(&mut resource, 1, b"r1");
    write::bytes(&mut resource, 2, &packed(type_url, value));
    write::bytes(&mut resource, 3, name.as_bytes());
    resource
}

/// A response that passes.
struct Push<'a> {
    type_url: &'a str,
    flavour: Flavour,
    whole: bool,
    resources: Vec<(String, Vec<u8>)>,
    removed: Vec<String>,
    /// Bytes that come at a time.
    chunk: usize,
}

impl<'a> Push<'a> {
    fn delta(resources: &[(&str, &[u8])]) -> Self {
        Self {
            type_url: CLUSTER,
            flavour: Flavour::Delta,
            whole: false,
            resources: named(resources),
            removed: Vec::new(),
            chunk: 16 << 10,
        }
    }

    fn whole(resources: &[(&str, &[u8])]) -> Self {
        Self { flavour: Flavour::Sotw, whole: true, ..Self::delta(resources) }
    }

    fn removing(self, names: &[&str]) -> Self {
        Self { removed: names.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }

    fn of(self, type_url: &'a str) -> Self {
        Self { type_url, ..self }
    }

    async fn to(&self, book: &Book, version: &str) -> Pending {
        let mut draft = book.draft(self.type_url, self.flavour, self.whole);
        for (name, body) in &self.resources {
            let value = value(name, body);
            let bytes = match self.flavour {
                Flavour::Sotw => packed(self.type_url, &value),
                Flavour::Delta => resource(self.type_url, name, &value),
            };
            draft.resource(bytes.len());
            for chunk in bytes.chunks(self.chunk) {
                draft.bytes(Bytes::copy_from_slice(chunk));
                draft.hand_over().await;
            }
            draft.resource_end();
        }
        for name in &self.removed {
            draft.removed(name.clone());
        }
        draft.done(version.to_owned()).await
    }

    async fn accepted(&self, book: &Book, version: &str) {
        self.to(book, version).await.accepted();
    }
}

fn named(resources: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    resources.iter().map(|(name, body)| ((*name).to_owned(), body.to_vec())).collect()
}

fn state_of(resources: &[(&str, &[u8])]) -> State {
    named(resources).into_iter().map(|(name, body)| (name.clone(), value(&name, &body))).collect()
}

async fn message(mut answer: Answer) -> Vec<u8> {
    let mut message = Vec::new();
    while let Some(chunk) = answer.chunk().await {
        assert!(!chunk.is_empty() && chunk.len() <= 64 << 10);
        message.extend_from_slice(&chunk);
    }
    assert_eq!(message.len(), answer.length);
    message
}

/// The resources of a message, and the names that it removes.
fn read(flavour: Flavour, message: &[u8]) -> (State, Vec<String>) {
    let (mut state, mut removed) = (State::new(), Vec::new());
    for field in Fields::new(message) {
        let (number, content) = field.unwrap();
        match number {
            2 => {
                let bytes = content.bytes().unwrap();
                let any = match flavour {
                    Flavour::Sotw => bytes,
                    Flavour::Delta => last(bytes, 2),
                };
                let value = last(any, 2);
                let name = String::from_utf8(last(value, 1).to_vec()).unwrap();
                if flavour == Flavour::Delta {
                    assert_eq!(last(bytes, 3), name.as_bytes());
                }
                assert!(state.insert(name, value.to_vec()).is_none(), "twice");
            }
            6 => removed.push(content.text().unwrap().to_owned()),
            _ => {}
        }
    }
    (state, removed)
}

fn last(message: &[u8], field: u32) -> &[u8] {
    Fields::last(message, field).unwrap().unwrap().bytes().unwrap()
}

/// What is answered of a type, in both flavours alike.
async fn kept_of(book: &Book, type_url: &str) -> Option<State> {
    let mut answers = Vec::new();
    for flavour in [Flavour::Sotw, Flavour::Delta] {
        let answer = book.answer(type_url, flavour, None, &[], "nonce").await?;
        let message = message(answer).await;
        let seen = Response::scan(flavour, &message).unwrap();
        assert_eq!((seen.nonce, seen.type_url), ("nonce", type_url));
        answers.push(read(flavour, &message).0);
    }
    assert_eq!(answers[0], answers[1]);
    answers.pop()
}

async fn kept(book: &Book) -> Option<State> {
    kept_of(book, CLUSTER).await
}

fn log(directory: &Path) -> PathBuf {
    place::file(&place::book(&directory.join("lastgood"), KEY), CLUSTER)
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
