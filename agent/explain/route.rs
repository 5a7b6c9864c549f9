//! Which virtual host and which route take an HTTP request.
//!
//! A host is compared as Envoy does it: the whole name, then the longest that begins with `*`,
//! then the longest that ends in it, then `*` by itself. Routes are tried in their order. A
//! condition that cannot be told here is named, and the search goes on behind it.

use super::dump::{HeaderMatch, Route, RouteMatch, StringMatch, VirtualHost, Weighted};

/// A request as routes see it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its Host, with what is taken off it taken off.
    pub authority: &'a str,
    /// Its method.
    pub method: &'a str,
    /// Its path, without a query.
    pub path: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
}

/// A virtual host, and the domain that it was found by.
pub type Hosted<'a> = (&'a VirtualHost, &'a str);

/// The virtual host for an authority.
pub fn host<'a>(hosts: &'a [VirtualHost], authority: &str) -> Option<Hosted<'a>> {
    let authority = authority.to_ascii_lowercase();
    let all = hosts
        .iter()
        .flat_map(|host| host.domains.iter().map(move |domain| (host, domain.as_str())));
    let ranked = all.filter_map(|(host, domain)| Some((rank(domain, &authority)?, (host, domain))));
    // Of several that are the same, the first.
    ranked.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, hosted)| hosted)
}

fn rank(domain: &str, authority: &str) -> Option<(u8, usize)> {
    let domain = domain.to_ascii_lowercase();
    if domain == "*" {
        return Some((0, 0));
    }
    if domain == authority {
        return Some((3, 0));
    }
    // A star stands for something.
    if let Some(end) = domain.strip_prefix('*') {
        return (authority.len() > end.len() && authority.ends_with(end)).then_some((2, end.len()));
    }
    let begin = domain.strip_suffix('*')?;
    (authority.len() > begin.len() && authority.starts_with(begin)).then_some((1, begin.len()))
}

/// What is known of a route's conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fits {
    /// All of them hold.
    Yes,
    /// One does not.
    No,
    /// None fails, and this one cannot be told.
    Perhaps(String),
}

/// The route for a request, and those before it that could take it, with on what that depends.
pub fn route<'a>(
    routes: &'a [Route],
    asked: &Asked<'_>,
) -> (Option<&'a Route>, Vec<(&'a Route, String)>) {
    let mut perhaps = Vec::new();
    for route in routes {
        match fits(&route.r#match, asked) {
            Fits::Yes => return (Some(route), perhaps),
            Fits::Perhaps(on) => perhaps.push((route, on)),
            Fits::No => (),
        }
    }
    (None, perhaps)
}

/// Whether a route's conditions hold.
pub fn fits(wanted: &RouteMatch, asked: &Asked<'_>) -> Fits {
    let mut found = vec![path(wanted, asked)];
    found.extend(wanted.headers.iter().map(|header| self::header(header, asked)));
    let query = wanted.query_parameters.first();
    found.extend(query.map(|one| Fits::Perhaps(format!("the parameter {}", one.name))));
    let others = [
        (wanted.grpc.is_some(), "it is gRPC"),
        (wanted.runtime_fraction.is_some(), "chance: it takes a share of the requests"),
        (wanted.tls_context.is_some(), "the client's certificate"),
        (!wanted.dynamic_metadata.is_empty(), "what filters say"),
        (!wanted.filter_state.is_empty(), "what filters say"),
        (!wanted.cookies.is_empty(), "a cookie"),
    ];
    let told =
        others.iter().filter(|(there, _)| *there).map(|(_, on)| Fits::Perhaps((*on).to_owned()));
    found.extend(told);
    if found.contains(&Fits::No) {
        return Fits::No;
    }
    found.into_iter().find(|one| *one != Fits::Yes).unwrap_or(Fits::Yes)
}

fn path(wanted: &RouteMatch, asked: &Asked<'_>) -> Fits {
    let alike = wanted.case_sensitive != Some(false);
    let fold = |text: &str| if alike { text.to_owned() } else { text.to_ascii_lowercase() };
    let path = fold(asked.path);
    if let Some(prefix) = &wanted.prefix {
        return yes(path.starts_with(&fold(prefix)));
    }
    if let Some(whole) = &wanted.path {
        return yes(path == fold(whole));
    }
    if let Some(prefix) = &wanted.path_separated_prefix {
        let rest = path.strip_prefix(&fold(prefix)).map(str::to_owned);
        return yes(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    }
    match &wanted.safe_regex {
        Some(regex) => expression(&regex.regex, "the path"),
        None if wanted.connect_matcher.is_some() => yes(asked.method == "CONNECT"),
        None if wanted.path_match_policy.is_some() => {
            Fits::Perhaps("the path, by a template".to_owned())
        }
        None => Fits::Yes,
    }
}

fn header(wanted: &HeaderMatch, asked: &Asked<'_>) -> Fits {
    let value = match wanted.name.to_ascii_lowercase().as_str() {
        ":method" => Some(asked.method),
        ":authority" | "host" => Some(asked.authority),
        ":path" => Some(asked.path),
        ":scheme" => Some(asked.scheme),
        _ => None,
    };
    let value = value.or(wanted.treat_missing_header_as_empty.then_some(""));
    if let Some(there) = wanted.present_match {
        return turned(yes(value.is_some() == there), wanted.invert_match);
    }
    let Some(value) = value else {
        // Who explains sends no such header. Turned round, what is not there does not fit.
        return yes(wanted.invert_match);
    };
    let text = StringMatch {
        exact: wanted.exact_match.clone(),
        prefix: wanted.prefix_match.clone(),
        suffix: wanted.suffix_match.clone(),
        contains: wanted.contains_match.clone(),
        safe_regex: wanted.safe_regex_match.clone(),
        ignore_case: false,
    };
    let text = wanted.string_match.as_ref().unwrap_or(&text);
    let fits = match wanted.range_match {
        Some(_) => Fits::No,
        None => self::text(text, value, &wanted.name),
    };
    turned(fits, wanted.invert_match)
}

fn text(wanted: &StringMatch, value: &str, of: &str) -> Fits {
    let fold =
        |text: &str| if wanted.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let value = fold(value);
    if let Some(exact) = &wanted.exact {
        return yes(value == fold(exact));
    }
    if let Some(prefix) = &wanted.prefix {
        return yes(value.starts_with(&fold(prefix)));
    }
    if let Some(suffix) = &wanted.suffix {
        return yes(value.ends_with(&fold(suffix)));
    }
    if let Some(part) = &wanted.contains {
        return yes(value.contains(&fold(part)));
    }
    match &wanted.safe_regex {
        Some(regex) => expression(&regex.regex, of),
        None => Fits::Yes,
    }
}

/// The one that fits everything is told; others are not evaluated.
fn expression(regex: &str, of: &str) -> Fits {
    match regex {
        ".*" => Fits::Yes,
        regex => Fits::Perhaps(format!("whether {of} matches {regex} (not evaluated)")),
    }
}

const fn yes(fits: bool) -> Fits {
    if fits { Fits::Yes } else { Fits::No }
}

fn turned(fits: Fits, invert: bool) -> Fits {
    match (fits, invert) {
        (Fits::Yes, true) => Fits::No,
        (Fits::No, true) => Fits::Yes,
        (fits, _) => fits,
    }
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Does {
    /// Sends the request to one of these clusters.
    Sends(Vec<Weighted>),
    /// Sends it to the cluster that is named in this header.
    Header(String),
    /// Answers with another address.
    Redirects,
    /// Answers by itself.
    Answers(u16),
    /// Something that is not followed.
    Other,
}

/// What a route does.
pub fn does(route: &Route) -> Does {
    if let Some(direct) = &route.direct_response {
        return Does::Answers(direct.status);
    }
    if route.redirect.is_some() {
        return Does::Redirects;
    }
    let Some(action) = &route.route else { return Does::Other };
    if let Some(cluster) = &action.cluster {
        return Does::Sends(vec![Weighted { name: cluster.clone(), weight: None }]);
    }
    if let Some(weighted) = &action.weighted_clusters {
        return Does::Sends(weighted.clusters.clone());
    }
    action.cluster_header.clone().map_or(Does::Other, Does::Header)
}

/// For which paths a route is, in a few words.
pub fn condition(wanted: &RouteMatch) -> String {
    let path = if let Some(prefix) = &wanted.prefix {
        format!("prefix {prefix}")
    } else if let Some(path) = &wanted.path {
        format!("path {path}")
    } else if let Some(prefix) = &wanted.path_separated_prefix {
        format!("prefix {prefix}, whole parts")
    } else if let Some(regex) = &wanted.safe_regex {
        format!("expression {}", regex.regex)
    } else {
        "every path".to_owned()
    };
    match wanted.headers.len() {
        0 => path,
        1 => format!("{path}, a header"),
        count => format!("{path}, {count} headers"),
    }
}

#[cfg(test)]
mod tests;
