//! One discovery stream: who is on it, what it has asked for, what it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hawser_proto::envoy::envoy::config::core::v3::Node;
use hawser_proto::type_url;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use super::Shared;
use super::caller::{Caller, Peer, Shown};
use super::discovery::{Asks, Said};
use super::faults::{Faults, Garbage, Silence};
use super::journal::{Answered, Asked, Flavour, Health, NAMED, Stream, Verdict};
use super::message::Message;
use super::node::NodeFacts;
use super::subscription::{Ask, Push, Subscriptions};
use super::world::State;

/// What is in front of a message.
const PREFIX: usize = 5;

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) peer: Arc<Peer>,
    pub(super) flavour: Flavour,
    pub(super) shown: Shown,
    pub(super) caller: Caller,
    pub(super) headers: BTreeMap<String, String>,
    /// The workload entry that this stream keeps alive.
    pub(super) entry: Option<String>,
}

type Out = mpsc::Sender<Said>;

impl Session {
    pub(super) async fn run(mut self, mut asks: Asks, out: Out) {
        // Cancel safe: whoever has left gets nothing more. When istiod stops, its connections are
        // cut, and with them goes `out`.
        let ended = tokio::select! {
            ended = self.converse(&mut asks, &out) => ended,
            () = out.closed() => Ok(()),
        };
        let code = ended.as_ref().err().map_or(Code::Ok, Status::code);
        self.leave(code);
        let status = ended.err().unwrap_or_else(|| Status::ok(""));
        // Nobody is left to hear it when this fails.
        let _unheard = out.send(Said::End(status)).await;
    }

    async fn converse(&mut self, asks: &mut Asks, out: &Out) -> Result<(), Status> {
        if self.shared.faults().silence == Some(Silence::Messages) {
            say(out, Said::Headers).await?;
        }
        let mut world = self.shared.plane.world.subscribe();
        let mut subscriptions = loop {
            let Some((node, ask)) = asks.try_next().await? else { return Ok(()) };
            // istiod passes over a health report that comes before anything else.
            if ask.type_url == type_url::HEALTH {
                self.shared.seen.send_modify(|seen| seen.health_dropped += 1);
                continue;
            }
            let state = Arc::clone(&world.borrow_and_update());
            let mut subscriptions = Subscriptions::new(self.flavour, state.push())
                .honouring(self.shared.honours_versions());
            if let Err(refusal) = self.greet(node.as_ref()) {
                self.note(&ask, node.is_some(), Verdict::Refused);
                return Err(refusal);
            }
            let pushes = self.weigh(&mut subscriptions, node.is_some(), &ask, &state)?;
            self.send(pushes, out).await?;
            break subscriptions;
        };
        loop {
            // Requests first, as in istiod. Both branches only wait: nothing is lost when the
            // other one wins.
            let pushes = tokio::select! {
                biased;
                ask = asks.try_next() => {
                    let Some((node, ask)) = ask? else { return Ok(()) };
                    let state = Arc::clone(&world.borrow());
                    self.weigh(&mut subscriptions, node.is_some(), &ask, &state)?
                }
                changed = world.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let state = Arc::clone(&world.borrow_and_update());
                    subscriptions.push(&state)?
                }
            };
            self.send(pushes, out).await?;
        }
    }

    /// Judges the first request: node, identity, registration.
    fn greet(&mut self, node: Option<&Node>) -> Result<(), Status> {
        let facts = NodeFacts::read(node)?;
        facts.authorize(&self.caller)?;
        let identities = self.caller.identities();
        let entry =
            self.shared.plane.registry(|registry| registry.connect(self.id, &facts, identities));
        let opened = Instant::now();
        let node = node.cloned().unwrap_or_default();
        let stream = Stream {
            id: self.id,
            connection: self.peer.connection,
            flavour: self.flavour,
            shown: self.shown,
            identities: identities.to_vec(),
            headers: std::mem::take(&mut self.headers),
            node_id: node.id.clone(),
            metadata: facts.metadata,
            node,
            opened,
            over: entry.is_err().then_some(opened),
            ended: entry.as_ref().err().map(Status::code),
        };
        self.shared.seen.send_modify(|seen| seen.streams.push(stream));
        self.entry = entry?;
        Ok(())
    }

    /// Takes a request down, with what is made of it; answers what it brings.
    fn weigh(
        &self,
        subscriptions: &mut Subscriptions,
        with_node: bool,
        ask: &Ask,
        world: &State,
    ) -> Result<Vec<Push>, Status> {
        let weighed = if ask.type_url == type_url::HEALTH {
            self.health(ask);
            Ok((Verdict::Health, Vec::new()))
        } else if ask.error.is_some() && !subscriptions.knows(&ask.type_url) {
            // The real one dereferences nothing here, and is gone with all its connections.
            self.shared.seen.send_modify(|seen| seen.crashes += 1);
            self.shared.cut();
            Err(Status::unavailable("error reading from server: EOF"))
        } else {
            subscriptions.take(ask, world)
        };
        let verdict = weighed.as_ref().map_or(Verdict::Refused, |(verdict, _)| *verdict);
        self.note(ask, with_node, verdict);
        Ok(weighed?.1)
    }

    fn health(&self, ask: &Ask) {
        let problem = ask.error.as_ref().map(|(_, text)| text.clone());
        if let Some(entry) = &self.entry {
            self.shared.plane.registry(|registry| registry.report(entry, problem.as_deref()));
        }
        let health = Health { stream: self.id, problem };
        self.shared.seen.send_modify(|seen| seen.health.push(health));
    }

    async fn send(&self, pushes: Vec<Push>, out: &Out) -> Result<(), Status> {
        for push in pushes {
            self.shared.pause().await;
            let faults = self.shared.faults();
            if faults.silence.is_some() {
                continue;
            }
            let message = Message::of(&push, self.flavour);
            let named = push.resources.iter().take(NAMED);
            let answered = Answered {
                stream: self.id,
                type_url: push.type_url.clone(),
                version: push.version.clone(),
                nonce: push.nonce.clone(),
                resources: push.resources.len(),
                names: named.map(|one| one.name.clone()).collect(),
                bytes: message.length(),
                removed: push.removed.clone(),
            };
            self.shared.seen.send_modify(|seen| seen.answered.push(answered));
            self.write(&push.type_url, message, &faults, out).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        type_url: &str,
        message: Message,
        faults: &Faults,
        out: &Out,
    ) -> Result<(), Status> {
        let cut = self.shared.take_cut(type_url);
        let mut left = cut.as_ref().map_or(usize::MAX, |cut| cut.after.saturating_add(PREFIX));
        for mut piece in message.framed(faults.garbage.as_ref()) {
            piece.truncate(left);
            left -= piece.len();
            while !piece.is_empty() {
                let size = faults.drip.map_or(piece.len(), |drip| drip.bytes.clamp(1, piece.len()));
                self.hand(piece.split_to(size), out).await?;
                if let Some(drip) = faults.drip {
                    sleep(drip.pause).await;
                }
            }
        }
        if cut.is_some() {
            self.peer.wire.all_out().await;
            self.shared.seen.send_modify(|seen| seen.cuts += 1);
            self.shared.cut();
            return std::future::pending().await;
        }
        match faults.garbage {
            // A status of OK, and the message is not whole.
            Some(Garbage::Longer(_)) => Err(Status::ok("")),
            _ => Ok(()),
        }
    }

    async fn hand(&self, bytes: Bytes, out: &Out) -> Result<(), Status> {
        self.peer.wire.hand(bytes.len());
        say(out, Said::Data(bytes)).await
    }

    fn note(&self, ask: &Ask, with_node: bool, verdict: Verdict) {
        let asked = Asked {
            stream: self.id,
            type_url: ask.type_url.clone(),
            names: ask.names.clone(),
            unsubscribed: ask.unsubscribed.clone(),
            initial: ask.initial.clone(),
            version: ask.version.clone(),
            nonce: ask.nonce.clone(),
            error: ask.error.clone(),
            with_node,
            verdict,
        };
        self.shared.seen.send_modify(|seen| seen.asked.push(asked));
    }

    fn leave(&self, code: Code) {
        let since = self.entry.as_ref().and_then(|entry| {
            self.shared.plane.registry(|registry| registry.disconnect(entry, self.id))
        });
        self.shared.seen.send_modify(|seen| seen.ended(self.id, code));
        if let (Some(since), Some(entry)) = (since, self.entry.clone()) {
            self.shared.clean_up(entry, since);
        }
    }
}

async fn say(out: &Out, said: Said) -> Result<(), Status> {
    out.send(said).await.map_err(|_closed| Status::cancelled("the client has left"))
}
