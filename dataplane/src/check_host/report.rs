//! The findings, for people and for machines.

use std::fmt::Write as _;

use serde::Serialize;

use super::finding::{Finding, Grade};

/// Columns of a line in the table.
const WIDTH: usize = 110;
/// Where the text of the table begins.
const INDENT: usize = 29;

/// Everything that was looked at.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Json<'a> {
    worst: Grade,
    findings: &'a [Finding],
}

impl Report {
    /// The worst grade of all.
    pub fn worst(&self) -> Grade {
        let grades = self.findings.iter().map(|finding| finding.grade);
        grades.max().unwrap_or(Grade::Ok)
    }

    /// One JSON object: `worst`, and `findings` with `subject`, `grade`, `found`, `why` and, where there is one, `mend`.
    pub fn to_json(&self) -> String {
        let json = Json {
            worst: self.worst(),
            findings: &self.findings,
        };
        serde_json::to_string_pretty(&json).expect("findings are strings")
    }

    /// The table: what is good in one line, the rest with its reason and its mend.
    pub fn to_table(&self) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            let head = format!("{:<8} {:<19} ", finding.grade.word(), finding.subject);
            paragraph(&mut out, &head, &finding.found);
            if finding.grade > Grade::Unknown {
                paragraph(&mut out, "", finding.why);
            }
            for (number, line) in finding
                .mend
                .iter()
                .flat_map(|mend| mend.lines())
                .enumerate()
            {
                // Commands are not wrapped: they are there to be copied.
                let mark = if number == 0 { "→ " } else { "  " };
                let _ = writeln!(out, "{}{mark}{line}", " ".repeat(INDENT));
            }
        }
        let count = |grade| {
            let findings = self.findings.iter();
            findings.filter(|finding| finding.grade == grade).count()
        };
        let _ = writeln!(
            out,
            "\n{} ok, {} unknown, {} advice, {} warning, {} bad",
            count(Grade::Ok),
            count(Grade::Unknown),
            count(Grade::Advice),
            count(Grade::Warning),
            count(Grade::Bad)
        );
        out
    }
}

/// `text` behind `head`, wrapped at words.
fn paragraph(out: &mut String, head: &str, text: &str) {
    let mut line = format!("{head:<INDENT$}");
    let mut filled = line.chars().count();
    let mut empty = true;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if !empty && filled + 1 + len > WIDTH {
            let _ = writeln!(out, "{line}");
            line = " ".repeat(INDENT);
            (filled, empty) = (INDENT, true);
        }
        if !empty {
            line.push(' ');
            filled += 1;
        }
        line.push_str(word);
        filled += len;
        empty = false;
    }
    let _ = writeln!(out, "{line}");
}
