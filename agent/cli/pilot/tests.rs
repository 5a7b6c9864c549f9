//! What of a command line is heeded, and what it comes to.

use clap::ArgMatches;

use super::{
    flags::{Means, Word, known},
    *,
};

fn parsed(line: &str) -> Result<ArgMatches, String> {
    let line = line.split(' ').map(str::to_owned).collect();
    let command = command();
    let known = known(line, &command);
    command.try_get_matches_from(known).map_err(|error| error.to_string())
}

#[test]
fn unknown_flags_are_passed_over_before_a_command_and_behind_proxy() {
    let cases = [
        (
            "pilot-agent proxy sidecar --nonsense=1 --domain x",
            "pilot-agent proxy sidecar --domain x",
        ),
        ("pilot-agent --nonsense proxy --stranger 1 --domain=x", "pilot-agent --domain=x"),
        ("pilot-agent proxy -x --profiling --domain x", "pilot-agent proxy --profiling --domain x"),
        ("pilot-agent --nonsense=1 version -s", "pilot-agent version -s"),
        ("pilot-agent version --nonsense", "pilot-agent version --nonsense"),
        ("pilot-agent request GET /x --nonsense", "pilot-agent request GET /x --nonsense"),
    ];
    for (line, expected) in cases {
        let line = line.split(' ').map(str::to_owned).collect();
        assert_eq!(known(line, &command()).join(" "), expected);
    }
}

#[test]
fn every_command_takes_its_flags() {
    for line in [
        "pilot-agent",
        "pilot-agent proxy",
        "pilot-agent proxy sidecar --domain a.svc --proxyLogLevel=debug --concurrency 2 --log_output_level=default:debug",
        "pilot-agent request GET clusters --debug-port 15000",
        "pilot-agent request POST /logging?level=debug body",
        "pilot-agent wait --timeoutSeconds 5 --url http://localhost:15021/healthz/ready",
        "pilot-agent version -s",
        "pilot-agent version --short=false -o yaml",
        "pilot-agent istio-iptables -p 15001 -z 15006 -u 1337 -g 1337 -m REDIRECT -i * -x  -b * -d 15090,15021 -n",
        "pilot-agent istio-iptables --redirect-dns --capture-all-dns=false --cleanup-only",
    ] {
        assert!(parsed(line).is_ok(), "{line}: {:?}", parsed(line));
    }
    for line in
        ["pilot-agent nonsense", "pilot-agent version --nonsense", "pilot-agent request GET"]
    {
        assert!(parsed(line).is_err(), "{line}");
    }
}

#[test]
fn every_setting_that_a_flag_stands_for_is_one() {
    let known = |word: &&Word| match word.means {
        Means::Setting(key) => crate::config::setting::find(key).is_none(),
        _ => false,
    };
    let all = proxy::WORDS.iter().chain(&iptables::WORDS);
    let unknown: Vec<_> = all.filter(known).map(|word| word.long).collect();
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn levels_are_said_in_our_words() {
    let cases = [
        ("default:info,grpc:none", "info"),
        ("debug", "debug"),
        ("all:warn,dns:debug", "warn,dns=debug"),
        ("dns:none,xdsproxy:fatal", "dns=off,xds=error"),
        ("", ""),
    ];
    for (theirs, ours) in cases {
        assert_eq!(proxy::level(theirs), ours, "{theirs}");
    }
}

#[test]
fn the_name_that_the_program_is_called_by_decides() {
    let meant = |name: &str| is_meant(&[OsString::from(name), "version".into()]);
    assert!(meant("pilot-agent") && meant("/usr/local/bin/pilot-agent"));
    assert!(!meant("hawser") && !meant("/opt/pilot-agent/hawser") && !is_meant(&[]));
}
