// What the page knows: the columns of the data, which events are shown, and what is chosen.

const NOBODY = -1;

async function unpacked(element) {
  const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

class Model {
  constructor(page) {
    Object.assign(this, page);
    this.count = this.events.t.length;
    this.hidden = new Set(["hops", "schedule"].map((name) => this.groups.indexOf(name)));
    this.byTime = false;
    this.chosen = NOBODY;
    this.found = [];
    this.listeners = [];
    this.sift();
  }

  // The events that are shown, and where each is among them.
  sift() {
    this.visible = [];
    this.places = new Int32Array(this.count);
    for (let n = 0; n < this.count; n++) {
      this.places[n] = this.visible.length;
      if (!this.hidden.has(this.events.group[n])) this.visible.push(n);
    }
    this.fit();
  }

  // The x axis: events in their order, each as wide as the others, or virtual time.
  x(n) { return this.byTime ? this.events.t[n] : this.places[n]; }

  get whole() {
    const last = this.byTime ? this.events.t[this.count - 1] : this.visible.length;
    return [0, Math.max(1, last || 1)];
  }

  fit() { [this.from, this.to] = this.whole; }

  zoom(factor, around) {
    const [low, high] = this.whole;
    const span = Math.min(high - low, Math.max(this.byTime ? 10 : 4, (this.to - this.from) * factor));
    const share = (around - this.from) / (this.to - this.from);
    this.place(around - span * share, span);
  }

  move(by) { this.place(this.from + by, this.to - this.from); }

  place(from, span) {
    const [low, high] = this.whole;
    this.from = Math.max(low, Math.min(from, high - span));
    this.to = this.from + span;
    this.changed();
  }

  // The number of the first event that is shown at x or behind it.
  at(x) {
    let low = 0, high = this.visible.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.x(this.visible[middle]) < x) low = middle + 1; else high = middle;
    }
    return low;
  }

  choose(n, { reveal = true } = {}) {
    if (n < 0 || n >= this.count) return;
    this.chosen = n;
    const x = this.x(n);
    if (reveal && (x < this.from || x > this.to)) this.place(x - (this.to - this.from) / 2, this.to - this.from);
    this.changed();
  }

  step(by) {
    const place = this.chosen === NOBODY ? -1 : this.places[this.chosen];
    const next = Math.max(0, Math.min(this.visible.length - 1, place + by));
    this.choose(this.visible[next]);
  }

  search(words) {
    const wanted = words.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const { text, lane, kind } = this.events;
    this.found = wanted.length === 0 ? [] : this.visible.filter((n) => {
      const name = lane[n] === NOBODY ? "" : this.lanes[lane[n]].name;
      const all = `${name} ${kind[n]} ${text[n]}`.toLowerCase();
      return wanted.every((word) => all.includes(word));
    });
    this.changed();
  }

  match(by) {
    if (!this.found.length) return;
    const at = this.found.findIndex((n) => n >= this.chosen);
    const exact = this.found[at] === this.chosen;
    let next = at < 0 ? (by > 0 ? 0 : this.found.length - 1) : by > 0 ? at + (exact ? 1 : 0) : at - 1;
    next = (next + this.found.length) % this.found.length;
    this.choose(this.found[next]);
  }

  toggle(group) {
    if (!this.hidden.delete(group)) this.hidden.add(group);
    this.sift();
    this.changed();
  }

  changed() { for (const listener of this.listeners) listener(); }
}

function microseconds(nanoseconds) {
  return `${(nanoseconds / 1000).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 3 })} µs`;
}

// A time as a person says it: in seconds, milliseconds or microseconds.
function rounded(nanoseconds, digits = 3) {
  const [unit, size] = [["s", 1e9], ["ms", 1e6]].find(([, size]) => nanoseconds >= size) || ["µs", 1e3];
  return `${(nanoseconds / size).toLocaleString("en", { maximumFractionDigits: digits })} ${unit}`;
}

// Times along an axis, with digits enough to tell them apart; "" for one that is the same as before.
function scale(times) {
  const steps = times.slice(1).map((time, at) => time - times[at]).filter((step) => step > 0);
  const unit = Math.max(...times.filter((time) => time !== undefined)) >= 1e9 ? 1e9 : 1e6;
  const digits = Math.min(9, Math.max(3, Math.ceil(-Math.log10(Math.min(...steps) / unit)) || 3));
  return times.map((time, at) => time === undefined || time === times[at - 1] ? "" : rounded(time, digits));
}

function element(name, text, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  return made;
}

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

// A canvas with one unit a CSS pixel, as sharp as the screen.
function prepared(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  return [context, width];
}
