//! JSON bodies, read field by field so that every mistake can be named. `null` counts as absent, as the node client sends it.

use axum::body::Bytes;
use serde_json::{Map, Value};

use super::Problem;

/// The fields of a body.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body, whatever its content type. An empty one has no fields.
    ///
    /// # Errors
    /// 400 when it is not a JSON object.
    pub fn parse(body: &Bytes) -> Result<Self, Problem> {
        if body.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Problem::bad("The body must be a JSON object")),
            Err(error) => Err(Problem::bad(format!("The body is not JSON: {error}"))),
        }
    }

    /// The field, unless it is absent or null.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The field is there and null, where that says something else than nothing.
    pub fn is_null(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Value::is_null)
    }

    /// Nothing else is there.
    ///
    /// # Errors
    /// 400 that names what is there besides.
    pub fn expect_only(&self, of: &str, names: &[&str]) -> Result<(), Problem> {
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Problem::bad(format!(
                "'{of}' has no '{name}', only {}",
                names.join(", ")
            ))),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// 400 that names the field when it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        self.value(name)
            .map(|value| value.as_str().ok_or_else(|| wrong(name, "String")))
            .transpose()
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// 400 that names the field when it is absent or something else.
    pub fn required_text(&self, name: &str) -> Result<&str, Problem> {
        self.text(name)?
            .ok_or_else(|| Problem::bad(format!("'{name}' is mandatory")))
    }

    /// A truth.
    ///
    /// # Errors
    /// 400 that names the field when it is something else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.value(name)
            .map(|value| value.as_bool().ok_or_else(|| wrong(name, "boolean")))
            .transpose()
    }

    /// One of a few words.
    ///
    /// # Errors
    /// 400 that names the field when it is anything else.
    pub fn word(&self, name: &str, words: &[&str], default: &str) -> Result<String, Problem> {
        let word = self.text(name)?.unwrap_or(default);
        match words.contains(&word) {
            true => Ok(word.to_owned()),
            false => Err(Problem::bad(format!(
                "'{name}' must be one of {}",
                words.join(", ")
            ))),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// 400 that names the field when it is something else, the given problem when it is out of bounds.
    pub fn number(
        &self,
        name: &str,
        bounds: std::ops::RangeInclusive<i64>,
        default: i64,
        outside: impl Fn(String) -> Problem,
    ) -> Result<i64, Problem> {
        let Some(value) = self.value(name) else {
            return Ok(default);
        };
        let number = whole(value).ok_or_else(|| wrong(name, "Integer"))?;
        match bounds.contains(&number) {
            true => Ok(number),
            false => Err(outside(format!(
                "'{name}' must be from {} to {}",
                bounds.start(),
                bounds.end()
            ))),
        }
    }

    /// An object.
    ///
    /// # Errors
    /// 400 that names the field when it is something else.
    pub fn object(&self, name: &str) -> Result<Option<Self>, Problem> {
        self.value(name)
            .map(|value| match value {
                Value::Object(fields) => Ok(Self(fields.clone())),
                _ => Err(wrong(name, "object")),
            })
            .transpose()
    }
}

/// A whole number, also where it is written with a fraction of nothing: `25.0` is an integer in JSON Schema.
fn whole(value: &Value) -> Option<i64> {
    let float = value
        .as_f64()
        .filter(|float| float.fract() == 0.0 && float.abs() < 9e15);
    value.as_i64().or_else(|| float.map(|float| float as i64))
}

fn wrong(name: &str, what: &str) -> Problem {
    Problem::bad(format!("Wrong type of '{name}': {what} expected"))
}
