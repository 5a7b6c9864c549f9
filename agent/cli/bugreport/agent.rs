//! What the agent says of itself, and what the doctor finds.

use std::{io::Read as _, time::Duration};

use super::{
    piece::{Content, Piece},
    program,
};
use crate::cli::{Context, ask::Said};

pub(super) async fn pieces(context: &Context) -> [Piece; 3] {
    [
        asked(context, "/status", "status.json", "what the agent says of itself"),
        asked(context, "/events", "events.jsonl", "the last events that the agent told of"),
        doctor(context).await,
    ]
}

fn asked(context: &Context, path: &str, name: &'static str, what: &'static str) -> Piece {
    let said = Said::ask(&context.paths.admin_socket(), path);
    let content = match said {
        Ok(mut said) if said.status == 200 => {
            Content::json(&mut said.body.by_ref()).map_err(|error| error.to_string())
        }
        Ok(said) => Err(format!("the agent answers {}", said.status)),
        Err(error) => Err(format!("the agent does not answer: {error}")),
    };
    Piece { name, what, content }
}

/// Another process: what hangs in a check hangs alone.
async fn doctor(context: &Context) -> Piece {
    let root = context.paths.root().to_string_lossy().into_owned();
    let mut arguments = vec!["--root".to_owned(), root];
    for flag in context.flags.iter().filter(|flag| flag.name == "--set") {
        arguments.extend(["--set".to_owned(), format!("{}={}", flag.key, flag.value)]);
    }
    arguments.extend(["doctor", "--json", "--offline"].map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = match std::env::current_exe() {
        Ok(program) => program::run(&program, &arguments, PATIENCE).await,
        Err(error) => Err(error.to_string()),
    };
    let content = said.and_then(|raw| {
        Content::json(&mut raw.bytes.as_slice()).map_err(|error| error.to_string())
    });
    Piece { name: "doctor.json", what: "what the doctor finds, offline", content }
}

/// It looks at some sixty things, and gives each its time.
const PATIENCE: Duration = Duration::from_secs(60);
