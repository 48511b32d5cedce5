//! Runs the program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn udp_pump(arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = Command::new(env!("CARGO_BIN_EXE_udp_pump")).args(arguments).output();
    let Output { status, stdout, stderr } = program.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The number before `unit` in a line.
#[track_caller]
fn number(line: &str, unit: &str) -> f64 {
    let before = line.split(unit).next().unwrap();
    before.rsplit(' ').find(|word| !word.is_empty()).unwrap().parse().unwrap()
}

#[track_caller]
fn lines(arguments: &[&str]) -> [String; 3] {
    let (code, said, error) = udp_pump(arguments);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    lines.try_into().unwrap()
}

fn batches_get_through_whole() {
    let [sent, received, lost] = lines(&["20000", "1000", "64"]);
    assert!(sent.starts_with("sent 20000 datagrams of 1000 bytes: "), "{sent}");
    assert!(received.starts_with("received 20000 datagrams of 1000 bytes: "), "{received}");
    assert_eq!(lost, "lost 0; the kernel dropped 0 messages at the receiver");
    // 313 batches, each of one message.
    assert_eq!((number(&sent, " a system call"), number(&sent, " a message")), (63.9, 63.9));
    assert_eq!(number(&received, " a message"), 63.9);
    assert!(number(&received, " a system call") >= 63.9);
}

fn one_at_a_time_gets_through_too() {
    let [sent, received, lost] = lines(&["500", "10", "1"]);
    assert_eq!((number(&sent, " a system call"), number(&sent, " a message")), (1.0, 1.0));
    assert_eq!(number(&received, " a message"), 1.0);
    assert_eq!(lost, "lost 0; the kernel dropped 0 messages at the receiver");
}

fn errors_say_what_to_do() {
    for (arguments, expected) in [
        (vec!["many"], "\"many\": expected a number from 1 on"),
        (vec!["1", "0"], "\"0\": expected a number from 1 on"),
        (vec!["1", "65508"], "65508: a datagram holds at most 65507 bytes"),
        (vec!["1", "2", "3", "4"], "too many arguments"),
    ] {
        let (code, _, said) = udp_pump(&arguments);
        assert_eq!(code, Some(2));
        assert!(said.starts_with(&format!("udp_pump: {expected}\n")), "{said}");
        assert!(said.contains("usage: udp_pump"), "{said}");
    }
}

testbed::main! {
    batches_get_through_whole,
    one_at_a_time_gets_through_too,
    errors_say_what_to_do,
}
