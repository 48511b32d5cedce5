use proptest::prelude::*;

use super::*;
use crate::ClientPolicy;
use crate::authorize::ALLOWED_FOR;

const START: Duration = Duration::from_secs(1_000);
const SECOND: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(3);

fn key(n: u32) -> Key {
    let mut key = [7; 32];
    key[28..].copy_from_slice(&n.to_be_bytes());
    key
}

fn address(n: u32) -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 9))
}

fn want(desk: &mut Desk, now: Duration, n: u32) -> Want {
    desk.want(now, &key(n), address(n), None)
}

fn ask(desk: &mut Desk, now: Duration, n: u32) -> u64 {
    match want(desk, now, n) {
        Want::Ask(question) => question.number,
        other => panic!("{other:?}"),
    }
}

fn allow() -> Verdict {
    Verdict::allow(ClientPolicy::default(), None)
}

fn deny() -> Verdict {
    Verdict::deny(None, None)
}

#[test]
fn a_client_is_asked_about_once_and_the_verdict_holds_for_its_time() {
    let mut desk = Desk::new(DEADLINE);
    let number = ask(&mut desk, START, 1);
    assert_eq!(want(&mut desk, START, 1), Want::Wait);
    assert_eq!(desk.answer(START, number + 1, &allow()), None, "to no question");
    assert_eq!(desk.answer(START, number, &deny()), Some(key(1)));
    assert_eq!(desk.answer(START, number, &allow()), None, "a second one");
    assert!(desk.verdicts().denies(&key(1)));
    assert_eq!(want(&mut desk, START + DENIED_FOR / 2, 1), Want::Decided);
    assert_eq!(desk.poll(START + DENIED_FOR), None);
    assert!(!desk.verdicts().is_there(&key(1)));
    ask(&mut desk, START + DENIED_FOR, 1);
}

#[test]
fn an_answer_that_does_not_come_in_time_counts_no_more() {
    let mut desk = Desk::new(DEADLINE);
    let number = ask(&mut desk, START, 1);
    assert_eq!(desk.due(), Some(START + DEADLINE));
    let missed = |is_silent| Some(Due::Unanswered { client: key(1), is_silent });
    assert_eq!(desk.poll(START + DEADLINE), missed(true));
    assert_eq!(desk.answer(START + DEADLINE, number, &allow()), None);
    assert_eq!(want(&mut desk, START + DEADLINE, 1), Want::Unanswered);
    let again = START + DEADLINE + BACKOFF;
    ask(&mut desk, again, 1);
    let other = ask(&mut desk, again, 2);
    desk.answer(again + SECOND, other, &deny());
    assert_eq!(desk.poll(again + DEADLINE), missed(false), "of this one alone");
}

#[test]
fn pauses_double_up_to_a_minute() {
    let mut desk = Desk::new(DEADLINE);
    let (mut now, mut pauses) = (START, Vec::new());
    for _ in 0..9 {
        ask(&mut desk, now, 1);
        desk.not_asked(now, &key(1));
        let since = now;
        while want(&mut desk, now, 1) == Want::Unanswered {
            now += SECOND;
        }
        pauses.push((now - since).as_secs());
        // That asked again.
        desk.fail(now, &key(1));
        desk.clients.get_mut(&key(1)).unwrap().unanswered -= 1;
        now = desk.clients[&key(1)].again_at;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(desk.asked(), 0);
    assert_eq!((desk.poll(now + REMEMBERED), desk.clients.len(), desk.due()), (None, 0, None));
}

#[test]
fn a_session_is_asked_about_before_its_time_is_over_and_goes_on_for_as_long_again() {
    let mut desk = Desk::new(DEADLINE);
    let number = ask(&mut desk, START, 1);
    desk.answer(START, number, &allow());
    desk.session_up(&key(1), address(1));
    let asked_at = desk.due().unwrap();
    let before = START + ALLOWED_FOR - asked_at;
    assert!((ALLOWED_FOR / 8..=ALLOWED_FOR / 4).contains(&before), "{before:?}");
    let Some(Due::Ask(question)) = desk.poll(asked_at) else { panic!("asked") };
    assert!(question.has_session);
    // It is allowed again: its time begins anew.
    desk.answer(asked_at, question.number, &allow());
    assert_eq!(desk.due(), Some(asked_at + ALLOWED_FOR - before));
    // From now on nobody answers.
    let over = asked_at + 2 * ALLOWED_FOR;
    let (mut asked, mut now) = (0, asked_at);
    while now < over {
        match desk.poll(now) {
            Some(Due::Ask(_)) => asked += 1,
            Some(Due::Over(_)) => panic!("over at {now:?}"),
            _ => now += SECOND,
        }
        assert!(desk.verdicts().terms(&key(1)).is_some());
    }
    assert!((5..20).contains(&asked), "{asked} times, ever less often");
    assert_eq!(std::iter::from_fn(|| desk.poll(over)).last(), Some(Due::Over(key(1))));
    assert!(!desk.verdicts().is_there(&key(1)));
}

#[test]
fn what_holds_for_a_client_that_has_gone_ends_in_time() {
    let mut desk = Desk::new(DEADLINE);
    let number = ask(&mut desk, START, 1);
    desk.answer(START, number, &allow());
    desk.session_up(&key(1), address(1));
    desk.session_down(&key(1));
    assert_eq!(
        (desk.poll(START + ALLOWED_FOR - SECOND), desk.due()),
        (None, Some(START + ALLOWED_FOR))
    );
    assert!(desk.verdicts().terms(&key(1)).is_some(), "it comes back unasked");
    assert_eq!((desk.poll(START + ALLOWED_FOR), desk.clients.len()), (None, 0));
}

#[test]
fn what_is_taken_back_counts_at_once_and_what_was_asked_before_no_more() {
    let mut desk = Desk::new(DEADLINE);
    assert!(!desk.revoke(START, &key(1)) && desk.recheck(START, &key(1)).is_none());
    let number = ask(&mut desk, START, 1);
    assert!(desk.revoke(START, &key(1)));
    assert_eq!(desk.answer(START, number, &allow()), None);
    assert!(desk.verdicts().denies(&key(1)));
    // Without a session it is asked about when it comes again.
    assert_eq!((desk.recheck(START, &key(1)), desk.clients.len()), (None, 0));
    let number = ask(&mut desk, START, 1);
    desk.answer(START, number, &allow());
    desk.session_up(&key(1), address(1));
    let question = desk.recheck(START, &key(1)).unwrap();
    assert!(desk.verdicts().terms(&key(1)).is_some(), "meanwhile it goes on");
    desk.answer(START, question.number, &deny());
    assert!(desk.verdicts().denies(&key(1)));
}

#[test]
fn whoever_can_be_reached_again_hears_what_waits() {
    let mut desk = Desk::new(DEADLINE);
    let numbers: Vec<_> = (0..3).map(|n| ask(&mut desk, START, n)).collect();
    desk.not_asked(START, &key(2));
    assert_eq!(want(&mut desk, START, 2), Want::Unanswered);
    let again: Vec<_> = desk.reached().iter().map(|question| question.number).collect();
    assert_eq!(again, numbers[..2]);
    ask(&mut desk, START, 2);
}

#[test]
fn a_flood_of_keys_asks_so_much_and_keeps_so_much() {
    let mut desk = Desk::new(DEADLINE);
    // All of one source.
    let at = address(0);
    let asked =
        (0..5_000).filter(|&n| matches!(desk.want(START, &key(n), at, None), Want::Ask(_))).count();
    assert_eq!(asked, 1_024);
    assert_eq!(desk.clients.len(), 1_024);
    // Another one is not held up.
    ask(&mut desk, START, 200_000);
    // Of any number of sources, each answered at once.
    let (mut now, mut most) = (START, 0);
    for n in 300_000..440_000 {
        now += Duration::from_micros(1_000);
        if let Want::Ask(question) = want(&mut desk, now, n) {
            desk.answer(now, question.number, &Verdict::deny(None, Some(SECOND * 86_400)));
        }
        while desk.poll(now).is_some() {}
        most = most.max(desk.clients.len());
    }
    assert_eq!(most, MAX_CLIENTS);
    assert_eq!(desk.due.len(), desk.clients.len());
}

#[test]
fn a_question_that_is_not_asked_for_the_sake_of_all_does_not_count_against_its_source() {
    let mut desk = Desk::new(DEADLINE);
    for n in 0..AT_ONCE {
        let number = ask(&mut desk, START, n);
        desk.answer(START, number, &deny());
    }
    let at = address(900_000);
    for n in 0..2_000 {
        assert_eq!(desk.want(START, &key(500_000 + n), at, None), Want::Limited);
    }
    // Once there is room again the source has all that it may ask at once.
    let now = START + SECOND * 5;
    for n in 0..1_024 {
        let want = desk.want(now, &key(500_000 + n), at, None);
        assert!(matches!(want, Want::Ask(_)), "{n}");
    }
}

#[test]
fn a_session_is_asked_about_by_where_it_is_now() {
    let mut desk = Desk::new(DEADLINE);
    let number = ask(&mut desk, START, 1);
    desk.answer(START, number, &allow());
    desk.session_up(&key(1), address(1));
    let local = Some(address(9).ip());
    desk.session_moved(&key(1), address(2), local);
    let question = desk.recheck(START, &key(1)).unwrap();
    assert_eq!((question.address, question.local), (address(2), local));
}

#[derive(Debug, Clone)]
enum Step {
    Want(u32),
    Answer(u64, bool, u64),
    Revoke(u32),
    Recheck(u32),
    Up(u32),
    Down(u32),
    Reached,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u32).prop_map(Step::Want),
        (1..30_u64, any::<bool>(), 1..100_u64).prop_map(|(n, ok, time)| Step::Answer(n, ok, time)),
        (0..4_u32).prop_map(Step::Revoke),
        (0..4_u32).prop_map(Step::Recheck),
        (0..4_u32).prop_map(Step::Up),
        (0..4_u32).prop_map(Step::Down),
        Just(Step::Reached),
        (0..200_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: a question has one client and a client one question, nothing is overdue after
    /// polling, and verdicts are those that are held.
    #[test]
    fn the_books_agree(steps in prop::collection::vec(step(), 1..80)) {
        let (mut desk, mut now) = (Desk::new(DEADLINE), START);
        for step in steps {
            match step {
                Step::Want(n) => drop(want(&mut desk, now, n)),
                Step::Answer(number, true, time) => {
                    let verdict = Verdict::allow(ClientPolicy::default(), Some(SECOND * time as u32));
                    desk.answer(now, number, &verdict);
                }
                Step::Answer(number, false, time) => {
                    desk.answer(now, number, &Verdict::deny(None, Some(SECOND * time as u32)));
                }
                Step::Revoke(n) => drop(desk.revoke(now, &key(n))),
                Step::Recheck(n) => drop(desk.recheck(now, &key(n))),
                Step::Up(n) => if desk.verdicts().terms(&key(n)).is_some() {
                    desk.session_up(&key(n), address(n));
                },
                Step::Down(n) => desk.session_down(&key(n)),
                Step::Reached => drop(desk.reached()),
                Step::Wait(seconds) => now += SECOND * seconds as u32,
            }
            let mut polled = 0;
            while let Some(due) = desk.poll(now) {
                if let Due::Unanswered { client, .. } = due {
                    prop_assert!(desk.clients[&client].asked.is_none());
                }
                polled += 1;
                prop_assert!(polled < 100);
            }
            prop_assert!(desk.due().is_none_or(|due| due > now));
            let asked = desk.clients.values().filter(|known| known.asked.is_some()).count();
            prop_assert_eq!(asked, desk.asked());
            for (client, known) in &desk.clients {
                prop_assert_eq!(known.held.is_some(), desk.verdicts().is_there(client));
                prop_assert_eq!(known.due, known.next_due(client));
            }
        }
    }
}
