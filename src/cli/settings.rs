//! The server's settings on the command line and in the environment: made from the one list of them.
//!
//! A flag wins over the environment, the environment over the file, the file over the default. Depends on the
//! configuration.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, FromArgMatches};

use crate::config::{
    Kind, OF_THE_MODEL, Problem, Problems, SETTINGS, ServerConfig, Setting, Source, Values,
};
use crate::telemetry::FILTER_VARIABLE;

const FILE: &str = "config";
const FILE_VARIABLE: &str = "KLANKBORD_CONFIG";

/// What was given on the command line: the file, and the flags by their settings.
#[derive(Clone, Debug, Default)]
pub struct SettingsArgs {
    file: Option<PathBuf>,
    flags: Vec<(&'static Setting, String)>,
}

/// Those that the command line does not have for all subcommands.
fn own() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| !OF_THE_MODEL.contains(&setting.flag))
}

/// A flag for a setting.
fn flag(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let choices = match setting.kind {
        Kind::Choice(choices) => format!(": {}", choices.join(", ")),
        _ => String::new(),
    };
    let help = format!("{}{choices}{default} [env: {}]", setting.help, setting.variable());
    let arg = Arg::new(setting.flag).long(setting.flag).help(help);
    match setting.kind {
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        Kind::Address { .. } => arg.value_name("ADDR"),
        Kind::Count { .. } => arg.value_name("N"),
        Kind::Seconds { .. } => arg.value_name("SECONDS"),
        Kind::File => arg.value_name("FILE"),
        Kind::Folder => arg.value_name("DIR"),
        Kind::Text => arg.value_name("TEXT"),
        Kind::Zone => arg.value_name("ZONE"),
        Kind::Choice(_) => arg.value_name("NAME"),
    }
}

impl clap::Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE).long(FILE).value_name("FILE").env(FILE_VARIABLE);
        let file = file.help("File of settings, TOML; `klankbord config` shows all there are");
        let file = file.value_parser(clap::value_parser!(PathBuf));
        command.arg(file).args(own().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &'static Setting| {
            matches.get_one::<String>(setting.flag).map(|text| (setting, text.clone()))
        };
        let file = matches.get_one::<PathBuf>(FILE).cloned();
        Ok(SettingsArgs { file, flags: own().filter_map(given).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Variables that look like settings and are none.
pub fn strangers() -> Vec<String> {
    let known = |name: &str| {
        [FILE_VARIABLE, FILTER_VARIABLE].contains(&name)
            || SETTINGS.iter().any(|setting| setting.variable() == name)
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| name.starts_with("KLANKBORD_") && !known(name)).collect()
}

impl SettingsArgs {
    /// All that was given, the model's settings among it, and what it means.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(&self, model: &[(&str, String)]) -> Result<(Values, ServerConfig), Problems> {
        let (mut values, mut problems) = (Values::default(), Vec::new());
        if let Some(file) = self.file.as_ref().filter(|file| !file.as_os_str().is_empty()) {
            problems.extend(values.read(file));
        }
        for setting in SETTINGS {
            let name = setting.variable();
            match std::env::var(&name) {
                // Empty is as if it were not there: a variable that somebody forgot to fill in must not open a door.
                Ok(text) if text.is_empty() => {}
                Ok(text) => values.set(setting, text, Source::Environment(name)),
                Err(std::env::VarError::NotPresent) => {}
                Err(std::env::VarError::NotUnicode(_)) => problems.push(Problem {
                    source: Some(Source::Environment(name)),
                    what: format!("{} is not UTF-8", setting.key),
                }),
            }
        }
        let of_the_model = model.iter().filter_map(|(flag, text)| {
            let setting = SETTINGS.iter().find(|setting| setting.flag == *flag)?;
            // The command line cannot tell us which of the two it was.
            let same = std::env::var(setting.variable()).is_ok_and(|found| found == *text);
            (!same).then(|| (setting, text.clone()))
        });
        for (setting, text) in of_the_model.chain(self.flags.iter().cloned()) {
            values.set(setting, text, Source::Flag(setting.flag));
        }
        match (ServerConfig::new(&values), problems.is_empty()) {
            (Ok(config), true) => Ok((values, config)),
            (Ok(_), false) => Err(Problems(problems)),
            (Err(Problems(more)), _) => {
                problems.extend(more);
                Err(Problems(problems))
            }
        }
    }
}
