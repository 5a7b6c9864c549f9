//! A program of the machine, with metrics or pages of all kinds.

use std::net::Ipv4Addr;

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A program that answers each request on a connection of its own.
pub(super) struct Program {
    port: u16,
    _serving: JoinSet<()>,
}

/// What is answered.
pub(super) struct Said {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) then: Then,
}

/// What follows it.
#[derive(Clone, Copy)]
pub(super) enum Then {
    Ends,
    Hangs,
}

impl Said {
    /// All of it, of a kind.
    pub(super) fn whole(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
        Self { head, body: body.into(), then: Then::Ends }
    }

    /// Half of it.
    pub(super) fn half(body: &str, then: Then) -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9999\r\n\r\n";
        Self { head: head.to_owned(), body: body.into(), then }
    }

    /// Nothing but a status.
    pub(super) fn status(status: &str) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        Self { head, body: Vec::new(), then: Then::Ends }
    }
}

impl Program {
    /// Answers by the head of the request, in lower case.
    pub(super) async fn start(
        answer: impl Fn(&str) -> Said + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let Ok(head) = head(&mut stream).await else { continue };
                let Said { head, body, then } = answer(&head);
                // Whoever asks may have gone.
                stream.write_all(head.as_bytes()).await.ok();
                stream.write_all(&body).await.ok();
                if let Then::Hangs = then {
                    open.push(stream);
                }
            }
        });
        Ok(Self { port, _serving: serving })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A page that is there, and others that are not.
    pub(super) fn page(head: &str) -> Said {
        match head.starts_with("get /well ") {
            true => Said::whole("text/plain", "fine"),
            false => Said::status("404 Not Found"),
        }
    }
}

async fn head(stream: &mut TcpStream) -> Result<String> {
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet).await?;
        head.extend(octet);
    }
    Ok(String::from_utf8(head)?.to_ascii_lowercase())
}
