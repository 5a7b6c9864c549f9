//! What the documents say is what the program does: commands in them are run, settings are settings,
//! metrics are there; and so do the manual and what shells complete.

mod blocks;
mod machines;
mod manual;
mod metrics;
mod shells;

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::agent::hawser;

use crate::{
    HAWSER,
    rig::{said, text},
};
use blocks::Document;

#[test]
fn every_document_says_what_the_reader_gets_and_has_blocks_of_known_kinds() -> Result<()> {
    for document in Document::all()? {
        let name = &document.name;
        let mut lines = document.text.lines().filter(|line| !line.is_empty());
        ensure!(lines.next().is_some_and(|line| line.starts_with("# ")), "{name}: no title");
        let first = lines.next().unwrap_or_default();
        ensure!(first.starts_with("**You get"), "{name} begins with {first:?}");
        for block in document.blocks()? {
            let place = format!("{name}:{}", block.line);
            let known = ["console", "toml", "yaml", "ini", "text"];
            ensure!(known.contains(&block.language.as_str()), "{place}: {}", block.language);
            for attribute in &block.attributes {
                let known = match block.language.as_str() {
                    "console" => attribute == "cluster" || attribute.starts_with("exit="),
                    "toml" => attribute == "here",
                    _ => false,
                };
                ensure!(known, "{place}: {attribute}");
            }
            let typed = block.text.lines().any(|line| line.starts_with("$ "));
            ensure!(typed == (block.language == "console"), "{place}: what is typed is `console`");
            if block.language == "yaml" {
                serde_saphyr::from_str::<serde_json::Value>(&block.text).context(place)?;
            }
        }
    }
    Ok(())
}

/// What is marked as not for a machine of the mesh is not for one.
#[test]
fn what_is_not_run_is_for_a_cluster_or_a_cloud() -> Result<()> {
    const ELSEWHERE: [&str; 8] =
        ["kubectl", "istioctl", "gcloud", "aws", "az", "scp", "openstack", "virt-install"];
    for document in Document::all()? {
        for block in document.blocks()? {
            if !block.attributes.iter().any(|word| word == "cluster") {
                continue;
            }
            for typed in block.typed()? {
                let program = typed.command.split_whitespace().next().unwrap_or_default();
                let place = format!("{}:{}", document.name, typed.line);
                ensure!(ELSEWHERE.contains(&program), "{place}: {program} can be run");
            }
        }
    }
    Ok(())
}

#[test]
fn documents_lead_to_each_other_and_the_readme_to_all_of_them() -> Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md"))?;
    for document in Document::all()? {
        let address = format!("packaging/docs/{}", document.name);
        ensure!(readme.contains(&address), "the README does not lead to {address}");
        for (_, rest) in document.text.match_indices("](").map(|(at, _)| document.text.split_at(at))
        {
            let address = rest.trim_start_matches("](").split(')').next().unwrap_or_default();
            let file = address.split('#').next().unwrap_or_default();
            let outside = address.contains("://") || file.is_empty();
            let there = blocks::directory().join(file).exists();
            ensure!(outside || there, "{} leads to {address}", document.name);
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_setting_in_a_document_is_one() -> Result<()> {
    let mut found = 0;
    for document in Document::all()? {
        for block in document.blocks()?.into_iter().filter(|block| block.language == "toml") {
            let root = tempfile::tempdir()?;
            let directory = root.path().join("etc/hawser");
            fs::create_dir_all(&directory)?;
            let file = directory.join("hawser.toml");
            hawser_state::write_file(&file, 0o644, block.text.as_bytes())?;
            let shown =
                hawser(HAWSER.as_ref(), &["--root", text(root.path())?, "config"], &[]).await?;
            let place = format!("{}:{}", document.name, block.line);
            ensure!(shown.status.success(), "{place}: {}", said(&shown));
            ensure!(said(&shown).contains("hawser.toml"), "{place} sets nothing");
            found += 1;
        }
    }
    ensure!(found > 3, "only {found} examples");
    Ok(())
}

#[tokio::test]
async fn every_file_of_services_in_a_document_is_one() -> Result<()> {
    let mut found = 0;
    for document in Document::all()? {
        let files = |block: &blocks::Block| block.text.lines().any(|line| line == "services:");
        for block in document.blocks()?.iter().filter(|block| files(block)) {
            let root = tempfile::tempdir()?;
            let file = root.path().join("services.yaml");
            hawser_state::write_file(&file, 0o644, block.text.as_bytes())?;
            let arguments = ["--root", text(root.path())?, "services", "check", text(&file)?];
            let checked = hawser(HAWSER.as_ref(), &arguments, &[]).await?;
            let place = format!("{}:{}", document.name, block.line);
            // What lies beside the file is not in the document.
            let complaints = said(&checked);
            let wrong = complaints.lines().filter(|line| !line.contains("cart.pb"));
            let wrong: Vec<_> = wrong.filter(|_| !checked.status.success()).collect();
            ensure!(wrong.is_empty(), "{place}: {complaints}");
            found += 1;
        }
    }
    ensure!(found > 2, "only {found} files");
    Ok(())
}
