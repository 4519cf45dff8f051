// Pictures of an answer: the image, what the model expects, and over the image where the two differ.

import { element } from "./dom.js";
import { Queue } from "./queue.js";

// A canvas of an image as it was sent has as many pixels a side at most.
const MAX_SIDE = 1024;
const SMALL = 128;
const BRIGHTER = [225, 29, 42];
const DARKER = [47, 107, 255];
// Thumbnails that are made at a time: each takes all pixels of its image for a moment.
const THUMBNAILS_AT_ONCE = 4;

const thumbnails = new Queue(THUMBNAILS_AT_ONCE, drawThumbnail);

/** The pictures of an explanation, with a slider for the overlay; `file` is the image. */
export async function picturesOf(explanation, file) {
  const reconstruction = tensorOf(explanation.reconstruction);
  const residual = tensorOf(explanation.residual);
  if (reconstruction !== null && residual !== null) return ofResidual(reconstruction, residual);
  const { map, regions } = explanation.score;
  return ofMap(file, map ?? explanation.map, regions ?? explanation.regions ?? []);
}

/** A small picture of a file in a canvas, as soon as others are made; black where the browser cannot read it. */
export function thumbnail(canvas, file) {
  thumbnails.add({ canvas, file });
}

async function drawThumbnail({ canvas, file }) {
  // A table puts its rows on the page after they are made, and may have taken them away meanwhile.
  await null;
  if (!canvas.isConnected) return;
  const bitmap = await bitmapOf(file);
  if (bitmap === null) return;
  canvas.width = canvas.height = 72;
  const scale = 72 / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = scale < 1;
  context.drawImage(bitmap, (72 - width) / 2, (72 - height) / 2, width, height);
  bitmap.close();
}

async function bitmapOf(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    return null;
  }
}

/** Values from C x H x W little-endian floats in base64, or null. */
function tensorOf(picture) {
  const tensor = picture?.tensor;
  if (tensor?.data_type !== "float32" || tensor.shape?.length !== 3) return null;
  const [channels, height, width] = tensor.shape;
  const bytes = Uint8Array.from(atob(tensor.data), (letter) => letter.charCodeAt(0));
  if (bytes.length !== 4 * channels * height * width || bytes.length === 0) return null;
  const view = new DataView(bytes.buffer);
  const at = (channel, pixel) => view.getFloat32(4 * (channel * height * width + pixel), true);
  return { channels, height, width, at };
}

function ofResidual(expected, residual) {
  const { channels, height, width } = expected;
  const colour = (value) => (pixel) =>
    [0, 1, 2].map((index) => 255 * value(Math.min(index, channels - 1), pixel)).concat(255);
  const image = canvasOf(height, width, colour((c, p) => expected.at(c, p) + residual.at(c, p)));
  const model = canvasOf(height, width, colour((c, p) => expected.at(c, p)));
  const plain = canvasOf(height, width, colour((c, p) => expected.at(c, p) + residual.at(c, p)));
  const overlay = canvasOf(height, width, (pixel) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += residual.at(channel, pixel);
    const difference = sum / channels;
    return (difference > 0 ? BRIGHTER : DARKER).concat(255 * Math.min(1, 1.3 * Math.abs(difference)));
  });
  overlay.id = "overlay";
  const key = element("figcaption", {},
    element("span", { className: "key brighter" }), " brighter than the model expects, ",
    element("span", { className: "key darker" }), " darker");
  return element("div", {},
    element("div", { className: "pictures" },
      element("figure", {}, element("div", { className: "stack" }, named(image, "The image"), named(overlay, "Where it differs")), key),
      element("div", { className: "small" },
        element("figure", {}, named(plain, "The image"), element("figcaption", {}, "The image")),
        element("figure", {}, named(model, "What the model expects"), element("figcaption", {}, "What the model expects")))),
    slider(overlay));
}

async function ofMap(file, map, regions) {
  const bitmap = await bitmapOf(file);
  if (bitmap === null) {
    return element("p", { className: "muted" }, "The browser cannot show this kind of file.");
  }
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const blank = () => element("canvas", {
    width: Math.max(1, Math.round(bitmap.width * scale)),
    height: Math.max(1, Math.round(bitmap.height * scale)),
  });
  const [image, overlay] = [blank(), blank()];
  image.getContext("2d").drawImage(bitmap, 0, 0, image.width, image.height);
  if (Math.max(bitmap.width, bitmap.height) <= SMALL) image.classList.add("pixelated");
  bitmap.close();
  overlay.id = "overlay";
  const context = overlay.getContext("2d");
  context.scale(scale, scale);
  const isMap = Array.isArray(map?.values) && map.bounds && map.values.length === map.rows * map.columns;
  if (isMap) {
    const { x, y, width, height } = map.bounds;
    const highest = Math.max(map.threshold, ...map.values);
    const sites = canvasOf(map.rows, map.columns, (site) => {
      const value = map.values[site];
      // Sites below the threshold are faint, so that what the verdict sees stands out.
      const strength = Math.max(0, value) / (highest || 1);
      return BRIGHTER.concat(255 * (value > map.threshold ? 0.35 + 0.5 * strength : 0.25 * strength));
    });
    context.drawImage(sites, x, y, width, height);
  }
  context.lineWidth = 2 / scale;
  context.strokeStyle = "#ffd84a";
  for (const { bounds } of regions) {
    if (bounds) context.strokeRect(bounds.x, bounds.y, bounds.width, bounds.height);
  }
  const figure = element("figure", {}, element("div", { className: "stack" }, named(image, "The image"), named(overlay, "Where it is unusual")));
  if (!isMap && regions.length === 0) return figure;
  return element("div", {}, figure, slider(overlay));
}

/** A canvas with the colour of each pixel: red, green, blue and opacity, 0 to 255. */
function canvasOf(height, width, colour) {
  const canvas = element("canvas", { width, height });
  const image = canvas.getContext("2d").createImageData(width, height);
  // Values outside 0 to 255 are cut.
  for (let pixel = 0; pixel < height * width; pixel++) image.data.set(colour(pixel), 4 * pixel);
  canvas.getContext("2d").putImageData(image, 0, 0);
  if (Math.max(height, width) <= SMALL) canvas.classList.add("pixelated");
  return canvas;
}

function named(canvas, text) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", text);
  return canvas;
}

function slider(overlay) {
  const input = element("input", { id: "opacity", type: "range", min: 0, max: 100, value: 85 });
  const apply = () => (overlay.style.opacity = input.value / 100);
  input.addEventListener("input", apply);
  apply();
  return element("label", { className: "slider" }, "Overlay ", input);
}
