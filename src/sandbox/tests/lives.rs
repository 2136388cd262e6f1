//! Simulated people, and drivers that wait for messages.

use std::time::Duration;

use super::super::people::{self, PeopleConfig};
use super::super::{Opening, SandboxConfig};
use super::{Receiver, World, as_specialist, l, u};

const SEND: &str = "/v1/line/send/message/";

fn hasty() -> PeopleConfig {
    PeopleConfig {
        take_after: Duration::from_millis(1)..=Duration::from_millis(3),
        close_after: Duration::from_millis(1)..=Duration::from_millis(3),
        rated: 1.0,
        ..PeopleConfig::default()
    }
}

#[tokio::test]
async fn specialists_take_close_and_users_rate_what_opens() {
    let world = World::quick().await;
    let receiver = Receiver::start(&world.tasks, 0).await;
    world.hook_all(&receiver).await;
    world.handle.open(Opening::by_user(&l(2), &u(1))).await.unwrap();
    people::start(world.handle.clone(), hasty(), &world.tasks);
    world.call("POST", SEND, as_specialist(1, "Счёт 7")).await;
    receiver.wait_for_type(17).await;
    assert!(receiver.types().contains(&82));
}

#[tokio::test]
async fn users_open_treatments_on_their_own() {
    let world = World::start(SandboxConfig::quick().with_users(3)).await;
    let mut opened = world.handle.watch_opened();
    let every = Duration::from_millis(1)..=Duration::from_millis(2);
    let config = PeopleConfig { users_write_every: Some(every), ..hasty() };
    people::start(world.handle.clone(), config, &world.tasks);
    for _ in 0..3 {
        assert_ne!(opened.recv().await.unwrap().user, u(1));
    }
}

#[tokio::test]
async fn every_clone_of_the_handle_gives_out_each_message_once() {
    let world = World::quick().await;
    let other = world.handle.clone();
    for text in ["a", "b"] {
        world.call("POST", SEND, as_specialist(1, text)).await;
    }
    assert_eq!(world.handle.next_message().await.text, "a");
    assert_eq!(world.handle.next_message().await.text, "b");
    assert_eq!(other.next_message().await.text, "a");
    let (message, ()) = tokio::join!(world.handle.next_message(), async {
        world.call("POST", SEND, as_specialist(2, "c")).await;
    });
    assert_eq!(message.text, "c");
    assert_eq!(other.wait_for_messages(3).await.len(), 3);
}
