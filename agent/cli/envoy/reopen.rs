//! `hawser envoy reopen`: for whoever has moved the files that Envoy writes.

use clap::Args;
use hawser_envoy::admin::Admin;
use hawser_rt::Chain;

use super::{Context, Exit, complain, known, runtime};

/// Have Envoy open its log files anew, after they were moved
///
/// For access logs in files, as the mesh wants them. What goes to envoy.log is looked after without
/// being told.
#[derive(Debug, Args)]
pub(super) struct Reopen {}

impl Reopen {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let (launch, runtime) = match (known(&context.paths), runtime()) {
            (Ok(launch), Ok(runtime)) => (launch, runtime),
            (Err(exit), _) | (_, Err(exit)) => return exit,
        };
        match runtime.block_on(Admin::new(launch.admin).post("/reopen_logs")) {
            Ok(_) => Exit::Ok,
            Err(error) => {
                complain(format_args!("hawser: {}", Chain(&error)));
                Exit::Down
            }
        }
    }
}
