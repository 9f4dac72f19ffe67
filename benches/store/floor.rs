//! The floor: what the disk allows to a log that does nothing but append and wait.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of one message in a log: body, topic, and some to find it again.
const RECORD: usize = 100 + 30;

/// Bytes set aside before the measurement, so that it allocates nothing.
const PREALLOCATED: u64 = 64 << 20;

/// How long each size of a group is measured.
const DURATION: Duration = Duration::from_secs(2);

pub(crate) fn measure(directory: &Path) {
    println!("\n## A bare log: messages of {RECORD} bytes, one fdatasync for each group\n");
    println!(
        "| messages in a group | messages/s | groups/s | bytes written per message |\n| --- | --- | --- | --- |"
    );
    let path = directory.join(format!("bench-floor-{}", std::process::id()));
    for group in [1, 100, 1_000, 5_000] {
        let mut file = File::create(&path).unwrap();
        let zeroes = vec![0; 1 << 20];
        for _ in 0..PREALLOCATED >> 20 {
            file.write_all(&zeroes).unwrap();
        }
        file.sync_all().unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        // A commit begins on a page of its own.
        let bytes = (group * RECORD).next_multiple_of(4096);
        let record = vec![b'x'; bytes];
        let (began, mut groups, mut at) = (Instant::now(), 0_u64, 0);
        while began.elapsed() < DURATION {
            if at + bytes as u64 > PREALLOCATED {
                at = file.seek(SeekFrom::Start(0)).unwrap();
            }
            file.write_all(&record).unwrap();
            file.sync_data().unwrap();
            (groups, at) = (groups + 1, at + bytes as u64);
        }
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "| {group} | {:.0} | {:.0} | {} |",
            (groups * group as u64) as f64 / seconds,
            groups as f64 / seconds,
            bytes / group
        );
    }
    std::fs::remove_file(&path).unwrap();
}
