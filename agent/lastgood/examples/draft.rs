//! What it costs to take down a large response: CPU per MB and peak memory.
//!
//! `cargo run --release -p hawser-lastgood --example draft -- DIRECTORY [MB] [KB per resource]`

use std::{path::PathBuf, time::SystemTime};

use bytes::Bytes;
use hawser_lastgood::{Options, Shelf};
use hawser_rt::{Clock, metrics::Registry};
use hawser_wire::{Flavour, write};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

const TYPE: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const CHUNK: usize = 16 << 10;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "it is what it is for")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_else(|| "lastgood".to_owned()));
    let mut number = |default| arguments.next().and_then(|it| it.parse().ok()).unwrap_or(default);
    let (megabytes, kilobytes): (usize, usize) = (number(100), number(100));
    let shelf = Shelf::open(Options {
        directory,
        limit: 1 << 30,
        versions: 3,
        versions_bytes: 8 << 20,
        clock: Clock::default(),
        metrics: Registry::default(),
    });
    let book = shelf.book("a node").await;
    let count = megabytes * 1024 / kilobytes;

    for (round, fill) in
        ["first", "same again", "changed", "changed again"].into_iter().zip(*b"aabc")
    {
        let body = resource(&vec![fill; kilobytes << 10]);
        let (cpu, begun) = (cpu_ms(), SystemTime::now());
        let mut draft = book.draft(TYPE, Flavour::Delta, false);
        for number in 0..count {
            let (bytes, name) = (body.clone(), name(number));
            draft.resource(bytes.len() + name.len());
            let mut rest = bytes;
            draft.bytes(name);
            while !rest.is_empty() {
                draft.bytes(rest.split_to(CHUNK.min(rest.len())));
                draft.hand_over().await;
            }
            draft.resource_end();
            tokio::task::yield_now().await;
        }
        let pending = draft.done("v".to_owned()).await;
        let written = cpu_ms() - cpu;
        pending.accepted();
        let known = book.known(TYPE).await.len();
        let took = begun.elapsed().unwrap_or_default();
        println!(
            "{round}: {megabytes} MB in {count}: {:.2} ms CPU/MB, {took:?}, peak {} KB, {known} kept, {:?}",
            written as f64 / megabytes as f64,
            getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss()),
            shelf.standing().borrow().trouble,
        );
    }
    shelf.closed().await;
}

/// A `Resource` but for its name.
fn resource(body: &[u8]) -> Bytes {
    let mut value = Vec::new();
    write::bytes(&mut value, 7, body);
    let mut any = Vec::new();
    write::bytes(&mut any, 1, TYPE.as_bytes());
    write::bytes(&mut any, 2, &value);
    let mut resource = Vec::new();
    write::bytes(&mut resource, 2, &any);
    resource.into()
}

/// The field of the name.
fn name(number: usize) -> Bytes {
    let mut field = Vec::new();
    write::bytes(&mut field, 3, format!("cluster-{number}").as_bytes());
    field.into()
}

fn cpu_ms() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF)
        .map_or(0, |usage| (usage.user_time() + usage.system_time()).num_milliseconds())
}
