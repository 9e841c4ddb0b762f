/** @file A ComfyUI for tests, of three generations: a queue that draws one prompt after the other, a history, a cache, sockets, and a picture from each seed. */

import { randomUUID } from "node:crypto";
import { z } from "zod";
import { encodePng } from "#laurel/image/png";
import { describeClass, faultsOf, type SentGraph } from "./comfyui-nodes.js";
import { type Answer, type ScriptedServer, type SeenRequest, startServer } from "./scripted-server.js";
import { acceptSocket, type TestSocket } from "./websocket.js";
import { paint } from "./webui-server.js";

/** How the server behaves beyond its contract. */
export interface ComfyuiBehaviour {
  /** 2023: chooses ids itself, no status in the history, interrupts whatever runs. 2025: ids of the client's, 0.3.64. 2026: jobs. @default 2026 */
  generation?: 2023 | 2025 | 2026;
  /** Milliseconds a picture takes. @default 0 */
  pictureMs?: number;
  /** Milliseconds until a prompt that was taken is answered. @default 0 */
  answerMs?: number;
  /** Milliseconds until anything else is answered, as on a machine that is busy drawing. @default 0 */
  slowMs?: number;
  /** Refuses sockets. */
  noSockets?: boolean;
  /** Prompts that somebody at the server interrupts: the next this many. */
  interruptions?: number;
  /** Prompts that fail: the next this many, with this exception. */
  failures?: number;
  exception?: { type: string; message: string };
  /** Prompts whose file is gone when it is asked for: the next this many. */
  lostFiles?: number;
  /** Prompts that end well and name no file: the next this many. */
  noFiles?: number;
  /** What further nodes put into the history, or the one that saves instead of its file. */
  otherOutputs?: Record<string, unknown>;
  /** What `node_errors` says beside a prompt that is taken. */
  nodeErrors?: Record<string, unknown>;
  /** An extension that changes seeds on the way. */
  otherSeeds?: boolean;
  /** Says that a picture is this, instead of what it is. */
  bytes?: Uint8Array;
  /** Draws other sizes than asked. */
  otherSize?: boolean;
}

interface Job {
  readonly id: string;
  readonly client: string;
  readonly graph: SentGraph;
  stop?: () => void;
}

/** What the tests can see and do. */
export interface ComfyuiServer extends ScriptedServer {
  readonly behaviour: ComfyuiBehaviour;
  /** Prompts in the order they were taken, by id. */
  readonly taken: readonly string[];
  /** Prompts that were stopped half-way. */
  readonly stopped: readonly string[];
  /** Graphs that were drawn. */
  readonly drawn: readonly SentGraph[];
  readonly sockets: ReadonlyMap<string, TestSocket>;
  /** Names of uploaded files. */
  readonly uploads: ReadonlyMap<string, Buffer>;
  /** Puts a prompt of somebody else's into the queue; returns its id. */
  foreign(): string;
  /** Prompts that wait or are drawn. */
  queued(): string[];
  /** Loses queue and history, as a restart does. */
  forget(): void;
  dropSockets(): void;
}

const promptSchema = z.strictObject({
  prompt: z.record(
    z.string(),
    z.strictObject({
      class_type: z.string(),
      inputs: z.record(z.string(), z.unknown()),
      _meta: z.unknown().optional(),
    }),
  ),
  prompt_id: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
  client_id: z.string().min(1),
});
const VERSIONS = { 2023: undefined, 2025: "0.3.64", 2026: "0.9.1" };

/** Starts a ComfyUI, on a free port or the one given. */
export async function startComfyui(behaviour: ComfyuiBehaviour = {}, port = 0): Promise<ComfyuiServer> {
  const generation = behaviour.generation ?? 2026;
  const [taken, stopped, drawn]: [string[], string[], SentGraph[]] = [[], [], []];
  const sockets = new Map<string, TestSocket>();
  const uploads = new Map<string, Buffer>();
  const files = new Map<string, Uint8Array>();
  const cache = new Map<string, string>();
  const history = new Map<string, unknown>();
  let pending: Job[] = [];
  let running: Job | undefined;
  let epoch = 0;

  const tell = (job: Job, type: string, data: Record<string, unknown>): void => {
    const named = generation === 2023 && type === "progress" ? data : { ...data, prompt_id: job.id };
    sockets.get(job.client)?.send(JSON.stringify({ type, data: named }));
  };

  const work = async (): Promise<void> => {
    if (running !== undefined) return;
    for (let job = pending.shift(); job !== undefined; job = pending.shift()) {
      running = job;
      const begun = epoch;
      const entry = await draw(job);
      if (epoch !== begun) return;
      running = undefined;
      history.set(job.id, entry);
    }
  };

  const draw = async (job: Job): Promise<unknown> => {
    tell(job, "execution_start", {});
    tell(job, "executing", { node: "sampler" });
    sockets.get(job.client)?.send(new Uint8Array([0, 0, 0, 1, 0, 0, 0, 1, 255, 216]));
    const interrupt = new Promise<"stop">((resolve) => (job.stop = () => resolve("stop")));
    const sampler = Object.values(job.graph).find(({ class_type: type }) => type === "KSampler");
    const steps = Number(sampler?.inputs["steps"] ?? 1);
    let end: "stop" | undefined;
    for (let step = 1; step <= Math.min(steps, 4) && end === undefined; step++) {
      tell(job, "progress", { value: step, max: Math.min(steps, 4), node: "sampler" });
      const part = (behaviour.pictureMs ?? 0) / Math.min(steps, 4);
      if (part > 0)
        end = await Promise.race([
          interrupt,
          new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), part)),
        ]);
    }
    const prompt = [taken.length, job.id, job.graph, {}, []];
    const ended = (status: string, event: string, data: Record<string, unknown>): unknown => {
      tell(job, event, data);
      tell(job, "executing", { node: null });
      const told = { status_str: status, completed: status === "success", messages: [[event, data]] };
      return { prompt, outputs: {}, ...(generation === 2023 ? {} : { status: told }) };
    };
    if (end === "stop" || take("interruptions")) {
      stopped.push(job.id);
      return ended("error", "execution_interrupted", { node_id: "sampler", node_type: "KSampler", executed: [] });
    }
    if (take("failures")) {
      const { type, message } = behaviour.exception ?? { type: "ValueError", message: "broken model" };
      const data = { node_id: "sampler", node_type: "KSampler", exception_type: type, exception_message: message };
      return ended("error", "execution_error", data);
    }
    const outputs = await write(job.graph);
    drawn.push(job.graph);
    return {
      ...(ended("success", "execution_success", {}) as object),
      outputs: take("noFiles") ? {} : { ...outputs, ...behaviour.otherOutputs },
    };
  };

  const take = (what: "interruptions" | "failures" | "lostFiles" | "noFiles"): boolean => {
    const left = behaviour[what] ?? 0;
    behaviour[what] = Math.max(0, left - 1);
    return left > 0;
  };

  /** Writes the pictures of a graph; the same inputs give the same file again. */
  const write = async (graph: SentGraph): Promise<Record<string, unknown>> => {
    const outputs: Record<string, unknown> = {};
    for (const [id, node] of Object.entries(graph)) {
      if (node.class_type !== "SaveImage" && node.class_type !== "PreviewImage") continue;
      const key = JSON.stringify(graph);
      const name = cache.get(key) ?? `${randomUUID()}.png`;
      if (!cache.has(key)) files.set(name, behaviour.bytes ?? (await encodePng(picture(graph))));
      cache.set(key, name);
      if (take("lostFiles")) files.delete(name);
      const type = node.class_type === "SaveImage" ? "output" : "temp";
      outputs[id] = { images: [{ filename: name, subfolder: "", type }] };
    }
    return outputs;
  };

  const picture = (graph: SentGraph) => {
    const find = (type: string) => Object.values(graph).find((node) => node.class_type === type)?.inputs;
    const start = uploads.get(String(find("LoadImage")?.["image"] ?? ""));
    const size =
      start === undefined
        ? { width: Number(find("EmptyLatentImage")!["width"]), height: Number(find("EmptyLatentImage")!["height"]) }
        : { width: start.readUInt32BE(16), height: start.readUInt32BE(20) };
    // another picture to start from gives another picture
    const offset = start === undefined ? 0 : start.reduce((sum, byte) => (sum + byte) % 100_000, 0);
    const width = size.width + (behaviour.otherSize === true ? 8 : 0);
    return paint(Number(find("KSampler")!["seed"]) + offset, { width, height: size.height });
  };

  const submit = (body: unknown): Answer => {
    const parsed = promptSchema.safeParse(body);
    if (!parsed.success) {
      const details = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");
      return {
        status: 400,
        json: { error: { type: "invalid_prompt", message: "Bad request", details }, node_errors: {} },
      };
    }
    const { prompt, prompt_id: asked, client_id: client } = parsed.data;
    const error = faultsOf(prompt, new Set(uploads.keys()));
    if (error !== undefined) return { status: 400, json: { error, node_errors: {} } };
    const graph = structuredClone(prompt);
    for (const node of Object.values(graph)) {
      if (behaviour.otherSeeds === true && "seed" in node.inputs)
        node.inputs["seed"] = Number(node.inputs["seed"]) + 1000;
    }
    const id = generation === 2023 ? randomUUID() : asked;
    taken.push(id);
    pending.push({ id, client, graph });
    setTimeout(() => void work(), 0);
    return { json: { prompt_id: id, number: taken.length, node_errors: behaviour.nodeErrors ?? {} } };
  };

  const interruptRunning = (id: string | undefined): void => {
    if (generation === 2023 || id === undefined || running?.id === id) running?.stop?.();
  };

  const upload = ({ raw, headers }: SeenRequest): Answer => {
    const boundary = /boundary=(.+)$/.exec(headers["content-type"] ?? "")?.[1] ?? "";
    const parts = new Map(
      raw
        .toString("latin1")
        .split(`--${boundary}`)
        .slice(1, -1)
        .map((part) => {
          const [head = "", ...rest] = part.split("\r\n\r\n");
          const name = / name="([^"]*)"/.exec(head)?.[1] ?? "";
          return [
            name,
            { file: /filename="([^"]*)"/.exec(head)?.[1], value: rest.join("\r\n\r\n").replace(/\r\n$/, "") },
          ];
        }),
    );
    const image = parts.get("image");
    // a file that is overwritten may be read half-written by a prompt
    if (image?.file === undefined || parts.get("type")?.value !== "input" || parts.has("overwrite")) {
      return { status: 400, json: "bad upload" };
    }
    const subfolder = parts.get("subfolder")?.value ?? "";
    const bytes = Buffer.from(image.value, "latin1");
    let name = image.file;
    const isAnother = (): boolean => {
      const there = uploads.get(`${subfolder}/${name}`);
      // older servers do not compare
      return there !== undefined && (generation === 2023 || !there.equals(bytes));
    };
    for (let i = 1; isAnother(); i++) name = image.file.replace(/(?=\.)/, ` (${i})`);
    uploads.set(`${subfolder}/${name}`, bytes);
    return { json: { name, subfolder, type: "input" } };
  };

  const item = (job: Job): unknown[] => [1, job.id, job.graph, {}, []];
  const server = await startServer(
    async (request) => {
      await delayed(undefined, behaviour.slowMs ?? 0);
      const url = new URL(request.path, "http://x");
      const route = `${request.method} ${url.pathname}`;
      const [, id] = /^\/(?:history|object_info)\/(.+)$/.exec(decodeURIComponent(url.pathname)) ?? [];
      if (id !== undefined && route.startsWith("GET /history/"))
        return { json: history.has(id) ? { [id]: history.get(id) } : {} };
      if (id !== undefined && route.startsWith("GET /object_info/"))
        return { json: describeClass(id, generation === 2026) };
      const job = /^\/api\/jobs\/([^/]+)\/cancel$/.exec(url.pathname)?.[1];
      if (job !== undefined && generation === 2026 && request.method === "POST") {
        const known = running?.id === job || pending.some((one) => one.id === job);
        pending = pending.filter((one) => one.id !== job);
        if (running?.id === job) running.stop?.();
        return { json: { cancelled: known } };
      }
      switch (route) {
        case "GET /system_stats": {
          const version = VERSIONS[generation];
          return {
            json: {
              system: { os: "posix", ...(version === undefined ? {} : { comfyui_version: version }) },
              devices: [],
            },
          };
        }
        case "POST /prompt":
          return delayed(submit(request.body), behaviour.answerMs ?? 0);
        case "GET /queue":
          return {
            json: { queue_running: running === undefined ? [] : [item(running)], queue_pending: pending.map(item) },
          };
        case "POST /queue": {
          const { delete: ids } = z.strictObject({ delete: z.array(z.string()) }).parse(request.body);
          pending = pending.filter((one) => !ids.includes(one.id));
          return {};
        }
        case "POST /interrupt":
          interruptRunning(z.strictObject({ prompt_id: z.string() }).parse(request.body).prompt_id);
          return {};
        case "POST /upload/image":
          return upload(request);
        case "GET /view": {
          const bytes = files.get(url.searchParams.get("filename") ?? "");
          return bytes === undefined ? { status: 404 } : { bytes };
        }
      }
      // files are served under every other address
      return request.method === "GET" ? { status: 404 } : { status: 405, json: "405: Method Not Allowed" };
    },
    port,
    (request, socket) => {
      const client = new URL(request.url ?? "", "http://x").searchParams.get("clientId") ?? "";
      if (behaviour.noSockets === true || client === "") return void socket.destroy();
      const accepted = acceptSocket(request, socket);
      sockets.set(client, accepted);
      socket.on("close", () => sockets.delete(client));
      accepted.send(
        JSON.stringify({ type: "status", data: { status: { exec_info: { queue_remaining: 0 } }, sid: client } }),
      );
    },
  );
  const dropSockets = (): void => {
    for (const socket of sockets.values()) socket.drop();
  };
  return {
    ...server,
    behaviour,
    taken,
    stopped,
    drawn,
    sockets,
    uploads,
    foreign() {
      const id = randomUUID();
      pending.push({
        id,
        client: "somebody else",
        graph: { sampler: { class_type: "KSampler", inputs: { steps: 4, seed: 7 } } },
      });
      setTimeout(() => void work(), 0);
      return id;
    },
    queued: () => [running?.id, ...pending.map(({ id }) => id)].filter((id) => id !== undefined),
    forget() {
      epoch++;
      pending = [];
      running = undefined;
      history.clear();
      dropSockets();
    },
    dropSockets,
    close: () => {
      dropSockets();
      return server.close();
    },
  };
}

async function delayed<T>(answer: T, milliseconds: number): Promise<T> {
  if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds));
  return answer;
}
