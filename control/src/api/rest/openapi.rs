//! `/openapi.json`: this API in the words of OpenAPI 3.1, for whoever makes clients or tests of it. It tells nothing that is secret.

use axum::http::header;
use axum::response::IntoResponse;

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`
pub async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Every route of a router as it is written: `("GET", "/sessions")`.
    fn routes_in(source: &str) -> BTreeSet<(String, String)> {
        let mut routes = BTreeSet::new();
        for piece in source.split(".route(").skip(1) {
            let path = piece.split('"').nth(1).expect("a path").to_owned();
            let end = piece.find("\n        .").unwrap_or(piece.len());
            let handlers = piece[..end].split('"').nth(2).expect("handlers");
            for method in ["get", "post", "put", "patch", "delete"] {
                let is_there = handlers
                    .match_indices(&format!("{method}("))
                    .any(|(at, _)| {
                        let before = handlers[..at].chars().next_back();
                        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
                    });
                if is_there {
                    routes.insert((method.to_uppercase(), path.clone()));
                }
            }
        }
        routes
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let source = include_str!("mod.rs");
        let source = source.split("/// A request that was not fulfilled.").next();
        let routes = routes_in(source.expect("a router"));
        assert!(routes.len() > 30, "{routes:?}");
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().expect("paths");
        let described = paths.iter().flat_map(|(path, item)| {
            let short = path.strip_prefix("/openvidu/api").unwrap_or(path);
            let methods = item.as_object().expect("methods").keys();
            let methods = methods.filter(|key| *key != "parameters");
            methods.map(move |method| (method.to_uppercase(), short.to_owned()))
        });
        let described: BTreeSet<_> = described.collect();
        assert_eq!(routes, described);
    }

    #[test]
    fn whatever_is_referred_to_is_there() {
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let references = DOCUMENT.split("\"$ref\": \"#").skip(1);
        let references: Vec<_> = references
            .filter_map(|text| text.split('"').next())
            .collect();
        assert!(references.len() > 50);
        for pointer in references {
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
