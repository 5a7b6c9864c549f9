//! An answer on its way: header, question, and how much room there is behind them.

use crate::message::{HEADER, IN, flag, set_number};

/// An answer on its way.
pub(super) struct Draft<'a> {
    pub(super) packet: &'a [u8],
    pub(super) question_end: usize,
    pub(super) limit: usize,
    pub(super) out: &'a mut Vec<u8>,
}

impl Draft<'_> {
    /// The question without type and class: the name, with the root's octet.
    pub(super) fn name(&self) -> &[u8] {
        self.packet.get(HEADER..self.question_end.saturating_sub(4)).unwrap_or_default()
    }

    /// Starts with these flags.
    pub(super) fn begin(&mut self, flags: [u8; 2]) {
        begin(self.packet, self.question_end, flags, self.out);
    }

    pub(super) fn count_answers(&mut self, count: usize) {
        set_number(self.out, 6, u16::try_from(count).unwrap_or(u16::MAX));
    }

    pub(super) fn truncated(&mut self) {
        if let Some(high) = self.out.get_mut(2) {
            *high |= flag::TRUNCATED;
        }
    }

    /// Octets left, if `reserved` are needed at the end.
    pub(super) fn room(&self, reserved: usize) -> usize {
        self.limit.saturating_sub(self.out.len() + reserved)
    }
}

/// Starts an answer: identifier, flags and question, no records yet.
#[inline]
pub(super) fn begin(packet: &[u8], question_end: usize, flags: [u8; 2], out: &mut Vec<u8>) {
    let [high, low] = flags;
    out.clear();
    out.extend_from_slice(packet.get(..question_end).unwrap_or_default());
    if let Some([_, _, rest @ ..]) = out.first_chunk_mut::<HEADER>() {
        *rest = [flag::RESPONSE | high, low, 0, 1, 0, 0, 0, 0, 0, 0];
    }
}

/// A compression pointer. Whatever is pointed at here lies in or just behind the question, far
/// below the 16 KiB that a pointer reaches.
pub(super) fn pointer(at: usize) -> [u8; 2] {
    (0xc000 | u16::try_from(at).unwrap_or(0)).to_be_bytes()
}

/// What a record of class IN begins with: owner, type, class, TTL, length of its data.
pub(super) fn record_head([o0, o1]: [u8; 2], kind: u16, ttl: u32, len: u16) -> [u8; 12] {
    let [k0, k1] = kind.to_be_bytes();
    let [c0, c1] = IN.to_be_bytes();
    let [t0, t1, t2, t3] = ttl.to_be_bytes();
    let [l0, l1] = len.to_be_bytes();
    [o0, o1, k0, k1, c0, c1, t0, t1, t2, t3, l0, l1]
}
