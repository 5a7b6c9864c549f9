//! A resource of istiod's with any content, and an Envoy that lists any extensions: what is made fit
//! is never larger, can be read if the resource could, and is fit.

#![no_main]

use hawser_fit::{Loadable, fit};
use hawser_proto::{envoy::envoy::config::core::v3::Node, type_url};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    let _any = Loadable::of(bytes);
    let stock = Node {
        extensions: vec![Default::default()],
        ..Node::default()
    };
    let Some(loadable) = Loadable::of(&stock.encode_to_vec()) else { return };
    let types = [
        type_url::LISTENER,
        type_url::CLUSTER,
        type_url::ROUTE,
        type_url::EXTENSION_CONFIG,
    ];
    for type_url in types {
        let Ok(fitted) = fit(type_url, bytes, &loadable) else { continue };
        let Some(value) = fitted.value else { continue };
        assert!(value.len() < bytes.len());
        let again = fit(type_url, &value, &loadable).expect("what is fit can be read");
        assert_eq!(again.value, None, "and is fit");
    }
});
