//! Long runs of tests whose short form is in the suite.

use std::process::Command;

use crate::plugins;
use crate::step::{Failed, run, say};
use crate::workspace::{cargo, root, target};

/// Kills the server `kills` times under load; the test prints one line of JSON at its end.
pub(crate) fn crash(kills: Option<&str>) -> Result<(), Failed> {
    let Some(kills) = kills.filter(|kills| kills.parse::<u32>().is_ok()) else {
        return Err(Failed(
            "give the number of kills: cargo xtask crash --kills 50".to_owned(),
        ));
    };
    say("building the host");
    run(cargo().args(["build", "--workspace", "--bins"]))?;
    say(&format!("killing it {kills} times at random moments under load"));
    process_test("kills_at_random_moments", ("COURTYARD_KILLS", kills))
}

/// Runs histories of many devices for `minutes`, one seed after another; each prints one line of JSON.
pub(crate) fn histories(minutes: Option<&str>) -> Result<(), Failed> {
    let Some(minutes) = minutes.filter(|minutes| minutes.parse::<u64>().is_ok()) else {
        return Err(Failed(
            "give the number of minutes: cargo xtask histories --minutes 10".to_owned(),
        ));
    };
    plugins::build_all()?;
    say("building the host");
    run(cargo().args(["build", "--workspace", "--bins"]))?;
    say(&format!(
        "running histories for {minutes} minutes, each with its own seed"
    ));
    process_test("histories_of_many_devices", ("COURTYARD_MINUTES", minutes))
}

/// Runs fuzz targets; the options are those of `courtyard-fuzz`.
pub(crate) fn fuzz(options: &[String]) -> Result<(), Failed> {
    say("building the fuzz targets");
    run(cargo().args(["build", "--workspace", "--bin", "courtyard-fuzz"]))?;
    run(Command::new(target().join("debug/courtyard-fuzz"))
        .args(options)
        .current_dir(root()))
}

fn process_test(name: &str, (variable, value): (&str, &str)) -> Result<(), Failed> {
    run(cargo()
        .args(["test", "--quiet", "--workspace", "--test", "process"])
        .args(["--", "--nocapture", name])
        .env(variable, value)
        .env("COURTYARD_BIN", target().join("debug/courtyard"))
        .env("COURTYARD_PLUGINS", plugins::folder()))
}
