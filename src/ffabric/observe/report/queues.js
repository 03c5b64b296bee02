// Virtqueues: a line each, a bar while it is set up, and marks where either side tells of buffers.

const RING = 22;

class Virtqueues {
  constructor(model, lanes, section) {
    Object.assign(this, { model, lanes, section });
    this.canvas = section.querySelector("canvas");
    this.shown = model.queues.slice(0, SHOWN);
    section.hidden = this.shown.length === 0;
    const rows = section.querySelector("tbody");
    for (const queue of this.shown) rows.append(this.row(queue));
    if (model.queues.length > SHOWN) section.querySelector("p").append(` The first ${SHOWN} of ${model.queues.length}.`);
    this.canvas.addEventListener("click", (event) => this.click(event));
  }

  row({ name, driver, history, told }) {
    const size = history.map(([, size]) => size).filter(Boolean).at(-1);
    const row = element("tr");
    row.append(element("td", name), element("td", driver), element("td", size ?? "?"), element("td", told[0]), element("td", told[1]));
    return row;
  }

  draw() {
    if (this.section.hidden) return;
    const [context, width] = prepared(this.canvas, this.shown.length * RING + 4);
    this.shown.forEach((queue, number) => {
      const y = number * RING + 2;
      context.fillStyle = colour("--ink");
      context.font = "11px system-ui, sans-serif";
      context.fillText(queue.name, 8, y + RING / 2, LABEL - 12);
      queue.history.forEach(([since, size], at) => this.bar(context, width, y, since, size, queue.history[at + 1]));
      this.marks(context, width, queue.avail, y + 2, colour("--normal"));
      this.marks(context, width, queue.used, y + RING / 2 + 1, colour("--secure"));
    });
  }

  bar(context, width, y, since, size, next) {
    if (!size) return;
    const x = Math.max(LABEL, this.lanes.x(Math.max(0, since)));
    const end = next ? Math.min(width, this.lanes.x(Math.max(0, next[0]))) : width;
    if (end <= x) return;
    context.fillStyle = colour("--line");
    context.fillRect(x, y + 2, end - x, RING - 4);
  }

  // One mark a pixel at most: a million events are as many strokes as the picture is wide.
  marks(context, width, events, y, paint) {
    context.fillStyle = paint;
    let last = -1;
    for (const n of events) {
      const x = Math.round(this.lanes.x(n));
      if (x === last || x < LABEL || x > width) continue;
      context.fillRect(x, y, 1.5, RING / 2 - 3);
      last = x;
    }
  }

  // A click chooses the nearest event of the virtqueue.
  click(event) {
    const queue = this.shown[Math.floor((event.offsetY - 2) / RING)];
    if (!queue) return;
    let best = NOBODY, distance = Infinity;
    for (const n of [...queue.history.map(([since]) => since), ...queue.avail, ...queue.used]) {
      const d = n < 0 ? Infinity : Math.abs(this.lanes.x(n) - event.offsetX);
      if (d < distance) [best, distance] = [n, d];
    }
    this.model.choose(best, { reveal: false });
  }
}
