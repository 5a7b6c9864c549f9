//! Wasm modules: fetched, verified, kept, and put in the place of their addresses.
