// The drawing pad: strokes of a mouse, a finger, a pen or the arrow keys, as an image of a digit.

import { byId } from "./dom.js";

// MNIST's digits: 28 x 28 pixels, the ink in a square of 20, its centre of mass in the middle
// (LeCun et al. 1998).
const SIDE = 28;
const INK_SIDE = 20;
/** Of a stroke, in pixels of the image. */
const STROKE_WIDTH = 2.5;
/** Dots of a side that are averaged to a pixel. */
const FINE = 4;
/** How far an arrow key moves the pen, in parts of the pad. */
const KEY_STEP = 1 / 28;
/** A drawing has as many points at most. */
const MAX_POINTS = 20000;

/** Calls `take(drawing, file)` with the number of the drawing and a PNG file whenever the pen is lifted. */
export function watchPad(take) {
  const canvas = byId("pad");
  const centre = byId("pad-centre");
  const context = canvas.getContext("2d");
  let strokes = [];
  let drawing = 1;
  let isDown = false;
  // Where the keyboard's pen is; none before the first key.
  let pen = null;

  const show = () => {
    paint(context, strokes, canvas.width, (STROKE_WIDTH * canvas.width) / SIDE);
    if (pen === null) return;
    context.beginPath();
    context.arc(pen[0] * canvas.width, pen[1] * canvas.width, 12, 0, 2 * Math.PI);
    context.lineWidth = 4;
    context.strokeStyle = isDown ? "#ff5a5f" : "#6f9bff";
    context.stroke();
  };
  const begin = (point) => {
    isDown = true;
    strokes.push([point]);
    show();
  };
  const extend = (...points) => {
    const drawn = strokes.reduce((sum, stroke) => sum + stroke.length, 0);
    if (drawn + points.length <= MAX_POINTS) strokes.at(-1).push(...points);
    show();
  };
  const lift = async () => {
    if (!isDown) return;
    isDown = false;
    show();
    const number = drawing;
    const file = await png(pixels(strokes, centre.checked));
    take(number, file);
  };
  const clear = () => {
    strokes = [];
    drawing += 1;
    isDown = false;
    show();
  };

  const place = (event) => {
    const { left, top, width } = canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / width];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || isDown) return;
    canvas.setPointerCapture(event.pointerId);
    pen = null;
    begin(place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!isDown || !canvas.hasPointerCapture(event.pointerId)) return;
    // Those between two frames as well, so that quick strokes are round.
    extend(...(event.getCoalescedEvents?.() ?? []).map(place), place(event));
  });
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);

  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (move) {
      const inside = (value) => Math.min(1, Math.max(0, value));
      pen ??= [0.5, 0.5];
      pen = pen.map((value, axis) => inside(value + KEY_STEP * move[axis]));
      if (isDown) extend(pen);
      show();
    } else if (event.key === " " && !event.repeat) {
      pen ??= [0.5, 0.5];
      if (isDown) lift();
      else begin(pen);
    } else if (event.key === "Escape") {
      clear();
    } else {
      return;
    }
    event.preventDefault();
  });
  canvas.addEventListener("blur", lift);
  byId("pad-clear").addEventListener("click", clear);
  show();
}

/** Draws strokes, whose points are parts of the side, in white on black. */
function paint(context, strokes, side, width) {
  context.fillStyle = "#000";
  context.fillRect(0, 0, side, side);
  context.strokeStyle = "#fff";
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(side * stroke[0][0], side * stroke[0][1]);
    // A line to where it begins makes a dot.
    for (const [x, y] of stroke.slice(stroke.length > 1 ? 1 : 0)) context.lineTo(side * x, side * y);
    context.stroke();
  }
}

/** The grey values of a drawing at the size of the model's images. */
function pixels(strokes, isCentred) {
  if (!isCentred) return raster(strokes);
  const sized = resize(strokes);
  const [x, y] = centreOfMass(raster(sized));
  return raster(sized.map((stroke) => stroke.map((point) => [point[0] + 0.5 - x, point[1] + 0.5 - y])));
}

/** The strokes with the ink in the middle square. */
function resize(strokes) {
  const axes = [0, 1].map((axis) => {
    const values = strokes.flat().map((point) => point[axis]);
    const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    return { middle: (low + high) / 2, length: high - low };
  });
  // What is next to a dot stays one.
  const length = Math.max(0.1, axes[0].length, axes[1].length);
  const scale = (INK_SIDE - STROKE_WIDTH) / SIDE / length;
  return strokes.map((stroke) => stroke.map((point) => point.map((v, axis) => 0.5 + scale * (v - axes[axis].middle))));
}

function raster(strokes) {
  const side = SIDE * FINE;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  paint(context, strokes, side, STROKE_WIDTH * FINE);
  const { data } = context.getImageData(0, 0, side, side);
  const sums = new Float64Array(SIDE * SIDE);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      sums[Math.floor(y / FINE) * SIDE + Math.floor(x / FINE)] += data[4 * (y * side + x)];
    }
  }
  return sums.map((sum) => Math.round(sum / FINE ** 2));
}

function centreOfMass(values) {
  let [mass, x, y] = [0, 0, 0];
  values.forEach((value, index) => {
    mass += value;
    x += value * ((index % SIDE) + 0.5);
    y += value * (Math.floor(index / SIDE) + 0.5);
  });
  return mass === 0 ? [0.5, 0.5] : [x / mass / SIDE, y / mass / SIDE];
}

function png(values) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIDE, SIDE);
  values.forEach((value, index) => image.data.set([value, value, value, 255], 4 * index));
  context.putImageData(image, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
