//! A table, once, for terminal, Markdown and page.

/// More notes than these are folded on a page.
const NOTES_OPEN: usize = 3;
/// Of more characters than these no figure is.
const FIGURE_MAX: usize = 28;
/// Before notes.
const INDENT: &str = "  ";
/// A heading that takes several lines may be so wide.
const HEADING: usize = 5;

/// Rows of text under a heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// Names of the columns; the first is a name, the others are figures.
    pub head: Vec<String>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<String>>,
    /// Sentences below.
    pub notes: Vec<String>,
}

impl Table {
    /// Without the columns that have nothing in any row.
    pub(super) fn without_empty_columns(mut self) -> Self {
        let is_used: Vec<bool> = (0..self.head.len())
            .map(|column| {
                let mut cells = self.rows.iter().map(|row| row[column].as_str());
                cells.any(|cell| cell != super::number::NONE && !cell.is_empty())
            })
            .collect();
        let mut used = is_used.iter();
        self.head.retain(|_| used.next() == Some(&true));
        for row in &mut self.rows {
            let mut used = is_used.iter();
            row.retain(|_| used.next() == Some(&true));
        }
        self
    }

    /// Aligned with spaces.
    pub fn text(&self) -> String {
        self.aligned(usize::MAX, |name| name.chars().count())
    }

    /// The same as narrow as can be: headings take several lines where they are wider than their figures, and notes where they have
    /// more than so many characters.
    pub fn narrow_text(&self, width: usize) -> String {
        let words = |name: &str| name.split(' ').map(|word| word.chars().count()).max();
        let least = |name: &str| name.chars().count().min(HEADING);
        self.aligned(width.saturating_sub(INDENT.len()), |name| {
            words(name).unwrap_or_default().max(least(name))
        })
    }

    /// `least`: what a heading takes at least.
    fn aligned(&self, notes_width: usize, least: impl Fn(&str) -> usize) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].chars().count());
                let figures = cells.max().unwrap_or_default();
                figures.max(least(&self.head[column]))
            })
            .collect();
        let heads = self.head.iter().zip(&widths);
        let heads: Vec<Vec<String>> = heads.map(|(name, width)| wrapped(name, *width)).collect();
        let height = heads.iter().map(Vec::len).max().unwrap_or_default();
        let mut text = format!("{}\n", self.title);
        for line in 0..height {
            // They stand on the figures.
            let part = |head: &Vec<String>| match (line + head.len()).checked_sub(height) {
                Some(line) => head[line].clone(),
                None => String::new(),
            };
            let parts: Vec<String> = heads.iter().map(part).collect();
            text += &self.line(&parts, &widths);
        }
        for row in &self.rows {
            text += &self.line(row, &widths);
        }
        for note in &self.notes {
            for line in wrapped(note, notes_width) {
                text += &format!("{INDENT}{line}\n");
            }
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((name, cell), width) in self.head.iter().zip(cells).zip(widths) {
            let space = " ".repeat(width - cell.chars().count());
            match is_name(name) {
                true => line += &format!("{cell}{space}  "),
                false => line += &format!("{space}{cell}  "),
            }
        }
        line.trim_end().to_owned() + "\n"
    }

    /// As GitHub has it.
    pub fn markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> = cells.collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut text = format!("**{}**\n\n", self.title);
        if !self.head.is_empty() {
            text += &line(&mut self.head.iter().cloned());
            let rules = self.head.iter();
            let rule = |name: &String| if is_name(name) { "---" } else { "---:" }.to_owned();
            text += &line(&mut rules.map(rule));
        }
        for row in &self.rows {
            text += &line(&mut row.iter().map(|cell| cell.replace('|', "\\|")));
        }
        for note in &self.notes {
            text += &format!("\n{note}\n");
        }
        text
    }

    /// With a frame that scrolls where the screen is narrow.
    pub(super) fn html(&self) -> String {
        let mut text = format!(
            "<h2>{}</h2>\n<div class=\"scroll\" tabindex=\"0\"><table>\n<tr>",
            escape(&self.title)
        );
        for name in &self.head {
            text += &format!("<th{}>{}</th>", class(name), escape(name));
        }
        text += "</tr>\n";
        for row in &self.rows {
            text += "<tr>";
            for (name, cell) in self.head.iter().zip(row) {
                text += &format!("<td{}>{}</td>", class_of(name, cell), escape(cell));
            }
            text += "</tr>\n";
        }
        text += "</table></div>\n";
        let notes: String = self
            .notes
            .iter()
            .map(|note| format!("<p class=\"note\">{}</p>\n", escape(note)))
            .collect();
        if self.notes.len() <= NOTES_OPEN {
            return text + &notes;
        }
        let count = self.notes.len();
        text + &format!("<details><summary>{count} notes</summary>\n{notes}</details>\n")
    }
}

/// Lines of at most so many characters, if no word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Names of columns.
pub(super) fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Columns of words start at the left, figures end at the right.
fn is_name(column: &str) -> bool {
    matches!(
        column,
        "row"
            | "load"
            | "policy"
            | "by"
            | "subject"
            | "left"
            | "right"
            | "size"
            | "verdict"
            | "met"
    )
}

fn class(column: &str) -> &'static str {
    if column == "policy" {
        // Stays in sight where the table is wider than the screen.
        " class=\"name kept\""
    } else if is_name(column) {
        " class=\"name\""
    } else {
        ""
    }
}

/// The same of a cell: what is a sentence rather than a figure may take several lines.
fn class_of(column: &str, cell: &str) -> &'static str {
    if column == "load" {
        " class=\"name long\""
    } else if cell.chars().count() > FIGURE_MAX {
        " class=\"long\""
    } else {
        class(column)
    }
}

/// Text that HTML takes for text.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).into();
        Table {
            title: "Costs".to_owned(),
            head: head(&["load", "ns/packet", "loss"]),
            rows: vec![row(["a < b | c", "12", "–"]), row(["µ", "1234", "–"])],
            notes: vec!["So it is.".to_owned()],
        }
    }

    #[test]
    fn text_is_aligned() {
        let expected = "Costs\n\
            load       ns/packet  loss\n\
            a < b | c         12     –\n\
            µ               1234     –\n  So it is.\n";
        assert_eq!(example().text(), expected);
    }

    #[test]
    fn long_headings_and_notes_are_wrapped() {
        let mut table = example();
        table.head[1] = "nanoseconds per packet".to_owned();
        table.notes = vec!["word ".repeat(30).trim_end().to_owned()];
        let text = table.narrow_text(60);
        let expected = "           nanoseconds\nload        per packet  loss\n";
        assert!(text.starts_with(&format!("Costs\n{expected}")), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 60));
        assert_eq!(text.matches("word").count(), 30);
    }

    #[test]
    fn empty_columns_go() {
        let table = example().without_empty_columns();
        assert_eq!(table.head, ["load", "ns/packet"]);
        assert!(table.rows.iter().all(|row| row.len() == 2));
    }

    #[test]
    fn markup_is_escaped() {
        assert!(example().markdown().contains("| a < b \\| c | 12 | – |"));
        assert!(example().markdown().contains("| --- | ---: | ---: |"));
        assert!(
            example()
                .html()
                .contains("<td class=\"name long\">a &lt; b | c</td>")
        );
    }
}
