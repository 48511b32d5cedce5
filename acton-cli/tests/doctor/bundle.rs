//! `--bundle`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use acton_engine::keys::encode_secret;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, HEXLOWER, HEXUPPER};
use memchr::memmem;

use super::patient::{Patient, Scratch};
use super::support::{Mode, World, control, said};

pub(crate) fn a_bundle_has_what_a_report_needs_and_no_key() {
    let scratch = Scratch::new("bundle");
    let config = scratch.path("client.toml");
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.start_server(&[]);
    server.wait_for(said::LISTENING);
    let invite = world.keys.invite("192.0.2.1");
    let state = world.keys.client_state(0);
    let stored = Command::new(env!("CARGO_BIN_EXE_acton"))
        .args(["join", &invite, "--state", &state])
        .output()
        .unwrap();
    assert!(stored.status.success(), "{stored:?}");
    fs::write(&config, format!("state = \"{state}\"\nkeepalive = 7\n")).unwrap();
    // The invite on the command line and one in the state directory.
    let client = world.join(0, &["--config", &config]);
    let patient = Patient::Host(&world.clients[0]);
    let path = control(&client).to_str().unwrap().to_owned();
    let bundle = scratch.path("bundle.tar");
    patient.look(&["--control", &path, "--config", &config, "--bundle", &bundle, &invite]);
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
    let tar = fs::read(&bundle).unwrap();
    let listed = Command::new("tar").args(["-tf", &bundle]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in [
        "doctor.txt",
        "doctor.json",
        "status.json",
        "sessions.json",
        "events.json",
        "drops.json",
        "settings.toml",
        "version.txt",
        "ip-link.txt",
        "bridge-fdb.txt",
    ] {
        assert!(
            listed.lines().any(|line| line == format!("acton-doctor/{name}")),
            "{name}: {listed}"
        );
    }
    assert!(memmem::find(&tar, b"keepalive = 7").is_some());
    let identity = world.keys.server();
    let secrets = [identity.private_key, identity.network_key, world.keys.client_key(0)];
    for secret in secrets {
        let bytes = BASE64.decode(encode_secret(&secret).as_bytes()).unwrap();
        let forms = [
            BASE64.encode(&bytes),
            BASE64_NOPAD.encode(&bytes),
            BASE64URL.encode(&bytes),
            HEXLOWER.encode(&bytes),
            HEXUPPER.encode(&bytes),
        ];
        for form in forms {
            // A part of it is too much already.
            assert_eq!(memmem::find(&tar, &form.as_bytes()[..20]), None);
        }
        assert_eq!(memmem::find(&tar, &bytes), None);
    }
    assert_eq!(memmem::find(&tar, b"acton://"), None);
}
