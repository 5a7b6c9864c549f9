//! Filters of one service: REST made into gRPC, and any other in Envoy's own words.

use std::process::Command;

use anyhow::{Result, ensure};
use hawser_harness::{
    ca::spiffe_id,
    eastwest::{Member, Speaks, cart},
    envoy::envoy_binary,
    wait::wait_for,
};
use hawser_services::{Addresses, Local, file, make};
use serde_json::Value;

use crate::machine::{Machine, me};

const CART: &str = "cart.prod.svc.cluster.local";
const REVIEWS: &str = "reviews.prod.svc.cluster.local";
const RATINGS: &str = "ratings.prod.svc.cluster.local";

#[tokio::test(flavor = "multi_thread")]
async fn a_rest_call_is_made_into_a_grpc_one() -> Result<()> {
    let mut machine = Machine::start(&[Member::new("cart", "prod", 7070, Speaks::Grpc)], 1).await?;
    let port = Machine::port()?;
    std::fs::write(machine.dir().join("shop.pb"), cart::descriptor())?;
    machine
        .file(&format!(
            "services:\n\
             - host: {CART}\n  \
               port: 7070\n  \
               local_port: {port}\n  \
               protocol: grpc\n  \
               identity: ns/prod/sa/cart\n  \
               transcode: {{descriptor: shop.pb, services: [shop.Cart], largest: 4KiB}}\n",
        ))
        .await?;

    let reply = machine.until(CART, port, "/v1/carts/book", 200).await?;
    let found: Value = reply.json()?;
    assert_eq!(found["item"], "book");
    assert_eq!(found["caller"], me());
    assert_eq!(found["workload"], spiffe_id("prod", "cart"));
    let lost = machine.get(CART, port, &format!("/v1/carts/{}", cart::NOTHING)).await?;
    assert_eq!(lost.status, 404, "{}", lost.body);
    // Whoever speaks gRPC is served as before.
    let found = cart::find(machine.at(CART, port), CART, "book").await?;
    assert_eq!(found.caller, me());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_in_envoys_own_words_sees_what_is_for_its_service_and_nothing_else() -> Result<()>
{
    let members = [
        Member::new("reviews", "prod", 9080, Speaks::Http),
        Member::new("ratings", "prod", 9080, Speaks::Http),
    ];
    let mut machine = Machine::start(&members, 1).await?;
    let port = Machine::port()?;
    let services = |filters: &str| {
        format!(
            "services:\n\
             - host: {REVIEWS}\n  \
               port: 9080\n  \
               local_port: {port}\n  \
               identity: ns/prod/sa/reviews\n{filters}\
             - host: {RATINGS}\n  \
               port: 9080\n  \
               local_port: {port}\n  \
               identity: ns/prod/sa/ratings\n",
        )
    };
    let filters = r#"  filters:
  - name: envoy.filters.http.lua
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
      default_source_code:
        inline_string: |
          function envoy_on_response(handle) handle:headers():add("x-lua", "seen") end
  - name: envoy.filters.http.local_ratelimit
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
      stat_prefix: few
      token_bucket: {max_tokens: 2, tokens_per_fill: 1, fill_interval: 3600s}
      filter_enabled: {default_value: {numerator: 100}}
      filter_enforced: {default_value: {numerator: 100}}
"#;
    machine.file(&services(filters)).await?;

    let other = machine.until(RATINGS, port, "/", 200).await?;
    ensure!(!other.headers.contains_key("x-lua"), "{:?}", other.headers);
    for _ in 0..2 {
        let reply = machine.get(REVIEWS, port, "/").await?;
        assert_eq!(
            (reply.status, reply.headers.get("x-lua").map(String::as_str)),
            (200, Some("seen"))
        );
    }
    let third = machine.get(REVIEWS, port, "/").await?;
    assert_eq!(third.status, 429, "{}", third.body);
    assert_eq!(machine.get(RATINGS, port, "/").await?.status, 200);

    // And without them all is as it was.
    machine.file(&services("")).await?;
    let reply = machine.until(REVIEWS, port, "/", 200).await?;
    ensure!(!reply.headers.contains_key("x-lua"), "{:?}", reply.headers);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_refuses_a_filter_goes_on_with_what_it_had() -> Result<()> {
    let members = ["reviews", "ratings"].map(|name| Member::new(name, "prod", 9080, Speaks::Http));
    let mut machine = Machine::start(&members, 1).await?;
    let port = Machine::port()?;
    let text = |said: &str| {
        format!(
            "services:\n\
             - host: {REVIEWS}\n  \
               port: 9080\n  \
               local_port: {port}\n  \
               identity: ns/prod/sa/reviews\n  \
               filters:\n  \
               - name: envoy.filters.http.lua\n    \
                 typed_config:\n      \
                   \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\n      \
                   default_source_code: {{inline_string: '{said}'}}\n"
        )
    };
    let added = r#"function envoy_on_response(handle) handle:headers():add("x-lua", "seen") end"#;
    machine.file(&text(added)).await?;
    machine.until(REVIEWS, port, "/", 200).await?;

    let more = format!(
        "- {{host: {RATINGS}, port: 9080, local_port: {port}, identity: ns/prod/sa/ratings}}\n"
    );
    // Whether it was refused by then already is nothing to wait for here.
    drop(machine.file(&format!("{}{more}", text("functoin"))).await);
    wait_for("a refusal", async || {
        let nacks = machine.nacks();
        ensure!(nacks.iter().any(|(_, why)| why.contains("script load error")), "{nacks:?}");
        Ok(())
    })
    .await?;

    // What else was in the edit is there.
    machine.until(RATINGS, port, "/", 200).await?;
    let reply = machine.get(REVIEWS, port, "/").await?;
    assert_eq!((reply.status, reply.headers.get("x-lua").map(String::as_str)), (200, Some("seen")));
    Ok(())
}

#[test]
fn envoy_can_be_asked_before_it_is_told_and_says_what_is_wrong_with_a_filter() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ask = |filter: &str, access_log: &str| -> Result<(bool, String)> {
        let text = format!(
            "access_log: {access_log}\n\
             gateways: [192.0.2.1, gw.example.com]\n\
             services:\n\
             - host: {REVIEWS}\n  \
               port: 9080\n  \
               identity: ns/prod/sa/reviews\n  \
               filters: [{filter}]\n\
             - {{host: db, port: 5432, protocol: tcp, identity: ns/prod/sa/db}}\n\
             inbound:\n\
             - {{port: 8443, to: 8080, callers: mesh}}\n\
             - {{port: 8444, to: 8080, protocol: tcp, callers: anybody}}\n",
        );
        let texts = [file::Text { path: dir.path().join("services.yaml"), text }];
        let services = file::parse(&texts, "cluster.local")
            .map_err(|problems| anyhow::anyhow!("{problems}"))?;
        let addresses = Addresses::default().assign(&services)?;
        let trial = dir.path().join("trial.pb");
        std::fs::write(&trial, make(&services, &addresses, &Local::default()).trial())?;
        let mut envoy = Command::new(envoy_binary()?);
        envoy.args(["--mode", "validate", "-l", "warning", "--use-dynamic-base-id", "-c"]);
        let output = envoy.arg(trial).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8(said)?))
    };
    let url = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";
    let named = |fields: &str| {
        format!(r#"{{name: envoy.filters.http.buffer, typed_config: {{"@type": {url}{fields}}}}}"#)
    };
    let log = dir.path().join("access.log");
    let (taken, said) = ask(&named(", max_request_bytes: 1024"), &log.to_string_lossy())?;
    ensure!(taken && said.contains("OK"), "{said}");
    for (filter, why) in [
        (named(", max_request_octets: 1024"), "max_request_octets"),
        (named(", max_request_bytes: 0"), "MaxRequestBytes"),
        (named("").replace("Buffer}", "Bufffer}"), "Bufffer"),
    ] {
        let (taken, said) = ask(&filter, &log.to_string_lossy())?;
        ensure!(!taken && said.contains(why), "{filter}: {said}");
    }
    Ok(())
}
