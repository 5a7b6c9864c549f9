//! `hawser services show`: what can be called, by which address, and who has to answer.

use std::io::{self, BufRead as _, BufWriter, Write};

use clap::Args;
use hawser_services::Addresses;

use super::super::{Context, Exit, ask::Said, complain, complain_of};
use crate::{config::problem::Problems, status::services::ServiceRow};

/// Show the services of the file, how programs call them, and who has to answer
///
/// The running agent is asked, so that what is shown is in use. Where none answers, it is what the file
/// says: a host without an address will get one when the agent starts.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 shown, 1 there are none like that, 78 no agent has it in use, and the file is wrong.\n\n\
Examples:\n  hawser services show\n  hawser services show reviews\n  \
hawser services show --json | jq -r '.[].host'")]
pub(super) struct Show {
    /// A part of a host or of an alias
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// As JSON: an array, one service a line
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let rows = match in_use(context) {
            Some(rows) => rows,
            None => match said(context) {
                Ok(rows) => rows,
                Err(problems) => return complain_of(&problems),
            },
        };
        let wanted = self.filter.as_deref().unwrap_or_default().to_ascii_lowercase();
        let fits = |row: &&ServiceRow| {
            row.host.contains(&wanted) || row.aliases.iter().any(|alias| alias.contains(&wanted))
        };
        let rows: Vec<&ServiceRow> = rows.iter().filter(fits).collect();
        let mut screen = BufWriter::new(io::stdout().lock());
        let shown = if self.json { json(&mut screen, &rows) } else { list(&mut screen, &rows) };
        // Whoever does not read it on has seen enough.
        drop(shown.and_then(|()| screen.flush()));
        if rows.is_empty() {
            complain("hawser: there is no service like that");
            return Exit::Failed;
        }
        Exit::Ok
    }
}

/// What the running agent has; None if none answers, or it has no file.
fn in_use(context: &Context) -> Option<Vec<ServiceRow>> {
    let said = Said::ask(&context.paths.admin_socket(), "/services").ok()?;
    if said.status != 200 {
        return None;
    }
    let mut rows = Vec::new();
    for line in said.body.lines() {
        let line = line.ok()?;
        let row = line.trim_end_matches(',');
        if row.starts_with('{') {
            rows.push(serde_json::from_str(row).ok()?);
        }
    }
    Some(rows)
}

/// What the file says.
fn said(context: &Context) -> Result<Vec<ServiceRow>, Problems> {
    let file = super::file(context);
    let services = file.read().map_err(Problems)?;
    let path = file.wanted.settings.file.display();
    complain(format_args!("hawser: this is what {path} says; no agent that answers has it in use"));
    // Which addresses hosts have had is the agent's to know.
    let addresses = Addresses::default();
    let row = |service| ServiceRow::of(service, &services, &addresses);
    Ok(services.services.iter().map(row).collect())
}

fn json(screen: &mut impl Write, rows: &[&ServiceRow]) -> io::Result<()> {
    let mut before = "[\n";
    for row in rows {
        screen.write_all(before.as_bytes())?;
        serde_json::to_writer(&mut *screen, row)?;
        before = ",\n";
    }
    screen.write_all(if rows.is_empty() { b"[]\n" } else { b"\n]\n" })
}

fn list(screen: &mut impl Write, rows: &[&ServiceRow]) -> io::Result<()> {
    for row in rows {
        let called = format!("{}:{}", row.host, row.local_port);
        let address = row.address.map(|address| address.to_string()).unwrap_or_default();
        writeln!(screen, "{}", format!("{called:<52} {:<5} {address}", row.protocol).trim_end())?;
        writeln!(screen, "    answered by {}", row.identities.join(" or "))?;
        writeln!(screen, "    through {}, as {}", row.gateways.join(", "), row.sni)?;
        if !row.aliases.is_empty() {
            writeln!(screen, "    also {}", row.aliases.join(" "))?;
        }
    }
    Ok(())
}
