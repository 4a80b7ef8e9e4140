"use strict";
// Draws the heat map from its JSON and says what lies under the pointer, the finger or the keyboard's cursor.
(() => {
  const figure = document.getElementById("heat-map");
  const map = JSON.parse(document.getElementById("heat-map-data").textContent);
  const canvas = figure.querySelector("canvas"), scroll = figure.querySelector(".scroll");
  const cursor = figure.querySelector(".cursor"), tip = figure.querySelector(".tip");
  const [tall, wide] = map.tile, count = map.ids.length, line = tall === 1 && wide > 1;
  let size, columns = 1, at = null;

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // cell sizes and the gap between tiles in CSS px, and how many tiles stand in a row
  function arrange() {
    const room = scroll.clientWidth;
    if (line) {
      size = { x: Math.max(2, room / wide), y: clamp(Math.floor(600 / count), 1, 14), gap: 0 };
      columns = 1;
    } else {
      const cell = wide === 1 ? 10 : clamp(Math.floor(72 / wide), 2, 10);
      size = { x: cell, y: cell, gap: wide === 1 ? 1 : 6 };
      columns = clamp(Math.floor((room + size.gap) / (wide * cell + size.gap)), 1, count);
    }
    size.width = columns * (wide * size.x + size.gap) - size.gap;
    size.height = Math.ceil(count / columns) * (tall * size.y + size.gap) - size.gap;
  }

  function corner(image, row, column) {
    return {
      x: (image % columns) * (wide * size.x + size.gap) + column * size.x,
      y: Math.floor(image / columns) * (tall * size.y + size.gap) + row * size.y,
    };
  }

  function cellAt(x, y) {
    const [tileX, tileY] = [wide * size.x + size.gap, tall * size.y + size.gap];
    const [across, down] = [Math.floor(x / tileX), Math.floor(y / tileY)];
    const image = down * columns + across;
    const [column, row] = [Math.floor((x - across * tileX) / size.x), Math.floor((y - down * tileY) / size.y)];
    const inside = x >= 0 && y >= 0 && across < columns && image < count && column < wide && row < tall;
    return inside ? { image, row, column } : null;
  }

  function isLight(image, cell) {
    const other = map.first ? map.first[image][cell] : map.right[image];
    return map.top[image][cell] === other;
  }

  function draw() {
    arrange();
    const scale = window.devicePixelRatio || 1, style = getComputedStyle(figure);
    canvas.width = Math.round(size.width * scale);
    canvas.height = Math.round(size.height * scale);
    canvas.style.width = `${size.width}px`;
    canvas.style.height = `${size.height}px`;
    const ink = canvas.getContext("2d");
    const shades = [style.getPropertyValue("--cell-dark"), style.getPropertyValue("--cell-light")];
    const device = (value) => Math.round(value * scale);
    for (let image = 0; image < count; image++) {
      for (let cell = 0; cell < tall * wide; cell++) {
        if (map.top[image][cell] < 0) continue;
        const { x, y } = corner(image, Math.floor(cell / wide), cell % wide);
        ink.fillStyle = shades[+isLight(image, cell)];
        ink.fillRect(device(x), device(y), device(x + size.x) - device(x), device(y + size.y) - device(y));
      }
    }
    if (at) show(at);
  }

  // what the numbers of a place mean, as the page's other places say it: the unit, and which way above and below 0
  const kinds = {
    shift: [[" px", "down", "up"], [" px", "right", "left"]],
    scale: [[" %", "larger", "smaller"]],
    angle: [["°", "counter-clockwise", "clockwise"]],
  };

  function where(place) {
    const words = place.map((number, at) => {
      const [unit, above, below] = kinds[map.of][at];
      return number ? `${Math.abs(number)}${unit} ${number > 0 ? above : below}` : "";
    });
    return words.filter(Boolean).join(", ") || "unmoved";
  }

  function answer(name, thousandths) {
    return `${map.names[name]}, ${(thousandths / 10).toFixed(1)} %`;
  }

  function words({ image, row, column }) {
    const cell = row * wide + column, top = map.top[image][cell];
    if (top < 0) return `${map.ids[image]}\nno view here`;
    const place = where((map.places[image] || map.places[0])[cell]);
    const here = answer(top, map.p[image][cell]), right = map.names[map.right[image]];
    if (map.first) {
      return `${map.ids[image]}\nfirst view: ${answer(map.first[image][cell], map.firstP[image][cell])}\nsecond, ${place}: ${here}`;
    }
    const verdict = isLight(image, cell) ? (map.labelled[image] ? "right" : "as unmoved") : `${map.labelled[image] ? "right is" : "unmoved"}: ${right}`;
    return `${map.ids[image]}\n${place}\n${here} (${verdict})`;
  }

  function show(cell) {
    at = cell;
    const { x, y } = corner(cell.image, cell.row, cell.column);
    Object.assign(cursor.style, { left: `${x - 2}px`, top: `${y - 2}px`, width: `${size.x + 4}px`, height: `${size.y + 4}px` });
    tip.textContent = words(cell);
    cursor.hidden = tip.hidden = false;
    const left = x + size.x / 2 - scroll.scrollLeft - tip.offsetWidth / 2;
    tip.style.left = `${clamp(left, 0, Math.max(0, figure.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${y + size.y + 8}px`;
  }

  function hide() {
    cursor.hidden = tip.hidden = true;
    at = null;
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const cell = cellAt(x, y) ?? cellAt(x - size.gap, y) ?? cellAt(x, y - size.gap); // a gap belongs to what is before it
    if (cell) show(cell);
  }

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function press(event) {
    if (event.key === "Escape") return hide();
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const from = at || { image: 0, row: 0, column: 0 }, { x, y } = corner(from.image, from.row, from.column);
    // one cell on; a second try jumps the gap between two tiles
    for (const jump of at ? [0, size.gap] : []) {
      const next = cellAt(x + size.x / 2 + step[0] * (size.x + jump), y + size.y / 2 + step[1] * (size.y + jump));
      if (next) return show(next);
    }
    show(from);
  }

  canvas.addEventListener("pointermove", (event) => event.pointerType === "mouse" && point(event));
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
  canvas.addEventListener("keydown", press);
  canvas.addEventListener("focus", () => canvas.matches(":focus-visible") && !at && show({ image: 0, row: 0, column: 0 }));
  canvas.addEventListener("blur", hide);
  scroll.addEventListener("scroll", () => at && show(at));
  new ResizeObserver(draw).observe(scroll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
