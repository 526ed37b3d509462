"use strict";
(() => {
  document.documentElement.classList.add("js");
  const data = JSON.parse(document.getElementById("data").textContent);
  const PATH = 0, LABEL = 1, DIGEST = 2, SAID = 3, PICTURE = 4;
  const photos = data.photos;
  const one = (where, what) => where.querySelector(what);
  const all = (where, what) => Array.from(where.querySelectorAll(what));

  // Photos: each is in the data once, however often it is shown.
  const show = (image, number) => {
    const uri = photos[number][PICTURE];
    if (uri) image.src = uri;
    else one(image.parentNode, ".gone").hidden = false;
    image.alt = uri ? `Photo ${photos[number][PATH]}` : "";
  };
  for (const image of all(document, "img[data-thumb]")) show(image, Number(image.dataset.thumb));

  // Corrections: one an image, whichever of its photos was ticked.
  const ticks = new Map();
  const readStore = () => {
    try {
      const known = new Map(photos.map((photo, number) => [photo[DIGEST] + photo[PATH], number]));
      for (const [id, action, label] of JSON.parse(localStorage.getItem(data.key) || "[]")) {
        if (known.has(id)) ticks.set(known.get(id), { action: String(action), label: String(label) });
      }
    } catch { /* a browser may keep nothing for a file */ }
  };
  const writeStore = () => {
    try {
      const rows = Array.from(ticks, ([n, tick]) => [photos[n][DIGEST] + photos[n][PATH], tick.action, tick.label]);
      localStorage.setItem(data.key, JSON.stringify(rows));
    } catch { /* the ticks are there until the page is closed */ }
  };
  const fits = (box, group, tick) =>
    Boolean(tick) && tick.action === box.dataset.action &&
    (tick.action !== "relabel" || tick.label === group.dataset.suggested);
  const paint = (where) => {
    for (const group of all(where, ".fix[data-photo]")) {
      const tick = ticks.get(Number(group.dataset.photo));
      for (const box of all(group, "input")) box.checked = fits(box, group, tick);
      group.closest(".photo").classList.toggle("ticked", Boolean(tick));
    }
  };
  const bar = document.getElementById("corrections");
  const count = document.getElementById("count");
  const refresh = () => {
    paint(document);
    bar.hidden = ticks.size === 0;
    count.textContent = `${ticks.size} correction${ticks.size === 1 ? "" : "s"}`;
  };
  document.addEventListener("change", (event) => {
    const box = event.target;
    const group = box.closest(".fix[data-photo]");
    if (!group) return;
    const number = Number(group.dataset.photo);
    if (box.checked) {
      const action = box.dataset.action;
      ticks.set(number, { action, label: action === "relabel" ? group.dataset.suggested : "" });
    } else ticks.delete(number);
    writeStore();
    refresh();
  });
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const csv = () => {
    const rows = [["path", "action", "label", "from", "digest"]];
    for (const [number, { action, label }] of ticks) {
      const photo = photos[number];
      rows.push([photo[PATH], action, label, photo[LABEL], photo[DIGEST]]);
    }
    return rows.map((row) => row.map(quoted).join(",") + "\r\n").join("");
  };
  document.getElementById("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
    link.download = "corrections.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  document.getElementById("clear").addEventListener("click", () => {
    ticks.clear();
    writeStore();
    refresh();
  });
  bar.addEventListener("submit", (event) => event.preventDefault());

  // A photo that the script shows itself, from the same form as those of the page.
  const form = document.getElementById("card");
  const saidOf = (photo) => {
    const cut = photo[SAID].lastIndexOf(" ");
    return [photo[SAID].slice(0, Math.max(cut, 0)), photo[SAID].slice(cut + 1)];
  };
  const card = (number, suggested) => {
    const photo = photos[number];
    const figure = form.content.cloneNode(true).firstElementChild;
    figure.dataset.photo = number;
    show(one(figure, "img"), number);
    one(figure, ".path").textContent = photo[PATH];
    one(figure, ".label").textContent = photo[LABEL];
    const group = one(figure, ".fix");
    group.dataset.photo = number;
    group.dataset.suggested = suggested || "";
    group.setAttribute("aria-label", `Correct ${photo[PATH]}`);
    const [said, sure] = saidOf(photo);
    const differs = suggested && suggested !== photo[LABEL];
    one(figure, ".score").textContent = differs || !sure ? sure
      : said === photo[LABEL] ? `recognised ${sure}` : `taken for ${said} ${sure}`;
    if (differs) {
      one(figure, ".to bdi").textContent = suggested;
      one(group, "bdi").textContent = suggested;
    } else {
      one(figure, ".to").remove();
      one(group, "label").remove();
    }
    if (!photo[DIGEST]) group.remove(); // it is not in the data set any more
    return figure;
  };

  // The confusion matrix: a cell opens its photos.
  const room = document.getElementById("cell-photos");
  const cells = all(document, "button[data-cell]");
  for (const cell of cells) {
    cell.addEventListener("click", () => {
      const wasOpen = cell.getAttribute("aria-expanded") === "true";
      for (const other of cells) other.setAttribute("aria-expanded", "false");
      room.replaceChildren();
      if (wasOpen) return;
      cell.setAttribute("aria-expanded", "true");
      const [truth, taken] = cell.dataset.cell.split("-").map(Number);
      const numbers = data.cells[cell.dataset.cell] || [];
      const total = Number(cell.textContent);
      const title = document.createElement("h3");
      const names = [data.classes[truth], data.classes[taken]];
      const part = numbers.length < total ? `: ${numbers.length} of ${total}` : `: ${total}`;
      title.textContent = truth === taken
        ? `${names[0]}, recognised${part}, the least sure first`
        : `${names[0]}, taken for ${names[1]}${part}`;
      const list = document.createElement("ul");
      list.className = "gallery";
      for (const number of numbers) {
        const item = document.createElement("li");
        item.append(card(number, truth === taken ? "" : names[1]));
        list.append(item);
      }
      room.append(title, list);
      paint(room);
    });
  }

  // The map: its colours, and the photo of the dot that is pointed at.
  const dots = document.getElementById("dots");
  const spot = document.getElementById("spot");
  const legends = all(document, ".legend[data-for]");
  for (const choice of all(document, "input[name=by]")) {
    choice.addEventListener("change", () => {
      dots.dataset.by = choice.value;
      for (const legend of legends) legend.hidden = legend.dataset.for !== choice.value;
    });
  }
  const points = all(dots, "circle");
  let current = null;
  const look = (point) => {
    if (!point || point === current) return;
    if (current) current.classList.remove("on");
    current = point;
    point.classList.add("on");
    spot.replaceChildren(card(Number(point.dataset.i), saidOf(photos[point.dataset.i])[0]));
    paint(spot);
  };
  dots.addEventListener("pointerover", (event) => look(event.target.closest("circle")));
  dots.addEventListener("click", (event) => look(event.target.closest("circle")));
  const place = (point) => [Number(point.getAttribute("cx")), Number(point.getAttribute("cy"))];
  const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  dots.addEventListener("keydown", (event) => {
    const way = ways[event.key];
    if (!way || !points.length) return;
    event.preventDefault();
    if (!current) return look(points[points.length - 1]);
    const [x, y] = place(current);
    let best = null, least = Infinity;
    for (const point of points) {
      const [px, py] = place(point);
      const along = (px - x) * way[0] + (py - y) * way[1];
      const aside = Math.abs((px - x) * way[1]) + Math.abs((py - y) * way[0]);
      if (along <= 0 || aside > along) continue;
      if (along + 2 * aside < least) [best, least] = [point, along + 2 * aside];
    }
    look(best);
  });

  window.addEventListener("beforeprint", () => {
    for (const finding of all(document, "details.finding")) finding.open = true;
  });

  readStore();
  refresh();
})();
