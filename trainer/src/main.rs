//! `trainer`: fits models to normal images, evaluates them, and writes bundles.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use lfbm_process::environment::execute_with;
use lfbm_process::one_line;
use lfbm_runtime::NO_TELEMETRY;
use lfbm_trainer::commands::ProductCommand;
use lfbm_trainer::reproduction::ReproductionCommand;
use lfbm_trainer::{stop, waiting};

/// Fits models to normal images, and writes bundles that lfbm-server scores with
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: AnyCommand,
}

#[derive(Subcommand)]
enum AnyCommand {
    #[command(flatten)]
    Product(ProductCommand),
    #[command(flatten)]
    Reproduction(ReproductionCommand),
}

/// A heading and a line for each command of a group.
fn group(heading: &str, commands: &Command) -> String {
    let mut text = format!("{heading}:\n");
    for command in commands.get_subcommands() {
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<12} {about}", command.get_name());
    }
    text
}

/// The command line. clap lists all commands under one heading, so the two groups are written here.
fn command_line() -> Command {
    let product = ProductCommand::augment_subcommands(Command::new("product"));
    let reproduction = ReproductionCommand::augment_subcommands(Command::new("reproduction"));
    let commands = [
        group("Commands", &product),
        group("Reproduction of the paper", &reproduction),
    ];
    Cli::command().help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}\nOptions:\n{{options}}\n\n\
         `trainer COMMAND --help` lists the options of a command.",
        commands.join("\n"),
    ))
}

fn main() -> ExitCode {
    let variables = waiting::passively().into_iter().chain([NO_TELEMETRY]);
    execute_with(&variables.collect::<Vec<_>>());
    let matches = command_line().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Err(error) = stop::catch_signals() {
        eprintln!("trainer: signals cannot be caught: {error}");
        return ExitCode::FAILURE;
    }
    let result = match &cli.command {
        AnyCommand::Product(command) => command.run(),
        AnyCommand::Reproduction(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(stopped) = stop::requested() {
                stopped.end();
            }
            eprintln!("trainer: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_command_under_its_heading() {
        let mut command = command_line();
        command.build();
        let help = command.render_help().to_string();
        let (product, paper) = help.split_once("Reproduction of the paper:").unwrap();
        let listed = |text: &str, name: &str| text.contains(&format!("\n  {name} "));
        for name in [
            "fit",
            "evaluate",
            "calibrate",
            "extend",
            "export",
            "import",
            "split",
            "draw",
        ] {
            assert!(listed(product, name), "{name} in {help}");
        }
        for subcommand in Cli::command().get_subcommands() {
            let name = subcommand.get_name();
            assert_ne!(
                listed(product, name),
                listed(paper, name),
                "{name} in {help}"
            );
        }
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    }
}
