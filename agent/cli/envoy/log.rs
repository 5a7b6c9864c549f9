//! `hawser envoy log`: the other end of the pipe that Envoy speaks into.

use std::io::{self, Write as _};

use clap::Args;
use hawser_envoy::{
    launch::LogTo,
    log::{self, Rest, Stream, file::Rotated},
    unit::{LastWords, Unit},
};
use nix::sys::signal::{SigSet, Signal};

use super::{Context, Exit, Voice, launch, to_the_journal};

/// Take what Envoy says, and put it where it belongs
#[derive(Debug, Args)]
pub(super) struct Log {
    /// The process of Envoy
    #[arg(long, value_name = "PID")]
    of: u32,
}

impl Log {
    pub(super) fn run(&self, context: &Context) -> Exit {
        // It ends after Envoy and not with it: what is said last is worth most. A hangup is for
        // those who have moved the file, which is noticed anyway.
        let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];
        SigSet::from_iter(signals).thread_block().ok();
        let unit = Unit::under(context.paths.root());
        let said = |rest: &Rest| {
            let Rest { last, dropped } = rest;
            let words = LastWords { pid: self.of, lines: last.clone(), dropped: *dropped };
            // Without them, an end is explained in fewer words.
            drop(unit.note_last_words(&words));
        };
        let stream = || Stream::new(io::stdout(), to_the_journal(&context.environment));
        let carried = match opened(context) {
            Some(file) => log::carry(io::stdin(), file, said),
            None => log::carry(io::stdin(), stream(), said),
        };
        match carried {
            Ok(_) => Exit::Ok,
            Err(error) => {
                drop(writeln!(io::stderr(), "hawser: what envoy says is lost: {error}"));
                Exit::Failed
            }
        }
    }
}

/// The file that is wanted, unless standard output is, or has to do.
fn opened(context: &Context) -> Option<Rotated> {
    let LogTo::File { path, size, keep } = launch(&context.paths)?.log else { return None };
    let opened = Rotated::open(&path, size, keep);
    if let Err(error) = &opened {
        Voice::of(&context.environment).warn(format_args!(
            "envoy.log: {} cannot be written, what envoy says goes here: {error}; in \
             hawser-envoy.service, other places than /var/log/istio need ReadWritePaths=",
            path.display()
        ));
    }
    opened.ok()
}
