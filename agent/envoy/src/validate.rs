//! Asks an Envoy binary whether it would start with a bootstrap.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{io::AsyncReadExt, process::Command, time::timeout};

use crate::{Error, supervise::unstartable};

/// Runs `binary` in its validation mode on the file `bootstrap`. Nothing is listened on.
pub async fn bootstrap(binary: &Path, bootstrap: &Path) -> Result<(), Error> {
    let asked = timeout(LIMIT, ask(binary, bootstrap)).await;
    let complaint = asked.unwrap_or_else(|_elapsed| {
        let (binary, bootstrap) = (binary.to_owned(), bootstrap.to_owned());
        Err(Error::Undecided { binary, bootstrap, limit: LIMIT })
    })?;
    match complaint {
        None => Ok(()),
        Some(complaint) => {
            let (binary, bootstrap) = (binary.to_owned(), bootstrap.to_owned());
            Err(Error::Refused { binary, bootstrap, complaint })
        }
    }
}

/// What Envoy has to say against it.
async fn ask(binary: &Path, bootstrap: &Path) -> Result<Option<String>, Error> {
    let mut command = Command::new(binary);
    command.args(["--mode", "validate", "--allow-unknown-static-fields", "-l", "critical", "-c"]);
    command.arg(bootstrap).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut envoy = command.spawn().map_err(|source| unstartable(binary.to_owned(), source))?;
    let mut complaint = Vec::new();
    if let Some(stderr) = envoy.stderr.take() {
        let read = stderr.take(MAX_COMPLAINT).read_to_end(&mut complaint).await;
        read.map_err(|source| Error::Wait { source })?;
    }
    let status = envoy.wait().await.map_err(|source| Error::Wait { source })?;
    if status.success() {
        return Ok(None);
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let words: Vec<_> = complaint.split_whitespace().collect();
    Ok(Some(if words.is_empty() { "it does not say why".to_owned() } else { words.join(" ") }))
}

const LIMIT: Duration = Duration::from_secs(60);
/// How much of Envoy's complaint is read.
const MAX_COMPLAINT: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_binary_decides() {
        let file = Path::new("/bootstrap.json");

        bootstrap(Path::new("/bin/true"), file).await.unwrap();
        let refused = bootstrap(Path::new("/bin/false"), file).await.unwrap_err();
        let missing = bootstrap(Path::new("/no/envoy"), file).await.unwrap_err();

        assert_eq!(
            refused.to_string(),
            "/bin/false does not accept /bootstrap.json: it does not say why"
        );
        assert!(missing.to_string().starts_with("there is no Envoy at /no/envoy"), "{missing}");
    }
}
