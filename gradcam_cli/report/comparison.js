"use strict";
{
  const BLINK = 700;
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const colours = bytes(data.colours);
  const root = document.documentElement.style;
  let at = 0;
  let timer = null;

  function element(tag, text, name) {
    const made = document.createElement(tag);
    made.textContent = text ?? "";
    if (name) made.className = name;
    return made;
  }

  const figure = (value, digits = 3) => (value === null ? "-" : value.toFixed(digits));

  const named = (found) => (found === null ? "no class" : (found.label ?? `class ${found.index}`));

  const pair = (image) => (image.class_changed ? `${named(image.base)} \u2192 ${named(image.new)}` : named(image.base));

  function heat(map) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = data.side;
    const pixels = new ImageData(data.side, data.side);
    bytes(map).forEach((value, i) => {
      pixels.data.set(colours.subarray(3 * value, 3 * value + 3), 4 * i);
      pixels.data[4 * i + 3] = 255;
    });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  }

  function draw(id, image, side, title) {
    const stage = $(id).querySelector(".stage");
    stage.style.aspectRatio = `${image.width} / ${image.height}`;
    stage.replaceChildren();
    if (image.photo) {
      const photo = document.createElement("img");
      photo.src = image.photo;
      photo.alt = image.path;
      stage.append(photo);
    }
    if (side.map) stage.append(heat(side.map));
    const score = side.score === null ? "" : ` ${figure(side.score)}`;
    $(id).querySelector("figcaption").textContent = `${title}: ${side.name ?? "no class"}${score}`;
  }

  function show(place) {
    at = (place + data.images.length) % data.images.length;
    const image = data.images[at];
    $("name").textContent = image.path;
    draw("before", image, image.before, "Before");
    draw("after", image, image.after, "After");
    const facts = {
      "Best class": pair(image),
      Correlation: figure(image.correlation),
      "Rank correlation": figure(image.rank_correlation),
      Overlap: figure(image.overlap),
      "Peak moved": image.peak_shift === null ? "-" : `${figure(image.peak_shift, 1)} %`,
      "Area change": figure(image.area_change),
    };
    if (!image.same_class) facts.Note = "the maps are of different classes";
    if (image.input_changed) facts.Input = "the file has other bytes";
    $("figures").replaceChildren(...Object.entries(facts).map(([name, value]) => {
      const row = element("div");
      row.append(element("dt", name), element("dd", value));
      return row;
    }));
    [...$("list").querySelectorAll("button")].forEach((button, i) => button.setAttribute("aria-current", i === at));
    $("list").querySelectorAll("button")[at].scrollIntoView({ block: "nearest" });
  }

  function setMode(mode) {
    $("stages").className = mode;
    $("split-label").hidden = mode !== "slider";
    clearInterval(timer);
    $("before").className = "lit";
    $("after").className = "";
    if (mode === "blink") {
      timer = setInterval(() => ["before", "after"].forEach((id) => $(id).classList.toggle("lit")), BLINK);
    }
  }

  data.images.forEach((image, i) => {
    const button = element("button");
    button.type = "button";
    button.append(element("span", image.path), element("span", figure(image.correlation)), element("span", pair(image), "quiet"));
    button.addEventListener("click", () => show(i));
    const item = document.createElement("li");
    item.append(button);
    $("list").append(item);
  });
  $("heat").value = 100 * data.alpha;
  $("heat").addEventListener("input", () => root.setProperty("--heat", $("heat").value / 100));
  $("split").addEventListener("input", () => root.setProperty("--split", `${$("split").value}%`));
  $("modes").addEventListener("change", (event) => setMode(event.target.value));
  $("previous").addEventListener("click", () => show(at - 1));
  $("next").addEventListener("click", () => show(at + 1));
  document.addEventListener("keydown", (event) => {
    if (event.target.matches?.("input")) return;
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
  setMode("side");
  if (data.images.length) {
    $("view").hidden = false;
    show(0);
  }
}
