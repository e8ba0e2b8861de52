// The pictures: a spectrogram, curves over time, and the plane. Each is drawn anew from its data.

const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#a8488a", "#3b9ad6", "#b37700", "#000000", "#cc33ff", "#993311",
  "#2200ff", "#116655", "#331188"];
const DARK = ["#56b4e9", "#ff8f3f", "#2fd6a4", "#f0a6cf", "#9ad7ff", "#f0c000", "#ffffff", "#dd8cff", "#e59a80",
  "#9d94ff", "#7fd1bd", "#b9a2ff"];
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const LEFT = 46, RIGHT = 12, TOP = 8, BOTTOM = 26;
const RANGE_DB = 65;  // from the loudest to the background

// Colours from the background to the loudest, in light and dark.
const RAMPS = {
  light: [[255, 255, 255], [198, 219, 239], [66, 146, 198], [8, 69, 148], [4, 16, 46]],
  dark: [[20, 22, 28], [52, 34, 98], [148, 44, 118], [240, 110, 78], [255, 236, 170]],
};

const darkMode = window.matchMedia("(prefers-color-scheme: dark)");

/** Call a function when the colour scheme changes. */
export function onScheme(draw) {
  darkMode.addEventListener("change", draw);
}

/** Return the colour and the dashes of a class. */
export function styleOf(index) {
  const colours = darkMode.matches ? DARK : LIGHT;
  return { colour: colours[index % colours.length], dash: DASHES[Math.floor(index / colours.length) % DASHES.length] };
}

function themeColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Return a canvas's context in units of CSS pixels, cleared, and its size. */
function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = "12px system-ui, sans-serif";
  return { context, width, height };
}

function niceStep(span, most) {
  const rough = span / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function ticks(low, high, most) {
  const step = niceStep(high - low, most);
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + 1e-9; index += 1) found.push(index * step);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** Draw the time axis of [start, end] in s, and return the function from seconds to pixels. */
function drawTimeAxis(context, width, height, [start, end]) {
  const span = Math.max(end - start, 1e-3);
  const x = (time) => LEFT + ((time - start) / span) * (width - LEFT - RIGHT);
  context.fillStyle = themeColour("--soft");
  context.textAlign = "center";
  context.textBaseline = "top";
  const { found, digits } = ticks(Math.max(start, 0), end, Math.max(2, width / 90));
  for (const time of found) {
    const isLast = time + 1e-9 >= found[found.length - 1];
    context.fillText(time.toFixed(digits) + (isLast ? " s" : ""), Math.min(x(time), width - 18), height - BOTTOM + 7);
  }
  return x;
}

function drawCursor(context, x, height) {
  context.strokeStyle = themeColour("--text");
  context.lineWidth = 1.5;
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(x, TOP);
  context.lineTo(x, height - BOTTOM);
  context.stroke();
}

/** Draw columns of decibels. `picture` has columns (Int8Array), bins, start_s, step_s, highest_hz. */
export function drawSpectrogram(canvas, picture, view, cursor) {
  const { context, width, height } = prepare(canvas);
  const x = drawTimeAxis(context, width, height, view);
  const { bins, columns } = picture;
  const count = bins ? Math.floor(columns.length / bins) : 0;
  const bottom = height - BOTTOM;
  if (count) {
    let loudest = -60;
    for (const value of columns) if (value > loudest) loudest = value;
    const image = new ImageData(count, bins);
    const ramp = RAMPS[darkMode.matches ? "dark" : "light"];
    for (let column = 0; column < count; column += 1) {
      for (let bin = 0; bin < bins; bin += 1) {
        const level = Math.min(1, Math.max(0, (columns[column * bins + bin] - loudest + RANGE_DB) / RANGE_DB));
        const place = Math.min(level * (ramp.length - 1), ramp.length - 1.0001);
        const [low, high, share] = [ramp[Math.floor(place)], ramp[Math.floor(place) + 1], place % 1];
        const at = 4 * ((bins - 1 - bin) * count + column);
        for (let channel = 0; channel < 3; channel += 1) {
          image.data[at + channel] = low[channel] + share * (high[channel] - low[channel]);
        }
        image.data[at + 3] = 255;
      }
    }
    const whole = new OffscreenCanvas(count, bins);
    whole.getContext("2d").putImageData(image, 0, 0);
    context.save();
    context.beginPath();
    context.rect(LEFT, TOP, width - LEFT - RIGHT, bottom - TOP);
    context.clip();
    const [from, to] = [x(picture.start_s), x(picture.start_s + count * picture.step_s)];
    context.drawImage(whole, from, TOP, to - from, bottom - TOP);
    context.restore();
    drawHertz(context, picture.highest_hz, bottom);
  }
  context.strokeStyle = themeColour("--line");
  context.strokeRect(LEFT, TOP, width - LEFT - RIGHT, bottom - TOP);
  if (cursor !== null) drawCursor(context, x(cursor), height);
}

/** Label the mel axis. */
function drawHertz(context, highest, bottom) {
  const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
  context.fillStyle = themeColour("--soft");
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const hertz of [500, 1000, 2000, 4000, 8000]) {
    if (hertz > highest) continue;
    const y = bottom - (mel(hertz) / mel(highest)) * (bottom - TOP);
    const text = hertz < 1000 ? `${hertz}` : `${hertz / 1000}k`;
    context.fillText(text, LEFT - 6, Math.max(y, TOP + 6));
  }
}

function limitsOf(rows, areProbabilities) {
  if (areProbabilities) return [0, 1];
  const numbers = rows.flat().filter((value) => value !== null);
  if (!numbers.length) return [-1, 1];
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const margin = Math.max((high - low) * 0.1, 0.05);
  return [low - margin, high + margin];
}

/** Draw one line for each name. `curves` has times_s and values, rows of numbers or null. */
export function drawCurves(canvas, curves, view, cursor, { areProbabilities, gap_s: gap }) {
  const { context, width, height } = prepare(canvas);
  const x = drawTimeAxis(context, width, height, view);
  const [low, high] = limitsOf(curves.values, areProbabilities);
  const bottom = height - BOTTOM;
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - TOP);
  context.textAlign = "right";
  context.textBaseline = "middle";
  const { found, digits } = ticks(low, high, 5);
  for (const value of found) {
    context.strokeStyle = themeColour("--line");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(LEFT, y(value));
    context.lineTo(width - RIGHT, y(value));
    context.stroke();
    context.fillStyle = themeColour("--soft");
    context.fillText(areProbabilities ? `${Math.round(value * 100)} %` : value.toFixed(digits), LEFT - 6, y(value));
  }
  context.save();
  context.beginPath();
  context.rect(LEFT, TOP - 3, width - LEFT - RIGHT + 4, bottom - TOP + 6);
  context.clip();
  if (curves.speech) drawSilence(context, curves, x, bottom);
  const names = curves.values.length ? curves.values[0].length : 0;
  for (let index = 0; index < names; index += 1) drawLine(context, curves, index, x, y, gap);
  context.restore();
  if (cursor !== null) drawCursor(context, x(cursor), height);
}

function drawSilence(context, curves, x, bottom) {
  context.fillStyle = themeColour("--line");
  context.globalAlpha = 0.55;
  for (let place = 0; place < curves.times_s.length; place += 1) {
    if (curves.speech[place]) continue;
    const [from, to] = [curves.times_s[place], curves.times_s[place + 1] ?? curves.times_s[place]];
    context.fillRect(x(from), TOP, Math.max(x(to) - x(from), 0.5), bottom - TOP);
  }
  context.globalAlpha = 1;
}

function drawLine(context, curves, index, x, y, gap) {
  const { colour, dash } = styleOf(index);
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 2;
  context.setLineDash(dash);
  context.lineJoin = "round";
  context.beginPath();
  let last = null;
  curves.times_s.forEach((time, place) => {
    const value = curves.values[place][index];
    if (value === null) { last = null; return; }
    if (last === null || time - last > gap) context.moveTo(x(time), y(value));
    else context.lineTo(x(time), y(value));
    last = time;
  });
  context.stroke();
  context.setLineDash([]);
  if (curves.times_s.length > 60) return;
  curves.times_s.forEach((time, place) => {
    const value = curves.values[place][index];
    if (value === null) return;
    context.beginPath();
    context.arc(x(time), y(value), curves.times_s.length > 1 ? 3 : 5, 0, 2 * Math.PI);
    context.fill();
  });
}

/** Draw the plane: the way of the last positions, and the point of now. */
export function drawPlane(canvas, trail, point) {
  const { context, width, height } = prepare(canvas);
  const margin = 26;
  const size = Math.min(width, height) - 2 * margin;
  const [left, top] = [(width - size) / 2, (height - size) / 2];
  const place = ([valence, activation]) => [left + ((valence + 1) / 2) * size, top + ((1 - activation) / 2) * size];
  context.strokeStyle = themeColour("--line");
  context.strokeRect(left, top, size, size);
  for (const [from, to] of [[[-1, 0], [1, 0]], [[0, -1], [0, 1]]]) {
    context.beginPath();
    context.moveTo(...place(from));
    context.lineTo(...place(to));
    context.stroke();
  }
  context.fillStyle = themeColour("--soft");
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText("active", left + size / 2, top - 13);
  context.fillText("calm", left + size / 2, top + size + 13);
  for (const [text, at, angle] of [["negative", left - 13, -Math.PI / 2], ["positive", left + size + 13, Math.PI / 2]]) {
    context.save();
    context.translate(at, top + size / 2);
    context.rotate(angle);
    context.fillText(text, 0, 0);
    context.restore();
  }
  context.globalAlpha = 0.75;
  for (const [text, at] of [["anger", [-0.72, 0.86]], ["joy", [0.72, 0.86]], ["sadness", [-0.72, -0.86]],
    ["pleasure", [0.72, -0.86]]]) context.fillText(text, ...place(at));
  context.globalAlpha = 1;
  const known = trail.filter((position) => position);
  context.strokeStyle = themeColour("--accent");
  context.lineWidth = 2;
  for (let step = 1; step < known.length; step += 1) {
    context.globalAlpha = 0.1 + 0.5 * (step / known.length);
    context.beginPath();
    context.moveTo(...place(known[step - 1]));
    context.lineTo(...place(known[step]));
    context.stroke();
  }
  context.globalAlpha = 1;
  if (!point) return;
  context.fillStyle = themeColour("--accent");
  context.strokeStyle = themeColour("--card");
  context.lineWidth = 3;
  context.beginPath();
  context.arc(...place(point), 9, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
}

/** Draw the sample of a line's style, for the list that is the legend. */
export function drawSample(canvas, index) {
  const { context, width, height } = prepare(canvas);
  const { colour, dash } = styleOf(index);
  context.strokeStyle = colour;
  context.lineWidth = 4;
  context.setLineDash(dash.map((length) => length / 2));
  context.beginPath();
  context.moveTo(0, height / 2);
  context.lineTo(width, height / 2);
  context.stroke();
}
