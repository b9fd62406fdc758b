"use strict";
(() => {
  // Texts of the data (names, labels, messages) reach the page by textContent and by attributes only, never as markup.
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const PAGE = 60;
  const ROWS = 50;
  const WHOLE = [0, 0, 1, 1];

  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const tables = Object.fromEntries(Object.entries(data.colormaps).map(([name, text]) => [name, bytes(text)]));
  const state = { colormap: data.colormap, shown: [], page: 0, at: -1, chosen: 0 };

  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const percent = (share) => (share === null || share === undefined ? "-" : `${(100 * share).toFixed(1)} %`);
  const number = (value) => (value === null || value === undefined ? "-" : String(Number(value.toPrecision(6))));
  const score = (found) => (found.probability === null ? number(found.value) : percent(found.probability));
  const counted = (count, noun, plural = `${noun}s`) => `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;
  const placed = (place) => (place === "border" ? "along the border" : `at the ${place}`);

  // --- Heat -------------------------------------------------------------------------------------------------------

  // Bilinear weights that read `cells` along one axis at the centres of `pixels`; the outermost values hold outside.
  function positions(pixels, cells, from, to) {
    return Array.from({ length: pixels }, (_, i) => {
      const share = ((i + 0.5) / pixels - from) / (to - from);
      const position = Math.min(Math.max(share * cells - 0.5, 0), cells - 1);
      const below = Math.min(Math.floor(position), Math.max(cells - 2, 0));
      return [below, Math.min(below + 1, cells - 1), position - below];
    });
  }

  // Draw a map over the whole of a canvas, in the chosen colours; what the model did not see stays transparent.
  function draw(canvas, map, cells = WHOLE, seen = WHOLE) {
    const { width, height } = canvas;
    const heat = bytes(map.uint8);
    const table = tables[state.colormap];
    const context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    const across = positions(width, map.width, cells[0], cells[2]);
    const down = positions(height, map.height, cells[1], cells[3]);
    const inside = (i, pixels, from, to) => i + 0.5 >= from * pixels - 1e-6 && i + 0.5 <= to * pixels + 1e-6;
    for (let y = 0; y < height; y += 1) {
      if (!inside(y, height, seen[1], seen[3])) continue;
      const [above, below, v] = down[y];
      for (let x = 0; x < width; x += 1) {
        if (!inside(x, width, seen[0], seen[2])) continue;
        const [left, right, u] = across[x];
        const upper = heat[above * map.width + left] * (1 - u) + heat[above * map.width + right] * u;
        const lower = heat[below * map.width + left] * (1 - u) + heat[below * map.width + right] * u;
        const colour = 3 * Math.round(upper * (1 - v) + lower * v);
        const at = 4 * (y * width + x);
        picture.data[at] = table[colour];
        picture.data[at + 1] = table[colour + 1];
        picture.data[at + 2] = table[colour + 2];
        picture.data[at + 3] = 255;
      }
    }
    context.putImageData(picture, 0, 0);
  }

  // Canvases of images that are on the page, by what draws them again in other colours.
  const redraw = new Map();

  function heatCanvas(image, found, longest) {
    if (image.painted || !found || !found.heat) return null;
    const scale = longest / Math.max(image.width, image.height);
    const size = { width: Math.max(1, Math.round(image.width * scale)), height: Math.max(1, Math.round(image.height * scale)) };
    const canvas = element("canvas", { ...size, "aria-hidden": "true" });
    const paint = () => draw(canvas, found.heat, found.cells, found.seen);
    paint();
    redraw.set(canvas, paint);
    return canvas;
  }

  function mapCanvas(map, text) {
    const canvas = element("canvas", { width: 112, height: 112, role: "img", "aria-label": text });
    const paint = () => draw(canvas, map);
    paint();
    redraw.set(canvas, paint);
    return canvas;
  }

  function setHeat(value) {
    document.documentElement.style.setProperty("--heat", String(value / 100));
    for (const id of ["heat", "view-heat"]) $(id).value = value;
    $("heat-value").textContent = `${value} %`;
  }

  // --- The grid of images -----------------------------------------------------------------------------------------

  function shot(image, found) {
    const text = `Photograph ${image.name}${found ? `, heat of ${found.label}` : ""}`;
    const picture = image.thumbnail
      ? element("img", { src: image.thumbnail, alt: text, loading: "lazy", decoding: "async" })
      : element("span", { className: "none", textContent: "no picture" });
    return element("span", { className: "shot" }, picture, heatCanvas(image, found, 120));
  }

  function card(image, place) {
    const found = image.classes[state.label(image)] || image.classes[0];
    const made = element(
      "button",
      { type: "button", className: "card" },
      shot(image, found),
      element(
        "span",
        { className: "caption" },
        element("span", { className: "label", textContent: found ? found.label : "-", title: found ? found.label : "" }),
        element("span", { className: "score", textContent: found ? score(found) : "-" }),
        element("span", { className: "name", textContent: image.name, title: image.name }),
        element("span", { className: "how", textContent: `${image.method} · ${image.layer}${image.status === "flat" ? " · no heat" : ""}` }),
      ),
    );
    const show = () => open(place, image.classes.indexOf(found));
    made.addEventListener("click", show);
    hoverable(made, image, found, show);
    return element("li", {}, made);
  }

  // The explained class of an image that the grid shows: the one that is filtered by, else the first.
  state.label = (image) => {
    const wanted = $("class").value;
    const at = wanted === "" ? 0 : image.classes.findIndex((found) => key(found) === wanted);
    return Math.max(at, 0);
  };
  const key = (found) => `${found.index} ${found.label}`;

  const figures = {
    probability: (found) => (found.probability === null ? found.value : found.probability),
    area: (found) => found.area,
    "peak-distance": (found, image) => image.distance,
  };

  function matches(image) {
    if (image.status === "error") return false;
    const text = $("text").value.trim().toLowerCase();
    const wanted = $("class").value;
    if (wanted !== "" && !image.classes.some((found) => key(found) === wanted)) return false;
    if ($("status").value && image.status !== $("status").value) return false;
    if ($("cluster").value !== "" && image.cluster !== Number($("cluster").value)) return false;
    const found = image.classes[state.label(image)];
    if ($("place").value && (!found || found.place !== $("place").value)) return false;
    const value = found ? found.probability : null;
    if ($("least").value !== "" && !(value !== null && value >= Number($("least").value))) return false;
    if ($("most").value !== "" && !(value !== null && value <= Number($("most").value))) return false;
    if (!text) return true;
    return [image.name, ...image.classes.map((each) => each.label)].some((each) => each.toLowerCase().includes(text));
  }

  function sorted(images) {
    const figure = figures[$("sort").value];
    const byName = (a, b) => (a.name < b.name ? -1 : Number(a.name > b.name));
    const direction = $("reverse").checked ? -1 : 1;
    if (!figure) return images.sort((a, b) => direction * byName(a, b));
    const value = new Map(images.map((image) => {
      const found = image.classes[state.label(image)];
      const known = found ? figure(found, image) : null;
      return [image, known === undefined ? null : known];
    }));
    return images.sort((a, b) => {
      const [first, second] = [value.get(a), value.get(b)];
      if (first === null || second === null) return Number(first === null) - Number(second === null) || byName(a, b);
      return direction * (second - first) || byName(a, b);
    });
  }

  function update() {
    state.shown = sorted(data.images.filter(matches));
    showPage(0);
  }

  function showPage(wanted) {
    hidePreview();
    const pages = Math.max(1, Math.ceil(state.shown.length / PAGE));
    state.page = Math.min(Math.max(wanted, 0), pages - 1);
    for (const canvas of $("grid").querySelectorAll("canvas")) redraw.delete(canvas);
    const first = state.page * PAGE;
    $("grid").replaceChildren(...state.shown.slice(first, first + PAGE).map((image, i) => card(image, first + i)));
    const explained = data.images.filter((image) => image.status !== "error").length;
    const all = state.shown.length === explained;
    $("found").textContent = all ? counted(explained, "image") : `${counted(state.shown.length, "image")} of ${explained.toLocaleString("en")}`;
    $("pages").hidden = pages === 1;
    $("page").value = state.page + 1;
    $("page").max = pages;
    $("of-pages").textContent = `of ${pages}`;
    $("previous-page").disabled = state.page === 0;
    $("next-page").disabled = state.page === pages - 1;
  }

  function turn(to) {
    showPage(to);
    $("controls").scrollIntoView();
  }

  // Arrow keys move the focus over the cards as over a table.
  function moveFocus(event) {
    const cards = [...$("grid").querySelectorAll(".card")];
    const at = cards.indexOf(document.activeElement);
    if (at < 0) return;
    const columns = cards.filter((each) => each.offsetTop === cards[0].offsetTop && each.closest("li").offsetTop === cards[0].closest("li").offsetTop).length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!step) return;
    event.preventDefault();
    (cards[at + step] || cards[at]).focus();
  }

  // --- The preview: a larger picture beside the one that a mouse rests on ---------------------------------------------

  const REST = 350;
  const LEAVE = 150;
  const preview = $("preview");
  let timer = 0;
  let openPreviewed = null;

  function later(what, delay) {
    clearTimeout(timer);
    timer = setTimeout(what, delay);
  }

  // The focus stays where it is; the preview stays while the mouse is on it, and goes with Escape.
  function hoverable(card, image, found, show) {
    card.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse") later(() => showPreview(card, image, found, show), REST);
    });
    card.addEventListener("pointerleave", () => later(hidePreview, LEAVE));
  }

  function showPreview(card, image, found, show) {
    if (!card.isConnected || !card.matches(":hover") || $("view").open) return;
    openPreviewed = show;
    const [width, height] = [image.width || 320, image.height || 240];
    const room = Math.min(460, window.innerWidth / 2 - 40, (0.6 * window.innerHeight * width) / height);
    stage($("preview-stage"), image, found, `${Math.round(Math.max(room, 80))}px`, 320);
    const rows = image.classes.slice(0, 5).map((each) =>
      element("li", { className: each === found ? "on" : "" }, element("span", { textContent: each.label }), element("span", { textContent: score(each) })),
    );
    if (image.classes.length > rows.length) rows.push(element("li", { textContent: `and ${image.classes.length - rows.length} more` }));
    $("preview-classes").replaceChildren(...rows);
    const logit = found && found.logit !== null ? `logit ${number(found.logit)}` : "";
    $("preview-facts").textContent = found ? [logit, `heat area ${percent(found.area)}`].filter(Boolean).join(" · ") : "";
    preview.hidden = false;
    placeBeside(card.getBoundingClientRect());
  }

  // On the right of the card where there is room, else on its left; within the window.
  function placeBeside(card) {
    const { width, height } = preview.getBoundingClientRect();
    const gap = 8;
    const right = card.right + gap + width <= window.innerWidth;
    const left = right ? card.right + gap : Math.max(gap, card.left - gap - width);
    const top = Math.min(Math.max(gap, card.top + card.height / 2 - height / 2), Math.max(gap, window.innerHeight - height - gap));
    preview.style.left = `${left}px`;
    preview.style.top = `${top}px`;
  }

  function hidePreview() {
    clearTimeout(timer);
    preview.hidden = true;
  }

  preview.addEventListener("pointerenter", () => clearTimeout(timer));
  preview.addEventListener("pointerleave", () => later(hidePreview, LEAVE));
  preview.addEventListener("click", () => openPreviewed());
  // What the page scrolls under the mouse may be the next one to show: its timer goes on.
  window.addEventListener("scroll", () => { preview.hidden = true; }, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hidePreview(); });

  // --- The large view ---------------------------------------------------------------------------------------------

  let opener = null;
  // The images that the arrows of the large view go through.
  let reel = [];

  function open(place, chosen, images = state.shown) {
    hidePreview();
    opener = document.activeElement;
    reel = images;
    show(place, chosen);
    $("view").showModal();
  }

  function show(place, chosen = null) {
    state.at = place;
    const image = reel[place];
    state.chosen = chosen === null ? state.label(image) : Math.max(chosen, 0);
    $("view-name").textContent = image.name;
    $("view-previous").disabled = place === 0;
    $("view-next").disabled = place === reel.length - 1;
    $("view-classes").replaceChildren(...image.classes.map((found, i) => choice(found, i)));
    showClass(image);
  }

  function choice(found, i) {
    const made = element(
      "button",
      { type: "button", "aria-pressed": String(i === state.chosen) },
      element("span", { textContent: found.label }),
      element("span", { textContent: score(found) }),
    );
    made.addEventListener("click", () => {
      state.chosen = i;
      [...$("view-classes").children].forEach((each, at) => each.setAttribute("aria-pressed", String(at === i)));
      showClass(reel[state.at]);
    });
    return made;
  }

  function showClass(image) {
    const found = image.classes[state.chosen];
    // As large as there is room for.
    const [width, height] = [image.width || 320, image.height || 240];
    stage($("stage"), image, found, `min(100%, calc(68vh * ${width / height}), ${Math.max(width, 720)}px)`, 480);
    const size = image.width ? `${image.width} x ${image.height}` : "-";
    const facts = found
      ? [
          ["Status", image.status === "flat" ? "flat: no heat" : image.status],
          ["Class", `${found.label} (${found.index})`],
          found.probability === null ? ["Value", number(found.value)] : ["Probability", percent(found.probability)],
          ["Logit", number(found.logit)],
          ["Heat area", percent(found.area)],
          ["Peak", found.peak ? `x ${found.peak.x}, y ${found.peak.y}` : "-"],
          ["Heat lies", found.place ? placed(found.place) : "not at one edge"],
          ["Boxes", found.boxes ? found.boxes.map((box) => percent(box.share)).join(", ") || "none" : "not asked for"],
        ]
      : [["Status", image.status], ["Reason", image.reason || "-"], ["Message", image.message || "-"]];
    facts.push(["Method", image.method], ["Layer", image.layer], ["Size", size]);
    $("view-facts").replaceChildren(
      ...facts.flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", { textContent: value })]),
    );
    const links = [["Sidecar", image.sidecar], ["Overlay", found && found.overlay], ["Photograph", image.photo]];
    $("view-links").replaceChildren(
      ...links.filter(([, to]) => to).map(([name, to]) => element("a", { href: to, textContent: name, target: "_blank", rel: "noopener" })),
    );
  }

  // Fill a stage with the photograph, its heat and its marks, in the photograph's proportions.
  function stage(box, image, found, width, longest) {
    for (const canvas of box.querySelectorAll("canvas")) redraw.delete(canvas);
    box.style.aspectRatio = `${image.width || 320} / ${image.height || 240}`;
    box.style.width = width;
    const painted = image.painted && found && found.overlay;
    const source = painted ? found.overlay : image.photo || image.thumbnail;
    const picture = element("img", { alt: `Photograph ${image.name}` });
    if (painted && image.panel) cutOut(picture, image.panel);
    // The photograph is not beside a page that was moved: the thumbnail is.
    picture.addEventListener("error", () => { if (image.thumbnail) { picture.removeAttribute("style"); picture.src = image.thumbnail; } }, { once: true });
    if (source) picture.src = source;
    box.replaceChildren(...[source ? picture : null, heatCanvas(image, found, longest), marks(image, found)].filter(Boolean));
  }

  // Show a part of a picture alone: of a figure with several panels, the overlay.
  function cutOut(picture, [left, top, right, bottom]) {
    Object.assign(picture.style, {
      position: "absolute",
      width: `${100 / (right - left)}%`,
      height: `${100 / (bottom - top)}%`,
      left: `${(-100 * left) / (right - left)}%`,
      top: `${(-100 * top) / (bottom - top)}%`,
    });
  }

  function shape(tag, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  // Boxes, and a cross at the peak, white with a black rim.
  function marks(image, found) {
    if (!found || !image.width) return null;
    const drawing = shape("svg", { viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true" });
    const add = (tag, attributes) => drawing.append(shape(tag, { ...attributes, class: "rim" }), shape(tag, attributes));
    for (const box of found.boxes || []) {
      add("rect", { x: box.x0, y: box.y0, width: box.x1 - box.x0, height: box.y1 - box.y0 });
    }
    if (found.peak) {
      const arm = Math.max(image.width, image.height) / 60;
      const { x, y } = found.peak;
      add("path", { d: `M${x - arm} ${y}h${2 * arm}M${x} ${y - arm}v${2 * arm}` });
    }
    return drawing;
  }

  function step(by) {
    const to = state.at + by;
    if (to >= 0 && to < reel.length) show(to);
  }

  // --- Classes, clusters, failures --------------------------------------------------------------------------------

  function examples(numbers, wanted = null) {
    const images = numbers.map((each) => data.images[each]);
    const buttons = images.map((image, i) => {
      const at = wanted === null ? 0 : image.classes.findIndex((found) => key(found) === wanted);
      const made = element("button", { type: "button", title: image.name }, shot(image, image.classes[at]));
      const show = () => open(i, at, images);
      made.addEventListener("click", show);
      hoverable(made, image, image.classes[at], show);
      return made;
    });
    return element("div", { className: "examples" }, ...buttons);
  }

  function filterBy(filters) {
    $("controls").reset();
    for (const [id, value] of Object.entries(filters)) $(id).value = value;
    select($("tab-images"));
    update();
    $("controls").scrollIntoView();
  }

  function linkButton(text, filters) {
    const made = element("button", { type: "button", className: "link", textContent: text });
    made.addEventListener("click", () => filterBy(filters));
    return made;
  }

  function flagText(each) {
    const { place, count, mean } = each.flag;
    const some = `${count.toLocaleString("en")} of ${counted(each.count, "image")} of ${each.label} ${count === 1 ? "has its" : "have their"} heat ${placed(place)}`;
    return mean ? `${some}, and so has their mean` : some;
  }

  function classRow(each) {
    const wanted = key(each);
    const filters = each.flag ? { class: wanted, place: each.flag.place } : { class: wanted };
    return element(
      "li",
      { className: each.flag ? "row flagged" : "row" },
      mapCanvas(each.heat, `Mean heat of ${each.label}`),
      element(
        "div",
        {},
        element("h2", { textContent: each.label }),
        element("p", { className: "quiet", textContent: counted(each.count, "image") }),
        each.flag ? element("p", { className: "flag", textContent: flagText(each) }) : null,
        linkButton("Show in the grid", filters),
      ),
      examples(each.farthest, wanted),
    );
  }

  function clusterRow(each, i) {
    const names = each.classes.map((found) => `${found.label} (${found.count.toLocaleString("en")})`).join(", ");
    return element(
      "li",
      { className: "row" },
      mapCanvas(each.heat, `Mean heat of cluster ${i + 1}`),
      element(
        "div",
        {},
        element("h2", { textContent: `Cluster ${i + 1}: ${counted(each.count, "image")}` }),
        each.place ? element("p", { className: "flag", textContent: `Heat ${placed(each.place)}` }) : null,
        names ? element("p", { className: "quiet", textContent: `Most frequent: ${names}` }) : null,
        linkButton("Show in the grid", { cluster: String(i) }),
      ),
      examples(each.examples),
    );
  }

  function failureRow(image) {
    return element("tr", {}, ...[image.name, image.reason, image.message].map((text) => element("td", { textContent: text || "" })));
  }

  // Fill a list some rows at a time; a button adds more.
  function fill(list, items, row, empty, tag = "li") {
    let at = 0;
    const more = element("button", { type: "button", textContent: "Show more" });
    const add = () => {
      list.append(...items.slice(at, at + ROWS).map((item, i) => row(item, at + i)));
      at += ROWS;
      more.hidden = at >= items.length;
    };
    if (!items.length) list.append(tag === "tr" ? element("tr", {}, element("td", { colSpan: 3, textContent: empty })) : element("li", { className: "quiet", textContent: empty }));
    (list.closest("table") || list).after(more);
    more.addEventListener("click", add);
    add();
  }

  const failures = data.images.filter((image) => image.status === "error");
  const fillers = {
    "tab-classes": () => fill($("classes"), data.classes, classRow, "No class has heat."),
    "tab-clusters": () => fill($("clusters"), data.clusters, clusterRow, "No image has heat."),
    "tab-failures": () => fill($("failures"), failures, failureRow, "No image failed.", "tr"),
  };
  const tabs = [...document.querySelectorAll("[role=tab]")];

  function select(tab) {
    for (const each of tabs) {
      const on = each === tab;
      each.setAttribute("aria-selected", String(on));
      each.tabIndex = on ? 0 : -1;
      $(each.getAttribute("aria-controls")).hidden = !on;
    }
    if (fillers[tab.id]) {
      fillers[tab.id]();
      delete fillers[tab.id];
    }
  }

  function turnTabs(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
    select(to);
    to.focus();
  }

  function showFlags() {
    const flagged = data.classes.filter((each) => each.flag);
    if (!flagged.length) return;
    const rows = flagged.slice(0, 8).map((each) =>
      element("li", {}, element("span", { textContent: flagText(each) }), linkButton("Show in the grid", { class: key(each), place: each.flag.place })),
    );
    if (flagged.length > rows.length) rows.push(element("li", { textContent: `and ${counted(flagged.length - rows.length, "more class", "more classes")}: see Classes` }));
    $("flags").append(element("h2", { textContent: "Possible shortcuts" }), element("ul", {}, ...rows));
    $("flags").hidden = false;
  }

  // --- Beginning --------------------------------------------------------------------------------------------------

  const option = (value, text) => element("option", { value, textContent: text });
  const byLabel = [...data.classes].sort((a, b) => a.label.localeCompare(b.label));
  $("class").append(...byLabel.map((each) => option(key(each), `${each.label} (${each.count})`)));
  $("place").append(...data.places.map((place) => option(place, place)));
  $("cluster").append(...data.clusters.map((each, i) => option(String(i), `${i + 1} (${each.count})`)));
  $("colormap").append(...Object.keys(tables).map((name) => option(name, name)));
  $("colormap").value = state.colormap;
  for (const each of $("sort").options) each.defaultSelected = each.value === data.sort;
  $("controls").reset();
  tabs.forEach((tab, i) => {
    const counts = [data.images.length - failures.length, data.classes.length, data.clusters.length, failures.length];
    tab.textContent = `${tab.textContent} (${counts[i].toLocaleString("en")})`;
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", turnTabs);
  });

  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("controls").addEventListener("input", update);
  $("controls").addEventListener("reset", () => setTimeout(update));
  for (const id of ["heat", "view-heat"]) $(id).addEventListener("input", (event) => setHeat(Number(event.target.value)));
  $("colormap").addEventListener("change", (event) => {
    state.colormap = event.target.value;
    for (const paint of redraw.values()) paint();
  });
  $("grid").addEventListener("keydown", moveFocus);
  $("previous-page").addEventListener("click", () => turn(state.page - 1));
  $("next-page").addEventListener("click", () => turn(state.page + 1));
  $("page").addEventListener("change", (event) => turn(Number(event.target.value) - 1));
  $("view-previous").addEventListener("click", () => step(-1));
  $("view-next").addEventListener("click", () => step(1));
  $("view-close").addEventListener("click", () => $("view").close());
  $("view").addEventListener("click", (event) => { if (event.target === $("view")) $("view").close(); });
  $("view").addEventListener("close", () => { if (opener) opener.focus(); });
  $("view").addEventListener("keydown", (event) => {
    // The slider has the arrows for itself.
    if (event.target.type === "range") return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  // On a phone the filters would hide the images: there they open when they are wanted.
  const narrow = matchMedia("(max-width: 560px)");
  const fold = () => { $("filters").open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();
  setHeat(Math.round(100 * data.alpha));
  showFlags();
  update();
})();
