// Chromium starts no workers for pages from file://. There, run the script of a worker, that of the search, in a frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      this.ready = new Promise(resolve => document.addEventListener("DOMContentLoaded", resolve))
        .then(() => new Promise((resolve, reject) => {
          document.body.append(frame)
          const inside = frame.contentWindow
          inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
          const script = frame.contentDocument.createElement("script")
          script.onload = () => resolve(inside)
          script.onerror = reject
          script.src = url
          frame.contentDocument.body.append(script)
        }))
    }

    postMessage(data) {
      this.ready.then(inside => inside.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}
