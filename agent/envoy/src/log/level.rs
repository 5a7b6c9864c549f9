//! What a line of Envoy's is: how loud, of its own log or of an access log (pure).
//!
//! Its own log comes in three shapes: the one that it has until it has read its bootstrap, and the
//! two that the bootstrap gives it.

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Trace and debug.
    Debug,
    /// As it goes.
    Info,
    /// Not as it should be.
    Warning,
    /// Something failed.
    Error,
    /// It ends.
    Critical,
}

impl Level {
    /// The number that syslog has for it.
    pub fn priority(self) -> u8 {
        match self {
            Self::Debug => 7,
            Self::Info => 6,
            Self::Warning => 4,
            Self::Error => 3,
            Self::Critical => 2,
        }
    }

    /// Whether something has failed.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Error | Self::Critical)
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "trace" | "debug" => Self::Debug,
            "info" => Self::Info,
            "warning" | "warn" => Self::Warning,
            "error" => Self::Error,
            "critical" => Self::Critical,
            _ => return None,
        })
    }
}

/// How loud a line of Envoy's own log is; none if it is not one.
pub fn of(line: &str) -> Option<Level> {
    parts(line).map(|(level, _)| level)
}

/// What a line says, without when and where.
pub fn message(line: &str) -> &str {
    parts(line).map_or(line, |(_, message)| message)
}

/// Whether it is of an access log, as far as that can be seen: Envoy's own default begins with the
/// time of the request, and JSON without a level is nothing that Envoy says of itself.
pub fn is_access(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line.get(..BEGINNING).unwrap_or(line));
    let stamped = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let stamped = stamped.is_some_and(|(time, _)| time.contains('T') && time.ends_with('Z'));
    stamped || line.starts_with('{') && !line.contains("\"level\"")
}

fn parts(line: &str) -> Option<(Level, &str)> {
    bracketed(line).or_else(|| tabbed(line)).or_else(|| json(line))
}

/// `[2026-11-21 14:26:55.617][14562][warning][main] [source/server/server.cc:1059] message`.
fn bracketed(line: &str) -> Option<(Level, &str)> {
    let (time, rest) = line.strip_prefix('[')?.split_once("][")?;
    let (thread, rest) = rest.split_once("][")?;
    let (level, rest) = rest.split_once("][")?;
    let digits = |c: char| c.is_ascii_digit() || "-:. ".contains(c);
    if time.is_empty() || !time.chars().all(digits) || thread.parse::<u64>().is_err() {
        return None;
    }
    let message = rest.split_once("] ").map_or(rest, |(_logger, rest)| rest);
    let message = message.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    Some((Level::named(level)?, message.map_or(rest, |(_place, message)| message)))
}

/// `2026-11-21T14:26:55.617Z`, level, where, message and thread, with tabs between them.
fn tabbed(line: &str) -> Option<(Level, &str)> {
    let (time, rest) = line.split_once('\t')?;
    let (level, rest) = rest.split_once('\t')?;
    let (place, message) = rest.split_once('\t')?;
    let stamped = time.starts_with(|c: char| c.is_ascii_digit()) && time.contains('T');
    if !stamped || !place.starts_with("envoy ") {
        return None;
    }
    let message = message.rsplit_once("\tthread=").map_or(message, |(message, _)| message);
    Some((Level::named(level)?, message.trim_end()))
}

/// One object, of which only the level is of interest.
fn json(line: &str) -> Option<(Level, &str)> {
    let rest = line.trim_start().strip_prefix('{')?;
    let (_, rest) = rest.split_once("\"level\":")?;
    let (level, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
    Some((Level::named(level)?, line))
}

const BEGINNING: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_loud_as_it_says_whatever_its_shape() {
        let table = [
            (
                "[2026-11-21 14:26:55.617][14562][warning][main] [source/server/server.cc:1059] There is no limit",
                Some((Level::Warning, "There is no limit")),
            ),
            (
                "2026-11-21T14:26:55.617000Z\terror\tenvoy config source/a.cc:1\tgRPC [x] update\trejected\tthread=7\n",
                Some((Level::Error, "gRPC [x] update\trejected")),
            ),
            (
                r#"{"time":"2026-11-21T14:26:55Z","level":"critical","msg":"out"}"#,
                Some((
                    Level::Critical,
                    r#"{"time":"2026-11-21T14:26:55Z","level":"critical","msg":"out"}"#,
                )),
            ),
            (r#"[2026-11-21T14:26:57.476Z] "GET /x][1][error][x] HTTP/1.1" 200"#, None),
            ("terminate called after throwing", None),
            ("a\terror\tenvoy b\tc", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(parts(line), expected, "{line}");
        }
    }

    #[test]
    fn access_logs_are_told_from_what_envoy_says() {
        let table: [(&[u8], bool); 5] = [
            (br#"[2026-11-21T14:26:57.476Z] "GET /x HTTP/1.1" 200"#, true),
            (br#"{"start_time":"2026-11-21T14:26:57.476Z","path":"/x"}"#, true),
            (br#"{"time":"2026-11-21T14:26:55Z","level":"info"}"#, false),
            (b"[2026-11-21 14:26:55.617][1][info][main] [a.cc:1] x", false),
            (b"terminate called", false),
        ];
        for (line, expected) in table {
            assert_eq!(is_access(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }
}
