/** @file One prompt on a ComfyUI server: sent, followed until the server's history has it, cancelled without touching anybody else's. */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { CancelledError } from "../../errors.js";
import { throwIfAborted } from "../../util/abort.js";
import { answered } from "../http/answered.js";
import type { HttpServer } from "../http/client.js";
import { HttpError, oneLine } from "../http/error.js";
import { PromptEvents } from "./events.js";
import type { Graph } from "./graph.js";
import { isMissingRoute, parseAnswer } from "./server-info.js";

/** How prompts are followed. */
export interface PromptOptions {
  /** Most milliseconds between two questions where no socket tells; with one it is five times as long. */
  readonly pollMs: number;
  /** Milliseconds a prompt may take once the server has begun with it. */
  readonly timeoutMs: number;
  /** True when the server's `/interrupt` stops one prompt alone. */
  readonly targeted: boolean;
}

/** A file that a server wrote. */
export interface OutputFile {
  readonly filename: string;
  readonly subfolder: string;
  readonly type: string;
}

/** How a prompt ended: with what is in the history, not at all (a restart, a cleared queue), or stopped by somebody at the server. */
export type Outcome =
  | {
      readonly kind: "done";
      readonly files: readonly OutputFile[];
      readonly graph: unknown;
      readonly warnings: string[];
    }
  | { readonly kind: "lost" }
  | { readonly kind: "interrupted" };

/** What sending a prompt is given. */
export interface RunOptions {
  readonly signal: AbortSignal;
  /** The node whose files are wanted. */
  readonly output: string;
  /** A node counted `value` of `maximum`. */
  readonly onProgress: (value: number, maximum: number) => void;
}

const FIRST_POLL_MS = 20;
/** Milliseconds a question may take. */
const ASK_MS = 30_000;
/** Milliseconds that telling the server of a cancellation may take: one that draws on its CPU answers slowly. */
const CANCEL_MS = 5000;

const nodeErrorsSchema = z.record(
  z.string(),
  z.object({
    class_type: z.string().optional(),
    dependent_outputs: z.array(z.string()).optional(),
    errors: z.array(z.object({ message: z.string().optional(), details: z.string().optional() })).optional(),
  }),
);
const sentSchema = z.object({
  prompt_id: z.string().min(1),
  node_errors: nodeErrorsSchema.nullish(),
});
const fileSchema = z.object({
  filename: z.string().min(1).max(1000),
  subfolder: z.string().default(""),
  type: z.string().default("output"),
});
const entrySchema = z.object({
  prompt: z.array(z.unknown()).optional(),
  // by node; extensions' nodes put whatever they like there
  outputs: z.record(z.string(), z.unknown()),
  status: z
    .object({
      status_str: z.string().optional(),
      completed: z.boolean().optional(),
      messages: z.array(z.tuple([z.string(), z.unknown()])).optional(),
    })
    .nullish(),
});
const outputSchema = z.object({ images: z.array(fileSchema).optional() });
const historySchema = z.record(z.string(), entrySchema);
const queueSchema = z.object({
  queue_running: z.array(z.array(z.unknown())),
  queue_pending: z.array(z.array(z.unknown())),
});
const failureSchema = z.object({
  node_id: z.union([z.string(), z.number()]).optional(),
  node_type: z.string().optional(),
  exception_type: z.string().optional(),
  exception_message: z.string().optional(),
});

type Entry = z.infer<typeof entrySchema>;

/** The prompts of one client on one server. */
export class Prompts {
  readonly #server: HttpServer;
  readonly #options: PromptOptions;
  readonly #client = `laurel-${randomUUID()}`;
  readonly #events: PromptEvents;
  /** Prompts that were sent and are not over. */
  readonly #own = new Set<string>();
  /** Prompts whose answer is on its way: older servers say only then which are our own. */
  #unanswered = 0;
  /** Whether the server has jobs that can be cancelled by id; undefined until it was asked. */
  #jobs: boolean | undefined;

  constructor(server: HttpServer, options: PromptOptions) {
    this.#server = server;
    this.#options = options;
    this.#events = new PromptEvents(server, this.#client);
  }

  /**
   * Sends a graph and waits until it is over. The socket only says when to ask: what counts is the history.
   * @throws HttpError when the server refuses it, a node fails or it takes too long; CancelledError when the signal aborts, with the prompt cancelled
   */
  async run(graph: Graph, options: RunOptions): Promise<Outcome> {
    // an id of our own: a prompt whose answer is lost can still be found and cancelled
    const asked = randomUUID();
    throwIfAborted(options.signal);
    const followed = new Follow(options.onProgress);
    const watched = [this.#watch(asked, followed)];
    let id: string = asked;
    try {
      const body = { prompt: graph, prompt_id: asked, client_id: this.#client };
      const sent = parseAnswer(this.#server, "prompt", sentSchema, await this.#send(body, options.signal));
      id = sent.prompt_id; // servers from before mid 2025 choose it themselves
      if (id !== asked) watched.push(this.#watch(id, followed));
      throwIfAborted(options.signal);
      const warnings = this.#ignored(sent.node_errors ?? {}, options.output);
      return outcomeOf(this.#server, await this.#finished(id, followed, options.signal), options.output, warnings);
    } catch (error) {
      if (options.signal.aborted || !(error instanceof HttpError) || error.fault !== "unavailable")
        await this.#cancel(id);
      if (options.signal.aborted && !(error instanceof CancelledError)) throwIfAborted(options.signal);
      throw error;
    } finally {
      for (const end of watched) end();
    }
  }

  /** Ends the listening; prompts under way go on at the server. */
  close(): void {
    this.#events.close();
  }

  async #send(body: unknown, signal: AbortSignal): Promise<unknown> {
    this.#unanswered++;
    try {
      return await answered((late) => this.#server.json("prompt", { body, signal: late }), signal);
    } finally {
      this.#unanswered--;
    }
  }

  #watch(id: string, followed: Follow): () => void {
    this.#own.add(id);
    const unwatch = this.#events.watch(id, followed);
    return () => {
      unwatch();
      this.#own.delete(id);
    };
  }

  /** Outputs that the server will not run, as warnings. @throws HttpError when the wanted one is among them */
  #ignored(failed: z.infer<typeof nodeErrorsSchema>, output: string): string[] {
    return Object.entries(failed).map(
      ([node, { class_type: type = "node", dependent_outputs: outputs = [], errors = [] }]) => {
        const said = errors.map(({ message, details }) => [message, details].filter(Boolean).join(": ")).join("; ");
        const text = `prompt: ${type} ${node}: ${oneLine(said)}`;
        if (outputs.length === 0 || outputs.includes(output)) throw this.#server.fault("invalid-request", text);
        return `${this.#server.name}: ${text}; the outputs ${outputs.join(", ")} are left out`;
      },
    );
  }

  /** Waits until the history has the prompt, or nobody knows it any more. */
  async #finished(id: string, followed: Follow, signal: AbortSignal): Promise<Entry | "lost"> {
    const { pollMs, timeoutMs } = this.#options;
    let since: number | undefined;
    for (let wait = FIRST_POLL_MS; ; wait = Math.min(wait * 1.5, pollMs * (this.#events.connected ? 5 : 1))) {
      if (await followed.pause(wait, signal)) wait = FIRST_POLL_MS;
      throwIfAborted(signal);
      const state = await this.#state(id, signal);
      if (typeof state === "object" || state === "lost") return state;
      if (state === "running") since ??= performance.now();
      if (since !== undefined && performance.now() - since > timeoutMs) {
        await this.#cancel(id);
        throw this.#server.fault("unavailable", `prompt: expected a picture within ${timeoutMs / 1000} s, got none`);
      }
    }
  }

  /** Asks the history, and the queue where that has nothing yet. A prompt is always in one of them, unless the server was restarted or cleared. */
  async #state(id: string, signal: AbortSignal): Promise<Entry | "waiting" | "running" | "lost"> {
    const before = await this.#history(id, signal);
    if (before !== undefined) return before;
    const { running, pending } = await this.#queue(signal);
    if (running.includes(id)) return "running";
    if (pending.includes(id)) return "waiting";
    // it may have ended between the two questions
    return (await this.#history(id, signal)) ?? "lost";
  }

  async #history(id: string, signal: AbortSignal): Promise<Entry | undefined> {
    const path = `history/${encodeURIComponent(id)}`;
    const json = await this.#server.json(path, { signal, timeoutMs: ASK_MS });
    return parseAnswer(this.#server, path, historySchema, json)[id];
  }

  async #queue(signal: AbortSignal, aside = false): Promise<{ running: string[]; pending: string[] }> {
    const json = await this.#server.json("queue", { signal, timeoutMs: ASK_MS, aside });
    const queue = parseAnswer(this.#server, "queue", queueSchema, json);
    const ids = (items: readonly (readonly unknown[])[]): string[] => items.map(([, id]) => String(id));
    return { running: ids(queue.queue_running), pending: ids(queue.queue_pending) };
  }

  /** Takes a prompt out of the queue or stops it; never another one. What fails is left: nobody waits for the prompt any more. */
  async #cancel(id: string): Promise<void> {
    const signal = AbortSignal.timeout(CANCEL_MS);
    const tell = (path: string, body: unknown): Promise<unknown> =>
      this.#server.request(path, { body, signal, aside: true, timeoutMs: CANCEL_MS });
    try {
      if (this.#jobs !== false) {
        try {
          await tell(`api/jobs/${encodeURIComponent(id)}/cancel`, {});
          this.#jobs = true;
          return;
        } catch (error) {
          if (!isMissingRoute(error)) throw error;
          this.#jobs = false;
        }
      }
      await tell("queue", { delete: [id] });
      // where an interrupt stops whatever is being drawn, it must not be able to meet somebody else's
      if (this.#options.targeted || (await this.#isAlone(id, signal))) await tell("interrupt", { prompt_id: id });
    } catch (error) {
      if (!(error instanceof HttpError) && !(error instanceof CancelledError)) throw error;
    }
  }

  /** Whether this prompt is being drawn, and all others at the server are our own too. */
  async #isAlone(id: string, signal: AbortSignal): Promise<boolean> {
    for (;;) {
      const unanswered = this.#unanswered;
      const { running, pending } = await this.#queue(signal, true);
      if (!running.includes(id)) return false;
      if ([...running, ...pending].every((one) => this.#own.has(one))) return true;
      if (unanswered === 0) return false;
      await sleep(FIRST_POLL_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** The waiting for one prompt, which a message of the socket cuts short. */
class Follow {
  readonly progress: (value: number, maximum: number) => void;
  #woken = false;
  #wake: () => void = () => undefined;

  constructor(progress: (value: number, maximum: number) => void) {
    this.progress = progress;
  }

  wake(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Waits so long, or until it is woken, which it tells, or until the signal aborts. */
  async pause(milliseconds: number, signal: AbortSignal): Promise<boolean> {
    const stop = new AbortController();
    this.#wake = () => stop.abort();
    if (!this.#woken) {
      await sleep(milliseconds, undefined, { signal: AbortSignal.any([signal, stop.signal]) }).catch(() => undefined);
    }
    const woken = this.#woken;
    this.#woken = false;
    return woken;
  }
}

/** @throws HttpError when a node failed */
function outcomeOf(server: HttpServer, entry: Entry | "lost", output: string, warnings: string[]): Outcome {
  if (entry === "lost") return { kind: "lost" };
  const { status, outputs, prompt } = entry;
  const messages = status?.messages ?? [];
  if (messages.some(([event]) => event === "execution_interrupted")) return { kind: "interrupted" };
  if (status?.status_str === "error" || messages.some(([event]) => event === "execution_error")) {
    throw failureOf(server, messages.find(([event]) => event === "execution_error")?.[1]);
  }
  const wanted = outputs[output];
  const { images: files = [] } =
    wanted === undefined ? {} : parseAnswer(server, `history: node ${output}`, outputSchema, wanted);
  return { kind: "done", files, graph: prompt?.[2], warnings };
}

function failureOf(server: HttpServer, message: unknown): HttpError {
  const parsed = failureSchema.safeParse(message);
  const { node_id: node, node_type: type, exception_type: kind, exception_message: text } = parsed.data ?? {};
  const where = type === undefined && node === undefined ? "a node" : `${type ?? "node"} ${node ?? ""}`.trim();
  const actual = oneLine([kind, text].filter(Boolean).join(": ")) || "an error without a word";
  // without memory another server may do, or this one later; anything else is the request's
  const fault = /memory/i.test(kind ?? "") ? "unavailable" : "bad-response";
  return server.fault(fault, `prompt: expected a picture, got a failure of ${where}: ${actual}`);
}
