/** @file What a ComfyUI server tells by itself over a WebSocket: how far a prompt is, and that something happened to it. Never the result. */

import type { WebSocket } from "undici";
import { z } from "zod";
import type { HttpServer } from "../http/client.js";

/** Who is told of a prompt. */
export interface PromptListener {
  /** A node counted `value` of `maximum`. */
  progress(value: number, maximum: number): void;
  /** Something may have changed: time to ask. */
  wake(): void;
}

/** Milliseconds a socket stays open after the last prompt. */
const LINGER_MS = 500;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 30_000;

const messageSchema = z.object({
  type: z.string(),
  data: z.object({
    prompt_id: z.string().nullish(),
    node: z.string().nullish(),
    value: z.number().nullish(),
    max: z.number().nullish(),
  }),
});
/** Messages after which a prompt's fate may be known. */
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];

/**
 * The socket of one client: opened with the first prompt that is watched, opened again when it is lost, closed a while after the last. A server or a proxy
 * without sockets costs nothing but the progress.
 */
export class PromptEvents {
  readonly #server: HttpServer;
  readonly #path: string;
  readonly #listeners = new Map<string, PromptListener>();
  #socket: WebSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  /** The prompt being drawn: older servers do not say it with each message. */
  #current: string | undefined;
  #closed = false;

  /** @param client the name under which prompts are sent */
  constructor(server: HttpServer, client: string) {
    this.#server = server;
    this.#path = `ws?clientId=${client}`;
  }

  /** True while messages can come. */
  get connected(): boolean {
    return this.#socket?.readyState === 1;
  }

  /** Tells `listener` of a prompt until what it returns is called. */
  watch(prompt: string, listener: PromptListener): () => void {
    this.#listeners.set(prompt, listener);
    // after a failure the next attempt is due already, unless nobody listened when its time came
    if (this.#socket === undefined && this.#timer === undefined) this.#later(0);
    return () => {
      this.#listeners.delete(prompt);
      if (this.#listeners.size === 0 && this.#socket !== undefined) this.#later(LINGER_MS);
    };
  }

  /** Ends it for good. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** In a while: opens the socket if prompts are watched, closes it if none is. */
  #later(milliseconds: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#listeners.size > 0) {
        if (this.#socket === undefined) this.#open();
      } else {
        this.#socket?.close();
        this.#socket = undefined;
      }
    }, milliseconds);
    this.#timer.unref();
  }

  #open(): void {
    const socket = this.#server.socket(this.#path);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#failures = 0;
      this.#wakeAll();
    });
    socket.addEventListener("message", ({ data }) => {
      // previews come as bytes: they are not asked for
      if (this.#socket === socket && typeof data === "string") this.#hear(data);
    });
    socket.addEventListener("close", () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#current = undefined;
      this.#wakeAll();
      this.#later(Math.min(FIRST_RETRY_MS * 2 ** this.#failures++, LAST_RETRY_MS));
    });
    // what failed shows as a close
    socket.addEventListener("error", () => undefined);
  }

  #hear(text: string): void {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      return;
    }
    const parsed = messageSchema.safeParse(json);
    if (!parsed.success) return;
    const { type, data } = parsed.data;
    if (type === "execution_start" || type === "executing") this.#current = data.prompt_id ?? this.#current;
    const listener = this.#listeners.get(data.prompt_id ?? this.#current ?? "");
    if (type === "progress" && typeof data.value === "number" && typeof data.max === "number") {
      listener?.progress(data.value, data.max);
    } else if (ENDS.includes(type) || (type === "executing" && (data.node ?? null) === null)) {
      listener?.wake();
    }
  }

  #wakeAll(): void {
    for (const listener of this.#listeners.values()) listener.wake();
  }
}
