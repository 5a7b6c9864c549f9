//! What Envoy has, from its admin interface; and what it was started with.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use hawser_envoy::{
    admin::Admin,
    launch::Launch,
    unit::{self, Unit},
};
use hawser_rt::Chain;

use super::piece::{Content, Piece, Raw};
use crate::{
    cli::Context,
    config::{Config, source},
};

pub(super) async fn pieces(context: &Context) -> Vec<Piece> {
    let mut pieces = vec![bootstrap(context)];
    let admin = admin(context);
    for (path, name, what) in JSON {
        let content = match admin {
            Some(admin) => json(admin, path).await,
            None => Err(UNKNOWN.to_owned()),
        };
        pieces.push(Piece { name, what, content });
    }
    for (path, name, what) in TEXT {
        let raw = match admin {
            Some(admin) => text(admin, path).await,
            None => Err(UNKNOWN.to_owned()),
        };
        pieces.push(Piece::text(name, what, raw));
    }
    pieces
}

fn bootstrap(context: &Context) -> Piece {
    let path = context.paths.bootstrap();
    let read = File::open(&path).and_then(|file| Content::json(&mut file.take(MOST)));
    Piece {
        name: "envoy/bootstrap.json",
        what: "what Envoy is started with",
        content: read.map_err(|error| format!("{}: {error}", path.display())),
    }
}

/// Where Envoy can be asked: where the one that runs was told to listen, or the next one will be.
fn admin(context: &Context) -> Option<Admin> {
    let paths = &context.paths;
    let started = Unit::under(paths.root()).started().map(|started| started.launch);
    let launch = started.or_else(|| unit::read::<Launch>(&Launch::path(&paths.run())));
    let address = launch.map(|launch| launch.admin).or_else(|| {
        let sources = source::read(paths, &context.environment, &context.flags);
        let config = Config::load(paths, &sources).ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, config.envoy.admin_port)))
    })?;
    Some(Admin::new(address).with_limit(PATIENCE))
}

async fn json(admin: Admin, path: &str) -> Result<Content, String> {
    let read = admin.read(path, |mut answer| Content::json(&mut answer)).await;
    read.map_err(|error| Chain(&error).to_string())?.map_err(|error| error.to_string())
}

async fn text(admin: Admin, path: &str) -> Result<Raw, String> {
    let read = admin.read(path, |answer| {
        let mut bytes = Vec::new();
        answer.take(MOST).read_to_end(&mut bytes)?;
        let cut = bytes.len() as u64 == MOST;
        Ok::<_, io::Error>(Raw { bytes, cut })
    });
    read.await.map_err(|error| Chain(&error).to_string())?.map_err(|error| error.to_string())
}

const JSON: [(&str, &str, &str); 2] = [
    ("/server_info", "envoy/server_info.json", "Envoy's version, state and options"),
    ("/config_dump", "envoy/config_dump.json", "the configuration that Envoy has"),
];
const TEXT: [(&str, &str, &str); 2] = [
    ("/clusters", "envoy/clusters.txt", "endpoints, and how they do"),
    ("/stats?usedonly", "envoy/stats.txt", "what Envoy has counted"),
];
const UNKNOWN: &str = "where Envoy's admin interface is cannot be said: the configuration is wrong";
const PATIENCE: Duration = Duration::from_secs(5);
const MOST: u64 = 4 << 20;
