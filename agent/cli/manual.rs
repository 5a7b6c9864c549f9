//! `hawser manual`: the manual pages, as packages hold them.
//!
//! A page is made of what `--help` says, hawser.toml(5) of the table of settings, and
//! hawser-services(5) of the schema: what is in the manual is said nowhere else. What people read
//! beyond that is in `manual/overview.txt`.

mod page;
mod services;
mod settings;
mod text;

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory as _};

use super::{Cli, Context, Exit, complain};

/// Write the manual pages to a directory
#[derive(Debug, Args)]
pub(super) struct Manual {
    /// The directory; made if it is not there
    directory: PathBuf,
    /// The date on the pages: that of the sources
    #[arg(long, value_name = "YYYY-MM-DD", default_value = "")]
    date: String,
}

/// A page, and the name of its file.
#[derive(Debug)]
struct Page {
    file: String,
    text: Vec<u8>,
}

impl Manual {
    pub(super) fn run(&self, _context: &Context) -> Exit {
        let written = pages(&self.date).and_then(|pages| write(&self.directory, &pages));
        match written {
            Ok(()) => Exit::Ok,
            Err(error) => {
                let directory = self.directory.display();
                complain(format_args!("hawser: write the manual to {directory}: {error}"));
                Exit::Failed
            }
        }
    }
}

/// All of them: one for each command that people are shown, and one for each file.
fn pages(date: &str) -> io::Result<Vec<Page>> {
    let mut command = Cli::command();
    command.build();
    let mut pages = vec![settings::page(date)?, services::page(date)?];
    page::of(&command, None, date, &mut pages)?;
    Ok(pages)
}

fn write(directory: &Path, pages: &[Page]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for page in pages {
        hawser_state::write_file(&directory.join(&page.file), 0o644, &page.text)
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// What stands after the pages of commands, and nowhere else.
const OVERVIEW: &str = include_str!("manual/overview.txt");

#[cfg(test)]
mod tests;
