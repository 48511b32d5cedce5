//! The control socket of a tunnel that runs, and the commands that ask it, between real kernels.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "control/fates.rs"]
mod fates;
#[path = "control/hostile.rs"]
mod hostile;
#[path = "control/keys.rs"]
mod keys;
#[path = "control/logs.rs"]
mod logs;
#[path = "control/outage.rs"]
mod outage;
#[path = "control/rights.rs"]
mod rights;
#[path = "control/snapshots.rs"]
mod snapshots;
mod support;

use fates::{
    a_trace_agrees_with_what_happens, frames_that_pass_are_traced,
    super_frames_are_traced_as_what_they_are_cut_into,
};
use hostile::{rude_clients_cost_nothing, what_is_no_request_is_answered_and_counted};
use keys::{
    a_client_has_its_name_from_the_first_frame_to_its_revocation,
    a_first_list_that_is_wrong_lets_nobody_in_and_all_say_so,
    a_list_is_looked_at_before_it_is_read,
    a_long_list_that_is_looked_at_keeps_no_other_question_waiting,
    an_invite_is_for_the_port_where_the_server_listens,
};
use logs::{the_journal_gets_fields, the_log_can_be_read_by_programs};
use outage::{
    a_client_that_is_revoked_and_one_that_moves, a_client_without_its_server_says_what_it_tried,
    a_second_instance_takes_the_place_of_the_first, a_state_can_be_waited_for,
    status_follows_an_outage_at_both_ends, watch_tells_what_changes,
};
use rights::{
    the_socket_of_the_living_stays_and_that_of_the_dead_goes, there_is_none_where_none_is_wanted,
    what_is_logged_changes_while_it_runs, who_may_look_may_not_change,
    without_a_place_for_the_socket_the_tunnel_runs,
};
use snapshots::{
    a_reload_looks_at_values_and_not_at_their_text, a_reload_says_what_becomes_of_each_key,
    plain_mode_says_what_it_knows, what_an_option_contradicts_is_beaten,
    what_every_command_says_of_a_live_tunnel, what_other_commands_say_as_json,
};
use support::ask;

testbed::main! {
    what_every_command_says_of_a_live_tunnel,
    what_other_commands_say_as_json,
    plain_mode_says_what_it_knows,
    a_reload_says_what_becomes_of_each_key,
    a_reload_looks_at_values_and_not_at_their_text,
    what_an_option_contradicts_is_beaten,
    status_follows_an_outage_at_both_ends,
    a_client_without_its_server_says_what_it_tried,
    a_client_that_is_revoked_and_one_that_moves,
    an_invite_is_for_the_port_where_the_server_listens,
    a_client_has_its_name_from_the_first_frame_to_its_revocation,
    a_list_is_looked_at_before_it_is_read,
    a_first_list_that_is_wrong_lets_nobody_in_and_all_say_so,
    a_long_list_that_is_looked_at_keeps_no_other_question_waiting,
    a_second_instance_takes_the_place_of_the_first,
    a_state_can_be_waited_for,
    watch_tells_what_changes,
    a_trace_agrees_with_what_happens,
    frames_that_pass_are_traced,
    super_frames_are_traced_as_what_they_are_cut_into,
    rude_clients_cost_nothing,
    what_is_no_request_is_answered_and_counted,
    the_socket_of_the_living_stays_and_that_of_the_dead_goes,
    who_may_look_may_not_change,
    without_a_place_for_the_socket_the_tunnel_runs,
    there_is_none_where_none_is_wanted,
    what_is_logged_changes_while_it_runs,
    the_log_can_be_read_by_programs,
    the_journal_gets_fields,
}
