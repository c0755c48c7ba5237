//! The names of OpenVidu deployments that mean nothing here, and what to do instead.

use super::super::environment::Environment;

/// A name, or what a family of names begins with.
enum Name {
    Is(&'static str),
    Begins(&'static str),
}

impl Name {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Is(whole) => name == *whole,
            Self::Begins(start) => name.starts_with(start),
        }
    }
}

const RECORDING: &str = "nothing is recorded yet: requests for recordings answer 501";
const OPERATED: &str = "start media nodes yourself and name them in the configuration or by POST /openvidu/api/media-nodes";
const METRICS: &str = "statistics are in /metrics of the master and of each node, for Prometheus, and in GET …?webRtcStats=true";
const CERTIFICATES: &str = "name PEM files with certificate and private_key";
const TURN: &str = "nodes need no TURN server of their own; others are named by ice_servers or OPENVIDU_WEBRTC_ICE_SERVERS";
const ONE_MASTER: &str =
    "there is one master: calls go on without it, and it comes back knowing everything";

/// The first that matches counts. Values that ask for what is so anyway are no reason to say anything.
const UNSERVED: &[(Name, &[&str], &str)] = &[
    (Name::Is("CERTIFICATE_TYPE"), &["selfsigned"], CERTIFICATES),
    (Name::Begins("LETSENCRYPT_"), &[], CERTIFICATES),
    (
        Name::Is("HTTP_PORT"),
        &[],
        "there is one port for browsers and applications: listen or HTTPS_PORT",
    ),
    (Name::Is("OPENVIDU_RECORDING"), &["false"], RECORDING),
    (Name::Begins("OPENVIDU_RECORDING_"), &[], RECORDING),
    (
        Name::Begins("OPENVIDU_PRO_RECORDING_"),
        &["local"],
        RECORDING,
    ),
    (Name::Begins("OPENVIDU_PRO_AWS_"), &[], RECORDING),
    (
        Name::Begins("OPENVIDU_PRO_LICENSE"),
        &[],
        "no licence is needed",
    ),
    (
        Name::Is("OPENVIDU_EDITION"),
        &["pro", "enterprise"],
        "there is one edition",
    ),
    (
        Name::Is("OPENVIDU_PRO_CLUSTER"),
        &["true"],
        "there is always a cluster, if need be of one node",
    ),
    (
        Name::Is("OPENVIDU_PRO_CLUSTER_ENVIRONMENT"),
        &["on_premise"],
        OPERATED,
    ),
    (Name::Is("OPENVIDU_PRO_CLUSTER_MODE"), &["manual"], OPERATED),
    (Name::Is("OPENVIDU_PRO_CLUSTER_MEDIA_NODES"), &[], OPERATED),
    (
        Name::Is("OPENVIDU_PRO_CLUSTER_AUTODISCOVERY"),
        &["false"],
        OPERATED,
    ),
    (Name::Is("OPENVIDU_PRO_CLUSTER_PATH"), &[], OPERATED),
    (
        Name::Is("OPENVIDU_PRO_CLUSTER_TEST"),
        &["false"],
        "ringcast-master --check checks the configuration",
    ),
    (
        Name::Begins("OPENVIDU_PRO_CLUSTER_AUTOSCALING"),
        &["false"],
        OPERATED,
    ),
    (Name::Begins("OPENVIDU_PRO_STATS_"), &[], METRICS),
    (
        Name::Begins("OPENVIDU_PRO_ELASTICSEARCH"),
        &["false"],
        METRICS,
    ),
    (Name::Begins("OPENVIDU_PRO_KIBANA"), &[], METRICS),
    (
        Name::Begins("OPENVIDU_BROWSER_LOGS"),
        &["disabled"],
        "browsers' logs are not collected",
    ),
    (
        Name::Begins("OPENVIDU_PRO_SPEECH_TO_TEXT"),
        &["disabled"],
        "nothing is transcribed: requests for it answer 501",
    ),
    (Name::Begins("OPENVIDU_PRO_COTURN_"), &["false"], TURN),
    (Name::Begins("COTURN_"), &[], TURN),
    (
        Name::Begins("OPENVIDU_ENTERPRISE_HA"),
        &["false"],
        ONE_MASTER,
    ),
    (Name::Begins("OPENVIDU_ENTERPRISE_S3_"), &[], ONE_MASTER),
    (Name::Begins("OPENVIDU_"), &[], "it is not known here"),
    (
        Name::Begins("KMS_"),
        &[],
        "there is no Kurento media server here",
    ),
];

/// One sentence for each variable that is set, wants something, and means nothing here.
pub fn warnings(environment: &Environment, is_served: impl Fn(&str) -> bool) -> Vec<String> {
    environment
        .all()
        .filter(|(name, text)| !text.trim().is_empty() && !is_served(name))
        .filter_map(|(name, text)| {
            let (_, harmless, instead) = UNSERVED.iter().find(|(one, ..)| one.matches(name))?;
            let is_harmless = harmless
                .iter()
                .any(|one| one.eq_ignore_ascii_case(text.trim()));
            (!is_harmless).then(|| format!("{name} has no effect: {instead}"))
        })
        .collect()
}
