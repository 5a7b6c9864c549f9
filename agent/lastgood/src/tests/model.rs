//! Any sequence of what can happen, against a map.

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Clone, Debug)]
enum Event {
    Push {
        whole: bool,
        resources: Vec<(u8, u8, u8)>,
        removed: Vec<u8>,
    },
    /// The oldest that waits.
    Accept,
    Drop,
    /// A draft that is cut in the middle of a resource.
    Cut {
        length: u16,
    },
    Reopen,
    Look,
}

fn event() -> impl Strategy<Value = Event> {
    let resources = vec((0_u8..8, 0_u8..3, any::<u8>()), 0..6);
    prop_oneof![
        4 => (any::<bool>(), resources, vec(0_u8..8, 0..3))
            .prop_map(|(whole, resources, removed)| Event::Push { whole, resources, removed }),
        4 => Just(Event::Accept),
        1 => Just(Event::Drop),
        1 => any::<u16>().prop_map(|length| Event::Cut { length }),
        1 => Just(Event::Reopen),
        1 => Just(Event::Look),
    ]
}

fn name(number: u8) -> String {
    format!("name-{number}")
}

struct Bench {
    directory: TempDir,
    shelf: Shelf,
    book: Book,
    waiting: Vec<(Pending, Push<'static>)>,
    state: Option<State>,
}

impl Bench {
    async fn new() -> Self {
        let (directory, shelf) = place();
        let book = shelf.book(KEY).await;
        Self { directory, shelf, book, waiting: Vec::new(), state: None }
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Push { whole, resources, removed } => {
                let resources = resources.into_iter().map(|(number, body, size)| {
                    // Now and then one that is not gathered before it is written.
                    let size = if size > 250 { 70_000 } else { usize::from(size) };
                    (name(number), vec![body; size])
                });
                let flavour = if whole { Flavour::Sotw } else { Flavour::Delta };
                let removed = removed.into_iter().filter(|_| !whole).map(name).collect();
                let push = Push {
                    flavour,
                    whole,
                    removed,
                    resources: resources.collect(),
                    ..Push::delta(&[])
                };
                let pending = push.to(&self.book, "v").await;
                self.waiting.push((pending, push));
            }
            Event::Accept if !self.waiting.is_empty() => {
                let (pending, push) = self.waiting.remove(0);
                pending.accepted();
                self.apply(push);
            }
            Event::Drop => drop(self.waiting.pop()),
            Event::Cut { length } => {
                let mut draft = self.book.draft(CLUSTER, Flavour::Delta, false);
                draft.resource(400_000);
                draft.bytes(vec![0x0a; usize::from(length)].into());
                draft.bytes(vec![0x0a; 300_000].into());
                draft.hand_over().await;
            }
            Event::Reopen => {
                self.waiting.clear();
                let shelf = Shelf::open(options(&self.directory.path().join("none")));
                std::mem::replace(&mut self.shelf, shelf).closed().await;
                self.shelf = Shelf::open(options(self.directory.path()));
                self.book = self.shelf.book(KEY).await;
            }
            Event::Look | Event::Accept => assert_eq!(kept(&self.book).await, self.state),
        }
    }

    fn apply(&mut self, push: Push<'_>) {
        let state = self.state.get_or_insert_default();
        if push.whole {
            state.clear();
        }
        // Who is both is gone, as Envoy takes it.
        for (name, body) in push.resources {
            let value = value(&name, &body);
            state.insert(name, value);
        }
        for name in push.removed {
            state.remove(&name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn whatever_happens_the_state_is_what_was_accepted(events in vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new().await;
            for event in events {
                bench.take(event).await;
            }
            bench.take(Event::Look).await;
            bench.take(Event::Reopen).await;
            bench.take(Event::Look).await;
        });
    }
}
