//! A table, once, for terminal, Markdown and page.

/// More notes than these are folded on a page.
const NOTES_OPEN: usize = 3;
/// Of more characters than these no figure is.
const FIGURE_MAX: usize = 28;

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
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.head[column].chars().count()]).max()
        };
        let widths: Vec<usize> = (0..self.head.len()).filter_map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (column, (cell, width)) in cells.zip(&widths).enumerate() {
                let space = " ".repeat(width - cell.chars().count());
                if is_name(&self.head[column]) {
                    line.push_str(cell);
                    line.push_str(&space);
                } else {
                    line.push_str(&space);
                    line.push_str(cell);
                }
                line.push_str("  ");
            }
            line.trim_end().to_owned() + "\n"
        };
        let mut text = format!("{}\n", self.title);
        text += &line(&mut self.head.iter().map(String::as_str));
        for row in &self.rows {
            text += &line(&mut row.iter().map(String::as_str));
        }
        for note in &self.notes {
            text += &format!("  {note}\n");
        }
        text
    }

    /// As GitHub has it.
    pub fn markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> = cells.collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut text = format!("**{}**\n\n", self.title);
        text += &line(&mut self.head.iter().cloned());
        text += &line(
            &mut self
                .head
                .iter()
                .map(|name| if is_name(name) { "---" } else { "---:" }.to_owned()),
        );
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

/// Names of columns.
pub(super) fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Columns of words start at the left, figures end at the right.
fn is_name(column: &str) -> bool {
    matches!(
        column,
        "row" | "load" | "subject" | "left" | "right" | "size" | "verdict" | "met"
    )
}

fn class(column: &str) -> &'static str {
    if is_name(column) {
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
