//! Records over restarts and on a disk that is full.

use std::path::Path;

use super::*;
use crate::config::{Config, Settings};
use crate::domain::{Happened, SessionEvent, SessionId};
use crate::events::Event;
use crate::store::{Store, Table};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("ringcast-records-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("room");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn master(dir: &Dir, records: &Path) -> Arc<App> {
    let text = format!("secret = 's'\ncdr_path = '{}'", records.display());
    let settings: Settings = toml::from_str(&text).expect("good configuration");
    let config = Config::load(None, settings, |_| None).expect("good configuration");
    let state = Store::open(&dir.0).expect("a directory of its own");
    App::restored(config, Metrics::new(), state).expect("readable")
}

fn happen(app: &App, sessions: std::ops::Range<u64>) {
    for session in sessions {
        let event = Event::Session(SessionEvent {
            session: SessionId::new(format!("ses_{session}")),
            session_started_at: 1,
            happened: Happened::SessionCreated,
        });
        app.step(|core| core.event(&event));
    }
}

async fn written(app: &App) {
    loop {
        app.committed().await.expect("written");
        let rows = app.store().reader().count(Table::Events).expect("read");
        let waiting = app.step(|core| core.events.targets()[0].backlog.waiting());
        if (rows, waiting) == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn sessions(records: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(records.join(FILE)).expect("it is there");
    let lines = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let id = line["sessionCreated"]["sessionId"].as_str();
        id.expect("an id").to_owned()
    });
    lines.collect()
}

#[tokio::test]
async fn every_event_is_a_line_in_order_and_none_is_there_twice_after_a_crash() {
    let (before, after) = (Dir::new("before"), Dir::new("after"));
    let records = before.0.join("records");
    let app = master(&before, &records);
    happen(&app, 0..1500);
    app.committed().await.expect("written");
    // A crash before it is noted that anything was written.
    for file in ["master.db", "master.db-wal"] {
        std::fs::copy(before.0.join(file), after.0.join(file)).expect("copied");
    }
    start(&app);
    written(&app).await;
    drop(app);
    let successor = master(&after, &records);
    happen(&successor, 1500..1510);
    start(&successor);
    written(&successor).await;
    let expected: Vec<_> = (0..1510).map(|number| format!("ses_{number}")).collect();
    assert_eq!(sessions(&records), expected);
}

#[tokio::test]
async fn records_that_cannot_be_written_stop_nothing_else() {
    let dir = Dir::new("full");
    // This can't be written to.
    let records = dir.0.join("records");
    std::fs::create_dir_all(&records).expect("room");
    std::os::unix::fs::symlink("/dev/full", records.join(FILE)).expect("a link");
    let app = master(&dir, &records);
    start(&app);
    happen(&app, 0..3);
    let failed = "ringcast_master_cdr_lines_total{outcome=\"failed\"}";
    while !app
        .metrics
        .render(exposition::Format::Text)
        .contains(failed)
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    happen(&app, 3..5);
    app.committed().await.expect("the state is written");
    std::fs::remove_file(records.join(FILE)).expect("it was there");
    written(&app).await;
    let expected: Vec<_> = (0..5).map(|number| format!("ses_{number}")).collect();
    assert_eq!(sessions(&records), expected);
}
