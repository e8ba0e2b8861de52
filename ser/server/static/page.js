// The page: takes files and the microphone, and shows what the model answers.

import { drawCurves, drawPlane, drawSample, drawSpectrogram, onScheme, styleOf } from "./plots.js";
import { openMicrophone, openStream, toWav } from "./microphone.js";

const LIVE_S = 15;  // seconds of a stream that are shown
const TRAIL = 40;  // positions of a stream that are shown on the plane

const element = (id) => document.getElementById(id);
const NO_PICTURE = { columns: new Int8Array(0), bins: 0, start_s: 0, step_s: 0.01, highest_hz: 0 };
const NO_CURVES = { times_s: [], values: [], speech: null, positions: null };
let model = null;
let shown = null;  // what is drawn: curves, picture, view, position, cursor
let live = null;  // the open microphone
let asked = 0;  // number of the latest file, so that an older answer is not shown
let isDrawn = true;

// ---- what is shown ----

function redraw() {
  if (!isDrawn) return;
  isDrawn = false;
  requestAnimationFrame(() => {
    isDrawn = true;
    draw();
  });
}

function draw() {
  if (!shown || element("results").hidden) return;
  const { curves, picture, view, cursor } = shown;
  const gap = model.mode === "windows" ? 4 * shown.hop_s : Infinity;
  drawSpectrogram(element("spectrogram"), picture, view, cursor);
  drawCurves(element("curves"), curves, view, cursor, { areProbabilities: areProbabilities(), gap_s: gap });
  if (model.plane) {
    const now = cursor === null ? null : curves.positions?.[nearest(curves.times_s, cursor)];
    drawPlane(element("plane"), (curves.positions ?? []).slice(shown.isLive ? -TRAIL : 0), now ?? shown.position);
  }
  [...element("bars").children].forEach((row, index) => {
    drawSample(row.querySelector("canvas"), index);
    row.style.setProperty("--bar", styleOf(index).colour);
  });
}

function nearest(times, time) {
  let best = 0;
  times.forEach((own, place) => { if (Math.abs(own - time) < Math.abs(times[best] - time)) best = place; });
  return best;
}

/** Return whether all numbers are probabilities; of several tasks, values may follow them. */
function areProbabilities() {
  return model.num_probabilities === model.names.length;
}

function percent(value) {
  return `${(100 * value).toFixed(1)} %`;
}

/** Show the decision: the label, and a number for each name. */
function showDecision(label, numbers, caption) {
  const known = model.names.map((name, index) => [name, numbers?.[index] ?? null]);
  const best = known.find(([name]) => name === label);
  const text = label === null ? "–" : best?.[1] == null ? label : `${label} ${percent(best[1])}`;
  if (element("label").textContent !== text) element("label").textContent = text;
  element("label").hidden = !model.num_probabilities;
  element("caption").textContent = caption;
  const rows = element("bars").children;
  known.forEach(([, value], index) => {
    const [, , number, meter] = rows[index].children;
    number.textContent = value === null ? "–" : index < model.num_probabilities ? percent(value) : value.toFixed(3);
    if (meter) {
      meter.value = value ?? 0;
      meter.textContent = number.textContent;
    }
  });
}

function makeBars() {
  element("bars").replaceChildren(...model.names.map((name, index) => {
    const row = document.createElement("li");
    const parts = ["canvas", "span", "span"].map((tag) => document.createElement(tag));
    parts[1].className = "name";
    parts[1].textContent = name;
    parts[2].className = "value";
    if (index < model.num_probabilities) {
      const meter = document.createElement("meter");
      meter.setAttribute("aria-label", name);
      parts.push(meter);
    }
    row.append(...parts);
    return row;
  }));
}

function say(text) {
  element("status").textContent = text;
}

function complain(text) {
  element("error").textContent = text;
  element("error").hidden = false;
  say("");
}

function forgive() {
  element("error").hidden = true;
}

function decode(picture) {
  const bytes = Uint8Array.from(atob(picture.decibels), (letter) => letter.charCodeAt(0));
  return new Int8Array(bytes.buffer);
}

// ---- files ----

async function takeFiles(files) {
  if (live) await stopSpeaking();
  if (files.length > 1) {
    complain(`${files.length} files were given. Drop one at a time.`);
  } else if (files.length === 1) {
    await takeFile(files[0]);
  }
}

async function takeFile(file) {
  forgive();
  if (file.size > model.limits.max_mb * 1e6) {
    complain(`${file.name}: is larger than ${model.limits.max_mb} MB. Cut it, or convert it to flac.`);
    return;
  }
  asked += 1;
  const own = asked;
  say(`${file.name}: listening …`);
  try {
    // The decision comes first: over time, the model is asked many times.
    const answer = await predict(file, "/predict");
    if (own !== asked) return;
    showFile(file, answer, NO_PICTURE, NO_CURVES);
    const { over_time: curves, spectrogram } = await predict(file, "/predict?detail=true");
    if (own !== asked) return;
    showFile(file, answer, { ...spectrogram, columns: decode(spectrogram) }, curves);
    say(file.name);
  } catch (error) {
    if (own === asked) complain(error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message);
  }
}

async function predict(file, path) {
  const form = new FormData();
  form.append("file", file, file.name);
  const response = await fetch(path, { method: "POST", body: form });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function showFile(file, answer, picture, curves) {
  shown = {
    curves,
    picture,
    view: [0, Math.max(answer.duration_s, 0.1)],
    position: answer.position ?? null,
    cursor: null,
    isLive: false,
    hop_s: curves.times_s.length > 1 ? curves.times_s[1] - curves.times_s[0] : model.hop_s,
  };
  element("results").hidden = false;
  const numbers = model.mode !== "curves"
    ? model.names.map((name) => answer.probabilities[name] ?? answer.values[name] ?? null)
    : meanOf(curves.values);
  const what = model.mode === "curves" ? "mean over the recording" : "whole recording";
  // Several tasks have a label each, among the values.
  const labels = Object.values(answer.values).filter((value) => typeof value === "string").join(", ");
  showDecision(answer.label ?? (labels || null), numbers, `${what}, ${answer.duration_s.toFixed(1)} s`);
  if (!curves.times_s.length) play(file);
  redraw();
}

function meanOf(rows) {
  return model.names.map((_, index) => (rows.length ? rows.reduce((sum, row) => sum + row[index], 0) / rows.length : null));
}

/** Let the file be played, if the browser knows its format; a line in the pictures follows. */
function play(file) {
  const player = element("player");
  if (player.src) URL.revokeObjectURL(player.src);
  player.hidden = false;
  player.onerror = () => { player.hidden = true; };
  player.src = URL.createObjectURL(file);
}

function followPlayer() {
  const player = element("player");
  if (!shown || shown.isLive) return;
  shown.cursor = player.currentTime > 0 && !player.ended ? player.currentTime : null;
  redraw();
  if (!player.paused && !player.ended) requestAnimationFrame(followPlayer);
}

// ---- the microphone ----

async function speak() {
  if (live) {
    if (live.microphone) await stopSpeaking();
    return;
  }
  forgive();
  asked += 1;
  const pieces = [];
  const own = { stream: null, microphone: null, sent: 0 };
  live = own;
  // The button is not disabled meanwhile: that would take the focus from who uses the keyboard.
  say("Opening the microphone …");
  try {
    own.microphone = await openMicrophone((piece) => takePiece(piece, own, pieces));
  } catch (error) {
    if (own !== live) return;
    live = null;
    complain(error.message);
    return;
  }
  if (own !== live) {  // stopped before it was open
    await own.microphone.close();
    return;
  }
  element("player").hidden = true;
  element("player").pause();
  element("speak").setAttribute("aria-pressed", "true");
  element("speak").textContent = "Stop";
  if (model.mode === "curves") {
    live.pieces = pieces;
    say("Recording. The answer comes when you stop.");
  } else {
    startStream(pieces);
  }
}

function takePiece(piece, own, pieces) {
  if (own !== live) return;
  own.sent += piece.length;
  if (own.stream) {
    own.stream.send(piece.buffer);
  } else {
    pieces.push(piece);
    const seconds = own.microphone ? own.sent / own.microphone.sampleRate : 0;
    if (own.pieces && seconds > longestOf(own.microphone)) stopSpeaking();
  }
}

/** Return how many seconds a recording may have, which is sent as a WAV of 16 bits. */
function longestOf({ sampleRate }) {
  return Math.min(model.limits.max_duration_s, model.limits.max_mb * 1e6 / (2 * sampleRate)) - 1;
}

function startStream(pieces) {
  shown = {
    curves: { times_s: [], values: [], speech: [], positions: [] },
    picture: { ...NO_PICTURE },
    view: [0, LIVE_S],
    position: null,
    cursor: null,
    isLive: true,
    hop_s: model.hop_s,
  };
  element("results").hidden = false;
  showDecision(null, null, "listening …");
  const { sampleRate } = live.microphone;
  const [own, picture] = [live, shown];
  const settings = { sample_rate: sampleRate, format: "float32", spectrogram: true };
  own.stream = openStream(settings, {
    // What still comes of an earlier stream is not of this one.
    onMessage: (message) => { if (picture === shown) takeAnswers(message, sampleRate); },
    onClose: (code, reason) => {
      if (own === live) stopSpeaking();
      if (code !== 1000 && element("error").hidden) complain(`The stream has ended (${reason || `code ${code}`}). Press Speak to open another.`);
    },
  });
  pieces.splice(0).forEach((piece) => own.stream.send(piece.buffer));
  say("Listening. Nothing is kept.");
  redraw();
}

function takeAnswers(message, sampleRate) {
  if (message.type === "error") complain(message.error);
  if (!shown?.isLive || (message.type !== "answers" && message.type !== "end")) return;
  const { curves, picture } = shown;
  const end = message.samples / sampleRate;
  for (const key of ["times_s", "values", "speech", "positions"]) curves[key].push(...message[key]);
  const old = curves.times_s.findIndex((time) => time > end - LIVE_S - model.window_s);
  for (const key of ["times_s", "values", "speech", "positions"]) curves[key].splice(0, Math.max(old, 0));
  if (message.spectrogram) addColumns(picture, message.spectrogram);
  shown.view = [Math.max(0, end - LIVE_S), Math.max(LIVE_S, end)];
  shown.position = model.mode === "windows" ? curves.positions.at(-1) ?? null : message.position;
  const first = model.mode === "windows" && !curves.times_s.length ? `, first answer after ${model.window_s} s` : "";
  showDecision(message.label, message.so_far, `so far, ${end.toFixed(1)} s${first}${nowOf(curves)}`);
  if (message.type === "end") say(`The stream has ended after ${end.toFixed(1)} s. Nothing is kept.`);
  redraw();
}

/** Return what the latest frame or window says. */
function nowOf(curves) {
  const row = curves.values.at(-1);
  if (!row || !areProbabilities()) return "";
  if (!curves.speech.at(-1)) return "; now: silence";
  return `; now: ${model.names[row.indexOf(Math.max(...row))]}`;
}

function addColumns(picture, added) {
  const columns = decode(added);
  const most = Math.round((LIVE_S + 1) / added.step_s) * added.bins;
  const all = new Int8Array(picture.columns.length + columns.length);
  all.set(picture.columns);
  all.set(columns, picture.columns.length);
  const dropped = Math.max(0, all.length - most);
  Object.assign(picture, added, {
    columns: all.slice(dropped),
    start_s: added.start_s + added.step_s * (columns.length - (all.length - dropped)) / added.bins,
  });
}

async function stopSpeaking() {
  const own = live;
  live = null;
  element("speak").setAttribute("aria-pressed", "false");
  element("speak").textContent = "Speak";
  if (!own.microphone) {
    say("");
    return;
  }
  await own.microphone.close();
  if (own.stream) own.stream.end();
  else if (own.pieces?.length) await takeFile(toWav(own.pieces, own.microphone.sampleRate));
}

// ---- the beginning ----

function explain() {
  const how = {
    frames: "Each frame gets a decision of its own; the decision so far is their mean over speech.",
    windows: `The model answers whole recordings. Over time it is asked about windows of ${model.window_s} s, one every `
      + `${model.hop_s} s, drawn at their middle; what you speak is answered window by window, and the decision so far `
      + "is their mean.",
    curves: "The model predicts values over time of whole recordings: what you speak is answered when you stop.",
  }[model.mode];
  element("how").textContent = `${how} Files may have ${model.limits.max_mb} MB and ${model.limits.max_duration_s} s. `
    + "Nothing that you drop or say is kept. The numbers are a model's guess about a sound, not facts about a person.";
  element("plane-source").textContent = model.plane ? `The point is ${model.plane}.` : "";
  element("plane-section").hidden = !model.plane;
}

async function begin() {
  try {
    model = await (await fetch("/model")).json();
  } catch {
    complain("The server does not answer. Is it still running?");
    return;
  }
  document.title = `${model.model} – ser`;
  element("model").textContent = model.model;
  element("about").textContent = `${model.names.join(", ")} · ${model.sample_rate / 1000} kHz`;
  element("curves-title").textContent = areProbabilities() ? "Probabilities over time" : "Values over time";
  makeBars();
  explain();
  element("choose").onclick = () => element("file").click();
  element("file").onchange = ({ target }) => {
    takeFiles([...target.files]);
    target.value = "";
  };
  element("speak").onclick = speak;
  element("player").onplay = element("player").onseeked = element("player").onended = followPlayer;
  document.ondragover = (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  };
  document.ondragleave = ({ relatedTarget }) => { if (!relatedTarget) document.body.classList.remove("dropping"); };
  document.ondrop = (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    takeFiles([...event.dataTransfer.files]);
  };
  new ResizeObserver(redraw).observe(element("results"));
  onScheme(redraw);
  document.body.dataset.ready = "true";
}

begin();
