//! `acton doctor`: each test breaks something, sees it told, runs the fix as it is printed, and sees
//! the check pass.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "doctor/bundle.rs"]
mod bundle;
#[path = "doctor/host.rs"]
mod host;
#[path = "doctor/patient.rs"]
mod patient;
mod support;
#[path = "doctor/told.rs"]
mod told;
#[path = "doctor/tunnel.rs"]
mod tunnel;
#[path = "doctor/way.rs"]
mod way;

use bundle::a_bundle_has_what_a_report_needs_and_no_key;
use host::{
    a_forgetful_table_of_connections, a_kernel_of_fewer_offloads,
    a_list_that_a_server_would_refuse, a_missing_device_node, a_program_without_its_capability,
    a_receive_buffer_that_is_too_small, an_ordinary_user_is_told_much, key_files_that_others_read,
    no_user_namespaces,
};
use told::{
    a_hook_that_fails, a_nat_that_forgets, a_reload_that_was_refused, a_storm,
    an_invite_of_another_server, another_version_at_the_other_end, another_version_that_runs,
    each_check_says_something,
};
use tunnel::{
    a_bridge_that_does_not_forward, a_file_of_settings_that_changed,
    a_mac_of_the_server_at_a_client, a_tap_that_is_down, a_tap_with_a_short_queue,
    a_tunnel_that_has_gone, clients_with_one_key, taps_of_two_mtus, two_lans_that_are_joined_twice,
};
use way::{
    a_clock_that_is_wrong, a_firewall, a_link_that_is_too_small, a_name_without_an_address,
    a_path_that_is_narrower, a_way_without_segmentation, an_interface_without_offloads,
    an_invite_that_is_none, servers_that_do, servers_that_do_not_answer,
};

testbed::main! {
    each_check_says_something,
    a_missing_device_node,
    a_program_without_its_capability: ["setcap", "setpriv"],
    no_user_namespaces,
    a_forgetful_table_of_connections,
    key_files_that_others_read,
    a_list_that_a_server_would_refuse,
    an_ordinary_user_is_told_much: ["setpriv"],
    a_kernel_of_fewer_offloads: ["python3"],
    a_receive_buffer_that_is_too_small: ["setpriv", "nsenter", "sysctl"],
    a_name_without_an_address,
    servers_that_do,
    servers_that_do_not_answer: ["nft"],
    a_firewall: ["nft"],
    a_clock_that_is_wrong: ["faketime"],
    an_interface_without_offloads: ["ethtool"],
    a_link_that_is_too_small,
    a_path_that_is_narrower,
    a_way_without_segmentation,
    an_invite_that_is_none,
    a_tap_that_is_down,
    a_tap_with_a_short_queue,
    taps_of_two_mtus,
    a_bridge_that_does_not_forward,
    a_file_of_settings_that_changed,
    a_mac_of_the_server_at_a_client,
    clients_with_one_key,
    two_lans_that_are_joined_twice,
    a_tunnel_that_has_gone,
    a_storm,
    a_reload_that_was_refused,
    a_hook_that_fails,
    a_nat_that_forgets,
    another_version_that_runs,
    another_version_at_the_other_end,
    an_invite_of_another_server,
    a_bundle_has_what_a_report_needs_and_no_key,
}
