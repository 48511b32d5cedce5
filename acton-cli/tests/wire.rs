//! The wire as others see it: what acton sends, captured, is what the Wireshark dissector and the
//! decoder in `contrib` make of it. Neither shares code with acton.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use acton_engine::keys::{encode_key, encode_secret, parse_secret};
use acton_proto::handshake::{MacKey, public_key};
use acton_proto::wire::{Fragment, HELLO_LEN, Header, Hello, Kind};
use acton_raw::{Filter, RawSocket, Wake};
use support::{
    Acton, CLIENT_MAC, HANG, Mode, PORT, SERVER_MAC, TEST_ETHERTYPE, World, frame, said, shell,
    wait_until,
};

fn main() {
    let decoder: &[&str] = match python() {
        Some(_) => &["ethtool"],
        None => &["python3 with the package cryptography"],
    };
    let test = |name, needs, body| testbed::Test { name, needs, body };
    testbed::run(&[
        test("the_decoder_agrees_with_the_vectors", decoder, the_decoder_agrees_with_the_vectors),
        test("the_decoder_reads_chacha20", decoder, || the_decoder_reads_a_capture("chacha")),
        test("the_decoder_reads_aes_gcm", decoder, || the_decoder_reads_a_capture("aes")),
        test("the_decoder_reads_plain_mode", decoder, the_decoder_reads_plain_mode),
        test("tshark_knows_every_type", &["tshark", "ethtool"], tshark_knows_every_type),
        test("tshark_knows_plain_mode", &["tshark", "ethtool"], tshark_knows_plain_mode),
    ])
}

/// A Python with the package that the decoder needs: Debian's first, which need not be the one
/// on `PATH`.
fn python() -> Option<&'static str> {
    ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let probe = Command::new(python).args(["-c", "import cryptography"]).output();
        probe.is_ok_and(|output| output.status.success())
    })
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a script of the decoder; its exit code and what it printed.
fn run_decoder(script: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let script = repository().join("contrib/decoder").join(script);
    // -B: leaves no compiled files in the source tree.
    let output = Command::new(python().unwrap()).arg("-B").arg(script).args(arguments).output();
    let Output { status, stdout, stderr } = output.unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.code(), text)
}

fn the_decoder_agrees_with_the_vectors() {
    let directory = repository().join("docs/vectors");
    let files: Vec<_> = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 7, "{files:?}");
    let names: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let (code, said) = run_decoder("check_vectors.py", &names);
    assert_eq!(code, Some(0), "{said}");
    for name in &names {
        assert!(said.contains(&format!("{name}: ")), "{name}: {said}");
    }

    // One bit of any datagram, and it does not agree.
    let world = World::new(0);
    for (file, field) in [("handshake.txt", "hello 0x"), ("sealed.txt", "datagram 0x14")] {
        let good = fs::read_to_string(repository().join("docs/vectors").join(file)).unwrap();
        let at = good.find(field).unwrap() + field.len() + 40;
        let other = if good.as_bytes()[at] == b'0' { "1" } else { "0" };
        let mut bad = good;
        bad.replace_range(at..=at, other);
        let path = world.keys.path(file);
        fs::write(&path, bad).unwrap();
        let (code, said) = run_decoder("check_vectors.py", &[path.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{file}: {said}");
    }
}

/// Records the datagrams from and to the server's port at its `eth0`.
struct Capture {
    frames: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Capture {
    fn start(world: &World) -> Self {
        // Datagrams are to be seen one by one, as a network sees them.
        for host in world.clients.iter().chain([&world.server, &world.proxy]) {
            shell(host, "ethtool -K eth0 tx-udp-segmentation off");
        }
        let open = || {
            let builder = RawSocket::builder("eth0").filter(Filter::port(PORT));
            builder.receive_buffer(16 << 20).build().unwrap()
        };
        let socket = world.server.run(open);
        let (frames, stop) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (taken, stopped) = (Arc::clone(&frames), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            loop {
                // Looked at first: what came before the stop is then still read.
                let last = stopped.load(Ordering::Acquire);
                while socket.wait(None, Some(Duration::from_millis(20))).unwrap() == Wake::Ready {
                    let meta = socket.recv(&mut buffer).unwrap();
                    taken.lock().unwrap().push(buffer[..meta.captured_len].to_vec());
                }
                if last {
                    assert_eq!(socket.statistics().unwrap().dropped, 0);
                    return;
                }
            }
        });
        Self { frames, stop, thread }
    }

    /// Waits for a datagram that ends so.
    fn wait_for(&self, end: &[u8]) {
        wait_until("it is on the wire", || {
            self.frames.lock().unwrap().iter().any(|frame| frame.ends_with(end))
        });
    }

    /// Ends it and writes a pcap file (draft-ietf-opsawg-pcap) of Ethernet frames; how many.
    fn save(self, path: &Path) -> usize {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap();
        let frames = self.frames.lock().unwrap();
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65_535, 1_u32] {
            file.extend(word.to_be_bytes());
        }
        for (second, frame) in (1..).zip(&*frames) {
            let length = u32::try_from(frame.len()).unwrap();
            for word in [second, 0, length, length] {
                file.extend(word.to_be_bytes());
            }
            file.extend(frame);
        }
        fs::write(path, file).unwrap();
        frames.len()
    }
}

/// What was recorded, and what is known of it.
struct Recorded {
    world: World,
    pcap: String,
    datagrams: usize,
    /// The frames that crossed, each way.
    frames: Vec<Vec<u8>>,
}

/// Carries frames with payloads of these lengths both ways.
fn exchange(world: &World, lengths: &[usize]) -> Vec<Vec<u8>> {
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let mut frames = Vec::new();
    for (number, &length) in lengths.iter().enumerate() {
        let payload: Vec<_> = (0..length).map(|i| (i * 7 + number) as u8).collect();
        let up = frame(SERVER_MAC, CLIENT_MAC, TEST_ETHERTYPE, &payload);
        leaf.send(&up);
        root.receive_until(&up);
        let down = frame(CLIENT_MAC, SERVER_MAC, TEST_ETHERTYPE, &payload);
        root.send(&down);
        leaf.receive_until(&down);
        frames.extend([up, down]);
    }
    frames
}

/// Has a client find several frames at once.
fn send_together(world: &World, client: &Acton) -> Vec<Vec<u8>> {
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let one = |number: u8| {
        frame(SERVER_MAC, CLIENT_MAC, TEST_ETHERTYPE, &vec![number; 50 * usize::from(number)])
    };
    let frames: Vec<_> = (1..=4).map(one).collect();
    client.while_stopped(|| frames.iter().for_each(|frame| leaf.send(frame)));
    frames.iter().for_each(|frame| drop(root.receive_until(frame)));
    frames
}

/// A session from HELLO to BYE with frames whole, in pieces and several at once, and a stranger whom the server asks
/// for a cookie and tells that it knows no such id.
fn record_secure(suite: &str) -> Recorded {
    let world = World::new(1).speaking(Mode::Secure);
    let capture = Capture::start(&world);
    let key_log = world.keys.path("key-log");
    let server = world.serve(&["--suite", suite, "--key-log", key_log.to_str().unwrap()]);
    let client = world.join(0, &["--suite", suite]);
    let mut frames = exchange(&world, &[46, 100, 757, 1_400, 1_500]);
    frames.extend(send_together(&world, &client));
    stranger(&world);
    client.stop();
    server.wait_for(said::BYE);
    server.stop();
    let pcap = world.keys.path("secure.pcap");
    let datagrams = capture.save(&pcap);
    Recorded { world, pcap: text(&pcap), datagrams, frames }
}

/// Knows the keys of the network, and sends a HELLO with a cookie that it was never given; then a
/// DATA of an id that the server never gave.
fn stranger(world: &World) {
    let identity = world.keys.server();
    let socket = world.proxy.run(|| UdpSocket::bind("192.0.2.200:0")).unwrap();
    socket.connect(("192.0.2.1", PORT)).unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    let key = MacKey::new(&identity.public_key, Some(&identity.network_key));
    let mut hello = Hello { sender_id: 1, noise: [1; 128], mac1: [0; 16], mac2: [0; 16] }.encode();
    key.sign_hello(&mut hello);
    hello[HELLO_LEN - 16..].fill(1);
    socket.send(&hello).unwrap();
    let kind = Kind::Data { fragment: Fragment::WHOLE, partial_checksum: false };
    let mut stray = Header { kind, receiver_id: 0x0bad_0bad, counter: 7 }.encode().to_vec();
    stray.resize(100, 0);
    socket.send(&stray).unwrap();
    let mut buffer = [0; 2048];
    let mut types = Vec::new();
    // RETRY comes from the control thread by way of one worker, RESET maybe by way of another.
    while !(types.contains(&0x13) && types.contains(&0x18)) {
        let length = socket.recv(&mut buffer).unwrap();
        assert!(length <= 168);
        types.push(buffer[0]);
    }
}

/// A session of plain mode: every control word, and frames.
fn record_plain() -> Recorded {
    let world = World::new(1);
    let capture = Capture::start(&world);
    let server = world.serve(&["--keepalive", "1"]);
    let client = world.join(0, &["--keepalive", "1"]);
    // No longer ones: in plain mode they make IP fragments.
    let frames = exchange(&world, &[46, 100, 757, 1_400]);
    capture.wait_for(b"KEEPALIVE");
    client.stop();
    server.wait_for(said::BYE);
    server.stop();
    let pcap = world.keys.path("plain.pcap");
    let datagrams = capture.save(&pcap);
    Recorded { world, pcap: text(&pcap), datagrams, frames }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the decoder counted, by name.
fn totals(said: &str) -> BTreeMap<&str, usize> {
    let line = said.lines().find_map(|line| line.strip_prefix("total ")).expect("a total");
    let pair =
        |word: &'_ str| word.split_once('=').map(|(name, n)| (name.len(), n.parse().unwrap()));
    line.split(' ').filter_map(|word| pair(word).map(|(at, n)| (&word[..at], n))).collect()
}

/// Every frame that crossed is in what the decoder said, once.
fn assert_frames(said: &str, frames: &[Vec<u8>]) {
    for frame in frames {
        let told = format!("frame={}", hex(frame));
        let times = said.split_whitespace().filter(|word| *word == told).count();
        assert_eq!(times, 1, "{} bytes", frame.len());
    }
}

fn the_decoder_reads_a_capture(suite: &str) {
    let recorded = record_secure(suite);
    let keys = &recorded.world.keys;
    let identity = keys.server();
    let client = fs::read_to_string(keys.path("client-0").join("client.key")).unwrap();
    let client = public_key(&parse_secret(client.trim()).unwrap());
    let arguments = [
        &recorded.pcap,
        "--frames",
        "--key-log",
        &text(&keys.path("key-log")),
        "--network-key",
        &encode_secret(&identity.network_key),
        "--public",
        &encode_key(&identity.public_key),
        "--public",
        &encode_key(&client),
    ];
    let (code, said) = run_decoder("acton_decode.py", &arguments);
    assert_eq!(code, Some(0), "{said}");
    assert_frames(&said, &recorded.frames);

    let totals = totals(&said);
    let count = |name| totals.get(name).copied().unwrap_or(0);
    let types = ["HELLO", "WELCOME", "RETRY", "RESET", "DATA", "BUNDLE", "CONTROL"];
    assert_eq!(types.map(count).iter().sum::<usize>(), recorded.datagrams, "{totals:?}");
    assert!(types.into_iter().all(|name| count(name) > 0), "{totals:?}");
    assert_eq!(count("mac1"), count("HELLO") + count("WELCOME"), "{totals:?}");
    // All but the stranger's DATA opens.
    assert_eq!((count("sealed"), count("RESET")), (1, 1), "{totals:?}");
    assert_eq!(
        count("opened"),
        count("DATA") + count("BUNDLE") + count("CONTROL") - 1,
        "{totals:?}"
    );
    assert_eq!(count("ip-fragment"), 0, "{totals:?}");
    let version = concat!(" version=", env!("CARGO_PKG_VERSION"), " path_mtu=");
    for told in [
        " KEEPALIVE ",
        " ECHO ",
        " REPORT role=question ",
        " REPORT role=answer ",
        version,
        " BYE reason=stop",
        " index=0 last=0 ",
        " index=1 last=1 ",
    ] {
        assert!(said.contains(told), "no '{told}' in {said}");
    }

    // With another key nothing opens, and it is told.
    let log = fs::read_to_string(keys.path("key-log")).unwrap();
    let at = log.find("to_server=").unwrap() + 10;
    let mut other = log.clone();
    other.replace_range(at..at + 2, if log[at..].starts_with("00") { "01" } else { "00" });
    fs::write(keys.path("key-log"), other).unwrap();
    let (code, said) = run_decoder("acton_decode.py", &arguments);
    assert_eq!(code, Some(1));
    assert!(said.contains("WRONG forged"), "{said}");
}

fn the_decoder_reads_plain_mode() {
    let recorded = record_plain();
    let (code, said) = run_decoder("acton_decode.py", &[&recorded.pcap, "--plain", "--frames"]);
    assert_eq!(code, Some(0), "{said}");
    assert_frames(&said, &recorded.frames);
    for told in [" HELLO", " KEEPALIVE", " BYE"] {
        assert!(said.lines().any(|line| line.ends_with(told)), "no '{told}' in {said}");
    }
}

/// Runs tshark with the dissector.
fn tshark(pcap: &str, arguments: &[&str]) -> String {
    let script = repository().join("contrib/wireshark/acton.lua");
    let script = format!("lua_script:{}", text(&script));
    let mut command = Command::new("tshark");
    // A home of its own: nobody's profile takes part.
    command.env("HOME", Path::new(pcap).parent().unwrap()).args(["-X", &script, "-r", pcap]);
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !said.contains("Lua"), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The values of one field, by datagram; empty where it is not there.
fn field(pcap: &str, name: &str) -> Vec<String> {
    let text = tshark(pcap, &["-T", "fields", "-e", name]);
    text.lines().map(str::to_owned).collect()
}

/// No datagram is malformed, and none raised an error in the dissector.
fn assert_clean(pcap: &str) {
    let all = tshark(pcap, &["-V"]);
    for wrong in ["Lua Error", "Malformed", "Expert Info (Error", "Expert Info (Warning"] {
        assert!(!all.contains(wrong), "{wrong}: {all}");
    }
}

fn tshark_knows_every_type() {
    let recorded = record_secure("auto");
    assert_clean(&recorded.pcap);
    let types = field(&recorded.pcap, "acton.type");
    assert_eq!(types.len(), recorded.datagrams);
    for byte in ["0x11", "0x12", "0x13", "0x14", "0x15", "0x16", "0x18"] {
        assert!(types.iter().any(|kind| kind == byte), "no {byte}");
    }
    assert!(types.iter().all(|kind| !kind.is_empty()), "{types:?}");
    for (name, value) in [("acton.frag.index", "1"), ("acton.counter", "7")] {
        assert!(field(&recorded.pcap, name).iter().any(|found| found == value), "{name}");
    }
    // Also where the port says nothing.
    let moved = tshark(&recorded.pcap, &["-o", "acton.port:1", "-T", "fields", "-e", "acton.type"]);
    assert_eq!(moved.lines().collect::<Vec<_>>(), types);

    // What is wrong is seen: the length of the first HELLO does not fit another type.
    let pcap = recorded.world.keys.path("secure.pcap");
    let mut bytes = fs::read(&pcap).unwrap();
    let at = 24 + 16 + 14 + 20 + 8;
    assert_eq!(bytes[at], 0x11);
    bytes[at] = 0x12;
    fs::write(&pcap, bytes).unwrap();
    let all = tshark(&recorded.pcap, &["-o", "acton.mode:acton/1", "-V"]);
    assert!(all.contains("The length does not fit the type"), "{all}");
}

fn tshark_knows_plain_mode() {
    let recorded = record_plain();
    assert_clean(&recorded.pcap);
    let words = field(&recorded.pcap, "acton.plain.control");
    for word in ["HELLO", "KEEPALIVE", "BYE"] {
        assert!(words.iter().any(|said| said == word), "no {word}");
    }
    // The frame inside is read as Ethernet.
    let inner = format!(",{TEST_ETHERTYPE:#06x}");
    let types = field(&recorded.pcap, "eth.type");
    let count = types.iter().filter(|kind| kind.ends_with(&inner)).count();
    assert_eq!(count, recorded.frames.len(), "{types:?}");
}
