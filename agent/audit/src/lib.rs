//! What journals know events by: identity, rules and configuration leave a trail that is read by
//! programs and by who has to answer for a machine.
//!
//! An event is a line of the log with the field `message_id`, which never changes; the phrase beside it
//! may. `packaging/hawser.catalog` says of each what it means and what to do, which is what
//! `journalctl -x` shows.

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name here.
    pub name: &'static str,
    /// By which journals find it: `journalctl MESSAGE_ID=…`.
    pub id: &'static str,
    /// What has happened, as the catalogue says it.
    pub sentence: &'static str,
}

/// A certificate was issued for this machine.
pub const CERTIFICATE_OBTAINED: Kind = Kind {
    name: "CERTIFICATE_OBTAINED",
    id: "3202831064db4ca4924d6d5e9e187f93",
    sentence: "A certificate was issued for this machine",
};
/// No new certificate was issued.
pub const CERTIFICATE_REFUSED: Kind = Kind {
    name: "CERTIFICATE_REFUSED",
    id: "87f25d7cf06d49e7bdaa4f5ad2763023",
    sentence: "No new certificate was issued",
};
/// istiod rejects the certificate of this machine.
pub const CERTIFICATE_REJECTED: Kind = Kind {
    name: "CERTIFICATE_REJECTED",
    id: "e1978d5b4bc34141ab2b3e4a65dace80",
    sentence: "istiod rejects the certificate of this machine",
};
/// The certificate was taken from elsewhere.
pub const CERTIFICATE_REPLACED: Kind = Kind {
    name: "CERTIFICATE_REPLACED",
    id: "36b7da496cd84f188eb7f081f39df2e0",
    sentence: "The certificate was taken from elsewhere",
};
/// The certificate from before is not valid now.
pub const CERTIFICATE_EXPIRED: Kind = Kind {
    name: "CERTIFICATE_EXPIRED",
    id: "7cb19a7509364c05942fa600e9ddb20c",
    sentence: "The certificate from before is not valid now",
};
/// The roots that this machine believes have changed.
pub const ROOTS_CHANGED: Kind = Kind {
    name: "ROOTS_CHANGED",
    id: "a78dc95cdaf9418297ed79131868823e",
    sentence: "The roots that this machine believes have changed",
};
/// Somebody has asked for a new certificate.
pub const RENEWAL_ASKED: Kind = Kind {
    name: "RENEWAL_ASKED",
    id: "cc944fb624b34cd788893e8f19d29bf5",
    sentence: "Somebody has asked for a new certificate",
};
/// Traffic of this machine goes to Envoy.
pub const RULES_APPLIED: Kind = Kind {
    name: "RULES_APPLIED",
    id: "89859f2a448841009ac966b0529e35b5",
    sentence: "Traffic of this machine goes to Envoy",
};
/// Traffic of this machine is not redirected any more.
pub const RULES_CLEARED: Kind = Kind {
    name: "RULES_CLEARED",
    id: "11bc33120d5949d9873ab63d7fdb4a76",
    sentence: "Traffic of this machine is not redirected any more",
};
/// Rules were changed by somebody else, and put back.
pub const RULES_REPAIRED: Kind = Kind {
    name: "RULES_REPAIRED",
    id: "5f2c6d2a0b6c4f0f9a4e3c1d7b8e9a01",
    sentence: "Rules were changed by somebody else, and put back",
};
/// Rules could not be made what they should be.
pub const RULES_TROUBLE: Kind = Kind {
    name: "RULES_TROUBLE",
    id: "96ad4c27f5f543ffa14d690ab1624faa",
    sentence: "Rules could not be made what they should be",
};
/// What is redirected has changed.
pub const GATES_CHANGED: Kind = Kind {
    name: "GATES_CHANGED",
    id: "853bf6e2001848cda38fb77a942cb3ab",
    sentence: "What is redirected has changed",
};
/// Rules that Istio's scripts have left were removed.
pub const RULES_ADOPTED: Kind = Kind {
    name: "RULES_ADOPTED",
    id: "008edd9c4c2e4fa8993c770edc74ee1e",
    sentence: "Rules that Istio's scripts have left were removed",
};
/// The configuration was read again.
pub const CONFIGURATION_READ: Kind = Kind {
    name: "CONFIGURATION_READ",
    id: "876a787ebf3745f5afef949f7b950c3f",
    sentence: "The configuration was read again",
};
/// The configuration is wrong and was not taken over.
pub const CONFIGURATION_WRONG: Kind = Kind {
    name: "CONFIGURATION_WRONG",
    id: "bebe1f71e429437499c3bc0249d235af",
    sentence: "The configuration is wrong and was not taken over",
};
/// Envoy refuses what istiod says.
pub const CONFIGURATION_REFUSED: Kind = Kind {
    name: "CONFIGURATION_REFUSED",
    id: "2b393482b89741a7b1c65d270219a6d5",
    sentence: "Envoy refuses what istiod says",
};
/// Envoy accepts again what istiod says.
pub const CONFIGURATION_ACCEPTED: Kind = Kind {
    name: "CONFIGURATION_ACCEPTED",
    id: "44342851e3c14bc4a1dde0a59fe2c481",
    sentence: "Envoy accepts again what istiod says",
};
/// The machine was taken out of the mesh.
pub const DRAINED: Kind = Kind {
    name: "DRAINED",
    id: "1407c9120cd14a7b887f3d29b1e31fa6",
    sentence: "The machine was taken out of the mesh",
};
/// The machine is back in the mesh.
pub const UNDRAINED: Kind = Kind {
    name: "UNDRAINED",
    id: "5b52f1b6c1624136abc03482d54495d2",
    sentence: "The machine is back in the mesh",
};
/// How much is logged was changed.
pub const LEVEL_CHANGED: Kind = Kind {
    name: "LEVEL_CHANGED",
    id: "199dc6af23d54f5f9908063fcd2ed53a",
    sentence: "How much is logged was changed",
};
/// This machine has joined a mesh.
pub const JOINED: Kind = Kind {
    name: "JOINED",
    id: "4aa57487eacb4b94b5ce8c575840f5b2",
    sentence: "This machine has joined a mesh",
};
/// This machine has left its mesh.
pub const LEFT: Kind = Kind {
    name: "LEFT",
    id: "a8f44cce76874e1b9815d8510d33c619",
    sentence: "This machine has left its mesh",
};
/// The agent has started.
pub const STARTED: Kind = Kind {
    name: "STARTED",
    id: "2ae9ebd3cbed4f42bf69f52088990822",
    sentence: "The agent has started",
};
/// A part of the agent does not answer.
pub const SILENT: Kind = Kind {
    name: "SILENT",
    id: "af2e0a20a70540279bdbe2739a8b6956",
    sentence: "A part of the agent does not answer",
};

/// All there are, in the order of the catalogue.
pub const ALL: [Kind; 24] = [
    CERTIFICATE_OBTAINED,
    CERTIFICATE_REFUSED,
    CERTIFICATE_REJECTED,
    CERTIFICATE_REPLACED,
    CERTIFICATE_EXPIRED,
    ROOTS_CHANGED,
    RENEWAL_ASKED,
    RULES_APPLIED,
    RULES_CLEARED,
    RULES_REPAIRED,
    RULES_TROUBLE,
    GATES_CHANGED,
    RULES_ADOPTED,
    CONFIGURATION_READ,
    CONFIGURATION_WRONG,
    CONFIGURATION_REFUSED,
    CONFIGURATION_ACCEPTED,
    DRAINED,
    UNDRAINED,
    LEVEL_CHANGED,
    JOINED,
    LEFT,
    STARTED,
    SILENT,
];

#[cfg(test)]
mod tests;
