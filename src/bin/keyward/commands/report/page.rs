//! The page of `keyward report html`: one file, its style within it, no script, nothing fetched.

use keyward::lifecycle::{State, clock};

use super::{Row, Verdict, framework};
use crate::commands::inventory::{Inventory, Key, Weight, Without, day};

const STYLE: &str = "
:root { --ink: #1c2430; --soft: #5b6675; --line: #dde3ea; --paper: #fff; --ground: #f4f6f9; --good: #1b7f4d; --warn: #a86200;
  --bad: #b3261e; --note: #4a6285; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #323b47; --paper: #1b222b;
  --ground: #12171d; --good: #5fce95; --warn: #f0b35b; --bad: #ff8a80; --note: #9db8dd; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 36px 0 12px; }
.sub { color: var(--soft); margin: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 24px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.card b { display: block; font-size: 26px; font-weight: 650; line-height: 1.2; } .card span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 9px 14px; vertical-align: top; }
th { font-size: 12px; color: var(--soft); font-weight: 600; white-space: nowrap; } tr + tr td { border-top: 1px solid var(--line); }
td.num { text-align: right; font-variant-numeric: tabular-nums; } td.nowrap { white-space: nowrap; }
.id { color: var(--soft); font: 12px ui-monospace, monospace; }
.tag { display: inline-block; border: 1px solid currentColor; border-radius: 999px; padding: 0 9px; font-size: 12px; white-space: nowrap; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .note { color: var(--note); }
ul { margin: 0; padding: 0; list-style: none; } li + li { margin-top: 4px; }
footer { margin-top: 40px; color: var(--soft); font-size: 13px; }
@media print { body { background: none; } .scroll { overflow: visible; } }
";

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
        out
    })
}

fn tag(class: &str, text: &str) -> String {
    format!("<span class=\"tag {class}\">{}</span>", escape(text))
}

fn weight_class(weight: Weight) -> &'static str {
    match weight {
        Weight::Note => "note",
        Weight::Warning => "warn",
        Weight::Error => "bad",
    }
}

fn state_class(state: State) -> &'static str {
    match state {
        State::Active => "good",
        State::PreActive | State::Deactivated => "note",
        State::Suspended | State::PendingDestroy => "warn",
        State::Compromised | State::Destroyed => "bad",
    }
}

fn card(number: usize, what: &str, class: &str) -> String {
    format!("<div class=\"card\"><b class=\"{class}\">{number}</b><span>{}</span></div>", escape(what))
}

fn key_row(key: &Key) -> String {
    let date = |date: Option<u64>| date.map_or_else(|| "–".to_owned(), day);
    let findings: String = key
        .findings
        .iter()
        .map(|finding| {
            format!("<li>{} {}</li>", tag(weight_class(finding.weight), finding.rule), escape(&finding.what))
        })
        .collect();
    let findings = if findings.is_empty() { tag("good", "none") } else { format!("<ul>{findings}</ul>") };
    format!(
        "<tr><td><b>{}</b><br><span class=\"id\">{}</span></td><td class=\"nowrap\">{}</td><td>{}</td><td class=\"num\">{}</td>\
         <td class=\"nowrap\">{}</td><td class=\"nowrap\">{}</td><td class=\"nowrap\">{}</td><td class=\"num\">{}</td><td>{findings}</td></tr>\n",
        escape(if key.label.is_empty() { "–" } else { &key.label }),
        escape(&key.unique_id),
        escape(&key.kind()),
        tag(state_class(key.state), key.state.name()),
        key.version,
        date(key.created),
        date(key.ends),
        date(key.last_use),
        key.count.map_or_else(|| "–".to_owned(), |count| count.to_string()),
    )
}

fn fact_row(row: &Row) -> String {
    let class = match row.verdict {
        Verdict::Shown => "good",
        Verdict::Against => "bad",
        Verdict::Unknown => "note",
    };
    format!(
        "<tr><td class=\"nowrap\">{}</td><td class=\"nowrap\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
        escape(framework(row.framework)),
        escape(row.item),
        escape(row.asks),
        tag(class, row.verdict.name()),
        escape(&row.facts)
    )
}

fn section(title: &str, heads: &[&str], rows: String) -> String {
    let heads: String = heads.iter().map(|head| format!("<th>{head}</th>")).collect();
    format!(
        "<h2>{title}</h2>\n<div class=\"scroll\"><table><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

pub fn page(inventory: &Inventory, rows: &[Row]) -> String {
    let count = |weight| inventory.keys.iter().filter(|key| key.worst() == Some(weight)).count();
    let (errors, warnings) = (count(Weight::Error), count(Weight::Warning));
    let active = inventory.keys.iter().filter(|key| key.state == State::Active).count();
    let against = rows.iter().filter(|row| row.verdict == Verdict::Against).count();
    let class = |count: usize, class: &'static str| if count > 0 { class } else { "good" };
    let cards = [
        card(inventory.keys.len(), "keys", ""),
        card(active, "active", ""),
        card(errors, "keys with errors", class(errors, "bad")),
        card(warnings, "keys with warnings", class(warnings, "warn")),
        card(against, "requirements that facts speak against", class(against, "bad")),
    ]
    .concat();
    let record = match &inventory.record {
        Err(Without::NotKept) => "No audit record is kept.".to_owned(),
        Err(Without::LeftOut) => "The audit record was left out.".to_owned(),
        Ok(record) if record.whole => format!("The audit record is whole: {} lines.", record.lines),
        Ok(record) => format!("The audit record was changed: {} findings.", record.findings),
    };
    let keys = inventory.keys.iter().map(key_row).collect();
    let heads = ["Key", "Type", "State", "Version", "Made", "Ends", "Last use", "Uses", "Findings"];
    let facts = rows.iter().map(fact_row).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Keys of {label}</title><style>{STYLE}</style></head><body><main>\n<h1>Keys of {label}</h1>\n\
         <p class=\"sub\">Token {serial}, as of {now}. {record}</p>\n<div class=\"cards\">{cards}</div>\n{}{}\
         <footer>What the facts show: no certificate, and no substitute for an audit. Made by Keyward {}.</footer>\n\
         </main></body></html>\n",
        section("Keys", &heads, keys),
        section("Requirements", &["Framework", "Item", "Asks for", "Facts", "What was found"], facts),
        env!("CARGO_PKG_VERSION"),
        label = escape(if inventory.label.is_empty() { &inventory.serial } else { &inventory.label }),
        serial = escape(&inventory.serial),
        now = clock::text(inventory.now),
        record = escape(&record),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_write_html() {
        assert_eq!(escape("<b>&\"'\u{1b}"), "&lt;b&gt;&amp;&quot;&#39;\u{fffd}");
    }
}
