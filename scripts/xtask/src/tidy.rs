//! What the compiler does not check: the shape of the tree and of its files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// A file's lines, not counting the tests at its foot.
const FILE_LINES_MAX: usize = 800;
/// A function's lines, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// What may lie at the root, besides dot-files.
const ROOT_ENTRIES: [&str; 12] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "control",
    "dataplane",
    "scripts",
    "target",
    "tests",
];

/// The only rooms where unsafe code may live.
const UNSAFE_ROOMS: [&str; 4] = [
    "dataplane/packet/src/",
    "dataplane/net/",
    "dataplane/proto/src/srtp/backend/",
    // The rival that the benchmark compares with calls a C library and the kernel as C servers do.
    "bench/src/baseline/conventional/",
];

/// Checks the whole tree and names every offence.
pub fn check(root: &Path) -> Result<()> {
    let mut offences = Vec::new();
    check_root(root, &mut offences)?;
    for path in rust_files(root)? {
        let text = fs::read_to_string(&path)?;
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        check_file(&name, &text, &mut offences);
    }
    if offences.is_empty() {
        println!("tidy: ok");
        return Ok(());
    }
    for offence in &offences {
        eprintln!("tidy: {offence}");
    }
    bail!("{} offences", offences.len())
}

fn check_root(root: &Path, offences: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !ROOT_ENTRIES.contains(&name.as_str()) {
            offences.push(format!("{name}: does not belong at the root"));
        }
    }
    Ok(())
}

fn check_file(name: &str, text: &str, offences: &mut Vec<String>) {
    let product = text
        .split("\n#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or(text);
    let lines: Vec<&str> = product.lines().collect();
    let is_test =
        name.contains("/tests/") || name.starts_with("tests/") || name.ends_with("/tests.rs");
    if lines.len() > FILE_LINES_MAX && !is_test {
        offences.push(format!(
            "{name}: {} lines, at most {FILE_LINES_MAX}",
            lines.len()
        ));
    }
    for (start, length) in functions(&lines) {
        if length > FUNCTION_LINES_MAX && !is_test {
            offences.push(format!(
                "{name}:{}: function of {length} lines, at most {FUNCTION_LINES_MAX}",
                start + 1
            ));
        }
    }
    let unsafe_allowed = UNSAFE_ROOMS.iter().any(|room| name.starts_with(room))
        || name.starts_with("scripts/xtask/");
    for (number, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        if !unsafe_allowed
            && (code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("unsafe impl"))
        {
            offences.push(format!(
                "{name}:{}: unsafe code outside its rooms",
                number + 1
            ));
        }
        if line.trim_end() != *line {
            offences.push(format!("{name}:{}: white space at the end", number + 1));
        }
    }
}

/// Where each function starts, and how many lines it has. Relies on rustfmt: a body ends at the `fn`'s own indentation.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        if !is_function(body) || body.ends_with(';') || body.ends_with('}') {
            continue;
        }
        let indent = line.len() - body.len();
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| *line == closing) {
            found.push((start, length + 1));
        }
    }
    found
}

/// Whether a function begins here, after whatever qualifies it.
fn is_function(body: &str) -> bool {
    let Some((before, _)) = body.split_once("fn ") else {
        return false;
    };
    before.split_whitespace().all(|word| {
        word.starts_with("pub")
            || matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"")
            || matches!(word, "crate)" | "super)" | "in" | "self)")
    })
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ["dataplane", "control", "bench", "tests", "scripts"]
        .map(|name| root.join(name))
        .into();
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() || folder.ends_with("node_modules") || folder.ends_with("target") {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offences_of(name: &str, text: &str) -> Vec<String> {
        let mut offences = Vec::new();
        check_file(name, text, &mut offences);
        offences
    }

    #[test]
    fn long_functions_and_files_are_named() {
        let body = "    let x = 1;\n".repeat(FUNCTION_LINES_MAX);
        let text = format!("fn long() {{\n{body}}}\n");
        assert_eq!(offences_of("control/src/a.rs", &text).len(), 1);
        assert_eq!(
            offences_of("control/src/a.rs", "fn short() {\n}\n").len(),
            0
        );
        assert_eq!(
            offences_of("control/src/a.rs", &"// x\n".repeat(FILE_LINES_MAX + 1)).len(),
            1
        );
    }

    #[test]
    fn unsafe_code_stays_in_its_rooms() {
        let text = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(offences_of("dataplane/sfu/src/a.rs", text).len(), 1);
        assert_eq!(offences_of("dataplane/net/src/a.rs", text).len(), 0);
    }
}
