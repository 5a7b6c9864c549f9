//! `hawser identity export`: the certificate of the moment as files, once.

use std::path::PathBuf;

use clap::Args;
use hawser_rt::Chain;

use super::super::{Context, Exit, complain, complain_of, say};
use crate::config::{Config, accounts, parse, source};

/// Write key.pem, cert-chain.pem and root-cert.pem to a directory, as one set
///
/// The running agent is asked for them. To have them kept up to date, set export.directory.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The directory; it has to be there
    directory: PathBuf,
    /// Whose they are to be, by name or number
    #[arg(long, value_parser = user)]
    owner: Option<u32>,
    /// Their group, by name or number
    #[arg(long, value_parser = group)]
    group: Option<u32>,
    /// The mode of key.pem
    #[arg(long, default_value = "0600", value_parser = key_mode)]
    key_mode: u32,
    /// The mode of the other two
    #[arg(long, default_value = "0644", value_parser = mode)]
    mode: u32,
}

impl Export {
    pub(super) fn run(self, context: &Context) -> Exit {
        let sources = source::read(&context.paths, &context.environment, &context.flags);
        let config = match Config::load(&context.paths, &sources) {
            Ok(config) => config,
            Err(problems) => return complain_of(&problems),
        };
        match self.export(&config) {
            Ok(true) => {
                say(format_args!("exported to {}", self.directory.display()));
                Exit::Ok
            }
            Ok(false) => {
                say(format_args!("{} has them already", self.directory.display()));
                Exit::Ok
            }
            Err(error) => {
                complain(format_args!("hawser: {error}"));
                Exit::Failed
            }
        }
    }

    fn export(&self, config: &Config) -> Result<bool, String> {
        let socket = config.paths.sds_socket();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
        let fetched = runtime.block_on(hawser_identity::fetch(&socket));
        let identity = fetched.map_err(|error| Chain(&error).to_string())?;
        let options = hawser_export::Options {
            directory: std::path::absolute(&self.directory).map_err(|error| error.to_string())?,
            owner: self.owner,
            group: self.group,
            key_mode: self.key_mode,
            mode: self.mode,
            form: config.identity.form,
            command: None,
            stamp: None,
            spacing: std::time::Duration::ZERO,
        };
        hawser_export::switch(&options, &identity, &identity.roots)
            .map_err(|error| Chain(&error).to_string())
    }
}

fn user(text: &str) -> Result<u32, String> {
    accounts::user(text).ok_or_else(|| "no such user".to_owned())
}

fn group(text: &str) -> Result<u32, String> {
    accounts::group(text).ok_or_else(|| "no such group".to_owned())
}

fn mode(text: &str) -> Result<u32, String> {
    parse::mode(text).ok_or_else(|| "expected a mode such as 0644".to_owned())
}

fn key_mode(text: &str) -> Result<u32, String> {
    let expected = "expected a mode such as 0640, without a right for others";
    parse::key_mode(text).ok_or_else(|| expected.to_owned())
}
