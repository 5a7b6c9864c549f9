//! `hawser dns table`: the names of the mesh, as many as there are.

use std::io::{self, BufRead as _, BufWriter, Write};

use clap::Args;
use serde::Deserialize;

use crate::cli::{
    Context, Exit,
    ask::{self, Said},
    complain, say,
};

/// List the names of the mesh
///
/// Ends with 0 if there are any, 1 if there are none, 3 if nobody answers.
#[derive(Debug, Args)]
pub(in crate::cli) struct Table {
    /// A part of a name, the end of one (.svc.cluster.local), or an address
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// As JSON: an array, one entry a line
    #[arg(long)]
    json: bool,
}

/// An entry, as the agent tells it.
#[derive(Debug, Deserialize)]
struct Row {
    host: String,
    registry: String,
    addresses: Vec<String>,
    aliases: Vec<String>,
}

/// How a list ended.
enum Ended {
    /// With so many entries.
    Whole(usize),
    /// Nobody reads it on.
    Unread,
}

impl Table {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let filter = self.filter.as_deref().map(ask::escaped);
        let path = filter.map_or("/dns/table".to_owned(), |it| format!("/dns/table?filter={it}"));
        let said = match Said::ask(&context.paths.admin_socket(), &path) {
            Ok(said) => said,
            Err(error) => return ask::no_answer(&context.paths, &error),
        };
        if said.status != 200 {
            complain(format_args!("hawser: {}", said.text().unwrap_or_default().trim_end()));
            return Exit::Failed;
        }
        match self.list(said) {
            Ok(Ended::Whole(0)) => {
                if !self.json {
                    complain("hawser: no name of the mesh is like that");
                }
                Exit::Failed
            }
            Ok(Ended::Whole(count)) => {
                if !self.json {
                    say(format_args!("{count} hosts"));
                }
                Exit::Ok
            }
            Ok(Ended::Unread) => Exit::Ok,
            Err(error) => {
                complain(format_args!("hawser: the list breaks off: {error}"));
                Exit::Failed
            }
        }
    }

    /// Passes every line on as it comes.
    fn list(&self, said: Said) -> io::Result<Ended> {
        let mut screen = BufWriter::new(io::stdout().lock());
        let mut count = 0;
        for line in said.body.lines() {
            let line = line?;
            let entry = line.trim_end_matches(',');
            count += usize::from(entry.starts_with('{'));
            let shown = if self.json {
                writeln!(screen, "{line}")
            } else if entry.starts_with('{') {
                let row: Row = serde_json::from_str(entry)?;
                write_row(&mut screen, &row)
            } else {
                Ok(())
            };
            if shown.is_err() {
                return Ok(Ended::Unread);
            }
            if line == "]" {
                return Ok(if screen.flush().is_ok() {
                    Ended::Whole(count)
                } else {
                    Ended::Unread
                });
            }
        }
        drop(screen.flush());
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn write_row(screen: &mut impl Write, row: &Row) -> io::Result<()> {
    let addresses = match row.addresses.as_slice() {
        [] => "no address".to_owned(),
        some => some.join(" "),
    };
    writeln!(screen, "{:<52} {addresses}", row.host)?;
    if !row.aliases.is_empty() {
        writeln!(screen, "    also {}", row.aliases.join(" "))?;
    }
    if row.registry != "Kubernetes" {
        writeln!(screen, "    from {}", row.registry)?;
    }
    Ok(())
}
