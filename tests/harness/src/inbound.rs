//! A listener for what comes in to a machine.

use std::net::SocketAddr;

use hawser_proto::envoy::google::protobuf::Any;
use hawser_proto::type_url::LISTENER;
use prost::Message as _;

use crate::istiod::State;
use crate::service::{Service, socket};

/// Adds a listener at `at` for what comes in, which leads to `service`; istiod says of such a listener
/// which way what it takes goes, and Envoy drains by that.
pub fn listen(service: &Service, at: SocketAddr, state: &mut State) {
    let mut listener = service.listener();
    listener.name = "virtualInbound".to_owned();
    listener.address = Some(socket(at));
    let mut value = listener.encode_to_vec();
    value.extend_from_slice(&INBOUND);
    let any = Any { type_url: LISTENER.to_owned(), value };
    state.put_raw(LISTENER, &listener.name, any);
}

/// `traffic_direction`, field 16: inbound.
const INBOUND: [u8; 3] = [0x80, 0x01, 0x01];
