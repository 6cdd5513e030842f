// Browsers refuse workers to pages opened from the disk; there a hidden frame takes a worker's place,
// which is what the search runs in. The name and `IFrameWorker` are those that the theme looks for.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow, script = frame.contentDocument.createElement("script");
      const deliver = (target, data) =>
        setTimeout(() => target.dispatchEvent(new MessageEvent("message", { data })));
      inside.postMessage = (data) => deliver(this, data); // from the worker
      inside.importScripts = (...urls) => Promise.all(urls.map((one) => new Promise((done) => {
        const more = frame.contentDocument.createElement("script");
        more.onload = done;
        more.src = new URL(one, url);
        frame.contentDocument.body.append(more);
      })));
      const waiting = [];
      this.postMessage = (data) => waiting.push(data); // to it, once it is there
      script.onload = () => {
        this.postMessage = (data) => deliver(inside, data);
        waiting.forEach(this.postMessage);
      };
      script.src = url;
      frame.contentDocument.body.append(script);
      this.terminate = () => frame.remove();
      this.addEventListener("message", (event) => this.onmessage?.(event));
    }
  };
  window.Worker = window.IFrameWorker;
}
