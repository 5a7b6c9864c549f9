//! The file of services at the command line: checked whole, shown, described, made of what others print.

use std::{fs, io::Write as _, net::Ipv4Addr, path::Path, process::Output};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    eastwest::{Member, Speaks},
    schema::Schema,
    vm::Vm,
};
use serde_json::Value;
use tempfile::TempDir;

use super::Machine;
use crate::{HAWSER, rig::said};

/// A machine with nothing but files.
struct Bare {
    vm: Vm,
    _dir: TempDir,
}

impl Bare {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let nobody = (Ipv4Addr::LOCALHOST, 9).into();
        let vm = Vm::apart(Path::new(HAWSER), &dir.path().join("root"), nobody)?;
        Ok(Self { vm, _dir: dir })
    }

    /// Writes a file beside hawser.toml; answers its path.
    fn put(&self, name: &str, text: &str) -> Result<String> {
        let path = self.vm.root().join("etc/hawser").join(name);
        let parent = path.parent().context("a path without a parent")?;
        fs::create_dir_all(parent)?;
        fs::File::create(&path)?.write_all(text.as_bytes())?;
        Ok(path.display().to_string())
    }
}

fn ended(output: &Output, code: i32) -> Result<()> {
    ensure!(output.status.code() == Some(code), "{}: {}", output.status, said(output));
    Ok(())
}

#[tokio::test]
async fn all_that_is_wrong_with_settings_and_file_is_told_at_once() -> Result<()> {
    let machine = Bare::new()?;
    machine.vm.settings("[dns]\nlisten = \"nowhere\"\n[identity]\nsource = \"files\"\n")?;
    let path = machine.put("services.yaml", BAD)?;

    let output = machine.vm.hawser(&["check"]).await?;

    ended(&output, 78)?;
    let told = said(&output);
    let expected = [
        "hawser: dns.listen = \"nowhere\"".to_owned(),
        format!("hawser: {path}:2: gateways[0]: found gw one: expected a host or an address")
            .replace("gw one", "\"gw one\""),
        format!("hawser: {path}:4: services[0].identity: expected ns/NAMESPACE/sa/ACCOUNT"),
        format!("hawser: {path}:5: services[0].port: found 99999: expected a port from 1 to 65535"),
        format!("hawser: {path}:6: services[0].protokol: found a key that is not known"),
        "hawser: 5 problems".to_owned(),
    ];
    for line in expected {
        ensure!(told.lines().any(|said| said.starts_with(&line)), "{line} is not in:\n{told}");
    }
    let alone = machine.vm.hawser(&["services", "check"]).await?;
    ended(&alone, 78)?;
    ensure!(said(&alone).ends_with("hawser: 4 problems\n"), "{}", said(&alone));
    Ok(())
}

#[tokio::test]
async fn a_start_with_a_file_that_is_wrong_and_none_kept_is_not_tried_again() -> Result<()> {
    let machine = Bare::new()?;
    let path = machine.put("services.yaml", BAD)?;

    let files = ["run", "--set", "identity.source=files"];
    let output = machine.vm.hawser(&files).await?;

    ended(&output, 78)?;
    let told = said(&output);
    for line in [2, 4, 5, 6] {
        ensure!(told.contains(&format!("{path}:{line}: ")), "line {line} is not in:\n{told}");
    }
    ensure!(told.contains("none were kept from before"), "{told}");
    Ok(())
}

#[tokio::test]
async fn any_file_and_any_directory_can_be_checked_before_it_is_used() -> Result<()> {
    let machine = Bare::new()?;
    let file = machine.put("new/services.yaml", GOOD)?;
    machine.put("some/10-gateways.yaml", "gateways: gw.example\n")?;
    machine.put("some/20-a.yaml", &GOOD.replace("gateways: gw.example\n", ""))?;
    let some = machine.vm.root().join("etc/hawser/some").display().to_string();

    for path in [&file, &some] {
        let output = machine.vm.hawser(&["services", "check", path]).await?;
        ended(&output, 0)?;
        let expected = format!("{path} is in order: 2 ports of services\n");
        ensure!(said(&output) == expected, "{}", said(&output));
    }
    machine.put("some/30-a.yaml", "gateways: gw.example\n")?;
    let output = machine.vm.hawser(&["services", "check", &some]).await?;
    ended(&output, 78)?;
    ensure!(said(&output).contains("30-a.yaml:1: gateways: found another gateway"));
    Ok(())
}

#[tokio::test]
async fn ports_that_meet_when_they_are_raised_are_told() -> Result<()> {
    let machine = Bare::new()?;
    let file = machine.put("services.yaml", &GOOD.replace("5432", "10080"))?;

    let raised = ["services", "check", &file, "--set", "services.low_ports=10000"];
    let output = machine.vm.hawser(&raised).await?;

    ended(&output, 78)?;
    ensure!(said(&output).contains("port 10080 with services.low_ports = 10000"));
    ended(&machine.vm.hawser(&["services", "check", &file]).await?, 0)
}

#[tokio::test]
async fn without_an_agent_it_is_shown_what_the_file_says() -> Result<()> {
    let machine = Bare::new()?;
    machine.put("services.yaml", GOOD)?;

    let shown = machine.vm.hawser(&["services", "show", "RV"]).await?;
    let json = machine.vm.hawser(&["services", "show", "--json"]).await?;
    let none = machine.vm.hawser(&["services", "show", "nobody"]).await?;

    ended(&shown, 0)?;
    let screen = String::from_utf8(shown.stdout.clone())?;
    let expected = "\
reviews.prod.svc.cluster.local:80                    http
    answered by spiffe://cluster.local/ns/prod/sa/reviews
    through gw.example, as outbound_.80_._.reviews.prod.svc.cluster.local
    also rv
reviews.prod.svc.cluster.local:5432                  tcp
    answered by spiffe://cluster.local/ns/prod/sa/reviews
    through gw.example, as outbound_.5432_._.reviews.prod.svc.cluster.local
    also rv
";
    ensure!(screen == expected, "{screen}");
    ensure!(said(&shown).contains("no agent that answers has it in use"), "{}", said(&shown));
    let rows: Vec<Value> = serde_json::from_slice(&json.stdout)?;
    ensure!(rows.len() == 2 && rows.iter().all(|row| row["address"].is_null()), "{rows:?}");
    ended(&none, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_running_agent_it_is_shown_what_is_in_use() -> Result<()> {
    let members = [Member::new("reviews", "prod", 9080, Speaks::Http)];
    let mut machine = Machine::with(&members, 1).await?;
    machine.it.vm.envoy = None;
    let _agent = machine.vm.start().await?;
    machine.write("services: [{host: other.example}]\n")?;

    let output = machine.vm.hawser(&["services", "show", "--json"]).await?;

    ended(&output, 0)?;
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let [row] = rows.as_slice() else { anyhow::bail!("{rows:?}") };
    ensure!(row["host"] == "reviews.prod.svc.cluster.local", "{row}");
    ensure!(row["address"].as_str().is_some_and(|address| address.starts_with("127.")), "{row}");
    Ok(())
}

#[tokio::test]
async fn what_others_print_becomes_a_file_that_is_in_order() -> Result<()> {
    let machine = Bare::new()?;
    let names = "reviews.prod.svc.cluster.local:9080\ndb.prod.svc.cluster.local:5432/tcp\nx:80\n";
    let names = machine.put("names.txt", names)?;

    let import = ["services", "import", "--gateway", "gw.example:443", &names];
    let made = machine.vm.hawser(&import).await?;

    ended(&made, 0)?;
    let told = String::from_utf8(made.stderr.clone())?;
    ensure!(
        told == "hawser: left out x: it is not known who answers: say its SPIFFE id\nhawser: 2 services\n",
        "{told}"
    );
    let file = machine.put("services.yaml", &String::from_utf8(made.stdout)?)?;
    ended(&machine.vm.hawser(&["services", "check", &file]).await?, 0)?;
    let wrong = machine.vm.hawser(&["services", "import", "--gateway", "gw one", &names]).await?;
    ended(&wrong, 64)?;
    let empty = machine.put("empty.txt", "")?;
    ended(&machine.vm.hawser(&["services", "import", &empty]).await?, 1)
}

#[tokio::test]
async fn the_schema_that_is_printed_holds_a_file() -> Result<()> {
    let machine = Bare::new()?;

    let output = machine.vm.hawser(&["services", "schema"]).await?;

    ended(&output, 0)?;
    Schema::read(std::str::from_utf8(&output.stdout)?)?.holds(&serde_saphyr::from_str(GOOD)?)
}

const GOOD: &str = "\
gateways: gw.example
services:
- host: reviews.prod.svc.cluster.local
  identity: ns/prod/sa/reviews
  aliases: rv
  ports: [80, {port: 5432, protocol: tcp}]
";

const BAD: &str = "\
gateways:
- gw one
services:
- host: reviews.prod.svc.cluster.local
  port: 99999
  protokol: tcp
";
