//! Writes what a package brings besides the program: a man page for each command, and completions for shells.
//!
//! `cargo run --example pages -- DIRECTORY` writes `man/*.1`, `bash/noctule`, `zsh/_noctule` and `fish/noctule.fish` there.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;
use noctule::cli::Cli;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).ok_or("pages: name a directory")?;
    let mut command = Cli::command();
    // What belongs to all of it is to be on every page.
    command.build();
    let man = directory.join("man");
    fs::create_dir_all(&man)?;
    clap_mangen::generate_to(command.clone(), &man)?;
    // A page for `noctule ctl help clients` says nothing that one for `noctule ctl clients` does not.
    for page in fs::read_dir(&man)? {
        let path = page?.path();
        if path.to_string_lossy().contains("-help") {
            fs::remove_file(path)?;
        }
    }
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let place = directory.join(name);
        fs::create_dir_all(&place)?;
        clap_complete::generate_to(shell, &mut command, "noctule", &place)?;
    }
    Ok(())
}
