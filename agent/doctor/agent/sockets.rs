//! The agent's sockets: there, open to whom they are for, and listened at.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use tokio::{net::UnixStream, time::timeout};

use super::{
    super::{Finding, Patient},
    restart,
};

/// All of them.
pub(super) async fn look(patient: &Patient) -> Finding {
    let paths = &patient.paths;
    let mut sockets = vec![(paths.sds_socket(), ANYBODY)];
    if patient.snapshot.as_ref().is_some_and(|snapshot| snapshot.relay.is_some()) {
        sockets.push((paths.xds_socket(), ANYBODY));
    }
    for (path, mode) in &sockets {
        if let Some(wrong) = wrong(patient, path, *mode).await {
            return wrong;
        }
    }
    let admin = paths.admin_socket();
    if mode(&admin).is_ok_and(|mode| mode & OTHERS != 0) {
        return Finding::warning(
            format!("{} can be opened by everybody", admin.display()),
            format!("`chmod 660 {}`, and see who has changed that", admin.display()),
        )
        .because("it tells what the agent knows, to its own user, its group and root");
    }
    let names: Vec<_> = sockets.iter().filter_map(|(path, _)| path.file_name()).collect();
    let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    let seen = if patient.is_root { "are there and listened at" } else { "are there" };
    Finding::ok(format!("{} {seen}", names.join(" and ")))
}

async fn wrong(patient: &Patient, path: &Path, wanted: u32) -> Option<Finding> {
    let at = path.display();
    let mode = match mode(path) {
        Ok(mode) => mode,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(
                Finding::failed(format!("{at} is not there"), restart(patient))
                    .because("somebody has removed it; the agent makes it anew when it sees that"),
            );
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Some(Finding::unknown(patient.unseen(&at.to_string(), &error)));
        }
        Err(error) => {
            return Some(Finding::failed(format!("{at}: {error}"), restart(patient)));
        }
    };
    if mode & wanted != wanted {
        return Some(
            Finding::failed(
                format!("{at} has mode {:o}, expected {wanted:o}", mode & 0o777),
                format!("`chmod {wanted:o} {at}`, and see who has changed that"),
            )
            .because("Envoy may not connect there; who it is, the agent sees by itself"),
        );
    }
    // A stranger that tries is counted as one.
    if !patient.is_root {
        return None;
    }
    let error = match timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => error,
        Err(_late) => io::ErrorKind::TimedOut.into(),
    };
    Some(
        Finding::failed(format!("{at} takes no connection: {error}"), restart(patient))
            .because("nobody listens behind the file"),
    )
}

/// Of a socket; anything else is an error.
fn mode(path: &Path) -> io::Result<u32> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        return Err(io::Error::other("this is no socket"));
    }
    Ok(found.permissions().mode())
}

const ANYBODY: u32 = 0o666;
const OTHERS: u32 = 0o007;
const PATIENCE: Duration = Duration::from_secs(2);
