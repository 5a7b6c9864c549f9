//! Sees the far end of an HTTP/2 connection announce that it will close it: a GOAWAY frame. Calls
//! go on meanwhile, and new ones need another connection; HTTP/2 itself tells of it only when a
//! call is begun.

/// Follows frames by their headers, whichever way the bytes are cut.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: Vec<u8>,
    /// How much of the present frame is yet to come.
    payload: usize,
}

impl Frames {
    /// The next bytes of the far end's; whether a GOAWAY has begun in them.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> bool {
        let mut goodbye = false;
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len());
                self.payload -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let missing = HEADER - self.header.len();
            let (more, rest) = bytes.split_at(missing.min(bytes.len()));
            self.header.extend_from_slice(more);
            bytes = rest;
            if let [a, b, c, kind, _, _, _, _, _] = *self.header {
                goodbye |= kind == GOAWAY;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.header.clear();
            }
        }
        goodbye
    }
}

const HEADER: usize = 9;
const GOAWAY: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn a_goaway_is_seen_however_the_bytes_are_cut_and_nothing_else_is() {
        let goaway = frame(GOAWAY, b"\x7f\xff\xff\xff\0\0\0\0max_age");
        let before = [frame(4, b""), frame(0, &[GOAWAY; 300]), frame(6, &[GOAWAY; 8])].concat();
        let all = [before.clone(), goaway, frame(0, &[0; 70])].concat();
        for piece in 1..all.len() {
            let mut frames = Frames::default();
            let mut told = Vec::new();
            for (index, bytes) in all.chunks(piece).enumerate() {
                if frames.push(bytes) {
                    told.push(index);
                }
            }
            assert_eq!(told, [(before.len() + HEADER - 1) / piece], "in pieces of {piece}");
        }
        assert!(!Frames::default().push(&before));
    }

    #[test]
    fn no_bytes_make_it_fail() {
        let mut frames = Frames::default();
        for byte in 0..=u8::MAX {
            frames.push(&[byte; 1000]);
            frames.push(&[]);
        }
        assert!(frames.header.len() < HEADER);
    }
}
