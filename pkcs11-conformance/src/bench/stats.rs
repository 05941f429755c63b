//! Medians and their spread.

use serde::Serialize;

use super::worker::Sample;

/// What the rounds of one module gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Median wall time of one operation in one thread, in nanoseconds.
    pub wall: f64,
    /// Half the distance between the quartiles of the wall time, as a share of the median.
    pub spread: f64,
    /// Median CPU time of one operation, in nanoseconds, all threads of the process counted.
    pub cpu: f64,
    /// Operations per second, all threads and processes together, from the median round.
    pub rate: f64,
    pub rounds: usize,
    /// The most memory that a process of the module had after a round, in KiB.
    pub resident: u64,
}

impl Summary {
    pub fn of(samples: &[Sample]) -> Summary {
        let sorted = |f: &dyn Fn(&Sample) -> f64| {
            let mut v: Vec<f64> = samples.iter().map(f).collect();
            v.sort_by(f64::total_cmp);
            v
        };
        let wall = sorted(&|s| s.wall as f64 * s.workers as f64 / s.operations.max(1) as f64);
        let cpu = sorted(&|s| s.cpu as f64 / s.operations.max(1) as f64);
        let rate = sorted(&|s| s.operations as f64 * 1e9 / s.wall.max(1) as f64);
        let middle = quantile(&wall, 0.5);
        Summary {
            wall: middle,
            spread: (quantile(&wall, 0.75) - quantile(&wall, 0.25)) / 2.0 / middle.max(f64::MIN_POSITIVE),
            cpu: quantile(&cpu, 0.5),
            rate: quantile(&rate, 0.5),
            rounds: samples.len(),
            resident: samples.iter().map(|s| s.resident).max().unwrap_or(0),
        }
    }
}

/// The value below which this share of a sorted list lies, between neighbours in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    let below = sorted.get(at.floor() as usize).copied().unwrap_or_default();
    let above = sorted.get(at.ceil() as usize).copied().unwrap_or(below);
    below + (above - below) * at.fract()
}

/// A time in the unit that reads well.
pub fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.2} us", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_per_operation() {
        let sample = |wall| Sample { operations: 10, wall, cpu: wall / 2, workers: 2, resident: wall };
        let s = Summary::of(&[sample(100), sample(300), sample(200)]);
        assert_eq!((s.wall, s.cpu, s.rounds, s.resident), (40.0, 10.0, 3, 300));
        assert!((s.spread - 0.25).abs() < 1e-9, "{}", s.spread);
        assert_eq!(s.rate, 10.0 * 1e9 / 200.0);
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(950.0), "950 ns");
        assert_eq!(duration(1500.0), "1.50 us");
        assert_eq!(duration(2.5e6), "2.50 ms");
    }
}
