//! The environment of the process: our own names, and those of OpenVidu in both of its spellings.

use std::collections::BTreeMap;

use super::{Error, value};

/// What our own variables begin with.
const OURS: &str = "RINGCAST_MASTER_";

/// The variables that are set.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Of this process. What is not Unicode is nothing that we understand.
    pub fn of_process() -> Self {
        let all = std::env::vars_os();
        Self::new(
            all.filter_map(|(name, text)| {
                Some((name.into_string().ok()?, text.into_string().ok()?))
            }),
        )
    }

    /// Of these variables. `openvidu.pro.cluster` is the same as `OPENVIDU_PRO_CLUSTER`, which counts where both are set.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let (dotted, plain): (Vec<_>, Vec<_>) =
            variables.into_iter().partition(|(name, _)| is_dotted(name));
        let mut all: BTreeMap<_, _> = dotted
            .into_iter()
            .map(|(name, text)| (name.to_ascii_uppercase().replace(['.', '-'], "_"), text))
            .collect();
        all.extend(plain);
        Self(all)
    }

    /// The variable of that name.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Checks that each variable of ours is one of those that mean something: a mistyped one would silently do nothing.
    ///
    /// # Errors
    /// [`Error::Value`] that names the variable and the one that is most like it.
    pub fn check(&self, known: &[String]) -> Result<(), Error> {
        let unknown = self
            .0
            .iter()
            .filter(|(name, text)| name.starts_with(OURS) && !is_of_kubernetes(name, text))
            .find(|(name, _)| !known.contains(name));
        let Some((name, _)) = unknown else {
            return Ok(());
        };
        let nearest = meant(known.iter().map(String::as_str), name);
        Err(value(name, format!("there is no such variable{nearest}")))
    }
}

/// Kubernetes tells each container of services: of one called ringcast-master by RINGCAST_MASTER_SERVICE_HOST,
/// RINGCAST_MASTER_PORT=tcp://… and RINGCAST_MASTER_PORT_4443_TCP_ADDR.
fn is_of_kubernetes(name: &str, text: &str) -> bool {
    let parts = ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP_", "_UDP_"];
    parts.iter().any(|part| name.contains(part))
        || text.starts_with("tcp://")
        || text.starts_with("udp://")
}

/// `openvidu.secret`, as properties of older versions are spelled.
fn is_dotted(name: &str) -> bool {
    name.contains('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || b".-0123456789".contains(&byte))
}

/// Asks whether the name that is most like `name` was meant, if it is like it at all.
pub(super) fn meant<'a>(known: impl Iterator<Item = &'a str>, name: &str) -> String {
    let own = name.strip_prefix(OURS).unwrap_or(name);
    let near = known
        .map(|one| (distance(one, name), one))
        .min()
        .filter(|(distance, _)| *distance <= (own.len() / 3).max(1));
    near.map_or_else(String::new, |(_, one)| format!("; did you mean {one}?"))
}

/// How many letters must be put in, left out or changed to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (b, above) in other.bytes().zip(row.iter_mut().skip(1)) {
            let changed = diagonal + usize::from(a != b);
            diagonal = *above;
            left = changed.min(*above + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Environment::new(variables.iter().map(owned))
    }

    #[test]
    fn letters_are_counted() {
        for (one, other, count) in [
            ("", "", 0),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(one, other), count, "{one} {other}");
        }
    }

    #[test]
    fn a_mistyped_variable_is_named_with_the_nearest() {
        let known = ["RINGCAST_MASTER_SECRET", "RINGCAST_MASTER_LISTEN"].map(str::to_owned);
        let set = environment(&[("RINGCAST_MASTER_SECRTE", "x"), ("PATH", "/bin")]);
        let error = set.check(&known).expect_err("unknown").to_string();
        assert!(error.contains("RINGCAST_MASTER_SECRTE"), "{error}");
        assert!(error.contains("RINGCAST_MASTER_SECRET?"), "{error}");
        let good = environment(&[
            ("RINGCAST_MASTER_LISTEN", "x"),
            ("RINGCAST_NODE_X", "y"),
            ("RINGCAST_MASTER_PORT", "tcp://10.0.0.1:4443"),
            ("RINGCAST_MASTER_API_SERVICE_PORT_HTTPS", "4443"),
            ("RINGCAST_MASTER_PORT_4443_TCP_ADDR", "10.0.0.1"),
        ]);
        assert!(good.check(&known).is_ok());
    }

    #[test]
    fn old_spellings_are_the_same_variables() {
        let set = environment(&[
            ("openvidu.pro.cluster.load.strategy", "streams"),
            ("kms.uris", "[]"),
            ("openvidu.secret", "old"),
            ("OPENVIDU_SECRET", "new"),
            ("Not.Ours", "x"),
        ]);
        let get = |name| set.get(name);
        assert_eq!(
            get("OPENVIDU_PRO_CLUSTER_LOAD_STRATEGY").as_deref(),
            Some("streams")
        );
        assert_eq!(get("KMS_URIS").as_deref(), Some("[]"));
        assert_eq!(get("OPENVIDU_SECRET").as_deref(), Some("new"));
        assert_eq!(get("NOT_OURS"), None);
    }
}
