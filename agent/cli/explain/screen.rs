//! The path of a request as a person reads it: eighty columns, an arrow for each step.

use crate::explain::{Path, Step, Verdict, request::Talk};

/// All of it.
pub(super) fn screen(path: &Path) -> String {
    let request = &path.request;
    let method = if request.talk == Talk::Any && request.method != "GET" {
        format!("{} ", request.method)
    } else {
        String::new()
    };
    let mut text = format!("{method}{request}, by {}\n\n", path.user);
    for (place, step) in path.steps.iter().enumerate() {
        let arrow = match (place, &step.breaks, step.unknown) {
            (_, Some(_), _) => "✗",
            (_, None, true) => "?",
            (0, None, false) => " ",
            (_, None, false) => "→",
        };
        let head = format!(" {arrow} {:<10} ", step.step.name());
        text.push_str(&wrapped(&head, &step.what));
        let rest = step.more.iter().cloned().chain(said(step));
        for line in rest {
            text.push_str(&wrapped(MARGIN, &line));
        }
    }
    text.push('\n');
    text.push_str(&end(path));
    text
}

fn said(step: &Step) -> impl Iterator<Item = String> {
    let breaks = step.breaks.iter().map(|why| format!("BREAKS: {why}"));
    let next = step.next.iter().map(|next| format!("next: {next}"));
    breaks.chain(next)
}

fn end(path: &Path) -> String {
    let broken = path.steps.iter().find(|step| step.breaks.is_some());
    match (path.verdict, broken) {
        (Verdict::Whole, _) => "The path is whole.\n".to_owned(),
        (_, Some(step)) => {
            let why = step.breaks.as_deref().unwrap_or_default();
            wrapped("", &format!("It breaks at the {}: {why}.", step.step.name()))
        }
        (Verdict::Unknown | Verdict::Breaks, None) => {
            "Not all of it is known: somebody did not answer.\n".to_owned()
        }
    }
}

/// In lines of eighty columns; what follows the first stands under it.
fn wrapped(head: &str, text: &str) -> String {
    let margin = head.chars().count();
    let mut line = head.to_owned();
    let mut all = String::new();
    let mut width = margin;
    for word in text.split_whitespace() {
        let long = word.chars().count();
        if width > margin && width + 1 + long > COLUMNS {
            all.push_str(line.trim_end());
            all.push('\n');
            line = " ".repeat(margin);
            width = margin;
        }
        if width > margin {
            line.push(' ');
            width += 1;
        }
        line.push_str(word);
        width += long;
    }
    all.push_str(line.trim_end());
    all.push('\n');
    all
}

const COLUMNS: usize = 80;
const MARGIN: &str = "              ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Kind;

    #[test]
    fn a_path_is_a_list_of_steps_that_says_where_it_breaks() {
        let steps = vec![
            Step::new(Kind::Name, "the mesh says 10.96.0.10").and("a host of the mesh (Kubernetes)"),
            Step::new(Kind::Address, "10.96.0.10:80"),
            Step::new(Kind::Endpoints, "0 of 2 healthy")
                .and("10.0.0.1:8080 unhealthy (istiod says so), with a line that is a little too long for it")
                .breaks("Envoy answers 503: no endpoint is healthy", "hawser xds show eds"),
        ];
        let path = Path::new("http://hello.demo".parse().unwrap(), "root (0)".to_owned(), steps);
        let expected = "\
GET http://hello.demo:80/, by root (0)

   name       the mesh says 10.96.0.10
              a host of the mesh (Kubernetes)
 → address    10.96.0.10:80
 ✗ endpoints  0 of 2 healthy
              10.0.0.1:8080 unhealthy (istiod says so), with a line that is a
              little too long for it
              BREAKS: Envoy answers 503: no endpoint is healthy
              next: hawser xds show eds

It breaks at the endpoints: Envoy answers 503: no endpoint is healthy.
";
        assert_eq!(screen(&path), expected);
    }
}
