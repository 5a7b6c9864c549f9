//! Checks of settings, token, certificate and roots: what this machine shows, and whom it believes.

mod certificate;
mod roots;
mod secrets;
mod settings;
mod token;

pub(super) use self::certificate::Kept;
use super::Check;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "joined",
        asks: "Has this machine joined a mesh?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { settings::joined(patient) }),
    },
    Check {
        name: "configuration",
        asks: "Are all settings in order?",
        needs: &["joined"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { settings::in_order(patient) }),
    },
    Check {
        name: "token",
        asks: "Is there a token that the agent can read, where it needs one?",
        needs: &["configuration"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { token::there(patient) }),
    },
    Check {
        name: "token-expiry",
        asks: "Is the token still good?",
        needs: &["token"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { token::fresh(patient) }),
    },
    Check {
        name: "token-audience",
        asks: "Is the token made for istiod?",
        needs: &["token"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { token::audience(patient) }),
    },
    Check {
        name: "token-subject",
        asks: "Is the token this machine's?",
        needs: &["token"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { token::subject(patient) }),
    },
    Check {
        name: "provisioned-pair",
        asks: "Is the pair that was brought beforehand good, if there is one?",
        needs: &["configuration"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { certificate::provisioned(patient) }),
    },
    Check {
        name: "certificate-kept",
        asks: "Does what is kept of the certificate survive a restart?",
        needs: &["configuration"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { certificate::kept(patient) }),
    },
    Check {
        name: "certificate",
        asks: "Is there a certificate that is valid now?",
        needs: &["configuration"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { certificate::valid(patient) }),
    },
    Check {
        name: "runway",
        asks: "Is the certificate renewed in time?",
        needs: &["certificate"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { certificate::runway(patient) }),
    },
    Check {
        name: "spiffe-id",
        asks: "Is the certificate for whom this machine is configured as?",
        needs: &["certificate"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { certificate::id(patient) }),
    },
    Check {
        name: "roots",
        asks: "Are there roots to believe istiod by?",
        needs: &["configuration"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { roots::readable(patient) }),
    },
    Check {
        name: "root-expiry",
        asks: "Are the roots still valid?",
        needs: &["roots"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { roots::fresh(patient) }),
    },
    Check {
        name: "root-covers",
        asks: "Do the roots on disk cover the certificate of this machine?",
        needs: &["roots"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { roots::cover(patient) }),
    },
    Check {
        name: "secret-files",
        asks: "Are token and keys for their owner alone?",
        needs: &["configuration"],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { secrets::private(patient) }),
    },
];
