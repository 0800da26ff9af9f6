//! The results as a picture: bars by variant, for those metrics that tell how fast something is.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::results::{Figure, Metric};

/// What is drawn, one panel each.
const PANELS: [(&str, Metric, &str); 9] = [
    (
        "check",
        Metric::P50,
        "Check: p50 at half of the floor's throughput, ms",
    ),
    (
        "check",
        Metric::P99,
        "Check: p99 at half of the floor's throughput, ms",
    ),
    ("check", Metric::Throughput, "Check: answers a second"),
    (
        "check",
        Metric::Cpu,
        "Check: the server's processor time a call, µs",
    ),
    ("envoy", Metric::P50, "Envoy: p50, ms"),
    ("envoy", Metric::P99, "Envoy: p99, ms"),
    ("envoy", Metric::Throughput, "Envoy: requests a second"),
    (
        "envoy",
        Metric::Added,
        "Envoy: processor time a request that the filter adds, µs",
    ),
    (
        "envoy",
        Metric::Cpu,
        "Envoy: its processor time a request, µs",
    ),
];

/// Pixels of a bar, with its space.
const BAR: u32 = 22;
const PANEL_MARGIN: u32 = 60;
const WIDTH: u32 = 1000;
/// Where bars begin.
const LABELS: i32 = 260;
const VALUES: i32 = 90;

/// Draws the figures into an SVG file.
pub fn draw(figures: &[Figure], path: &Path) -> Result<()> {
    let panels = PANELS.into_iter().map(|(group, metric, title)| {
        let of_panel = figures.iter().filter(move |figure| {
            (figure.group, figure.metric) == (group, metric) && figure.value.is_finite()
        });
        (title, of_panel.collect::<Vec<_>>())
    });
    let panels: Vec<_> = panels.filter(|(_, bars)| !bars.is_empty()).collect();
    let heights = panels.iter().map(|(_, bars)| height(bars.len()));
    let heights: Vec<u32> = heights.collect();
    let whole = heights.iter().sum::<u32>().max(PANEL_MARGIN);
    let area = SVGBackend::new(path, (WIDTH, whole)).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let mut top = 0;
    for ((title, bars), height) in panels.iter().zip(&heights) {
        panel(&area, top, title, bars).map_err(failed)?;
        top += i32::try_from(*height)?;
    }
    area.present().map_err(failed)
}

fn height(bars: usize) -> u32 {
    u32::try_from(bars)
        .unwrap_or(u32::MAX)
        .saturating_mul(BAR)
        .saturating_add(PANEL_MARGIN)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the chart was not drawn: {error}")
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn panel<'a>(area: &Area<'a>, top: i32, title: &str, bars: &[&Figure]) -> Drawn<'a> {
    let text = |size: i32| ("sans-serif", size).into_font();
    area.draw(&Text::new(title.to_owned(), (10, top + 14), text(16)))?;
    let greatest = bars
        .iter()
        .map(|bar| bar.value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(WIDTH) - f64::from(LABELS + VALUES);
    let mut y = top + 40;
    for bar in bars {
        area.draw(&Text::new(bar.variant.clone(), (10, y + 2), text(13)))?;
        let end = LABELS + pixels(bar.value / greatest * room);
        // Floors are grey: everything else is read against them.
        let colour = if bar.floor.is_none() {
            RGBColor(150, 150, 150)
        } else {
            RGBColor(46, 108, 164)
        };
        area.draw(&Rectangle::new(
            [(LABELS, y), (end, y + 15)],
            colour.filled(),
        ))?;
        let ratio = bar
            .ratio
            .map_or_else(String::new, |ratio| format!(" ({ratio:.2}×)"));
        let value = format!("{:.3}{ratio}", bar.value);
        area.draw(&Text::new(value, (end + 4, y + 2), text(12)))?;
        y += i32::try_from(BAR).unwrap_or(i32::MAX);
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a share of the picture's width"
)]
fn pixels(length: f64) -> i32 {
    length.round() as i32
}
