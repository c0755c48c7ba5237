//! The page at `/inspector`, where operators see the cluster and act on it: plain static files, which tell nothing. What they show they ask of
//! the API, with the secret of whoever looks.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::pages::text_file;
use crate::app::App;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file below `/inspector/`: where it is, what it is, and the file.
macro_rules! file {
    ($kind:ident, $name:literal) => {
        (
            concat!("/inspector/", $name),
            $kind,
            include_str!(concat!("../../web/inspector/", $name)),
        )
    };
}

const PAGE: &str = include_str!("../../web/inspector/index.html");
const FILES: [(&str, &str, &str); 12] = [
    ("/inspector", HTML, PAGE),
    file!(STYLE, "style.css"),
    file!(SCRIPT, "main.js"),
    file!(SCRIPT, "api.js"),
    file!(SCRIPT, "ask.js"),
    file!(SCRIPT, "dom.js"),
    file!(SCRIPT, "log.js"),
    file!(SCRIPT, "nodes.js"),
    file!(SCRIPT, "session.js"),
    file!(SCRIPT, "sessions.js"),
    file!(SCRIPT, "troubles.js"),
    file!(SCRIPT, "words.js"),
];

/// Whoever is on this page has the secret: nothing runs, loads or is spoken to that is not ours, and no other page frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The files of the page.
pub fn router() -> Router<Arc<App>> {
    let add = |router: Router<Arc<App>>, (path, kind, text): (_, _, _)| {
        router.route(path, get(move || async move { guarded(kind, text) }))
    };
    FILES.into_iter().fold(Router::new(), add)
}

fn guarded(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    (headers, text_file(kind, text)).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The paths that are named in a file: `src="…"`, `href="…"`, `from './…'`.
    fn named(text: &str) -> BTreeSet<String> {
        let here = text.split("\"/inspector").skip(1);
        let here = here.filter_map(|rest| Some(format!("/inspector{}", rest.split('"').next()?)));
        let beside = text.split("from './").skip(1);
        let beside =
            beside.filter_map(|rest| Some(format!("/inspector/{}", rest.split('\'').next()?)));
        here.chain(beside).collect()
    }

    #[test]
    fn every_file_is_there_that_another_names_and_none_is_from_elsewhere() {
        let there: BTreeSet<_> = FILES.iter().map(|(path, ..)| (*path).to_owned()).collect();
        let wanted: BTreeSet<_> = FILES.iter().flat_map(|(.., text)| named(text)).collect();
        let mut entry = there.clone();
        entry.remove("/inspector");
        assert_eq!(
            wanted, entry,
            "all but the page itself are named, and no others"
        );
        for (path, _, text) in FILES {
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !outside.contains("http://") && !outside.contains("https://"),
                "{path}"
            );
            for unsafe_way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!text.contains(unsafe_way), "{path}: {unsafe_way}");
            }
        }
    }
}
