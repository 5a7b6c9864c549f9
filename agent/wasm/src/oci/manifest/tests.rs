//! Manifests of every kind.

use super::*;

const SUM: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn layers(kinds: &[&str]) -> String {
    let layer = |kind: &&str| format!(r#"{{"mediaType":"{kind}","digest":"{SUM}","size":7}}"#);
    kinds.iter().map(layer).collect::<Vec<_>>().join(",")
}

fn read(kind: &str, layered: &[&str], content_type: &str) -> Result<Document, &'static str> {
    let kind = if kind.is_empty() { String::new() } else { format!(r#""mediaType":"{kind}","#) };
    let text = format!(r#"{{"schemaVersion":2,{kind}"layers":[{}]}}"#, layers(layered));
    Document::read(text.as_bytes(), content_type)
}

fn image(boxed: Boxed) -> Result<Document, &'static str> {
    Ok(Document::Image(Layer { digest: SUM.to_owned(), size: 7, boxed }))
}

#[test]
fn the_three_shapes_of_an_image_are_understood() {
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let config = "application/vnd.module.wasm.config.v1+json";

    assert_eq!(read(DOCKER, &["other", DOCKER_LAYER], ""), image(Boxed::Layer));
    assert_eq!(read("", &[DOCKER_LAYER], DOCKER), image(Boxed::Layer));
    assert_eq!(read("", &["other", OCI_LAYER], "application/json"), image(Boxed::Layer));
    assert_eq!(read(oci, &[config, MODULE_LAYER], ""), image(Boxed::Not));
    assert_eq!(read(oci, &[MODULE_LAYER, config], ""), image(Boxed::Not));
}

#[test]
fn an_index_gives_the_image_that_modules_are_built_as() {
    let entry = |digest: &str, architecture: &str, os: &str| {
        format!(
            r#"{{"digest":"{digest}","platform":{{"architecture":"{architecture}","os":"{os}"}}}}"#
        )
    };
    let index = |entries: &[String]| {
        let text = format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
        Document::read(text.as_bytes(), OCI_INDEX)
    };
    let (other, digest) = (SUM.replace('a', "b"), Ok(Document::Index(SUM.to_owned())));

    assert_eq!(index(&[entry(&other, "arm64", "linux"), entry(SUM, "amd64", "linux")]), digest);
    assert_eq!(index(&[entry(&other, "amd64", "windows"), entry(SUM, "wasm", "wasip1")]), digest);
    assert_eq!(index(&[entry(SUM, "riscv64", "linux")]), digest);
    assert!(index(&[entry(SUM, "arm64", "linux"), entry(SUM, "arm", "linux")]).is_err());
    assert!(index(&[]).is_err());
    assert!(index(&[entry("../../x", "amd64", "linux")]).is_err());
}

#[test]
fn what_has_no_module_is_refused() {
    assert!(read(DOCKER, &[], "").is_err());
    assert!(read(DOCKER, &[OCI_LAYER], "").is_err());
    assert!(read("", &[DOCKER_LAYER], "").is_err());
    assert!(read("", &[MODULE_LAYER], "").is_err());
    assert!(read("", &["a", MODULE_LAYER, "b"], "").is_err());
    for text in ["", "[]", "{}", "null", r#"{"layers":{}}"#, r#"{"layers":[{"digest":1}]}"#] {
        assert!(Document::read(text.as_bytes(), "").is_err(), "{text}");
    }
    let md5 = format!(r#"{{"layers":[{{"mediaType":"{OCI_LAYER}","digest":"md5:aa"}}]}}"#);
    assert!(Document::read(md5.as_bytes(), "").is_err());
}
