//! A bar chart as SVG: CPU time per operation, one group of bars per operation, on a logarithmic scale.

use std::fmt::Write as _;

use quick_xml::escape::escape;

use super::{Bench, Line, stats};

const COLOURS: &[&str] = &["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"];
const LEFT: f64 = 320.0;
const WIDTH: f64 = 960.0;
const BAR: f64 = 12.0;
const GAP: f64 = 10.0;
const TOP: f64 = 50.0;

fn label(line: &Line) -> String {
    match (line.threads, line.processes) {
        (1, 1) => line.operation.clone(),
        (t, 1) => format!("{} ({t} threads)", line.operation),
        (_, p) => format!("{} ({p} processes)", line.operation),
    }
}

/// The lowest and the highest power of ten that hold all times.
fn scale(bench: &Bench) -> (f64, f64) {
    let times = bench.lines.iter().flat_map(|l| l.results.iter().flatten()).map(|s| s.cpu.max(1.0).log10());
    let (low, high) = times.fold((f64::MAX, f64::MIN), |(l, h), t| (l.min(t), h.max(t)));
    if low > high { (0.0, 1.0) } else { (low.floor(), (high - 1e-9).ceil().max(low.floor() + 1.0)) }
}

pub fn svg(bench: &Bench) -> String {
    let group = BAR * bench.modules.len() as f64 + GAP;
    let height = TOP + group * bench.lines.len() as f64 + 30.0;
    let (low, high) = scale(bench);
    let x = |ns: f64| LEFT + (ns.max(1.0).log10() - low) / (high - low) * (WIDTH - LEFT - 90.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"18\" font-size=\"14\">CPU time per operation, median; shorter is better</text>\n"
    );
    for (i, m) in bench.modules.iter().enumerate() {
        let left = 10.0 + 180.0 * i as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{left}\" y=\"26\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"35\">{}</text>",
            COLOURS[i % COLOURS.len()],
            left + 14.0,
            escape(m.as_str())
        );
    }
    let mut power = low;
    while power <= high {
        let at = x(10f64.powf(power));
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" \
             y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{}</text>",
            height - 22.0,
            height - 8.0,
            stats::duration(10f64.powf(power))
        );
        power += 1.0;
    }
    for (row, line) in bench.lines.iter().enumerate() {
        let y = TOP + group * row as f64;
        let middle = y + (group - GAP) / 2.0 + 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            escape(&*label(line))
        );
        for (i, s) in line.results.iter().enumerate() {
            let Some(s) = s else { continue };
            let (end, y) = (x(s.cpu), y + BAR * i as f64);
            let _ = writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/><text x=\"{:.1}\" \
                 y=\"{:.1}\">{}</text>",
                (end - LEFT).max(1.0),
                BAR - 1.0,
                COLOURS[i % COLOURS.len()],
                end.max(LEFT + 1.0) + 4.0,
                y + BAR - 2.5,
                stats::duration(s.cpu)
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::stats::Summary;

    #[test]
    fn bars_are_in_proportion_on_the_scale() {
        let s = |cpu| Some(Summary { wall: cpu, spread: 0.0, cpu, rate: 1.0, rounds: 1, resident: 0 });
        let line = Line {
            operation: "a < b".into(),
            threads: 1,
            processes: 1,
            results: vec![s(1e3), s(1e5), None],
            missing: vec![None, None, Some("no".into())],
            said: vec![String::new(); 2],
        };
        let bench = Bench { modules: vec!["x".into(), "y".into(), "z".into()], lines: vec![line] };
        assert_eq!(scale(&bench), (3.0, 5.0));
        let text = svg(&bench);
        assert!(text.contains("a &lt; b") && text.ends_with("</svg>\n"));
        // The shortest is at the origin, the longest at the end of the scale.
        assert!(text.contains(&format!("width=\"{:.1}\"", WIDTH - LEFT - 90.0)), "{text}");
    }
}
