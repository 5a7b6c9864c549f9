//! Sessions by tables.
