//! Subjects in words: `conventional`, `ringcast@FOLDER+driver=mmsg`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;

use crate::baseline::Kind;
use crate::subject::Choice;
use crate::subject::baseline::Options as Baseline;
use crate::subject::ringcast::{Options as Ringcast, Running};
use crate::subject::rival::{Kind as RivalKind, Options as Rival};

/// Where the secret of a running cluster is looked for: not on the command line, which ends up in reports.
pub(super) const SECRET: &str = "RINGCAST_BENCH_SECRET";

/// A key and its value.
type Setting<'a> = (&'a str, &'a str);

/// What `text` names.
pub(super) fn parse_choice(text: &str) -> anyhow::Result<Choice> {
    let mut words = text.split('+');
    let (name, place) = match words.next().unwrap_or_default().split_once('@') {
        Some((name, place)) => (name, Some(place)),
        None => (text.split('+').next().unwrap_or_default(), None),
    };
    let settings = words
        .map(|word| {
            word.split_once('=')
                .with_context(|| format!("{word} is no KEY=VALUE"))
        })
        .collect::<anyhow::Result<Vec<Setting<'_>>>>()?;
    match (name, place) {
        ("ringcast", folder) => ringcast(text, folder, &settings).map(Choice::Ringcast),
        ("running", Some(url)) => running(text, url, &settings).map(Choice::Running),
        (name, None) if Kind::from_str(name, false).is_ok() => {
            let kind = Kind::from_str(name, false).map_err(anyhow::Error::msg)?;
            baseline(kind, &settings).map(Choice::Baseline)
        }
        ("janus", None) => rival(text, RivalKind::Janus, &settings).map(Choice::Rival),
        ("rtpengine", None) => rival(text, RivalKind::Rtpengine, &settings).map(Choice::Rival),
        _ => bail!(
            "there is no subject {name}: try ringcast, conventional, naive, janus or rtpengine"
        ),
    }
}

/// Baselines can be made to make mistakes, so that one sees the benchmark notice.
fn baseline(kind: Kind, settings: &[Setting<'_>]) -> anyhow::Result<Baseline> {
    let mut options = Baseline::from(kind);
    for (key, value) in settings {
        match *key {
            "spoil" => options.spoil_every = Some(number(value)?),
            "skip" => options.skip_every = Some(number(value)?),
            "carries" if kind == Kind::Conventional => options.carries = Some(number(value)?),
            _ => bail!(
                "{kind} has no setting {key}: there are spoil, skip and, of conventional, carries"
            ),
        }
    }
    Ok(options)
}

fn rival(text: &str, kind: RivalKind, settings: &[Setting<'_>]) -> anyhow::Result<Rival> {
    let mut options = Rival::from(kind);
    text.clone_into(&mut options.name);
    for (key, value) in settings {
        match *key {
            "threads" => options.threads = Some(number(value)?),
            _ => bail!("{} has no setting {key}: there is threads", kind.name()),
        }
    }
    Ok(options)
}

fn ringcast(
    text: &str,
    folder: Option<&str>,
    settings: &[Setting<'_>],
) -> anyhow::Result<Ringcast> {
    let folder = match folder {
        Some(folder) => PathBuf::from(folder),
        None => own_folder()?,
    };
    let mut options = Ringcast::new(folder);
    text.clone_into(&mut options.name);
    for (key, value) in settings {
        match *key {
            "driver" => (*value).clone_into(&mut options.driver),
            "workers" => options.workers = number(value)?,
            "pin" => options.pin = number(value)?,
            "transport-cc" => options.transport_cc = number(value)?,
            "scrape" => options.scrape = Some(value.parse()?),
            key => match key.split_once('.') {
                Some(("env", name)) => options
                    .environment
                    .push((name.to_owned(), (*value).to_owned())),
                Some(("engine", key)) => options.engine_settings.push(toml_line(key, value)),
                _ => options.media_settings.push(toml_line(key, value)),
            },
        }
    }
    Ok(options)
}

fn running(text: &str, url: &str, settings: &[Setting<'_>]) -> anyhow::Result<Running> {
    let mut running = Running {
        name: text.to_owned(),
        url: url.to_owned(),
        secret: std::env::var(SECRET).unwrap_or_default(),
        roots: Vec::new(),
        insecure: false,
        processes: Vec::new(),
        metrics: None,
    };
    for (key, value) in settings {
        match *key {
            "pid" => running.processes.push(number(value)?),
            "metrics" => running.metrics = Some(number(value)?),
            "insecure" => running.insecure = number(value)?,
            _ => {
                bail!("a running cluster has no setting {key}: there are pid, metrics and insecure")
            }
        }
    }
    Ok(running)
}

/// A number, a truth or an address, whatever is wanted.
fn number<T: FromStr>(text: &str) -> anyhow::Result<T> {
    text.parse()
        .map_err(|_| anyhow::anyhow!("{text} does not fit here"))
}

/// `key = value`, the value in quotes unless it is a number or a truth.
fn toml_line(key: &str, value: &str) -> String {
    let is_bare = value.parse::<f64>().is_ok() || value.parse::<bool>().is_ok();
    if is_bare {
        format!("{key} = {value}")
    } else {
        format!("{key} = {value:?}")
    }
}

/// Where this program lies, beside which the others are.
fn own_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("can't find this program's file")?;
    let folder = program.parent().map(Path::to_path_buf);
    folder.context("a program lies in a folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::ringcast::Scrape;

    #[test]
    fn baselines_have_names_and_mistakes() {
        let plain = parse_choice("naive").expect("a baseline");
        assert_eq!(plain, Choice::Baseline(Baseline::from(Kind::Naive)));
        let mistaken = Choice::Baseline(Baseline {
            skip_every: Some(100),
            ..Baseline::from(Kind::Conventional)
        });
        let parsed = parse_choice("conventional+skip=100").expect("a baseline");
        assert_eq!(parsed, mistaken);
        for words in [
            "",
            "conventional+skip",
            "naive+skip=often",
            "naive+dance=1",
            "naive+carries=5",
            "naive@here",
        ] {
            assert!(parse_choice(words).is_err(), "{words}");
        }
    }

    #[test]
    fn builds_and_settings_of_ringcast() {
        let text = "ringcast@/other/build+driver=mmsg+workers=2+level=false+arena=64MiB+engine.padding_max=0+env.RUST_LOG=info";
        let Choice::Ringcast(options) = parse_choice(text).expect("a build") else {
            panic!("another subject");
        };
        assert_eq!(options.name, text);
        assert_eq!(options.binaries, Path::new("/other/build"));
        assert_eq!((options.driver.as_str(), options.workers), ("mmsg", 2));
        assert_eq!(
            options.media_settings,
            ["level = false", "arena = \"64MiB\""]
        );
        assert_eq!(options.engine_settings, ["padding_max = 0"]);
        let variable = ("RUST_LOG".to_owned(), "info".to_owned());
        assert_eq!(options.environment, [variable]);
        assert!(parse_choice("ringcast").is_ok());
        let Ok(Choice::Ringcast(scraped)) = parse_choice("ringcast+scrape=250ms") else {
            panic!("no subject");
        };
        let every = Scrape::Every(std::time::Duration::from_millis(250));
        assert_eq!(scraped.scrape, Some(every));
        assert!(parse_choice("ringcast+scrape=often").is_err());
        assert!(parse_choice("ringcast+workers=many").is_err());
    }

    #[test]
    fn running_clusters_have_a_url() {
        let text = "running@https://localhost:4443+pid=7+insecure=true+metrics=127.0.0.1:9091";
        let Choice::Running(running) = parse_choice(text).expect("a cluster") else {
            panic!("another subject");
        };
        assert_eq!(running.url, "https://localhost:4443");
        assert_eq!(running.processes, [7]);
        assert!(running.insecure && running.metrics.is_some());
        assert!(parse_choice("running").is_err());
        assert!(parse_choice("running@x+dance=1").is_err());
    }
}
