//! Instructions of a process, counted by valgrind.

use std::process::Command;

/// How many instructions this program takes when it is started as `run SCENARIO TIMES`.
pub(crate) fn counted(scenario: usize, times: usize) -> u64 {
    let itself = std::env::current_exe().expect("our own file");
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(itself)
        .args(["run", &scenario.to_string(), &times.to_string()])
        .output()
        .expect("valgrind (on Debian: apt-get install valgrind)");
    let said = String::from_utf8_lossy(&valgrind.stderr).into_owned();
    assert!(valgrind.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split("Collected : ").nth(1));
    collected.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no count in {said}"))
}
