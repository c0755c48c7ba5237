//! The boards that operators look at: written from here, so that all of them look alike and a query can't be lost in a file of JSON.

mod grafana;
mod master;
mod node;
mod overview;
mod sessions;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use self::grafana::Board;

/// Where they go, below the root.
const FOLDER: &str = "scripts/grafana";

/// Where Grafana finds the boards once they are installed, and the server that they ask unless one chooses another.
const PROVISIONING: [(&str, &str); 2] = [
    (
        "provisioning/dashboards/ringcast.yaml",
        "# Written by `cargo xtask boards`. Goes to /etc/grafana/provisioning/dashboards; the boards go to `path`.\n\
         apiVersion: 1\n\
         providers:\n\
         \x20 - name: ringcast\n\
         \x20   folder: Ringcast\n\
         \x20   type: file\n\
         \x20   allowUiUpdates: false\n\
         \x20   options:\n\
         \x20     path: /var/lib/grafana/dashboards/ringcast\n",
    ),
    (
        "provisioning/datasources/ringcast.yaml",
        "# Written by `cargo xtask boards`. Goes to /etc/grafana/provisioning/datasources; `url` is the Prometheus server's: port\n\
         # 9095 as in the example beside, for 9090 is that of a node's metrics.\n\
         apiVersion: 1\n\
         datasources:\n\
         \x20 - name: Prometheus\n\
         \x20   type: prometheus\n\
         \x20   access: proxy\n\
         \x20   url: http://localhost:9095\n\
         \x20   isDefault: true\n\
         \x20   jsonData:\n\
         \x20     timeInterval: 15s\n",
    ),
];

fn boards() -> [Board; 4] {
    [
        overview::board(),
        node::board(),
        sessions::board(),
        master::board(),
    ]
}

/// Writes the boards; with `check` compares them with what is there instead.
///
/// # Errors
/// A file can't be written, or differs.
pub fn run(root: &Path, check: bool) -> Result<()> {
    let mut differ = Vec::new();
    for (name, text) in files() {
        let path = root.join(FOLDER).join(&name);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        if check {
            differ.push(name);
            continue;
        }
        let folder = path.parent().context("every file lies in a folder")?;
        fs::create_dir_all(folder)?;
        fs::write(&path, text).with_context(|| format!("{} can't be written", path.display()))?;
        println!("boards: {FOLDER}/{name}");
    }
    if !differ.is_empty() {
        bail!(
            "{} in {FOLDER} differ from the code; `cargo xtask boards` writes them",
            differ.join(", ")
        );
    }
    println!("boards: ok");
    Ok(())
}

/// Names, below the folder, and contents.
fn files() -> Vec<(String, String)> {
    let boards = boards().map(|board| (format!("{}.json", board.uid), board.text()));
    let provisioning = PROVISIONING.map(|(name, text)| (name.to_owned(), text.to_owned()));
    boards.into_iter().chain(provisioning).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parsed() -> Vec<Value> {
        boards()
            .iter()
            .map(|board| serde_json::from_str(&board.text()).expect("JSON"))
            .collect()
    }

    fn panels(board: &Value) -> impl Iterator<Item = &Value> {
        let all = board["panels"].as_array().expect("panels");
        all.iter().filter(|panel| panel["type"] != "row")
    }

    #[test]
    fn uids_are_those_of_links_and_every_panel_says_what_it_shows() {
        let boards = parsed();
        let uids: Vec<_> = boards.iter().map(|b| b["uid"].as_str()).collect();
        let wanted = ["overview", "node", "sessions", "master"].map(|n| format!("ringcast-{n}"));
        assert_eq!(uids, wanted.each_ref().map(|uid| Some(uid.as_str())));
        for board in &boards {
            for panel in panels(board) {
                let title = &panel["title"];
                assert!(
                    panel["description"]
                        .as_str()
                        .is_some_and(|d| d.ends_with('.')),
                    "{title}"
                );
                let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
                assert!(
                    unit.is_some_and(|unit| !unit.is_empty()),
                    "{title} has no unit"
                );
                assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
                assert!(
                    !panel["targets"].as_array().expect("queries").is_empty(),
                    "{title}"
                );
            }
        }
    }

    #[test]
    fn panels_have_numbers_of_their_own_and_do_not_overlap() {
        for board in parsed() {
            let (mut ids, mut taken) = (Vec::new(), Vec::new());
            for panel in board["panels"].as_array().expect("panels") {
                let at = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
                assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
                for x in at("x")..at("x") + at("w") {
                    for y in at("y")..at("y") + at("h") {
                        assert!(!taken.contains(&(x, y)), "{}", panel["title"]);
                        taken.push((x, y));
                    }
                }
                let id = panel["id"].as_u64().expect("a number");
                assert!(!ids.contains(&id));
                ids.push(id);
            }
        }
    }

    #[test]
    fn queries_keep_to_the_variables_of_their_board() {
        for board in parsed() {
            let variables = board["templating"]["list"].as_array().expect("variables");
            let has = |name: &str| variables.iter().any(|one| one["name"] == name);
            for panel in panels(&board) {
                for target in panel["targets"].as_array().expect("queries") {
                    let expression = target["expr"].as_str().expect("a query");
                    assert!(!expression.contains('@'), "{expression}");
                    assert!(expression.contains("cluster=~\"$cluster\""), "{expression}");
                    assert!(has("node") || !expression.contains("$node"), "{expression}");
                }
            }
        }
    }

    #[test]
    fn a_file_that_differs_is_found() {
        let root = std::env::temp_dir().join(format!("ringcast-boards-{}", std::process::id()));
        run(&root, false).expect("written");
        run(&root, true).expect("the same");
        let file = root.join(FOLDER).join("ringcast-node.json");
        let text = fs::read_to_string(&file).expect("there");
        fs::write(
            &file,
            text.replace("ringcast_node_ready", "ringcast_node_red"),
        )
        .expect("changed");
        let error = run(&root, true).expect_err("it differs").to_string();
        assert!(error.starts_with("ringcast-node.json in"), "{error}");
        fs::remove_dir_all(&root).expect("removed");
    }
}
