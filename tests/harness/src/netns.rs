//! Networks of a test's own: namespaces of the kernel, joined by a cable.
//!
//! A thread that has entered one is in it with every socket that it opens, every thread and every
//! process that it starts. Needs root and `ip`.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

/// A network with a loopback interface and, once it is [joined](Net::join), a cable to another.
/// Removed when it is dropped.
#[derive(Debug)]
pub struct Net {
    name: String,
}

impl Net {
    /// Makes one; its name begins with `name` and is nobody else's.
    ///
    /// # Errors
    /// When this is not root, or there is no `ip`.
    pub fn new(name: &str) -> Result<Self> {
        let name = format!("hw-{name}-{}-{:x}", std::process::id(), fastrand::u16(..));
        ip(&["netns", "add", &name])?;
        let net = Self { name };
        net.ip(&["link", "set", "lo", "up"])?;
        Ok(net)
    }

    /// Lays a cable from here to there, and gives both ends an address of the same /24.
    ///
    /// # Errors
    /// When the kernel knows no such cables.
    pub fn join(&self, there: &Self, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
        let peer = ["peer", "name", CABLE, "netns", &there.name];
        ip(&[&["link", "add", CABLE, "netns", &self.name, "type", "veth"][..], &peer].concat())?;
        for (end, address) in [(self, from), (there, to)] {
            // No address but the one that is given to it.
            end.ip(&["link", "set", CABLE, "addrgenmode", "none"])?;
            end.ip(&["address", "add", &format!("{address}/24"), "dev", CABLE])?;
            end.ip(&["link", "set", CABLE, "up"])?;
        }
        Ok(())
    }

    /// Sends everything that is for nobody here to this address.
    ///
    /// # Errors
    /// When there is no way to it.
    pub fn gateway(&self, address: Ipv4Addr) -> Result<()> {
        self.ip(&["route", "add", "default", "via", &address.to_string()])
    }

    /// Takes the cable away, at both ends.
    ///
    /// # Errors
    /// When there is none.
    pub fn cut(&self) -> Result<()> {
        self.ip(&["link", "delete", CABLE])
    }

    /// Where it can be opened.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Brings this thread into it, for good.
    ///
    /// # Errors
    /// When it may not.
    pub fn enter(&self) -> Result<()> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", self.name))
    }

    fn ip(&self, args: &[&str]) -> Result<()> {
        ip(&[&["-n", self.name.as_str()], args].concat())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // What cannot be removed is in nobody's way.
        drop(ip(&["netns", "delete", &self.name]));
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output();
    let output = output.context("run ip; `tests/tools.sh` installs iproute2")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {} failed (it needs root): {told}", args.join(" "));
    Ok(())
}

/// What both ends of a cable are called.
const CABLE: &str = "cable0";
