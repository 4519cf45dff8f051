//! The reference page, `docs/settings.md`, is made of the settings and held equal to them.

use std::fmt::Write;

use clap::{Arg, CommandFactory, Parser};

use super::Config;

const HEAD: &str = "\
# Settings of lfbm-server

Settings come from the TOML file of `--config`, then the environment, then flags; later ones win. The
flag of `max_steps` is `--max-steps`, its variable `LFBM_MAX_STEPS`, its name in the file `max_steps`. A
variable that is set to nothing is not set. A setting that is unknown, of the wrong type or out of its
range ends the start with one sentence. So does a variable that is nearly a setting's; others that begin
with `LFBM_` may be other programs', and the log names them.

Settings marked *tuning* are in `--help` and not in `-h`: their defaults suit most servers.

Made by `LFBM_WRITE_DOCS=1 cargo test --workspace --lib the_settings_page`.
";

/// The page, Markdown.
fn reference() -> String {
    let defaults = Config::parse_from(["lfbm-server"]);
    let ranges = defaults.ranges();
    let mut command = Config::command();
    command.build();
    let mut page = HEAD.to_owned();
    let mut heading = None;
    for arg in command.get_arguments() {
        if matches!(arg.get_id().as_str(), "help" | "version") {
            continue;
        }
        if heading != Some(arg.get_help_heading()) {
            heading = Some(arg.get_help_heading());
            let title = arg.get_help_heading().unwrap_or("File");
            // Writing to a string does not fail.
            let _ = write!(page, "\n## {title}\n\n");
            page.push_str("| name | variable | default | range | what it is |\n");
            page.push_str("|---|---|---|---|---|\n");
        }
        let range = ranges.iter().find(|range| arg.get_id() == range.name);
        let range = range.map_or("", |range| range.expected.as_str());
        page.push_str(&row(arg, range));
    }
    page
}

fn row(arg: &Arg, range: &str) -> String {
    let name = arg.get_id();
    let variable = arg.get_env().unwrap_or_default().display();
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    // Defaults that depend on others are written in words.
    let (help, in_words) = match help
        .strip_suffix(']')
        .and_then(|h| h.rsplit_once(" [default: "))
    {
        Some((help, default)) => (help.to_owned(), Some(default.to_owned())),
        None => (help, None),
    };
    let values: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|v| v.display().to_string())
        .collect();
    let default = in_words.unwrap_or_else(|| values.join(", "));
    let choices: Vec<_> = arg
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    let range = match (range, choices.as_slice()) {
        ("", [_, _, ..]) => choices.join(", "),
        _ => range.to_owned(),
    };
    let tuning = if arg.is_hide_short_help_set() {
        " *Tuning.*"
    } else {
        ""
    };
    let help = help.replace('|', "\\|");
    format!("| `{name}` | `{variable}` | {default} | {range} | {help}.{tuning} |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_the_settings_name() {
        let mut command = Config::command();
        command.build();
        for arg in command
            .get_arguments()
            .filter(|arg| arg.get_env().is_some())
        {
            let name = format!("LFBM_{}", arg.get_id().as_str().to_uppercase());
            assert_eq!(arg.get_env().unwrap().to_str(), Some(name.as_str()));
        }
    }

    #[test]
    fn every_time_has_a_range_that_clocks_can_count() {
        let ranges = Config::parse_from(["lfbm-server"]).ranges();
        let command = Config::command();
        let names = command.get_arguments().map(|arg| arg.get_id().as_str());
        let times: Vec<_> = names
            .filter(|name| name.ends_with("_s") || name.ends_with("_ms"))
            .collect();
        assert!(times.len() >= 9, "{times:?}");
        for name in times {
            let range = ranges.iter().find(|range| range.name == name);
            let range = range.unwrap_or_else(|| panic!("{name} has no range"));
            assert!(
                range.expected.contains(" to "),
                "{name}: {}",
                range.expected
            );
        }
    }

    #[test]
    fn the_settings_page_is_what_the_settings_are() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
        if std::env::var_os("LFBM_WRITE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(
            page == reference(),
            "docs/settings.md is old: it says how it is made"
        );
    }
}
