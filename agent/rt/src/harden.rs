//! What keeps the memory of a process with keys in it to that process.

use std::io;

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
};

/// Makes a crash leave no memory behind: no core file, nothing piped to a crash handler, and no
/// debugger of the same user attached. For the rest of the process' life; the limit is passed on
/// to its children.
///
/// Both are needed: a limit of zero still runs a crash handler that the kernel was told to pipe
/// to (`core_pattern` with `|`), and a process that cannot be dumped is not handed to it.
pub fn no_core_dumps() -> io::Result<()> {
    let dumpable = prctl::set_dumpable(false);
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(dumpable?)
}
