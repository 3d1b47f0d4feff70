//! A drawing of a log: the loss and the validations over the iterations.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use ocelli_index::container::write_atomically;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::train::Step;

/// The size of the drawing in pixels; it can be shown at any.
const WIDTH_PX: u32 = 900;
/// Height of each of its parts.
const PART_PX: u32 = 330;
/// Dots of losses that are drawn at most; of more, every so many.
const MOST_DOTS: usize = 1500;
/// Points of the line of medians.
const LINE_POINTS: usize = 200;
/// A median is that of this share of the iterations, or of 5.
const WINDOW_SHARE: usize = 30;

const DOT: RGBColor = RGBColor(150, 160, 175);
const LINE: RGBColor = RGBColor(25, 85, 165);

/// A part of the drawing.
type Part<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Where a point is: the iteration and the value.
type Point = (f64, f64);

/// Writes the drawing of `steps`, in the order of their iterations.
///
/// # Errors
/// As [`svg`]; `Index` for a file that cannot be written.
pub fn write(path: &Path, steps: &[Step]) -> Result<()> {
    Ok(write_atomically(path, svg(steps)?.as_bytes())?)
}

/// The drawing in SVG: the losses as dots with a line of their running medians, and below it the
/// mAP of validations, if there were any.
///
/// # Errors
/// `Invalid` where nothing can be drawn.
pub fn svg(steps: &[Step]) -> Result<String> {
    let point = |step: &Step, value: f64| (step.iteration as f64, value);
    let losses: Vec<Point> = steps.iter().map(|step| point(step, step.loss)).collect();
    let validations: Vec<Point> =
        steps.iter().filter_map(|step| Some(point(step, step.validation?))).collect();
    let parts = if validations.is_empty() { 1 } else { 2 };
    let mut drawn = String::new();
    {
        let size = (WIDTH_PX, PART_PX * parts);
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let iterations = around(losses.iter().map(|point| point.0), 0.0);
        let areas = area.split_evenly((parts as usize, 1));
        let every = losses.len().div_ceil(MOST_DOTS).max(1);
        let dots: Vec<Point> = losses.iter().step_by(every).copied().collect();
        let curves = [
            ("loss", dots, medians(&losses)),
            ("validation mAP", validations.clone(), validations),
        ];
        for (part, (name, dots, line)) in areas.iter().zip(curves) {
            chart(part, name, iterations.clone(), &dots, line)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(drawn)
}

fn chart(
    part: &Part<'_>,
    name: &str,
    iterations: Range<f64>,
    dots: &[Point],
    line: Vec<Point>,
) -> Result<()> {
    let values = around(dots.iter().chain(&line).map(|point| point.1), 0.05);
    let mut chart = ChartBuilder::on(part)
        .margin(14)
        .x_label_area_size(38)
        .y_label_area_size(64)
        .build_cartesian_2d(iterations, values)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 228, 232))
        .x_desc("iteration")
        .y_desc(name)
        .x_label_formatter(&|at| format!("{at:.0}"))
        .y_label_formatter(&number)
        .label_style(("sans-serif", 14))
        .draw()
        .map_err(failed)?;
    let dots = dots.iter().map(|&at| Circle::new(at, 2, DOT.filled()));
    chart.draw_series(dots).map_err(failed)?;
    chart.draw_series(LineSeries::new(line, LINE.stroke_width(2))).map_err(failed)?;
    Ok(())
}

fn failed(error: impl Display) -> Error {
    Error::invalid(format!("plot: {error}"))
}

/// A number of an axis in few digits.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that the axis asks for")]
fn number(value: &f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// The range of values with a share more at both ends; never empty.
fn around(values: impl Iterator<Item = f64>, share: f64) -> Range<f64> {
    let all = values.filter(|value| value.is_finite());
    let (least, most) =
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    match most - least {
        between if between > 0.0 => least - share * between..most + share * between,
        0.0 => least - least.abs().max(1e-3) / 2.0..most + most.abs().max(1e-3) / 2.0,
        _ => 0.0..1.0,
    }
}

/// Running medians at up to [`LINE_POINTS`] of the points.
fn medians(points: &[Point]) -> Vec<Point> {
    let half = (points.len() / WINDOW_SHARE).max(5) / 2;
    let every = points.len().div_ceil(LINE_POINTS).max(1);
    let median = |(at, point): (usize, &Point)| {
        // Windows at the ends are smaller, and stay in the middle.
        let half = half.min(at).min(points.len() - 1 - at);
        let window = points.get(at - half..=at + half)?;
        let mut values: Vec<f64> = window.iter().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        Some((point.0, *values.get(half)?))
    };
    points.iter().enumerate().step_by(every).filter_map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(n: u64, validation: impl Fn(u64) -> Option<f64>) -> Vec<Step> {
        let step = |iteration: u64| Step {
            iteration,
            loss: 1.0 / iteration as f64 + (iteration % 7) as f64 / 50.0,
            terms: 1,
            active: 1,
            photos: 1,
            rate: 0.1,
            validation: validation(iteration),
        };
        (1..=n).map(step).collect()
    }

    #[test]
    fn medians_by_hand() {
        let points: Vec<Point> = [5.0, 1.0, 9.0, 2.0, 3.0, 80.0, 4.0]
            .into_iter()
            .zip(0..)
            .map(|(v, n)| (f64::from(n), v))
            .collect();
        let found: Vec<f64> = medians(&points).into_iter().map(|point| point.1).collect();
        assert_eq!(found, [5.0, 5.0, 3.0, 3.0, 4.0, 4.0, 4.0]);
        let many: Vec<Point> = (0..10_000).map(|n| (f64::from(n), f64::from(n % 3))).collect();
        let line = medians(&many);
        assert_eq!(line.len(), 200);
        assert!(line[1..].iter().all(|point| point.1 == 1.0));
    }

    #[test]
    fn drawings_have_a_bounded_size() {
        let short = svg(&steps(9, |_| None)).unwrap();
        assert!(short.starts_with("<svg") && short.trim_end().ends_with("</svg>"));
        assert_eq!(short.matches("<circle").count(), 9);
        assert!(short.contains(">\nloss\n") && !short.contains("validation"), "{short}");
        let long = svg(&steps(50_000, |n| n.is_multiple_of(5000).then_some(0.5))).unwrap();
        let circles = long.matches("<circle").count();
        assert!((1000..=1510).contains(&circles), "{circles}");
        assert!(long.contains("validation mAP"));
        // None, one, and equal ones.
        svg(&[]).unwrap();
        svg(&steps(1, |_| Some(0.0))).unwrap();
        svg(&steps(2, |_| Some(0.7))).unwrap();
    }
}
