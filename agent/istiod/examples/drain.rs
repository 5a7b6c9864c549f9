//! What it costs to read a response of 100 MB and drop it:
//! `cargo run --release --example drain -p hawser-istiod`.
//!
//! The far end is another process, which sends DATA frames of the given size, in plaintext, as an
//! istiod on port 15010 would: its own are of 16 KiB. Beside it, the same bytes read off a socket
//! without anything.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it is for people to look at")]

use std::{
    convert::Infallible,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use hawser_istiod::{Credentials, Endpoint, Hosts, Istiod, Options, Roots};
use hawser_rt::Clock;
use http::{HeaderMap, HeaderValue, Response, uri::PathAndQuery};
use http_body_util::StreamBody;
use hyper::{body::Frame, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

const MEGABYTES: usize = 100;
const FRAMES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    match arguments.next().as_deref() {
        Some("far") => runtime.block_on(far(arguments.next().unwrap().parse().unwrap())),
        _ => runtime.block_on(async {
            // On a worker, as in the agent.
            JoinSet::from_iter([near()]).join_all().await;
        }),
    }
}

async fn near() {
    println!("{:>10} {:>14} {:>12} {:>10}", "frames", "CPU per MB", "chunks", "of bytes");
    for frame in FRAMES.into_iter().chain([0]) {
        let mut far = Command::new(std::env::current_exe().unwrap());
        let mut far = far.args(["far", &frame.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(far.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address: SocketAddr = line.trim().parse().unwrap();
        let (cpu, chunks, bytes) =
            if frame == 0 { socket(address).await } else { exchange(address).await };
        println!(
            "{:>10} {:>11.3} ms {chunks:>12} {:>10}",
            if frame == 0 { "none".to_owned() } else { frame.to_string() },
            cpu.as_secs_f64() * 1e3 / f64::from(u32::try_from(bytes >> 20).unwrap()),
            bytes / chunks,
        );
        far.kill().unwrap();
        far.wait().unwrap();
    }
}

async fn exchange(address: SocketAddr) -> (Duration, usize, usize) {
    let options = Options {
        endpoints: vec![Endpoint { tls: false, ..address.to_string().parse().unwrap() }],
        roots: Roots::System,
        learned: false,
        hosts: Hosts::default(),
        headers: Vec::new(),
        connect_timeout: Duration::from_secs(5),
    };
    let none = watch::channel(None).1;
    let istiod = Istiod::new(options, Credentials::none(), none, Clock::default()).unwrap();
    let connection = istiod.connect().await.unwrap();
    let path = PathAndQuery::from_static("/drain");
    let requests = tokio_stream::iter([Bytes::from_static(b"all of it")]);
    let before = used();
    let mut exchange = connection.exchange(path, requests).await.unwrap();
    let (mut chunks, mut bytes) = (0, 0);
    while let Some(chunk) = exchange.chunk().await.unwrap() {
        (chunks, bytes) = (chunks + 1, bytes + chunk.len());
    }
    (used() - before, chunks, bytes)
}

async fn socket(address: SocketAddr) -> (Duration, usize, usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut buffer = vec![0; 64 << 10];
    let (before, mut chunks, mut bytes) = (used(), 0, 0);
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            return (used() - before, chunks, bytes);
        }
        (chunks, bytes) = (chunks + 1, bytes + read);
    }
}

async fn far(frame: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let (mut stream, _) = listener.accept().await.unwrap();
    if frame == 0 {
        let piece = vec![7; 64 << 10];
        for _ in 0..(MEGABYTES << 20) / piece.len() {
            stream.write_all(&piece).await.unwrap();
        }
        return;
    }
    let piece = Bytes::from(vec![7; frame]);
    let answer = service_fn(move |_| {
        let pieces = std::iter::repeat_n(piece.clone(), (MEGABYTES << 20) / frame);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = pieces.map(Frame::data).chain([Frame::trailers(trailers)]);
        let body = StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>)));
        let answer = Response::builder().header("content-type", "application/grpc").body(body);
        std::future::ready(answer)
    });
    stream.set_nodelay(true).unwrap();
    let server = http2::Builder::new(TokioExecutor::new());
    server.serve_connection(TokioIo::new(stream), answer).await.ok();
}

/// The CPU time of this process.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = [usage.user_time(), usage.system_time()]
        .map(|time| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap());
    Duration::from_micros(micros.iter().sum())
}
