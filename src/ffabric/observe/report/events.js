// The list of events, of which only those in sight are in the page, and the one that is chosen.

const ROW = 20;

class EventList {
  constructor(model, box, rows, detail) {
    Object.assign(this, { model, box, rows, detail, told: NOBODY });
    box.addEventListener("scroll", () => this.fill());
    rows.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) model.choose(Number(row.dataset.n));
    });
  }

  draw() {
    const { model, box } = this;
    this.rows.style.height = `${model.visible.length * ROW}px`;
    if (model.chosen !== this.told && model.chosen >= 0) {
      this.told = model.chosen;
      const y = model.places[model.chosen] * ROW;
      if (y < box.scrollTop || y > box.scrollTop + box.clientHeight - ROW) box.scrollTop = y - box.clientHeight / 2;
      this.describe(model.chosen);
    }
    this.fill();
  }

  fill() {
    const { model, box } = this;
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 5);
    const last = Math.min(model.visible.length, first + Math.ceil(box.clientHeight / ROW) + 10);
    const made = [];
    for (let place = first; place < last; place++) made.push(this.row(model.visible[place], place));
    this.rows.replaceChildren(...made);
  }

  row(n, place) {
    const { t, lane, group, text } = this.model.events;
    const at = lane[n] < 0 ? null : this.model.lanes[lane[n]];
    const row = element("div", undefined, { className: `row ${this.model.groups[group[n]]}`, role: "option" });
    row.classList.toggle("chosen", n === this.model.chosen);
    row.setAttribute("aria-selected", String(n === this.model.chosen));
    row.dataset.n = n;
    row.style.top = `${place * ROW}px`;
    row.append(
      element("span", microseconds(t[n]), { className: "t" }),
      element("span", at ? at.name : "", { className: `who ${at && at.secure ? "secure" : "normal"}` }),
      element("span", text[n].split("\n")[0], { className: "what" }),
    );
    return row;
  }

  describe(n) {
    const { model } = this;
    const { t, pe, lane, end, to, kind, text } = model.events;
    const facts = element("dl");
    const fact = (name, value) => facts.append(element("dt", name), value instanceof Node ? value : element("dd", value));
    const link = (m, words) => {
      const held = element("dd");
      const button = element("button", words);
      button.addEventListener("click", () => model.choose(m));
      held.append(button);
      return held;
    };
    fact("event", `${n + 1} of ${model.count}, ${kind[n]}`);
    fact("time", microseconds(t[n]) + (pe[n] < 0 ? "" : `, PE${pe[n]}`));
    if (lane[n] >= 0) fact("who", model.lanes[lane[n]].name);
    if (end[n] >= 0) fact("ends", link(end[n], `after ${microseconds(t[end[n]] - t[n])}`));
    if (to[n] >= 0) fact("leads to", link(to[n], model.lanes[lane[to[n]]].name));
    const from = to.indexOf(n), began = end.indexOf(n);
    if (from >= 0) fact("comes from", link(from, model.lanes[lane[from]].name));
    if (began >= 0) fact("began", link(began, `${microseconds(t[n] - t[began])} before`));
    this.detail.replaceChildren(facts, element("pre", text[n]));
  }
}
