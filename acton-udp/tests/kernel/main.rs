//! UDP sockets on loopback and between hosts joined by veth, each test in network namespaces of its
//! own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod address;
mod hosts;
mod merge;
mod refusal;
mod report;
mod send;
mod socket;
mod statistics;

use address::{answers_leave_from_the_address_that_was_asked, ecn_marks_arrive_and_part_messages};
use merge::{
    a_segmented_run_crosses_in_one_call, merging_may_be_left_out, the_receiving_device_merges,
};
use refusal::{
    a_datagram_larger_than_udp_is_counted_and_the_rest_sent,
    a_device_without_checksums_costs_no_datagram, a_stuck_device_costs_what_finds_no_room,
    datagrams_over_the_mtu_are_sent_one_by_one, segmentation_that_was_refused_is_tried_again,
    what_has_no_way_is_counted,
};
use report::{
    a_report_is_news_and_in_nobodys_way, closed_ports_are_reported,
    datagrams_over_the_first_link_are_reported, routers_say_what_fits,
};
use send::{
    a_batch_arrives_whole_and_in_order, datagrams_in_parts_arrive_whole,
    more_than_a_batch_holds_is_sent_in_several, runs_arrive_as_their_datagrams,
};
use socket::{
    a_connected_socket_hears_its_peer_alone, a_group_grows_from_sockets_that_were_bound_elsewhere,
    a_port_in_use_is_noticed_by_a_group_too, a_word_chooses_the_socket,
    buffers_work_in_another_thread, ipv4_arrives_at_an_ipv6_socket, sockets_made_elsewhere_serve,
    waiting_ends_in_time,
};
use statistics::{drops_and_what_waits_are_told, what_has_not_left_is_told};

testbed::main! {
    a_batch_arrives_whole_and_in_order,
    datagrams_in_parts_arrive_whole,
    runs_arrive_as_their_datagrams,
    more_than_a_batch_holds_is_sent_in_several,
    a_segmented_run_crosses_in_one_call,
    the_receiving_device_merges: ["ethtool"],
    merging_may_be_left_out,
    datagrams_over_the_mtu_are_sent_one_by_one,
    segmentation_that_was_refused_is_tried_again,
    a_device_without_checksums_costs_no_datagram: ["ethtool"],
    a_datagram_larger_than_udp_is_counted_and_the_rest_sent,
    a_stuck_device_costs_what_finds_no_room: ["tc"],
    what_has_no_way_is_counted,
    ecn_marks_arrive_and_part_messages,
    answers_leave_from_the_address_that_was_asked,
    closed_ports_are_reported,
    datagrams_over_the_first_link_are_reported,
    routers_say_what_fits,
    a_report_is_news_and_in_nobodys_way,
    a_word_chooses_the_socket,
    a_group_grows_from_sockets_that_were_bound_elsewhere,
    a_port_in_use_is_noticed_by_a_group_too,
    ipv4_arrives_at_an_ipv6_socket,
    a_connected_socket_hears_its_peer_alone,
    sockets_made_elsewhere_serve,
    buffers_work_in_another_thread,
    waiting_ends_in_time,
    drops_and_what_waits_are_told,
    what_has_not_left_is_told: ["tc"],
}
