//! Descriptors of gRPC services, which are read with the file.

use prost::Message as _;

use super::*;
use crate::model::Protocol;

/// A `FileDescriptorSet` with `shop.Cart`, `shop.Till` and one without a package.
fn descriptor() -> Vec<u8> {
    let rpc = |name: &str| filters::Rpc { name: name.to_owned() };
    let shop =
        filters::File { package: "shop".to_owned(), services: vec![rpc("Cart"), rpc("Till")] };
    let bare = filters::File { package: String::new(), services: vec![rpc("Echo")] };
    filters::FileSet { files: vec![shop, bare] }.encode_to_vec()
}

/// What is said of a file beside `api.pb`, which holds these bytes.
fn with(bytes: Option<&[u8]>, said: &str) -> Result<Services, String> {
    let folder = tempfile::tempdir().unwrap();
    if let Some(bytes) = bytes {
        let mut file = fs::File::create(folder.path().join("api.pb")).unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
    }
    let text = format!(
        "gateways: gw\nservices:\n- host: a.example\n  port: 80\n  identity: ns/a/sa/a\n  {said}\n"
    );
    let path = folder.path().join("services.yaml");
    let read = parse(&[Text { path, text }], "cluster.local");
    let folder = format!("{}/", folder.path().display());
    read.map_err(|problems| problems.to_string().replace(&folder, ""))
}

#[test]
fn a_descriptor_is_read_beside_the_file() {
    let said = "protocol: grpc\n  transcode: {descriptor: api.pb, services: [shop.Cart, Echo], largest: 2MiB}";

    let read = with(Some(&descriptor()), said).unwrap();

    let service = read.services.first().unwrap();
    let transcode = service.transcode.as_ref().unwrap();
    assert_eq!(service.protocol, Protocol::Grpc);
    assert_eq!(transcode.descriptor, descriptor());
    assert!(transcode.path.ends_with("api.pb") && transcode.path.is_absolute());
    assert_eq!(
        (transcode.services.join(" "), transcode.largest),
        ("shop.Cart Echo".into(), 2 << 20)
    );
}

#[test]
fn what_is_wrong_with_a_descriptor_is_told_with_the_line_that_names_it() {
    let good = descriptor();
    let large = vec![0; (4 << 20) + 1];
    let path =
        "expected the path of a FileDescriptorSet (protoc --include_imports --descriptor_set_out)";
    let rows: Vec<(Option<&[u8]>, &str, String)> = vec![
        (
            None,
            "{descriptor: api.pb, services: [shop.Cart]}",
            "descriptor: found api.pb: No such file or directory (os error 2): expected a FileDescriptorSet that can be read".into(),
        ),
        (
            Some(&large),
            "{descriptor: api.pb, services: [shop.Cart]}",
            "descriptor: found api.pb with 4194305 bytes: expected a file of at most 4 MiB".into(),
        ),
        (
            Some(b"syntax = \"proto3\";"),
            "{descriptor: api.pb, services: [shop.Cart]}",
            "descriptor: found api.pb, which is none: expected a FileDescriptorSet".into(),
        ),
        (Some(b""), "{descriptor: api.pb, services: a.B}", "descriptor: found api.pb, which is none: expected a FileDescriptorSet".into()),
        (
            Some(&good),
            "{descriptor: api.pb, services: [shop.Cart, shop.Basket]}",
            "services: found shop.Basket: expected one of api.pb: shop.Cart, shop.Till, Echo".into(),
        ),
        (Some(&good), "{services: [shop.Cart]}", format!("descriptor: {path}")),
        (Some(&good), "{descriptor: , services: [shop.Cart]}", format!("descriptor: found nothing: {path}")),
        (Some(&good), "{descriptor: api.pb}", "services: expected gRPC services by name, such as [shop.Cart]".into()),
        (
            Some(&good),
            "{descriptor: api.pb, services: [shop/Cart]}",
            "services[0]: found shop/Cart: expected gRPC services by name, such as [shop.Cart]".into(),
        ),
        (
            Some(&good),
            "{descriptor: api.pb, services: [shop.Cart], largest: 1GiB}",
            "largest: found 1GiB: expected a size from 1KiB to 64MiB".into(),
        ),
        (
            Some(&good),
            "{descriptor: api.pb, services: [shop.Cart], auto: true}",
            "auto: found a key that is not known: expected one of descriptor, services, largest".into(),
        ),
    ];
    for (bytes, said, expected) in rows {
        let told = with(bytes, &format!("protocol: grpc\n  transcode: {said}")).unwrap_err();
        assert_eq!(told, format!("services.yaml:7: services[0].transcode.{expected}"), "{said}");
    }
}

#[test]
fn calls_are_made_into_grpc_ones_where_grpc_is_spoken() {
    let said = "transcode: {descriptor: api.pb, services: [shop.Cart]}";

    assert_eq!(
        with(Some(&descriptor()), said).unwrap_err(),
        "services.yaml:6: services[0].transcode: found it with another protocol: \
         expected it with protocol grpc alone"
    );
}
