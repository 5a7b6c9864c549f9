//! The plainest proxy: what any agent is measured against.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

const BUFFER: usize = 64 * 1024;

pub(crate) async fn run(socket: &Path, to: SocketAddr) -> Result<()> {
    let listener = UnixListener::bind(socket);
    let listener = listener.with_context(|| format!("listen on {}", socket.display()))?;
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.context("accept")?;
        connections.spawn(copy(near, to));
        while connections.try_join_next().is_some() {}
    }
}

async fn copy(mut near: UnixStream, to: SocketAddr) -> Result<()> {
    let mut far = TcpStream::connect(to).await?;
    far.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await?;
    Ok(())
}
