//! A pair of VLAN tags that a program gives to two clients.

use super::*;

/// The names of the sessions that are up.
fn up(server: &Acton) -> Vec<String> {
    let up = |session: &acton_engine::SessionStatus| session.state == State::Up;
    sessions(server).into_iter().filter(up).map(|session| session.name).collect()
}

pub(super) fn a_pair_of_tags_is_the_client_s_that_has_a_session() {
    let world = world(2);
    let program = Program::start(&socket(&world), |question| {
        let name = if question["address"] == "192.0.2.10" { "berlin" } else { "oslo" };
        // Another kind of outer tag makes no other pair, as in a list.
        let tpid = if name == "oslo" { 0x8100 } else { 0x88a8 };
        let policy = json!({ "vlan": "1000.17", "tpid": tpid });
        Some(json!({ "allow": true, "name": name, "valid-for": 3600, "policy": policy }))
    });
    let server = serve(&world, &[]);
    let first = world.join(0, &[]);
    let second = world.start_client(1, "192.0.2.1", &[]);
    second.wait_for("key is not on its list");
    server.wait_for("vlan 1000.17 is berlin's already");
    assert_eq!((total(&server, "authorize.pair_taken"), up(&server)), (1, vec!["berlin".into()]));
    let decided = events(&server, "client_decided");
    let last = decided.last().unwrap();
    assert_eq!(
        (&last["allow"], &last["reason"]),
        (&json!(false), &json!("vlan 1000.17 is berlin's already"))
    );
    // The same client has it at once, also where its session is still there.
    first.kill();
    let first = world.join(0, &[]);
    wait_until("it is back", || up(&server) == ["berlin"]);
    assert_eq!(total(&server, "authorize.pair_taken"), 1);
    // Once it has gone the other has it, and is kept from it no longer than it takes to ask again.
    first.stop();
    second.stop();
    program.say(&json!({ "recheck": key(&world, 1) }));
    let second = world.join(1, &[]);
    wait_until("it has the pair", || up(&server) == ["oslo"]);
    // What was decided on the first one holds no more.
    let asked = program.questions().len();
    let first = world.start_client(0, "192.0.2.1", &[]);
    first.wait_for("key is not on its list");
    server.wait_for("vlan 1000.17 is oslo's already");
    assert_eq!(program.questions().len(), asked + 1);
    assert_eq!(up(&server), ["oslo"]);
    second.stop();
}

pub(super) fn a_pair_of_tags_that_a_list_gives_is_nobody_else_s() {
    let world = world(2);
    let list = world.keys.path("clients.toml");
    fs::write(&list, "[default]\n").unwrap();
    let _program = Program::start(&socket(&world), |_| {
        Some(json!({ "allow": true, "name": "oslo", "policy": { "vlan": "1000.17" } }))
    });
    let server = serve(&world, &["--clients", list.to_str().unwrap()]);
    let _client = world.join(0, &[]);
    wait_until("it is there", || up(&server) == ["oslo"]);
    // To one that is away.
    let other = encode_key(&[7; 32]);
    let text = format!("[client.berlin]\nkey = \"{other}\"\nvlan = \"1000.17\"\n");
    fs::write(&list, text).unwrap();
    wait_until("its session ends", || !events(&server, "session_down").is_empty());
    server.wait_for("the list gives vlan 1000.17 to another");
    let _second = world.start_client(1, "192.0.2.1", &[]);
    server.wait_for("vlan 1000.17 is berlin's already");
}
