//! What FakeIstiod does wrong when it is told to.

use std::time::Duration;

use tonic::{Code, Status};

/// A status to refuse with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    /// Its code.
    pub code: Code,
    /// Its text.
    pub message: String,
}

/// When a connection is old and how long it may go on after its GOAWAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// GOAWAY after this time.
    pub age: Duration,
    /// End of the connection so much later.
    pub grace: Duration,
}

/// What comes instead of a good discovery response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Garbage {
    /// A message of so many random bytes.
    Random(usize),
    /// A prefix that announces so many bytes more than come; then the stream ends well.
    Longer(usize),
    /// A prefix that announces so many bytes fewer: what is left passes for the next prefix.
    Shorter(usize),
    /// The flag of a compressed message, before one that is not.
    Compressed,
    /// Another flag, which nobody has given a meaning.
    Flag(u8),
    /// A prefix that announces 2 GiB, of which what comes is the beginning.
    Huge,
}

/// How a discovery stream says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Its headers never come, if they have not come yet.
    Headers,
    /// Its headers come, a message never does.
    Messages,
}

/// How slowly a discovery response is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drip {
    /// So many bytes at once.
    pub bytes: usize,
    /// With such a pause after them.
    pub pause: Duration,
}

/// In the middle of which response istiod crashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The type of the response; empty for any.
    pub type_url: String,
    /// How many bytes of the message come before the crash; all of it if it is shorter.
    pub after: usize,
}

/// What is wrong with the answer to a certificate request of somebody who may have one.
///
/// Who may not is refused as ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// It never comes; the connection lives.
    Silence,
    /// Instead of it the connection is reset.
    Cut,
    /// It ends in the middle of its message.
    Truncated,
    /// It is no protobuf.
    Undecodable,
    /// Its certificates are no PEM.
    NotPem,
    /// There is no certificate in it.
    Empty,
    /// It has the leaf alone.
    Short,
    /// It is for this SPIFFE id.
    Identity(String),
    /// It is for a key that the caller does not have.
    Key,
    /// It is valid only after so long.
    NotYetValid(Duration),
    /// It has expired so long ago.
    Expired(Duration),
    /// It is signed under a root that is not among those it brings.
    Root,
}

/// What istiod shows of itself in the handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Serving {
    /// A good certificate, issued under the root that [`crate::ca::TestCa::serve_with`] says.
    #[default]
    Good,
    /// One that expired so long ago.
    Expired(Duration),
    /// One for other names or addresses.
    Names(Vec<String>),
}

/// What goes wrong; the default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Waits so long before each response.
    pub delay: Duration,
    /// Refuses to sign.
    pub refuse_ca: Option<Refuse>,
    /// Signs, but answers wrongly.
    pub ca: Option<Wrong>,
    /// Issues for no longer than this, whatever was asked for.
    pub ttl_cap: Option<Duration>,
    /// The CA does as istio-csr: TLS takes client certificates, but who is who is told by a token
    /// alone. Discovery goes on as ever.
    pub ignores_certificates: bool,
    /// No client certificate is good enough for TLS; no certificate is.
    pub rejects_certificates: bool,
    /// Which certificate it shows of itself.
    pub serving: Serving,
    /// Refuses new discovery streams.
    pub refuse_ads: Option<Refuse>,
    /// Answers every new call with a message that nobody can decode.
    pub garble: bool,
    /// Answers every discovery request and push with this instead.
    pub garbage: Option<Garbage>,
    /// Says nothing on discovery streams, though it reads and notes what they ask; what was not
    /// said is not said later.
    pub silence: Option<Silence>,
    /// Writes discovery responses slowly.
    pub drip: Option<Drip>,
    /// Crashes in the middle of the next response that this is about, once: everything before is
    /// on the wire by then. New connections are welcome at once.
    pub cut: Option<Cut>,
    /// Ends connections that are made from now on at some age.
    pub max_age: Option<Age>,
}

impl Refuse {
    /// A refusal with this code and text.
    #[must_use]
    pub fn new(code: Code, message: &str) -> Self {
        Self { code, message: message.to_owned() }
    }

    pub(super) fn status(self) -> Status {
        Status::new(self.code, self.message)
    }
}
