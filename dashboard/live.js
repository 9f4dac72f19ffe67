// The live feed: a WebSocket that comes back by itself, later each time.

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

export class Live {
  #handlers;
  #socket = null;
  #timer = 0;
  #wait_ms = FIRST_WAIT_MS;

  /** Handlers by the frame's first key, and `open` and `closed`. */
  constructor(handlers) {
    this.#handlers = new Map(Object.entries(handlers));
  }

  want() {
    if (!this.#socket && !this.#timer) this.#open();
  }

  leave() {
    const socket = this.#socket;
    clearTimeout(this.#timer);
    [this.#timer, this.#socket, this.#wait_ms] = [0, null, FIRST_WAIT_MS];
    // One that is not there yet would complain to the browser's console.
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket?.close();
    if (socket) this.#handlers.get("closed")();
  }

  /** Whether it could be said. */
  tell(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #open() {
    const socket = new WebSocket(new URL("api/v1/live", document.baseURI).href.replace("http", "ws"));
    const handle = (kind, ...said) => socket === this.#socket && this.#handlers.get(kind)?.(...said);
    [this.#socket, this.#timer] = [socket, 0];
    let wasOpen = false;
    socket.onopen = () => {
      wasOpen = true;
      handle("open");
    };
    socket.onmessage = ({ data }) => {
      this.#wait_ms = FIRST_WAIT_MS;
      const frame = JSON.parse(data);
      const [kind] = Object.keys(frame);
      handle(kind, frame[kind], frame);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      if (wasOpen) handle("closed");
      this.#socket = null;
      this.#timer = setTimeout(() => this.#open(), this.#wait_ms * (0.75 + Math.random() / 2));
      this.#wait_ms = Math.min(2 * this.#wait_ms, LONGEST_WAIT_MS);
    };
  }
}
