//! What is wrong with a faulty cloth, and where.

use std::f32::consts::{PI, TAU};

use rand::{Rng, RngExt};

use super::Fault;
use super::weave::{Spot, Weave, smooth_step};

/// A flaw lies within so many units of the cloth's centre along both axes, so that some of it is seen.
const REACH: f32 = 100.0;

/// One flaw of a cloth. Lengths are in units of 1 / 256 of the cloth's shorter side, unless they are in
/// spacings of threads.
pub(super) enum Flaw {
    /// A thread is thinner, or missing, along a part of its length.
    Thread {
        /// 0 for warp, 1 for weft.
        axis: usize,
        number: i32,
        /// Where it begins and ends along the other axis, in spacings.
        part: [f32; 2],
        /// 0 where it is missing.
        thickness: f32,
    },
    /// Nothing is there.
    Hole(Outline),
    /// A lump of fibres.
    Knot(Outline),
    /// Something was spilled.
    Stain {
        outline: Outline,
        /// The part of the light that it takes; negative where it bleaches.
        strength: f32,
    },
    /// Weft threads pass over and under the warp as the next one does, from which they should differ.
    Mispick {
        /// The first and the last weft thread.
        rows: [i32; 2],
        /// Where it begins and ends, in spacings.
        part: [f32; 2],
    },
}

impl Flaw {
    /// A flaw of some kind, from hardly visible to clear.
    pub(super) fn draw(fault: Fault, weave: &Weave, rng: &mut impl Rng) -> Self {
        let [x, y] = [(); 2].map(|()| rng.random_range(-REACH..REACH));
        let place = weave.place(x, y);
        let threads = Weave::spot(place).threads;
        match fault {
            Fault::Thread => {
                let axis = usize::from(rng.random::<bool>());
                let half = 0.5 * between(2.0, 24.0, rng);
                let along = place[1 - axis];
                Self::Thread {
                    axis,
                    number: threads[axis],
                    part: [along - half, along + half],
                    thickness: if rng.random_range(0.0..1.0) < 0.7 {
                        0.0
                    } else {
                        rng.random_range(0.3..0.6)
                    },
                }
            }
            Fault::Hole => Self::Hole(Outline::draw([x, y], between(5.0, 18.0, rng), rng)),
            Fault::Knot => Self::Knot(Outline::draw([x, y], between(6.0, 16.0, rng), rng)),
            Fault::Stain => {
                let strength = between(0.2, 0.65, rng);
                Self::Stain {
                    outline: Outline::draw([x, y], between(14.0, 44.0, rng), rng),
                    strength: if rng.random_range(0.0..1.0) < 0.75 {
                        strength
                    } else {
                        -0.6 * strength
                    },
                }
            }
            Fault::Mispick => {
                let half = 0.5 * between(5.0, 40.0, rng);
                let rows = rng.random_range(0..2);
                Self::Mispick {
                    rows: [threads[1], threads[1] + rows],
                    part: [place[0] - half, place[0] + half],
                }
            }
        }
    }

    /// How thick the thread of an axis is at a place, as a part of what it should be.
    pub(super) fn thickness(&self, of: usize, spot: &Spot, place: [f32; 2]) -> f32 {
        match self {
            Self::Thread {
                axis,
                number,
                part,
                thickness,
            } if *axis == of && *number == spot.threads[of] && is_within(*part, place[1 - of]) => {
                *thickness
            }
            _ => 1.0,
        }
    }

    /// The weft thread whose pattern weft thread `row` follows at a place.
    pub(super) fn followed(&self, row: i32, place: [f32; 2]) -> i32 {
        match self {
            Self::Mispick { rows, part }
                if (rows[0]..=rows[1]).contains(&row) && is_within(*part, place[0]) =>
            {
                row + 1
            }
            _ => row,
        }
    }

    /// What is seen at a point where the cloth alone has the brightness `cloth`.
    pub(super) fn over(&self, cloth: f32, x: f32, y: f32) -> f32 {
        match self {
            Self::Thread { .. } | Self::Mispick { .. } => cloth,
            Self::Hole(outline) => {
                // Loose ends stand into it.
                let depth = smooth_step(outline.depth(x, y) / 2.5);
                cloth + (0.05 - cloth) * depth
            }
            Self::Knot(outline) => {
                let Some(rise) = outline.dome(x, y) else {
                    return cloth * outline.shadow(x, y);
                };
                let lump = 0.46 + 0.48 * rise + 0.06 * outline.fibres(x, y);
                cloth + (lump - cloth) * smooth_step(3.0 * rise)
            }
            Self::Stain { outline, strength } => {
                let soft = 0.5 * outline.radius;
                let amount = smooth_step((outline.depth(x, y) + 0.5 * soft) / soft);
                cloth * (1.0 - strength * amount)
            }
        }
    }

    /// Whether a point belongs to the flaw.
    pub(super) fn covers(&self, weave: &Weave, x: f32, y: f32) -> bool {
        let place = weave.place(x, y);
        let threads = Weave::spot(place).threads;
        match self {
            Self::Thread {
                axis, number, part, ..
            } => *number == threads[*axis] && is_within(*part, place[1 - axis]),
            Self::Mispick { rows, part } => {
                (rows[0]..=rows[1]).contains(&threads[1]) && is_within(*part, place[0])
            }
            Self::Hole(outline) | Self::Knot(outline) | Self::Stain { outline, .. } => {
                outline.depth(x, y) > 0.0
            }
        }
    }
}

fn is_within([first, last]: [f32; 2], value: f32) -> bool {
    (first..=last).contains(&value)
}

/// Between two sizes, small ones as frequent as large ones.
fn between(smallest: f32, largest: f32, rng: &mut impl Rng) -> f32 {
    smallest * (largest / smallest).powf(rng.random())
}

/// An uneven ellipse.
pub(super) struct Outline {
    centre: [f32; 2],
    radius: f32,
    /// The longer radius over the shorter one.
    stretch: f32,
    angle: f32,
    /// Amplitude and phase of waves around it, of two cycles and more.
    waves: [[f32; 2]; 4],
}

impl Outline {
    fn draw(centre: [f32; 2], radius: f32, rng: &mut impl Rng) -> Self {
        Self {
            centre,
            radius,
            stretch: rng.random_range(1.0..1.6),
            angle: rng.random_range(0.0..PI),
            waves: [0.09, 0.07, 0.05, 0.04]
                .map(|most| [rng.random_range(0.0..most), rng.random_range(0.0..TAU)]),
        }
    }

    /// A point from the centre along the two axes, as if the outline were a circle of its radius.
    fn local(&self, x: f32, y: f32) -> [f32; 2] {
        let (sine, cosine) = self.angle.sin_cos();
        let [x, y] = [x - self.centre[0], y - self.centre[1]];
        let root = self.stretch.sqrt();
        [
            (cosine * x + sine * y) / root,
            (cosine * y - sine * x) * root,
        ]
    }

    /// How far a point is inside, in units; negative outside.
    fn depth(&self, x: f32, y: f32) -> f32 {
        let [x, y] = self.local(x, y);
        let around = y.atan2(x);
        let waves = self.waves.iter().enumerate();
        let wave = |(k, [amplitude, phase]): (usize, &[f32; 2])| {
            amplitude * ((k + 2) as f32 * around + phase).sin()
        };
        self.radius * (1.0 + waves.map(wave).sum::<f32>()) - x.hypot(y)
    }

    /// The height of a lump, from 0 at its edge to 1; `None` beside it.
    fn dome(&self, x: f32, y: f32) -> Option<f32> {
        let depth = self.depth(x, y) / self.radius;
        (depth > 0.0).then(|| {
            let [x, y] = [x - self.centre[0], y - self.centre[1]];
            // The side towards the light is brighter.
            let tilt = -0.25 * (x + y) / self.radius;
            ((depth * (2.0 - depth)).max(0.0).sqrt() * (0.8 + tilt)).clamp(0.0, 1.0)
        })
    }

    /// What is left of the light beside a lump, on the side away from it.
    fn shadow(&self, x: f32, y: f32) -> f32 {
        let offset = 0.3 * self.radius;
        let depth = self.depth(x - offset, y - offset);
        1.0 - 0.5 * smooth_step(depth / (0.5 * self.radius))
    }

    /// Fibres of a lump, wound around it: from -1 to 1.
    fn fibres(&self, x: f32, y: f32) -> f32 {
        let [x, y] = self.local(x, y);
        (x.hypot(y) * 1.9 + 2.0 * y.atan2(x)).sin()
    }
}
