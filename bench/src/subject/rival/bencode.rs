//! Bencoding (BEP 3), in which rtpengine is told what to do.

use std::collections::BTreeMap;

/// How deep lists and dictionaries may lie in each other.
const DEPTH_MAX: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Integer(i64),
    Text(String),
    List(Vec<Value>),
    /// In the order of their keys, as it must be written.
    Dictionary(BTreeMap<String, Value>),
}

impl Value {
    /// A dictionary of texts and lists of texts.
    pub(super) fn dictionary<const N: usize>(entries: [(&str, Self); N]) -> Self {
        let entries = entries.map(|(key, value)| (key.to_owned(), value));
        Self::Dictionary(entries.into())
    }

    /// A list of texts.
    pub(super) fn list<const N: usize>(texts: [&str; N]) -> Self {
        Self::List(texts.map(Self::from).into())
    }

    /// The text of an entry of a dictionary.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self {
            Self::Dictionary(entries) => match entries.get(key)? {
                Self::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// As it is sent.
    pub(super) fn encode(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Integer(number) => {
                out.push('i');
                out.push_str(&number.to_string());
                out.push('e');
            }
            Self::Text(text) => write_text(text, out),
            Self::List(values) => {
                out.push('l');
                for value in values {
                    value.write(out);
                }
                out.push('e');
            }
            Self::Dictionary(entries) => {
                out.push('d');
                for (key, value) in entries {
                    write_text(key, out);
                    value.write(out);
                }
                out.push('e');
            }
        }
    }

    /// Reads one value, with nothing after it; none if there is anything else.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let (value, rest) = read(text, DEPTH_MAX)?;
        rest.is_empty().then_some(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&text.len().to_string());
    out.push(':');
    out.push_str(text);
}

/// A value, and what comes after it.
fn read(text: &str, depth: usize) -> Option<(Value, &str)> {
    let depth = depth.checked_sub(1)?;
    if let Some(rest) = text.strip_prefix('i') {
        let (number, rest) = rest.split_once('e')?;
        return Some((Value::Integer(number.parse().ok()?), rest));
    }
    if let Some(mut rest) = text.strip_prefix('l') {
        let mut values = Vec::new();
        while !rest.starts_with('e') {
            let (value, after) = read(rest, depth)?;
            values.push(value);
            rest = after;
        }
        return Some((Value::List(values), rest.strip_prefix('e')?));
    }
    if let Some(mut rest) = text.strip_prefix('d') {
        let mut entries = BTreeMap::new();
        while !rest.starts_with('e') {
            let (key, after) = read_text(rest)?;
            let (value, after) = read(after, depth)?;
            entries.insert(key.to_owned(), value);
            rest = after;
        }
        return Some((Value::Dictionary(entries), rest.strip_prefix('e')?));
    }
    let (text, rest) = read_text(text)?;
    Some((Value::from(text), rest))
}

fn read_text(text: &str) -> Option<(&str, &str)> {
    let (length, rest) = text.split_once(':')?;
    rest.split_at_checked(length.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_written_as_the_proposal_has_them() {
        let value = Value::dictionary([
            ("spam", Value::list(["a", "bé"])),
            ("cow", "moo".into()),
            ("n", Value::Integer(-42)),
        ]);
        assert_eq!(value.encode(), "d3:cow3:moo1:ni-42e4:spaml1:a3:béee");
        assert_eq!(value.text("cow"), Some("moo"));
        assert_eq!(value.text("spam"), None);
    }

    #[test]
    fn what_is_no_value_is_none() {
        for text in [
            "", "e", "5:moo", "i4", "i4.5e", "l", "d3:cowe", "3:mooo", "di1e1:ae", "1:é", "-1:a",
        ] {
            assert_eq!(Value::decode(text), None, "{text}");
        }
        let deep = "l".repeat(1_000_000);
        assert_eq!(Value::decode(&deep), None);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Integer),
            any::<String>().prop_map(Value::Text)
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(Value::Dictionary)
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(value in values()) {
            prop_assert_eq!(Value::decode(&value.encode()), Some(value));
        }

        #[test]
        fn anything_can_be_read(text in "[del0-9:i-]{0,40}|.{0,40}") {
            let _ = Value::decode(&text);
        }
    }
}
