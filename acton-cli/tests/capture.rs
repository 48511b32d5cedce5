//! What `acton capture` shows of a live tunnel, read back by tshark and tcpdump.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "capture/drops.rs"]
mod drops;
#[path = "capture/frames.rs"]
mod frames;
#[path = "capture/readers.rs"]
mod readers;
#[path = "capture/recorder.rs"]
mod recorder;
mod support;

use drops::{drops_are_shown_as_they_happen_and_afterwards, what_a_request_must_not_ask_for};
use frames::{
    datagrams_are_captured_as_they_are_on_the_way, super_frames_are_captured_whole,
    what_passes_is_captured_at_both_ends,
};
use readers::{
    a_file_is_emptied_once_something_takes_its_place, readers_that_go_leave_room,
    readers_that_stop_lose_packets_and_nobody_else_does,
};
use support::{ask, in_both_modes};

in_both_modes! {
    what_passes_is_captured_at_both_ends: ["tshark", "tcpdump"],
    super_frames_are_captured_whole,
    datagrams_are_captured_as_they_are_on_the_way: ["tshark"],
    drops_are_shown_as_they_happen_and_afterwards,
    readers_that_stop_lose_packets_and_nobody_else_does,
    ; plain: readers_that_go_leave_room, a_file_is_emptied_once_something_takes_its_place, what_a_request_must_not_ask_for
}
