//! Where the configuration comes from, key by key; and everything that is wrong with it at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::{Config, Error, LogFormat, overlay, parse, read_text, table, variable};

/// The layers of the configuration, the lowest first. They can be read again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file.
    pub file: Option<PathBuf>,
    /// The variables of the environment.
    pub environment: Table,
    /// The flags.
    pub flags: Table,
}

impl Sources {
    /// The configuration in effect.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with where it stands.
    pub fn load(&self) -> Result<Config, Error> {
        Config::load(self.file.as_deref(), self.overrides()).map_err(|error| match error {
            Error::Value(_) | Error::Bounds { .. } => match self.mistakes().into_iter().next() {
                Some(placed) => Error::Placed(placed),
                None => error,
            },
            whole => whole,
        })
    }

    /// The form of log lines, and the node's id, as far as they can be made out where something else is wrong.
    pub fn of_lines(&self) -> (LogFormat, String) {
        let (mut said, _) = self.file().unwrap_or_default();
        overlay(&mut said, self.overrides());
        let all = leaves(&said);
        // As if there were nothing else.
        let with = |key: &str| {
            let found = all.iter().find(|(name, _)| name == key);
            let alone = found.and_then(|(_, value)| parse(nested(key, value.clone())).ok());
            alone.unwrap_or_default()
        };
        (
            with("log.format").log.format,
            with("node_id").resolved().node_id,
        )
    }

    /// Everything that is wrong, with where it stands. None: it is usable.
    pub fn mistakes(&self) -> Vec<String> {
        let (mut table, origins) = match self.file() {
            Ok((file, text)) => (file.clone(), self.origins(&file, &text)),
            Err(error) => return vec![error.to_string()],
        };
        overlay(&mut table, self.overrides());
        let origin = |key: &str| origins.get(key).map_or(DEFAULT, String::as_str);
        let mut found = Vec::new();
        // Each key by itself, so that one that can't be read hides no other.
        for (key, value) in leaves(&table) {
            if let Err(error) = parse(nested(&key, value)) {
                found.push(format!("{}: {key}: {}", origin(&key), first_line(&error)));
            }
        }
        if found.is_empty() {
            match parse(table) {
                Ok(config) => {
                    let mistakes = config.resolved().mistakes();
                    found.extend(mistakes.iter().map(|mistake| match mistake {
                        Error::Bounds { key, why } => format!("{}: {key}: {why}", origin(key)),
                        other => other.to_string(),
                    }));
                }
                Err(error) => found.push(error.to_string()),
            }
        }
        found
    }

    /// The configuration in effect as TOML, and behind each key where its value comes from.
    ///
    /// # Errors
    ///
    /// If the file can't be read any more.
    pub fn print(&self, config: &Config) -> Result<String, Error> {
        let (file, text) = self.file()?;
        let origins = self.origins(&file, &text);
        let mut section = String::new();
        let mut text = String::new();
        for line in config.to_toml().lines() {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                section = format!("{name}.");
            }
            let key = line.split_once(" = ").map(|(key, _)| key);
            let key = key.filter(|key| !key.starts_with(char::is_whitespace));
            let origin = key.map(|key| {
                let key = format!("{section}{key}");
                origins.get(&key).map_or(DEFAULT, String::as_str)
            });
            // Writing to a string can't fail.
            let _ = match origin {
                Some(origin) => writeln!(text, "{line}  # {origin}"),
                None => writeln!(text, "{line}"),
            };
        }
        Ok(text)
    }

    fn overrides(&self) -> Table {
        let mut overrides = self.environment.clone();
        overlay(&mut overrides, self.flags.clone());
        overrides
    }

    /// What the file says, and its text.
    fn file(&self) -> Result<(Table, String), Error> {
        let Some(path) = &self.file else {
            return Ok(Default::default());
        };
        let text = read_text(path)?;
        Ok((table(path, &text)?, text))
    }

    fn origins(&self, file: &Table, text: &str) -> BTreeMap<String, String> {
        let path = self.file.as_ref();
        let path = path.map_or_else(String::new, |path| path.display().to_string());
        let document = DeTable::parse(text).ok();
        let document = document.as_ref().map(toml::Spanned::get_ref);
        let in_file = |key: &str| match document.and_then(|table| place_of(table, key)) {
            Some(place) => format!("{path}, line {}", line(text, place)),
            None => path.clone(),
        };
        let mut all = BTreeMap::new();
        for (key, _) in leaves(file) {
            let origin = in_file(&key);
            all.insert(key, origin);
        }
        for (key, _) in leaves(&self.environment) {
            let origin = variable(&key);
            all.insert(key, origin);
        }
        let flags = leaves(&self.flags).into_iter();
        all.extend(flags.map(|(key, _)| (key, "flag".to_owned())));
        all
    }
}

/// Where the name of a key stands, in bytes.
fn place_of(mut table: &DeTable<'_>, key: &str) -> Option<usize> {
    let mut place = None;
    for part in key.split('.') {
        let (name, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
        place = Some(name.span().start);
        if let DeValue::Table(below) = value.get_ref() {
            table = below;
        }
    }
    place
}

/// The number of the line, from 1.
fn line(text: &str, place: usize) -> usize {
    let before = text.get(..place).unwrap_or(text);
    before.matches('\n').count() + 1
}

/// Where a value comes from that nobody has set.
const DEFAULT: &str = "default";

/// Every key with a value, its sections before it.
pub fn leaves(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(section) => {
                let below = leaves(section).into_iter();
                found.extend(below.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => found.push((key.clone(), value.clone())),
        }
    }
    found
}

fn nested(key: &str, value: Value) -> Table {
    let (last, sections) = match key.rsplit_once('.') {
        Some((sections, last)) => (last, Some(sections)),
        None => (key, None),
    };
    let table = Table::from_iter([(last.to_owned(), value)]);
    match sections {
        Some(sections) => nested(sections, Value::Table(table)),
        None => table,
    }
}

fn first_line(error: &Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("configuration: ").unwrap_or(&text);
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(file: &str, environment: &str, flags: &str) -> (Sources, PathBuf) {
        let name = format!("ringcast-sources-{}-{}", std::process::id(), file.len());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, file).expect("written");
        let table = |text: &str| text.parse().expect("TOML");
        let sources = Sources {
            file: Some(path.clone()),
            environment: table(environment),
            flags: table(flags),
        };
        (sources, path)
    }

    #[test]
    fn the_form_of_lines_is_known_where_something_else_is_wrong() {
        let file = "log.format = 'json'\nnode_id = 'media_7'\nmedia.colour = 'red'";
        let (wrong, path) = sources(file, "", "");
        assert!(wrong.load().is_err());
        assert_eq!(wrong.of_lines(), (LogFormat::Json, "media_7".into()));
        let mut other = wrong.clone();
        other.flags = "log.format = 'text'".parse().expect("TOML");
        assert_eq!(other.of_lines().0, LogFormat::Text, "flags win");
        other.flags = "log.format = 'poems'\nnode_id = 7".parse().expect("TOML");
        let unreadable = (LogFormat::Text, Config::default().resolved().node_id);
        assert_eq!(other.of_lines(), unreadable, "neither can be made out");
        std::fs::remove_file(path).expect("there");
        assert_eq!(wrong.of_lines().0, LogFormat::Text, "there is no file");
    }

    #[test]
    fn all_mistakes_are_told_with_where_they_stand() {
        let (sources, path) = sources(
            "media.colour = 'red'\nmedia.arena = '64 bananas'\nmedia.advertise = ['192.0.2.1']",
            "limits.memory = 7",
            "media.base_port = 'high'",
        );
        let told = sources.mistakes();
        let file = path.display();
        let (first, second) = (format!("{file}, line 1"), format!("{file}, line 2"));
        for (origin, key, why) in [
            (first.as_str(), "media.colour", "unknown field"),
            (&second, "media.arena", "64 bananas"),
            ("RINGCAST_NODE__LIMITS__MEMORY", "limits.memory", ""),
            ("flag", "media.base_port", "u16"),
        ] {
            let begins = format!("{origin}: {key}: ");
            let found = told
                .iter()
                .any(|text| text.starts_with(&begins) && text.contains(why));
            assert!(found, "{begins}{why}: {told:?}");
        }
        assert_eq!(told.len(), 4, "{told:?}");
        let alone = sources.load().expect_err("the same").to_string();
        assert!(
            told.iter()
                .any(|one| alone == format!("configuration {one}")),
            "{alone}"
        );
        std::fs::remove_file(path).expect("there");
    }

    #[test]
    fn bounds_are_told_all_at_once_and_a_good_one_has_none() {
        let (bad, path) = sources(
            "media = { advertise = ['192.0.2.1'], gather = '6ms', arena = '64KiB' }",
            "",
            "",
        );
        let told = bad.mistakes();
        assert_eq!(told.len(), 2, "{told:?}");
        std::fs::remove_file(path).expect("there");
        let (good, path) = sources("media.advertise = ['192.0.2.1']", "", "");
        assert_eq!(good.mistakes(), Vec::<String>::new());
        std::fs::remove_file(path).expect("there");
    }

    #[test]
    fn what_is_printed_says_where_it_comes_from_and_can_be_read_back() {
        let (sources, path) = sources(
            "media.advertise = ['192.0.2.1']\nmedia.base_port = 1000",
            "media.base_port = 2000\nmedia.workers = 1",
            "log.level = 'debug'",
        );
        let config = sources.load().expect("good");
        let text = sources.print(&config).expect("printable");
        let again = Config::load(None, text.parse().expect("TOML")).expect("good");
        assert_eq!(again, config);
        let file = path.display().to_string();
        for line in [
            "base_port = 2000  # RINGCAST_NODE__MEDIA__BASE_PORT",
            "level = \"debug\"  # flag",
            "pin = true  # default",
            &format!("advertise = [\"192.0.2.1\"]  # {file}, line 1"),
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
        std::fs::remove_file(path).expect("there");
    }
}
