//! Line plots as SVG.

use crate::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// A line of a panel.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// One coordinate system.
pub struct Panel {
    /// What stands above.
    pub title: String,
    /// Below the horizontal axis.
    pub x: String,
    /// Beside the vertical axis.
    pub y: String,
    /// Both axes logarithmic, for values above 0.
    pub logarithmic: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 80, 66),
    RGBColor(230, 159, 0),
];

/// Draw panels one above the other.
pub fn draw(file: &Path, panels: &[Panel]) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::new(format!("{}: {e}", file.display()));
    let height = 340 * panels.len().max(1) as u32;
    let root = SVGBackend::new(file, (860, height)).into_drawing_area();
    root.fill(&WHITE).map_err(|e| failed(&e))?;
    for (area, panel) in root.split_evenly((panels.len().max(1), 1)).iter().zip(panels) {
        let done = if panel.logarithmic { logarithmic(area, panel) } else { linear(area, panel) };
        done.map_err(|e| failed(&e))?;
    }
    root.present().map_err(|e| failed(&e))
}

type Done = std::result::Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The range of one coordinate over all lines.
fn range(panel: &Panel, of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let all = panel.lines.iter().flat_map(|line| &line.points).map(of);
    let (low, high) = all.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if low < high { (low, high) } else { (0.0, 1.0) }
}

macro_rules! chart {
    ($area:ident, $panel:ident, $x:expr, $y:expr) => {{
        let mut chart = ChartBuilder::on($area)
            .caption(&$panel.title, ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d($x, $y)?;
        let grey = RGBColor(225, 225, 225);
        chart
            .configure_mesh()
            .x_desc(&$panel.x)
            .y_desc(&$panel.y)
            .light_line_style(WHITE)
            .bold_line_style(grey)
            .x_label_formatter(&|v| number(*v))
            .y_label_formatter(&|v| number(*v))
            .label_style(("sans-serif", 13))
            .draw()?;
        for (line, colour) in $panel.lines.iter().zip(COLOURS.iter().cycle()) {
            let colour = *colour;
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(grey)
            .label_font(("sans-serif", 13))
            .draw()?;
        Ok(())
    }};
}

fn linear(area: &Area, panel: &Panel) -> Done {
    let ((x0, x1), (y0, y1)) = (range(panel, |p| p.0), range(panel, |p| p.1));
    chart!(area, panel, x0..x1, y0.min(0.0)..y1 * 1.05)
}

fn logarithmic(area: &Area, panel: &Panel) -> Done {
    let ((x0, x1), (y0, y1)) = (range(panel, |p| p.0), range(panel, |p| p.1));
    // The legend stands above the lines.
    let room = (y1 / y0).powf(0.12 * panel.lines.len() as f64);
    chart!(area, panel, (x0..x1).log_scale(), (y0 * 0.7..y1 * 1.5 * room).log_scale())
}

/// A label: no more digits than it needs.
fn number(v: f64) -> String {
    if v.abs() >= 1e6 {
        format!("{}M", v / 1e6)
    } else if v.abs() >= 1e4 {
        format!("{}k", v / 1e3)
    } else {
        format!("{}", (v * 1000.0).round() / 1000.0)
    }
}
