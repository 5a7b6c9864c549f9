//! Configuration cut to what an Envoy can load.
