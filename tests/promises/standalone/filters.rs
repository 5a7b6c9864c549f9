//! REST calls made into gRPC ones, filters in Envoy's own words, and what is said of those that Envoy
//! would not take.

use std::{fs, io::Write as _};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{ca::spiffe_id, eastwest::cart, wait::wait_for};
use serde_json::Value;

use super::Machine;
use crate::rig::said;

const LUA: &str = r#"    filters:
    - name: envoy.filters.http.lua
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
        default_source_code:
          inline_string: |
            function envoy_on_response(handle) handle:headers():add("x-lua", "seen") end
"#;

/// The file with more said of `reviews` and of `cart`.
fn text(machine: &Machine, reviews: &str, cart: &str) -> Result<String> {
    let mut text = machine.top()?;
    text.push_str("services:\n");
    for member in machine.eastwest.members() {
        text.push_str(&machine.entry(member)?);
        match member.name.as_str() {
            "reviews" => text.push_str(reviews),
            "cart" => text.push_str(cart),
            _ => {}
        }
    }
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_grpc_is_called_as_rest_and_another_has_a_filter_that_it_has_not() -> Result<()>
{
    let machine = Machine::new().await?;
    let file = machine.file();
    let beside = file.parent().context("a path without a parent")?;
    fs::File::create(beside.join("shop.pb"))?.write_all(&cart::descriptor())?;
    let transcode = "    transcode: {descriptor: shop.pb, services: [shop.Cart]}\n";
    machine.write(&text(&machine, LUA, transcode)?)?;
    let _agent = machine.serving().await?;

    let reply = machine.get("cart", "/v1/carts/lamp").await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
    let found: Value = reply.json()?;
    ensure!(found["item"] == "lamp" && found["caller"] == machine.identity(), "{found}");
    ensure!(found["workload"] == spiffe_id("prod", "cart"), "{found}");
    ensure!(!reply.headers.contains_key("x-lua"), "{:?}", reply.headers);
    ensure!(machine.find("cart", "lamp").await?.item == "lamp");
    let reply = machine.get("reviews", "/").await?;
    ensure!(reply.headers.get("x-lua").is_some_and(|seen| seen == "seen"), "{:?}", reply.headers);

    // An edit takes the filter away again, and no request fails for it.
    machine.write(&text(&machine, "", transcode)?)?;
    wait_for("answers without the filter", async || {
        let reply = machine.get("reviews", "/").await?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
        ensure!(!reply.headers.contains_key("x-lua"), "{:?}", reply.headers);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_envoy_of_the_machine_is_asked_about_filters_before_anything_changes() -> Result<()> {
    let machine = Machine::new().await?;
    let envoy = machine.vm.envoy.as_ref().context("no Envoy")?;
    let envoy = format!("envoy.binary={}", envoy.display());
    let check = ["services", "check", "--set", &envoy];

    machine.write(&text(&machine, LUA, "")?)?;
    let output = machine.vm.hawser(&check).await?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(said(&output).contains("and Envoy takes its filters"), "{}", said(&output));

    machine.write(&text(&machine, &LUA.replace("function", "functoin"), "")?)?;
    let output = machine.vm.hawser(&check).await?;
    ensure!(output.status.code() == Some(78), "{}", said(&output));
    let told = said(&output);
    for part in [
        "services.yaml:",
        "filter envoy.filters.http.lua of reviews.prod",
        "found script load error",
    ] {
        ensure!(told.contains(part), "{part}: {told}");
    }
    Ok(())
}
