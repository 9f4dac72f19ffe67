//! The table and the chart of `benches/compare`: Python's own tests of them, run where there is a Python.

use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn a_fixed_results_file_makes_the_same_table_and_chart() {
    let folder = format!("{}/benches/compare", env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var("NOCTULE_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(&python);
    let command = command.args(["-B", "-m", "unittest", "-v"]).current_dir(folder).stdin(Stdio::null());
    match command.output() {
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "{said}");
            // None found is no failure to Python.
            assert!(said.contains("a_case_that_is_lost_is_marked"), "{said}");
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{python} cannot be run: {error}");
            // Not println!, which the test harness keeps to itself when a test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {python} cannot be run: {error}");
        }
    }
}
