//! Lines from a pipe, and whoever takes them.

use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use super::*;

/// Takes lines when it is let.
struct Gate {
    taken: Arc<Mutex<Vec<u8>>>,
    open: Receiver<()>,
    busy: Sender<()>,
}

impl Outlet for Gate {
    fn lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.busy.send(()).ok();
        // Closed for good is open.
        self.open.recv().ok();
        self.taken.lock().extend_from_slice(lines);
        Ok(())
    }
}

#[test]
fn lines_come_whole_and_in_order() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (open, closed) = channel();
    drop(open);
    let gate = Gate { taken: Arc::clone(&taken), open: closed, busy: channel().0 };
    let text = "[2026-11-21T14:26:57.476Z] \"GET /\"\nterminate called\nno end";

    let rest = carry(text.as_bytes(), gate, |_| {}).unwrap();

    assert_eq!(String::from_utf8(taken.lock().clone()).unwrap(), format!("{text}\n"));
    assert_eq!(rest, Rest { last: vec!["terminate called".into(), "no end".into()], dropped: 0 });
}

/// What is said in pieces of one line each.
struct Lines {
    left: usize,
    stuck: Receiver<()>,
    first: bool,
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        if !self.first {
            // From now on the outlet holds one and takes no other.
            self.stuck.recv().map_err(io::Error::other)?;
            self.first = true;
        }
        self.left -= 1;
        buffer[..2].copy_from_slice(b"x\n");
        Ok(2)
    }
}

#[test]
fn whoever_is_stuck_does_not_hold_envoy_up_and_is_told_what_was_lost() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (open, closed) = channel();
    let (busy, stuck) = channel();
    let gate = Gate { taken: Arc::clone(&taken), open: closed, busy };
    let more = 1000;
    let lines = io::Cursor::new(b"first\n").chain(Lines { left: more, stuck, first: false });

    // All is read while nobody takes anything; only then is the outlet let go on.
    let rest = carry(lines, gate, |rest| {
        assert_eq!(usize::try_from(rest.dropped).unwrap(), more - MOST_WAITING);
        drop(open);
    })
    .unwrap();

    assert_eq!(usize::try_from(rest.dropped).unwrap(), more - MOST_WAITING);
    let taken = String::from_utf8(taken.lock().clone()).unwrap();
    let note = format!("{} lines of envoy were dropped", more - MOST_WAITING);
    assert_eq!(taken.matches(&note).count(), 1, "{taken}");
    assert_eq!(taken.lines().filter(|line| *line == "x").count(), MOST_WAITING);
}

#[test]
fn a_long_trace_does_not_push_out_what_came_before_it() {
    let mut last = Last::default();
    last.note(b"[2026-11-21 14:27:15.856][1][critical][main] [a.cc:1] assert failure: why\n");
    for number in 0..200 {
        last.note(
            format!("[2026-11-21 14:27:15.856][1][error][envoy_bug] [a.h:1] #{number}\n")
                .as_bytes(),
        );
    }
    assert_eq!(last.0.len(), MOST_KEPT);
    assert!(last.0.front().unwrap().ends_with("why"));
    assert!(last.0.back().unwrap().ends_with("#199"));
}

/// What was written, for two to see.
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_journal_is_told_how_loud_a_line_is_and_no_line_can_say_so_itself() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let lines = b"2026-11-21T14:26:55Z\twarning\tenvoy main a.cc:1\tx\tthread=1\n<0>GET /\n";

    Stream::new(Shared(Arc::clone(&taken)), true).lines(lines).unwrap();

    let text = String::from_utf8(taken.lock().clone()).unwrap();
    assert!(text.starts_with("<4>2026"), "{text}");
    assert!(text.ends_with("\n<6><0>GET /\n"), "{text}");
}
