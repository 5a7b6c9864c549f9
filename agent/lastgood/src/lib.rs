//! The last configuration that Envoy took, on disk.
