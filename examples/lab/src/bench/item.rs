//! One measured quantity, its goal, and the tables.

use super::Spread;
use comfy_table::{Table, presets};
use serde_json::json;

/// What is asked of a quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The shim's part of the native value.
    Ratio(f64),
    /// The shim's value is no more than this above the native one.
    Added(f64),
    /// The shim's value itself.
    AtMost(f64),
    /// Nothing; it is told to understand the others.
    None,
}

/// Values taken in pairs, the native one and that of the shim next to each other in time.
#[derive(Clone, Debug)]
pub struct Item {
    /// Which table it belongs to.
    pub section: String,
    /// What was measured.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// Without the shim (or with what it is compared with); may be empty.
    pub native: Vec<f64>,
    /// With the shim.
    pub shim: Vec<f64>,
    /// The goal.
    pub goal: Goal,
}

impl Item {
    /// One without values yet.
    pub fn new(section: &str, name: impl Into<String>, unit: &'static str, goal: Goal) -> Self {
        Item {
            section: section.to_owned(),
            name: name.into(),
            unit,
            native: Vec::new(),
            shim: Vec::new(),
            goal,
        }
    }

    /// Add a pair.
    pub fn pair(&mut self, native: f64, shim: f64) {
        self.native.push(native);
        self.shim.push(shim);
    }

    fn pairs(&self, of: impl Fn(f64, f64) -> f64) -> Option<Spread> {
        let values: Vec<f64> = self.native.iter().zip(&self.shim).map(|(n, s)| of(*n, *s)).collect();
        Spread::of(&values)
    }

    /// What the goal is about, and whether it is met.
    pub fn result(&self) -> (Option<Spread>, Option<bool>) {
        match self.goal {
            Goal::Ratio(least) => {
                let ratio = self.pairs(|n, s| s / n);
                (ratio, ratio.map(|r| r.median >= least))
            }
            Goal::Added(most) => {
                let added = self.pairs(|n, s| s - n);
                (added, added.map(|a| a.median <= most))
            }
            Goal::AtMost(most) => {
                let own = Spread::of(&self.shim);
                (own, own.map(|o| o.median <= most))
            }
            Goal::None => (if self.native.is_empty() { None } else { self.pairs(|n, s| s / n) }, None),
        }
    }

    fn json(&self) -> serde_json::Value {
        let (result, met) = self.result();
        json!({
            "section": self.section,
            "name": self.name,
            "unit": self.unit,
            "native": self.native,
            "shim": self.shim,
            "goal": match self.goal {
                Goal::Ratio(v) => json!({ "ratio at least": v }),
                Goal::Added(v) => json!({ "added at most": v }),
                Goal::AtMost(v) => json!({ "at most": v }),
                Goal::None => json!(null),
            },
            "result": result.map(Spread::json),
            "met": met,
        })
    }
}

/// Quantities that belong together at several points, without anything to compare with.
#[derive(Clone, Debug)]
pub struct Grid {
    /// What stands above.
    pub section: String,
    /// What the columns count.
    pub head: String,
    /// One for each point.
    pub columns: Vec<String>,
    /// Name and unit, and a value for each point; none is NaN.
    pub rows: Vec<(String, Vec<f64>)>,
    /// The same and more for programs, one for each point.
    pub raw: Vec<serde_json::Value>,
}

impl Grid {
    /// As Markdown.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(std::iter::once(&self.head).chain(&self.columns));
        for (name, values) in &self.rows {
            let shown = values.iter().map(|v| if v.is_nan() { String::new() } else { number(*v) });
            table.add_row(std::iter::once(name.clone()).chain(shown));
        }
        format!("### {}\n\n{table}\n", self.section)
    }

    /// For programs.
    pub fn json(&self) -> serde_json::Value {
        json!({ "section": self.section, "points": self.raw })
    }
}

/// All items for programs.
pub fn to_json(items: &[Item]) -> serde_json::Value {
    json!(items.iter().map(Item::json).collect::<Vec<_>>())
}

/// The sections in their order, each with its table.
pub fn tables<'a>(items: impl Iterator<Item = &'a Item>) -> String {
    let items: Vec<&Item> = items.collect();
    let mut sections: Vec<&str> = Vec::new();
    for item in &items {
        if !sections.contains(&item.section.as_str()) {
            sections.push(&item.section);
        }
    }
    sections
        .iter()
        .map(|section| {
            let rows: Vec<&Item> = items.iter().copied().filter(|item| item.section == *section).collect();
            format!("### {section}\n\n{}\n", table(&rows))
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// One table.
fn table(items: &[&Item]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["", "unit", "native", "shim", "result (lowest-highest)", "goal", "met"]);
    for item in items {
        let median =
            |values: &[f64]| Spread::of(values).map_or(String::new(), |spread| number(spread.median));
        let (result, met) = item.result();
        let shown = |spread: Spread, as_ratio: bool| {
            let show = |v: f64| if as_ratio { format!("{v:.3}") } else { number(v) };
            format!("{} ({}-{})", show(spread.median), show(spread.low), show(spread.high))
        };
        let as_ratio = matches!(item.goal, Goal::Ratio(_)) || item.goal == Goal::None;
        let goal = match item.goal {
            Goal::Ratio(least) => format!("ratio >= {least}"),
            Goal::Added(most) => format!("added <= {most}"),
            Goal::AtMost(most) => format!("<= {most}"),
            Goal::None => String::new(),
        };
        let met = met.map_or("", |met| if met { "yes" } else { "no" });
        table.add_row([
            item.name.clone(),
            item.unit.to_owned(),
            median(&item.native),
            median(&item.shim),
            result.map_or(String::new(), |r| shown(r, as_ratio)),
            goal,
            met.to_owned(),
        ]);
    }
    table.to_string()
}

fn number(v: f64) -> String {
    match v.abs() {
        a if a >= 1000.0 => {
            let digits = format!("{v:.0}");
            let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |d| ("-", d));
            let groups: Vec<&str> = (0..digits.len())
                .filter(|i| (digits.len() - i).is_multiple_of(3) || *i == 0)
                .zip(
                    (1..=digits.len()).filter(|i| (digits.len() - i).is_multiple_of(3) || *i == digits.len()),
                )
                .map(|(from, to)| &digits[from..to])
                .collect();
            format!("{sign}{}", groups.join(" "))
        }
        a if a >= 100.0 => format!("{v:.0}"),
        a if a >= 10.0 => format!("{v:.1}"),
        a if a >= 0.1 || a == 0.0 => format!("{v:.2}"),
        _ => format!("{v:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_about_pairs() {
        let mut item = Item::new("s", "n", "u", Goal::Ratio(0.99));
        assert_eq!(item.result(), (None, None));
        item.pair(100.0, 98.0);
        item.pair(10.0, 10.0);
        item.pair(50.0, 50.0);
        assert_eq!(item.result(), (Some(Spread { low: 0.98, median: 1.0, high: 1.0 }), Some(true)));
        item.goal = Goal::Added(-1.0);
        assert_eq!(item.result().1, Some(false));
        item.goal = Goal::AtMost(50.0);
        assert_eq!(item.result().1, Some(true));
    }

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        let shown = [1_234_567.0, 12_345.0, 123.4, 12.34, 1.234, 0.0123, -2500.0, 999.9, 1000.0].map(number);
        assert_eq!(
            shown,
            ["1 234 567", "12 345", "123", "12.3", "1.23", "0.0123", "-2 500", "1000", "1 000"]
        );
    }
}
