//! A response that is being taken down, and not yet accepted.
//!
//! What it is told it only collects: the cost of each of many resources counts. Between two chunks
//! of a response it hands over what is a good deal.
//!
//! It never holds up Envoy for longer than [`PATIENCE`] in all: then, or when the disk fails, it
//! gives itself up, and the older state is kept.

use std::time::Duration;

use bytes::Bytes;
use hawser_rt::Clock;
use tokio::time::Instant;

use crate::{
    Error,
    follow::Follow,
    format::{Hash, hash},
    lacks::Came,
    log::Said,
    order::{Fate, Form, Line, Order},
    scan::key_of,
    write::Piece,
};

/// A response that is being taken down. Dropped, it is forgotten.
#[derive(Debug)]
pub struct Draft {
    hold: Hold,
    type_url: String,
    form: Form,
    clock: Clock,
    resource: Option<Resource>,
    pieces: Vec<Piece>,
    /// Bytes of the pieces.
    held: usize,
    /// How long the disk was waited for.
    waited: Duration,
    /// What it tells of, should it be given up.
    came: Came,
    gone: Vec<Hash>,
    unnamed: bool,
}

/// A response that is taken down whole. Dropped, it was refused and is forgotten.
#[derive(Debug)]
pub struct Pending {
    hold: Hold,
    version: String,
    came: Came,
    gone: Vec<Hash>,
    unnamed: bool,
    clock: Clock,
}

/// What the thread knows of a draft; forgotten with it.
#[derive(Debug)]
struct Hold {
    line: Line,
    draft: u64,
    fate: Fate,
    accepted: bool,
}

/// A resource that has begun.
#[derive(Debug)]
struct Resource {
    follow: Follow,
    length: u32,
    left: usize,
    /// A small one is gathered.
    small: Option<Vec<Bytes>>,
}

impl Draft {
    pub(crate) fn new(
        line: Line,
        draft: u64,
        fate: Fate,
        (type_url, form): (String, Form),
        clock: Clock,
    ) -> Self {
        Self {
            hold: Hold { line, draft, fate, accepted: false },
            type_url,
            form,
            clock,
            resource: None,
            pieces: Vec::new(),
            held: 0,
            waited: Duration::ZERO,
            came: Came::default(),
            gone: Vec::new(),
            unnamed: false,
        }
    }

    /// A resource of that many bytes begins: in delta a `Resource`, else an `Any`.
    pub fn resource(&mut self, length: usize) {
        if self.is_over() {
            return;
        }
        let Ok(bytes) = u32::try_from(length) else { return self.give_up(Error::Malformed) };
        if self.resource.is_some() {
            return self.give_up(Error::Malformed);
        }
        let small = (length <= SMALL).then(Vec::new);
        if small.is_none() {
            self.put(Piece::Begin { length: bytes }, 0);
        }
        // Of one that is given up only the names matter.
        let follow = Follow::new(self.form.flavour, !self.is_given_up());
        self.resource = Some(Resource { follow, length: bytes, left: length, small });
    }

    /// The next bytes of the resource.
    pub fn bytes(&mut self, data: Bytes) {
        if self.is_over() || data.is_empty() {
            return;
        }
        let fits = self.resource.as_mut().is_some_and(|resource| resource.push(&data));
        if !fits {
            return self.give_up(Error::Malformed);
        }
        if self.is_given_up() {
            return;
        }
        match self.resource.as_mut().and_then(|resource| resource.small.as_mut()) {
            Some(small) => small.push(data),
            None => {
                let length = data.len();
                self.put(Piece::Bytes(data), length);
            }
        }
    }

    /// The resource ends.
    pub fn resource_end(&mut self) {
        if self.is_over() {
            return;
        }
        let Some(Resource { follow, length, left: 0, small }) = self.resource.take() else {
            return self.give_up(Error::Malformed);
        };
        let Ok(trailer) = follow.end(&self.type_url) else {
            return self.give_up(Error::Malformed);
        };
        self.unnamed |= trailer.name.is_empty();
        let (key, trailer) = (key_of(&trailer), Box::new(trailer));
        self.came.note(key);
        let (piece, size) = match small {
            Some(body) => (Piece::Small { length, body, key, trailer }, length as usize + OVERHEAD),
            None => (Piece::End { key, trailer }, OVERHEAD),
        };
        self.put(piece, size);
    }

    /// A resource is no more.
    #[expect(clippy::needless_pass_by_value, reason = "it is done with")]
    pub fn removed(&mut self, name: String) {
        if self.gone.len() < MOST_GONE {
            self.gone.push(hash(name.as_bytes()));
        } else {
            self.give_up(Error::Malformed);
        }
    }

    /// Hands over what is a good deal, once there is room for it. To be called between two chunks of
    /// the response: until then all that it was told stays in memory.
    pub async fn hand_over(&mut self) {
        if self.held >= BATCH {
            self.flush().await;
        }
    }

    /// The response is over.
    pub async fn done(mut self, version: String) -> Pending {
        if self.resource.is_some() {
            self.give_up(Error::Malformed);
        }
        self.flush().await;
        if !self.gone.is_empty() || self.unnamed {
            self.hold.line.tell(Order::Removes { draft: self.hold.draft });
        }
        let Self { hold, came, gone, unnamed, clock, .. } = self;
        Pending { hold, version, came, gone, unnamed, clock }
    }

    /// Whether nothing more of it is of use: one that is given up is followed for the names in it.
    fn is_over(&self) -> bool {
        self.is_given_up() && self.came.is_untold()
    }

    fn is_given_up(&self) -> bool {
        self.hold.fate.is_given_up()
    }

    fn put(&mut self, piece: Piece, size: usize) {
        if self.is_given_up() {
            self.pieces.clear();
            return;
        }
        self.pieces.push(piece);
        self.held += size;
    }

    async fn flush(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        let held = std::mem::take(&mut self.held);
        if pieces.is_empty() || self.is_given_up() {
            return;
        }
        let draft = self.hold.draft;
        let begun = Instant::now();
        let left = PATIENCE.saturating_sub(self.waited);
        let room = self.hold.line.space.take(held, left).await;
        self.waited += begun.elapsed();
        match room {
            Some(room) => self.hold.line.tell(Order::Write { draft, pieces, room }),
            None => self.give_up(Error::Slow),
        }
    }

    fn give_up(&mut self, error: Error) {
        if matches!(error, Error::Malformed) {
            self.resource = None;
            self.came.and_others();
        }
        if self.is_given_up() {
            return;
        }
        self.hold.fate.give_up();
        self.pieces.clear();
        let draft = self.hold.draft;
        self.hold.line.tell(Order::GiveUp { draft, error });
    }
}

impl Resource {
    fn push(&mut self, data: &Bytes) -> bool {
        match self.left.checked_sub(data.len()) {
            Some(left) => self.left = left,
            None => return false,
        }
        self.follow.push(data).is_ok()
    }
}

impl Pending {
    /// Envoy has taken it.
    pub fn accepted(self) {
        let Self { mut hold, version, came, gone, unnamed, clock } = self;
        hold.accepted = true;
        let said = Said { version, at: clock.now(), came, gone, unnamed };
        hold.line.tell(Order::Accept { draft: hold.draft, said });
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.accepted {
            self.line.tell(Order::Forget { draft: self.draft });
        }
    }
}

/// How long the disk may hold up a response, in all.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is written at one stroke.
const BATCH: usize = if cfg!(test) { 256 << 10 } else { 512 << 10 };
/// Resources up to this size are not written again if they are as they were.
const SMALL: usize = 64 << 10;
/// About what a resource takes besides its bytes.
const OVERHEAD: usize = 256;
/// Names that a response may remove.
const MOST_GONE: usize = 1 << 18;
