//! A command's result, for people and for programs.

use serde_json::Value;

use crate::failure::Exit;

pub struct Report {
    pub text: String,
    pub json: Value,
    pub exit: Exit,
}

impl Report {
    pub fn new(text: String, json: Value) -> Report {
        Report { text, json, exit: Exit::Done }
    }

    /// With its last line ended.
    pub fn render(&self, json: bool) -> String {
        if json {
            return format!("{:#}\n", self.json);
        }
        match self.text.as_str() {
            "" => String::new(),
            text if text.ends_with('\n') => text.to_owned(),
            text => format!("{text}\n"),
        }
    }
}

/// Rows under a header, in columns two blanks apart; nothing at all where there are no rows.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let head: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    aligned(std::iter::once(&head).chain(rows))
}

/// Names and values, one pair a line, the values aligned.
pub fn fields<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<Vec<String>> = pairs.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    aligned(rows.iter())
}

fn aligned<'a>(rows: impl Iterator<Item = &'a Vec<String>> + Clone) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows.clone() {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text that others chose (labels), safe on a terminal: control characters are written out.
pub fn shown(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// `shown`, or `-` for nothing, so that a column is never empty.
pub fn cell(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { shown(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_no_line_ends_in_blanks() {
        let text = table(&["A", "LONG"], &[vec!["four".into(), "x".into()], vec!["é".into(), String::new()]]);
        assert_eq!(text, "A     LONG\nfour  x\né\n");
        assert_eq!(table(&["A"], &[]), "");
    }

    #[test]
    fn a_label_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2J\nb ü"), "a\\u{1b}[2J\\nb ü");
    }
}
