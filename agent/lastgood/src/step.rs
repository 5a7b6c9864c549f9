//! Between any two changes on disk the process may end; tests have it end there.

/// Before each change.
#[cfg(not(test))]
pub(crate) fn step() {}

#[cfg(test)]
pub(crate) use killer::step;

#[cfg(test)]
pub(crate) mod killer;
