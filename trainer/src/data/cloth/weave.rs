//! The normal cloth: two systems of threads that pass over and under each other.

use std::f32::consts::TAU;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use super::flaw::Flaw;

/// Threads a cloth has to each side of its centre, with room for the turned and shifted corners.
const THREADS: i32 = 40;
/// What is seen between threads.
const GAP: f32 = 0.08;
/// Spacing of threads, in units of 1 / 256 of the cloth's shorter side.
const SPACING: [f32; 2] = [11.0, 12.5];
/// The shortest wave along which threads are shifted is one cycle in 190 units.
const MOST_CYCLES: f32 = 1.0 / 190.0;
/// Largest turn of the cloth, in radians.
const MOST_TURN: f32 = 0.07;

/// Which thread is on top where two cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    /// Over one, under one.
    Plain,
    /// Over two, under two, one thread further in each row.
    Twill,
}

impl Pattern {
    /// 1 where warp thread `i` passes over weft thread `j`, -1 where it passes under it.
    fn over(self, i: i32, j: i32) -> f32 {
        let on_top = match self {
            Self::Plain => (i + j).rem_euclid(2) == 0,
            Self::Twill => (i + j).rem_euclid(4) < 2,
        };
        if on_top { 1.0 } else { -1.0 }
    }
}

/// How a thread differs from the others.
#[derive(Clone, Copy, Debug)]
struct Thread {
    /// Half its width, in spacings.
    radius: f32,
    /// How bright it is.
    shade: f32,
    /// Where the twist of its fibres begins.
    twist: f32,
}

impl Thread {
    fn draw(shade: f32, rng: &mut impl Rng) -> Self {
        Self {
            radius: (0.44 + 0.02 * normal(rng)).clamp(0.38, 0.5),
            shade: shade * (1.0 + 0.035 * normal(rng)),
            twist: rng.random(),
        }
    }
}

/// A piece of cloth, as a camera above it sees it.
pub(super) struct Weave {
    pattern: Pattern,
    spacing: [f32; 2],
    /// Cosine and sine of its turn.
    turn: [f32; 2],
    /// Where the first threads lie, in spacings.
    phase: [f32; 2],
    /// The threads of each system, `THREADS` to each side of the centre.
    warp: Vec<Thread>,
    weft: Vec<Thread>,
    /// Waves along which threads are shifted: cycles a unit along both axes, and their phase.
    waves: [[f32; 3]; 2],
    brightness: f32,
    /// How much brighter the light is from one side to the other.
    gradient: [f32; 2],
}

/// What is at a point of the cloth.
pub(super) struct Spot {
    /// Its distance from the axis of the nearest warp and weft thread, in spacings.
    pub(super) across: [f32; 2],
    /// The numbers of these threads.
    pub(super) threads: [i32; 2],
}

/// A thread at a point.
struct Seen {
    height: f32,
    shade: f32,
}

impl Weave {
    pub(super) fn draw(rng: &mut impl Rng) -> Self {
        let pattern = if rng.random() {
            Pattern::Plain
        } else {
            Pattern::Twill
        };
        let mut threads = |shade: f32| -> Vec<Thread> {
            let count = 2 * THREADS + 1;
            (0..count).map(|_| Thread::draw(shade, rng)).collect()
        };
        let (warp, weft) = (threads(0.66), threads(0.56));
        let turn = rng.random_range(-MOST_TURN..MOST_TURN);
        let mut wave = || {
            let mut cycles = || rng.random_range(-MOST_CYCLES..MOST_CYCLES);
            [cycles(), cycles(), rng.random()]
        };
        Self {
            pattern,
            waves: [wave(), wave()],
            spacing: [(); 2].map(|()| rng.random_range(SPACING[0]..SPACING[1])),
            turn: [turn.cos(), turn.sin()],
            phase: [(); 2].map(|()| rng.random_range(0.0..4.0)),
            warp,
            weft,
            brightness: rng.random_range(0.9..1.1),
            gradient: [(); 2].map(|()| rng.random_range(-0.08..0.08)),
        }
    }

    /// The place of a point in spacings along both axes; `x` and `y` are units from the cloth's centre.
    pub(super) fn place(&self, x: f32, y: f32) -> [f32; 2] {
        let [cosine, sine] = self.turn;
        let shift = |[along_x, along_y, phase]: [f32; 3]| {
            1.5 * (TAU * (along_x * x + along_y * y + phase)).sin()
        };
        let u = cosine * x + sine * y + shift(self.waves[0]);
        let v = cosine * y - sine * x + shift(self.waves[1]);
        [
            u / self.spacing[0] + self.phase[0],
            v / self.spacing[1] + self.phase[1],
        ]
    }

    /// The threads at a place.
    pub(super) fn spot(place: [f32; 2]) -> Spot {
        let threads = place.map(|position| position.floor() as i32);
        Spot {
            across: [0, 1].map(|axis| place[axis] - threads[axis] as f32 - 0.5),
            threads,
        }
    }

    /// The brightness of the cloth, with its flaw if it has one, at a point.
    pub(super) fn shade(&self, x: f32, y: f32, flaw: Option<&Flaw>) -> f32 {
        let place = self.place(x, y);
        let spot = Self::spot(place);
        let [i, j] = spot.threads;
        let thinning = |axis: usize| flaw.map_or(1.0, |flaw| flaw.thickness(axis, &spot, place));
        let thickness = [thinning(0), thinning(1)];
        // A thread that is alone lies on top.
        let over = |i: i32, j: i32| match thickness {
            [0.0, _] => -1.0,
            [_, 0.0] => 1.0,
            _ => {
                let row = flaw.map_or(j, |flaw| flaw.followed(j, place));
                self.pattern.over(i, row)
            }
        };
        let [across_warp, across_weft] = spot.across;
        let bend = |here: f32, next: f32, distance: f32| {
            here + (next - here) * smooth_step(distance.abs())
        };
        let towards = |distance: f32| if distance < 0.0 { -1 } else { 1 };
        let here = over(i, j);
        let warp = bend(here, over(i, j + towards(across_weft)), across_weft);
        let weft = bend(here, over(i + towards(across_warp), j), across_warp);
        let warp = seen(
            thread(&self.warp, i),
            thickness[0],
            across_warp,
            place[1],
            warp,
        );
        let weft = seen(
            thread(&self.weft, j),
            thickness[1],
            across_weft,
            place[0],
            -weft,
        );
        let top = match (warp, weft) {
            (Some(warp), Some(weft)) if weft.height > warp.height => weft.shade,
            (Some(warp), _) => warp.shade,
            (None, Some(weft)) => weft.shade,
            (None, None) => GAP,
        };
        let light = 1.0 + (self.gradient[0] * x + self.gradient[1] * y) / 128.0;
        let cloth = flaw.map_or(top, |flaw| flaw.over(top, x, y));
        cloth * self.brightness * light
    }
}

/// The thread of a number; far outside the threads repeat.
fn thread(threads: &[Thread], number: i32) -> Thread {
    threads[(number + THREADS).rem_euclid(threads.len() as i32) as usize]
}

/// A thread `across` spacings from its axis and `along` spacings along it, that is `raised` from -1, under
/// the other, to 1, over it; `None` beside it.
fn seen(thread: Thread, thickness: f32, across: f32, along: f32, raised: f32) -> Option<Seen> {
    let distance = across / (thread.radius * thickness).max(1e-6);
    if distance.abs() >= 1.0 {
        return None;
    }
    let dome = (1.0 - distance * distance).sqrt();
    let height = 0.5 * raised + 0.35 * dome;
    // Light from one side, and less of it between raised threads.
    let lit = 0.45 + 0.45 * dome - 0.14 * distance;
    let depth = 0.72 + 0.28 * (0.5 + 0.5 * raised);
    let fibre = (TAU * (2.0 * along + 0.8 * distance + thread.twist)).sin();
    Some(Seen {
        height,
        shade: thread.shade * lit * depth * (1.0 + 0.07 * fibre) + 0.1,
    })
}

/// A sample of N(0, 1).
pub(super) fn normal(rng: &mut impl Rng) -> f32 {
    StandardNormal.sample(rng)
}

/// From 0 at 0 to 1 at 1, level at both.
pub(super) fn smooth_step(value: f32) -> f32 {
    let value = value.clamp(0.0, 1.0);
    value * value * (3.0 - 2.0 * value)
}
