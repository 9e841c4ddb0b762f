/** @file A device: one child process in which programs run, one at a time. */

import { BackendError, CancelledError, InternalError, LaurelError, ModelError, UsageError } from "../errors.js";
import type { Graph, ValueType } from "../graph/types.js";
import { encodeModel, feedTypes } from "../onnx/encode.js";
import type { Tensor } from "../tensor/tensor.js";
import { DeviceChild, DeviceDeath } from "./device-child.js";
import type { DeviceOptions } from "./device-options.js";
import { DEVICE_CHOICES, type DeviceChoice, type ExecutionProviderName } from "./execution-providers.js";
import type { TensorType } from "./feeds.js";
import type { BoundType, Request, ResultOf } from "./messages.js";
import { Program } from "./program.js";
import { availableMemory, gigabytes, memoryAdvice, type MemoryNeed, memoryNeed } from "./memory.js";
import { fallbackWarning, type OpenedProvider, openProvider } from "./open-provider.js";
import { defaultThreads } from "./threads.js";
import type { Compiled, CompileOptions, Prepare, ProgramHost } from "./types.js";

export type { DeviceOptions } from "./device-options.js";
export type { CompileOptions } from "./types.js";

/** A native call that was cancelled may end by itself within this time; then the process is killed. */
const GRACE_MS = 400;
/** Nothing that works is idle for so long. */
const STALL_MS = 120_000;

/** What a model in a file takes and gives. */
export interface ModelPorts {
  /** Name in messages. */
  readonly label: string;
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
}

/** Asks the process; `onMs` gets the time spent inside ONNX Runtime. */
type Ask = <R extends Request>(request: R, onMs?: (ms: number) => void) => Promise<ResultOf[R["kind"]]>;

/** The device process answered that it could not. */
class Refusal extends Error {
  override readonly name = "Refusal";
}

interface Bound extends TensorType {
  /** What to bind again after a crash; undefined when only the device process had it. */
  readonly copy: Tensor | undefined;
}

/**
 * A device. Its process starts with the first use, keeps the parent alive only while it works, and ends with `close()` or the
 * parent. When it dies, the work in flight is rejected; the next work starts another and compiles its programs again.
 */
export class Device implements ProgramHost {
  readonly threads: number;
  /** One program is held at a time. */
  readonly lowMemory: boolean;
  /** What the programs compiled so far need, by label; the last of each. For one row, the denoiser's for two: guidance. @internal */
  readonly needs = new Map<string, MemoryNeed>();
  readonly #plan: boolean;
  readonly #profile: string | undefined;
  readonly #stallMs: number;
  readonly #choice: DeviceChoice;
  readonly #memoryLimit: number | undefined;
  readonly #onWarning: (message: string) => void;
  #provider: Promise<OpenedProvider> | undefined;
  /** Operators that were warned of. */
  readonly #warned = new Set<string>();
  /** Time spent compiling, in the device process. */
  compileMs = 0;
  /** Time spent inside program runs, in the device process. */
  runMs = 0;
  #child: DeviceChild | undefined;
  #closed = false;
  #nextProgram = 1;
  /** Programs the living process has compiled. */
  readonly #loaded = new Set<number>();
  readonly #bound = new Map<string, Bound>();
  /** Bound tensors that a process took with it. */
  readonly #lost = new Set<string>();
  #restored = false;
  #tail: Promise<void> = Promise.resolve();

  constructor(options: DeviceOptions = {}) {
    const { threads = defaultThreads(), profile, stallMs = STALL_MS, executionProvider = "cpu" } = options;
    if (!DEVICE_CHOICES.includes(executionProvider)) {
      throw new UsageError(`device: expected one of ${DEVICE_CHOICES.join(", ")}, got ${String(executionProvider)}`);
    }
    if (!Number.isInteger(threads) || threads < 1) {
      throw new UsageError(`device: expected a whole number of threads >= 1, got ${threads}`);
    }
    this.threads = threads;
    this.lowMemory = options.lowMemory ?? false;
    this.#plan = options.plan ?? false;
    this.#stallMs = stallMs;
    this.#profile = profile;
    this.#choice = executionProvider;
    this.#memoryLimit = options.memoryLimit;
    this.#onWarning = options.onWarning ?? ((message) => process.emitWarning(message));
  }

  /**
   * The execution provider that programs run on. Asked by the first program; ask before to know, and to hear early that there is none.
   * @throws BackendError when what was asked for is not there, saying what to do
   */
  async provider(): Promise<ExecutionProviderName> {
    return (await this.#opened()).name;
  }

  /** Process id of the living device process. */
  get pid(): number | undefined {
    return this.#child?.alive === true ? this.#child.pid : undefined;
  }

  /** Programs whose weights the process holds. */
  get loadedPrograms(): number {
    return this.#loaded.size;
  }

  /** Starts the process ahead of its first use, to hide its start behind other work. */
  start(): void {
    if (!this.#closed) this.#living();
  }

  /**
   * Compiles a graph; on a device with `lowMemory`, when it first runs. Parameters in `weights` become part of the program; those in `trainable`, and any without weight, are fed or bound.
   * @throws ModelError when ONNX Runtime refuses the model or a weight does not fit.
   */
  async compile(graph: Graph, options: CompileOptions = {}): Promise<Program> {
    const { name: provider, substituted } = await this.#opened();
    const label = options.label ?? graph.name;
    const need = memoryNeed(graph, graph.inputs.has("timestep") ? 2 : 1);
    this.needs.set(label, need);
    if (!this.#plan) this.start();
    const model = this.#plan ? "" : encodeModel(graph, { ...options, substituted });
    const feeds = feedTypes(graph, options);
    const { keepsMemory = !this.lowMemory, once = false } = options;
    const compiled: Compiled = {
      id: this.#nextProgram++,
      label,
      model,
      need,
      provider,
      keepsMemory,
      once,
    };
    if (!this.lowMemory && !this.#plan)
      await this.#enqueue(`program ${label}`, undefined, (ask) => this.#load(compiled, ask));
    return new Program(this, compiled, feeds, graph.outputs);
  }

  /**
   * Loads an ONNX file, with weights in it or in files of its folder; or its bytes, which name files from the root of the file system on.
   * @param ports what the model is fed and gives
   * @throws ModelError when ONNX Runtime refuses the model.
   */
  async load(model: string | Uint8Array, ports: ModelPorts): Promise<Program> {
    const { name: provider } = await this.#opened();
    this.start();
    const compiled: Compiled = { id: this.#nextProgram++, label: ports.label, model, provider };
    await this.#enqueue(`program ${ports.label}`, undefined, (ask) => this.#load(compiled, ask));
    return new Program(this, compiled, ports.inputs, ports.outputs);
  }

  /** Binds a tensor (copied) for every program's feed of that name. */
  bind(name: string, tensor: Tensor): Promise<void> {
    const copy = { ...tensor, data: tensor.data.slice() } as Tensor;
    return this.#enqueue(`bind ${name}`, undefined, async (ask) => {
      await ask({ kind: "bind", name, tensor: copy });
      this.#bound.set(name, { dtype: tensor.dtype, shape: tensor.shape, copy });
      this.#lost.delete(name);
    });
  }

  /** A copy of a bound tensor. @throws BackendError when nothing of that name is bound. */
  fetchBound(name: string): Promise<Tensor> {
    return this.#enqueue(`bound tensor ${name}`, undefined, (ask) => {
      this.#checkLost([name]);
      return ask({ kind: "fetch", name });
    });
  }

  /**
   * Calls the default export of one of Laurel's modules in the device process as `(context: InvokeContext, args)`; `args` and
   * the result are structured-cloned. What it changes lives only there: tensors bound before the call do not survive a crash.
   */
  invoke(moduleUrl: URL, args: unknown): Promise<unknown> {
    return this.#enqueue(`invoke ${moduleUrl.pathname.split("/").at(-1)}`, undefined, async (ask) => {
      this.#checkLost(this.#lost);
      // The module may write to any bound tensor: the copies here are no longer the truth.
      for (const [name, bound] of this.#bound) this.#bound.set(name, { ...bound, copy: undefined });
      const { value, bound } = await ask({ kind: "invoke", url: moduleUrl.href, args });
      if (bound !== undefined) {
        this.#bound.clear();
        this.#note(bound);
      }
      return value;
    });
  }

  /** Runs a program; `prepare` checks its feeds when its turn comes, against what is bound. Called by `Program`. @internal */
  run(compiled: Compiled, unfed: readonly string[], prepare: Prepare, signal: AbortSignal | undefined) {
    return this.#enqueue(`program ${compiled.label}`, signal, async (ask) => {
      this.#checkLost(unfed);
      const request = prepare(this.#bound);
      await this.#load(compiled, ask);
      let ms = 0;
      const { outputs, held } = await ask(request, (time) => (ms = time));
      this.runMs += ms;
      this.#note(held);
      for (const name of request.free) this.#bound.delete(name);
      return { outputs, ms };
    });
  }

  /** Forgets a program. Called by `Program`. @internal */
  async dispose({ id, label }: Compiled): Promise<void> {
    if (this.#closed || this.#child?.alive !== true) return;
    await this.#enqueue(`program ${label}`, undefined, async (ask) => {
      if (this.#loaded.delete(id)) await ask({ kind: "dispose", program: id });
    });
  }

  /** Ends the device process. Work under way or queued is rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#child?.kill();
    await this.#tail;
  }

  /** Tensors that a run or a module left bound in the process. */
  #note(types: readonly BoundType[]): void {
    for (const [name, dtype, shape] of types) {
      this.#bound.set(name, { dtype, shape, copy: undefined });
      this.#lost.delete(name);
    }
  }

  #checkLost(names: Iterable<string>): void {
    const lost = [...names].filter((name) => this.#lost.has(name));
    if (lost.length > 0)
      throw new BackendError(
        `expected bound tensors, got ${lost.length} lost with the device process: ${lost.join(", ")}; bind them again`,
      );
  }

  /** The living process; a new one has nothing compiled and nothing bound. */
  #living(): DeviceChild {
    if (this.#child?.alive !== true) {
      this.#child = new DeviceChild(this.#stallMs);
      this.#loaded.clear();
      this.#restored = false;
    }
    return this.#child;
  }

  /** Binds again what a new process lacks, as far as there are copies. */
  async #restore(ask: Ask): Promise<void> {
    if (this.#restored) return;
    for (const [name, { copy }] of this.#bound) {
      if (copy !== undefined) {
        await ask({ kind: "bind", name, tensor: copy });
        continue;
      }
      this.#bound.delete(name);
      this.#lost.add(name);
    }
    this.#restored = true;
  }

  #opened(): Promise<OpenedProvider> {
    return (this.#provider ??= openProvider(this.#choice));
  }

  async #load(compiled: Compiled, ask: Ask): Promise<void> {
    const { id, label, model, provider, keepsMemory = true, once = false } = compiled;
    if (this.#loaded.has(id)) return;
    if (this.lowMemory) {
      for (const other of [...this.#loaded]) {
        await ask({ kind: "dispose", program: other });
        this.#loaded.delete(other);
      }
    }
    this.#checkMemory(compiled);
    const profile = this.#profile === undefined ? undefined : `${this.#profile}-${label}`;
    try {
      const { fallsBack } = await ask(
        { kind: "compile", program: id, model, provider, threads: this.threads, keepsMemory, once, profile },
        (ms) => (this.compileMs += ms),
      );
      if (fallsBack) await this.#warn(provider, label);
    } catch (error) {
      if (error instanceof Refusal) throw new ModelError(`program ${label}: ${error.message}`, { cause: error });
      throw error;
    }
    this.#loaded.add(id);
  }

  /** @throws BackendError when the weights of a program are larger than what is free */
  #checkMemory({ label, need, provider }: Compiled): void {
    if (need === undefined || provider !== "cpu") return;
    const free = this.#memoryLimit ?? availableMemory();
    const advice = memoryAdvice(this.lowMemory);
    if (need.weights > free)
      throw new BackendError(
        `program ${label}: expected ${gigabytes(need.weights)} of memory for its weights, got ${gigabytes(free)} free; ${advice}`,
      );
    const total = need.weights + need.activations;
    if (total > free)
      this.#onWarning(
        `program ${label} needs about ${gigabytes(total)} of memory, ${gigabytes(free)} are free: it may be slow, or be ended by the system; ${advice}`,
      );
  }

  async #warn(provider: ExecutionProviderName, label: string): Promise<void> {
    const fallbacks = (await this.#child?.fallbacks()) ?? new Set<string>();
    const news = [...fallbacks].filter((op) => !this.#warned.has(op));
    if (news.length > 0) this.#onWarning(fallbackWarning(provider, news, label));
    for (const op of news) this.#warned.add(op);
  }

  /** Does `job` after what came before. An abort rejects at once; the process is killed if its native call does not end soon. */
  #enqueue<T>(where: string, signal: AbortSignal | undefined, job: (ask: Ask) => Promise<T>): Promise<T> {
    const cancelled = () => new CancelledError(`${where}: cancelled`, { cause: signal?.reason });
    if (signal?.aborted === true) return Promise.reject(cancelled());
    return new Promise<T>((resolve, reject) => {
      let state: "queued" | "running" | "cancelled" = "queued";
      let grace: NodeJS.Timeout | undefined;
      const onAbort = () => {
        reject(cancelled());
        if (state === "running") grace = setTimeout(() => this.#child?.kill(), GRACE_MS);
        state = "cancelled";
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#tail = this.#tail.then(async () => {
        if (state === "cancelled") return;
        state = "running";
        try {
          if (this.#closed) throw new BackendError("expected an open device, got a closed one");
          const child = this.#living();
          const ask: Ask = async (request, onMs) => {
            const reply = await child.request(request);
            if (!reply.ok) throw new Refusal(reply.message, { cause: reply.stack });
            onMs?.(reply.ms);
            return reply.result as never;
          };
          await this.#restore(ask);
          resolve(await job(ask));
        } catch (error) {
          reject(this.#explain(where, error));
        } finally {
          clearTimeout(grace);
          signal?.removeEventListener("abort", onAbort);
        }
      });
    });
  }

  #explain(where: string, error: unknown): Error {
    if (error instanceof DeviceDeath) {
      const hint = error.message === "SIGKILL" ? ", as when memory runs out" : "";
      const got = this.#closed ? "close()" : `its end (${error.message}${hint})`;
      return new BackendError(`${where}: expected the device process to answer, got ${got}`, { cause: error });
    }
    if (error instanceof Refusal) return new BackendError(`${where}: ${error.message}`, { cause: error });
    if (error instanceof BackendError) return new BackendError(`${where}: ${error.message}`, { cause: error.cause });
    if (error instanceof LaurelError) return error;
    return new InternalError(`${where}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** Opens a device; its process starts with the first use. */
export function openDevice(options: DeviceOptions = {}): Device {
  return new Device(options);
}
