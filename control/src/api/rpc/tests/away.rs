//! Clients that lose their sockets, come back, or never do.

use super::super::sessions::UNHEARD_MAX;
use super::*;

#[tokio::test]
async fn a_client_that_comes_back_has_missed_nothing() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.cut();
    a.heard();
    let stream = a.publish().await;
    let c = Client::join(&app, Role::Subscriber).await;
    b.reopen();
    let answer = b.resume().await;
    assert_eq!(answer["result"]["value"], "reconnection successful");
    assert_eq!(
        b.heard_methods(),
        ["participantPublished", "participantJoined"]
    );
    // What was written to a socket that died before the client heard it is sent again…
    b.cut();
    b.reopen();
    b.resume().await;
    assert_eq!(
        b.heard_methods(),
        ["participantPublished", "participantJoined"]
    );
    // …unless the client has shown that it knows the stream, or has confirmed it.
    b.subscribe(&stream).await;
    app.step(|core| core.rpc.heard(b.socket, u64::MAX));
    b.cut();
    b.reopen();
    b.resume().await;
    assert_eq!(b.heard_methods(), Vec::<String>::new());
    assert_eq!(
        a.heard_methods(),
        ["participantJoined"],
        "nobody else noticed"
    );
    drop(c);
}

#[tokio::test]
async fn a_new_socket_displaces_the_old_one() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let (old_socket, mut old_frames) = (
        a.socket,
        std::mem::replace(&mut a.frames, mpsc::channel(1).1),
    );
    a.reopen();
    a.resume().await;
    assert!(matches!(
        old_frames.try_recv().map(|one| one.frame),
        Ok(Frame::Close(1000, _))
    ));
    let deadline = Instant::now();
    app.step(|core| assert_eq!(core.rpc.closed(old_socket, deadline), None));
    let stranger = json!({"sessionId": "guessed", "reconnect": true});
    assert_eq!(
        Client::connect(&app).error("connect", stranger).await,
        40007
    );
    a.publish().await;
}

#[tokio::test]
async fn a_lost_client_is_evicted_after_its_grace() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.subscribe(&stream).await;
    a.heard();
    let past = Instant::now();
    app.step(|core| core.rpc.closed(b.socket, past));
    app.tick();
    let heard = a.heard();
    assert_eq!(heard[0].0, "participantLeft");
    assert_eq!(heard[0].1["reason"], "networkDisconnect");
    assert_eq!(node.counts(), (1, 1, 0));
    b.reopen();
    assert_eq!(b.resume().await["error"]["code"], 40007);
}

#[tokio::test]
async fn an_evicted_client_that_was_away_is_told_when_it_comes_back() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Moderator).await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.cut();
    a.heard();
    a.good("forceDisconnect", json!({"connectionId": b.id}))
        .await;
    b.reopen();
    assert!(b.resume().await.get("error").is_none());
    assert_eq!(b.heard_methods(), ["participantEvicted"]);
}

#[tokio::test]
async fn a_client_that_hears_nothing_is_evicted_before_it_costs_too_much() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.cut();
    let signal = json!({"message": json!({"to": [b.id], "data": "", "type": "x"}).to_string()});
    a.heard();
    for _ in 0..UNHEARD_MAX {
        a.good("sendMessage", signal.clone()).await;
    }
    assert_eq!(a.heard(), []);
    a.send("sendMessage", signal).await;
    let heard = a.heard();
    let left = heard.iter().find(|(method, _)| method == "participantLeft");
    assert_eq!(left.expect("evicted").1["reason"], "networkDisconnect");
}
