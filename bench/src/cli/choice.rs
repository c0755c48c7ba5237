//! Subjects in words: `conventional`, `ringcast@FOLDER+driver=mmsg`.

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;

use crate::baseline::Kind;
use crate::subject::Choice;
use crate::subject::baseline::Options;

/// What `text` names.
pub(super) fn parse_choice(text: &str) -> anyhow::Result<Choice> {
    let mut words = text.split('+');
    let name = words.next().unwrap_or_default();
    let settings = words
        .map(|word| {
            word.split_once('=')
                .with_context(|| format!("{word} is no KEY=VALUE"))
        })
        .collect::<anyhow::Result<Vec<(&str, &str)>>>()?;
    if let Ok(kind) = Kind::from_str(name, false) {
        return baseline(kind, &settings);
    }
    bail!("there is no subject {name}: try ringcast, conventional or naive")
}

/// Baselines can be made to make mistakes, so that one sees the benchmark notice.
fn baseline(kind: Kind, settings: &[(&str, &str)]) -> anyhow::Result<Choice> {
    let mut options = Options::from(kind);
    for (key, value) in settings {
        let every = Some(
            value
                .parse()
                .with_context(|| format!("{value} is no number"))?,
        );
        match *key {
            "spoil" => options.spoil_every = every,
            "skip" => options.skip_every = every,
            _ => bail!("{kind} has no setting {key}: there are spoil and skip"),
        }
    }
    Ok(Choice::Baseline(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baselines_have_names_and_mistakes() {
        let plain = parse_choice("naive").expect("a baseline");
        assert_eq!(plain, Choice::Baseline(Options::from(Kind::Naive)));
        let mistaken = Choice::Baseline(Options {
            skip_every: Some(100),
            ..Options::from(Kind::Conventional)
        });
        let parsed = parse_choice("conventional+skip=100").expect("a baseline");
        assert_eq!(parsed, mistaken);
        for words in ["", "conventional+skip", "naive+skip=often", "naive+dance=1"] {
            assert!(parse_choice(words).is_err(), "{words}");
        }
    }
}
