// Image files that are dropped, pasted or chosen, folders included.

import { byId } from "./dom.js";

// A page keeps what it scored; more is for `lfbm score`.
export const MAX_FILES = 2000;
const IMAGE = /\.(png|jpe?g|bmp|tiff?|webp)$/i;

/** Calls `take` with an array of `{name, file}`, at most MAX_FILES, and whether there were more, whenever files come. */
export function watchFiles(take) {
  const give = (files) => take(files.slice(0, MAX_FILES), files.length > MAX_FILES);
  for (const button of document.querySelectorAll("[data-opens]")) {
    const input = byId(button.dataset.opens);
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      give(images([...input.files]));
      input.value = "";
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    // Text, say.
    if (files.length === 0) return;
    event.preventDefault();
    give(images(files));
  });
  watchDrops(give);
}

function images(files) {
  const isImage = (file) => file.type.startsWith("image/") || IMAGE.test(file.name);
  return files.filter(isImage).map((file) => ({ name: file.webkitRelativePath || file.name, file }));
}

function watchDrops(give) {
  const zone = byId("drop");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) zone.classList.remove("over");
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    // The list is empty after the first await.
    const items = [...event.dataTransfer.items];
    const entries = items.map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (entries.length === 0) return give(images([...event.dataTransfer.files]));
    const found = [];
    for (const entry of entries) await walk(entry, found);
    return give(found);
  });
}

/** Collects the images under an entry, at most one more than there may be. */
async function walk(entry, found) {
  if (found.length > MAX_FILES) return;
  if (entry.isFile) {
    const file = await new Promise((done) => entry.file(done, () => done(null)));
    if (file !== null) found.push(...images([file]).map(({ file }) => ({ name: entry.fullPath.slice(1), file })));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done) => reader.readEntries(done, () => done([])));
    if (some.length === 0 || found.length > MAX_FILES) return;
    for (const inside of some) await walk(inside, found);
  }
}
