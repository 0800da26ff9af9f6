use clap::{CommandFactory as _, Parser};

use super::*;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    keys: KeysArgs,
}

fn key(state: KeyState, next: Option<NextStep>) -> KeyTold {
    let at = |seconds: i64| Some(Timestamp::from_seconds(1_781_000_000 + seconds));
    KeyTold {
        key_id: "kid-1".to_owned(),
        algorithm: "ES256".to_owned(),
        state,
        created_at: Timestamp::from_seconds(1_781_000_000),
        published_at: at(1),
        active_at: at(2),
        retired_at: at(3),
        removed_at: at(4),
        revoked_at: at(5),
        next,
    }
}

#[test]
fn each_key_is_a_line_that_says_where_it_stands_and_what_comes() {
    let next = NextStep {
        state: KeyState::Retired,
        at: Timestamp::from_seconds(1_783_592_000),
    };
    let keys = KeysTold {
        sequence: 7,
        keys: vec![
            key(KeyState::Active, Some(next)),
            key(KeyState::Revoked, None),
        ],
    };
    let active = "kid-1  ES256  active     since 2026-06-09T10:13:22.000Z, retired from 2026-07-09T10:13:20.000Z\n";
    assert_eq!(text(&keys, false), active);
    let revoked = "kid-1  ES256  revoked    since 2026-06-09T10:13:25.000Z\n";
    assert_eq!(text(&keys, true), format!("{active}{revoked}"));
}

#[test]
fn the_help_of_every_subcommand_tells_its_exit_codes_and_every_option() {
    for mut command in Only::command().get_subcommands().cloned() {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Exit codes:"), "{help}");
        for option in command.get_arguments() {
            assert!(option.get_help().is_some(), "{}", option.get_id());
        }
    }
}

#[test]
fn a_kid_that_begins_like_an_option_can_be_revoked() {
    let kid = "-9s6lY0hHqkT1q8pZx5S4gqfPzXJg8Y0c3ln3Y2oJm8";
    let only = Only::try_parse_from(["keys", "revoke", "--socket", "admin.sock", kid]);
    let KeysCommand::Revoke(revoke) = only.unwrap_or_else(|error| panic!("{error}")).keys.command
    else {
        panic!("another command");
    };
    assert_eq!(revoke.kid, kid);
}
