//! Bodies in any chunks.

use proptest::prelude::*;

use super::*;
use crate::write;

fn parts(frames: &mut Frames) -> Result<Vec<Part>, Broken> {
    let mut parts = Vec::new();
    while let Some(part) = frames.next()? {
        parts.push(part);
    }
    Ok(parts)
}

/// The messages of a body that comes in chunks of that size.
fn messages(body: &[u8], chunk: usize) -> Vec<Vec<u8>> {
    let mut frames = Frames::new(1 << 20);
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut announced = None;
    for chunk in body.chunks(chunk) {
        frames.push(Bytes::copy_from_slice(chunk));
        for part in parts(&mut frames).unwrap() {
            match part {
                Part::Begin { length } => {
                    assert_eq!(announced.replace(length), None);
                    messages.push(Vec::new());
                }
                Part::Data(data) => {
                    assert!(!data.is_empty());
                    messages.last_mut().unwrap().extend_from_slice(&data);
                }
                Part::End => assert_eq!(announced.take(), messages.last().map(Vec::len)),
            }
        }
    }
    assert!(frames.between());
    messages
}

#[test]
fn a_message_is_given_as_it_comes_and_without_a_copy() {
    let mut frames = Frames::new(100);
    frames.push(Bytes::from_static(&[0, 0, 0]));
    assert_eq!(parts(&mut frames), Ok(vec![]));
    assert!(!frames.between());
    let chunk = Bytes::from_static(&[0, 3, b'a', b'b']);
    frames.push(chunk.clone());
    let seen = parts(&mut frames).unwrap();
    assert_eq!(seen, [Part::Begin { length: 3 }, Part::Data(chunk.slice(2..))]);
    let Part::Data(data) = &seen[1] else { panic!("{seen:?}") };
    assert_eq!(data.as_ptr(), chunk[2..].as_ptr());
    frames.push(Bytes::from_static(&[b'c', 0, 0, 0, 0, 0]));
    let rest =
        [Part::Data(Bytes::from_static(b"c")), Part::End, Part::Begin { length: 0 }, Part::End];
    assert_eq!(parts(&mut frames).unwrap(), rest);
    assert!(frames.between());
}

#[test]
fn what_is_no_message_breaks_the_body_for_good() {
    let table: [(&[u8], Broken); 4] = [
        (&[1], Broken::Compressed),
        (b"HTTP", Broken::Foreign { first: b'H' }),
        (&[0, 0, 0, 0, 101], Broken::TooLarge { length: 101, largest: 100 }),
        (&[0, 255, 255, 255, 255], Broken::TooLarge { length: 0xffff_ffff, largest: 100 }),
    ];
    for (body, broken) in table {
        let mut frames = Frames::new(100);
        frames.push(Bytes::from_static(body));
        assert_eq!(frames.next(), Err(broken));
        frames.push(Bytes::from_static(&[0; 5]));
        assert_eq!(frames.next(), Err(broken), "it stays so");
        assert!(!frames.between());
    }
}

proptest! {
    #[test]
    fn any_messages_in_any_chunks_are_split(
        sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        chunk in 1_usize..400,
    ) {
        let body: Vec<u8> = sent.iter().flat_map(|message| write::frame(message)).collect();
        prop_assert_eq!(messages(&body, chunk), sent);
    }
}
