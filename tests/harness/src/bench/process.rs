//! A program that is measured; it ends when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use crate::agent::Agent;

/// What of its log is told.
const TAIL: usize = 2000;

/// A program that runs.
#[derive(Debug)]
pub enum Process {
    /// Our agent, which is ready.
    Agent(Box<Agent>),
    /// Another one, and what it prints.
    Other(Box<Child>, PathBuf),
}

impl From<Agent> for Process {
    fn from(agent: Agent) -> Self {
        Self::Agent(Box::new(agent))
    }
}

impl Process {
    /// Starts another program; what it prints goes to a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self::Other(Box::new(child), log.to_owned()))
    }

    /// Its number.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<i32> {
        match self {
            Self::Agent(agent) => Ok(agent.pid()),
            Self::Other(child, _) => Ok(i32::try_from(child.id().context("it has ended")?)?),
        }
    }

    /// Whether it still runs, as far as it was started here.
    ///
    /// # Errors
    /// When it has ended; the text says what it printed last.
    pub fn runs(&mut self) -> Result<()> {
        if let Self::Other(child, log) = self
            && let Some(status) = child.try_wait()?
        {
            let log = fs::read_to_string(log).unwrap_or_default();
            let end = log.get(log.len().saturating_sub(TAIL)..).unwrap_or_default();
            bail!("it ended with {status}: {end}");
        }
        Ok(())
    }

    /// Ends it, and waits until it has.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(self) -> Result<()> {
        match self {
            Self::Agent(mut agent) => {
                agent.terminate().await?;
            }
            Self::Other(mut child, _) => child.kill().await.context("end a program")?,
        }
        Ok(())
    }
}
