//! A file system of 16 MiB that is filled to the brim, by others and by messages. It takes root and a loop device:
//! `cargo test --release --lib full_disk -- --ignored --nocapture`.

use std::collections::BTreeSet;
use std::process::Command;

use super::*;

/// A small ext4, mounted for as long as the test runs.
struct SmallDisk {
    scratch: Scratch,
}

impl SmallDisk {
    /// # Errors
    /// What could not be done; it takes root.
    fn mount(name: &str) -> Result<Self, String> {
        let scratch = Scratch::new(name);
        let (image, point) = (scratch.path().join("image"), scratch.path().join("mount"));
        fs::File::create(&image).unwrap().set_len(16 * MIB).unwrap();
        fs::create_dir(&point).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-O", "^has_journal", &image.to_string_lossy()])?;
        run("mount", &["-o", "loop", &image.to_string_lossy(), &point.to_string_lossy()])?;
        Ok(Self { scratch })
    }

    fn point(&self) -> PathBuf {
        self.scratch.path().join("mount")
    }

    /// Takes what is free, but for so many bytes.
    fn fill(&self, but: u64) {
        let about = rustix::fs::statvfs(self.point()).unwrap();
        let free = about.f_bavail * about.f_frsize;
        fs::write(self.point().join("ballast"), vec![1; free.saturating_sub(but) as usize]).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.point().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run("umount", &[&self.point().to_string_lossy()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}")) }
}

/// Publishes until it is refused or fails; what was settled.
fn publish_until_refused(worker: &mut Worker, next: &mut u64) -> Vec<u64> {
    let mut settled = Vec::new();
    loop {
        let record = *next;
        *next += 1;
        if worker.handle.submit(Ticket(record), publish(record, 1, &[7; 1000])).is_err() {
            return settled;
        }
        match worker.answer() {
            (ticket, true) => settled.push(ticket),
            (_, false) => return settled,
        }
    }
}

fn scenario(disk: &SmallDisk, min_free: u64) {
    let settings = Settings { min_free, ..settings(&disk.point().join("data")) };
    let (store, _, mut workers) = serve(&settings, 1);
    let (worker, health) = (&mut workers[0], store.health());
    let (mut next, mut owed) = (1, BTreeSet::new());
    for round in 0..3 {
        disk.fill(3 * MIB);
        let settled = publish_until_refused(worker, &mut next);
        println!("round {round}: {} messages were settled, then {health}", settled.len());
        assert!(round > 0 || settled.len() > 500, "{}", settled.len());
        owed.extend(settled);
        wait_until("the alarm", || health.takes_messages().is_err());
        // Nothing at all is left for others.
        if let Ok(mut more) = fs::File::create(disk.point().join("crumbs")) {
            use std::io::Write;
            while more.write_all(&[1; 4096]).is_ok() {}
        }
        // All but a few are acknowledged, which makes room inside the file.
        let before = health.totals();
        let done: Vec<u64> = owed.iter().copied().filter(|record| record % 10 > 0).collect();
        for records in done.chunks(20) {
            for record in records {
                worker.tell(acknowledged(1, *record));
                owed.remove(record);
            }
            worker.ask(0, StoreOp::InboundReleased { session: SessionNumber(1), packet_id: 1 });
            assert_eq!(worker.answer(), (0, true), "acknowledgements still work: {health}");
        }
        let after = health.totals();
        println!("  {} commits of acknowledgements", after.commits - before.commits);
        assert_eq!(health.trouble(), None);
        disk.free();
        let _ = fs::remove_file(disk.point().join("crumbs"));
        wait_until("the recovery", || health.takes_messages().is_ok());
        worker.ask(next, publish(next, 1, b"again"));
        assert_eq!(worker.answer(), (next, true));
        owed.insert(next);
        next += 1;
    }
    store.close().unwrap();
    let (_, recovered) = DiskStore::open(&settings, 1, Instant::now()).unwrap();
    let owed: Vec<u64> = owed.into_iter().collect();
    assert_eq!(
        queues(&recovered),
        [(1, owed)],
        "nothing that was settled is lost, nothing that was not is there"
    );
}

#[test]
#[ignore = "needs root and a loop device, and takes a while"]
fn a_full_disk_refuses_messages_takes_acknowledgements_and_heals() {
    for (name, min_free) in [("full-reserve", 0), ("full-min-free", MIB)] {
        match SmallDisk::mount(name) {
            Ok(disk) => scenario(&disk, min_free),
            Err(why) => println!("not tested, because a file system can't be made here: {why}"),
        }
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn a_restore_without_room_for_the_copy_takes_none() {
    let disk = match SmallDisk::mount("full-restore") {
        Ok(disk) => disk,
        Err(why) => return println!("not tested, because a file system can't be made here: {why}"),
    };
    let data = disk.point().join("data");
    drop(serve(&settings(&data), 1));
    let before = fs::read(data.join("noctule.redb")).unwrap();
    let backup = disk.scratch.path().join("backup");
    fs::write(&backup, vec![1; 32 * MIB as usize]).unwrap();
    let said = restore(&backup, &data).unwrap_err().to_string();
    assert!(said.contains("No space left on device"), "{said}");
    assert!(!data.join("noctule.redb.new").exists());
    assert_eq!(fs::read(data.join("noctule.redb")).unwrap(), before);
}
