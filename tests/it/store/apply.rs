//! What events do to treatments and lines.

use freeline::core::line::LineState;
use freeline::core::treatment::{EndKind, Opener};
use freeline::store::{EventFilter, EventState, TreatmentFilter};
use serde_json::json;

use crate::support::build::{NOW, at, line};
use crate::support::event::{answer, close, moved_from, moved_to, received, text, with};
use crate::support::on_both_engines;
use crate::support::steps::{SECOND, furnish, hear, line_state, report, treatment};

const CHAT: (&str, &str, &str) = ("a", "u", "t");

on_both_engines! {
    async fn an_opened_treatment_makes_its_line_busy_since_it_was_heard(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        assert_eq!(line_state(&*store, "a").await, LineState::Free);
        hear(&*store, &[text("m1", CHAT, at(-5))], NOW).await;
        let found = report(&*store, "a").await;
        assert_eq!((found.state, found.since), (LineState::Busy, NOW));
        let open = &found.treatments[0];
        assert_eq!((open.id.as_str(), open.user.as_str()), ("t", "u"));
        assert_eq!((open.opened_at, open.last_event_at), (at(-5), at(-5)));
        assert_eq!((open.opener, &open.ended), (Opener::User, &None));
    }

    async fn who_began_is_known_anew_when_an_earlier_event_is_heard_later(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[answer("m2", CHAT, "Good morning", at(5))], at(5)).await;
        assert_eq!(treatment(&*store, "t").await.opener, Opener::Specialist);
        hear(&*store, &[text("m1", CHAT, at(4))], at(6)).await;
        assert_eq!(treatment(&*store, "t").await.opener, Opener::User);
    }

    async fn more_events_of_a_treatment_leave_the_lines_state_and_since_alone(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", CHAT, NOW)], NOW).await;
        hear(&*store, &[text("m2", CHAT, at(7))], at(7)).await;
        let found = report(&*store, "a").await;
        assert_eq!((found.state, found.since), (LineState::Busy, NOW));
        assert_eq!(found.treatments[0].last_event_at, at(7));
    }

    async fn a_closed_treatment_frees_its_line_and_stays_closed(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", CHAT, NOW)], NOW).await;
        hear(&*store, &[close("m2", CHAT, at(60))], at(61)).await;
        hear(&*store, &[text("m3", CHAT, at(59))], at(62)).await;
        let found = report(&*store, "a").await;
        assert_eq!((found.state, found.since), (LineState::Free, at(61)));
        assert_eq!(found.treatments, []);
        assert_eq!(treatment(&*store, "t").await.ended, Some((at(60), EndKind::Closed)));
    }

    async fn a_close_that_overtakes_the_opening_leaves_the_line_free(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[close("m2", CHAT, at(60))], at(60)).await;
        hear(&*store, &[text("m1", CHAT, NOW)], at(61)).await;
        assert_eq!(line_state(&*store, "a").await, LineState::Free);
    }

    async fn a_move_frees_its_source_and_fills_its_target_whichever_half_is_heard(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b", "c", "d"].map(|id| line(id, "anna"))).await;
        let chats = [("a", "u1", "s1"), ("c", "u2", "s2")];
        hear(&*store, &chats.map(|chat| text(chat.1, chat, NOW)), NOW).await;
        hear(&*store, &[moved_to("m1", chats[0], ("b", "t1"), at(9))], at(10)).await;
        hear(&*store, &[moved_from("m2", ("d", "u2", "t2"), ("c", "s2"), at(9))], at(10)).await;
        for (source, target, old, new) in [("a", "b", "s1", "t1"), ("c", "d", "s2", "t2")] {
            let free = report(&*store, source).await;
            assert_eq!((free.state, free.since), (LineState::Free, at(10)));
            let busy = report(&*store, target).await;
            assert_eq!((busy.state, busy.since), (LineState::Busy, at(10)));
            assert_eq!(busy.treatments[0].id.as_str(), new);
            let ended = treatment(&*store, old).await;
            assert_eq!(ended.ended, Some((at(9), EndKind::Moved)));
            assert_eq!(ended.moved_to.unwrap().as_str(), new);
        }
    }

    async fn the_other_half_of_a_move_changes_nothing_more(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        hear(&*store, &[text("m1", CHAT, NOW)], NOW).await;
        hear(&*store, &[moved_to("m2", CHAT, ("b", "t2"), at(9))], at(9)).await;
        hear(&*store, &[moved_from("m2", ("b", "u", "t2"), ("a", "t"), at(9))], at(10)).await;
        assert_eq!(report(&*store, "a").await.since, at(9));
        assert_eq!(report(&*store, "b").await.since, at(9));
        let all = TreatmentFilter { limit: 10, ..TreatmentFilter::default() };
        assert_eq!(store.list_treatments(&all).await.unwrap().len(), 2);
    }

    async fn a_newer_treatment_of_the_same_user_ends_the_older_one(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        hear(&*store, &[text("m1", CHAT, NOW)], NOW).await;
        hear(&*store, &[text("m2", ("a", "u", "t2"), at(9))], at(9)).await;
        assert_eq!(treatment(&*store, "t").await.ended, Some((at(9), EndKind::Superseded)));
        let open = report(&*store, "a").await.treatments;
        assert_eq!(open.len(), 1);
    }

    async fn a_treatment_that_goes_on_elsewhere_makes_room_for_a_new_one_in_the_same_batch(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        hear(&*store, &[text("m1", ("a", "u", "t2"), NOW)], NOW).await;
        // Its move was never heard: it writes on another line, and its user begins a new one.
        let batch = [text("m2", ("b", "u", "t2"), at(5)), text("m3", ("a", "u", "t1"), at(6))];
        hear(&*store, &batch, at(6)).await;
        assert_eq!(report(&*store, "a").await.treatments[0].id.as_str(), "t1");
        assert_eq!(report(&*store, "b").await.treatments[0].id.as_str(), "t2");
    }

    async fn two_treatments_of_a_user_that_change_places_in_one_batch_are_both_kept(db) {
        let store = db.open().await;
        furnish(&*store, ["a", "b"].map(|id| line(id, "anna"))).await;
        let begin = [text("m1", ("a", "u", "t1"), NOW), text("m2", ("b", "u", "t2"), NOW)];
        hear(&*store, &begin, NOW).await;
        let swap = [text("m3", ("b", "u", "t1"), at(5)), text("m4", ("a", "u", "t2"), at(5))];
        hear(&*store, &swap, at(5)).await;
        let all = TreatmentFilter { open: Some(true), limit: 10, ..TreatmentFilter::default() };
        assert!(!store.list_treatments(&all).await.unwrap().is_empty());
        let left =
            EventFilter { state: Some(EventState::New), limit: 10, ..EventFilter::default() };
        assert_eq!(store.list_events(&left).await.unwrap(), []);
    }

    async fn a_late_bot_event_does_not_reopen_what_only_a_tombstone_tells_of(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let old = [text("m1", ("a", "u", "t1"), at(-900)), close("m2", ("a", "u", "t1"), at(-800))];
        hear(&*store, &old, at(-800)).await;
        // Of the second one only the end is heard, then a late event of the bot without its id.
        hear(&*store, &[close("m4", ("a", "u", "t2"), at(60))], at(60)).await;
        let bots = json!({"event_source": "bot", "treatment_id": null});
        hear(&*store, &[with(text("m3", CHAT, at(30)), bots)], at(61)).await;
        assert_eq!(line_state(&*store, "a").await, LineState::Free);
    }

    async fn a_line_the_directory_does_not_know_keeps_its_treatments_until_it_does(db) {
        let store = db.open().await;
        hear(&*store, &[text("m1", CHAT, NOW)], NOW).await;
        furnish(&*store, []).await;
        store.put_line(&line("a", "anna"), NOW).await.unwrap();
        assert_eq!(report(&*store, "a").await.treatments.len(), 1);
    }

    async fn a_full_batch_takes_as_many_events_as_it_may_and_no_more(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let one = |n: i64| {
            let chat = ("a", &*format!("u{n}"), &*format!("t{n}"));
            received(&text(&format!("m{n}"), chat, at(n)), NOW)
        };
        store.keep_events(&(0..600).map(one).collect::<Vec<_>>()).await.unwrap();
        for expected in [256, 256, 88, 0] {
            assert_eq!(store.apply_events(NOW, 256).await.unwrap(), expected);
        }
        let all = TreatmentFilter { open: Some(true), limit: 1_000, ..TreatmentFilter::default() };
        assert_eq!(store.list_treatments(&all).await.unwrap().len(), 600);
        assert_eq!(report(&*store, "a").await.state, LineState::Busy);
    }

    async fn one_batch_that_opens_and_closes_leaves_the_line_as_it_was(db) {
        let store = db.open().await;
        furnish(&*store, [line("a", "anna")]).await;
        let since = report(&*store, "a").await.since;
        let batch = [text("m1", CHAT, NOW), close("m2", CHAT, NOW.plus(SECOND))];
        hear(&*store, &batch, at(2)).await;
        let found = report(&*store, "a").await;
        assert_eq!((found.state, found.since), (LineState::Free, since));
    }
}
