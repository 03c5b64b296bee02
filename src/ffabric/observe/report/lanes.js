// The lanes: a line a context, by world and exception level; calls as bars, what leads to what as curves.

const LABEL = 150, LANE = 20, TOP = 18, GAP = 16;

class Lanes {
  constructor(model, canvas, overview, tip) {
    Object.assign(this, { model, canvas, overview, tip });
    this.rows = [];
    let y = TOP, last = "";
    for (const lane of model.lanes) {
      if (lane.where !== last) {
        y += GAP;
        last = lane.where;
        this.rows.push({ title: last, y: y - GAP / 2, secure: lane.secure });
      }
      lane.y = y + LANE / 2;
      y += LANE;
    }
    this.height = y + 10;
    this.listen();
  }

  x(n) { return this.scaled(this.model.x(n)); }

  scaled(x) {
    const { from, to } = this.model;
    return LABEL + (x - from) / (to - from) * (this.width - LABEL);
  }

  unscaled(pixels) {
    const { from, to } = this.model;
    return from + (pixels - LABEL) / (this.width - LABEL) * (to - from);
  }

  draw() {
    const { model } = this;
    const [context, width] = prepared(this.canvas, this.height);
    Object.assign(this, { context, width });
    const first = Math.max(0, model.at(model.from) - 1);
    const last = Math.min(model.visible.length - 1, model.at(model.to) + 1);
    this.frame();
    context.save();
    context.beginPath();
    context.rect(LABEL, 0, width - LABEL, this.height);
    context.clip();
    this.runs();
    this.bars(first, last);
    if (last - first < 3000) this.flows(first, last);
    this.selection();
    context.restore();
    this.drawOverview();
  }

  frame() {
    const { context, width } = this;
    const line = colour("--line"), soft = colour("--soft"), ink = colour("--ink");
    for (const row of this.rows) {
      context.fillStyle = row.secure ? colour("--secure") : colour("--normal");
      context.font = "600 11px system-ui, sans-serif";
      context.fillText(row.title, 8, row.y);
    }
    context.font = "12px ui-monospace, monospace";
    for (const lane of this.model.lanes) {
      context.fillStyle = ink;
      context.fillText(lane.name, 16, lane.y, LABEL - 24);
      context.strokeStyle = line;
      context.beginPath(); context.moveTo(LABEL, lane.y); context.lineTo(width, lane.y); context.stroke();
    }
    context.fillStyle = soft;
    context.font = "11px system-ui, sans-serif";
    const ticks = Math.max(2, Math.floor((width - LABEL) / 140));
    const times = [...Array(ticks).keys()].map((tick) => this.timeAt(LABEL + (width - LABEL) * tick / ticks));
    scale(times).forEach((said, tick) => context.fillText(said, LABEL + (width - LABEL) * tick / ticks + 3, 9));
  }

  timeAt(x) {
    const at = this.unscaled(x), { visible, byTime, events } = this.model;
    const n = visible[Math.min(this.model.at(at), visible.length - 1)];
    return n === undefined ? undefined : byTime ? at : events.t[n];
  }

  runs() {
    const { context } = this;
    context.strokeStyle = colour("--soft");
    context.setLineDash([4, 4]);
    for (const run of this.model.runs) {
      const x = this.x(run.at);
      context.beginPath(); context.moveTo(x, TOP); context.lineTo(x, this.height); context.stroke();
    }
    context.setLineDash([]);
  }

  // With more events than pixels, a lane draws one of each kind a pixel.
  bars(first, last) {
    const { context, model } = this;
    const { lane, group, end, waits } = model.events;
    const drawn = new Map();
    const refusals = model.groups.indexOf("refusals"), calls = model.groups.indexOf("calls");
    const colours = this.colours();
    const marks = [];
    for (let place = first; place <= last; place++) {
      const n = model.visible[place];
      const which = lane[n];
      if (which < 0) continue;
      const x = this.x(n), y = model.lanes[which].y;
      const far = end[n] < 0 ? x : this.x(end[n]);
      const key = which * 16 + group[n];
      if (group[n] !== refusals && Math.floor(far) === drawn.get(key)) continue;
      drawn.set(key, Math.floor(far));
      if (group[n] === calls && end[n] >= 0) {
        context.fillStyle = model.lanes[which].secure ? colours.secureBar : colours.normalBar;
        const half = waits[n] ? 1.5 : 5;
        context.fillRect(x, y - half, Math.max(1.5, far - x), 2 * half);
      } else {
        marks.push([x, y, group[n]]);
      }
    }
    for (const [x, y, kind] of marks) {
      context.fillStyle = colours.marks[kind];
      context.beginPath();
      if (kind === refusals) { context.moveTo(x, y - 8); context.lineTo(x + 5, y + 4); context.lineTo(x - 5, y + 4); }
      else context.arc(x, y, kind === calls ? 2 : 3, 0, 7);
      context.fill();
    }
  }

  colours() {
    const named = { refusals: "--bad", memory: "--mark", interrupts: "--secure", life: "--ink" };
    return {
      normalBar: colour("--normal") + "99", secureBar: colour("--secure") + "99",
      marks: this.model.groups.map((name) => colour(named[name] || "--soft")),
    };
  }

  flows(first, last) {
    const { context, model } = this;
    const { lane, to } = model.events;
    context.strokeStyle = context.fillStyle = colour("--soft");
    context.globalAlpha = Math.max(0.3, 1 - (last - first) / 1000);
    for (let place = first; place <= last; place++) {
      const n = model.visible[place], m = to[n];
      if (m < 0 || lane[n] < 0 || lane[m] < 0) continue;
      const [x, y, u, v] = [this.x(n), model.lanes[lane[n]].y, this.x(m), model.lanes[lane[m]].y];
      context.beginPath(); context.moveTo(x, y);
      context.bezierCurveTo(x + 6, (y + v) / 2, u - 6, (y + v) / 2, u, v);
      context.stroke();
      context.beginPath(); context.arc(u, v, 2.2, 0, 7); context.fill();
    }
    context.globalAlpha = 1;
  }

  selection() {
    const { context, model } = this;
    context.fillStyle = colour("--mark");
    for (const n of model.found.slice(0, 2000)) context.fillRect(this.x(n) - 0.5, TOP - 4, 1.5, 5);
    if (model.chosen < 0) return;
    const x = this.x(model.chosen);
    context.strokeStyle = colour("--mark");
    context.lineWidth = 1.5;
    context.beginPath(); context.moveTo(x, 0); context.lineTo(x, this.height); context.stroke();
    context.lineWidth = 1;
  }

  drawOverview() {
    const { model } = this;
    const [context, width] = prepared(this.overview, 26);
    const [low, high] = model.whole;
    const refusals = model.groups.indexOf("refusals");
    const density = new Float32Array(Math.max(1, Math.ceil(width)));
    const red = new Set();
    for (const n of model.visible) {
      const at = Math.min(density.length - 1, Math.floor((model.x(n) - low) / (high - low) * width));
      density[at]++;
      if (model.events.group[n] === refusals) red.add(at);
    }
    const most = density.reduce((a, b) => Math.max(a, b), 1);
    context.fillStyle = colour("--soft") + "66";
    density.forEach((count, x) => context.fillRect(x, 26, 1, -Math.ceil(count / most * 20)));
    context.fillStyle = colour("--bad");
    for (const x of red) context.fillRect(x, 0, 1.5, 5);
    const [a, b] = [model.from, model.to].map((x) => (x - low) / (high - low) * width);
    context.fillStyle = colour("--mark") + "33";
    context.fillRect(a, 0, Math.max(3, b - a), 26);
    context.strokeStyle = colour("--mark");
    context.strokeRect(a + 0.5, 0.5, Math.max(3, b - a) - 1, 25);
  }

  // The event that is nearest to a point, on its lane.
  near(x, y) {
    const { model } = this;
    const which = model.lanes.findIndex((lane) => Math.abs(lane.y - y) <= LANE / 2);
    const from = model.at(this.unscaled(x - 12)), until = model.at(this.unscaled(x + 12));
    let best = NOBODY, distance = Infinity;
    for (let place = from; place < Math.min(until + 1, model.visible.length); place++) {
      const n = model.visible[place];
      if (which >= 0 && model.events.lane[n] !== which) continue;
      const d = Math.abs(this.x(n) - x);
      if (d < distance) [best, distance] = [n, d];
    }
    if (best === NOBODY && which >= 0) best = this.under(which, x);
    return best;
  }

  // The call whose bar covers x.
  under(which, x) {
    const { model } = this;
    for (let place = Math.min(model.at(this.unscaled(x)), model.visible.length - 1), steps = 0; place >= 0 && steps < 5000; place--, steps++) {
      const n = model.visible[place];
      if (model.events.lane[n] === which && model.events.end[n] >= 0) return this.x(model.events.end[n]) >= x ? n : NOBODY;
    }
    return NOBODY;
  }

  listen() {
    const { canvas, overview, model } = this;
    let held = null;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) model.move((event.deltaX || event.deltaY) * (model.to - model.from) / this.width);
      else model.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.unscaled(event.offsetX));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => { held = { x: event.offsetX, from: model.from, moved: false }; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) { this.hover(event); return; }
      const by = held.x - event.offsetX;
      if (Math.abs(by) > 3) held.moved = true;
      if (held.moved) model.place(held.from + by * (model.to - model.from) / (this.width - LABEL), model.to - model.from);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (held && !held.moved) model.choose(this.near(event.offsetX, event.offsetY), { reveal: false });
      held = null;
    });
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    overview.addEventListener("pointerdown", (event) => {
      const [low, high] = model.whole;
      const go = (e) => { const span = model.to - model.from; model.place(low + e.offsetX / overview.clientWidth * (high - low) - span / 2, span); };
      go(event);
      overview.setPointerCapture(event.pointerId);
      overview.onpointermove = go;
      overview.onpointerup = () => { overview.onpointermove = null; };
    });
  }

  hover(event) {
    const n = this.near(event.offsetX, event.offsetY);
    this.tip.hidden = n < 0;
    if (n < 0) return;
    this.tip.textContent = this.model.events.text[n].slice(0, 600);
    this.tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - 580)}px`;
    this.tip.style.top = `${event.clientY + 16}px`;
  }
}
