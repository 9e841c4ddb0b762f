/** @file The program of a device process: it owns ONNX Runtime's sessions and the bound tensors, and answers its parent. */

import { writeSync } from "node:fs";
import { parse } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import * as ort from "onnxruntime-node";
import type { DType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import { type BoundType, END_OF_LOG, type Reply, type Request, type ResultOf } from "./messages.js";

/** What a module called by `Device.invoke` works on. */
export interface InvokeContext {
  /** The bound tensors. Their arrays may be changed in place; entries may be added, replaced and deleted. */
  readonly tensors: Map<string, Tensor>;
}

/** The default export of a module called by `Device.invoke`. */
export type InvokeFunction = (context: InvokeContext, args: never) => unknown;

const sessions = new Map<number, ort.InferenceSession>();
/** Programs whose profile is written when they are disposed of. */
const profiled = new Set<number>();
const tensors = new Map<string, Tensor>();

setFlagsFromString("--expose-gc");
/** Large arrays outlive their last use until memory is short, or until this is called. */
const collectGarbage = runInNewContext("gc") as () => void;

function toOrt(tensor: Tensor): ort.Tensor {
  return new ort.Tensor(tensor.dtype as "float32", tensor.data as Float32Array, tensor.shape);
}

function fromOrt(value: ort.OnnxValue): Tensor {
  const { type, dims, data } = value as ort.Tensor;
  const raw = data as Tensor["data"];
  // Newer Node versions hold float16 in a Float16Array.
  const bits = type === "float16" ? new Uint16Array(raw.buffer, raw.byteOffset, raw.length) : raw;
  return { dtype: type as DType, shape: dims, data: bits };
}

/** The overloads of ONNX Runtime do not take the union. */
function create(
  model: Uint8Array | string,
  options: ort.InferenceSession.SessionOptions,
): Promise<ort.InferenceSession> {
  return typeof model === "string"
    ? ort.InferenceSession.create(model, options)
    : ort.InferenceSession.create(model, options);
}

type CompileRequest = Extract<Request, { kind: "compile" }>;

function sessionOptions(request: CompileRequest, fallback: boolean): ort.InferenceSession.SessionOptions {
  const { model, provider } = request;
  // Other providers than the cpu read no half-precision weights on all hardware: there, casts are always folded.
  const once = request.once && provider === "cpu";
  return {
    executionProviders: [provider],
    graphOptimizationLevel: once ? "extended" : "all",
    executionMode: "sequential",
    intraOpNumThreads: request.threads,
    // Planned memory makes a network no faster, and takes up to twice as much where gradients keep activations alive.
    enableMemPattern: false,
    enableCpuMemArena: request.keepsMemory,
    ...(request.profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: request.profile }),
    // Placements of nodes are told at the lowest level alone.
    logSeverityLevel: fallback && provider !== "cpu" ? 0 : provider === "cpu" ? 3 : 4,
    extra: {
      session: {
        // Weights lie where their checkpoint lies, given relative to the root of the file system.
        ...(typeof model === "string"
          ? {}
          : { model_external_initializers_file_folder_path: parse(process.cwd()).root }),
        // Sessions run one at a time: the threads of one must not spin into the run of the next.
        force_spinning_stop: "1",
        ...(once ? { disable_prepacking: "1" } : {}),
        ...(fallback ? {} : { disable_cpu_ep_fallback: "1" }),
      },
      ...(once ? { optimization: { disable_specified_optimizers: "ConstantFolding" } } : {}),
    },
  };
}

/** What ONNX Runtime says, before it has loaded weights, of a model that a provider cannot run alone. */
const NEEDS_FALLBACK = "fallback to CPU EP has been explicitly disabled";

async function compile(request: CompileRequest): Promise<ResultOf["compile"]> {
  const { model, provider } = request;
  let session: ort.InferenceSession | undefined;
  if (provider !== "cpu") {
    session = await create(model, sessionOptions(request, false)).catch((error: unknown) => {
      if (error instanceof Error && error.message.includes(NEEDS_FALLBACK)) return undefined;
      throw error;
    });
  }
  const fallsBack = session === undefined && provider !== "cpu";
  try {
    session ??= await create(model, sessionOptions(request, true));
  } finally {
    // by number, since process.stderr would make it nonblocking, too
    if (fallsBack) writeSync(2, `${END_OF_LOG}\n`);
  }
  sessions.set(request.program, session);
  if (request.profile !== undefined) profiled.add(request.program);
  return { fallsBack };
}

async function dispose(program: number): Promise<void> {
  const session = sessions.get(program);
  if (profiled.delete(program)) session?.endProfiling();
  await session?.release();
  sessions.delete(program);
}

async function run(request: Extract<Request, { kind: "run" }>): Promise<{ result: ResultOf["run"]; ms: number }> {
  const session = sessions.get(request.program);
  if (session === undefined) throw new Error(`program ${request.program} is not compiled`);
  const feeds: Record<string, ort.Tensor> = {};
  for (const [name, tensor] of Object.entries(request.feeds)) feeds[name] = toOrt(tensor);
  for (const name of request.bound) {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new Error(`feed ${name} is not bound`);
    feeds[name] = toOrt(tensor);
  }
  const outputs = [...new Set([...request.fetch, ...request.hold.map(([output]) => output)])];
  const started = performance.now();
  const results = await session.run(feeds, outputs);
  const ms = performance.now() - started;
  const held = request.hold.map(([output, name]): BoundType => {
    const tensor = fromOrt(results[output] as ort.OnnxValue);
    tensors.set(name, tensor);
    return [name, tensor.dtype, tensor.shape];
  });
  for (const name of request.free) tensors.delete(name);
  if (request.free.length > 0) collectGarbage();
  const fetched = request.fetch.map((name) => [name, fromOrt(results[name] as ort.OnnxValue)] as const);
  return { result: { outputs: Object.fromEntries(fetched), held }, ms };
}

async function invoke(url: string, args: unknown): Promise<ResultOf["invoke"]> {
  const module = (await import(url)) as { default?: unknown };
  if (typeof module.default !== "function") throw new Error(`${url}: expected a function as default export`);
  const before = new Map(tensors);
  const value: unknown = await (module.default as (context: InvokeContext, args: unknown) => unknown)(
    { tensors },
    args,
  );
  const same = before.size === tensors.size && [...tensors].every(([name, tensor]) => before.get(name) === tensor);
  return {
    value,
    bound: same ? undefined : [...tensors].map(([name, { dtype, shape }]) => [name, dtype, shape] as const),
  };
}

async function answer(request: Request): Promise<{ result: ResultOf[keyof ResultOf]; ms: number }> {
  const started = performance.now();
  switch (request.kind) {
    case "compile": {
      const result = await compile(request);
      return { result, ms: performance.now() - started };
    }
    case "run":
      return run(request);
    case "bind":
      // A copy: the received array may be a view of the whole message.
      tensors.set(request.name, { ...request.tensor, data: request.tensor.data.slice() } as Tensor);
      return { result: undefined, ms: 0 };
    case "fetch": {
      const tensor = tensors.get(request.name);
      if (tensor === undefined) throw new Error(`${request.name} is not bound`);
      return { result: tensor, ms: 0 };
    }
    case "invoke":
      return { result: await invoke(request.url, request.args), ms: 0 };
    case "dispose":
      await dispose(request.program);
      return { result: undefined, ms: 0 };
    default:
      return request satisfies never;
  }
}

/** Kills this process when its parent is gone, also during a native call, when no event can be handled. */
function watchParent(): void {
  const code = `
    const parent = ${process.ppid};
    setInterval(() => { if (process.ppid !== parent) process.kill(process.pid, "SIGKILL"); }, 1000);`;
  new Worker(code, {
    eval: true,
    stdin: false,
    // Left alone they would be connected to this process's, which makes those nonblocking: a long log of ONNX Runtime would be cut.
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: 8 },
  }).unref();
}

let watched = false;
process.on("message", (request: Request) => {
  answer(request)
    // Inside the chain: a result that cannot be cloned is an answer, too.
    .then(({ result, ms }) => process.send?.({ ok: true, result, ms } satisfies Reply))
    .catch((error: unknown) => {
      const { message, stack } = error instanceof Error ? error : new Error(String(error));
      process.send?.({ ok: false, message, stack } satisfies Reply);
    })
    .finally(() => {
      // Not before the first answer: that one should not wait for it.
      if (!watched) watchParent();
      watched = true;
    });
});
// Ctrl-C goes to the whole process group; the parent decides what becomes of the work.
process.on("SIGINT", () => undefined);
process.on("disconnect", () => process.exit(0));
