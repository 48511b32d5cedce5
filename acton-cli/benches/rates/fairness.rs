//! What each of many clients gets that all transfer at once.

use std::thread;
use std::time::{Duration, Instant};

use crate::Arguments;
use crate::flow::{Flow, Speech};
use crate::support::ask::sessions;
use crate::support::{Acton, ROOT_V4, Site, leaf, ping_until_answered, shell, wait_until};

/// Rates in Mbit/s that a hundred clients have: what the machine carries, and more than that. And one
/// that never has to act, to see what the rest costs.
const RATES: [u32; 4] = [1, 3, 50, 100_000];
/// Bottlenecks without rates, in Mbit/s.
const BOTTLENECKS: [u32; 2] = [50, 200];

/// A row: what is said of it, the congestion control of all transfers, and their direction.
struct Row<'a> {
    what: &'a str,
    control: &'a str,
    is_out: bool,
}

pub(crate) fn measure(arguments: &Arguments) {
    let mut rate = "rate-in = \"any\"\nrate-out = \"any\"".to_owned();
    let default = format!("{}\n{rate}", arguments.policy);
    let site = Site::new(&default, &vec![""; usize::from(arguments.clients)]);
    let server = site.world.serve(&["--no-loop-guard"]);
    let _clients = site.join_all();
    for client in &site.world.clients {
        ping_until_answered(client, ROOT_V4);
    }
    println!(
        "\n{:<28} {:<5} {:<3} {:>8} {:>7} {:>7} {:>7} {:>6} {:>9}",
        "CLIENTS, EACH", "TCP", "WAY", "SUM Mb/s", "MIN", "MEDIAN", "MAX", "JAIN", "CPU s/GB"
    );
    let controls: Vec<_> = arguments.controls.iter().filter(|it| *it != "reno").collect();
    let mut all = |what: &str, bits: Option<u32>| {
        let next = match bits {
            Some(bits) => format!("rate-in = \"{bits}M\"\nrate-out = \"{bits}M\""),
            None => "rate-in = \"any\"\nrate-out = \"any\"".to_owned(),
        };
        if next != rate {
            site.change(&rate, &next);
            rate = next;
            wait_until("all have that rate", || {
                let wanted = bits.map(|bits| u64::from(bits) * 125_000);
                sessions(&server).iter().all(|session| {
                    let rate = session.policy.as_ref().and_then(|policy| policy.rate_out);
                    rate.and_then(|rate| rate.bytes).map(|bytes| bytes.get()) == wanted
                })
            });
        }
        for control in &controls {
            for is_out in [true, false] {
                run(&site, &server, arguments, &Row { what, control, is_out });
            }
        }
    };
    for bits in RATES {
        all(&format!("policed at {bits} Mbit/s"), Some(bits));
    }
    all("no rate", None);
    for megabits in BOTTLENECKS {
        let qdisc = format!("tbf rate {megabits}mbit burst 64k latency 50ms");
        shell(&site.world.server, &format!("tc qdisc replace dev eth0 root {qdisc}"));
        shell(&site.world.switch, &format!("tc qdisc replace dev port1 root {qdisc}"));
        all(&format!("no rate, link of {megabits} Mbit/s"), None);
    }
    shell(&site.world.server, "tc qdisc del dev eth0 root");
    shell(&site.world.switch, "tc qdisc del dev port1 root");
    shell(&site.world.server, "ethtool -K server tso off gso off gro off");
    all("no super-frames, 3 Mbit/s", Some(3));
}

fn run(site: &Site, server: &Acton, arguments: &Arguments, row: &Row<'_>) {
    let speech = Speech::Tcp(row.control.to_owned());
    let flows: Vec<_> = site
        .world
        .clients
        .iter()
        .enumerate()
        .map(|(number, client)| match row.is_out {
            true => {
                let [address, _] = leaf(number as u8);
                Flow::start(&site.world.server, client, address, &speech)
            }
            false => Flow::start(client, &site.world.server, ROOT_V4, &speech),
        })
        .collect();
    thread::sleep(arguments.window() / 3);
    let counts = || flows.iter().map(Flow::received).collect::<Vec<_>>();
    let (start, before, cpu) = (Instant::now(), counts(), server.processor_time());
    thread::sleep(arguments.window());
    let (after, cpu, time) =
        (counts(), server.processor_time() - cpu, start.elapsed().as_secs_f64());
    let bytes: Vec<_> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    drop(flows);
    let mut megabits: Vec<_> = bytes.iter().map(|&it| it as f64 * 8e-6 / time).collect();
    megabits.sort_by(f64::total_cmp);
    let sum: f64 = megabits.iter().sum();
    let squares: f64 = megabits.iter().map(|it| it * it).sum();
    let count = megabits.len();
    let gigabytes = bytes.iter().sum::<u64>() as f64 / 1e9;
    println!(
        "{:<28} {:<5} {:<3} {sum:>8.1} {:>7.2} {:>7.2} {:>7.2} {:>6.3} {:>9.2}",
        row.what,
        row.control,
        if row.is_out { "out" } else { "in" },
        megabits[0],
        megabits[count / 2],
        megabits[count - 1],
        sum * sum / (count as f64 * squares),
        cpu.as_secs_f64() / gigabytes,
    );
    // What is on its way is not the next one's.
    thread::sleep(Duration::from_millis(500));
}
