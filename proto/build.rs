//! Compiles istio's and SPIFFE's messages with protox: no protoc on anybody's machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files =
        protox::compile(["istio/ca.proto", "istio/nds.proto", "workload.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::envoy_types::pb::google::protobuf")
        .compile_fds(files)?;
    Ok(())
}
