//! Where administrators come in: the ports of this machine's own sshd.
//!
//! Whoever sends all that comes in to Envoy must not lock himself out, wherever sshd listens. What is
//! not understood is passed over: port 22 is spared anyhow.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::config::{paths::Paths, source::read_text};

/// Ports that are named in sshd's configuration, or in that of the socket that systemd holds for it.
pub(super) fn ports(paths: &Paths) -> Vec<u16> {
    let mut files = vec![paths.at(CONFIG)];
    files.extend(DIRECTORIES.iter().flat_map(|directory| parts(&paths.at(directory))));
    let texts = files.iter().filter_map(|file| read_text(file).ok());
    let found: BTreeSet<u16> = texts.flat_map(|text| named(&text)).collect();
    found.into_iter().collect()
}

fn parts(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let conf = |path: &PathBuf| path.extension().is_some_and(|is| is == "conf");
    entries.map(|entry| entry.path()).filter(conf).take(MAX_PARTS).collect()
}

/// Of one file: `Port 2222`, `ListenAddress [::]:2222`, `ListenStream=2222`.
fn named(text: &str) -> Vec<u16> {
    text.lines().filter_map(port).collect()
}

fn port(line: &str) -> Option<u16> {
    let line = line.trim();
    let (word, value) = line.split_once(|c: char| c.is_whitespace() || c == '=')?;
    let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    let value = value.split_whitespace().next()?.trim_matches('"');
    match word.to_ascii_lowercase().as_str() {
        "port" | "listenstream" if !value.contains(':') => value.parse().ok(),
        "listenaddress" | "listenstream" => {
            let (host, port) = value.rsplit_once(':')?;
            // `::1` has no port; `[::1]:2222` and `10.0.0.1:2222` have.
            let whole = !host.contains(':') || host.ends_with(']');
            port.parse().ok().filter(|_| whole)
        }
        _ => None,
    }
}

const CONFIG: &str = "/etc/ssh/sshd_config";
const DIRECTORIES: [&str; 4] = [
    "/etc/ssh/sshd_config.d",
    "/etc/systemd/system/ssh.socket.d",
    "/etc/systemd/system/sshd.socket.d",
    "/run/systemd/generator/ssh.socket.d",
];
const MAX_PARTS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_as_sshd_and_systemd_read_it() {
        let table: [(&str, &[u16]); 12] = [
            ("Port 2222", &[2222]),
            ("  port=2222 # ours", &[2222]),
            ("PORT = \"2222\"", &[2222]),
            ("#Port 2222", &[]),
            ("Port ssh", &[]),
            ("Port 22222222", &[]),
            ("ListenAddress 10.0.0.1:2200", &[2200]),
            ("ListenAddress [::]:2200", &[2200]),
            ("ListenAddress ::1", &[]),
            ("ListenAddress 0.0.0.0", &[]),
            (
                "[Socket]\nListenStream=\nListenStream=0.0.0.0:2022\nListenStream=[::]:2023",
                &[2022, 2023],
            ),
            ("[Socket]\nListenStream=2024\nListenStream=/run/ssh.sock", &[2024]),
        ];
        for (text, expected) in table {
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn all_files_are_read_and_none_needs_to_be_there() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path().to_owned());
        assert_eq!(ports(&paths), [0_u16; 0]);
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            hawser_state::write_file(&path, 0o600, text.as_bytes()).unwrap();
        };
        write("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nPort 22\nPort 2222\n");
        write("etc/ssh/sshd_config.d/50-cloud.conf", "Port 2223\n");
        write("etc/ssh/sshd_config.d/ignored.txt", "Port 2224\n");
        write("etc/systemd/system/ssh.socket.d/listen.conf", "[Socket]\nListenStream=2225\n");
        assert_eq!(ports(&paths), [22, 2222, 2223, 2225]);
    }
}
