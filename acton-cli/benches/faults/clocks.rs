//! Wall clocks that are wrong, and that are set.

use std::fs;
use std::time::{Duration, Instant};

use crate::checks::Checks;
use crate::crashes::{lines, one_session};
use crate::support::{
    Acton, Mode, ROOT_V4, World, client_off_by, leaf, off_by_file, ping, ping_until_answered, said,
};

const SECOND: Duration = Duration::from_secs(1);
const TO_DO: &str = "acton works all the same, but set the wrong one";

pub(crate) fn years_off_at_start(checks: &Checks) {
    let world = World::new(2).speaking(Mode::Secure);
    let server = world.serve(&[]);
    // Its clock was right once, and it comes back without having said BYE.
    let before = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    before.kill();
    for (i, offset) in [(0, "-10y"), (1, "+30y")] {
        let start = Instant::now();
        let client = client_off_by(&world, i, offset);
        client.wait_for(said::CONNECTED);
        ping_until_answered(&world.clients[usize::from(i)], ROOT_V4);
        checks.within(&format!("a client that is {offset} off is in"), start.elapsed(), 3 * SECOND);
        checks.told("it", &client.log(), TO_DO);
        client.kill();
    }
    // The other one went on with the session that it had.
    checks
        .comes_within("the server tells of the new one", 2 * SECOND, || lines(&server, TO_DO) == 1);
    // And as it was before.
    let start = Instant::now();
    let _client = world.join(1, &[]);
    ping_until_answered(&world.clients[1], ROOT_V4);
    checks.within("the one from the future comes back in time", start.elapsed(), 3 * SECOND);
}

pub(crate) fn set_while_running(checks: &Checks) {
    const STAYS: Duration = Duration::from_secs(4);
    let world = World::new(1).speaking(Mode::Secure);
    let file = world.keys.path("clock");
    let set = |offset: &str| fs::write(&file, offset).unwrap();
    set("+0");
    world.keys.server();
    let (state, own) = (world.keys.server_state(), format!("{}/24", leaf(0)[0]));
    let arguments = ["server", "--state", &state, "-a", "10.9.0.1/24", "--keepalive", "1"];
    let server = Acton::spawn("server", &world.server, &mut off_by_file(&file, &arguments));
    server.wait_for(said::LISTENING);
    let mut arguments = world.client_arguments(0, "192.0.2.1");
    let more = ["-a", &own, "--keepalive", "1", "--rekey", "1"];
    arguments.extend(more.map(str::to_owned));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let client = Acton::spawn("client", &world.clients[0], &mut off_by_file(&file, &arguments));
    client.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let (mut asked, mut answered) = (0_u64, 0);
    for offset in ["+30y", "-10y", "+200y", "+0"] {
        set(offset);
        let start = Instant::now();
        while start.elapsed() < STAYS {
            asked += 1;
            let soon = Duration::from_millis(300);
            answered += u64::from(ping(&world.clients[0], ROOT_V4, 56, soon).is_ok());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    checks.at_least("pings in 1,000 that are answered", answered * 1_000 / asked, 990);
    one_session(checks, &client, &server, 1);
    let rekeys = crate::support::ask::sessions(&server)[0].rekeys.unwrap_or_default();
    checks.at_least("new keys meanwhile, one a second", rekeys, 10);
    // One that was in the future cannot come back where replays are told by the clock.
    client.kill();
    let start = Instant::now();
    let _client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    checks.within("the client is in again after a crash", start.elapsed(), 3 * SECOND);
}
