//! What earlier sessions became, as rows: written when a session ends, read at the start.

use scheduler::history::{Learned, Memory, NAMES};
use scheduler::{History, Shape};
use serde::{Deserialize, Serialize};

use crate::domain::SessionId;
use crate::store::{Batch, Error, Loaded, Table};

/// What is remembered of a name.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HistoryRow {
    turn: u64,
    /// Connections, publishers, subscribers, media lines and taps of each session.
    peaks: Vec<[u32; 5]>,
}

/// What a predecessor has learned. As many names are remembered as there may be sessions, and [`NAMES`] at least; what is too much is
/// taken out of the file.
///
/// # Errors
/// [`Error::Row`] when a row is not what we write.
pub fn restored(
    loaded: &mut Loaded,
    sessions_max: usize,
    batch: &mut Batch,
) -> Result<History, Error> {
    let rows = loaded.parse::<HistoryRow>(Table::History)?;
    let rows = rows.into_iter();
    let kept = rows.map(|(name, row)| (name.into_boxed_str(), row.into()));
    let (history, forgotten) = History::restored(sessions_max.max(NAMES), kept);
    for name in forgotten {
        batch.remove(Table::History, name);
    }
    Ok(history)
}

/// Writes what was learned of a session.
pub fn keep(batch: &mut Batch, session: &SessionId, learned: Learned) {
    let row: HistoryRow = learned.memory.into();
    batch.put(Table::History, session.as_str(), &row);
    if let Some(name) = learned.forgotten {
        batch.remove(Table::History, name);
    }
}

/// Writes all that is remembered.
#[cfg(test)]
pub fn keep_all(batch: &mut Batch, history: &History) {
    for (name, memory) in history.memories() {
        batch.put(Table::History, name, &HistoryRow::from(memory.clone()));
    }
}

impl From<HistoryRow> for Memory {
    fn from(row: HistoryRow) -> Self {
        let shape = |numbers: [u32; 5]| {
            let [connections, publishers, subscribers, media_lines, taps] = numbers;
            Shape {
                connections,
                publishers,
                subscribers,
                media_lines,
                taps,
            }
        };
        Self {
            turn: row.turn,
            peaks: row.peaks.into_iter().map(shape).collect(),
        }
    }
}

impl From<Memory> for HistoryRow {
    fn from(memory: Memory) -> Self {
        let numbers = |shape: Shape| {
            [
                shape.connections,
                shape.publishers,
                shape.subscribers,
                shape.media_lines,
                shape.taps,
            ]
        };
        Self {
            turn: memory.turn,
            peaks: memory.peaks.into_iter().map(numbers).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back() {
        let memory = Memory {
            turn: 7,
            peaks: vec![
                Shape {
                    connections: 1,
                    publishers: 2,
                    subscribers: 3,
                    media_lines: 4,
                    taps: 5,
                },
                Shape::default(),
            ],
        };
        let row = HistoryRow::from(memory.clone());
        let text = serde_json::to_string(&row).expect("text");
        assert_eq!(text, r#"{"turn":7,"peaks":[[1,2,3,4,5],[0,0,0,0,0]]}"#);
        let again: HistoryRow = serde_json::from_str(&text).expect("a row");
        assert_eq!(Memory::from(again), memory);
    }
}
