use clap::CommandFactory as _;

use super::Cli;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_of_every_command_tells_its_exit_codes_and_every_option() {
    for mut command in Cli::command().get_subcommands().cloned() {
        let (name, help) = (
            command.get_name().to_owned(),
            command.render_long_help().to_string(),
        );
        assert!(
            command.get_about().is_some(),
            "{name} does not say what it is for"
        );
        assert!(
            help.contains("Exit codes:") || name == "config",
            "{name}:\n{help}"
        );
        for option in command.get_arguments() {
            assert!(option.get_help().is_some(), "{name} {}", option.get_id());
        }
    }
}
