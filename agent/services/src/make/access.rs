//! The access log: one object a line.

use std::path::Path;

use hawser_proto::envoy::envoy::config::accesslog::v3::{AccessLog, access_log};
use serde_json::{Value, json};

use super::snippet::typed;
use crate::model::Services;

/// Where requests are logged.
pub(super) fn requests(services: &Services) -> Vec<AccessLog> {
    let fields = json!({
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "protocol": "%PROTOCOL%",
        "authority": "%REQ(:AUTHORITY)%",
        "status": "%RESPONSE_CODE%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "grpc_status": "%GRPC_STATUS%",
    });
    log(services, fields)
}

/// Where connections are logged.
pub(super) fn connections(services: &Services) -> Vec<AccessLog> {
    log(services, json!({}))
}

fn log(services: &Services, own: Value) -> Vec<AccessLog> {
    let Some(path) = &services.access_log else { return Vec::new() };
    let mut fields = json!({
        "time": "%START_TIME%",
        "from": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "caller": "%DOWNSTREAM_PEER_URI_SAN%",
        "to": "%DOWNSTREAM_LOCAL_ADDRESS%",
        "cluster": "%UPSTREAM_CLUSTER_RAW%",
        "gateway": "%UPSTREAM_REMOTE_ADDRESS%",
        "peer": "%UPSTREAM_PEER_URI_SAN%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "trouble": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "received": "%BYTES_RECEIVED%",
        "sent": "%BYTES_SENT%",
        "took_ms": "%DURATION%",
    });
    if let (Value::Object(fields), Value::Object(own)) = (&mut fields, own) {
        fields.extend(own);
    }
    let format = json!({"json_format": fields});
    // Where that is the journal's socket, it cannot be opened: it is there to be written to.
    let (name, logger) = if path.as_path() == Path::new("/dev/stdout") {
        let kind = format!("{TYPES}.stream.v3.StdoutAccessLog");
        (STDOUT, json!({"@type": kind, "log_format": format}))
    } else {
        let kind = format!("{TYPES}.file.v3.FileAccessLog");
        (FILE, json!({"@type": kind, "path": path, "log_format": format}))
    };
    vec![AccessLog {
        name: name.to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(typed(&logger))),
        ..AccessLog::default()
    }]
}

const FILE: &str = "envoy.access_loggers.file";
const STDOUT: &str = "envoy.access_loggers.stdout";
const TYPES: &str = "type.googleapis.com/envoy.extensions.access_loggers";
