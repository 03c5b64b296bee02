// Puts the parts together once the data is unpacked.

function tables(model) {
  const refusals = document.getElementById("refusals");
  refusals.hidden = model.refusals.length === 0;
  for (const rule of model.refusals) {
    const row = element("tr");
    const button = element("button", rule.rule);
    let next = 0;
    button.addEventListener("click", () => { if (rule.events.length) model.choose(rule.events[next++ % rule.events.length]); });
    const first = element("td");
    first.append(button);
    row.append(first, element("td", rule.status), element("td", rule.events.length), element("td", rule.text), element("td", rule.section));
    refusals.querySelector("tbody").append(row);
  }
  for (const [what, much] of model.totals) {
    const row = element("tr");
    row.append(element("td", what), element("td", much));
    document.querySelector("#totals tbody").append(row);
  }
}

function head(model) {
  const { t } = model.events;
  const seeds = model.runs.map((run) => run.seed === null ? run.system : `${run.system} (seed ${run.seed})`).join(", ");
  document.getElementById("facts").textContent =
    `${seeds}: ${model.count.toLocaleString("en")} events in ${rounded(t[model.count - 1] || 0)} of virtual time`;
  const left = document.getElementById("left-out");
  left.hidden = !model.left_out;
  left.textContent = `${model.left_out.toLocaleString("en")} more events are not in this page, which has room for ${model.count.toLocaleString("en")}: ` +
    "all refusals, memory and deaths are shown, and a sample of the calls. ffabric trace shows everything.";
}

function controls(model) {
  const by = (id) => document.getElementById(id);
  model.groups.forEach((name, group) => {
    if (!model.events.group.includes(group)) return;
    const button = element("button", name);
    const say = () => button.setAttribute("aria-pressed", String(!model.hidden.has(group)));
    button.addEventListener("click", () => { model.toggle(group); say(); });
    say();
    by("groups").append(button);
  });
  const search = by("search");
  search.addEventListener("input", () => { model.search(search.value); model.match(1); });
  search.addEventListener("keydown", (event) => { if (event.key === "Enter") model.match(event.shiftKey ? -1 : 1); });
  by("next").addEventListener("click", () => model.match(1));
  by("previous").addEventListener("click", () => model.match(-1));
  const middle = () => model.chosen >= 0 ? model.x(model.chosen) : (model.from + model.to) / 2;
  const keys = {
    "+": () => model.zoom(0.5, middle()), "-": () => model.zoom(2, middle()), 0: () => { model.fit(); model.changed(); },
    ArrowRight: () => model.step(1), ArrowLeft: () => model.step(-1), ArrowDown: () => model.step(1), ArrowUp: () => model.step(-1),
  };
  by("zoom-in").addEventListener("click", keys["+"]);
  by("zoom-out").addEventListener("click", keys["-"]);
  by("fit").addEventListener("click", keys[0]);
  by("by-time").addEventListener("change", (event) => { model.byTime = event.target.checked; model.fit(); model.changed(); });
  document.addEventListener("keydown", (event) => {
    if (event.target === search || !keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  model.listeners.push(() => { by("matches").textContent = search.value ? `${model.found.length} found` : ""; });
}

unpacked(document.getElementById("data")).then((page) => {
  const model = new Model(page);
  const by = (id) => document.getElementById(id);
  head(model);
  tables(model);
  controls(model);
  const lanes = new Lanes(model, by("lanes"), by("overview"), by("tip"));
  const memory = new MemoryMap(model, lanes, by("memory"));
  const queues = new Virtqueues(model, lanes, by("queues"));
  const list = new EventList(model, by("events"), by("rows"), by("selected"));
  let asked = false;
  const draw = () => { asked = false; lanes.draw(); memory.draw(); queues.draw(); list.draw(); };
  const soon = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };
  model.listeners.push(soon);
  window.addEventListener("resize", soon);
  window.addEventListener("beforeprint", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
  draw();
  document.documentElement.dataset.ready = "yes";
});
