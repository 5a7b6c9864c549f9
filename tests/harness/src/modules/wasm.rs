//! Modules, written byte by byte.

/// The smallest module there is. Every runtime loads it, but it is no filter.
pub const TINY: &[u8] = b"\0asm\x01\0\0\0";

/// A filter that Envoy loads (proxy-wasm 0.2.0): it adds a header to every response.
#[must_use]
pub fn proxy(header: &str, value: &str) -> Vec<u8> {
    let mut module = TINY.to_vec();
    let i32s = |count: usize| vec![I32; count];
    let kind = |takes: usize, gives: usize| {
        [vec![0x60], vector(&each(&i32s(takes))), vector(&each(&i32s(gives)))].concat()
    };
    let kinds = [kind(0, 0), kind(2, 0), kind(1, 1), kind(3, 1), kind(5, 1)];
    section(&mut module, 1, &kinds);
    // Function 0 is the host's.
    let add = [name("env"), name("proxy_add_header_map_value"), vec![FUNCTION, 4]].concat();
    section(&mut module, 2, &[add]);
    section(&mut module, 3, &[vec![0], vec![1], vec![2], vec![3]]);
    section(&mut module, 5, &[vec![0, 16]]);
    // Where free memory begins.
    let free = [vec![I32, 1], constant(1 << 16), vec![END]].concat();
    section(&mut module, 6, &[free]);
    let export = |text: &str, kind: u8, index: u8| [name(text), vec![kind, index]].concat();
    let exports = [
        export("memory", MEMORY, 0),
        export("proxy_abi_version_0_2_0", FUNCTION, 1),
        export("proxy_on_context_create", FUNCTION, 2),
        export("proxy_on_memory_allocate", FUNCTION, 3),
        export("proxy_on_response_headers", FUNCTION, 4),
    ];
    section(&mut module, 7, &exports);
    let allocate = vec![0x23, 0, 0x23, 0, 0x20, 0, 0x6a, 0x24, 0];
    let on_headers = [
        // The headers of a response are map 2.
        constant(2),
        constant(TEXT),
        constant(size(header)),
        constant(TEXT + size(header)),
        constant(size(value)),
        vec![0x10, 0, 0x1a],
        constant(0),
    ]
    .concat();
    let bodies = [vec![], vec![], allocate, on_headers].map(|code| {
        let body = [vec![0], code, vec![END]].concat();
        [leb(body.len()), body].concat()
    });
    section(&mut module, 10, &bodies);
    let text = [header, value].concat();
    let data = [vec![0], constant(TEXT), vec![END], name(&text)].concat();
    section(&mut module, 11, &[data]);
    module
}

fn section(module: &mut Vec<u8>, id: u8, items: &[Vec<u8>]) {
    let content = vector(items);
    module.push(id);
    module.extend(leb(content.len()));
    module.extend(content);
}

fn vector(items: &[Vec<u8>]) -> Vec<u8> {
    [leb(items.len()), items.concat()].concat()
}

fn each(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.iter().map(|byte| vec![*byte]).collect()
}

fn name(text: &str) -> Vec<u8> {
    [leb(text.len()), text.as_bytes().to_vec()].concat()
}

/// `i32.const`, whose number is signed.
fn constant(number: usize) -> Vec<u8> {
    let mut code = vec![0x41];
    let mut number = number;
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        // The highest bit of the last byte is the sign.
        if number == 0 && byte & 0x40 == 0 {
            code.push(byte);
            return code;
        }
        code.push(byte | 0x80);
    }
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn size(text: &str) -> usize {
    text.len()
}

const I32: u8 = 0x7f;
const FUNCTION: u8 = 0;
const MEMORY: u8 = 2;
const END: u8 = 0x0b;
/// Where header and value are.
const TEXT: usize = 1024;
