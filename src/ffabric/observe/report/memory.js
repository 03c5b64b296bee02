// The map of memory: a line a stretch, coloured by owner; hatched where the owner has no access.

const STRETCH = 18, SHOWN = 200;

class MemoryMap {
  constructor(model, lanes, section) {
    Object.assign(this, { model, lanes, section });
    this.canvas = section.querySelector("canvas");
    this.stretches = model.memory.slice(0, SHOWN);
    section.hidden = this.stretches.length === 0;
    const names = new Set(model.memory.flatMap((each) => each.history.map(([, owner]) => owner)).filter(Boolean));
    this.hues = new Map([...names].map((name, at) => [name, (at * 137.5 + 205) % 360]));
    const legend = section.querySelector("#owners");
    for (const [name] of this.hues) {
      const item = element("span");
      const patch = element("i");
      patch.style.background = this.fill(name);
      item.append(patch, name);
      legend.append(item);
    }
    if (model.memory.length > SHOWN) legend.append(element("span", `the first ${SHOWN} of ${model.memory.length} stretches`));
    this.canvas.addEventListener("click", (event) => this.click(event));
  }

  fill(owner) { return owner ? `hsl(${this.hues.get(owner)} 55% 62%)` : "transparent"; }

  draw() {
    if (this.section.hidden) return;
    const [context, width] = prepared(this.canvas, this.stretches.length * STRETCH + 4);
    this.stretches.forEach((stretch, row) => {
      const y = row * STRETCH + 2;
      context.fillStyle = colour("--ink");
      context.font = "11px ui-monospace, monospace";
      context.fillText(`${stretch.base} +${stretch.pages}`, 8, y + STRETCH / 2, LABEL - 12);
      stretch.history.forEach((held, at) => this.block(context, width, y, held, stretch.history[at + 1]));
    });
  }

  block(context, width, y, [since, owner, state, borrowers], next) {
    const x = Math.max(LABEL, this.lanes.x(Math.max(0, since)));
    const end = next ? Math.min(width, this.lanes.x(Math.max(0, next[0]))) : width;
    if (end <= LABEL || x >= width || end - x < 0.5) return;
    context.fillStyle = this.fill(owner);
    context.fillRect(x, y + 1, end - x, STRETCH - 3);
    if (state === "lent" || state === "donated") this.hatch(context, x, y, end);
    const said = `${owner || "nobody"}${state === "own" ? "" : `: ${state}`}${borrowers.length ? ` → ${borrowers.join(", ")}` : ""}`;
    if (end - x > 40) {
      context.save();
      context.beginPath(); context.rect(x, y, end - x - 3, STRETCH); context.clip();
      context.fillStyle = owner ? "#14181d" : colour("--soft");
      context.fillText(said, x + 4, y + STRETCH / 2);
      context.restore();
    }
  }

  hatch(context, x, y, end) {
    context.save();
    context.beginPath(); context.rect(x, y + 1, end - x, STRETCH - 3); context.clip();
    context.strokeStyle = "#14181d55";
    for (let at = x - STRETCH; at < end; at += 6) { context.beginPath(); context.moveTo(at, y + STRETCH); context.lineTo(at + STRETCH, y); context.stroke(); }
    context.restore();
  }

  // A click chooses the event since when a stretch is what it is there.
  click(event) {
    const stretch = this.stretches[Math.floor((event.offsetY - 2) / STRETCH)];
    if (!stretch) return;
    const before = stretch.history.filter(([since]) => since >= 0 && this.lanes.x(since) <= event.offsetX);
    if (before.length) this.model.choose(before.at(-1)[0]);
  }
}
