//! What tokens open and what not, and how much there may be.

use super::*;
use crate::domain::{ConnectionId, Limits};

fn limit(app: &Arc<App>, limits: Limits) {
    let properties = SessionProperties {
        media_mode: "ROUTED".to_owned(),
        recording_mode: "MANUAL".to_owned(),
        custom_session_id: "S".to_owned(),
        default_recording_properties: json!({}),
        media_node: None,
        expected_connections: None,
        expected_publishers: None,
        forced_video_codec: app.config().forced_video_codec.clone(),
        allow_transcoding: false,
        limits,
    };
    app.step(|core| {
        let made = core
            .domain
            .create_session(properties, now_millis(), core.chance.as_mut());
        assert!(made.is_ok());
    });
}

#[tokio::test]
async fn a_full_session_takes_nobody_and_keeps_the_token() {
    let (app, _) = master();
    limit(
        &app,
        Limits {
            connections: Some(2),
            ..Limits::default()
        },
    );
    let mut a = Client::join(&app, Role::Publisher).await;
    let _b = Client::join(&app, Role::Publisher).await;
    let token = token(&app, Role::Publisher);
    let mut late = Client::connect(&app);
    let answer = late.call("joinRoom", join_params(&token)).await;
    assert_eq!(answer["error"]["code"], 429);
    let text = answer["error"]["message"].as_str().expect("a text");
    assert!(text.contains("has 2 users, which is its limit"), "{text}");
    // Who comes back is no newcomer, and who comes instead has a place.
    a.cut();
    a.reopen();
    assert!(a.resume().await["result"].is_object());
    a.heard();
    a.good("leaveRoom", json!({})).await;
    late.good("joinRoom", join_params(&token)).await;
    let mut recorder = Client::connect(&app);
    let mut params = join_params("");
    params["secret"] = json!(crate::testing::SECRET);
    params["recorder"] = json!(true);
    recorder.good("joinRoom", params).await;
}

#[tokio::test]
async fn streams_and_subscriptions_are_bounded() {
    let (app, _) = master_with("session_streams_max = 2\nconnection_subscriptions_max = 1");
    limit(
        &app,
        Limits {
            streams: Some(50),
            ..Limits::default()
        },
    );
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::join(&app, Role::Publisher).await);
    }
    clients[0].heard();
    let first = clients[0].publish().await;
    clients[1].heard();
    let second = clients[1].publish().await;
    let third = &mut clients[2];
    third.heard();
    let refused = third.call("publishVideo", publish_params(OFFER)).await;
    assert_eq!(
        refused["error"]["code"], 429,
        "the operator's bound counts: {refused}"
    );
    third.subscribe(&first).await;
    let params = json!({"sender": second, "reconnect": false});
    assert_eq!(
        third.error("prepareReceiveVideoFrom", params.clone()).await,
        429
    );
    // The same stream again is no other one.
    third.subscribe(&first).await;
    let publisher = clients[0].id.clone();
    clients[2]
        .good("unsubscribeFromVideo", json!({"sender": publisher}))
        .await;
    clients[2].subscribe(&second).await;
    clients[0].heard();
    clients[0].good("unpublishVideo", json!({})).await;
    clients[2].heard();
    clients[2].publish().await;
}

#[tokio::test]
async fn the_bandwidth_of_a_session_is_told_to_publishers() {
    let (app, _) = master_with("video_max_recv_bandwidth = 900");
    limit(
        &app,
        Limits {
            video_max_recv_bandwidth: Some(400),
            ..Limits::default()
        },
    );
    let mut a = Client::join(&app, Role::Publisher).await;
    let answer = a.good("publishVideo", publish_params(OFFER)).await;
    let sdp = answer["sdpAnswer"].as_str().expect("an answer");
    assert!(
        sdp.contains("b=TIAS:400000") || sdp.contains("b=AS:400"),
        "{sdp}"
    );
}

#[tokio::test]
async fn a_token_opens_one_connection_of_one_session_once() {
    let (app, _) = master();
    let token = token(&app, Role::Subscriber);
    app.step(|core| {
        let mut properties = core
            .domain
            .session(&SessionId::new("S"))
            .expect("there")
            .properties
            .clone();
        properties.custom_session_id = "T".to_owned();
        core.domain
            .create_session(properties, now_millis(), core.chance.as_mut())
            .expect("free");
    });
    let mut a = Client::connect(&app);
    // Another session, cut short, one letter off, signed by nobody.
    let mut elsewhere = join_params(&token);
    elsewhere["session"] = json!("T");
    assert_eq!(a.error("joinRoom", elsewhere).await, 401);
    let short = &token[..token.len() - 1];
    for bad in [
        short,
        &format!("{short}!"),
        "tok_",
        "",
        "eyJhbGciOiJub25lIn0.e30.",
        "sessionId=S",
    ] {
        assert_eq!(a.error("joinRoom", join_params(bad)).await, 401, "{bad}");
    }
    // Whatever the client says of itself, it is what its token says.
    let mut params = join_params(&format!("{token}&role=MODERATOR&recorder=true"));
    params["metadata"] = json!(r#"{"role":"MODERATOR"}%/%{"role":"MODERATOR"}"#);
    for (name, value) in [
        ("role", json!("MODERATOR")),
        ("recorder", json!(true)),
        ("stt", json!(true)),
        ("trusted", json!(true)),
    ] {
        params[name] = value;
    }
    let joined = a.good("joinRoom", params).await;
    assert_eq!(joined["role"], "SUBSCRIBER");
    assert!(joined["id"].as_str().expect("an id").starts_with("con_"));
    assert!(!joined.to_string().contains(crate::testing::SECRET));
    assert_eq!(a.error("publishVideo", publish_params(OFFER)).await, 401);

    // Put out, it can't come again.
    let (session, id) = (
        SessionId::new("S"),
        ConnectionId::new(joined["id"].as_str().expect("an id")),
    );
    app.step(|core| {
        core.domain.evict(
            &session,
            &id,
            crate::domain::Reason::ForceDisconnectByServer,
        )
    })
    .expect("here");
    let mut again = Client::connect(&app);
    assert_eq!(
        again.error("joinRoom", join_params(&token)).await,
        202,
        "it was the last one"
    );
    let rpc = json!({"sessionId": joined["sessionId"], "reconnect": true});
    // That is good for hearing why, once, and for nothing else.
    again.call("connect", rpc).await;
    again.heard();
    assert_eq!(
        again.error("publishVideo", publish_params(OFFER)).await,
        803
    );
}

#[tokio::test]
async fn tokens_grow_old_where_that_is_wanted() {
    let (app, _) = master_with("token_lifetime = '100ms'");
    let (first, second) = (token(&app, Role::Publisher), token(&app, Role::Publisher));
    let mut a = Client::connect(&app);
    a.good("joinRoom", join_params(&first)).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let mut b = Client::connect(&app);
    let refused = b.call("joinRoom", join_params(&second)).await;
    assert_eq!(refused["error"]["code"], 401);
    assert!(
        refused["error"]["message"]
            .as_str()
            .expect("a text")
            .contains("expired")
    );
}

#[tokio::test]
async fn guessed_secrets_are_refused_unseen_after_a_while() {
    let (app, _) = master_with("wrong_secrets_per_address_rate = 1");
    session(&app);
    let mut a = Client::connect(&app);
    let mut params = join_params("");
    params["secret"] = json!("guess");
    for _ in 0..10 {
        assert_eq!(a.error("joinRoom", params.clone()).await, 401);
    }
    params["secret"] = json!(crate::testing::SECRET);
    assert_eq!(a.error("joinRoom", params).await, 429);
    // Tokens are no secrets of the deployment.
    let token = token(&app, Role::Publisher);
    a.good("joinRoom", join_params(&token)).await;
}
