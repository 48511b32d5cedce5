//! The units of contrib/systemd: systemd understands them, and they give acton no more than it needs.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Acton, Mode, World, said};

testbed::main! {
    systemd_understands_them: ["systemd-analyze"],
    they_give_no_more_than_acton_needs: ["systemd-analyze"],
    what_they_start_runs,
}

const UNITS: [&str; 3] = ["acton-server@.service", "acton-client@.service", "acton-server@.socket"];
/// What `systemd-analyze security` may say, in tenths: 0 is nothing to lose, 100 everything.
const EXPOSURE: &str = "15";

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/systemd").join(name)
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("acton-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn analyze(arguments: &[&str], files: &[PathBuf]) -> (Output, String) {
    let output = Command::new("systemd-analyze").args(arguments).args(files).output().unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8(text).unwrap())
}

fn systemd_understands_them() {
    let directory = Directory::new("units");
    // As an instance, of a program that is there.
    let files = UNITS.map(|name| {
        let text = fs::read_to_string(unit(name)).unwrap();
        let file = directory.0.join(name.replace('@', "@office"));
        fs::write(&file, text.replace("/usr/bin/acton", env!("CARGO_BIN_EXE_acton"))).unwrap();
        file
    });
    let (output, text) = analyze(&["verify", "--man=no"], &files);
    // It succeeds too where a key is unknown, and tells; also of other units of this host, which these
    // are to start before or after.
    let told: Vec<_> = text.lines().filter(|line| line.contains("acton")).collect();
    assert!(output.status.success() && told.is_empty(), "{text}");
}

fn they_give_no_more_than_acton_needs() {
    let services = UNITS.into_iter().filter(|name| name.ends_with(".service"));
    for name in services {
        let arguments = ["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE];
        let (output, text) = analyze(&arguments, &[unit(name)]);
        assert!(output.status.success(), "{text}");
    }
}

/// The command line of a service, its files in `directory`.
fn started(name: &str, directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(unit(name)).unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/acton ")).unwrap();
    let directory = directory.to_str().unwrap();
    let line = line.replace("%i", "office").replace("/etc/acton", directory);
    line.replace("/var/lib/acton", directory).split(' ').map(str::to_owned).collect()
}

fn what_they_start_runs() {
    let world = World::new(1).speaking(Mode::Plain);
    let directory = Directory::new("started");
    let settings = directory.0.join("office.toml");
    let run = |unit, namespace, text: &str, says| {
        fs::write(&settings, text).unwrap();
        let arguments = started(unit, &directory.0);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let end = Acton::start(unit, namespace, &arguments);
        end.wait_for(says);
        end
    };
    let server = run(UNITS[0], &world.server, "plain = true", said::LISTENING);
    let text = "plain = true\nserver = '192.0.2.1'";
    run(UNITS[1], &world.clients[0], text, said::CONNECTED).stop();
    server.stop();
}
