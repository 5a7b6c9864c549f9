//! `hawser completions`: what a shell needs to complete the words of the command line.

use std::io::Write as _;

use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_complete::{generate, shells};

use super::{Cli, Context, Exit};

/// Print what a shell needs to complete commands
///
/// The packages install it for bash, zsh and fish; this is for elvish, for programs that came
/// without a package, and for a shell of one's own.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  . <(hawser completions bash)\n  \
                  hawser completions elvish >~/.config/elvish/lib/hawser.elv")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
}

impl Completions {
    pub(super) fn run(&self, _context: &Context) -> Exit {
        let script = self.shell.script();
        match std::io::stdout().lock().write_all(&script) {
            Ok(()) => Exit::Ok,
            // Whoever asked has gone.
            Err(_) => Exit::Failed,
        }
    }
}

impl Shell {
    fn script(self) -> Vec<u8> {
        let mut command = offered(&Cli::command());
        let mut script = Vec::new();
        match self {
            Self::Bash => generate(shells::Bash, &mut command, "hawser", &mut script),
            Self::Zsh => generate(shells::Zsh, &mut command, "hawser", &mut script),
            Self::Fish => generate(shells::Fish, &mut command, "hawser", &mut script),
            Self::Elvish => generate(shells::Elvish, &mut command, "hawser", &mut script),
        }
        script
    }
}

/// The command without what units and packages say to it, which the shells would offer too.
fn offered(command: &Command) -> Command {
    let mut shown = Command::new(command.get_name().to_owned()).disable_help_subcommand(true);
    shown = match command.get_about() {
        Some(about) => shown.about(about.clone()),
        None => shown,
    };
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown = shown.args(arguments.cloned());
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    shown.subcommands(below.map(offered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_offered_what_people_type_and_not_what_units_do() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(shell.script()).unwrap();

            for word in ["status", "wait-ready", "identity", "renew"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
            for word in ["manual", "after-guard"] {
                assert!(!script.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
