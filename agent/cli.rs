//! The command line: what was typed, which command it is, and how that ends.

pub(crate) mod ask;
mod bugreport;
mod check;
mod completions;
mod config;
mod dns;
mod doctor;
mod drain;
mod envoy;
mod explain;
mod identity;
mod intercept;
mod join;
mod laptop;
mod leave;
mod loglevel;
mod maintenance;
mod manual;
mod pilot;
mod run;
mod services;
pub(crate) mod span;
mod status;
mod version;
mod xds;

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

use crate::config::{
    paths::Paths,
    problem::Problems,
    source::{Environment, Flag, ROOT_VARIABLE},
};

/// How a command ended. The numbers are those of sysexits.h where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// It could not be done.
    Failed = 1,
    /// Nobody answers.
    Down = 3,
    /// The command line is wrong.
    Usage = 64,
    /// Not at this time: another agent runs here, or the machine is not ready yet.
    NotNow = 75,
    /// The configuration is wrong: trying again will not help, so systemd does not.
    Config = 78,
}

/// Runs the command that was typed.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if pilot::is_meant(&arguments) {
        return pilot::main(arguments);
    }
    ExitCode::from(run(arguments, Vec::new()) as u8)
}

/// Runs a command, with settings that are said beside it.
fn run(arguments: impl IntoIterator<Item = OsString>, flags: Vec<Flag>) -> Exit {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => {
            let mut context = Context::of(cli.common);
            context.flags.extend(flags);
            cli.command.run(&context)
        }
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nothing is left to say it to when standard output is closed.
            drop(error.print());
            if asked { Exit::Ok } else { Exit::Usage }
        }
    }
}

#[derive(Debug, Parser)]
#[command(
    name = "hawser",
    version,
    about = "Ties a virtual machine to an Istio mesh",
    long_about = "Ties a virtual machine to an Istio mesh: proves who the machine is, keeps its \
                  certificate fresh, serves certificates and configuration to a local Envoy, and \
                  answers DNS for mesh names.",
    after_help = "A machine joins with `hawser join BUNDLE`, and leaves with `hawser leave`.\n\
                  Exit codes: 0 done, 1 failed, 3 not running, 64 wrong usage, 75 not now, \
                  78 wrong configuration.",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// Keep all files, state and sockets under DIR [environment: HAWSER_ROOT]
    #[arg(long, value_name = "DIR", global = true)]
    root: Option<PathBuf>,
    /// Set one setting; stronger than every file and variable
    #[arg(long, value_name = "KEY=VALUE", global = true, value_parser = pair)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Join(join::Join),
    Leave(leave::Leave),
    Run(run::Run),
    Laptop(laptop::Laptop),
    Check(check::Check),
    Config(config::Show),
    Status(status::Status),
    Doctor(doctor::Doctor),
    Explain(explain::Explain),
    Bugreport(bugreport::Bugreport),
    Maintenance(maintenance::Maintenance),
    Drain(drain::Drain),
    Log(loglevel::LogLevel),
    Dns(dns::Dns),
    Envoy(envoy::Envoy),
    Identity(identity::Identity),
    Intercept(intercept::Intercept),
    Services(services::Services),
    Xds(xds::Xds),
    Completions(completions::Completions),
    #[command(hide = true)]
    Manual(manual::Manual),
    Version(version::Version),
}

impl Command {
    fn run(self, context: &Context) -> Exit {
        match self {
            Self::Join(join) => join.run(context),
            Self::Leave(leave) => leave.run(context),
            Self::Run(run) => run.run(context),
            Self::Laptop(laptop) => laptop.run(context),
            Self::Check(check) => check.run(context),
            Self::Config(show) => show.run(context),
            Self::Status(status) => status.run(context),
            Self::Doctor(doctor) => doctor.run(context),
            Self::Explain(explain) => explain.run(context),
            Self::Bugreport(report) => report.run(context),
            Self::Maintenance(maintenance) => maintenance.run(context),
            Self::Drain(drain) => drain.run(context),
            Self::Log(level) => level.run(context),
            Self::Dns(dns) => dns.run(context),
            Self::Envoy(envoy) => envoy.run(context),
            Self::Identity(identity) => identity.run(context),
            Self::Intercept(intercept) => intercept.run(context),
            Self::Services(services) => services.run(context),
            Self::Xds(xds) => xds.run(context),
            Self::Completions(completions) => completions.run(context),
            Self::Manual(manual) => manual.run(context),
            Self::Version(version) => version.run(),
        }
    }
}

/// What every command is given: where things are, and what was said outside of files.
#[derive(Debug, Clone)]
struct Context {
    paths: Paths,
    environment: Environment,
    flags: Vec<Flag>,
}

impl Context {
    fn of(common: Common) -> Self {
        let environment = Environment::of_process();
        let root = common.root.or_else(|| environment.get(ROOT_VARIABLE).map(PathBuf::from));
        let root = root.map(|root| std::path::absolute(&root).unwrap_or(root));
        let flag = |(key, value)| Flag { name: "--set", key, value };
        Self {
            paths: Paths::under(root.unwrap_or_else(|| PathBuf::from("/"))),
            environment,
            flags: common.set.into_iter().map(flag).collect(),
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A line for the one who typed the command. A closed pipe is not our trouble.
fn say(line: impl std::fmt::Display) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// A line about what went wrong.
fn complain(line: impl std::fmt::Display) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Every problem on a line of its own, and how many there were.
fn complain_of(problems: &Problems) -> Exit {
    for problem in &problems.0 {
        complain(format_args!("hawser: {problem}"));
    }
    if problems.0.len() > 1 {
        complain(format_args!("hawser: {} problems", problems.0.len()));
    }
    Exit::Config
}
