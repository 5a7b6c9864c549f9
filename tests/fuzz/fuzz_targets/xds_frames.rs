//! The body of a gRPC stream with any content, in chunks of any size: split as one who has all of
//! it would split it.

#![no_main]

use hawser_wire::{Broken, Frames, Part};
use libfuzzer_sys::fuzz_target;

const LARGEST: usize = 4096;

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk, body) = input;
    let (expected, broken, between) = split(body);
    let mut frames = Frames::new(LARGEST);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let (mut complete, mut announced) = (0, 0);
    for chunk in body.chunks(usize::from(chunk).max(1)) {
        frames.push(chunk.to_vec().into());
        loop {
            match frames.next() {
                Ok(Some(Part::Begin { length })) => {
                    assert_eq!(complete, seen.len());
                    seen.push(Vec::new());
                    announced = length;
                }
                Ok(Some(Part::Data(data))) => {
                    assert!(!data.is_empty());
                    seen.last_mut().expect("begun").extend_from_slice(&data);
                }
                Ok(Some(Part::End)) => {
                    complete += 1;
                    assert_eq!(seen.last().expect("begun").len(), announced);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(Some(error), broken);
                    assert_eq!(seen, expected);
                    assert_eq!(frames.next(), Err(error));
                    return;
                }
            }
        }
    }
    assert_eq!(broken, None);
    assert_eq!(seen, expected);
    assert_eq!(frames.between(), between);
});

/// The messages (of the last maybe only a part), what is wrong behind them, and whether the body
/// ends between two.
fn split(mut body: &[u8]) -> (Vec<Vec<u8>>, Option<Broken>, bool) {
    let mut messages = Vec::new();
    loop {
        match body {
            [] => return (messages, None, true),
            [1, ..] => return (messages, Some(Broken::Compressed), false),
            [first, ..] if *first > 1 => {
                return (messages, Some(Broken::Foreign { first: *first }), false);
            }
            [0, a, b, c, d, rest @ ..] => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                if length > LARGEST {
                    let broken = Broken::TooLarge { length, largest: LARGEST };
                    return (messages, Some(broken), false);
                }
                let Some((message, behind)) = rest.split_at_checked(length) else {
                    messages.push(rest.to_vec());
                    return (messages, None, false);
                };
                messages.push(message.to_vec());
                body = behind;
            }
            _ => return (messages, None, false),
        }
    }
}
