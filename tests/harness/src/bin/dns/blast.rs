//! Queries, as many as are taken or so many a second, and how long the answers took.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use hawser_harness::demo::print;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::batch::{BATCH, LONGEST};

/// Sockets, and so ports, that ask.
const ASKERS: usize = 8;
/// Without any answer for so long, what is under way is given up.
const GIVEN_UP: u64 = 1_000_000_000;
const SECOND: u64 = 1_000_000_000;

#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// A name a line.
    #[arg(long)]
    pub(crate) names: PathBuf,
    #[arg(long)]
    pub(crate) seconds: u64,
    /// Queries under way at any time.
    #[arg(long, default_value_t = 64)]
    pub(crate) window: usize,
    /// Queries a second, whatever is under way; 0: as many as the window lets through.
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// Answers that are errors.
    pub(crate) failed: u64,
    /// Answers that hold at least one record.
    pub(crate) with_records: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let queries = queries(&options.names)?;
    let mut blast = Blast::new(options.to, queries)?;
    blast.run(options)?;
    print(serde_json::to_string(&blast.outcome())?);
    Ok(())
}

struct Blast {
    askers: Vec<Asker>,
    queries: Vec<Vec<u8>>,
    sending: MultiHeaders<()>,
    receiving: MultiHeaders<()>,
    out: [[u8; LONGEST]; BATCH],
    inbox: [[u8; LONGEST]; BATCH],
    dice: fastrand::Rng,
    began: u64,
    latencies: Vec<u32>,
    outcome: Outcome,
}

/// A socket, and since when each of its queries is under way.
struct Asker {
    socket: UdpSocket,
    since: Vec<u64>,
    next: u16,
    under_way: usize,
}

impl Blast {
    fn new(to: SocketAddr, queries: Vec<Vec<u8>>) -> Result<Self> {
        let asker = |_| -> Result<Asker> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(to)?;
            socket.set_nonblocking(true)?;
            Ok(Asker { socket, since: vec![0; 1 << 16], next: fastrand::u16(..), under_way: 0 })
        };
        Ok(Self {
            askers: (0..ASKERS).map(asker).collect::<Result<_>>()?,
            queries,
            sending: MultiHeaders::preallocate(BATCH, None),
            receiving: MultiHeaders::preallocate(BATCH, None),
            out: [[0; LONGEST]; BATCH],
            inbox: [[0; LONGEST]; BATCH],
            dice: fastrand::Rng::new(),
            began: now()?,
            latencies: Vec::new(),
            outcome: Outcome::default(),
        })
    }

    fn run(&mut self, options: &Options) -> Result<()> {
        self.began = now()?;
        let end = self.began + options.seconds * SECOND;
        let share = (options.window / ASKERS).max(1);
        let step = SECOND.checked_div(options.rate);
        let (mut due, mut heard, mut turn) = (self.began, self.began, 0);
        loop {
            let time = now()?;
            if time >= end {
                break;
            }
            let mut wait = SECOND / 10;
            match step {
                Some(step) => {
                    while due <= time {
                        self.ask(turn % ASKERS, 1)?;
                        turn += 1;
                        due += step;
                    }
                    wait = due.saturating_sub(now()?);
                }
                None => {
                    for asker in 0..ASKERS {
                        let under_way = self.askers.get(asker).map_or(share, |one| one.under_way);
                        self.ask(asker, share.saturating_sub(under_way))?;
                    }
                }
            }
            if self.hear(wait)? {
                heard = now()?;
            } else if step.is_none() && now()? > heard + GIVEN_UP {
                self.askers.iter_mut().for_each(Asker::give_up);
                heard = now()?;
            }
        }
        self.outcome.seconds = seconds(now()? - self.began);
        Ok(())
    }

    /// Sends so many queries from one socket.
    fn ask(&mut self, asker: usize, count: usize) -> Result<()> {
        let Self { askers, queries, sending, out, dice, outcome, .. } = self;
        let Some(asker) = askers.get_mut(asker) else { return Ok(()) };
        let count = count.min(BATCH);
        if count == 0 {
            return Ok(());
        }
        let (first, mut lengths) = (asker.next, [0; BATCH]);
        for (buffer, length) in out.iter_mut().zip(&mut lengths).take(count) {
            let query = dice.choice(queries.iter()).map_or(&[][..], Vec::as_slice);
            *length = query.len();
            let room = buffer.get_mut(..query.len()).context("a query is too long")?;
            room.copy_from_slice(query);
            if let Some(id) = room.first_chunk_mut() {
                *id = asker.next.to_be_bytes();
            }
            asker.next = asker.next.wrapping_add(1);
        }
        let mut messages = out.each_ref().map(|buffer| [IoSlice::new(buffer)]);
        for ((message, buffer), length) in messages.iter_mut().zip(&*out).zip(lengths) {
            *message = [IoSlice::new(buffer.get(..length).unwrap_or_default())];
        }
        let (fd, time) = (asker.socket.as_raw_fd(), now()?);
        let (messages, none) = (messages.iter().take(count), MsgFlags::empty());
        let sent = match sendmmsg(fd, sending, messages, [None::<()>; BATCH], [], none) {
            Ok(sent) => sent.count(),
            Err(nix::Error::EAGAIN | nix::Error::ECONNREFUSED) => 0,
            Err(error) => return Err(error).context("send queries"),
        };
        for step in 0..u16::try_from(sent)? {
            if let Some(since) = asker.since.get_mut(usize::from(first.wrapping_add(step))) {
                asker.under_way += usize::from(*since == 0);
                *since = time;
            }
        }
        outcome.sent += u64::try_from(sent)?;
        Ok(())
    }

    /// Waits for answers, at most so long; says whether any came.
    fn hear(&mut self, wait: u64) -> Result<bool> {
        let wait = TimeSpec::new(0, i64::try_from(wait.min(SECOND - 1))?);
        let ready: Vec<bool> = {
            let mut polled: Vec<_> = self.askers.iter().map(Asker::polled).collect();
            ppoll(&mut polled, Some(wait), None).context("wait for answers")?;
            polled.iter().map(|one| one.any() == Some(true)).collect()
        };
        let mut any = false;
        let Self { askers, receiving, inbox, latencies, outcome, .. } = self;
        for (asker, _) in askers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            let mut room = inbox.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
            let (fd, flags) = (asker.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
            let came = recvmmsg(fd, receiving, room.iter_mut(), flags, None);
            let count = came.map_or(0, Iterator::count);
            let time = now()?;
            for answer in inbox.iter().take(count) {
                let &[i0, i1, _, low, _, _, a0, a1, ..] = answer;
                let id = usize::from(u16::from_be_bytes([i0, i1]));
                let Some(since) = asker.since.get_mut(id).filter(|since| **since > 0) else {
                    continue;
                };
                let took = u32::try_from(time.saturating_sub(*since) / 100).unwrap_or(u32::MAX);
                latencies.push(took);
                *since = 0;
                asker.under_way = asker.under_way.saturating_sub(1);
                outcome.answered += 1;
                outcome.failed += u64::from(!matches!(low & 15, 0 | 3));
                outcome.with_records += u64::from((a0, a1) != (0, 0));
                any = true;
            }
        }
        Ok(any)
    }

    fn outcome(&mut self) -> Outcome {
        self.latencies.sort_unstable();
        let part = |per_mille: usize| {
            let at = self.latencies.len() * per_mille / 1000;
            let at = at.min(self.latencies.len().saturating_sub(1));
            self.latencies.get(at).map_or(0.0, |tenths| f64::from(*tenths) / 10.0)
        };
        Outcome { p50_us: part(500), p99_us: part(990), max_us: part(1000), ..self.outcome.clone() }
    }
}

impl Asker {
    fn polled(&self) -> PollFd<'_> {
        PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)
    }

    fn give_up(&mut self) {
        self.since.fill(0);
        self.under_way = 0;
    }
}

/// A query for the address of each name; its identifier comes later.
fn queries(names: &Path) -> Result<Vec<Vec<u8>>> {
    let text = std::fs::read_to_string(names).context("read names")?;
    let query = |name: &str| -> Result<Vec<u8>> {
        let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.trim_end_matches('.').split('.') {
            query.push(u8::try_from(label.len())?);
            query.extend_from_slice(label.as_bytes());
        }
        query.extend_from_slice(&[0, 0, 1, 0, 1]);
        Ok(query)
    };
    let queries: Vec<_> = text.lines().map(query).collect::<Result<_>>()?;
    ensure!(!queries.is_empty(), "no names in {}", names.display());
    Ok(queries)
}

fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(u64::try_from(time.tv_sec())? * SECOND + u64::try_from(time.tv_nsec())?)
}

fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}
