//! Laying one source of configuration over another.

use toml::{Table, Value};

/// What the name of every variable begins with; two underscores stand between the parts of a key.
pub const ENVIRONMENT_PREFIX: &str = "RINGCAST_NODE__";
/// The variable that names the file.
const FILE: &str = "RINGCAST_NODE_CONFIG";

/// Lays `upper` over `lower`, key by key.
pub fn overlay(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

/// The variable that sets a key.
pub fn variable(key: &str) -> String {
    let name = key.replace('.', "__").to_ascii_uppercase();
    format!("{ENVIRONMENT_PREFIX}{name}")
}

/// A variable that was meant to set a key but for its underscores, and the key that it was meant for. Others may be called as we are:
/// Kubernetes tells each container of services by variables that begin with their names.
pub fn misspelt(names: impl Iterator<Item = String>, keys: &[String]) -> Option<(String, String)> {
    let letters = |text: &str| text.replace(['_', '.'], "").to_ascii_lowercase();
    let mut ours = names.filter(|name| {
        name.starts_with("RINGCAST_NODE_") && !name.starts_with(ENVIRONMENT_PREFIX) && name != FILE
    });
    ours.find_map(|name| {
        let meant = letters(&name["RINGCAST_NODE_".len()..]);
        let key = keys.iter().find(|key| letters(key) == meant)?.clone();
        Some((name, key))
    })
}

/// `RINGCAST_NODE__MEDIA__BASE_PORT=30000` is `media.base_port = 30000`. What is no TOML value is a string; a list may be
/// written with commas.
pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Table {
    let mut table = Table::new();
    for (name, text) in variables {
        let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
            continue;
        };
        let key = key.to_ascii_lowercase();
        let mut value = match key.as_str() {
            // Its commas are its own: info,link=debug.
            "log__level" => Value::String(text),
            _ => parse(&text),
        };
        for part in key.rsplit("__") {
            value = Value::Table(Table::from_iter([(part.to_owned(), value)]));
        }
        if let Value::Table(layer) = value {
            overlay(&mut table, layer);
        }
    }
    table
}

fn parse(text: &str) -> Value {
    let read = |text: &str| {
        format!("value = {text}")
            .parse::<Table>()
            .ok()?
            .remove("value")
    };
    if let Some(value) = read(text) {
        return value;
    }
    if text.contains(',') {
        return Value::Array(
            text.split(',')
                .map(|part| Value::String(part.trim().into()))
                .collect(),
        );
    }
    Value::String(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_environment_overrides_the_file_key_by_key() {
        let mut table: Table = "media = { base_port = 1, workers = 2, advertise = ['192.0.2.1'] }"
            .parse()
            .expect("TOML");
        let variables = [
            ("RINGCAST_NODE__MEDIA__BASE_PORT", "30000"),
            ("RINGCAST_NODE__MEDIA__ADVERTISE", "192.0.2.2, 2001:db8::1"),
            ("RINGCAST_NODE__MEDIA__ARENA", "8MiB"),
            ("RINGCAST_NODE__NODE_ID", "media_1"),
            ("RINGCAST_NODE__LOG__LEVEL", "info,link=debug"),
            ("RINGCAST_NODE_UNRELATED", "x"),
            ("HOME", "/"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        overlay(&mut table, from_environment(variables.into_iter()));
        let config = Config::load(None, table).expect("valid");
        assert_eq!((config.media.base_port, config.media.workers), (30_000, 2));
        assert_eq!(config.media.advertise.len(), 2);
        assert_eq!(config.node_id, "media_1");
        assert_eq!(config.log.level, "info,link=debug");
    }

    #[test]
    fn a_variable_with_too_few_underscores_is_named_with_the_right_one() {
        let keys = ["media.base_port".to_owned(), "node_id".to_owned()];
        let of = |name: &str| misspelt([name.to_owned()].into_iter(), &keys);
        for name in [
            "RINGCAST_NODE_MEDIA_BASE_PORT",
            "RINGCAST_NODE_MEDIA__BASEPORT",
        ] {
            let (told, key) = of(name).expect("misspelt");
            assert_eq!(
                (told.as_str(), variable(&key).as_str()),
                (name, "RINGCAST_NODE__MEDIA__BASE_PORT")
            );
        }
        for name in [
            "RINGCAST_NODE__MEDIA__BASE_PORT",
            "RINGCAST_NODE_CONFIG",
            "RINGCAST_NODE_PORT",
            "RINGCAST_NODE_SERVICE_HOST",
        ] {
            assert_eq!(of(name), None);
        }
    }

    #[test]
    fn an_unknown_variable_is_an_error() {
        let variables = [("RINGCAST_NODE__MEDIA__BASEPORT".to_owned(), "1".to_owned())];
        let error =
            Config::load(None, from_environment(variables.into_iter())).expect_err("unknown");
        assert!(error.to_string().contains("baseport"), "{error}");
    }
}
