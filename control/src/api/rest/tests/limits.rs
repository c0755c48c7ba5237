//! How much there may be, and how often somebody may guess.

use super::*;

fn with(toml: &str) -> Rest {
    let (app, _) = master_with(toml);
    let routes = routes(&app, None);
    Rest { app, routes }
}

#[tokio::test]
async fn a_session_has_the_limits_that_its_application_gives_it() {
    let rest = Rest::new();
    let limits = json!({"connections": 1, "videoMaxRecvBandwidth": 300});
    let body = json!({"customSessionId": "S", "limits": limits});
    let (status, session) = rest.call("POST", "/sessions", body).await;
    assert_eq!((status, &session["limits"]), (200, &limits));
    let (_, plain) = rest.call("POST", "/sessions", json!({})).await;
    assert!(
        plain.get("limits").is_none(),
        "others see what OpenVidu shows"
    );
    for bad in [
        json!({"connection": 1}),
        json!({"streams": -1}),
        json!(7),
        json!({"streams": "1"}),
    ] {
        let (status, problem) = rest.call("POST", "/sessions", json!({"limits": bad})).await;
        let message = problem["message"].as_str().expect("a text");
        assert!(
            status == 400
                && ["limits", "streams"]
                    .iter()
                    .any(|one| message.contains(one)),
            "{status} {message}"
        );
    }
}

#[tokio::test]
async fn what_is_too_much_is_refused_with_a_text() {
    let rest = with("sessions_max = 2\nsession_tokens_max = 1");
    let id = rest.prepared().await;
    let made = rest.call("POST", "/sessions/S/connection", json!({})).await;
    assert_eq!(made.0, 429);
    assert!(
        made.1["message"]
            .as_str()
            .expect("a text")
            .contains("unused tokens")
    );
    assert_eq!(
        rest.status("POST", "/tokens", json!({"session": "S"}))
            .await,
        429
    );
    // A used one makes room.
    rest.join(&id);
    assert_eq!(
        rest.status("POST", "/sessions/S/connection", json!({}))
            .await,
        200
    );

    assert_eq!(rest.status("POST", "/sessions", json!({})).await, 200);
    let (status, problem) = rest.call("POST", "/sessions", json!({})).await;
    assert!(
        status == 429
            && problem["message"]
                .as_str()
                .expect("a text")
                .contains("sessions_max")
    );
    // What exists is still found, for the client takes that for success.
    assert_eq!(
        rest.status("POST", "/sessions", json!({"customSessionId": "S"}))
            .await,
        409
    );
    rest.call("DELETE", "/sessions/S", Value::Null).await;
    assert_eq!(rest.status("POST", "/sessions", json!({})).await, 200);
}

#[tokio::test]
async fn guessing_ends_in_429_and_is_counted() {
    let rest = with("secret_previous = 'OLD'\nwrong_secrets_per_address_rate = 1");
    let get = async |user: &str| {
        rest.raw("GET", "/openvidu/api/config", user, Body::empty())
            .await
            .0
    };
    let mut answers = Vec::new();
    for guess in 0..12 {
        answers.push(get(&format!("OPENVIDUAPP:guess{guess}")).await);
    }
    assert_eq!(answers, [[401; 10].as_slice(), &[429; 2]].concat());
    assert_eq!(
        get(&format!("OPENVIDUAPP:{SECRET}")).await,
        429,
        "not even looked at"
    );
    let text = rest.app.metrics.render(exposition::Format::Text);
    let counted = "refused_total{limit=\"wrong_secrets_per_address\"} 3";
    assert!(text.contains(counted), "{text}");
    // What needs no secret is there for everybody.
    let open = rest
        .raw(
            "GET",
            "/openvidu/api/config/openvidu-publicurl",
            "",
            Body::empty(),
        )
        .await;
    assert_eq!(open.0, 200);
}

#[tokio::test]
async fn both_secrets_open_during_a_rotation() {
    let rest = with("secret_previous = 'GONE_SOON'");
    for (secret, status) in [(SECRET, 200), ("GONE_SOON", 200), ("GONE", 401)] {
        let user = format!("OPENVIDUAPP:{secret}");
        let answer = rest
            .raw("GET", "/openvidu/api/config", &user, Body::empty())
            .await;
        assert_eq!(answer.0, status, "{secret}");
        assert!(!answer.1.to_string().contains("GONE_SOON"));
    }
}

#[tokio::test]
async fn deep_and_long_bodies_are_refused() {
    let rest = Rest::new();
    let user = format!("OPENVIDUAPP:{SECRET}");
    for (body, status) in [
        ("[".repeat(1_000_000), 400),
        ("{\"a\":".repeat(100_000), 400),
        ("x".repeat(2 << 20), 413),
    ] {
        let (answered, problem) = rest
            .raw("POST", "/openvidu/api/sessions", &user, Body::from(body))
            .await;
        assert_eq!((answered, &problem["status"]), (status, &json!(status)));
    }
}
