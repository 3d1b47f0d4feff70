//! How many pairs have which score.

use maud::{Markup, html};
use ocelli_text::{counted, thousands};

use crate::Result;
use crate::dedup::rows::Edges;

/// Bars of a histogram.
const BARS: usize = 60;
/// The size of the drawing; a browser stretches it.
const SIZE: (f64, f64) = (1200.0, 144.0);

/// Numbers of pairs by score, in bars of equal width.
pub(super) struct Histogram {
    /// Least and greatest score.
    pub(super) range: (f32, f32),
    counts: [u64; BARS],
}

impl Histogram {
    pub(super) fn of(edges: &dyn Edges) -> Result<Self> {
        let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
        edges.each(&mut |edge| {
            (least, most) = (least.min(edge.score), most.max(edge.score));
            Ok(())
        })?;
        let range = if least <= most { (least, most) } else { (0.0, 1.0) };
        let mut histogram = Self { range, counts: [0; BARS] };
        edges.each(&mut |edge| {
            let bar = histogram.bar(edge.score);
            histogram.counts[bar] += 1;
            Ok(())
        })?;
        Ok(histogram)
    }

    /// Least and greatest score that the page filters by, rounded away from what is there. Rows of
    /// equal pixels have a similarity of 1, whatever the scores of pairs are.
    pub(super) fn limits(&self) -> (f64, f64) {
        let least = (f64::from(self.range.0) * 1e4).floor() / 1e4;
        let most = (f64::from(self.range.1) * 1e4).ceil() / 1e4;
        (least, most.max(1.0))
    }

    fn width(&self) -> f64 {
        (f64::from(self.range.1) - f64::from(self.range.0)) / BARS as f64
    }

    fn bar(&self, score: f32) -> usize {
        let place = (f64::from(score) - f64::from(self.range.0)) / self.width();
        if place > 0.0 { (place as usize).min(BARS - 1) } else { 0 }
    }

    /// Scores where a bar begins and ends.
    fn ends(&self, bar: usize) -> (f64, f64) {
        let from = f64::from(self.range.0);
        (from + bar as f64 * self.width(), from + (bar + 1) as f64 * self.width())
    }

    /// The histogram as a drawing: bars have the height of the logarithm of their pairs. A click on
    /// one shows what has such scores.
    pub(super) fn draw(&self, threshold: f32) -> Markup {
        let height = |count: u64| (count as f64).ln_1p();
        let highest = self.counts.iter().map(|&count| height(count)).fold(1e-9, f64::max);
        let (wide, tall) = (SIZE.0 / BARS as f64, SIZE.1 - 4.0);
        let all = f64::from(self.range.1) - f64::from(self.range.0);
        let place = (f64::from(threshold) - f64::from(self.range.0)) / all * SIZE.0;
        let number = |value: f64| format!("{value:.1}");
        html! {
            svg.histogram viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img"
                preserveAspectRatio="none" aria-label="Number of pairs by score" {
                @for (bar, &count) in self.counts.iter().enumerate() {
                    @let (low, high) = self.ends(bar);
                    @let x = number(bar as f64 * wide);
                    @let y = SIZE.1 - tall * height(count) / highest;
                    g data-low=(format!("{low:.4}")) data-high=(format!("{high:.4}")) {
                        title { (format!("{low:.3} to {high:.3}: {}", counted(count, "pair"))) }
                        rect.hit x=(x) y="0" width=(number(wide)) height=(SIZE.1) {}
                        rect.bar x=(x) y=(number(y)) width=(number(wide - 1.5))
                            height=(number(SIZE.1 - y)) {}
                    }
                }
                @if (0.0..=SIZE.0).contains(&place) {
                    line x1=(number(place)) x2=(number(place)) y1="0" y2=(SIZE.1) {}
                }
            }
            div.axis {
                span { (format!("{:.3}", self.range.0)) }
                span {
                    (thousands(self.counts.iter().sum()))
                    " pairs by score, on a scale of logarithms; the line is the threshold, "
                    (format!("{threshold:.3}"))
                }
                span { (format!("{:.3}", self.range.1)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::edge::Label;
    use crate::dedup::fixture::edge;

    #[test]
    fn bars_by_hand() {
        let scores = [0.4, 0.411, 0.699, 1.0, 1.0];
        let edges: Vec<_> = scores.map(|score| edge(0, 1, score, Label::Near)).to_vec();
        let histogram = Histogram::of(&edges).unwrap();
        assert_eq!(histogram.range, (0.4, 1.0));
        let full: Vec<(usize, u64)> =
            histogram.counts.iter().copied().enumerate().filter(|bar| bar.1 > 0).collect();
        // Bars are 0.01 wide.
        assert_eq!(full, [(0, 1), (1, 1), (29, 1), (59, 2)]);
        let drawn = histogram.draw(0.7).into_string();
        assert!(drawn.contains("0.990 to 1.000: 2 pairs"), "{drawn}");
        assert!(drawn.contains("<line x1=\"600.0\""), "{drawn}");
        // One score only, and none.
        let one = Histogram::of(&vec![edge(0, 1, 0.5, Label::Near)]).unwrap();
        assert_eq!((one.counts[0], one.counts.iter().sum::<u64>()), (1, 1));
        assert_eq!(one.limits(), (0.5, 1.0));
        assert_eq!(Histogram::of(&Vec::new()).unwrap().range, (0.0, 1.0));
    }
}
