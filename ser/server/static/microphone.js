// The microphone: its samples go to a stream of the server, or into a recording.

/** Open the microphone; `take` gets pieces of samples. Returns the rate, and a function that ends it. */
export async function openMicrophone(take) {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers open the microphone for localhost and https only. Files can be dropped here all the same.");
  }
  let sound;
  try {
    // What a call would improve takes away what a model hears: loudness and noise.
    sound = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 },
    });
  } catch (error) {
    throw new Error(reasonOf(error));
  }
  const context = new AudioContext();
  const close = async () => {
    sound.getTracks().forEach((track) => track.stop());
    if (context.state !== "closed") await context.close();
  };
  try {
    await context.audioWorklet.addModule("/static/recorder.js");
    await context.resume();
    const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    recorder.port.onmessage = ({ data }) => take(data);
    context.createMediaStreamSource(sound).connect(recorder);
  } catch (error) {
    await close();
    throw new Error(`The microphone cannot be recorded (${error.message}). Files can be dropped here all the same.`);
  }
  return { sampleRate: context.sampleRate, close };
}

function reasonOf(error) {
  const reasons = {
    NotFoundError: "No microphone was found. Plug one in",
    NotAllowedError: "The microphone is not allowed. Allow it in the browser's settings of this page",
    NotReadableError: "The microphone is used by another program. End that program",
  };
  return `${reasons[error.name] ?? `The microphone cannot be opened (${error.message}). Try another browser`}, or drop a file.`;
}

/** Open a stream of the server. Returns functions that send samples and that end it. */
export function openStream(settings, { onMessage, onClose }) {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream`);
  const waiting = [JSON.stringify(settings)];
  const send = (message) => (socket.readyState === WebSocket.OPEN ? socket.send(message) : waiting.push(message));
  socket.onopen = () => waiting.splice(0).forEach((message) => socket.send(message));
  socket.onmessage = ({ data }) => onMessage(JSON.parse(data));
  socket.onclose = ({ code, reason }) => onClose(code, reason);
  return { send, end: () => send(JSON.stringify({ end: true })), close: () => socket.close() };
}

/** Return a WAV file of pieces of samples, in integers of 16 bits. */
export function toWav(pieces, sampleRate) {
  const size = 2 * pieces.reduce((sum, piece) => sum + piece.length, 0);
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, sampleRate, true);
  header.setUint32(28, 2 * sampleRate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, size, true);
  const integers = pieces.map((piece) => Int16Array.from(piece, (value) => Math.max(-32768, Math.min(32767, Math.round(32768 * value)))));
  return new File([header, ...integers], "microphone.wav", { type: "audio/wav" });
}
