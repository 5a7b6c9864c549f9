//! Two variables of Istio's start script that are half of an address: a port, and the namespace in
//! which istiod runs.

use super::Source;
use crate::config::values::{Said, Values};

impl Values {
    /// Puts the address together, where nobody has said a whole one that is as strong: a port beats
    /// the mesh file, as it does in the script; a namespace alone is in place of the default.
    pub(super) fn lay_halves_of_address(&mut self) {
        let said = |name: &str| self.variable(name).filter(|said| !said.value.is_empty()).cloned();
        let (port, namespace) = (said(PORT), said(NAMESPACE));
        let Some(before) = self.source_of(ADDRESS) else { return };
        let free = match before {
            Source::Default => port.is_some() || namespace.is_some(),
            Source::Mesh { .. } => port.is_some(),
            _ => false,
        };
        let Some(Said { source, .. }) = port.as_ref().or(namespace.as_ref()).filter(|_| free)
        else {
            return;
        };
        let source = source.clone();
        let port = port.map_or_else(|| "15012".to_owned(), |said| said.value);
        let namespace = namespace.map_or_else(|| "istio-system".to_owned(), |said| said.value);
        self.set(ADDRESS, format!("istiod.{namespace}.svc:{port}"), source);
    }
}

const ADDRESS: &str = "istiod.address";
const PORT: &str = "ISTIO_PILOT_PORT";
const NAMESPACE: &str = "ISTIO_SYSTEM_NAMESPACE";
