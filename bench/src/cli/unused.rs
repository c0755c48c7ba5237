//! Options that stand for all commands and mean nothing to one of them: they are not shown there, and refused.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// What a simulation has no use for: nobody forwards, and no time passes.
const OF_PLACEMENT: [&str; 10] = [
    "exit",
    "suite",
    "duration",
    "warm_up",
    "strangers",
    "pass",
    "subject",
    "rounds",
    "fleet_threads",
    "check_every",
];

/// Takes them out of the help of `placement`.
pub(super) fn hide(command: Command) -> Command {
    let hidden: Vec<clap::Arg> = command
        .get_arguments()
        .filter(|one| OF_PLACEMENT.contains(&one.get_id().as_str()))
        .map(|one| one.clone().hide(true))
        .collect();
    command.mut_subcommand("placement", |placement| placement.args(hidden))
}

/// Says which of them stand on a command line where they mean nothing.
pub(super) fn refuse(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(("placement", given)) = matches.subcommand() else {
        return Ok(());
    };
    let stands = |id: &&&str| given.value_source(id) == Some(ValueSource::CommandLine);
    let names: Vec<String> = OF_PLACEMENT
        .iter()
        .filter(stands)
        .map(|id| format!("--{}", id.replace('_', "-")))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let why = "no packets flow in a simulation";
    let what = format!("placement has no use for {}: {why}", names.join(", "));
    let placement = command.find_subcommand_mut("placement");
    let placement = placement.expect("it is what matched");
    Err(placement.error(ErrorKind::ArgumentConflict, what))
}
