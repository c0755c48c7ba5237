//! Tests of the file and its writer.

use super::*;
use crate::testing::Dir;

impl Loaded {
    /// What is loaded after that batch, of one table.
    pub(super) fn of(table: Table, batch: &Batch) -> Self {
        let dir = Dir::new("of");
        let (store, _) = Store::open(&dir.0).expect("writable");
        store.submit(batch.clone());
        drop(store);
        let (_, mut loaded) = Store::open(&dir.0).expect("readable");
        for other in Table::ALL {
            if other != table {
                loaded.take(other);
            }
        }
        loaded
    }
}

fn batch(rows: &[(&str, Option<u32>)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in rows {
        match value {
            Some(value) => batch.put(Table::Sessions, *key, value),
            None => batch.remove(Table::Sessions, *key),
        }
    }
    batch
}

fn sessions(dir: &Dir) -> Vec<(String, u32)> {
    let (_, mut loaded) = Store::open(&dir.0).expect("readable");
    loaded.parse(Table::Sessions).expect("numbers")
}

#[tokio::test]
async fn what_is_committed_is_there_after_a_restart() {
    let dir = Dir::new("restart");
    let (store, mut loaded) = Store::open(&dir.0).expect("writable");
    assert!(loaded.take(Table::Sessions).is_empty());
    store.submit(batch(&[("a", Some(1)), ("b", Some(2))]));
    store.submit(batch(&[("a", Some(3)), ("b", None), ("c", Some(4))]));
    let last = store.submit(Batch::default());
    assert_eq!(last, 2, "an empty batch is none");
    store.committed(last).await.expect("written");
    assert!(store.is_committed(2) && !store.is_committed(3));
    assert_eq!(
        store
            .reader()
            .page(Table::Sessions, ("a", "z"), 9)
            .expect("read")
            .len(),
        1
    );
    drop(store);
    assert_eq!(sessions(&dir), [("a".to_owned(), 3), ("c".to_owned(), 4)]);
}

#[test]
fn two_masters_do_not_share_a_directory() {
    let dir = Dir::new("shared");
    let first = Store::open(&dir.0).expect("free");
    assert!(matches!(Store::open(&dir.0), Err(Error::InUse { .. })));
    drop(first);
    assert!(Store::open(&dir.0).is_ok());
}

#[test]
fn what_is_not_ours_is_not_touched() {
    let dir = Dir::new("foreign");
    std::fs::create_dir_all(&dir.0).expect("a directory");
    let path = dir.0.join(file::FILE);
    std::fs::write(&path, "something else that is longer than a header of SQLite is, to be sure, and so on, and so on").expect("written");
    assert!(matches!(Store::open(&dir.0), Err(Error::Foreign { .. })));
    std::fs::remove_file(&path).expect("there");
    let other = rusqlite::Connection::open(&path).expect("a database");
    other.execute_batch("CREATE TABLE t (x)").expect("a table");
    drop(other);
    assert!(matches!(Store::open(&dir.0), Err(Error::Foreign { .. })));
}

#[test]
fn a_later_form_is_left_to_a_later_master() {
    let dir = Dir::new("newer");
    drop(Store::open(&dir.0).expect("writable"));
    let db = rusqlite::Connection::open(dir.0.join(file::FILE)).expect("a database");
    db.pragma_update(None, "user_version", 99).expect("written");
    drop(db);
    let refused = Store::open(&dir.0);
    assert!(matches!(refused, Err(Error::Newer { found: 99, .. })));
}

#[test]
fn an_earlier_form_is_brought_to_ours() {
    let dir = Dir::new("older");
    let (store, _) = Store::open(&dir.0).expect("writable");
    store.submit(batch(&[("a", Some(1))]));
    drop(store);
    let db = rusqlite::Connection::open(dir.0.join(file::FILE)).expect("a database");
    db.execute_batch("DROP TABLE history; PRAGMA user_version = 1")
        .expect("the first form");
    drop(db);
    let (store, mut loaded) = Store::open(&dir.0).expect("readable");
    assert_eq!(loaded.take(Table::Sessions).len(), 1);
    let mut batch = Batch::default();
    batch.put(Table::History, "standup", &3);
    store.submit(batch);
    drop(store);
    let (_, mut loaded) = Store::open(&dir.0).expect("readable");
    assert_eq!(loaded.take(Table::History).len(), 1);
}

#[test]
fn a_damaged_file_is_named() {
    let dir = Dir::new("damaged");
    let (store, _) = Store::open(&dir.0).expect("writable");
    let rows: Vec<_> = (0..2000).map(|i| format!("key{i}")).collect();
    let rows: Vec<_> = rows.iter().map(|key| (key.as_str(), Some(7))).collect();
    store.submit(batch(&rows));
    drop(store);
    let path = dir.0.join(file::FILE);
    let mut bytes = std::fs::read(&path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0x5a);
    std::fs::write(&path, bytes).expect("writable");
    let refused = Store::open(&dir.0).err().expect("it is damaged");
    assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("restore a copy"));
}

#[tokio::test]
async fn nothing_is_lost_while_the_disk_takes_nothing() {
    let dir = Dir::new("full");
    let (store, _) = Store::open(&dir.0).expect("writable");
    let first = store.submit(batch(&[("a", Some(1))]));
    store.committed(first).await.expect("written");
    // Another program holds the file for as long as it likes.
    let other = rusqlite::Connection::open(dir.0.join(file::FILE)).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("free");
    let second = store.submit(batch(&[("a", Some(2)), ("b", Some(2))]));
    let refused = store.committed(second).await;
    assert!(refused.is_err(), "it can't be written");
    assert!(store.failure().is_some());
    let third = store.submit(batch(&[("b", Some(3))]));
    other.execute_batch("ROLLBACK").expect("begun");
    while store.committed(third).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(store.failure().is_none());
    drop((store, other));
    assert_eq!(sessions(&dir), [("a".to_owned(), 2), ("b".to_owned(), 3)]);
}

#[tokio::test]
async fn what_waits_for_a_failing_disk_is_one_form_of_each_row() {
    let dir = Dir::new("many");
    let (store, _) = Store::open(&dir.0).expect("writable");
    let other = rusqlite::Connection::open(dir.0.join(file::FILE)).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("free");
    let first = store.submit(batch(&[("a", Some(0))]));
    assert!(store.committed(first).await.is_err());
    let failures = |store: &Store| {
        let commits = store.commits();
        commits.failures.load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = failures(&store);
    for value in 0..30_000 {
        store.submit(batch(&[
            ("a", Some(value)),
            (&format!("b{value}"), Some(value)),
        ]));
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(failures(&store) - before <= 3, "it is not tried for each");
    other.execute_batch("ROLLBACK").expect("begun");
    let last = store.submitted();
    while store.committed(last).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop((store, other));
    let kept = sessions(&dir);
    assert_eq!(kept.len(), 30_001);
    assert_eq!(kept[0], ("a".to_owned(), 29_999));
}

#[tokio::test]
async fn a_disk_that_hangs_is_found_out() {
    let (store, _) = Store::in_memory().expect("memory");
    assert!(store.failure().is_none());
    store.hang_for_test();
    let waiting = store.committed(store.submitted() + 1);
    let refused = waiting.await.expect_err("it does not answer");
    assert!(refused.to_string().contains("does not answer"));
}
