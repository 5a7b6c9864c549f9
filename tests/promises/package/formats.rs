//! The formats hold the same files, ask for nothing that they do not need, and please those who
//! judge packages.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{pack, packed};

#[test]
fn all_formats_hold_the_same_files_and_need_no_more_than_nftables() -> Result<()> {
    let directory = pack("formats", None, &["deb", "rpm", "tar", "sbom"])?;
    let (deb, rpm) = (packed(&directory, "deb")?, packed(&directory, "rpm")?);
    let tar = packed(&directory, "gz")?;

    let of_deb = files(&tool("dpkg-deb", &["--fsys-tarfile", &deb], "tar", &["-t"])?);
    let of_rpm = files(&run("rpm", &["-qpl", &rpm])?);
    let of_tar = files(&run("tar", &["-tzf", &tar])?);
    for path in [
        "/usr/bin/hawser",
        "/etc/hawser/hawser.toml",
        "/usr/lib/sysusers.d/hawser.conf",
        "/usr/lib/systemd/catalog/hawser.catalog",
        "/usr/lib/tmpfiles.d/hawser.conf",
        "/usr/share/man/man8/hawser.8.gz",
        "/usr/share/man/man8/hawser-status.8.gz",
        "/usr/share/man/man5/hawser.toml.5.gz",
        "/usr/share/bash-completion/completions/hawser",
        "/usr/share/fish/vendor_completions.d/hawser.fish",
        "/usr/share/doc/hawser/troubleshooting.md",
        "/usr/share/doc/hawser/alerts.yaml",
        "/usr/share/doc/hawser/dashboard.json",
        "/usr/share/doc/hawser/copyright",
    ] {
        ensure!(of_tar.contains(path), "{path} is missing: {of_tar:?}");
    }
    for unit in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd"))? {
        let unit = unit?.file_name().to_string_lossy().into_owned();
        let packed = unit.ends_with(".service") || unit.ends_with(".target");
        let path = format!("/usr/lib/systemd/system/{unit}");
        ensure!(!packed || of_tar.contains(&path), "{unit} is in no package: {of_tar:?}");
    }
    let only = |set: &BTreeSet<String>, name: &str| {
        let others = of_deb.intersection(&of_rpm).filter(|path| of_tar.contains(*path));
        let others: BTreeSet<String> = others.cloned().collect();
        let more: Vec<String> = set.difference(&others).cloned().collect();
        (name.to_owned(), more)
    };
    let alone = [only(&of_deb, "deb"), only(&of_rpm, "rpm"), only(&of_tar, "tar")];
    let override_ = "/usr/share/lintian/overrides/hawser".to_owned();
    let readme = "/usr/share/doc/hawser/README".to_owned();
    // Debian's zsh looks elsewhere than all others.
    let zsh = |place: &str| format!("/usr/share/zsh/{place}/_hawser");
    let expected = [
        ("deb".to_owned(), vec![override_, zsh("vendor-completions")]),
        ("rpm".to_owned(), vec![zsh("site-functions")]),
        ("tar".to_owned(), vec![readme, zsh("site-functions")]),
    ];
    ensure!(alone == expected, "{alone:?}");

    let needs = run("dpkg-deb", &["-f", &deb, "Depends"])?;
    let known = ["libc6", "libgcc-s1", "nftables", "systemd"];
    let stranger = needs.trim().split(", ").find(|need| !known.iter().any(|k| need.starts_with(k)));
    ensure!(stranger.is_none() && needs.contains("nftables"), "{needs}");
    let needs = run("rpm", &["-qp", "--requires", &rpm])?;
    let known =
        ["/bin/sh", "config(", "ld-linux", "lib", "nftables", "rpmlib(", "rtld(", "systemd"];
    let stranger = needs.lines().find(|need| !known.iter().any(|known| need.starts_with(known)));
    ensure!(stranger.is_none() && needs.contains("nftables\n"), "{stranger:?} of {needs}");
    let kept = run("rpm", &["-qpc", &rpm])?;
    ensure!(kept.lines().any(|path| path == "/etc/hawser/hawser.toml"), "{kept}");
    Ok(())
}

#[test]
fn what_judges_packages_has_nothing_to_say() -> Result<()> {
    let directory = pack("judged", None, &["deb", "rpm"])?;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/rpm/rpmlint.toml");

    let deb = packed(&directory, "deb")?;
    let said = run("lintian", &["--allow-root", "--fail-on", "error,warning", &deb])?;
    ensure!(said.trim().is_empty(), "{said}");
    let said = run("rpmlint", &["--config", text(&rules)?, &packed(&directory, "rpm")?])?;
    ensure!(said.contains(" 0 errors, 0 warnings"), "{said}");
    Ok(())
}

#[test]
fn the_same_sources_give_the_same_bytes_and_what_is_in_them_is_listed() -> Result<()> {
    let once = pack("once", None, &["deb", "tar", "sbom"])?;
    let again = pack("again", None, &["deb", "tar", "sbom"])?;

    let sums = fs::read_to_string(once.join("SHA256SUMS"))?;
    assert_eq!(sums, fs::read_to_string(again.join("SHA256SUMS"))?);
    ensure!(sums.lines().count() == 3, "{sums}");
    let check =
        Command::new("sha256sum").arg("-c").arg("SHA256SUMS").current_dir(&once).output()?;
    ensure!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));

    let bill: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(packed(&once, "json")?)?)?;
    ensure!(bill["bomFormat"] == "CycloneDX" && bill["metadata"]["component"]["name"] == "hawser");
    let parts = bill["components"].as_array().context("components")?;
    let tokio = parts.iter().find(|part| part["name"] == "tokio").context("tokio is in it")?;
    ensure!(tokio["hashes"][0]["content"].as_str().is_some_and(|sum| sum.len() == 64), "{tokio}");
    ensure!(parts.iter().all(|part| part["licenses"][0]["expression"] != ""), "one has no licence");
    let deb = packed(&once, "deb")?;
    let copyright = ["-xO", "./usr/share/doc/hawser/copyright"];
    let copyright = tool("dpkg-deb", &["--fsys-tarfile", &deb], "tar", &copyright)?;
    for part in parts.iter().filter(|part| !part["hashes"].is_null()) {
        let name = part["name"].as_str().context("a name")?;
        let stanza = format!("Files: crates/{name}-{}/*", part["version"].as_str().context("one")?);
        ensure!(copyright.contains(&stanza), "the licence of {name} is not told");
    }
    Ok(())
}

/// What is installed, without directories: what is in nothing but its own path.
fn files(list: &str) -> BTreeSet<String> {
    let paths = list.lines().map(|line| format!("/{}", line.trim_matches(['.', '/'])));
    let paths: BTreeSet<String> = paths.collect();
    let holds = |path: &String| paths.iter().any(|other| other.starts_with(&format!("{path}/")));
    paths.iter().filter(|path| *path != "/" && !holds(path)).cloned().collect()
}

/// The output of one, through the other.
fn tool(first: &str, its: &[&str], then: &str, those: &[&str]) -> Result<String> {
    let script = format!("{first} {} | {then} {}", its.join(" "), those.join(" "));
    run("sh", &["-c", &script])
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("run {program}; tests/tools.sh installs it"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {said}{error}");
    Ok(said)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}
