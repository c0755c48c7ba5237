//! Tables for people: columns as wide as what is in them.

use serde_json::Value;

/// Lines of text, a header first. Numbers stand to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(header[column].len())
    };
    let is_number = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column));
        !rows.is_empty() && cells.all(|cell| cell == "-" || cell.parse::<f64>().is_ok())
    };
    let columns: Vec<_> = (0..header.len())
        .map(|column| (width(column), is_number(column)))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells
            .zip(&columns)
            .map(|(cell, (width, right))| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:width$}"),
            });
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// What a cell shows of a value.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// A length of time, in milliseconds, to its two largest units.
pub fn length(millis: u64) -> String {
    let seconds = millis / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}s", seconds % 60),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let rows = [
            vec!["media_1".to_owned(), "7.5".to_owned(), "é".to_owned()],
            vec!["m".to_owned(), "-".to_owned(), "long".to_owned()],
        ];
        let text = table(&["ID", "LOAD", "X"], &rows);
        assert_eq!(
            text,
            "ID       LOAD  X\nmedia_1   7.5  é\nm           -  long\n"
        );
        assert_eq!(table(&["ID", "LOAD"], &[]), "ID  LOAD\n");
    }

    #[test]
    fn lengths_are_short() {
        for (millis, text) in [
            (999, "0s"),
            (59_000, "59s"),
            (61_000, "1m01s"),
            (3_720_000, "1h02m"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(length(millis), text);
        }
    }
}
