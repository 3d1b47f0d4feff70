//! Windows, doors and arches: one opening's outline, frame, glass and relief.

use crate::canvas::Canvas;
use crate::draw::Draw;
use crate::math::{Rgb, centred, mix, tint, to_whole};
use crate::wall::accent;

/// Outline of an opening.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Outline {
    Rect,
    Round,
    Pointed,
    Segmental,
    Oculus,
}

/// Ornament above an opening.
#[derive(Clone, Copy, PartialEq)]
enum Hood {
    None,
    Lintel,
    Gable,
    Keystone,
}

/// A kind of opening; a floor uses one kind for all its bays.
#[derive(Clone, Copy)]
pub(crate) struct Opening {
    pub outline: Outline,
    /// Share of the bay's width and of the floor's height that the opening takes.
    pub wide: f32,
    pub tall: f32,
    frame: f32,
    trim: Rgb,
    glass: Rgb,
    bar: Rgb,
    panes: (u32, u32),
    hood: Hood,
    shutters: Option<Rgb>,
    balcony: bool,
    twin: bool,
}

/// Is (x, y) inside the outline? x from −1 to 1 across, y from 0 at the sill to 1 at the top;
/// `aspect` is half the width over the height.
fn inside(outline: Outline, x: f32, y: f32, aspect: f32) -> bool {
    if x.abs() > 1.0 || !(0.0..=1.0).contains(&y) {
        return false;
    }
    let spring = match outline {
        Outline::Rect => return true,
        Outline::Oculus => {
            let v = 2.0 * y - 1.0;
            return x * x + v * v <= 1.0;
        }
        Outline::Round => 1.0 - aspect.min(0.9),
        Outline::Pointed => 1.0 - (1.7 * aspect).min(0.9),
        Outline::Segmental => 1.0 - (0.4 * aspect).min(0.5),
    };
    if y <= spring {
        return true;
    }
    let v = (y - spring) / (1.0 - spring);
    match outline {
        // Two arcs whose centres lie on the opposite springing points.
        Outline::Pointed => {
            let reach = (x.abs() + 1.0) / 2.0;
            reach * reach + 0.75 * v * v <= 1.0
        }
        _ => x * x + v * v <= 1.0,
    }
}

impl Opening {
    /// A random kind of opening with frames in `trim`.
    pub(crate) fn draw(draw: &mut Draw, trim: Rgb) -> Self {
        let outline = draw.pick([
            Outline::Rect,
            Outline::Rect,
            Outline::Round,
            Outline::Pointed,
            Outline::Segmental,
            Outline::Oculus,
        ]);
        let plain = matches!(outline, Outline::Rect | Outline::Segmental);
        let light = draw.range(0.1, 0.4);
        Self {
            outline,
            wide: draw.range(0.32, 0.72),
            tall: if outline == Outline::Oculus {
                draw.range(0.35, 0.6)
            } else {
                draw.range(0.5, 0.82)
            },
            frame: draw.pick([0.0, 0.05, 0.09, 0.14]),
            trim,
            glass: [light * 0.8, light, light * 1.15],
            bar: draw.pick([[0.9, 0.9, 0.86], [0.15, 0.14, 0.13], [0.45, 0.30, 0.2]]),
            panes: (draw.int(1, 3), draw.int(1, 5)),
            hood: if plain {
                draw.pick([Hood::None, Hood::Lintel, Hood::Gable, Hood::Keystone])
            } else {
                draw.pick([Hood::None, Hood::Keystone])
            },
            shutters: (plain && draw.chance(0.3)).then(|| accent(draw)),
            balcony: draw.chance(0.3),
            twin: draw.chance(0.25),
        }
    }

    /// An open arch or a door leaf without panes.
    pub(crate) fn portal(draw: &mut Draw, trim: Rgb) -> Self {
        let mut opening = Self::draw(draw, trim);
        opening.outline = draw.pick([
            Outline::Round,
            Outline::Round,
            Outline::Pointed,
            Outline::Rect,
            Outline::Segmental,
        ]);
        opening.wide = draw.range(0.55, 0.85);
        opening.tall = draw.range(0.72, 0.92);
        opening.frame = draw.pick([0.06, 0.12, 0.18]);
        opening.glass = if draw.chance(0.5) { [0.08, 0.07, 0.07] } else { tint(accent(draw), 0.6) };
        opening.panes = (draw.int(1, 2), draw.int(1, 2));
        opening.bar = tint(opening.glass, 0.6);
        opening.shutters = None;
        opening.balcony = false;
        opening.twin = false;
        opening
    }

    /// Paints the opening with its sill at (cx, base) in a bay of `bay` × `floor` pixels.
    pub(crate) fn paint(&self, canvas: &mut Canvas, cx: f32, base: f32, bay: f32, floor: f32) {
        let (width, height) = (bay * self.wide, floor * self.tall);
        if self.twin && width > 12.0 {
            // Two lights and the shaft between them.
            for side in [-1.0, 1.0] {
                self.light(canvas, cx + side * width * 0.27, base, width * 0.46, height);
            }
            canvas.rect(centred(cx, width * 0.035, base - height, base), self.trim);
        } else {
            self.light(canvas, cx, base, width, height);
        }
        let top = base - height;
        let rise = floor * 0.07;
        let half = width * 0.5 + width * self.frame + 2.0;
        match self.hood {
            Hood::None => {}
            Hood::Lintel => {
                canvas.rect(centred(cx, half * 1.1, top - rise, top - rise * 0.2), self.trim);
                canvas
                    .shade(centred(cx, half * 1.1, top - rise * 0.2, top + rise * 0.3), |_, _| 0.7);
            }
            Hood::Gable => {
                let trim = self.trim;
                canvas.gable(cx, half * 1.2, top - rise * 2.2, top - rise * 0.1, |_, _| trim);
                canvas.gable(cx, half * 0.75, top - rise * 1.6, top - rise * 0.5, |_, _| {
                    tint(trim, 0.72)
                });
            }
            Hood::Keystone => {
                let key = width * 0.09;
                canvas.rect(centred(cx, key, top - rise, top + rise * 0.4), tint(self.trim, 1.08));
            }
        }
        if let Some(colour) = self.shutters {
            let leaf = width * 0.32;
            for left in [cx - half - leaf, cx + half] {
                canvas.area([left, top, left + leaf, base], |_, y| {
                    Some(tint(colour, if to_whole(y / (height * 0.07)) < 0.2 { 0.7 } else { 1.0 }))
                });
            }
        }
        if self.balcony {
            let (reach, deep) = (half * 1.25, floor * 0.2);
            let bar = tint(self.trim, 0.35);
            canvas.area(centred(cx, reach, base - deep, base), |x, y| {
                let rail = y < base - deep * 0.85 || y > base - deep * 0.12;
                (rail || to_whole(x / (floor * 0.06)) < 0.14).then_some(bar)
            });
            canvas.rect(centred(cx, reach * 1.05, base, base + floor * 0.035), self.trim);
            canvas.shade(centred(cx, reach, base + floor * 0.035, base + floor * 0.1), |_, _| 0.65);
        }
    }

    fn light(&self, canvas: &mut Canvas, cx: f32, base: f32, width: f32, height: f32) {
        let aspect = width * 0.5 / height;
        let ring = width * self.frame;
        let shape = |x: f32, y: f32, grow: f32| {
            inside(
                self.outline,
                (x - cx) / (width * 0.5 + grow),
                (base + grow.min(height * 0.05) - y) / (height + grow * 1.4),
                aspect,
            )
        };
        canvas.area(
            [
                cx - width * 0.5 - ring,
                base - height - ring * 1.5,
                cx + width * 0.5 + ring,
                base + ring,
            ],
            |x, y| (ring > 0.0 && shape(x, y, ring)).then_some(self.trim),
        );
        let reveal = (width * 0.07).max(1.0);
        canvas.area(centred(cx, width * 0.5, base - height, base), |x, y| {
            if !shape(x, y, 0.0) {
                return None;
            }
            // The reveal lies in shade on the left and above: light comes from the upper right.
            if !shape(x - reveal, y - reveal, 0.0) {
                return Some(tint(self.trim, 0.4));
            }
            let (u, v) = ((x - cx) / width + 0.5, (base - y) / height);
            let bar = to_whole(u * self.panes.0 as f32) * width
                < reveal * 0.5 * self.panes.0 as f32
                || to_whole(v * self.panes.1 as f32) * height < reveal * 0.5 * self.panes.1 as f32;
            Some(if bar {
                self.bar
            } else {
                mix(self.glass, tint(self.glass, 2.0), (v - 0.3 * u).clamp(0.0, 1.0))
            })
        });
    }
}
