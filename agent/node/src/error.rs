//! Why there is no node.

/// The machine cannot introduce itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Error {
    #[error(
        "node id: no address of this machine is known; set INSTANCE_IP to the one the mesh reaches it at"
    )]
    NoAddress,
    #[error("node id: {part} is {value:?}; expected a name without '~', '/' and white space")]
    Part { part: &'static str, value: String },
    #[error("proxy configuration: expected a JSON object")]
    ProxyConfig,
}
