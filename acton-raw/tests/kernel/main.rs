//! Packet sockets on veth pairs, each test in a network namespace of its own.
#![allow(clippy::unwrap_used)]

mod filter;
mod io;
mod open;
mod ring;
mod veth;

use filter::{
    filter_selects_in_the_kernel, long_filter_is_taken, new_filter_drains_a_link_that_went_down,
    new_filter_drains_what_is_queued, raw_program_cuts, wrong_program_keeps_the_old,
};
use io::{
    batch_of_64, fanout_shares_frames, ignore_outgoing_leaves_them_out, link_down_and_up_again,
    link_that_goes_down_and_away, link_that_is_gone, other_control_messages_do_no_harm,
    own_frames_are_outgoing, packet_types, partial_batch, qdisc_bypass_is_unseen,
    statistics_add_up, stop_ends_a_wait, timestamp_is_now, truncation_shows, vlan_tag_goes_back,
};
use open::{
    a_receive_buffer_may_be_any_size, fanout_needs_one_mode, foreign_frames_never_come,
    names_that_cannot_be, promiscuous_is_undone, tun_is_not_ethernet,
};
use ring::{
    ring_config_is_checked, ring_counts_what_it_drops, ring_cuts_and_filters,
    ring_keeps_order_around_its_end, ring_of_a_link_that_is_gone, ring_tells_about_frames,
    ring_waits_and_stops,
};

testbed::main! {
    foreign_frames_never_come,
    promiscuous_is_undone,
    names_that_cannot_be,
    tun_is_not_ethernet,
    fanout_needs_one_mode,
    a_receive_buffer_may_be_any_size,
    packet_types,
    own_frames_are_outgoing,
    truncation_shows,
    timestamp_is_now,
    vlan_tag_goes_back,
    other_control_messages_do_no_harm,
    batch_of_64,
    partial_batch,
    fanout_shares_frames,
    statistics_add_up,
    qdisc_bypass_is_unseen,
    ignore_outgoing_leaves_them_out,
    link_down_and_up_again,
    link_that_goes_down_and_away,
    link_that_is_gone,
    stop_ends_a_wait,
    filter_selects_in_the_kernel,
    long_filter_is_taken,
    new_filter_drains_what_is_queued,
    new_filter_drains_a_link_that_went_down,
    raw_program_cuts,
    wrong_program_keeps_the_old,
    ring_keeps_order_around_its_end,
    ring_tells_about_frames,
    ring_cuts_and_filters,
    ring_counts_what_it_drops,
    ring_waits_and_stops,
    ring_of_a_link_that_is_gone,
    ring_config_is_checked,
}
