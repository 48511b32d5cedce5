//! A tunnel that is shown by HTTP, between real kernels.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "http/browser.rs"]
mod browser;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "http/shown.rs"]
mod shown;
mod support;
#[path = "http/who.rs"]
mod who;

use hostile::{a_reader_that_stalls_is_let_go, rude_clients_of_http_cost_nothing};
use shown::{
    a_client_shows_whether_it_has_a_session, a_named_client_has_series_of_its_own,
    events_go_on_where_they_were_read, metrics_show_all_that_is_counted,
    what_is_shown_is_what_the_commands_say,
};
use who::{
    a_port_that_is_not_to_be_had_is_told_with_what_helps, an_address_may_come_later,
    it_runs_confined_and_as_another_user, others_than_this_host_need_a_token,
    pages_of_other_sites_get_nothing,
};

testbed::main! {
    metrics_show_all_that_is_counted,
    a_named_client_has_series_of_its_own,
    what_is_shown_is_what_the_commands_say,
    a_client_shows_whether_it_has_a_session,
    events_go_on_where_they_were_read,
    others_than_this_host_need_a_token,
    an_address_may_come_later,
    a_port_that_is_not_to_be_had_is_told_with_what_helps: ["setpriv"],
    pages_of_other_sites_get_nothing,
    it_runs_confined_and_as_another_user,
    a_reader_that_stalls_is_let_go,
    rude_clients_of_http_cost_nothing,
}
