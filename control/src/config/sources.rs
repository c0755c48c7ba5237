//! Where the configuration comes from, key by key; and everything that is wrong with it at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::{
    Config, Environment, Error, LogFormat, Settings, layered, line_of, openvidu, read, read_all,
};

/// What our own variables begin with.
const OURS: &str = "RINGCAST_MASTER_";
/// Where a value comes from that nobody has set.
const DEFAULT: &str = "default";

/// The layers of the configuration. They can be read again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// The flags, with our own variables of the environment under them.
    pub flags: Settings,
    /// Our own variables that mean something.
    pub variables: Vec<String>,
}

impl Sources {
    /// The configuration in effect.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(&self) -> Result<Config, Error> {
        self.environment.check(&self.variables)?;
        let get = |name: &str| self.environment.get(name);
        Config::load(self.file.as_deref(), self.flags.clone(), get)
    }

    /// The form of log lines, as far as it can be made out where something else is wrong.
    pub fn log_format(&self) -> LogFormat {
        let file = self.file.as_deref().and_then(|path| read_all(path).ok());
        let said = file.and_then(|(settings, _)| settings.log_format);
        self.flags.log_format.or(said).unwrap_or_default()
    }

    /// Everything that is wrong, with where it stands. None: it is usable.
    pub fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        let checked = self.environment.check(&self.variables);
        found.extend(checked.err().map(|error| placed(&error)));
        let file = match self.file.as_deref().map(read_all).transpose() {
            Ok(file) => {
                let (settings, mistakes) = file.unwrap_or_default();
                found.extend(mistakes.iter().map(placed));
                settings
            }
            Err(error) => return vec![error.to_string()],
        };
        let get = |name: &str| self.environment.get(name);
        let by_openvidu = match openvidu::settings(get) {
            Ok(settings) => settings,
            Err(error) => {
                found.push(placed(&error));
                Settings::default()
            }
        };
        let origins = self.origins(&file, &by_openvidu);
        let config = layered(self.flags.clone(), by_openvidu, file).filled();
        let unread = found.clone();
        for mistake in config.mistakes() {
            let text = mistake.to_string();
            found.push(match &mistake {
                // It stands there, only not as it should, and that is told already.
                Error::Value { key, .. }
                    if unread.iter().any(|one| one.contains(&format!(": {key}: "))) =>
                {
                    continue;
                }
                Error::Value { key, why } => {
                    let top = key.split('.').next().unwrap_or(key);
                    let origin = origins.get(top).map_or(DEFAULT, String::as_str);
                    format!("{origin}: {key}: {why}")
                }
                _ => text,
            });
        }
        found
    }

    /// The configuration in effect as TOML, secrets hidden, and behind each key where its value comes from.
    ///
    /// # Errors
    /// When the file can't be read any more.
    pub fn print(&self, config: &Config) -> anyhow::Result<String> {
        let file = self.file.as_deref().map(read).transpose()?;
        let get = |name: &str| self.environment.get(name);
        let by_openvidu = openvidu::settings(get)?;
        let origins = self.origins(&file.unwrap_or_default(), &by_openvidu);
        let mut text = String::new();
        let mut is_nested = false;
        for line in toml::to_string(config)?.lines() {
            let header = line
                .strip_prefix("[[")
                .and_then(|rest| rest.strip_suffix("]]"));
            is_nested |= header.is_some();
            let key = line.split_once(" = ").map(|(key, _)| key);
            let key = header.or(key.filter(|_| !is_nested));
            let origin = key.map(|key| origins.get(key).map_or(DEFAULT, String::as_str));
            // Writing to a string can't fail.
            let _ = match origin {
                Some(origin) => writeln!(text, "{line}  # {origin}"),
                None => writeln!(text, "{line}"),
            };
        }
        Ok(text)
    }

    fn path(&self) -> String {
        let path = self.file.as_ref();
        path.map_or_else(String::new, |path| path.display().to_string())
    }

    fn origins(&self, file: &Settings, by_openvidu: &Settings) -> BTreeMap<&'static str, String> {
        let mut origins = BTreeMap::new();
        let text = self
            .file
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok());
        let text = text.unwrap_or_default();
        for key in file.keys() {
            origins.insert(
                key,
                format!("{}, line {}", self.path(), line_of(&text, key)),
            );
        }
        for key in by_openvidu.keys() {
            origins.insert(key, "environment, by OpenVidu's name".to_owned());
        }
        for key in self.flags.keys() {
            let variable = format!("{OURS}{}", key.to_uppercase());
            // A flag wins over the variable, and nobody sets both to say the same.
            let origin = match self.environment.get(&variable) {
                Some(_) => format!("flag or {variable}"),
                None => "flag".to_owned(),
            };
            origins.insert(key, origin);
        }
        origins
    }
}

/// Without the word before the place: all of them are of the configuration.
fn placed(error: &Error) -> String {
    let text = error.to_string();
    let place = ["configuration: ", "configuration "]
        .iter()
        .find_map(|word| text.strip_prefix(word));
    place.unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Table;

    fn sources(name: &str, file: &str, environment: &[(&str, &str)], flags: &str) -> Sources {
        let name = format!("ringcast-master-sources-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, file).expect("written");
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Sources {
            file: Some(path),
            environment: Environment::new(environment.iter().map(owned)),
            flags: toml::from_str(flags).expect("known keys"),
            variables: vec!["RINGCAST_MASTER_LISTEN".to_owned()],
        }
    }

    fn remove(sources: &Sources) {
        std::fs::remove_file(sources.file.as_ref().expect("set")).expect("there");
    }

    #[test]
    fn all_mistakes_are_told_with_where_they_stand() {
        let sources = sources(
            "bad",
            "secrte = 'x'\nload_fit = 'worst'\nnode_silence = 7\nreconnect_grace = '1h'\n[[nodes]]\nid = 'a'\nuri = 'quic://nowhere'",
            &[("RINGCAST_MASTER_LISTNE", "x"), ("OPENVIDU_CDR", "maybe")],
            "log_level = 'info,link=loud'",
        );
        let told = sources.mistakes();
        let file = sources.path();
        for begins in [
            "RINGCAST_MASTER_LISTNE: ",
            "OPENVIDU_CDR: ",
            "flag: log_level: ",
            "default: secret: ",
            &format!("{file}, line 1: secrte: there is no such key; did you mean secret?"),
            &format!("{file}, line 3: node_silence: "),
            &format!("{file}, line 2: load_fit: 'worst' is not least, twoChoices or bestFit"),
            &format!("{file}, line 4: reconnect_grace: must be between"),
            &format!("{file}, line 5: nodes.a.uri: "),
        ] {
            let is_told = told.iter().any(|text| text.starts_with(begins));
            assert!(is_told, "{begins}: {told:#?}");
        }
        assert_eq!(told.len(), 9, "{told:#?}");
        remove(&sources);
    }

    #[test]
    fn the_form_of_lines_is_known_where_something_else_is_wrong() {
        let file = "log_format = 'json'\ncolour = 'red'\nnode_silence = 'long'";
        let mut wrong = sources("form", file, &[], "");
        assert!(wrong.load().is_err());
        assert_eq!(wrong.log_format(), LogFormat::Json);
        wrong.flags.log_format = Some(LogFormat::Text);
        assert_eq!(wrong.log_format(), LogFormat::Text, "flags win");
        remove(&wrong);
        wrong.flags.log_format = None;
        assert_eq!(wrong.log_format(), LogFormat::Text, "there is no file");
    }

    #[test]
    fn a_key_that_is_there_is_not_said_to_be_missing() {
        let sources = sources("unquoted", "secret = 12345678", &[], "");
        let told = sources.mistakes();
        assert!(told.len() == 1 && told[0].contains("in quotes"), "{told:?}");
        remove(&sources);
    }

    #[test]
    fn what_is_good_has_no_mistakes_and_is_printed_with_where_it_comes_from() {
        let sources = sources(
            "good",
            "secret = 'hush-hush'\nsessions_max = 5\nwebhook_headers = ['A: hush-hush']\n[[nodes]]\nid = 'a'\nuri = 'quic://127.0.0.1:1'",
            &[("HTTPS_PORT", "4000")],
            "log_level = 'debug'",
        );
        assert_eq!(sources.mistakes(), Vec::<String>::new());
        let config = sources.load().expect("good");
        let text = sources.print(&config).expect("printable");
        let file = sources.path();
        for line in [
            "log_level = \"debug\"  # flag",
            "listen = \"0.0.0.0:4000\"  # environment, by OpenVidu's name",
            "demo_page = false  # default",
            &format!("sessions_max = 5  # {file}"),
            &format!("secret = \"***\"  # {file}"),
            &format!("[[nodes]]  # {file}"),
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
        assert!(!text.contains("hush-hush"), "{text}");
        assert!(text.parse::<Table>().is_ok());
        remove(&sources);
    }
}
